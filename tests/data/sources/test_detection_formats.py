"""Detection data sets of every format open to the same truths."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.annotation_formats import (
    CLASSES,
    PARTS,
    WRITERS,
    Drawn,
    Parts,
    boxes_of,
    drawn,
    wanted,
    write_coco,
    write_voc,
    write_yolo,
)
from helpers.paths import SHARED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import featherbone as fb
from featherbone.data.boxes import boxes_per_image
from featherbone.data.dataset import Annotations, Dataset, DetectionData, ScanResult
from featherbone.data.open import DETECTION, is_detection, list_boxes


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_opens_to_the_same(form: str, tmp_path: Path) -> None:
    root = WRITERS[form](tmp_path / "set", PARTS)
    assert is_detection(root)
    listing = list_boxes(root)
    assert listing is not None
    assert (listing.format, list(listing.splits)) == (form, ["train", "val", "test"])
    data = DETECTION.open(root, quiet=True)
    assert data.classes == (tuple(sorted(CLASSES)) if form == "Pascal VOC" else CLASSES)
    assert boxes_of(data.train, data.classes) == wanted(PARTS, "train")
    assert boxes_of(data.val, data.classes) == wanted(PARTS, "val")
    assert (data.channels, data.size, data.skipped) == (3, 416, ())
    truth = data.train.targets[0]
    assert [str(values.dtype) for values in (truth.boxes, truth.labels, truth.crowd)] == ["float32", "int64", "bool"]
    tested, skipped = DETECTION.images(root, CLASSES, split="test", quiet=True)
    assert boxes_of(tested, CLASSES) == wanted(PARTS, "test")
    assert skipped == ()
    assert boxes_of(DETECTION.images(root, CLASSES, quiet=True)[0], CLASSES) == wanted(PARTS, "val")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31))
def test_any_set_is_the_same_in_every_format(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    random = np.random.default_rng(seed)
    images = [drawn(random, f"{i}.png", CLASSES) for i in range(4)]
    # every class somewhere, so that the formats that state none know them too
    images.append(Drawn("all.png", (60, 50), [((5, 5, 9, 8 + i), name, False) for i, name in enumerate(CLASSES)]))
    parts: Parts = {"train": images, "val": images[-1:]}
    found = []
    for write in WRITERS.values():
        data = DETECTION.open(write(tmp_path_factory.mktemp("any") / "set", parts), quiet=True)
        found.append(boxes_of(data.train, data.classes))
    assert found[0] == found[1] == found[2] == wanted(parts, "train")


def test_crowds_and_what_is_difficult(tmp_path: Path) -> None:
    parts: Parts = {"all": [Drawn(f"{i}.png", (60, 40), [((1, 2, 30, 40), "dog", i == 1)]) for i in range(3)]}
    for root in (write_coco(tmp_path / "coco", parts, ("dog",)), write_voc(tmp_path / "voc", parts)):
        (images, _) = DETECTION.images(root, ("dog",), quiet=True)
        assert [truth.crowd.tolist() for truth in images.targets] == [[False], [True], [False]]


@pytest.mark.parametrize("form", ["COCO", "Pascal VOC", "YOLO", "beside", "file"])
def test_what_nobody_has_split_is_split_by_the_seed(form: str, tmp_path: Path) -> None:
    images = [Drawn(f"{i:02}.png", (60, 40), [((1, 2, 30, 40), "dog", False)] * (i < 15)) for i in range(20)]
    parts: Parts = {"all": images}
    if form in WRITERS and form != "YOLO":
        source = WRITERS[form](tmp_path / "set", parts)
    elif form == "file":
        source = write_coco(tmp_path / "set", parts, CLASSES) / "all.json"
    else:
        source = write_yolo(tmp_path / "set", parts, CLASSES, described=False)
        if form == "beside":
            for file in [*(source / "images").iterdir(), *(source / "labels").iterdir()]:
                file.rename(source / file.name)  # the empty folders stay
    listing = list_boxes(source)
    assert listing is not None
    assert list(listing.splits) == ["all"]
    first, again, other = (DETECTION.open(source, seed=seed, quiet=True) for seed in (0, 0, 1))
    assert (len(first.train), len(first.val)) == (16, 4)
    assert sum(len(truth.labels) for truth in first.val.targets) == 3  # a fifth of those with boxes
    assert set(first.train.sources).isdisjoint(first.val.sources)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_fingerprint_knows_boxes_and_not_places(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "one", PARTS, CLASSES)
    first = DETECTION.open(root, quiet=True).fingerprint
    assert DETECTION.open(shutil.copytree(root, tmp_path / "two"), quiet=True).fingerprint == first
    text = (root / "train.json").read_text()
    (root / "train.json").write_text(text.replace("[10, 10,", "[10, 11,"))
    assert DETECTION.open(root, quiet=True).fingerprint != first
    inside = tmp_path / "two" / "annotations"
    inside.mkdir()
    (tmp_path / "two" / "train.json").rename(inside / "instances_train2017.json")
    one = DETECTION.open(inside / "instances_train2017.json", quiet=True)
    assert one.root == tmp_path / "two"
    assert (
        one.fingerprint
        == DETECTION.open(
            shutil.copytree(tmp_path / "two", tmp_path / "3") / "annotations" / "instances_train2017.json"
        ).fingerprint
    )


def test_a_second_look_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_yolo(tmp_path / "set", PARTS, CLASSES)
    (root / "images" / "train" / "b.png").write_bytes(b"\x89PNG")
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("L", (40, 20)).save(root / "images" / "train" / "turned.jpg", exif=exif)
    (root / "labels" / "train" / "turned.txt").write_text("0 .5 .5 .5 .5\n7 1 1 1 1\n")
    first = DETECTION.open(root, quiet=True)
    assert [file.path for file in first.skipped] == ["images/train/b.png", "images/train/turned.jpg (boxes)"]
    monkeypatch.setattr("featherbone.data.assemble.scan_image", None)
    again = DETECTION.open(root, scan=ScanResult(first.skipped, grey=False), quiet=True)
    assert again.fingerprint == first.fingerprint
    assert again.skipped == first.skipped
    assert first.train.targets[-1].boxes.tolist() == [[5, 10, 15, 30]]  # 20 wide and 40 high, once upright
    (root / "images" / "train" / "a.png").write_bytes(b"")
    with pytest.raises(fb.InputError, match="train/a.png in .* can no longer be read: the file is empty"):
        DETECTION.open(root, scan=ScanResult(first.skipped, grey=False), quiet=True)


def test_a_set_is_what_it_is_made_of() -> None:
    truth = Annotations(np.zeros((1, 4), np.float32), np.zeros(1, np.int64), np.zeros(1, bool))
    images = Dataset.of((Path(f"{i}.png"), truth) for i in range(3))
    assert len(images) == 3
    assert images.pick([2, 0]).sources == (Path("2.png"), Path("0.png"))
    data = DetectionData(name="x", classes=("a",), channels=3, train=images, val=images.pick([0]))
    assert data.fingerprint != replace(data, val=images.pick([1])).fingerprint
    assert data.fingerprint != replace(data, classes=("b",)).fingerprint


def test_boxes_of_an_image_are_counted_without_crowds() -> None:
    truths = [
        Annotations(np.zeros((len(crowd), 4), np.float32), np.zeros(len(crowd), np.int64), np.array(crowd, bool))
        for crowd in ([False, True, False], [], [False, False, False])
    ]
    images = Dataset.of((Path(f"{i}.png"), truth) for i, truth in enumerate(truths))
    assert boxes_per_image(images) == pytest.approx(5 / 3)
    assert boxes_per_image(images.pick([0])) == 2
    assert boxes_per_image(images.pick([1])) == 1  # by which losses are divided
    assert boxes_per_image(Dataset((), ())) == 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared images are not here")
def test_blood_cells() -> None:
    root = SHARED / "bccd"
    data = DETECTION.open(root, quiet=True)
    assert (len(data.train), len(data.val)) == (205, 87)
    test, _ = DETECTION.images(root, data.classes, split="test", quiet=True)
    assert [sum(len(truth.labels) for truth in part.targets) for part in (data.train, data.val, test)] == [
        2804,
        1137,
        945,
    ]
    assert (data.classes, data.channels, data.skipped) == (("RBC", "WBC", "Platelets"), 3, ())


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared images are not here")
def test_coco128() -> None:
    data = DETECTION.open(SHARED / "coco128_train", seed=3, quiet=True)
    truths = [*data.train.targets, *data.val.targets]
    assert (len(truths), sum(len(truth.labels) for truth in truths), len(data.classes)) == (128, 929, 80)
    assert sum(not len(truth.labels) for truth in truths) == 2
    assert data.classes[:3] == ("person", "bicycle", "car")
    assert len(data.val) == 25
    assert [one.path for one in data.skipped] == ["semantic_masks/", "semantic_classes.json"]
