"""Detection: its loss, and what is watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, distributed, nn

from featherbone.data import Preprocess
from featherbone.data.box_transforms import evaluation_boxes, training_boxes
from featherbone.data.boxes import boxes_per_image
from featherbone.data.dataset import Annotations, Dataset, DetectionData
from featherbone.data.loader import BoxPipeline, BoxTargets, drawn_side, rescaled
from featherbone.data.sampler import EpochBatches
from featherbone.detect.assignment import Targets
from featherbone.detect.detector import Detector
from featherbone.detect.losses import detection_loss
from featherbone.evaluation.average_precision import DetectionEvaluation, score_boxes
from featherbone.evaluation.detection import found_in
from featherbone.evaluation.matching import ImageDetections
from featherbone.training.distributed import Processes
from featherbone.training.learner import Job, Learner, Marks, loaders
from featherbone.training.recipe import Recipe

Batch = tuple[Tensor, BoxTargets]  # images (B, C, size, size), what is in them


class DetectionLearner(Learner):
    """Train a detector.

    Args:
        model: the detector.
        recipe: all choices.
        classes: names, in label order.
        train: the images that are learned from.
        batches: which of them each step reads.
        val: the images that are held out.
    """

    scores: ClassVar[Mapping[str, str]] = {"ap": "val_ap", "ap50": "val_ap50", "ap75": "val_ap75"}
    headline: ClassVar[str] = "AP"

    def __init__(
        self,
        model: Detector,
        recipe: Recipe,
        classes: Sequence[str],
        train: Dataset[Annotations],
        batches: EpochBatches,
        val: Dataset[Annotations],
    ) -> None:
        super().__init__(model, recipe, train, batches)
        self._head = (model.head,)  # a tuple, so that its weights are not counted twice
        self._boxes_per_image = boxes_per_image(train)
        self.watch = BoxWatch(val, classes)
        self._raw: Callable[[Tensor], list[Tensor]] = torch.compile(model.raw) if recipe.compile else model.raw

    def inputs(self, batch: Batch, batch_idx: int) -> Batch:
        """Return images and boxes, at another side if it varies."""
        recipe = self.recipe
        if not recipe.multi_scale:
            return batch
        drawn = {"seed": recipe.seed, "epoch": self.current_epoch, "batch": batch_idx}
        return rescaled(*batch, drawn_side(recipe.size, recipe.multi_scale, **drawn))

    def marks(self, targets: BoxTargets, place: int) -> Marks:
        own = targets.images == place
        return Marks(boxes=targets.boxes[own], labels=targets.labels[own])

    def losses(self, batch: Batch, batch_idx: int) -> Tensor:
        images, targets = self.inputs(batch, batch_idx)
        return self._losses(self._raw(images.to(memory_format=self.order)), images, targets)

    def on_validation_epoch_start(self) -> None:
        self.watch.reset()

    def validation_step(self, batch: Batch, _: int) -> None:
        images, targets = batch
        result = self.result
        assert isinstance(result, Detector)
        raw = result.raw(images.to(memory_format=self.order))
        self.val_loss(self._losses(raw, images, targets))
        output = result.head.predict(raw, (images.shape[-2], images.shape[-1]))
        self.watch.update(found_in(output, targets, images.shape[-1]), targets.places)
        self.log("val_loss", self.val_loss, on_step=False, on_epoch=True, batch_size=len(images))

    def on_validation_epoch_end(self) -> None:
        reached = self.watch.compute()
        scores = {"val_ap": reached.ap or 0.0, "val_ap50": reached.ap50 or 0.0, "val_ap75": reached.ap75 or 0.0}
        self.log_dict(scores, sync_dist=True)  # they are the same in every process: said so that nobody warns

    def _losses(self, raw: list[Tensor], images: Tensor, targets: BoxTargets) -> Tensor:
        return detection_loss(
            self._head[0],
            raw,
            Targets(*targets[:3]),
            (images.shape[-2], images.shape[-1]),
            box_loss=self.recipe.box_loss,
            boxes_per_image=self._boxes_per_image,
        )


def detection_job(
    model: nn.Module,
    data: DetectionData,
    preprocess: Preprocess,
    recipe: Recipe,
    team: Processes,
    teacher: nn.Module | None = None,
) -> Job:
    """Return the learner and the batches of a recipe, for this one of several processes.

    Args:
        model: a detector.
        data: images with boxes.
        preprocess: how an image becomes an input.
        recipe: all choices.
        team: the processes.
        teacher: none, as recipes of detectors have none.
    """
    assert isinstance(model, Detector)
    assert teacher is None
    augmented = training_boxes(
        preprocess,
        mosaic=recipe.mosaic,
        scale=(1 - recipe.scale, 1 + recipe.scale),
        flip=recipe.flip,
        color_jitter=recipe.color_jitter,
    )
    train, val = loaders(data, recipe, team, BoxPipeline(augmented), BoxPipeline(evaluation_boxes(preprocess)))
    return Job(DetectionLearner(model, recipe, data.classes, data.train, train.order, data.val), train, val)


class BoxWatch:
    """What was found in the images of a set since the last ``reset``. It lives within one validation: nothing to save.

    Args:
        images: the set that is validated on.
        classes: names, in label order.
    """

    def __init__(self, images: Dataset[Annotations], classes: Sequence[str]) -> None:
        self.images, self.classes = images, tuple(classes)
        self._found: dict[int, ImageDetections] = {}

    def reset(self) -> None:
        """Forget everything."""
        self._found.clear()

    def update(self, found: Sequence[ImageDetections], places: Tensor) -> None:
        """Take what was found in the images at these places of the set."""
        self._found.update(zip(places.tolist(), found, strict=True))

    def compute(self) -> DetectionEvaluation:
        """Return the scores of all images seen, the same in every process: all of them must ask.

        Raises:
            InputError: if none was seen.
        """
        found = self._found
        if distributed.is_available() and distributed.is_initialized():
            shares: list[dict[int, ImageDetections]] = [{} for _ in range(distributed.get_world_size())]
            distributed.all_gather_object(shares, found)
            found = {place: one for share in shares for place, one in share.items()}
        places = sorted(found)
        return score_boxes([found[i] for i in places], [self.images.targets[i] for i in places], self.classes)
