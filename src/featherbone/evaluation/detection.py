"""What a detector finds in images, in their own pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from featherbone.data import Preprocess
from featherbone.data.box_transforms import evaluation_boxes, letterboxing
from featherbone.data.dataset import Annotations, Dataset, Skipped, Source
from featherbone.data.image import UnreadableImageError, image_mode, read_image, without_pillows_warnings
from featherbone.data.letterbox import Placement
from featherbone.data.loader import BoxPipeline, BoxTargets, loader
from featherbone.data.progress import watched
from featherbone.data.scan import shown
from featherbone.data.transforms import evaluation_transform
from featherbone.detect.postprocess import IOU_THRESHOLD, MAX_DETECTIONS, SCORE_THRESHOLD, Detections, postprocess
from featherbone.device import device_of
from featherbone.evaluation.average_precision import DetectionEvaluation, score_boxes
from featherbone.evaluation.matching import ImageDetections
from featherbone.evaluation.report import Outputs, Prediction, check_numbers

ANY_SCORE = 0.001  # the least that counts in average precision, which needs doubtful detections, too


@dataclass(frozen=True, eq=False)
class DetectionPrediction(Prediction):
    """What a detector found in an image, the surest first.

    Attributes:
        image: its path, or what else it is known by.
        size: width and height of the upright image, in pixels.
        found: boxes, scores and labels.
        classes: names, in label order.
    """

    columns: ClassVar[tuple[str, ...]] = ("image", "found")
    drawn: ClassVar[bool] = True

    image: str
    size: tuple[int, int]
    found: ImageDetections
    classes: tuple[str, ...]

    @property
    def row(self) -> tuple[str, ...]:
        """The image, and how many of each class were found: ``3 RBC, 1 WBC``."""
        labels = [self.classes[label] for label in self.found.labels]
        return self.image, ", ".join(f"{labels.count(n)} {n}" for n in dict.fromkeys(labels)) or "nothing"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; boxes are x1, y1, x2, y2 in pixels of the upright image."""
        found = zip(self.found.boxes.tolist(), self.found.scores.tolist(), self.found.labels.tolist(), strict=True)
        boxes = [
            {"class": self.classes[label], "score": round(score, 6), "box": [round(edge, 2) for edge in box]}
            for box, score, label in found
        ]
        return {"image": self.image, "width": self.size[0], "height": self.size[1], "boxes": boxes}


@dataclass(frozen=True, eq=False)
class DetectorOutputs(Outputs):
    """What a detector finds in every image of a set with boxes.

    Attributes:
        images: the set.
        classes: names, in label order.
        found: what it found in every image.
    """

    images: Dataset[Annotations]
    classes: tuple[str, ...]
    found: tuple[ImageDetections, ...]

    def evaluation(self, skipped: tuple[Skipped, ...] = ()) -> DetectionEvaluation:
        """Return the scores; ``skipped``, files that were left out before, is carried along."""
        return score_boxes(self.found, self.images.targets, self.classes, skipped=skipped)


@torch.inference_mode()
def detector_outputs(
    model: nn.Module,
    images: Dataset[Annotations],
    preprocess: Preprocess,
    classes: Sequence[str],
    *,
    score: float = ANY_SCORE,
    iou: float = IOU_THRESHOLD,
    max_detections: int = MAX_DETECTIONS,
    batch_size: int = 16,
    quiet: bool = False,
) -> DetectorOutputs:
    """Return what a detector in evaluation mode finds in every image of a set.

    Args:
        model: ``(B, C, size, size)`` to ``(B, N, 4 + len(classes))``: boxes in pixels of the input, then probabilities.
        images: labels index ``classes``.
        preprocess: how an image becomes an input; its ``fit`` must be "letterbox".
        classes: names in the order of the outputs.
        score: the least that is kept.
        iou: of two boxes of a class that overlap more, the better one is kept.
        max_detections: boxes per image that are kept.
        batch_size: images at a time.
        quiet: show no progress bar.

    Raises:
        InputError: if an image cannot be read, ``preprocess`` crops, or the outputs are no numbers.
    """
    model.eval()
    device = device_of(model)
    transform = evaluation_boxes(preprocess)
    batches = loader(images, BoxPipeline(transform), channels=preprocess.channels, batch_size=batch_size, workers=0)
    found: list[ImageDetections] = []
    with without_pillows_warnings():
        for inputs, targets in watched(batches, "evaluating", total=len(batches), quiet=quiet):
            found += found_in(
                check_numbers(model(inputs.to(device)).cpu(), "an image"),
                targets,
                preprocess.size,
                score=score,
                iou=iou,
                max_detections=max_detections,
            )
    return DetectorOutputs(images, tuple(classes), tuple(found))


@torch.inference_mode()
def detect_images(
    model: nn.Module,
    sources: Iterable[Source],
    preprocess: Preprocess,
    classes: Sequence[str],
    *,
    score: float = SCORE_THRESHOLD,
    iou: float = IOU_THRESHOLD,
    max_detections: int = MAX_DETECTIONS,
    quiet: bool = False,
) -> tuple[list[DetectionPrediction], list[Skipped]]:
    """Return what a detector finds in images, and the files that could not be read.

    Args:
        model: as for ``detector_outputs``.
        sources: image files, or arrays ``(H, W)`` or ``(H, W, 3)`` of uint8.
        preprocess: how an image becomes an input; its ``fit`` must be "letterbox".
        classes: names in the order of the outputs.
        score: the least that is shown.
        iou: of two boxes of a class that overlap more, the better one is shown.
        max_detections: boxes per image that are shown.
        quiet: show no progress bar.

    Raises:
        InputError: if ``preprocess`` crops, or the outputs are no numbers.
    """
    letterboxing(preprocess)
    detections: list[DetectionPrediction] = []
    skipped: list[Skipped] = []
    images = list(sources)
    for number, source in enumerate(watched(images, "detecting", total=len(images), quiet=quiet)):
        name = str(source) if isinstance(source, Path) else shown(source, "", number)
        try:
            with without_pillows_warnings():
                image = read_image(source, image_mode(preprocess.channels))
        except UnreadableImageError as error:
            skipped.append(Skipped(name, str(error)))
            continue
        detections.append(
            detect_image(
                model, image, preprocess, classes, name=name, score=score, iou=iou, max_detections=max_detections
            )
        )
    return detections, skipped


@torch.inference_mode()
def detect_image(
    model: nn.Module,
    image: Image.Image,
    preprocess: Preprocess,
    classes: Sequence[str],
    *,
    name: str = "",
    score: float = SCORE_THRESHOLD,
    iou: float = IOU_THRESHOLD,
    max_detections: int = MAX_DETECTIONS,
) -> DetectionPrediction:
    """Return what a detector in evaluation mode finds in one image, such as a frame of a video.

    Args:
        model: as for ``detector_outputs``.
        image: upright, of mode "L" or "RGB", as the network has one or three channels.
        preprocess: as for ``detect_images``.
        classes: names in the order of the outputs.
        name: what the image is known by.
        score: the least that is shown.
        iou: of two boxes of a class that overlap more, the better one is shown.
        max_detections: boxes that are shown.

    Raises:
        InputError: if ``preprocess`` crops, or the outputs are no numbers.
    """
    model.eval()
    inputs = evaluation_transform(letterboxing(preprocess))(image)[None].to(device_of(model))
    best = postprocess(
        check_numbers(model(inputs).cpu(), name or "an image"), score=score, iou=iou, max_detections=max_detections
    )[0]
    placement = Placement.letterbox(image.size, preprocess.size)
    return DetectionPrediction(name, image.size, _in_image(best, placement), tuple(classes))


def found_in(
    output: Tensor,
    targets: BoxTargets,
    side: int,
    *,
    score: float = ANY_SCORE,
    iou: float = IOU_THRESHOLD,
    max_detections: int = MAX_DETECTIONS,
) -> list[ImageDetections]:
    """Return what a detector found in each image of a letterboxed batch, in pixels of the upright image.

    Args:
        output: ``(B, N, 4 + classes)``.
        targets: of the batch.
        side: of the input, in pixels.
        score: the least that is kept.
        iou: of two boxes of a class that overlap more, the better one is kept.
        max_detections: boxes per image that are kept.
    """
    placements = [Placement.letterbox((width, height), side) for width, height in targets.sizes.tolist()]
    best = postprocess(output, score=score, iou=iou, max_detections=max_detections)
    return [_in_image(one, placement) for one, placement in zip(best, placements, strict=True)]


def _in_image(best: Detections, placement: Placement) -> ImageDetections:
    return ImageDetections(
        placement.back(best.boxes.cpu().numpy()), best.scores.cpu().numpy(), best.labels.cpu().numpy()
    )
