"""A detector's scores are COCO's, its confusion adds up, and its answers are in the pixels of the image."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.paths import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

import featherbone as fb
from featherbone.data.box_transforms import evaluation_boxes
from featherbone.data.dataset import Annotations, Dataset
from featherbone.data.loader import BoxPipeline, loader
from featherbone.data.open import DETECTION
from featherbone.evaluation.average_precision import DetectionEvaluation, score_boxes
from featherbone.evaluation.detection import detect_images, detector_outputs, found_in
from featherbone.evaluation.matching import ImageDetections
from featherbone.training.detection import BoxWatch

DATA = SHARED
NAMES = ("a", "b", "c")


def truth(rows: Sequence[Sequence[float]] = (), crowd: Sequence[int] = ()) -> Annotations:
    """Rows are x1, y1, x2, y2, label."""
    values = np.array(rows, np.float32).reshape(-1, 5)
    return Annotations(values[:, :4], values[:, 4].astype(np.int64), np.isin(np.arange(len(values)), crowd))


def found(rows: Sequence[Sequence[float]] = ()) -> ImageDetections:
    """Rows are x1, y1, x2, y2, score, label."""
    values = np.array(rows, np.float32).reshape(-1, 6)
    return ImageDetections(values[:, :4], values[:, 4], values[:, 5].astype(np.int64))


def pycocotools(postprocess: Sequence[ImageDetections], truths: Sequence[Annotations], classes: int) -> COCOeval:
    """Score with the original, in its own way: a results file's rows."""

    def sides(box: np.ndarray) -> list[float]:
        x1, y1, x2, y2 = (float(edge) for edge in box)
        return [x1, y1, x2 - x1, y2 - y1]

    known, given_ = COCO(), COCO()
    known.dataset = {
        "info": {},
        "images": [{"id": i} for i in range(1, len(truths) + 1)],
        "categories": [{"id": k} for k in range(1, classes + 1)],
        "annotations": [
            {"image_id": i, "category_id": int(k) + 1, "bbox": sides(box), "iscrowd": int(crowd)}
            for i, one in enumerate(truths, 1)
            for box, k, crowd in zip(one.boxes, one.labels, one.crowd, strict=True)
        ],
    }
    for number, row in enumerate(known.dataset["annotations"], 1):
        row |= {"id": number, "area": row["bbox"][2] * row["bbox"][3]}
    known.createIndex()
    rows = [
        {"image_id": i, "category_id": int(k) + 1, "bbox": sides(box), "score": float(score)}
        for i, one in enumerate(postprocess, 1)
        for box, score, k in zip(one.boxes, one.scores, one.labels, strict=True)
    ]
    if rows:
        given_ = known.loadRes(rows)
    else:
        given_.dataset = {**known.dataset, "annotations": []}
        given_.createIndex()
    original = COCOeval(known, given_, "bbox")
    original.evaluate()
    original.accumulate()
    original.summarize()
    return original


def random_boxes(random: np.random.Generator, count: int) -> np.ndarray:
    """Draw boxes of all sizes, some with an area exactly at a border between small, medium and large."""
    sides = random.choice([8.0, 32.0, 96.0, *random.uniform(1, 250, 6)], (count, 2))
    return np.concatenate([(start := random.uniform(0, 300, (count, 2))), start + sides], 1).astype(np.float32)


def scene(
    seed: int, images: int, max_detections: int, classes: int, crowds: float, *, ties: bool
) -> tuple[list[ImageDetections], list[Annotations]]:
    """Draw truths, and answers of which many are near them."""
    random = np.random.default_rng(seed)
    truths, postprocess = [], []
    for _ in range(images):
        boxes = random_boxes(random, int(random.integers(0, max_detections + 1)))
        labels = random.integers(0, classes, len(boxes))
        truths.append(Annotations(boxes, labels, random.random(len(boxes)) < crowds))
        near = np.repeat(boxes, 2, 0)[random.random(2 * len(boxes)) < 0.7]
        near_labels = np.repeat(labels, 2)[: len(near)]
        near = near + random.normal(0, 4, near.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        others = random_boxes(random, int(random.integers(0, max_detections + 1)))
        all_boxes = np.concatenate([near, others]).astype(np.float32)
        all_labels = np.concatenate([near_labels, random.integers(0, classes, len(others))])
        scores = random.random(len(all_boxes))
        postprocess.append(ImageDetections(all_boxes, scores.round(1) if ties else scores, all_labels))
    return postprocess, truths


def assert_equal(ours: DetectionEvaluation, original: COCOeval) -> None:
    stats = [None if value < 0 else value for value in original.stats]
    expected = dict(zip(("ap", "ap50", "ap75", "small", "medium", "large"), stats, strict=False))
    expected["recall"] = stats[8]
    for name, value in expected.items():
        assert getattr(ours, name) == (None if value is None else pytest.approx(value, abs=1e-9)), name
    precision = original.eval["precision"][:, :, :, 0, -1]
    for k, score in enumerate(ours.classes):
        if score.boxes:
            assert score.ap == pytest.approx(precision[:, :, k].mean(), abs=1e-9)
            assert score.ap50 == pytest.approx(precision[0, :, k].mean(), abs=1e-9)
            assert np.abs(ours.curves[k] - precision[0, :, k]).max() < 1e-9
        else:
            assert score.ap is None
            assert np.isnan(ours.curves[k]).all()


def assert_sound(ours: DetectionEvaluation, truths: Sequence[Annotations]) -> None:
    """Check what the confusion and the best point must fulfil, whatever was found."""
    counts = ours.confusion
    boxes = [int(((one.labels == k) & ~one.crowd).sum()) for k in range(3) for one in truths]
    assert counts[:-1].sum(1).tolist() == np.reshape(boxes, (3, -1)).sum(1).tolist()
    right, said = counts[:-1, :-1].trace(), counts[:, :-1].sum()
    assert ours.best.recall == pytest.approx(right / max(1, sum(boxes)))
    assert ours.best.precision == pytest.approx(right / max(1, said))
    assert json.loads(json.dumps(ours.to_dict(), allow_nan=False))["ap"] == ours.ap


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    images=st.integers(1, 5),
    max_detections=st.sampled_from([0, 1, 3, 12]),
    crowds=st.sampled_from([0.0, 0.3, 1.0]),
    ties=st.booleans(),
)
def test_scores_are_those_of_pycocotools(
    seed: int, images: int, max_detections: int, crowds: float, *, ties: bool
) -> None:
    postprocess, truths = scene(seed, images, max_detections, 3, crowds, ties=ties)
    ours = score_boxes(postprocess, truths, NAMES)
    assert_equal(ours, pycocotools(postprocess, truths, 3))
    assert_sound(ours, truths)


def test_a_thousand_boxes_in_an_image() -> None:
    postprocess, truths = scene(0, 1, 1000, 3, 0.02, ties=False)
    assert len(postprocess[0].boxes) > 1000
    ours = score_boxes(postprocess, truths, NAMES)
    assert_equal(ours, pycocotools(postprocess, truths, 3))
    assert_sound(ours, truths)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.25, 1.0, 8.0]), crowds=st.sampled_from([0.0, 0.3]))
def test_mirrored_or_resized_images_have_the_same_scores(seed: int, scale: float, crowds: float) -> None:
    """All but those by area, which are in pixels. The side is one that binary numbers take exactly."""
    postprocess, truths = scene(seed, 3, 8, 3, crowds, ties=False)

    def moved(boxes: np.ndarray) -> np.ndarray:
        return scale * np.stack((1024 - boxes[:, 2], boxes[:, 1], 1024 - boxes[:, 0], boxes[:, 3]), 1)

    before = score_boxes(postprocess, truths, NAMES)
    after = score_boxes(
        [ImageDetections(moved(one.boxes), one.scores, one.labels) for one in postprocess],
        [Annotations(moved(one.boxes), one.labels, one.crowd) for one in truths],
        NAMES,
    )
    for name in ("ap", "ap50", "ap75", "recall"):
        assert getattr(after, name) == pytest.approx(getattr(before, name))
    assert np.array_equal(after.confusion, before.confusion)


BOX = (10.0, 10.0, 50.0, 50.0)


@pytest.mark.parametrize(
    ("answers", "truths"),
    [
        ([found()], [truth()]),
        ([found([(*BOX, 0.9, 0)])], [truth()]),
        ([found()], [truth([(*BOX, 0)])]),
        ([found([(*BOX, 0.9, 0)])], [truth([(*BOX, 0)])]),
        ([found([(*BOX, 0.9, 0)]), found()], [truth([(*BOX, 0)], crowd=[0]), truth()]),
        ([found([(*BOX, 0.5, 0), (*BOX, 0.5, 1)])], [truth([(*BOX, 1)])]),
        ([found([(10, 10, 10, 10, 0.5, 0)])], [truth([(10, 10, 10, 10, 0)])]),
    ],
)
def test_the_smallest_cases(
    answers: list[ImageDetections], truths: list[Annotations], capsys: pytest.CaptureFixture[str]
) -> None:
    ours = score_boxes(answers, truths, NAMES)
    assert capsys.readouterr() == ("", "")
    assert_equal(ours, pycocotools(answers, truths, 3))
    assert_sound(ours, truths)


def test_no_truth_has_no_score_and_a_perfect_answer_has_one() -> None:
    nothing = score_boxes([found([(*BOX, 0.9, 0)])], [truth()], NAMES)
    assert (nothing.ap, nothing.small, nothing.recall, nothing.best.f1) == (None, None, None, 0.0)
    assert np.isnan(nothing.curve).all()
    perfect = score_boxes([found([(*BOX, 0.9, 1)])], [truth([(*BOX, 1)])], NAMES)
    assert (perfect.ap, perfect.ap50, perfect.medium) == pytest.approx((1, 1, 1))
    assert (perfect.small, perfect.large) == (None, None)
    assert (perfect.best.score, perfect.best.f1) == pytest.approx((0.9, 1))
    assert [(c.images, c.boxes) for c in perfect.classes] == [(0, 0), (1, 1), (0, 0)]
    with pytest.raises(fb.InputError, match="detections of 1 images and targets of 2"):
        score_boxes([found()], [truth(), truth()], NAMES)


def test_confusion_says_what_is_taken_for_what() -> None:
    far = (200.0, 200.0, 240.0, 240.0)
    known = truth([(*BOX, 0), (100, 100, 140, 140, 1), (300, 300, 340, 340, 2)])
    said = found(
        [
            (*BOX, 0.99, 1),  # the right one comes second, and still counts
            (*BOX, 0.95, 0),
            (101, 100, 140, 140, 0.9, 2),  # taken for c
            (*far, 0.85, 0),  # nothing
            (300, 300, 340, 340, 0.8, 2),
            (*far, 0.1, 1),  # below the best score
        ]
    )
    ours = score_boxes([said], [known], NAMES)
    assert ours.confusion.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 0]]
    assert ours.best.score == pytest.approx(0.8)
    assert (ours.best.precision, ours.best.recall) == pytest.approx((2 / 5, 2 / 3))


def test_what_lies_in_a_crowd_is_no_mistake() -> None:
    known = truth([(0, 0, 100, 100, 0), (*BOX, 1)], crowd=[0])
    said = found([(20, 20, 40, 40, 0.9, 0), (60, 60, 90, 90, 0.8, 0), (*BOX, 0.7, 1), (20, 20, 40, 40, 0.95, 2)])
    ours = score_boxes([said], [known], NAMES)
    assert ours.confusion[:, 0].tolist() == [0, 0, 0, 0]
    assert ours.best.precision == pytest.approx(1 / 2)  # the c is a mistake: the crowd is one of a


class Seer(nn.Module):
    """Find bright rectangles on black: boxes of whole connected columns, in pixels of the input."""

    def forward(self, x: Tensor) -> Tensor:
        rows = []
        for image in x:
            places = (image.amax(0) > 150).nonzero()
            (top, left), (bottom, right) = places.amin(0).tolist(), (places.amax(0) + 1).tolist()
            label = int(image[:, (top + bottom) // 2, (left + right) // 2].argmax())
            scores = [0.02] * 3
            scores[label] = 0.9
            box = [float(left), float(top), float(right), float(bottom)]
            rows.append([[*box, *scores], [box[0] + 1, *box[1:], *(0.8 * score for score in scores)]])
        return torch.tensor(rows)


LETTERBOX = fb.Preprocess(size=96, mean=(0.0,) * 3, std=(1 / 255,) * 3, fit="letterbox")


def seen(count: int = 7) -> Dataset[Annotations]:
    random = np.random.default_rng(1)
    sources, truths = [], []
    for i in range(count):
        width, height = (int(side) for side in random.integers(100, 400, 2))
        (x1, x2), (y1, y2) = ((side // 8, side // 8 + int(random.integers(30, 70))) for side in (width, height))
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[y1:y2, x1:x2, i % 3] = 250
        sources.append(pixels)
        truths.append(truth([(x1, y1, x2, y2, i % 3)]))
    return Dataset(tuple(sources), tuple(truths))


def test_what_a_detector_finds_is_in_pixels_of_the_image(tmp_path: Path) -> None:
    images = seen()
    outputs = detector_outputs(Seer(), images, LETTERBOX, NAMES, batch_size=3, quiet=True)
    ours = outputs.evaluation()
    assert ours.ap50 == pytest.approx(1)
    assert ours.confusion[:3, :3].tolist() == np.diag([3, 2, 2]).tolist()
    for one, known, pixels in zip(outputs.found, images.targets, images.sources, strict=True):
        assert isinstance(pixels, np.ndarray)
        assert np.abs(one.boxes[0] - known.boxes[0]).max() <= 1.1 * max(pixels.shape) / 96  # a pixel of the input
        assert one.labels[0] == known.labels[0]
        assert sorted(one.labels) == [0, 1, 2]  # of those of a class that overlap, one stays
    path = tmp_path / "one.png"
    Image.fromarray(images.sources[0]).save(path)  # type: ignore[arg-type]
    (tmp_path / "none.jpg").write_bytes(b"")
    detections, skipped = detect_images(
        Seer(), [path, tmp_path / "none.jpg", images.sources[1]], LETTERBOX, NAMES, quiet=True
    )
    assert [(Path(file.path).name, file.reason) for file in skipped] == [("none.jpg", "the file is empty")]
    assert [one.image for one in detections] == [str(path), "image 2"]
    assert np.allclose(detections[0].found.boxes, outputs.found[0].boxes[:1], atol=1e-4)  # only what is sure
    shown = detections[0].to_dict()
    assert json.loads(json.dumps(shown)) == shown
    assert [(box["class"], box["score"]) for box in shown["boxes"]] == [("a", 0.9)]
    assert (shown["height"], shown["width"]) == images.sources[0].shape[:2]  # type: ignore[union-attr]
    with pytest.raises(fb.InputError, match="'letterbox'"):
        detect_images(Seer(), [path], fb.Preprocess.usual(96, 3), NAMES, quiet=True)


def test_scores_while_training_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    images = seen()
    outputs = detector_outputs(Seer(), images, LETTERBOX, NAMES, quiet=True)
    shares = [BoxWatch(images, NAMES) for _ in range(2)]
    for rank, watch in enumerate(shares):
        watch.update(outputs.found[:2], torch.tensor([0, 1]))
        watch.reset()
        watch.update(outputs.found[rank::2], torch.arange(rank, len(images), 2))

    def gathered(into: list[Any], own: Any) -> None:
        assert own is shares[0]._found
        into[:] = [watch._found for watch in reversed(shares)]

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_gather_object", gathered)
    assert shares[0].compute().to_dict() == outputs.evaluation().to_dict()


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared images are not here")
def test_real_boxes_survive_the_way_to_a_network_and_back() -> None:
    names = ("RBC", "WBC", "Platelets")
    everything, _ = DETECTION.images(DATA / "bccd" / "test.json", names, quiet=True)
    images = everything.pick(range(12))
    preprocess = fb.Preprocess.usual(416, 3, fit="letterbox")
    watch = BoxWatch(images, names)
    for pixels, targets in loader(
        images, BoxPipeline(evaluation_boxes(preprocess)), channels=3, batch_size=5, workers=0, shuffle=True
    ):
        output = torch.zeros(len(pixels), len(targets.boxes), 7)  # of every image its own boxes, and nothing else
        output[:, :, :4] = targets.boxes
        output[targets.images, torch.arange(len(targets.boxes)), 4 + targets.labels] = 1
        watch.update(found_in(output, targets, 416, iou=1.0), targets.places)
    ours = watch.compute()
    assert (ours.ap, ours.recall, ours.best.f1) == pytest.approx((1, 1, 1))
    assert [score.boxes for score in ours.classes] == ours.confusion.diagonal()[:3].tolist()
    for place, one in watch._found.items():
        rows = np.lexsort(one.boxes.round(1).T), np.lexsort(images.targets[place].boxes.round(1).T)
        assert np.abs(one.boxes[rows[0]] - images.targets[place].boxes[rows[1]]).max() < 1e-3
