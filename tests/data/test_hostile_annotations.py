"""Annotation files that are damaged or hostile end in a sentence."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from helpers.annotation_formats import (
    CLASSES,
    PARTS,
    WRITERS,
    without,
    write_coco,
    write_voc,
    write_yolo,
)

import featherbone as fb
from featherbone.data.open import DETECTION, is_detection, list_boxes

DEEP = "[" * 200_000
BAD_JSON: dict[str, Callable[[str], str]] = {
    "cut": lambda whole: whole[: len(whole) // 2],
    "deep": lambda whole: '{"images": [], "annotations": [], "bbox": ' + DEEP,
    "list": lambda whole: f"[{whole}]",
    "text": lambda whole: whole.replace('"annotations": [', '"annotations": ["bbox",'),
    "bytes": lambda whole: whole.replace("cat", "\udcff"),
    "no categories": lambda whole: whole[: whole.rindex('"categories"')] + '"other": 1}',
    "no names": lambda whole: whole.replace('"name"', '"nom"'),
    "no class": lambda whole: whole[: whole.rindex('"categories"')] + '"categories": []}',
}


@pytest.mark.parametrize("kind", BAD_JSON)
def test_a_json_file_that_is_damaged(kind: str, tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", without(without(PARTS, "val"), "test"), CLASSES)
    whole = json.dumps({"info": 1, **json.loads((root / "train.json").read_text())})
    (root / "train.json").write_bytes(BAD_JSON[kind](whole).encode("utf-8", "surrogateescape"))
    assert is_detection(root)
    with pytest.raises(fb.InputError, match="train.json|names no class"):
        list_boxes(root)


def test_ids_that_fit_nothing(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", PARTS, CLASSES)
    content = json.loads((root / "train.json").read_text())
    strays: list[object] = [99, None, [1], "one", {}]
    for image in strays:
        content["annotations"].append({"image_id": image, "category_id": 7, "bbox": [1, 2, 3, 4]})
    content["images"] += [
        {"id": 1, "file_name": "b.png"},  # once more as it is
        {"file_name": "b.png"},
        {"id": 50},
        {"id": 51, "file_name": 3},
        *(
            {"id": 60 + i, "file_name": name}
            for i, name in enumerate(("../c.png", "/etc/passwd", "c:\\x.png", "a\0b", " "))
        ),
    ]
    (root / "train.json").write_text(json.dumps(content))
    data = DETECTION.open(root, quiet=True)
    assert len(data.train) == 3
    assert {file.path for file in data.skipped} == {"train.json"}
    said = [file.reason for file in data.skipped]
    assert said[0].startswith("8 images without an id, or without a path inside the data set: b.png, NoneType, 3")
    assert said[1:] == [
        "5 annotations of no image that is listed",
    ]


def test_names_of_images_that_cannot_be(tmp_path: Path) -> None:
    names = ["x" * 5000, "\ud800.png", "images", ".", "new\nline.png", "./d.png", "sub\\..\\d.png"]
    root = write_coco(tmp_path / "set", PARTS, CLASSES)
    content = json.loads((root / "train.json").read_text())
    content["images"] += [{"id": 100 + i, "file_name": name} for i, name in enumerate(names)]
    (root / "train.json").write_text(json.dumps(content))
    data = DETECTION.open(root, quiet=True)
    assert len(data.train) == 4  # the three, and ./d.png
    assert len(data.skipped) == 6
    "".join(file.path for file in data.skipped).encode()
    assert data.fingerprint == DETECTION.open(root, quiet=True).fingerprint


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><annotation><object><name>&i;</name></object></annotation>"
)
BAD_XML = {
    "bomb": (BOMB, "it has a document type"),
    "outside": ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>', "document type"),
    "entity": ("<annotation>&a;</annotation>", "damaged XML: undefined entity"),
    "cut": ("<annotation><object><name>cat</name>", "damaged XML: no element found"),
    "empty": ("", "damaged XML: no element found"),
    "other": ("<kml/>", "no annotation of Pascal VOC"),
    "encoding": ('<?xml version="1.0" encoding="x-none"?><annotation/>', "damaged XML: unknown encoding"),
    "name": ("<annotation><filename>../../c.png</filename></annotation>", "no image of this name, and ../../c.png is"),
    "no name": ("<annotation/>", "no image of this name, and nothing is not inside"),
}


@pytest.mark.parametrize("kind", BAD_XML)
def test_an_xml_file_that_is_damaged_or_hostile(kind: str, tmp_path: Path) -> None:
    root = write_voc(tmp_path / "set", {"all": [*PARTS["train"], *PARTS["val"]]})
    text, said = BAD_XML[kind]
    (root / "Annotations" / "zz.xml").write_text(text)
    data = DETECTION.open(root, quiet=True)
    assert len(data.train) + len(data.val) == 4
    ((path, reason),) = [(file.path, file.reason) for file in data.skipped]
    assert path == "Annotations/zz.xml"
    assert said in reason


def test_deep_and_odd_xml(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "set", {"all": [*PARTS["train"], *PARTS["val"]]})
    deep = "<annotation>" + "<a>" * 20_000 + "</a>" * 20_000 + "<filename>a.png</filename></annotation>"
    (root / "Annotations" / "deep.xml").write_text(deep)
    odd = "<object><name>cat</name></object><object><bndbox><xmin>1</xmin></bndbox></object>"
    odd += "<object><name> </name></object>"
    nan = "<bndbox><xmin>nan</xmin><ymin>1e999</ymin><xmax>x</xmax><ymax/></bndbox>"
    (root / "Annotations" / "b.xml").write_text(
        f"<annotation>{odd}<object><name>dog</name>{nan}</object><size><width>-1</width></size></annotation>"
    )
    images, skipped = DETECTION.images(root, CLASSES, quiet=True)
    assert len(images) == 4  # the deep one is of the image that another one has
    assert [(file.path, file.reason) for file in skipped] == [
        ("all (entries)", "1 file named more than once, counted once: JPEGImages/a.png"),
        ("JPEGImages/b.png (boxes)", "4 without four finite numbers"),
    ]
    listing = list_boxes(root)
    assert listing is not None
    assert listing.unknown == {"an object without a name": 2}


def test_labels_that_are_empty_odd_or_of_no_image(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "set", PARTS, CLASSES)
    labels = root / "labels" / "train"
    (labels / "a.txt").write_bytes(b"")
    (labels / "b.txt").write_bytes(
        b"0 nan 0 1 1\n0 .5 .5 .5\n0 a b c d\ncat .5 .5 .5 .5\n\n0 .5 .5 .5 .5 .9\n0 .5 .5 .2 .2\n\xff\0 1\n"
    )
    (labels / "gone.txt").write_text("0 .5 .5 .5 .5")
    (labels / "empty.txt").unlink()
    data = DETECTION.open(root, quiet=True)
    assert [len(truth.labels) for truth in data.train.targets] == [0, 1, 0]
    counts = "1 line with 1, 1 line with 3, 1 line with 5 values behind the class: a box has 4, an outline 6 or more"
    assert [(file.path, file.reason) for file in data.skipped] == [
        ("data.yaml", f"{counts} in pairs; key points need kpt_shape in data.yaml"),
        ("labels/train/gone.txt", "labels of no image"),
        ("images/train/b.png (boxes)", "5 without four finite numbers, 1 of an unknown class"),
    ]


BAD_YAML = {
    "cut": "train: images/train\nnames: [cat",
    "bomb": "a: &a [x, x]\nb: &b [*a, *a]\ntrain: images/train\nnames: *b\n",
    "itself": "train: images/train\nnames: &a [*a]\n",
    "none": "train: images/train\nnames:\n",
    "numbers": "train: images/train\nnames: {x: cat}\n",
    "twice": "train: images/train\nnames: [cat, cat]\n",
    "up": "train: ../../elsewhere\nnames: [cat]\n",
    "absolute": "train: /etc\nnames: [cat]\n",
    "deep": "train: images/train\nnames: " + "[" * 5000,
}


@pytest.mark.parametrize("kind", BAD_YAML)
def test_a_description_that_is_damaged_or_hostile(kind: str, tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "set", PARTS, CLASSES)
    (tmp_path / "elsewhere").mkdir()
    (root / "data.yaml").write_text(BAD_YAML[kind])
    assert is_detection(root)
    with pytest.raises(fb.InputError, match=r"data.yaml|one name: cat"):
        list_boxes(root)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are other systems'")
def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    coco_set, voc_set, yolo_set = (write(tmp_path / name, PARTS) for name, write in WRITERS.items())
    pipes = (coco_set / "more.json", voc_set / "Annotations" / "0.xml", yolo_set / "0.yaml", tmp_path / "a.json")
    for pipe in pipes:
        os.mkfifo(pipe)
    found: list[bool] = []

    def look() -> None:
        found.extend(is_detection(path) and list_boxes(path) is not None for path in (coco_set, voc_set, yolo_set))
        found.extend(is_detection(pipe) for pipe in pipes)

    looking = Thread(target=look, daemon=True)
    looking.start()
    looking.join(timeout=60)
    assert found == [True] * 3 + [False] * 4
