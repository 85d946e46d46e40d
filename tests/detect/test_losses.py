"""The losses of detectors: they equal their definitions, box by box, and obey what must hold for any loss."""

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, distance_box_iou_loss

import featherbone as fb
from featherbone.detect import assignment
from featherbone.detect.assignment import Targets, align, nearest_anchors
from featherbone.detect.heads import AnchoredHead, BoxHead, FreeHead, joined
from featherbone.detect.losses import BOX_LOSSES, BoxLoss, _box, detection_loss, detection_parts

SIZE = (64, 96)
ANCHORS = (((10.0, 13.0), (16.0, 30.0)), ((30.0, 61.0), (62.0, 45.0)))
CLASSES = 3
HEADS: dict[str, BoxHead] = {
    "anchors": AnchoredHead((8, 8), (8, 16), CLASSES, ANCHORS),
    "free": FreeHead((8, 8), (8, 16), CLASSES),
}
ALL = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
KINDS = pytest.mark.parametrize("kind", BOX_LOSSES)


def predictions(head: BoxHead, batch: int = 3, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, cells * head.per_cell, head.plain + CLASSES) for cells in (96, 24)]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def some_truths(batch: int = 3, each: int = 6, seed: int = 0) -> Targets:
    """Boxes of all sizes; the last image has none."""
    generator = torch.Generator().manual_seed(seed)
    count = (batch - 1) * each
    centres = torch.rand(count, 2, generator=generator) * torch.tensor([96.0, 64.0])
    halves = 1 + torch.rand(count, 2, generator=generator) ** 2 * 40
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return Targets(torch.cat((centres - halves, centres + halves), 1), labels, torch.arange(count) // each)


NONE = Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))


def test_all_names_of_box_losses_are_known() -> None:
    assert get_args(BoxLoss) == BOX_LOSSES
    head = HEADS["free"]
    with pytest.raises(fb.InputError, match=r"box_loss='cio' is not allowed \(did you mean 'ciou'\?\)"):
        detection_loss(head, predictions(head), NONE, SIZE, box_loss="cio")  # type: ignore[arg-type]


def test_truths_must_fit_each_other() -> None:
    with pytest.raises(fb.InputError, match=r"\(2, 4\), \(1,\), \(2,\)"):
        Targets(torch.zeros(2, 4), torch.zeros(1), torch.zeros(2))


# definitions


def yolov3(head: AnchoredHead, raw: list[Tensor], targets: Targets) -> list[float]:
    """YOLOv3's loss of every image as its paper and code define it, in loops."""
    decoded, flat = head.predict(raw, SIZE), joined(raw)
    losses = []
    for image in range(len(flat)):
        mine = [i for i in range(len(targets.boxes)) if targets.images[i] == image]
        objects, total = torch.zeros(flat.shape[1]), torch.zeros((), dtype=torch.float64)
        for i in mine:
            x1, y1, x2, y2 = targets.boxes[i].tolist()
            w, h = x2 - x1, y2 - y1
            fits = []
            for level, shapes in enumerate(ANCHORS):
                for number, (aw, ah) in enumerate(shapes):
                    shared = min(w, aw) * min(h, ah)
                    fits.append((shared / (w * h + aw * ah - shared), level, number))
            _, level, number = max(fits)
            stride = (8, 16)[level]
            column = min(max(int((x1 + x2) / 2 // stride), 0), SIZE[1] // stride - 1)
            row = min(max(int((y1 + y2) / 2 // stride), 0), SIZE[0] // stride - 1)
            place = (0, 192)[level] + (row * (SIZE[1] // stride) + column) * 2 + number
            objects[place] = 1
            t = flat[image, place]
            wanted = ((x1 + x2) / 2 / stride - column, (y1 + y2) / 2 / stride - row)
            aw, ah = ANCHORS[level][number]
            error = (t[0].sigmoid() - min(max(wanted[0], 0), 1)) ** 2 + (
                t[1].sigmoid() - min(max(wanted[1], 0), 1)
            ) ** 2
            error = error + (t[2] - math.log(w / aw)) ** 2 + (t[3] - math.log(h / ah)) ** 2
            total = total + (2 - w * h / (SIZE[0] * SIZE[1])) * error / 2
            for label in range(CLASSES):
                total = total - F.logsigmoid(t[5 + label] if label == targets.labels[i] else -t[5 + label])
        overlaps = box_iou(decoded[image, :, :4], targets.boxes[mine].double())
        fine = overlaps.amax(1) > 0.7 if mine else torch.zeros(len(overlaps), dtype=torch.bool)
        for place, score in enumerate(flat[image, :, 4]):
            if objects[place]:
                total = total - F.logsigmoid(score)
            elif not fine[place]:
                total = total - F.logsigmoid(-score)
        losses.append(total.item())
    return losses


@pytest.mark.parametrize("seed", range(3))
def test_the_anchored_loss_is_yolov3s(seed: int) -> None:
    head = HEADS["anchors"]
    assert isinstance(head, AnchoredHead)
    raw, targets = predictions(head, seed=seed), some_truths(seed=seed)
    # a prediction that fits a box of its image well, though its anchor is not the box's
    decoded = head.predict(raw, SIZE)[0].detach()
    spare = next(i for i in range(100, 192) if (decoded[i, 2:4] - decoded[i, :2]).min() > 3)
    good = Targets(
        torch.cat((targets.boxes, decoded[spare : spare + 1, :4].float() + 0.1)),
        torch.cat((targets.labels, torch.tensor([1]))),
        torch.cat((targets.images, torch.tensor([0]))),
    )
    wanted = yolov3(head, raw, good)
    assert detection_loss(head, raw, good, SIZE, box_loss="mse").tolist() == pytest.approx(wanted)
    divided = detection_loss(head, raw, good, SIZE, box_loss="mse", boxes_per_image=3.5)
    assert divided.tolist() == pytest.approx([loss / 3.5 for loss in wanted])


def aligned(head: FreeHead, raw: list[Tensor], targets: Targets) -> set[tuple[int, int, float]]:
    """Task-aligned pairs by their definition, in loops: (truth, place, weight)."""
    decoded, flat = head.predict(raw, SIZE), joined(raw)
    places = head.priors(SIZE, flat)
    claims: dict[tuple[int, int], list[tuple[float, int, float]]] = {}
    best: dict[int, int] = {}
    for i, (x1, y1, x2, y2) in enumerate(targets.boxes.tolist()):
        image = int(targets.images[i])
        inside = [p for p, (x, y, _) in enumerate(places.tolist()) if x1 <= x <= x2 and y1 <= y <= y2]
        middle = torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2])
        found = []
        for p in inside or [int((places[:, :2] - middle).norm(dim=1).argmin())]:
            overlap = box_iou(decoded[image, p : p + 1, :4], targets.boxes[i : i + 1].double()).item()
            found.append((decoded[image, p, 4 + targets.labels[i]].item() * max(overlap, 1e-6) ** 6, p, overlap))
        for measure, p, overlap in sorted(found, reverse=True)[: assignment.MOST]:
            claims.setdefault((image, p), []).append((measure, i, overlap))
        best[i] = max(found)[1]
    for (_, p), claimed in claims.items():
        claimed[:] = [claim for claim in claimed if best[claim[1]] == p] or claimed
    won = {place: max(claimed) for place, claimed in claims.items()}
    pairs = set()
    for (_, p), (measure, i, _) in won.items():
        mine = [(m, overlap) for m, owner, overlap in won.values() if owner == i]
        reached = max(0.5, *(overlap for _, overlap in mine))
        pairs.add((i, p, round(measure / max(m for m, _ in mine) * reached, 9)))
    return pairs


@pytest.mark.parametrize("seed", range(3))
def test_task_alignment_is_what_it_is_defined_as(seed: int) -> None:
    head = HEADS["free"]
    assert isinstance(head, FreeHead)
    raw, targets = predictions(head, seed=seed), some_truths(seed=seed, each=12)
    tiny = torch.tensor([[17.0, 17.0, 19.0, 19.0], [17.0, 17.0, 90.0, 60.0]])  # no centre in it; and many
    targets = Targets(
        torch.cat((targets.boxes, tiny)),
        torch.cat((targets.labels, torch.tensor([0, 2]))),
        torch.cat((targets.images, torch.tensor([1, 1]))),
    )
    flat = joined(raw).detach()
    found = align(head, flat, targets.like(flat), SIZE)
    pairs = zip(found.targets.tolist(), found.predictions.tolist(), found.weights.tolist(), strict=True)
    assert {(i, p, round(weight, 9)) for i, p, weight in pairs} == aligned(head, raw, targets)
    cells = list(zip(targets.images[found.targets].tolist(), found.predictions.tolist(), strict=True))
    assert len(set(cells)) == len(cells)  # a prediction answers for one box


# what must hold


@ALL
@KINDS
def test_an_image_without_boxes_teaches_background_alone(head: BoxHead, kind: BoxLoss) -> None:
    raw = predictions(head)
    parts = detection_parts(head, raw, NONE, SIZE, box_loss=kind)
    assert torch.equal(parts["box"], torch.zeros(3, dtype=torch.float64))
    background = joined(raw)[..., 4 : 5 if "objectness" in parts else None]
    loss = torch.stack(list(parts.values())).sum(0)
    assert torch.allclose(loss, F.softplus(background).sum((1, 2)))
    for grad in torch.autograd.grad(loss.sum(), raw):
        assert grad.isfinite().all()
        assert not grad[..., :4].any()


@ALL
@KINDS
def test_order_does_not_matter(head: BoxHead, kind: BoxLoss) -> None:
    raw, targets = predictions(head), some_truths()
    loss = detection_loss(head, raw, targets, SIZE, box_loss=kind)
    order = torch.randperm(len(targets.boxes), generator=torch.Generator().manual_seed(1))
    shuffled = Targets(targets.boxes[order], targets.labels[order], targets.images[order])
    assert torch.allclose(detection_loss(head, raw, shuffled, SIZE, box_loss=kind), loss, rtol=1e-12)
    images = torch.tensor([2, 0, 1])
    turned = Targets(targets.boxes, targets.labels, images.argsort()[targets.images])
    moved = detection_loss(head, [x[images] for x in raw], turned, SIZE, box_loss=kind)
    assert torch.allclose(moved, loss[images], rtol=1e-12)


@ALL
def test_boxes_are_compared_few_at_a_time(head: BoxHead, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few: 64 images of 1,000 boxes each would else take gigabytes."""
    raw, targets = predictions(head), some_truths(each=40)
    wanted = detection_loss(head, raw, targets, SIZE)
    for pairs in (1, 500):
        monkeypatch.setattr(assignment, "_PAIRS", pairs)
        assert torch.equal(detection_loss(head, raw, targets, SIZE), wanted)


@ALL
@KINDS
def test_every_image_has_its_own_loss(head: BoxHead, kind: BoxLoss) -> None:
    """So that processes that share a batch, however they share it, sum to the same."""
    raw, targets = predictions(head), some_truths()
    loss = detection_loss(head, raw, targets, SIZE, box_loss=kind)
    for image in range(3):
        mine = targets.images == image
        alone = Targets(targets.boxes[mine], targets.labels[mine], targets.images[mine] * 0)
        one = detection_loss(head, [x[image : image + 1] for x in raw], alone, SIZE, box_loss=kind)
        assert torch.allclose(one, loss[image], rtol=1e-12)


@ALL
@pytest.mark.parametrize("kind", BOX_LOSSES[1:])  # squared errors also weigh by the box's share of the image
def test_a_box_weighs_the_same_among_many(head: BoxHead, kind: BoxLoss) -> None:
    """What is seen twice in one image costs as much as in two images, and so does background."""
    raw, wide = predictions(head, batch=2), (SIZE[0], 2 * SIZE[1])
    boxes = torch.tensor([[10.0, 8, 34, 40], [20.0, 10, 70, 60], [60.0, 30, 90, 62]])
    targets = Targets(boxes, torch.tensor([0, 1, 2]), torch.zeros(3, dtype=torch.long))
    once = detection_loss(head, raw, targets, SIZE, box_loss=kind, boxes_per_image=3.0)
    twice = Targets(
        torch.cat((boxes, boxes + torch.tensor([SIZE[1], 0, SIZE[1], 0]))),
        targets.labels.repeat(2),
        targets.images.repeat(2),
    )
    grids = zip(raw, head.strides, strict=True)
    rows = [x.reshape(len(x), SIZE[0] // stride, -1, x.shape[-1]) for x, stride in grids]
    beside = [torch.cat((x, x), 2).flatten(1, 2) for x in rows]
    both = detection_loss(head, beside, twice, wide, box_loss=kind, boxes_per_image=3.0)
    assert torch.allclose(both, 2 * once, rtol=1e-6)


@ALL
@pytest.mark.parametrize("count", [0.0, -1.0, math.nan])
def test_a_number_of_boxes_must_be_positive(head: BoxHead, count: float) -> None:
    with pytest.raises(fb.InputError, match=r"boxes_per_image=.* is not allowed: a number above 0"):
        detection_loss(head, predictions(head), NONE, SIZE, boxes_per_image=count)


def mirrored(head: BoxHead, raw: list[Tensor]) -> list[Tensor]:
    """Predictions for the mirrored images: cells change places, and what points to the left points to the right."""
    turned = []
    for x, stride in zip(raw, head.strides, strict=True):
        grid = x.detach().reshape(len(x), SIZE[0] // stride, SIZE[1] // stride, head.per_cell, -1)
        grid = grid.flip(2).reshape(x.shape)
        left, top, right, bottom, rest = grid.tensor_split((1, 2, 3, 4), -1)
        sides = (right, top, left) if isinstance(head, FreeHead) else (-left, top, right)  # or an offset in the cell
        turned.append(torch.cat((*sides, bottom, rest), -1))
    return turned


@ALL
@KINDS
def test_mirrored_images_cost_the_same(head: BoxHead, kind: BoxLoss) -> None:
    raw, targets = predictions(head), some_truths()
    x1, y1, x2, y2 = targets.boxes.unbind(1)
    turned = Targets(torch.stack((SIZE[1] - x2, y1, SIZE[1] - x1, y2), 1), targets.labels, targets.images)
    loss = detection_loss(head, raw, targets, SIZE, box_loss=kind)
    assert torch.allclose(detection_loss(head, mirrored(head, raw), turned, SIZE, box_loss=kind), loss, rtol=1e-5)


@ALL
def test_mirrored_predictions_are_mirrored_boxes(head: BoxHead) -> None:
    raw = predictions(head)
    boxes, turned = head.predict(raw, SIZE), head.predict(mirrored(head, raw), SIZE)
    there = torch.cat((SIZE[1] - turned[..., [2]], turned[..., [1]], SIZE[1] - turned[..., [0]], turned[..., 3:]), -1)
    for image, mirror in zip(boxes, there, strict=True):
        assert torch.allclose(image[image[:, 4].argsort()], mirror[mirror[:, 4].argsort()], rtol=1e-9)


@ALL
@KINDS
def test_twice_as_large_costs_the_same(head: BoxHead, kind: BoxLoss) -> None:
    """Images, boxes, strides and anchors together: nothing is measured in pixels."""
    double: BoxHead = FreeHead((8, 8), (16, 32), CLASSES)
    if isinstance(head, AnchoredHead):
        double = AnchoredHead((8, 8), (16, 32), CLASSES, [[(2 * w, 2 * h) for w, h in scale] for scale in ANCHORS])
    raw, targets = predictions(head), some_truths()
    larger = Targets(2 * targets.boxes, targets.labels, targets.images)
    size = (2 * SIZE[0], 2 * SIZE[1])
    loss = detection_loss(head, raw, targets, SIZE, box_loss=kind)
    assert torch.allclose(detection_loss(double, raw, larger, size, box_loss=kind), loss, rtol=1e-6)
    boxes = head.predict(raw, SIZE)
    assert torch.allclose(double.predict(raw, size)[..., :4], 2 * boxes[..., :4], rtol=1e-9)


def one_truth(head: BoxHead) -> tuple[Targets, Tensor, Tensor]:
    """A box, and numbers that answer with it for all predictions that could."""
    target = Targets(torch.tensor([[21.0, 13.0, 50.0, 47.0]]), torch.tensor([1]), torch.tensor([0]))
    like = torch.zeros(1, dtype=torch.float64)
    places = head.priors(SIZE, like)
    wanted = head.encode(target.boxes.double(), places)
    if isinstance(head, AnchoredHead):
        wanted = torch.cat((wanted[:, :2].clamp(1e-6, 1 - 1e-6).logit(), wanted[:, 2:]), 1)
    return target, wanted, places


@ALL
@KINDS
def test_a_prediction_that_comes_nearer_costs_less(head: BoxHead, kind: BoxLoss) -> None:
    target, wanted, _ = one_truth(head)
    start = joined(predictions(head, batch=1)).detach()
    values = []
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0):
        flat = start.clone()
        flat[0, :, :4] = start[0, :, :4].lerp(wanted, share)
        values.append(detection_parts(head, [flat], target, SIZE, box_loss=kind)["box"].item())
    if isinstance(head, AnchoredHead):  # without anchors, better boxes weigh more
        assert all(later < earlier for earlier, later in pairwise(values))
    assert values[-1] == pytest.approx(0, abs=1e-6)
    assert values[0] > 0.1


@ALL
@KINDS
def test_right_classes_cost_less(head: BoxHead, kind: BoxLoss) -> None:
    target, wanted, _ = one_truth(head)
    flat = torch.full((1, len(wanted), head.plain + CLASSES), -6.0, dtype=torch.float64)
    flat[0, :, :4] = wanted
    losses = []
    for label in (0, 1):
        right = flat.clone()
        matches = nearest_anchors(head, target, SIZE) if isinstance(head, AnchoredHead) else None
        place = matches.predictions[0] if matches else 2 * 12 + 4
        right[0, place, 4:] = -6
        right[0, place, 4 : head.plain] = 6
        right[0, place, head.plain + label] = 6
        losses.append(detection_loss(head, [right], target, SIZE, box_loss=kind).item())
    assert losses[1] < losses[0] - 5


@ALL
@KINDS
def test_gradients_of_boxes_are_finite_differences(head: BoxHead, kind: BoxLoss) -> None:
    targets, flat = some_truths(batch=2, each=5), joined(predictions(head, batch=2)).detach()
    targets = targets.like(flat)
    if isinstance(head, AnchoredHead):
        matches = nearest_anchors(head, targets, SIZE)
    else:
        assert isinstance(head, FreeHead)
        matches = align(head, flat, targets, SIZE)
    images = targets.images[matches.targets]
    given = flat[images, matches.predictions, :4].clone().requires_grad_()

    def loss(numbers: Tensor) -> Tensor:
        whole = flat.clone()
        whole[images, matches.predictions, :4] = numbers
        return _box(head, whole, targets, matches, SIZE, kind).sum()

    if kind != "ciou":
        assert torch.autograd.gradcheck(loss, given)
        return
    # CIoU's weight alpha is held while learning (Zheng et al., arXiv 1911.08287 eq. 11)
    wanted, places = targets.boxes[matches.targets], head.priors(SIZE, flat)[matches.predictions]

    def shape(boxes: Tensor) -> Tensor:
        return ((boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])).atan()

    boxes = head.decode(given.detach(), places)
    v = 4 / math.pi**2 * (shape(wanted) - shape(boxes)) ** 2
    alpha = v / (1 - assignment.paired_iou(boxes, wanted) + v)

    def held(numbers: Tensor) -> Tensor:
        boxes = head.decode(numbers, places)
        v = 4 / math.pi**2 * (shape(wanted) - shape(boxes)) ** 2
        return 5 * (distance_box_iou_loss(boxes, wanted) + alpha * v).sum()

    assert torch.autograd.gradcheck(held, given)
    ours, theirs = torch.autograd.grad(loss(given), given)[0], torch.autograd.grad(held(given), given)[0]
    assert loss(given).item() == pytest.approx(held(given).item(), rel=1e-6)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-8)


@ALL
@KINDS
def test_odd_boxes_and_wild_predictions_keep_the_loss_finite(head: BoxHead, kind: BoxLoss) -> None:
    odd = torch.tensor(
        [
            [5.0, 5.0, 5.0, 5.0],
            [5.0, 5.0, 4.0, 60.0],
            [-900.0, -900.0, -800.0, -800.0],
            [0.0, 0.0, 96.0, 64.0],
            [0.0, 0.0, 1e6, 1e6],
            [95.999, 63.999, 96.0, 64.0],
            [96.0, 64.0, 96.0, 64.0],
            [10.0, 10.0, 40.0, 40.0],
            [10.0, 10.0, 40.0, 40.0],
        ]
    )
    targets = Targets(odd, torch.arange(9) % CLASSES, torch.zeros(9, dtype=torch.long))
    for scale in (1.0, 100.0, 1e4):
        raw = [(x.detach() * scale).float().requires_grad_() for x in predictions(head, batch=1)]
        loss = detection_loss(head, raw, targets, SIZE, box_loss=kind)
        assert loss.isfinite().all()
        assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss.sum(), raw))


@ALL
def test_low_precision_ends_before_the_loss(head: BoxHead) -> None:
    raw, targets = [x.detach().bfloat16().requires_grad_() for x in predictions(head)], some_truths()
    with torch.autocast("cpu", torch.bfloat16):
        loss = detection_loss(head, raw, targets, SIZE)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, detection_loss(head, [x.float() for x in raw], targets, SIZE))
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss.sum(), raw))


def test_a_box_between_all_centres_is_learned_by_the_nearest() -> None:
    head = HEADS["free"]
    assert isinstance(head, FreeHead)
    target = Targets(torch.tensor([[14.0, 14.0, 17.5, 17.5]]), torch.tensor([0]), torch.tensor([0]))
    flat = joined(predictions(head, batch=1)).detach()
    found = align(head, flat, target.like(flat), SIZE)
    assert found.predictions.tolist() == [1 * 12 + 1]  # centre (12, 12)
    assert found.weights.item() >= 0.5


def test_a_box_inside_another_keeps_the_cell_that_sees_it_best() -> None:
    """Though the larger one claims every cell that it has, and fits better in each."""
    head = HEADS["free"]
    assert isinstance(head, FreeHead)
    boxes = torch.tensor([[9.0, 9, 31, 31], [10.0, 10, 22, 22]])
    targets = Targets(boxes, torch.tensor([0, 1]), torch.zeros(2, dtype=torch.long))
    flat = torch.zeros_like(joined(predictions(head, batch=1))).detach()
    places = head.priors(SIZE, flat)
    flat[0, :, :4] = head.encode(boxes[:1].expand(len(places), 4).to(flat), places)
    centres = [tuple(place) for place in places[:, :2].tolist()]
    flat[0, centres.index((28.0, 28.0)), 4] = 1
    flat[0, centres.index((20.0, 20.0)), 5] = 1
    found = align(head, flat, targets.like(flat), SIZE)
    assert [centres[place] for place in found.predictions[found.targets == 1]] == [(20.0, 20.0)]
    assert len(found.predictions[found.targets == 0]) == 9
