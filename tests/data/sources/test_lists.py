"""Lists that people and programs write: marks, line ends, empty lines, and letters in either Unicode form."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from helpers.annotation_formats import Drawn, voc, write_coco, yolo
from hypothesis import given
from hypothesis import strategies as st

import featherbone as fb
from featherbone.data.names import class_list
from featherbone.data.open import CLASSIFICATION, DETECTION
from featherbone.data.sources.shards import class_names

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
FORMS: dict[str, Callable[[str], bytes]] = {
    "plain": lambda text: text.encode(),
    "mark": lambda text: text.encode("utf-8-sig"),
    "windows": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "utf-16": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "old": lambda text: text.replace("\n", "\r").encode(),
    "spaces": lambda text: text.replace("\n", "  \n").encode(),
    "no-end": lambda text: text.rstrip().encode(),
    "empty-ends": lambda text: (text + "\n\n").encode(),
}
NAMES = [f"{i}.png" for i in range(8)]


def boxed(name: str, label: str = "red") -> Drawn:
    return Drawn(name, (40, 30), [((4, 4, 20, 20), label, False)])


def write_yolo(root: Path, images: Sequence[Drawn], classes: Sequence[str] = ("red", "blue")) -> Path:
    for image in images:
        image.save(root / "images" / image.name)
        labels = root / "labels" / Path(image.name).with_suffix(".txt")
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(yolo(image, classes))
    return root


def write_mnist(root: Path, labels: Sequence[int]) -> Path:
    root.mkdir()
    for word in ("train", "t10k"):
        pixels = np.random.default_rng(0).integers(0, 255, (len(labels), 28, 28), np.uint8)
        (root / f"{word}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, *pixels.shape) + pixels.tobytes())
        (root / f"{word}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, len(labels)) + bytes(labels))
    return root


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign") / "w.pth"
    torch.save(torchvision.models.shufflenet_v2_x0_5(num_classes=2).state_dict(), path)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_list_is_read_however_an_editor_wrote_it(form: str, foreign: Path, tmp_path: Path) -> None:
    def write(path: Path, *lines: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FORMS[form]("".join(f"{line}\n" for line in lines)))
        return path

    write_yolo(tmp_path / "yolo", [boxed(name) for name in NAMES])
    write(tmp_path / "yolo" / "train.txt", *(f"images/{name}" for name in NAMES))
    (tmp_path / "yolo" / "data.yaml").write_text("train: train.txt\nnames: [red, blue]\n")
    data = DETECTION.open(tmp_path / "yolo", quiet=True)
    assert (len(data.train) + len(data.val), data.skipped) == (8, ())

    write_yolo(tmp_path / "named", [boxed(name) for name in NAMES])
    write(tmp_path / "named" / "classes.txt", "red", "blue")
    assert DETECTION.open(tmp_path / "named", quiet=True).classes == ("red", "blue")

    for name in NAMES:
        boxed(name).save(tmp_path / "voc" / "JPEGImages" / name)
        annotation = tmp_path / "voc" / "Annotations" / name.replace("png", "xml")
        annotation.parent.mkdir(exist_ok=True)
        annotation.write_text(voc(boxed(name)))
    for split, numbers in (("train", "0123"), ("val", "4567")):
        write(tmp_path / "voc" / "ImageSets" / "Main" / f"{split}.txt", *numbers)
    data = DETECTION.open(tmp_path / "voc", quiet=True)
    assert (len(data.train), len(data.val), data.skipped) == (4, 4, ())

    write(write_mnist(tmp_path / "mnist", [0, 1] * 4) / "classes.txt", "cat", "dog")
    assert CLASSIFICATION.open(tmp_path / "mnist", quiet=True).classes == ("cat", "dog")

    for name in NAMES:
        boxed(name).save(tmp_path / "table" / name)
    table = write(
        tmp_path / "table" / "t.csv", "path,label", *(f"{name},{'ab'[i % 2]}" for i, name in enumerate(NAMES))
    )
    found = CLASSIFICATION.open(table, quiet=True)
    assert (len(found.train) + len(found.val), found.classes, found.skipped) == (8, ("a", "b"), ())

    names = write(tmp_path / "names.txt", "cat", "dog")
    fb.import_file(foreign, "shufflenet_v2_x0_5.tv", tmp_path / "o.safetensors", classes=names)
    assert fb.read_header(tmp_path / "o.safetensors").classes == ("cat", "dog")
    assert class_names("classes.txt", names.read_bytes()) == ("cat", "dog")


@given(
    st.lists(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs", "Cf")), max_size=3), max_size=9)
)
def test_the_number_of_a_line_is_the_number_of_its_class(names: list[str]) -> None:
    found = class_list("\n".join([*names, "last", "", ""]))
    assert len(found) == len(names) + 1
    assert all(one == str(number) for number, (one, name) in enumerate(zip(found, names, strict=False)) if not name)


def test_an_empty_line_shifts_no_class(tmp_path: Path) -> None:
    images = [boxed(name, ("red", "", "blue")[2 * (i % 2)]) for i, name in enumerate(NAMES)]
    write_yolo(tmp_path / "yolo", images, ("red", "", "blue"))
    (tmp_path / "yolo" / "classes.txt").write_text("red\n\nblue\n")
    data = DETECTION.open(tmp_path / "yolo", quiet=True)
    assert data.classes == ("red", "1", "blue")
    assert sum(len(one.labels) for split in (data.train, data.val) for one in split.targets) == 8
    (write_mnist(tmp_path / "mnist", [0, 1, 2] * 4) / "classes.txt").write_text("cat\n\ndog")
    assert CLASSIFICATION.open(tmp_path / "mnist", quiet=True).classes == ("cat", "1", "dog")


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    (write_mnist(tmp_path / "mnist", [0, 1, 2] * 4) / "classes.txt").write_text("crane\ncat\ncrane\n")
    with pytest.raises(fb.InputError, match="gives several classes one name: crane"):
        CLASSIFICATION.open(tmp_path / "mnist", quiet=True)


def test_a_class_in_either_unicode_form_is_one(tmp_path: Path) -> None:
    for split, name in (("train", COMPOSED), ("val", DECOMPOSED)):
        for number in range(3):
            Drawn(f"{split}{number}", (20, 20)).save(tmp_path / split / name / f"{number}.png")
            Drawn(f"{split}x{number}", (20, 20)).save(tmp_path / split / "the" / f"{number}.png")
    data = CLASSIFICATION.open(tmp_path, quiet=True)
    assert data.classes == (COMPOSED, "the")
    assert sorted(data.val.targets) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(("listed", "stored"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_files_are_found_in_either_unicode_form(listed: str, stored: str, tmp_path: Path) -> None:
    for i in range(8):
        boxed(f"{stored}{i}.png").save(tmp_path / "table" / "images" / f"{stored}{i}.png")
    rows = [f"images/{listed}{i}.png,{'ab'[i % 2]}\n" for i in range(8)]
    (tmp_path / "table" / "t.csv").write_text("path,label\n" + "".join(rows))
    assert CLASSIFICATION.open(tmp_path / "table" / "t.csv", quiet=True).skipped == ()

    write_coco(tmp_path / "coco", {"train": [boxed(f"{listed}{i}.png") for i in range(8)]}, ["red"])
    for i in range(8):
        (tmp_path / "coco" / "images" / f"{listed}{i}.png").rename(tmp_path / "coco" / "images" / f"{stored}{i}.png")
    assert DETECTION.open(tmp_path / "coco", quiet=True).skipped == ()

    write_yolo(tmp_path / "yolo", [boxed(f"{stored}{i}.png") for i in range(8)])
    for i in range(8):
        (tmp_path / "yolo" / "labels" / f"{stored}{i}.txt").rename(tmp_path / "yolo" / "labels" / f"{listed}{i}.txt")
    (tmp_path / "yolo" / "train.txt").write_text("".join(f"images/{listed}{i}.png\n" for i in range(8)))
    (tmp_path / "yolo" / "data.yaml").write_text("train: train.txt\nnames: [red, blue]\n")
    data = DETECTION.open(tmp_path / "yolo", quiet=True)
    assert (len(data.train) + len(data.val), data.skipped) == (8, ())
    assert all(len(target.labels) == 1 for split in (data.train, data.val) for target in split.targets)

    for i in range(8):
        boxed(f"{stored}{i}.png").save(tmp_path / "voc" / "JPEGImages" / f"{stored}{i}.png")
        annotation = tmp_path / "voc" / "Annotations" / f"{listed}{i}.xml"
        annotation.parent.mkdir(exist_ok=True)
        annotation.write_text(voc(boxed("")))
    lists = tmp_path / "voc" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for split, numbers in (("train", range(5)), ("val", range(5, 8))):
        (lists / f"{split}.txt").write_text("".join(f"{stored}{i}\n" for i in numbers))
    data = DETECTION.open(tmp_path / "voc", quiet=True)
    assert (len(data.train), len(data.val), data.skipped) == (5, 3, ())
