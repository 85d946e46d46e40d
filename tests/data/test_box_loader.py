"""Images with boxes as batches: letterboxes and the way back, mosaics, and epochs that can be made again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.fabric.utilities.apply_func import move_data_to_device
from PIL import Image
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

import featherbone as fb
from featherbone.data.box_transforms import evaluation_boxes, training_boxes
from featherbone.data.dataset import Annotations, Dataset
from featherbone.data.letterbox import FILL, Placement
from featherbone.data.loader import BoxPipeline, BoxTargets, drawn_side, loader, rescaled
from featherbone.data.transforms import evaluation_transform

PLAIN = fb.Preprocess(size=64, mean=(0.0,) * 3, std=(1 / 255,) * 3, fit="letterbox")  # inputs are pixel values
COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250))


def truth(*rows: tuple[float, ...], crowd: tuple[int, ...] = ()) -> Annotations:
    """Rows are x1, y1, x2, y2, label."""
    values = np.array(rows, np.float32).reshape(-1, 5)
    return Annotations(values[:, :4], values[:, 4].astype(np.int64), np.isin(np.arange(len(values)), crowd))


def rectangles(count: int = 8) -> Dataset[Annotations]:
    """Make dark images with two bright rectangles each, whose colour is their class."""
    random = np.random.default_rng(0)
    sources, truths = [], []
    for _ in range(count):
        width, height = (int(side) for side in random.integers(70, 160, 2))
        pixels = np.full((height, width, 3), 20, np.uint8)
        rows = []
        for half in range(2):  # left and right: they do not overlap
            label = int(random.integers(3))
            x1 = half * width // 2 + int(random.integers(0, 8))
            y1 = int(random.integers(0, height - 40))
            x2, y2 = x1 + int(random.integers(16, 26)), y1 + int(random.integers(16, 40))
            pixels[y1:y2, x1:x2] = COLOURS[label]
            rows.append((x1, y1, x2, y2, label))
        sources.append(pixels)
        truths.append(truth(*rows))
    return Dataset(tuple(sources), tuple(truths))


@given(
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    side=st.integers(1, 1024),
    scale=st.floats(0.2, 2),
    corner=st.tuples(st.integers(-500, 500), st.integers(-500, 500)),
    seed=st.integers(0, 99),
)
def test_boxes_come_back_from_wherever_an_image_is_drawn(
    size: tuple[int, int], side: int, scale: float, corner: tuple[int, int], seed: int
) -> None:
    placement = replace(Placement.letterbox(size, side, scale), corner=corner)
    points = np.sort(np.random.default_rng(seed).uniform(0, 1, (5, 2, 2)), 1) * size
    boxes = points.reshape(5, 4).astype(np.float32)
    assert np.abs(placement.back(placement.onto(boxes)) - boxes).max() < 1e-6
    whole = placement.onto(np.array([[0, 0, *size]], np.float32))[0]
    assert np.allclose(whole, (*corner, *np.add(corner, placement.drawn)), atol=1e-6)
    if scale == 1:
        assert max(placement.drawn) == side


@given(size=st.tuples(st.integers(20, 2000), st.integers(20, 2000)), seed=st.integers(0, 99))
def test_the_answers_of_a_network_come_back_to_a_thousandth_of_a_pixel(size: tuple[int, int], seed: int) -> None:
    placement = Placement.letterbox(size, 416)
    points = np.sort(np.random.default_rng(seed).uniform(0, 1, (5, 2, 2)), 1) * size
    answered = torch.from_numpy(placement.onto(points.reshape(5, 4))).float()  # as a network has them
    assert np.abs(placement.back(answered.numpy()) - points.reshape(5, 4)).max() < 1e-3
    outside = np.array([[-9.0, -9.0, 999.0, 999.0]])
    assert placement.back(outside).tolist() == [[0, 0, *size]]


def test_a_letterbox_shows_the_whole_image_at_the_top_left() -> None:
    image = Image.new("RGB", (80, 40), (200, 100, 50))
    pixels = evaluation_transform(PLAIN)(image)
    assert pixels.shape == (3, 64, 64)
    assert (pixels[:, :32] - torch.tensor([200, 100, 50]).view(3, 1, 1)).abs().max() < 1e-3
    assert (pixels[:, 32:] - FILL).abs().max() < 1e-3
    grey = fb.Preprocess.usual(64, 1, fit="letterbox")
    assert evaluation_transform(grey)(image.convert("L"))[:, 40:].abs().max() < 0.02  # nearly the mean


def test_preprocessing_knows_how_an_image_fits() -> None:
    assert fb.Preprocess.from_dict(PLAIN.to_dict()) == PLAIN
    old = {key: value for key, value in fb.Preprocess.usual(64, 3).to_dict().items() if key != "fit"}
    assert fb.Preprocess.from_dict(old).fit == "crop"
    with pytest.raises(fb.InputError, match="fit='stretch' is not allowed: crop or letterbox"):
        fb.Preprocess.from_dict({**old, "fit": "stretch"})
    with pytest.raises(fb.InputError, match=r"crop=0.9 is not allowed with fit='letterbox'"):
        fb.Preprocess.usual(64, 3, crop=0.9, fit="letterbox")
    with pytest.raises(fb.InputError, match="'letterbox'"):
        evaluation_boxes(fb.Preprocess.usual(64, 3))


def wrong_pixels(images: Tensor, targets: BoxTargets) -> float:
    """Return how many pixels of the boxes, a border left out, have not the colour of their class, as a share."""
    wrong, count = 0, 0
    for box, label, image in zip(targets.boxes.tolist(), targets.labels.tolist(), targets.images.tolist(), strict=True):
        x1, y1, x2, y2 = round(box[0]) + 2, round(box[1]) + 2, round(box[2]) - 2, round(box[3]) - 2
        inside = images[image, :, max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)].flatten(1)
        if inside.shape[1]:
            wrong += int((inside.argmax(0) != label).sum() + (inside.amax(0) < 150).sum())
            count += inside.shape[1]
    assert count > 500
    return wrong / count


def batches(
    images: Dataset[Annotations], transform: Any, epoch: int = 0, **more: Any
) -> list[tuple[Tensor, BoxTargets]]:
    given = loader(images, BoxPipeline(transform), **{"channels": 3, "batch_size": 4, "workers": 0, **more})
    given.order.set_epoch(epoch)
    return list(given)


VARIED = training_boxes(PLAIN, mosaic=0.5, scale=(0.6, 1.6), flip=0.5, color_jitter=0.2)


def test_boxes_stay_on_what_they_are_drawn_round() -> None:
    images = rectangles(24)
    for transform in (evaluation_boxes(PLAIN), training_boxes(PLAIN, mosaic=0.5, scale=(0.6, 1.6), flip=0.5)):
        for pixels, targets in batches(images, transform, batch_size=24):
            assert wrong_pixels(pixels, targets) < 0.01
            assert targets.boxes.min() >= 0
            assert targets.boxes.max() <= 64
            for side in (32, 96):
                other, moved = rescaled(pixels, targets, side)
                assert other.shape == (24, 3, side, side)
                assert wrong_pixels(*rescaled(other, moved, 64)) < 0.03


def test_a_mosaic_shows_four_images_and_a_box_that_is_hardly_seen_is_dropped() -> None:
    _, four = batches(rectangles(8), training_boxes(PLAIN, mosaic=1.0), batch_size=8)[0]
    assert len(four.labels) > 16  # more than two each
    cut = Dataset((np.zeros((64, 64, 3), np.uint8),) * 120, (truth((0, 0, 20, 64, 0)),) * 120)
    _, targets = batches(cut, training_boxes(PLAIN, scale=(2.0, 2.0)), batch_size=120)[0]
    assert 25 < len(targets.labels) < 55  # about a third
    widths, heights = (targets.boxes[:, 2:] - targets.boxes[:, :2]).unbind(1)
    assert set(heights.tolist()) == {64}  # half of it is in sight everywhere
    assert 20 <= widths.min() < 30  # half of the width, too, is a quarter of the area
    assert widths.max() <= 40


def test_what_an_epoch_shows_depends_on_its_seed_and_number_alone() -> None:
    images = rectangles(10)

    def epoch(number: int, **more: Any) -> list[Tensor]:
        torch.manual_seed(number * 77)  # the state of the global generator must not matter
        found = batches(images, VARIED, number, shuffle=True, **more)
        return [part for pixels, targets in found for part in (pixels, *targets)]

    def same(a: list[Tensor], b: list[Tensor]) -> bool:
        return len(a) == len(b) and all(x.shape == y.shape and torch.equal(x, y) for x, y in zip(a, b, strict=True))

    first = epoch(3)
    assert same(first, epoch(3))
    assert same(first, epoch(3, workers=2))
    assert not same(first, epoch(4))
    assert not same(first, epoch(3, seed=1))
    given = loader(images, BoxPipeline(VARIED), channels=3, batch_size=4, workers=0, shuffle=True)
    given.order.set_epoch(3)
    i = given.order.places(1)[2]
    assert torch.equal(given.dataset[i][0], first[6][2])  # a single example, made again by itself


def test_processes_share_batches_and_skip_the_last_if_they_get_none_of_it() -> None:
    images = rectangles(9)
    whole = batches(images, evaluation_boxes(PLAIN), batch_size=8)
    shares = [batches(images, evaluation_boxes(PLAIN), batch_size=8, rank=rank, world=2) for rank in range(2)]
    assert [len(share) for share in shares] == [2, 1]
    assert torch.equal(shares[1][0][0], whole[0][0][1::2])
    assert shares[1][0][1].places.tolist() == [1, 3, 5, 7]


def test_crowds_and_specks_are_not_learned_from() -> None:
    odd = truth((0, 0, 30, 30, 0), (5, 5, 60, 60, 1), (7, 7, 7, 40, 2), (200, 0, 240, 30, 2), crowd=(1,))
    one = Dataset((np.zeros((64, 64, 3), np.uint8),), (odd,))
    for transform in (evaluation_boxes(PLAIN), training_boxes(PLAIN)):
        (_, targets), *_ = batches(one, transform)
        assert targets.boxes.tolist() == [[0, 0, 30, 30]]
        assert targets.places.tolist() == [0]
        assert targets.sizes.tolist() == [[64, 64]]


def test_images_without_boxes_are_batches_too() -> None:
    none = Dataset((np.zeros((50, 64, 3), np.uint8),) * 3, (truth(),) * 3)
    for transform in (evaluation_boxes(PLAIN), VARIED):
        (pixels, targets), *_ = batches(none, transform)
        assert pixels.shape == (3, 3, 64, 64)
        assert targets.boxes.shape == (0, 4)
        assert targets.labels.dtype == targets.images.dtype == torch.int64


def test_targets_move_and_are_pinned_as_tensors_are(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batches(rectangles(4), evaluation_boxes(PLAIN))[0]
    moved = move_data_to_device(batch, torch.device("meta"))
    assert isinstance(moved[1], BoxTargets)
    assert all(part.device.type == "meta" for part in (moved[0], *moved[1]))
    assert batch[1].to("meta").boxes.shape == batch[1].boxes.shape
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor + 1)
    pinned = pin_memory(batch)  # type: ignore[no-untyped-call]
    assert isinstance(pinned[1], BoxTargets)
    assert torch.equal(pinned[1].labels, batch[1].labels + 1)


def test_a_side_is_drawn_for_every_batch() -> None:
    sides = [drawn_side(416, 0.25, seed=0, epoch=0, batch=batch) for batch in range(200)]
    assert set(sides) == {320, 352, 384, 416, 448, 480, 512}
    assert sides == [drawn_side(416, 0.25, seed=0, epoch=0, batch=batch) for batch in range(200)]
    assert drawn_side(416, 0.0, seed=0, epoch=0, batch=7) == 416
    images, targets = batches(rectangles(4), evaluation_boxes(PLAIN))[0]
    assert rescaled(images, targets, 64)[0] is images


def test_an_image_that_has_gone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(b"no image")
    gone = Dataset((path,), (truth(),))
    with pytest.raises(fb.InputError, match=r"one\.png can no longer be read: not an image"):
        batches(gone, evaluation_boxes(PLAIN))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"mosaic": 2.0}, "mosaic=2.0"), ({"scale": (0.0, 1.0)}, "scale="), ({"scale": (2.0, 1.0)}, "scale=")],
)
def test_impossible_variation_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(fb.InputError, match=said):
        training_boxes(PLAIN, **wrong)
