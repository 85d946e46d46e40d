"""Classification as a Lightning task: the loss, the optimiser, the schedule and what is watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy
from torchvision.transforms import v2

from featherbone.data.loading import EpochBatches, mixed_seed
from featherbone.data.sets import ImageSet
from featherbone.errors import InputError, some
from featherbone.train.compute import memory_format
from featherbone.train.optimizer import optimizer_for, parts, share_of_lr, trunk
from featherbone.train.recipe import Recipe

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W), labels (B,)


@dataclass(frozen=True)
class _Beside:
    """Modules that are no part of a task's state: the network as it is run, which may be compiled, and the teacher."""

    fast: Callable[[Tensor], Tensor]
    teacher: nn.Module | None


class Classify(L.LightningModule):
    """Train ``model`` on batches as the recipe says.

    A step depends on the seed, its epoch and its number alone, and the sums of an epoch travel in the checkpoint: so a
    run that is resumed anywhere ends as the undisturbed one.

    Args:
        model: ``(B, C, size, size)`` to ``(B, classes)``.
        recipe: all choices.
        classes: names, in label order.
        train: the images that are learned from.
        batches: which of them each step reads.
        teacher: a network of the same inputs and outputs, whose answers are learned, too.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        classes: Sequence[str],
        train: ImageSet,
        batches: EpochBatches,
        teacher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.recipe, self.train_set, self.batches = recipe, train, batches
        self.order = memory_format(bool(recipe.channels_last))
        self.model = model.to(memory_format=self.order)
        self.average = averaged(model, recipe.averaging) if recipe.averaging else None
        count = len(classes)
        self.mixed = batch_mixing(recipe, count)
        self.weights: Tensor | None
        self.register_buffer("weights", class_weights(train, count, recipe.class_weights), persistent=False)
        self.train_loss, self.val_loss = (MeanMetric(nan_strategy="disable") for _ in range(2))
        self.train_loss.persistent(True)  # noqa: FBT003 - torchmetrics' own signature
        self.top1 = MulticlassAccuracy(count, average="micro")
        self.top5 = MulticlassAccuracy(count, average="micro", top_k=min(5, count))
        taught = teacher.eval().requires_grad_(requires_grad=False) if teacher else None
        self._beside = _Beside(torch.compile(model) if recipe.compile else model, taught)
        self._last: tuple[Tensor, int] | None = None

    @property
    def result(self) -> nn.Module:
        """The network that is evaluated and kept."""
        return self.average.module if self.average is not None else self.model

    def on_fit_start(self) -> None:
        if self._beside.teacher is not None:
            self._beside.teacher.to(self.device)

    def on_train_epoch_start(self) -> None:
        self.train_loss.reset()  # its sums travel in the checkpoint of the epoch before

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        torch.manual_seed(mixed_seed(self.recipe.seed, self.current_epoch, batch_idx, self.global_rank))
        self._freeze()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = self.mixed(*batch) if self.mixed else batch
        images = images.to(memory_format=self.order)
        logits = self._beside.fast(images)
        losses = F.cross_entropy(
            logits, labels, self.weights, reduction="none", label_smoothing=self.recipe.label_smoothing
        )
        losses = self._taught(images, logits, losses)
        self.check_finite()
        self._last = (losses.detach(), batch_idx)
        self.train_loss(losses.detach().mean(), len(images))
        self.log("train_loss", self.train_loss, on_step=False, on_epoch=True)
        # processes average their gradients: so every image of the whole batch weighs the same
        return losses.sum() * (self.trainer.world_size / self.batches.size(batch_idx))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:  # here, since a checkpoint may follow
            self.average.update_parameters(self.model)

    def check_finite(self) -> None:
        """Look at the step before, whose result a GPU has had time to give.

        Raises:
            InputError: if its loss is not finite.
        """
        if self._last is None:
            return
        losses, batch_idx = self._last
        self._last = None
        if not bool(losses.isfinite().all()):
            # batch norm lets one image spoil all: the whole batch is named
            sources = [self.train_set.sources[place] for _, place in self.batches.places(batch_idx)]
            names = [str(source) if isinstance(source, Path) else "an image" for source in sources]
            raise InputError(
                f"the loss became {float(losses.sum())} in epoch {self.current_epoch + 1}, in batch {batch_idx + 1} "
                f"({some(names, 3)}): look at these images, lower lr (now {self.recipe.lr:g}) or use precision f32"
            )

    def on_train_epoch_end(self) -> None:
        self.check_finite()

    def validation_step(self, batch: Batch, _: int) -> None:
        images, labels = batch
        logits = self.result(images.to(memory_format=self.order)).float()
        self.top1(logits, labels)
        self.top5(logits, labels)
        self.val_loss(F.cross_entropy(logits, labels), len(labels))
        watched: dict[str, Any] = {"val_loss": self.val_loss, "val_top1": self.top1, "val_top5": self.top5}
        self.log_dict(watched, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = optimizer_for(self.model, self.recipe)
        # not Lightning's own count, which opens the loader before it knows where a checkpoint left it
        steps = len(self.batches) * self.recipe.epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share_of_lr(self.recipe, step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _freeze(self) -> None:
        """Let what is frozen in this epoch keep its weights and statistics."""
        first = self.current_epoch < self.recipe.head_first
        if not self.recipe.freeze and not self.recipe.head_first:
            return
        for part in trunk(self.model):
            part.requires_grad_(not first).train(not first)
        for part in parts(self.model, self.recipe.freeze):
            part.requires_grad_(requires_grad=False).eval()

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


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Return a running average of a network's weights and statistics, which forgets its beginning faster at first."""

    def update(averages: Any, current: Any, steps: Tensor | int) -> None:
        share = 1 - min(decay, (1 + float(steps)) / (10 + float(steps)))
        for average, now in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(now.to(average.dtype), share)
            else:
                average.copy_(now)

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    return average.requires_grad_(requires_grad=False)


def batch_mixing(recipe: Recipe, classes: int) -> v2.Transform | None:
    """Return mixup, cutmix or a draw between both; ``None`` without either."""
    found: list[v2.Transform] = []
    if recipe.mixup:
        found.append(v2.MixUp(alpha=recipe.mixup, num_classes=classes))
    if recipe.cutmix:
        found.append(v2.CutMix(alpha=recipe.cutmix, num_classes=classes))
    return v2.RandomChoice(found) if len(found) > 1 else found[0] if found else None


def class_weights(images: ImageSet, classes: int, kind: str) -> Tensor | None:
    """Return a weight for each class, 1 on average over the images; ``None`` if all images weigh the same."""
    if kind == "none":
        return None
    counts = torch.bincount(torch.tensor(images.labels), minlength=classes).clamp(min=1)
    return len(images) / (classes * counts.float())
