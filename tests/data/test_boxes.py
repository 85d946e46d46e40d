"""Boxes lie on their images, labels are what they were, and what is unusable is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.annotation_formats import (
    CLASSES,
    PARTS,
    Drawn,
    Parts,
    boxes_of,
    coco,
    wanted,
    write_coco,
    write_yolo,
)
from PIL import Image

import featherbone as fb
from featherbone.data.dataset import ScanResult
from featherbone.data.open import DETECTION, list_boxes


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("file", ["a.png", "a.tif"])
def test_boxes_lie_on_what_they_were_drawn_round(orientation: int, upright: bool, file: str, tmp_path: Path) -> None:
    """A white rectangle on black, in an image that EXIF turns, annotated before or after turning."""
    stored = np.zeros((40, 64), np.uint8)
    stored[4:12, 8:40] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "images").mkdir()
    Image.fromarray(stored).save(tmp_path / "images" / file, exif=exif)
    pixels = np.asarray(fb_read(tmp_path / "images" / file))
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    seen = [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]
    x1, y1, x2, y2 = seen if upright else (8, 4, 40, 12)
    width, height = pixels.shape[::-1] if upright else (64, 40)
    image = {"id": 1, "file_name": file, "width": width, "height": height}
    box = {"image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
    content = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "white"}]}
    (tmp_path / "all.json").write_text(json.dumps(content))
    (found, _) = DETECTION.images(tmp_path, ("white",), quiet=True)
    # where width and height do not change, nobody can tell: the box is taken to be upright
    expected = seen if orientation > 4 or upright else [8, 4, 40, 12]
    assert found.targets[0].boxes.tolist() == [expected]


@pytest.mark.parametrize("file", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_second_look_sees_what_the_first_saw(orientation: int, file: str, tmp_path: Path) -> None:
    """Without decoding: shares of the sides become pixels of the upright image."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for part in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / part).mkdir(parents=True)
        Image.new("L", (100, 40)).save(tmp_path / "images" / part / f"a.{file}", exif=exif)
        (tmp_path / "labels" / part / "a.txt").write_text("0 0.5 0.4 0.2 0.2")
    first = DETECTION.open(tmp_path, quiet=True)
    again = DETECTION.open(tmp_path, scan=ScanResult((), first.channels == 1), quiet=True)
    assert first.fingerprint == again.fingerprint
    assert first.train.targets[0].boxes.tolist() == again.train.targets[0].boxes.tolist()
    side = 40 if orientation == 6 else 100
    assert first.train.targets[0].boxes[0].tolist() == pytest.approx(
        [0.4 * side, 0.3 * (140 - side), 0.6 * side, 0.5 * (140 - side)]
    )


def test_lists_may_not_lead_out_of_the_data_set_and_say_so(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / part).mkdir(parents=True)
        for name in "ab":
            Image.new("L", (20, 20)).save(tmp_path / "images" / part / f"{name}.png")
            (tmp_path / "labels" / part / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2")
    outside = ["/data/coco/images/c.png", "../more/d.png"]
    (tmp_path / "train.txt").write_text("\n".join(["images/train/a.png", *outside, "", "./images/train/b.png"]))
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: images/val\nnames: [thing]\n")
    data = DETECTION.open(tmp_path, quiet=True)
    assert len(data.train) == 2
    assert [(file.path, file.reason) for file in data.skipped] == [
        (line, "not inside the data set") for line in outside
    ]


def test_a_description_of_what_is_held_out_alone_can_be_measured_on(tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / kind / "val").mkdir(parents=True)
    Image.new("L", (20, 20)).save(tmp_path / "images" / "val" / "a.png")
    (tmp_path / "labels" / "val" / "a.txt").write_text("0 0.5 0.5 0.2 0.2")
    (tmp_path / "data.yaml").write_text("val: images/val\nnames: [thing]\n")
    images, _ = DETECTION.images(tmp_path, ("thing",), quiet=True)
    assert len(images) == 1
    with pytest.raises(fb.InputError, match="has no images to learn from: only the split val"):
        DETECTION.open(tmp_path, quiet=True)


def fb_read(path: Path) -> Image.Image:
    from featherbone.data.image import read_image

    return read_image(path, "L")


def test_boxes_are_clipped_and_those_of_no_area_left_out(tmp_path: Path) -> None:
    boxes = [
        ((-5, -5, 10, 10), "cat", False),
        ((50, 30, 99, 99), "cat", False),
        ((10, 10, 10, 20), "cat", False),
        ((20, 20, 10, 10), "cat", False),
        ((70, 0, 90, 10), "dog", False),
        ((0, 0, 60, 40), "dog", False),
    ]
    root = write_coco(tmp_path / "set", {"train": [Drawn("a.png", (60, 40), boxes)], "val": PARTS["val"]}, CLASSES)
    data = DETECTION.open(root, quiet=True)
    assert data.train.targets[0].boxes.tolist() == [[0, 0, 10, 10], [50, 30, 60, 40], [0, 0, 60, 40]]
    assert data.train.targets[0].labels.tolist() == [0, 0, 1]
    assert [(file.path, file.reason) for file in data.skipped] == [
        ("images/a.png (boxes)", "3 without an area inside the image")
    ]


NUMBERS: list[object] = ["12", None, True, float("nan"), float("inf"), -float("inf"), 1e308, [], {}, 10**400, "x"]


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: str(value)[:12])
def test_what_is_no_number_is_no_box(value: object, tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", PARTS, CLASSES)
    content = json.loads((root / "train.json").read_text())
    for place in range(4):
        box: list[object] = [1, 2, 3, 4]
        box[place] = value
        content["annotations"].append({"image_id": 1, "category_id": 7, "bbox": box})
    content["annotations"] += [{"image_id": 1, "category_id": 7, "bbox": odd} for odd in (value, [value], [1, 2, 3])]
    (root / "train.json").write_text(json.dumps(content))
    data = DETECTION.open(root, quiet=True)
    assert all(np.isfinite(truth.boxes).all() for truth in data.train.targets)
    kept = len(data.train.targets[1].labels)
    # text that is a number counts as one, and a box that is far too wide is cut off
    assert kept == (5 if value == "12" else 3 if value == 1e308 else 1)
    assert [file.path for file in data.skipped] == ["images/b.png (boxes)"]


def test_classes_that_are_not_known(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", PARTS, CLASSES)
    content = json.loads((root / "train.json").read_text())
    for category in (99, None, "seven", [7], float("nan"), 7):
        content["annotations"].append({"image_id": 1, "category_id": category, "bbox": [1, 2, 3, 4]})
    (root / "train.json").write_text(json.dumps(content))
    listing = list_boxes(root)
    assert listing is not None
    assert listing.unknown == {"99": 1, "NoneType": 1, "seven": 1, "list": 1, "float": 1}
    data = DETECTION.open(root, quiet=True)
    assert data.train.targets[1].labels.tolist() == [2, 0]
    with pytest.raises(fb.InputError, match="bird is none of the known classes: cat, dog"):
        DETECTION.images(root, ("cat", "dog"), split="train", quiet=True)
    images, _ = DETECTION.images(root, ("dog", "eel", "cat"), quiet=True)  # of the val part, which has cats only
    assert images.targets[0].labels.tolist() == [2]


def test_the_same_class_has_another_number_in_another_file(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", PARTS, CLASSES)
    (root / "val.json").write_text(json.dumps(coco(PARTS["val"], ("eel", "bird", "dog", "cat"), "")))
    data = DETECTION.open(root, quiet=True)
    assert data.classes == ("cat", "dog", "bird", "eel")
    assert boxes_of(data.val, data.classes) == wanted(PARTS, "val")


def test_names_are_kept_as_they_are(tmp_path: Path) -> None:
    names = ("no", "007", " Gr\u00fcn, [x]: #1", "3", "a\nb")
    images = [Drawn("a.png", (60, 40), [((1, 1, 5 + i, 9), name, False) for i, name in enumerate(names)])]
    parts: Parts = {"train": images, "val": images}
    shown = (*(name.strip() for name in names[:4]), "a\\nb")  # space round a name is no part of it
    assert DETECTION.open(write_coco(tmp_path / "coco", parts, names), quiet=True).classes == shown
    assert DETECTION.open(write_yolo(tmp_path / "yolo", parts, names), quiet=True).classes == shown
    root = write_yolo(tmp_path / "plain", parts, names)
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [no, 007, 1.0, ~, 2020-01-01]\n")
    assert DETECTION.open(root, quiet=True).classes == ("no", "007", "1.0", "~", "2020-01-01")
    code = "!!python/object/apply:os.system [touch ran]"  # whatever it asks for, only its text is read
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {code}\n")
    listing = list_boxes(root)
    assert listing is not None
    assert listing.classes == ("touch ran",)


def test_yolo_outlines_and_numbers_without_names(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "set", {"all": PARTS["train"]}, CLASSES, described=False)
    (root / "classes.txt").unlink()
    (root / "labels" / "b.txt").write_text(
        "3 .2 .2 .6 .2 .4 .8\n1.0 .5 .5 .5 .5\n5000 .5 .5 .5 .5\n-1 0 0 1 1\n1.5 0 0 1 1\n"
    )
    images, skipped = DETECTION.images(root, ("0", "1", "2", "3"), quiet=True)
    assert images.targets[1].boxes.round(3).tolist() == [[10, 10, 30, 40], [12.5, 12.5, 37.5, 37.5]]
    assert images.targets[1].labels.tolist() == [3, 1]
    assert [file.reason for file in skipped] == ["3 of an unknown class"]
