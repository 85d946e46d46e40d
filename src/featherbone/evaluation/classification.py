"""What a classifier gets right, class by class, and what it predicts for single images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featherbone.data import Preprocess
from featherbone.data.dataset import Dataset, Skipped
from featherbone.data.image import UnreadableImageError, read_image, without_pillows_warnings
from featherbone.data.loader import LabelPipeline, loader
from featherbone.data.progress import watched
from featherbone.data.transforms import evaluation_transform
from featherbone.device import device_of
from featherbone.errors import counted
from featherbone.evaluation.report import Evaluation, Outputs, Prediction, check_numbers, percent


@dataclass(frozen=True)
class ClassScore:
    """One class: how many images it has, and how well they are found (shares, 0 to 1)."""

    name: str
    images: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class ClassificationEvaluation(Evaluation):
    """A classifier on a labelled set.

    Attributes:
        top1: share of images whose true class came first.
        top5: share of images whose true class was among the first five.
        classes: scores per class, in label order.
        confusion: counts ``(classes, classes)``; row true, column predicted.
        skipped: files that could not be read.
    """

    top1: float
    top5: float
    classes: tuple[ClassScore, ...]
    confusion: np.ndarray
    skipped: tuple[Skipped, ...] = ()

    @property
    def images(self) -> int:
        """How many there are."""
        return int(self.confusion.sum())

    @property
    def table(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        rows = [(s.name, s.images, *map(percent, (s.precision, s.recall, s.f1))) for s in self.classes]
        return ("class", "images", "precision", "recall", "f1"), list(rows)

    @property
    def facts(self) -> list[tuple[str, str]]:
        shares = [("top-1", percent(self.top1)), ("top-5", percent(self.top5))]
        return [("images", str(self.images)), *shares[: 2 if len(self.classes) > 5 else 1]]

    @property
    def headline(self) -> float:
        return self.top1

    @classmethod
    def summary(cls, scores: Mapping[str, float], images: int) -> tuple[str, str]:
        right = round(scores["top1"] * images)
        return "held-out top-1", f"{percent(scores['top1'])} ({right} of {counted(images, 'image')})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "top1": self.top1,
            "top5": self.top5,
            "images": self.images,
            "classes": [vars(score) for score in self.classes],
            "confusion": self.confusion.tolist(),
            "skipped": [vars(file) for file in self.skipped],
        }


@dataclass(frozen=True)
class Calibration:
    """How far the probability of the first class is the share of images for which that class is right.

    Attributes:
        error: the expected calibration error: the mean distance of the two over images, in bins of probability.
        confidence: mean probability of the first class.
        top1: share of images whose true class came first.
        bins: (images, mean probability, share that is right) of every bin that has images; least probable first.
    """

    error: float
    confidence: float
    top1: float
    bins: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True, eq=False)
class ClassifierOutputs(Outputs):
    """What a classifier predicts for every image of a labelled set.

    Attributes:
        images: the set.
        classes: names, in the order of the outputs.
        logits: ``(images, classes)``, float32.
    """

    images: Dataset[int]
    classes: tuple[str, ...]
    logits: Tensor

    @cached_property
    def labels(self) -> Tensor:
        """The true classes, ``(images,)``."""
        return torch.tensor(self.images.targets)

    @cached_property
    def said(self) -> Tensor:
        """The most probable class of every image, ``(images,)``; of equally probable ones the first."""
        return self.logits.argmax(1)

    @cached_property
    def probabilities(self) -> Tensor:
        """Of every class, ``(images, classes)``."""
        return self.logits.softmax(1)

    @cached_property
    def losses(self) -> Tensor:
        """Cross-entropy of every image, in nats, ``(images,)``."""
        return F.cross_entropy(self.logits, self.labels, reduction="none")

    def mistakes(self) -> list[int]:
        """Return the places of the images whose true class did not come first, highest loss first."""
        order = self.losses.argsort(descending=True, stable=True)
        return order[(self.said != self.labels)[order]].tolist()

    def least_sure(self, most: int) -> list[int]:
        """Return the places of the images whose first two classes are nearly as probable, the nearest first."""
        first, second = self.probabilities.topk(2).values.unbind(1)
        return (first - second).argsort(stable=True)[:most].tolist()

    def calibration(self, bins: int = 15) -> Calibration:
        """Return how far probabilities can be trusted; ``bins`` of equal width cover 0 to 1."""
        from torchmetrics.functional.classification import binary_calibration_error

        confidence = self.probabilities.amax(1)
        right = (self.said == self.labels).double()
        # torchmetrics' own bins: a probability of exactly 1 has one to itself
        place = torch.bucketize(confidence, torch.linspace(0, 1, bins + 1), right=True) - 1
        images = place.bincount()
        filled = images.nonzero()[:, 0]
        means = [place.bincount(values)[filled] / images[filled] for values in (confidence.double(), right)]
        return Calibration(
            error=float(binary_calibration_error(confidence, right.int(), bins)),
            confidence=float(confidence.mean()),
            top1=float(right.mean()),
            bins=tuple(zip(images[filled].tolist(), *(mean.tolist() for mean in means), strict=True)),
        )

    def evaluation(self, skipped: tuple[Skipped, ...] = ()) -> ClassificationEvaluation:
        """Return the shares and scores; ``skipped``, files that were left out before, is carried along."""
        count = len(self.classes)
        # a library for these sums would take longer to import than one image takes to classify
        confusion = (self.labels * count + self.said).bincount(minlength=count**2).view(count, count)
        right, true, said = confusion.diagonal().double(), confusion.sum(1), confusion.sum(0)
        # of a class without images, or that was never said, nothing is right: 0
        shares = [hits / of.clamp(min=1) for hits, of in ((right, said), (right, true), (2 * right, said + true))]
        scores = zip(self.classes, true.tolist(), *(share.tolist() for share in shares), strict=True)
        first_five = self.logits.topk(min(5, count)).indices
        return ClassificationEvaluation(
            top1=float((self.said == self.labels).float().mean()),
            top5=float((first_five == self.labels[:, None]).any(1).float().mean()),
            classes=tuple(ClassScore(*score) for score in scores),
            confusion=confusion.numpy(),
            skipped=skipped,
        )


@dataclass(frozen=True)
class ClassificationPrediction(Prediction):
    """What a classifier predicts for an image: classes and probabilities, most likely first."""

    columns: ClassVar[tuple[str, ...]] = ("image", "class", "probability", "or else")

    image: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def row(self) -> tuple[str, ...]:
        others = zip(self.classes[1:3], self.probabilities[1:3], strict=True)
        return (
            *(self.image, self.classes[0], f"{self.probabilities[0]:.1%}"),
            ", ".join(f"{name} {share:.1%}" for name, share in others),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        top = [{"class": c, "probability": p} for c, p in zip(self.classes, self.probabilities, strict=True)]
        return {"image": self.image, "class": self.classes[0], "probability": self.probabilities[0], "top": top}


@torch.inference_mode()
def classifier_outputs(
    model: nn.Module,
    images: Dataset[int],
    preprocess: Preprocess,
    classes: Sequence[str],
    *,
    batch_size: int = 64,
    quiet: bool = False,
) -> ClassifierOutputs:
    """Return what a classifier in evaluation mode predicts for every image of a labelled set.

    Args:
        model: ``(B, C, size, size)`` to ``(B, len(classes))``.
        images: labels index ``classes``.
        preprocess: how an image becomes an input.
        classes: names in the order of the outputs.
        batch_size: images at a time.
        quiet: show no progress bar.

    Raises:
        InputError: if an image cannot be read, or the outputs are no numbers.
    """
    model.eval()
    device = device_of(model)
    transform = evaluation_transform(preprocess)
    batches = loader(images, LabelPipeline(transform), channels=preprocess.channels, batch_size=batch_size, workers=0)
    with without_pillows_warnings():
        logits = torch.cat(
            [
                check_numbers(model(x.to(device)).float().cpu(), "an image")
                for x, _ in watched(batches, "evaluating", total=len(batches), quiet=quiet)
            ]
        )
    return ClassifierOutputs(images, tuple(classes), logits)


@torch.inference_mode()
def classify_images(
    model: nn.Module,
    paths: Iterable[Path],
    preprocess: Preprocess,
    classes: Sequence[str],
    *,
    top: int = 5,
    quiet: bool = False,
) -> tuple[list[ClassificationPrediction], list[Skipped]]:
    """Return what a classifier predicts for image files, and the files that could not be read.

    Args:
        model: ``(B, C, size, size)`` to ``(B, len(classes))``.
        paths: image files.
        preprocess: how an image becomes an input.
        classes: names in the order of the outputs.
        top: how many classes to name per image.
        quiet: show no progress bar.

    Raises:
        InputError: if the outputs are no numbers.
    """
    model.eval()
    device = device_of(model)
    transform = evaluation_transform(preprocess)
    mode: Literal["L", "RGB"] = "L" if preprocess.channels == 1 else "RGB"
    found: list[ClassificationPrediction] = []
    skipped: list[Skipped] = []
    files = list(paths)
    for path in watched(files, "predicting", total=len(files), quiet=quiet):
        try:
            with without_pillows_warnings():
                image = read_image(path, mode)
        except UnreadableImageError as error:
            skipped.append(Skipped(str(path), str(error)))
            continue
        shares = check_numbers(model(transform(image)[None].to(device)).float().cpu(), path).softmax(1)[0]
        best = shares.topk(min(top, len(classes)))
        names = tuple(classes[i] for i in best.indices.tolist())
        found.append(ClassificationPrediction(str(path), names, tuple(round(p, 6) for p in best.values.tolist())))
    return found, skipped
