"""Heads say where their numbers stand, stay finite whatever they read, and anchors fit the boxes they come from."""

import json
import math

import pytest
import torch
from helpers.paths import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import featherbone as fb
from featherbone.detect.anchors import cluster_anchors, mean_best_iou, shape_iou
from featherbone.detect.heads import AnchoredHead, BoxHead, FreeHead
from featherbone.detect.postprocess import postprocess

ANCHORS = (((10.0, 13.0), (16.0, 30.0)), ((30.0, 61.0), (62.0, 45.0)))
SIZE = (64, 96)
YOLOV3 = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
BCCD = SHARED / "bccd" / "train.json"


def make(kind: str, num_classes: int = 3) -> BoxHead:
    torch.manual_seed(0)
    if kind == "anchors":
        return AnchoredHead((8, 12), (8, 16), num_classes, ANCHORS)
    return FreeHead((8, 12), (8, 16), num_classes)


def maps(batch: int = 2) -> list[Tensor]:
    return [torch.randn(batch, c, SIZE[0] // s, SIZE[1] // s) for c, s in ((8, 8), (12, 16))]


HEADS = pytest.mark.parametrize("head", [make("anchors"), make("free")], ids=["anchors", "free"])


@HEADS
def test_there_is_a_prediction_for_every_cell_and_anchor(head: BoxHead) -> None:
    raw = head(maps())
    outputs = head.plain + 3
    assert [x.shape for x in raw] == [(2, 96 * head.per_cell, outputs), (2, 24 * head.per_cell, outputs)]
    assert head.predict(raw, SIZE).shape == (2, 120 * head.per_cell, 4 + 3)


@HEADS
def test_cells_come_row_by_row_with_their_anchors_innermost(head: BoxHead) -> None:
    x = maps()
    head.eval()
    raw = head(x)
    plane = head.levels[0](x[0]).unflatten(1, (head.per_cell, -1))  # (B, anchors, outputs, H, W)
    for row, column, anchor in ((0, 0, 0), (0, 5, 0), (3, 7, head.per_cell - 1)):
        assert torch.equal(raw[0][:, (row * 12 + column) * head.per_cell + anchor], plane[:, anchor, :, row, column])


def test_zeros_are_an_anchor_in_the_middle_of_its_cell() -> None:
    head = make("anchors")
    found = head.predict([torch.zeros(1, 96 * 2, 8), torch.zeros(1, 24 * 2, 8)], SIZE)[0]
    assert found[0].tolist() == [-1.0, -2.5, 9.0, 10.5, 0.25, 0.25, 0.25]
    assert found[2 * (12 + 3) + 1, :4].tolist() == [20.0, -3.0, 36.0, 27.0]  # centre (28, 12), 16 x 30
    assert found[192 + 2 * (6 + 2), :4].tolist() == [25.0, -6.5, 55.0, 54.5]  # centre (40, 24), 30 x 61


def test_zeros_are_a_stride_to_every_side() -> None:
    found = make("free").predict([torch.zeros(1, 96, 7), torch.zeros(1, 24, 7)], SIZE)[0]
    assert found[0].tolist() == [-4.0, -4.0, 12.0, 12.0, 0.5, 0.5, 0.5]
    assert found[12 + 3, :4].tolist() == [20.0, 4.0, 36.0, 20.0]
    assert found[96 + 6 + 2, :4].tolist() == [24.0, 8.0, 56.0, 40.0]


@HEADS
@settings(deadline=None)
@given(
    st.integers(0, 119),
    st.tuples(*[st.floats(0.01, 0.99)] * 2),
    st.tuples(*[st.floats(0.2, 20.0)] * 2),
)
def test_what_a_prediction_should_be_decodes_to_the_box(
    head: BoxHead, cell: int, within: tuple[float, float], sides: tuple[float, float]
) -> None:
    like = torch.zeros(1, dtype=torch.float64)
    place = head.priors(SIZE, like)[cell * head.per_cell]
    anchored = isinstance(head, AnchoredHead)
    corner, stride = place[:2] - (0 if anchored else place[2] / 2), place[2]
    # a prediction without anchors stands at its cell's centre, which its box contains
    half = torch.tensor(sides, dtype=torch.float64) * stride / 2 + (0 if anchored else stride / 2)
    centre = corner + torch.tensor(within, dtype=torch.float64) * stride
    box = torch.cat((centre - half, centre + half))
    wanted = head.encode(box, place)
    numbers = torch.cat((wanted[:2].logit(), wanted[2:])) if anchored else wanted
    assert torch.allclose(head.decode(numbers, place), box, rtol=1e-9)
    assert torch.allclose(head.coordinates(numbers), wanted, rtol=1e-9)


@HEADS
@pytest.mark.parametrize("value", [-math.inf, -1e30, -200.0, 200.0, 1e30, math.inf])
def test_boxes_and_probabilities_are_finite_whatever_is_predicted(head: BoxHead, value: float) -> None:
    raw = [torch.full((1, n * head.per_cell, head.plain + 3), value, requires_grad=True) for n in (96, 24)]
    found = head.predict(raw, SIZE)
    assert found.isfinite().all()
    assert (found[..., 2:4] > found[..., :2]).all()
    assert ((found[..., 4:] >= 0) & (found[..., 4:] <= 1)).all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(found.sum(), raw))


@HEADS
def test_low_precision_ends_before_pixels(head: BoxHead) -> None:
    raw = [x.bfloat16() for x in head(maps())]
    found = head.predict(raw, SIZE)
    assert found.dtype == torch.float32
    assert torch.equal(found, head.predict([x.float() for x in raw], SIZE))


@pytest.mark.parametrize("kind", ["anchors", "free"])
@pytest.mark.parametrize("classes", [1, 3, 80])
def test_at_first_nearly_everything_is_background(kind: str, classes: int) -> None:
    """However many classes there are: or their sum would be all that is learned for a while."""
    head = make(kind, classes).eval()
    with torch.no_grad():
        assert 0.004 < head.predict(head(maps()), SIZE)[..., 4:].sum(-1).mean() < 0.015
        head.reset(2 * classes)
        assert 0.004 < head.predict(head(maps()), SIZE)[..., 4:].sum(-1).mean() < 0.015


@pytest.mark.parametrize("kind", ["anchors", "free"])
def test_other_classes_leave_the_boxes_as_they_are(kind: str) -> None:
    head, x = make(kind).eval(), maps()
    before = head(x)
    head.reset(5)
    assert head.num_classes == 5
    after = head(x)
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old[..., : head.plain], new[..., : head.plain])
        assert new.shape[-1] == head.plain + 5
    assert torch.equal(head.predict(before, SIZE)[..., :4], head.predict(after, SIZE)[..., :4]) or kind == "anchors"


# anchors


SIDES = st.floats(1, 512, allow_subnormal=False).map(lambda side: round(side, 1))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=60), st.integers(1, 3), st.integers(1, 3), st.integers(0))
def test_clusters(boxes: list[tuple[float, float]], levels: int, per_level: int, seed: int) -> None:
    sizes, seed = torch.tensor(boxes, dtype=torch.float64), seed % 2**31
    found = cluster_anchors(sizes, levels, per_level, seed)
    assert found == cluster_anchors(sizes, levels, per_level, seed)
    assert [len(scale) for scale in found] == [per_level] * levels
    flat = torch.tensor([shape for scale in found for shape in scale], dtype=torch.float64)
    assert (flat > 0).all()
    areas = flat.prod(1)
    assert (areas.diff() >= -1e-9).all()
    different = len(torch.unique(sizes, dim=0))
    if different >= len(flat):  # no anchor is idle
        assert (shape_iou(sizes, flat).argmax(1).bincount(minlength=len(flat)) > 0).all()
    if different <= len(flat):
        assert mean_best_iou(sizes, found) == pytest.approx(1)
    doubled = cluster_anchors(sizes * 2, levels, per_level, seed)
    assert doubled == tuple(tuple((2 * w, 2 * h) for w, h in scale) for scale in found)


def test_clusters_find_what_is_there() -> None:
    torch.manual_seed(0)
    kinds = torch.tensor([[10.0, 10.0], [20.0, 60.0], [80.0, 30.0], [200.0, 200.0]])
    sizes = (kinds[:, None] * (1 + 0.05 * torch.randn(4, 100, 2))).flatten(0, 1)
    (found,) = cluster_anchors(sizes, 1, 4)
    assert torch.allclose(torch.tensor(found), kinds[[0, 1, 2, 3]], rtol=0.03)


def test_anchors_of_real_boxes_fit_better_than_published_ones() -> None:
    if not BCCD.exists():
        pytest.skip("the blood cells are not beside the checkout")
    boxes = json.loads(BCCD.read_text(encoding="utf-8"))["annotations"]
    sizes = torch.tensor([box["bbox"][2:] for box in boxes], dtype=torch.float64) * (416 / 640)
    own = mean_best_iou(sizes, cluster_anchors(sizes, 3, 3))
    published = [tuple((w * s, h * s) for w, h in YOLOV3) for s in (0.1, 0.14, 0.2, 0.28, 0.4, 0.57, 0.8, 1, 1.4, 2)]
    best = max(mean_best_iou(sizes, (scaled,)) for scaled in published)
    assert own > best + 0.05, (own, best)


@pytest.mark.parametrize("sizes", [torch.zeros(0, 2), torch.ones(3), torch.tensor([[1.0, 0.0]])])
def test_boxes_without_area_have_no_anchors(sizes: Tensor) -> None:
    with pytest.raises(fb.InputError, match="sizes of shape"):
        cluster_anchors(sizes, 3, 3)


# answers


def output(*found: tuple[list[float], list[float]]) -> Tensor:
    return torch.tensor([[*box, *scores] for box, scores in found])[None]


def test_the_best_of_a_class_that_overlap_is_the_answer() -> None:
    near, far = [0.0, 0, 10, 10], [50.0, 50, 60, 60]
    shifted = [1.0, 0, 11, 10]
    (found,) = postprocess(output((near, [0.5, 0.1]), (shifted, [0.9, 0.01]), (far, [0.04, 0.7])))
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.1])  # the other class of the first box stays
    assert found.labels.tolist() == [0, 1, 1]
    assert found.boxes.tolist() == [shifted, far, near]
    assert len(found) == 3


def test_what_sticks_out_is_kept_apart_from_other_classes() -> None:
    """Classes are told apart by moving their boxes: one far beyond the top left must not come to lie on another."""
    whole, beyond = [0.0, 0, 416, 416], [-417.0, -417, 4, 4]
    (found,) = postprocess(output((whole, [0.9, 0.0]), (beyond, [0.0, 0.8])), iou=0.5)
    assert found.boxes.tolist() == [whole, beyond]


def test_answers_are_at_most_so_many_and_may_be_none() -> None:
    torch.manual_seed(0)
    corners = torch.rand(3, 4000, 2) * 400
    many = torch.cat((corners, corners + 1 + torch.rand(3, 4000, 2), torch.rand(3, 4000, 2)), 2)
    many[1, :, 4:] = 0
    many[2, :, 4:] = math.nan
    found = postprocess(many)
    assert [len(image) for image in found] == [100, 0, 0]
    assert (found[0].scores.diff() <= 0).all()
    again = postprocess(many)
    assert torch.equal(found[0].boxes, again[0].boxes)
    assert [len(image) for image in postprocess(many, max_detections=7)] == [7, 0, 0]
    assert postprocess(torch.zeros(0, 10, 6)) == []
    with pytest.raises(fb.InputError, match="output of shape"):
        postprocess(torch.zeros(10, 6))
