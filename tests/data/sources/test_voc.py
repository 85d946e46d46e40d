"""Pascal VOC: annotations that are damaged or in folders, and lists in every way in which they are written."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.annotation_formats import Drawn, voc

import featherbone as fb
from featherbone.data.open import CLASSIFICATION, DETECTION, is_detection

IMAGES = [Drawn(f"{i:03}.jpg", (40, 30), [((4, 5, 20, 20), "cat", False)], seed=i + 1) for i in range(8)]
FIRST: dict[str, Callable[[str], bytes]] = {
    "damaged": lambda text: b"<annota",
    "empty": lambda text: b"",
    "utf-16": lambda text: f'<?xml version="1.0" encoding="utf-16"?>{text}'.encode("utf-16"),
    "comment": lambda text: f"<!--{'x' * 5000}-->{text}".encode(),
    "mark": lambda text: text.encode("utf-8-sig"),
    "other": lambda text: b"<kml/>",
}


def write(root: Path, inner: str = "") -> Path:
    for image in IMAGES:
        image.save(root / "JPEGImages" / inner / image.name)
        file = (root / "Annotations" / inner / image.name).with_suffix(".xml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(voc(image))
    return root


@pytest.mark.parametrize("kind", FIRST)
def test_the_first_file_does_not_decide(kind: str, tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "Annotations" / "000.xml").write_bytes(FIRST[kind](voc(IMAGES[0])))
    data = DETECTION.open(root, quiet=True)
    lost = kind in {"damaged", "empty", "other"}
    assert len(data.train) + len(data.val) == 8 - lost
    assert [one.path for one in data.skipped] == ["JPEGImages/000.jpg", "Annotations/000.xml"] * lost


def test_annotations_in_folders_have_their_images_in_folders_of_the_same_names(tmp_path: Path) -> None:
    root = write(write(tmp_path, "a"), "b")
    assert is_detection(root)
    data = DETECTION.open(root, quiet=True)
    assert (len(data.train) + len(data.val), data.skipped) == (16, ())
    flat = write(tmp_path / "flat", "a")
    for image in IMAGES:
        (flat / "JPEGImages" / "a" / image.name).rename(flat / "JPEGImages" / image.name)
    assert len(DETECTION.open(flat, quiet=True).train) == 6


def test_images_may_lie_beside_their_annotations(tmp_path: Path) -> None:
    root = write(tmp_path)
    for image in IMAGES:
        (root / "JPEGImages" / image.name).rename(root / "Annotations" / image.name)
    data = DETECTION.open(root, quiet=True)
    assert (len(data.train) + len(data.val), data.skipped) == (8, ())


LINES: dict[str, Callable[[str], str]] = {
    "names": lambda name: name,
    "suffixes": lambda name: f"{name}.jpg",
    "upper case": lambda name: f"{name}.JPG",
    "paths": lambda name: f"JPEGImages/{name}.jpg",
    "windows": lambda name: f"JPEGImages\\{name}.jpg",
    "elsewhere": lambda name: f"/home/me/VOC/JPEGImages/{name}.jpg",
    "pairs": lambda name: f"JPEGImages/{name}.jpg Annotations/{name}.xml",
    "flags": lambda name: f"{name} -1",
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("place", ["ImageSets/Main", "ImageSets", "imagesets/main", "."])
@pytest.mark.parametrize("names", ["{}.txt", "{}_LIST.TXT"])
def test_lists_decide_the_split_however_they_are_written(kind: str, place: str, names: str, tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / place).mkdir(parents=True, exist_ok=True)
    for split, images in (("train", IMAGES[:5]), ("val", IMAGES[5:7])):
        lines = [LINES[kind](Path(image.name).stem) for image in images]
        (root / place / names.format(split)).write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    data = DETECTION.open(root, quiet=True)
    assert {Path(str(one)).stem for one in data.val.sources} == {"005", "006"}
    assert len(data.train) == 5
    assert [one.path for one in data.skipped] == ["JPEGImages/007.jpg", "Annotations/007.xml"]


def test_a_list_that_names_nothing_that_is_there_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path)
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000027\n2007_000032\n")
    with pytest.raises(fb.InputError, match=r"Main/train.txt names 2 images \(2007_000027, 2007_000032\), none"):
        DETECTION.open(root, quiet=True)
    (lists / "train.txt").write_text("000\n2007_000032\n")
    (lists / "val.txt").write_text("001\n")
    said = {one.path: one.reason for one in DETECTION.open(root, quiet=True).skipped}
    assert said["ImageSets/Main/train.txt"] == "1 image without a usable annotation: 2007_000032"


def test_what_is_held_out_is_not_learned_from_a_list_of_both(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "trainval.txt").write_text("".join(f"{i:03}\n" for i in range(8)))
    (root / "ImageSets" / "val.txt").write_text("006\n007\n")
    data = DETECTION.open(root, quiet=True)
    assert ([Path(str(one)).stem for one in data.val.sources], len(data.train)) == (["006", "007"], 6)


TOOLS: dict[str, tuple[str, str, str]] = {
    "CVAT": (
        "annotations.xml",
        "<?xml version='1.0'?><annotations><version>1.1</version></annotations>",
        "export COCO 1.0",
    ),
    "OIDv4_ToolKit": ("train/Apple/Label/0.txt", "Apple 10.0 20.0 30.0 40.0\n", "convert them"),
    "KITTI": ("label_2/000000.txt", "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12\n", "convert them"),
    "DOTA": ("labelTxt/P0000.txt", "imagesource:GoogleEarth\n", "convert them"),
    "Supervisely": ("ds/ann/0.png.json", '{"objects": [{"classTitle": "cat"}]}', "export"),
    "VIA": ("via.json", '{"_via_settings": {}}', "export COCO"),
    "Label Studio": ("tasks.json", '[{"id": 1, "data": {"image": "0.png"}, "annotations": []}]', "export"),
    "CreateML": ("x.json", '[{"image": "0.png", "annotations": [{"label": "cat"}]}]', "convert"),
    "labelme": ("train/Apple/0.json", '{"version": "5", "flags": {}, "shapes": [], "imagePath": "0.png"}', "convert"),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_forms_of_other_programs_are_named_and_no_classes(tool: str, tmp_path: Path) -> None:
    file, text, instead = TOOLS[tool]
    for name in ("Apple", "Pear"):
        Drawn(name, (20, 20)).save(tmp_path / "train" / name / "0.png")
    if tool == "labelme":
        (tmp_path / "train" / "Pear" / "0.json").write_text(text)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    for source in (tmp_path, tmp_path / file) if file.endswith((".xml", ".json")) else (tmp_path,):
        for opener in (CLASSIFICATION, DETECTION):
            with pytest.raises(fb.InputError, match=rf"in the form of {tool} \(.*\), which is not read: {instead}"):
                opener.open(source, quiet=True)
