"""Classification: its loss, and what is watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import resize

from featherbone.data import Preprocess
from featherbone.data.dataset import ClassificationData, Dataset
from featherbone.data.loader import LabelPipeline, side_at
from featherbone.data.sampler import EpochBatches
from featherbone.data.transforms import evaluation_transform, training_transform
from featherbone.training.distributed import Processes
from featherbone.training.learner import Job, Learner, Marks, loaders
from featherbone.training.recipe import Recipe

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W), labels (B,)


@dataclass(frozen=True)
class _Beside:
    """Modules that are not part of a learner's state: the network as it is run, perhaps compiled, and the teacher."""

    fast: Callable[[Tensor], Tensor]
    teacher: nn.Module | None


class ClassificationLearner(Learner):
    """Train a classifier.

    Args:
        model: ``(B, C, size, size)`` to ``(B, classes)``.
        recipe: all choices.
        classes: names, in label order.
        train: the images that are learned from.
        batches: which of them each step reads.
        teacher: a network of the same inputs and outputs, whose answers are learned, too.
    """

    scores: ClassVar[Mapping[str, str]] = {"top1": "val_top1", "top5": "val_top5"}
    headline: ClassVar[str] = "top-1"

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        classes: Sequence[str],
        train: Dataset[int],
        batches: EpochBatches,
        teacher: nn.Module | None = None,
    ) -> None:
        super().__init__(model, recipe, train, batches)
        count = len(classes)
        self.mixed = batch_mixing(recipe, count)
        self.weights: Tensor | None
        self.register_buffer("weights", class_weights(train, count, recipe.class_weights), persistent=False)
        self.top1 = MulticlassAccuracy(count, average="micro")
        self.top5 = MulticlassAccuracy(count, average="micro", top_k=min(5, count))
        taught = teacher.eval().requires_grad_(requires_grad=False) if teacher else None
        self._beside = _Beside(torch.compile(model) if recipe.compile else model, taught)

    def on_fit_start(self) -> None:
        if self._beside.teacher is not None:
            self._beside.teacher.to(self.device)

    def inputs(self, batch: Batch, batch_idx: int) -> Batch:
        """Return images and labels ``(B,)``; of a mixed batch, shares of the classes ``(B, classes)``."""
        images, labels = batch
        if self.recipe.train_size != (1, 1):
            images = resized(images, side_at(self.recipe.size, self.recipe.train_size, self.progress))
        return self.mixed(images, labels) if self.mixed else (images, labels)

    def marks(self, targets: Tensor, place: int) -> Marks:
        if targets.ndim == 1:
            return Marks(((int(targets[place]), 1.0),))
        shares = targets[place]
        order = shares.argsort(descending=True, stable=True)[: int(shares.count_nonzero())]
        return Marks(tuple((int(label), float(shares[label])) for label in order))

    def losses(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = self.inputs(batch, batch_idx)
        images = images.to(memory_format=self.order)
        logits = self._beside.fast(images)
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.recipe.label_smoothing)
        losses = self._taught(images, logits, losses)
        return losses if self.weights is None else losses * image_weights(labels, self.weights)

    def validation_step(self, batch: Batch, _: int) -> None:
        images, labels = batch
        logits = self.result(images.to(memory_format=self.order)).float()
        self.top1(logits, labels)
        self.top5(logits, labels)
        self.val_loss(F.cross_entropy(logits, labels, reduction="none"))
        watched: dict[str, Any] = {"val_loss": self.val_loss, "val_top1": self.top1, "val_top5": self.top5}
        self.log_dict(watched, on_step=False, on_epoch=True)

    def _taught(self, images: Tensor, logits: Tensor, losses: Tensor) -> Tensor:
        """Return the losses, a share of them from the difference to the teacher's answers (Hinton et al. 2015)."""
        teacher = self._beside.teacher
        if teacher is None:
            return losses
        with torch.no_grad():
            wanted = (teacher(images).float() / self.recipe.temperature).log_softmax(1)
        given = (logits.float() / self.recipe.temperature).log_softmax(1)
        apart = F.kl_div(given, wanted, reduction="none", log_target=True).sum(1) * self.recipe.temperature**2
        return torch.lerp(losses, apart, self.recipe.distill_weight)


def classification_job(
    model: nn.Module,
    data: ClassificationData,
    preprocess: Preprocess,
    recipe: Recipe,
    team: Processes,
    teacher: nn.Module | None = None,
) -> Job:
    """Return the learner and the batches of a recipe, for this one of several processes."""
    augmented = training_transform(
        preprocess,
        crop_min=recipe.crop_min,
        shift=recipe.shift,
        flip=recipe.flip,
        rotation=recipe.rotation,
        translate=recipe.translate,
        rand_augment=recipe.rand_augment,
        random_erasing=recipe.random_erasing,
    )
    evaluated = LabelPipeline(evaluation_transform(preprocess))
    train, val = loaders(data, recipe, team, LabelPipeline(augmented), evaluated)
    learner = ClassificationLearner(model, recipe, data.classes, data.train, train.order, teacher)
    return Job(learner, train, val)


def resized(images: Tensor, side: int) -> Tensor:
    """Return a batch ``(B, C, S, S)`` at another side."""
    return images if images.shape[-1] == side else resize(images, [side, side], antialias=True)


def batch_mixing(recipe: Recipe, classes: int) -> v2.Transform | None:
    """Return mixup, cutmix or a draw between both; ``None`` without either."""
    found: list[v2.Transform] = []
    if recipe.mixup:
        found.append(v2.MixUp(alpha=recipe.mixup, num_classes=classes))
    if recipe.cutmix:
        found.append(v2.CutMix(alpha=recipe.cutmix, num_classes=classes))
    return v2.RandomChoice(found) if len(found) > 1 else found[0] if found else None


def class_weights(images: Dataset[int], classes: int, kind: str) -> Tensor | None:
    """Return a weight for each class, 1 on average over the images; ``None`` if all images weigh the same."""
    if kind == "none":
        return None
    counts = torch.bincount(torch.tensor(images.targets), minlength=classes).float()
    return len(images) / (counts.count_nonzero() * counts.clamp(min=1))


def image_weights(labels: Tensor, weights: Tensor) -> Tensor:
    """Return how much each image counts: as its own class does, and of a mixed image as its classes in their shares.

    The whole loss of an image is weighed, its smoothed share and the teacher's, too: ``F.cross_entropy`` weighs what
    smoothing gives to *other* classes by their weights, so that a common class is told to be the rare one. And the
    weights are not divided by their sum in the batch: that would cancel them in batches of one class. Sums over
    batches of any size, of one process or several, are then the sum over all images.

    Args:
        labels: ``(B,)`` numbers of classes or ``(B, classes)`` shares, before smoothing.
        weights: ``(classes,)``.

    Returns:
        ``(B,)``.
    """
    if labels.ndim == 1:
        return weights[labels]
    return (labels * weights).sum(1)  # not a product of matrices, which autocast would round
