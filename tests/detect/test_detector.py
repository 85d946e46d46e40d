"""Detectors are rows: they are built, read by files, exported and refitted, and they learn."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.families import slow_but
from helpers.reference import randomize
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.ops import box_iou

import featherbone as fb
from featherbone.detect.assignment import Targets
from featherbone.detect.detector import (
    Detector,
    DetectorSpec,
    detector_from_dict,
    detector_to_dict,
    reset_classes,
    with_backbone,
)
from featherbone.detect.losses import detection_loss
from featherbone.detect.necks import NECKS, NeckSpec
from featherbone.detect.postprocess import postprocess
from featherbone.models import spec_from_row
from featherbone.spec import freeze
from featherbone.weights import Header

ANCHORS = (((10, 13), (16, 30)), ((30, 61), (62, 45)), ((59, 90), (90, 90)))
ROWS = {
    "free": DetectorSpec(
        backbone=fb.spec("shufflenet_v2_x0_5"),
        neck=NeckSpec(kind="fpn", widths=(32, 32, 32)),
        head="free",
        num_classes=3,
    ),
    "anchors": DetectorSpec(
        backbone=fb.spec("shufflenet_v2_x0_5"),
        neck=NeckSpec(kind="efm", widths=(16, 32, 32)),
        head="anchors",
        num_classes=3,
        anchors=ANCHORS,
    ),
}
EACH = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def made(row: DetectorSpec) -> Detector:
    torch.manual_seed(0)
    return randomize(row.build())


# rows


@EACH
def test_rows_become_plain_values_and_back(row: DetectorSpec) -> None:
    plain = json.loads(json.dumps(detector_to_dict(row)))
    assert plain["family"] == "detector"
    again = detector_from_dict(plain, spec_from_row)
    assert again == row
    assert hash(again) == hash(row)


def test_the_backbones_classifier_is_no_part_of_the_row() -> None:
    row = replace(ROWS["free"], backbone=fb.spec("shufflenet_v2_x0_5"))
    assert row == replace(row, backbone=replace(row.backbone, num_classes=7))
    assert row.in_chans == 3


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("free", {"num_classes": 0}, "num_classes=0 is not allowed"),
        ("free", {"num_classes": True}, "num_classes=True is not allowed"),
        ("free", {"head": "retina"}, "head='retina' is not allowed in a detector: anchors or free"),
        ("free", {"anchors": ANCHORS}, "none, for a free head"),
        ("anchors", {"anchors": ()}, r"anchors=\(\) is not allowed .* 3 scales"),
        ("anchors", {"anchors": ANCHORS[:2]}, "for each of the 3 scales as many"),
        ("anchors", {"anchors": (*ANCHORS[:2], ANCHORS[0][:1])}, "for each of the 3 scales as many"),
        ("anchors", {"anchors": (*ANCHORS[:2], ((0, 1), (1, 1)))}, "above 0"),
        ("anchors", {"anchors": (1, 2, 3)}, "widths and heights by scale"),
    ],
)
def test_columns_that_do_not_fit_are_named(kind: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(fb.InputError, match=said):
        replace(ROWS[kind], **changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"family": "x"}, "family 'x' is not allowed"),
        ({"num_class": 3}, r"column 'num_class' is unknown for a detector \(did you mean 'num_classes'"),
        ({"num_classes": None}, "num_classes=None"),
        ({"backbone": {"family": "densnet"}}, "family 'densnet' is unknown"),
        ({"neck": {}}, "neck"),
        ({"neck": 5}, "incomplete row for a neck: int"),
    ],
)
def test_plain_values_that_are_no_detector_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(fb.InputError, match=said):
        detector_from_dict({**detector_to_dict(ROWS["free"]), **change}, spec_from_row)
    lacking = {k: v for k, v in detector_to_dict(ROWS["free"]).items() if k != "neck"}
    with pytest.raises(fb.InputError, match="incomplete row for a detector: 'neck'"):
        detector_from_dict(lacking, spec_from_row)


def test_a_neck_that_needs_more_maps_than_there_are_is_refused() -> None:
    row = replace(ROWS["free"], neck=NeckSpec(kind="fpn", widths=(8,) * 6))
    with pytest.raises(fb.InputError, match="neck='fpn' needs 6 maps, but the backbone has 5"):
        row.build()


# what it answers


@pytest.mark.parametrize("neck", NECKS)
@EACH
def test_every_neck_and_head_answers_for_every_cell(row: DetectorSpec, neck: str) -> None:
    finest = 4 if neck == "cem" else 8  # which reads a map that is coarser than those it gives out
    detector = made(replace(row, neck=replace(NECKS[neck], widths=(16, 16, 16 if neck == "cem" else 32))))
    assert detector.head.strides == (finest, 2 * finest, 4 * finest)
    assert detector.multiple == 32
    cells = sum(64 * 96 // stride**2 for stride in detector.head.strides)
    with torch.no_grad():
        assert detector(torch.randn(2, 3, 64, 96)).shape == (2, cells * detector.head.per_cell, 4 + 3)


@EACH
def test_a_batch_is_its_images_one_by_one(row: DetectorSpec) -> None:
    detector = made(row).double()
    x = torch.randn(3, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        whole = detector(x)
        for i in range(3):
            assert torch.allclose(detector(x[i : i + 1])[0], whole[i], rtol=1e-9, atol=1e-9)


@EACH
def test_sides_are_multiples_of_the_largest_stride(row: DetectorSpec) -> None:
    detector = made(row)
    for height, width in ((64, 80), (90, 64), (0, 64)):
        with pytest.raises(fb.InputError, match=f"{height} x {width} pixels .* multiples of 32"):
            detector(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("row", slow_but(ROWS.values(), [*ROWS.values()][:1]), ids=ROWS)
def test_the_whole_detector_is_one_exported_graph(row: DetectorSpec) -> None:
    detector, x = made(row), torch.randn(2, 3, 64, 96)
    program = torch.export.export(detector, (x,))
    with torch.no_grad():
        assert torch.allclose(program.module()(x), detector(x), atol=1e-4)


class HeadAlone(torch.nn.Module):
    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.head = detector.head

    def forward(self, x: Tensor) -> Tensor:
        maps = [F.avg_pool2d(x, s).repeat(1, 11, 1, 1)[:, :32] for s in (8, 16, 32)]
        return self.head.predict(self.head(maps), (x.shape[2], x.shape[3]))


@pytest.mark.parametrize("row", slow_but(ROWS.values(), [*ROWS.values()][:1]), ids=ROWS)
def test_images_of_any_size_go_through_one_exported_head(row: DetectorSpec) -> None:
    head = HeadAlone(made(replace(row, neck=NeckSpec(kind="fpn", widths=(32, 32, 32)))))
    with torch.no_grad():
        sides = {2: 32 * torch.export.Dim("height", min=2, max=8), 3: 32 * torch.export.Dim("width", min=2, max=8)}
        shapes = ({0: torch.export.Dim("batch"), **sides},)
        program = torch.export.export(head, (torch.randn(2, 3, 64, 96),), dynamic_shapes=shapes)
        other = torch.randn(3, 3, 96, 160)
        assert torch.allclose(program.module()(other), head(other), atol=1e-4)


@EACH
def test_costs_are_counted(row: DetectorSpec) -> None:
    detector = made(row)
    cost = fb.cost(detector, 64)
    assert cost.params == sum(p.numel() for p in detector.parameters())
    assert cost.macs > 0


# refitting


@EACH
def test_other_classes_start_anew_and_the_rest_stays(row: DetectorSpec) -> None:
    detector, x = made(row), torch.randn(1, 3, 64, 64)
    other = reset_classes(detector, 7)
    assert other.spec == replace(row, num_classes=7)
    assert detector.spec == row
    with torch.no_grad():
        before, after = detector(x), other(x)
    assert torch.equal(before[..., :4], after[..., :4])
    assert after.shape[2] == 4 + 7
    assert [p.shape for p in other.parameters()] == [p.shape for p in other.spec.build().parameters()]
    with pytest.raises(fb.InputError, match="num_classes=0"):
        reset_classes(detector, 0)


@EACH
def test_a_trained_backbone_can_take_its_place(row: DetectorSpec) -> None:
    detector = made(row)
    torch.manual_seed(1)
    trained = randomize(replace(row.backbone, num_classes=5, drop_path=0.1).build(), seed=1)
    fitted = with_backbone(detector, trained)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = fb.Pyramid(trained, fitted.backbone.out_indices)(x)
        for ours, theirs, before in zip(fitted.backbone(x), wanted, detector.backbone(x), strict=True):
            assert torch.equal(ours, theirs)
            assert not torch.equal(ours, before)
    small = replace(row.backbone, stem_stride=2)
    with torch.no_grad():
        taken = with_backbone(detector, randomize(small.build(), seed=1)).backbone(x)
    assert [m.shape for m in taken] == [m.shape for m in wanted]
    with pytest.raises(fb.InputError, match="in_chans=1"):
        with_backbone(detector, replace(row.backbone, in_chans=1).build())
    with pytest.raises(fb.InputError, match="channels=.116, 232, 464.*, but the detector's is"):
        with_backbone(detector, fb.create_model("shufflenet_v2_x1_0"))


def test_a_stem_for_small_images_may_fit_no_other() -> None:
    row = replace(ROWS["free"], backbone=fb.spec("densenet121"))
    small = replace(row.backbone, stem_stride=1)
    with pytest.raises(fb.InputError, match=r"stem for small images \(stem_stride=1\), whose weights fit no other"):
        with_backbone(row.build(), small.build())


@EACH
def test_frozen_stages_do_not_learn(row: DetectorSpec) -> None:
    detector = made(row)
    detector.backbone = freeze(detector.backbone, 2)
    detector.train()
    before = {name: value.clone() for name, value in detector.backbone.state_dict().items()}
    detector(torch.randn(2, 3, 64, 64)).sum().backward()
    frozen = ("stem.", "stages.0.", "stages.1.")
    for name, weight in detector.backbone.named_parameters():
        assert (weight.grad is None) == name.startswith(frozen), name
    after = detector.backbone.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved
    assert not any(name.startswith(frozen) for name in moved)


# files


@EACH
def test_a_file_needs_nothing_else(row: DetectorSpec, tmp_path: Path) -> None:
    detector, file = made(row), tmp_path / "model.safetensors"
    preprocess = fb.Preprocess(size=64, mean=(0.5,) * 3, std=(0.25,) * 3, fit="letterbox")
    fb.save(detector, file, classes=("a", "b", "ü"), preprocess=preprocess)
    assert fb.read_header(tmp_path) == Header(row, ("a", "b", "ü"), preprocess)
    again = fb.load(file, Detector, num_classes=3)
    assert not again.training
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(again(x), detector(x))
    with pytest.raises(fb.InputError, match=r"holds a detector, not a classifier: load\(path, Detector\) reads it"):
        fb.load(file, fb.Backbone)
    with pytest.raises(fb.InputError, match="2 names, but the network has 3"):
        fb.save(detector, file, classes=("a", "b"))
    with pytest.raises(fb.InputError, match="num_classes=4"):
        fb.load(file, Detector, num_classes=4)


def test_a_detector_sees_whole_images(tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match="fit='crop' is not allowed for a detector"):
        fb.save(ROWS["free"].build(), tmp_path / "m.safetensors", preprocess=fb.Preprocess.usual(64, 3))
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_is_no_detector(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    fb.save(fb.create_model("shufflenet_v2_x0_5", num_classes=3), file)
    with pytest.raises(fb.InputError, match=r"holds a classifier, not a detector: load\(path, Backbone\) reads it"):
        fb.load(file, Detector)
    assert fb.load(file, fb.Backbone).spec.num_classes == 3


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"head": "x"}, "describes no network we know: head='x'"),
        ({"neck": None}, "describes no network we know: incomplete row"),
        ({"backbone": None}, "describes no network we know: incomplete row"),
        ({"backbone": "x"}, "describes no network we know: incomplete row"),
        ({"anchors": 5}, "describes no network we know: anchors=5"),
        ({"family": None}, "family 'None' is unknown"),
    ],
)
def test_damaged_headers_are_refused(damage: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    fb.save(made(ROWS["anchors"]), file)
    header = fb.read_header(file).to_dict()
    header["spec"].update(damage)
    save_file(load_file(file), file, metadata={"featherbone": json.dumps(header)})
    with pytest.raises(fb.InputError, match=said):
        fb.read_header(file)
    save_file(load_file(file), file, metadata={"featherbone": json.dumps({**header, "spec": [1]})})
    with pytest.raises(fb.InputError, match="damaged"):
        fb.read_header(file)


# learning


def rectangles() -> tuple[Tensor, Targets]:
    """Four grey images of 96 pixels with two to four rectangles, whose colours are their classes."""
    boxes = [
        [(4, 6, 40, 30, 0), (50, 40, 92, 90, 1), (60, 4, 80, 24, 2)],
        [(10, 10, 86, 86, 2), (0, 88, 20, 96, 0)],
        [(8, 50, 30, 92, 1), (40, 10, 56, 80, 0), (64, 12, 90, 40, 2), (66, 60, 90, 84, 1)],
        [(30, 30, 70, 60, 0), (2, 2, 18, 18, 1)],
    ]
    images = 0.1 * torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    for image, found in zip(images, boxes, strict=True):
        for x1, y1, x2, y2, label in found:
            image[:, y1:y2, x1:x2] += torch.eye(3)[label].view(3, 1, 1) * 2 - 0.5
    flat = torch.tensor([box for found in boxes for box in found])
    places = torch.tensor([i for i, found in enumerate(boxes) for _ in found])
    return images, Targets(flat[:, :4].float(), flat[:, 4], places)


@pytest.mark.slow
@EACH
def test_it_overfits_four_images(row: DetectorSpec) -> None:
    torch.manual_seed(0)
    detector, (images, truths) = row.build(), rectangles()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=120)
    for _ in range(120):
        optimizer.zero_grad()
        detection_loss(detector.head, detector.raw(images), truths, (96, 96)).mean().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    detector.eval()
    with torch.no_grad():
        found = postprocess(detector(images), score=0.3, iou=0.5)
    for image, boxes in enumerate(found):
        mine = truths.images == image
        overlap = box_iou(boxes.boxes, truths.boxes[mine]) * (boxes.labels[:, None] == truths.labels[mine])
        assert (overlap.amax(0) > 0.7).all(), (image, boxes, overlap)
        assert len(boxes) == mine.sum()  # and nothing else
