"""The loss that a detector learns by is the one of evaluation."""

from pathlib import Path

import pytest
import torch
from helpers.training import history

import featherbone as fb
from featherbone.data.box_transforms import evaluation_boxes
from featherbone.data.loader import BoxPipeline, loader
from featherbone.data.open import DETECTION
from featherbone.detect.assignment import Targets
from featherbone.detect.losses import detection_loss


def test_the_loss_is_divided_by_how_many_boxes_an_image_has(finder: fb.Run, shapes: Path) -> None:
    """The same number for images that are learned from and for those that are held out."""
    data = DETECTION.open(shapes, quiet=True)
    boxes = [len(truth.boxes) for truth in data.train.targets]
    detector, preprocess = fb.load(finder.folder, fb.Detector), fb.read_header(finder.folder).preprocess
    assert preprocess is not None
    losses = []
    for images, targets in loader(
        data.val, BoxPipeline(evaluation_boxes(preprocess)), channels=3, batch_size=8, workers=0
    ):
        with torch.no_grad():
            raw = detector.raw(images)
        truths = Targets(*targets[:3])
        losses += detection_loss(detector.head, raw, truths, (64, 64), boxes_per_image=sum(boxes) / 24).tolist()
    last = history(finder.folder)[-1]  # whose weights are kept
    assert float(last["val_loss"]) == pytest.approx(sum(losses) / 8, rel=1e-4)
