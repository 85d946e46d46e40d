"""YOLO's descriptions, layouts and lines of labels."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.annotation_formats import Drawn, yolo
from hypothesis import given
from hypothesis import strategies as st

import featherbone as fb
from featherbone.data.open import DETECTION, is_detection
from featherbone.data.sources.yolo_description import find_description, read_description

CLASSES = ("red", "blue")
IMAGES = [
    Drawn(f"{i}.png", (64, 48), [((4 + 3 * i, 6, 20 + 4 * i, 40), CLASSES[i % 2], False)], seed=i + 1) for i in range(8)
]
CORNERS = [[4.0 + 3 * i, 6.0, 20.0 + 4 * i, 40.0] for i in range(8)]


def write(root: Path, images: str = "images", labels: str = "labels", line: Callable[[str], str] = str) -> Path:
    for image in IMAGES:
        image.save(root / images / image.name)
        (root / labels).mkdir(parents=True, exist_ok=True)
        (root / labels / image.name).with_suffix(".txt").write_text(line(yolo(image, CLASSES).strip()) + "\n")
    return root


def boxes(source: Path) -> dict[str, list[list[float]]]:
    data = DETECTION.open(source, quiet=True)
    assert data.classes == CLASSES
    pairs = [pair for split in (data.train, data.val) for pair in zip(split.sources, split.targets, strict=True)]
    return {Path(str(image)).name: target.boxes.round(1).tolist() for image, target in pairs}


WHOLE = {image.name: [corners] for image, corners in zip(IMAGES, CORNERS, strict=True)}

DESCRIPTIONS = {
    "mark": b"\xef\xbb\xbfnames: [red, blue]\ntrain: images\n",
    "utf-16": "names: [red, blue]\r\ntrain: images\r\n".encode("utf-16"),
    "quoted": b'"train": images\n"names": [red, blue]\n',
    "json": b'{"train": "images", "names": ["red", "blue"]}',
    "json with tabs": b'{\n\t"train": "images",\n\t"names": ["red", "blue"]\n}',
    "indented": b"  train: images\n  names: [red, blue]\n",
    "numbers": b"train: images\nnames: {0: red, 1: blue}\n",
    "numbers as text": b"train: images\nnames:\n  '1': blue\n  '0': red\n",
    "block": b"# cells\n---\nnames:\n- red\n- blue\ntrain:\n- images\nval: ''\n",
    "elsewhere": b"path: /home/me/cells\ntrain: /home/me/cells/images\nnames: [red, blue]\n",
    "windows": b"path: C:\\cells\r\ntrain: C:\\cells\\images\r\nnames: [red, blue]\r\n",
    "above": b"train: ../images\nval: ../valid/images\nnames: [red, blue]\n",
    "list": b"train: [lists/train.txt]\nnames: [red, blue]\n",
    "names in a file": b"train: images\nnames: my.names\n",
    "names alone": b"nc: 2\nnames: [red, blue]\n",
}


@pytest.mark.parametrize("form", DESCRIPTIONS)
def test_a_description_is_what_yaml_says_however_it_is_written(form: str, tmp_path: Path) -> None:
    root = write(tmp_path / "cells")
    (root / "data.yaml").write_bytes(DESCRIPTIONS[form])
    (root / "lists").mkdir()
    (root / "lists" / "train.txt").write_text("".join(f"/home/me/cells/images/{image.name}\n" for image in IMAGES))
    (root / "my.names").write_text("red\nblue\n")
    assert boxes(root) == WHOLE
    if form != "names alone":
        assert boxes(root / "data.yaml") == WHOLE


@given(key=st.sampled_from(["names", "train", "val", "test", "path", "x"]), content=st.binary(max_size=30))
def test_what_a_yaml_file_holds_ends_in_no_traceback(
    key: str, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("yaml") / "data.yaml"
    file.write_bytes(b"train: images\nnames: [a]\n" + key.encode() + b": " + content)
    if found := find_description(file):
        with suppress(fb.InputError):
            read_description(found, file.parent)


def test_several_folders_are_learned_from(tmp_path: Path) -> None:
    write(tmp_path / "a")
    for image in IMAGES[:3]:
        image.save(tmp_path / "b" / "images" / f"b{image.name}")
    (tmp_path / "data.yaml").write_text("train:\n  - a/images\n  - b/images\nval: a/images\nnames: [red, blue]\n")
    assert len(DETECTION.open(tmp_path, quiet=True).train) == 11


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "darknet's folders": lambda root: write(root, "JPEGImages"),
    "labels beside images": lambda root: write(root, "images", "images"),
    "all in one folder": lambda root: write(root, "", ""),
    "darknet": lambda root: write(root, "data/obj", "data/obj"),
    "CVAT's YOLO 1.1": lambda root: write(root, "obj_train_data", "obj_train_data"),
    "lists": lambda root: write(root, "pictures", "pictures"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_are_found_wherever_programs_put_them(layout: str, tmp_path: Path) -> None:
    root = LAYOUTS[layout](tmp_path / "cells")
    images = next(root.rglob("0.png")).parent.relative_to(root)
    if layout in {"darknet", "CVAT's YOLO 1.1", "lists"}:
        (root / "obj.data").write_text(
            "classes = 2\ntrain = data/train.txt\nvalid=data/none.txt\nnames = data/obj.names\n"
        )
        (root / "train.txt").write_text("".join(f"data/{(images / image.name).as_posix()}\n" for image in IMAGES))
    (root / "obj.names").write_text("red\nblue\n")
    assert is_detection(root)
    assert boxes(root) == WHOLE


def test_labels_in_folders_of_splits_beside_their_images(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path / split, "", "")
        (tmp_path / split / "_darknet.labels").write_text("red\nblue\n")
    data = DETECTION.open(tmp_path, quiet=True)
    assert (len(data.train), len(data.val), data.classes) == (8, 8, CLASSES)


def test_text_beside_pictures_is_no_label(tmp_path: Path) -> None:
    root = write(tmp_path, "images", "images", lambda line: f"a red block, {line}")
    assert not is_detection(root)


def points(number: int, values: int) -> Callable[[str], str]:
    """Return what puts so many key points of two or three values behind a box, all over it."""

    def line(text: str) -> str:
        x, y, width, height = map(float, text.split()[1:])
        places = [
            (x + width * (k / max(1, number - 1) - 0.5) * 0.9, y + height * 0.4 * (-1) ** k) for k in range(number)
        ]
        return text + "".join(f" {px:.5f} {py:.5f}" + " 2" * (values == 3) for px, py in places)

    return line


@pytest.mark.parametrize(("number", "values"), [(2, 2), (4, 2), (2, 3), (17, 3), (5, 2)])
@pytest.mark.parametrize("stated", [True, False])
def test_key_points_are_no_outlines(number: int, values: int, stated: bool, tmp_path: Path) -> None:
    root = write(tmp_path, line=points(number, values))
    shape = f"kpt_shape: [{number}, {values}]\n" if stated else ""
    (root / "data.yaml").write_text(f"train: images\nnames: [red, blue]\n{shape}")
    assert boxes(root) == WHOLE
    said = [one.reason for one in DETECTION.open(root, quiet=True).skipped]
    assert said == ([] if stated else ["8 lines with key points behind the box, as it seems: the box is used"])


def outline(corners: int) -> Callable[[str], str]:
    def line(text: str) -> str:
        x, y, width, height = map(float, text.split()[1:])
        low, high = (x - width / 2, y - height / 2), (x + width / 2, y + height / 2)
        ring = [low, (high[0], low[1]), high, (low[0], high[1]), (low[0], y)][:corners]
        return text.split(maxsplit=1)[0] + "".join(f" {px:.6f} {py:.6f}" for px, py in ring)

    return line


@pytest.mark.parametrize("corners", [4, 5])
def test_outlines_are_the_boxes_round_them_for_the_whole_set(corners: int, tmp_path: Path) -> None:
    root = write(tmp_path, line=outline(corners))
    (root / "data.yaml").write_text("train: images\nnames: [red, blue]\n")
    assert boxes(root) == WHOLE
    (root / "labels" / "0.txt").write_text(yolo(IMAGES[0], CLASSES))  # one with a box
    assert boxes(root) == WHOLE


def test_lines_of_another_length_than_key_points_have_are_left_out(tmp_path: Path) -> None:
    root = write(tmp_path, line=points(2, 2))
    (root / "labels" / "0.txt").write_text("0 .5 .5 .2 .2 .5 .5\n")
    (root / "data.yaml").write_text("train: images\nnames: [red, blue]\nkpt_shape: [2, 2]\n")
    data = DETECTION.open(root, quiet=True)
    assert data.skipped[0].reason == "1 line with 6 values behind the class: a box has 4, or 8 with key points"
    assert sum(len(target.labels) for split in (data.train, data.val) for target in split.targets) == 7


WRONG: dict[str, tuple[Callable[[str], str], str]] = {
    "commas": (lambda line: line.replace(" ", ","), "8 boxes without four finite numbers; .*8 lines with 0 values"),
    "confidence": (lambda line: line + " 0.93", "8 boxes without four finite numbers; .*8 lines with 5 values behind"),
    "pixels": (lambda line: line[0] + " 30 20 10 10", "8 boxes without an area inside the image"),
    "names": (lambda line: CLASSES[int(line[0])] + line[1:], r"8 boxes of an unknown class; unknown: red \(4\), blue"),
    "numbers": (lambda line: "7" + line[1:], r"8 boxes of an unknown class; unknown: 7 \(8\)"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_where_no_box_can_be_used_the_reasons_are_said(kind: str, tmp_path: Path) -> None:
    line, said = WRONG[kind]
    root = write(tmp_path, line=line)
    (root / "data.yaml").write_text("train: images\nnames: [red, blue]\n")
    with pytest.raises(fb.InputError, match=rf"has 0 readable images with boxes: .* \(left out: {said}"):
        DETECTION.open(root, quiet=True)


def test_a_second_description_is_left_out_by_name(tmp_path: Path) -> None:
    root = write(tmp_path)
    for name, classes in (("a.yaml", "[x, y]"), ("data.yaml", "[red, blue]")):
        (root / name).write_text(f"train: images\nnames: {classes}\n")
    data = DETECTION.open(root, quiet=True)
    assert (data.classes, [one.path for one in data.skipped]) == (CLASSES, ["a.yaml"])
