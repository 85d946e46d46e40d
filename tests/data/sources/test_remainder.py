"""Nothing that lies in the folder of a data set is left out without a line."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.annotation_formats import PARTS, WRITERS, Drawn, write_coco, write_voc, write_yolo
from hypothesis import given, settings
from hypothesis import strategies as st

import featherbone as fb
from featherbone.data.dataset import Listing, origins_of
from featherbone.data.names import is_system, split_in
from featherbone.data.open import CLASSIFICATION, DETECTION, is_detection
from featherbone.data.sources.remainder import remainder

SYSTEM = (".DS_Store", "Thumbs.db", "@eaDir", ".thumbnails", "__MACOSX", "#recycle", "lost+found", ".ipynb_checkpoints")


def draw(root: Path, counts: Mapping[str, int]) -> Path:
    """Write a few images into each of these folders."""
    for folder, count in counts.items():
        for number in range(count):
            Drawn(f"{folder}{number}", (12, 12)).save(root / folder / f"{number}.png")
    return root


def files_of(root: Path) -> set[str]:
    return {os.path.join(place, name) for place, _, names in os.walk(root) for name in names}  # noqa: PTH118


def used_of(listing: Listing[Any]) -> set[str]:
    sources = [item.source for items in listing.splits.values() for item in items]
    return {str(one) for one in (*listing.annotations, *(o for source in sources for o in origins_of(source)))}


FOLDERS = ("train", "val", "eval", "train_aug", "test-dev", "cat", "dog", "docs", "labels", "@eaDir", ".hidden", "x/y")
NAMES = ("a.png", "b.jpg", "notes.txt", "Thumbs.db", ".DS_Store", "._a.png", "labels.json")
PLACES = st.lists(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(FOLDERS), st.sampled_from(NAMES)), max_size=12)


@settings(max_examples=60)
@given(base=st.sampled_from(["folders", "splits", *WRITERS]), places=PLACES)
def test_every_file_is_used_or_counted_once(
    base: str, places: Sequence[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("set").resolve()
    if base in WRITERS:
        WRITERS[base](root, PARTS)
    elif base == "folders":
        draw(root, {"cat": 2, "dog": 2})
    else:
        draw(root, {"train/cat": 2, "train/dog": 2, "val/cat": 1, "val/dog": 1})
    for first, second, name in places:
        file = root / first / second / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text("nothing that can be read")
    opener = DETECTION if is_detection(root) else CLASSIFICATION
    try:
        listing = opener.list(root, quiet=True)
    except fb.InputError:  # said as a whole
        return
    there, used = files_of(root), used_of(listing)
    assert used <= there
    assert len(there) == len(used) + sum(one.files for one in listing.left_out)
    assert not [file for file in used if any(map(is_system, Path(file).relative_to(root).parts))]


@pytest.mark.parametrize("name", SYSTEM)
def test_what_systems_put_into_folders_is_never_learned(name: str, tmp_path: Path) -> None:
    plain = draw(tmp_path / "plain", {"cat": 3, "dog": 3})
    root = draw(tmp_path / "set", {"cat": 3, "dog": 3})
    for place in (root, root / "cat"):
        if "." in name[1:]:
            (place / name).write_bytes((plain / "cat" / "0.png").read_bytes())
        else:
            draw(place, {name: 2, f"{name}/dog": 1})
    (root / "dog" / "._0.png").write_bytes((plain / "cat" / "0.png").read_bytes())
    data, known = CLASSIFICATION.open(root, quiet=True), CLASSIFICATION.open(plain, quiet=True)
    assert (data.classes, data.fingerprint) == (known.classes, known.fingerprint)
    said = {one.path: one.files for one in data.skipped}
    assert sum(said.values()) == len(files_of(root)) - 6
    assert set(said) <= {".*", name}


@pytest.mark.parametrize(
    ("folders", "learned", "held", "left_out"),
    [
        (("train", "eval"), "train", "eval", []),
        (("train", "evaluation"), "train", "evaluation", []),
        (("train", "training", "val", "valid"), "train", "val", ["training/", "valid/"]),
        (("train", "train_aug", "val"), "train", "val", ["train_aug/"]),
        (("train", "test", "test-dev"), "train", "test", ["test-dev/"]),
        (("train", "test-dev"), "train", "test-dev", []),
        (("train2017", "val2017"), "train2017", "val2017", []),
        (("Training", "Testing"), "Training", "Testing", []),
        (("TRAIN", "VAL"), "TRAIN", "VAL", []),
        (("trainset", "testset"), "trainset", "testset", []),
    ],
)
def test_words_of_splits_are_these_splits_or_named(
    folders: Sequence[str], learned: str, held: str, left_out: list[str], tmp_path: Path
) -> None:
    classes = draw(tmp_path / "classes", {f"{one}/{name}": 2 for one in folders for name in ("cat", "dog")})
    draw(classes, {"docs": 1})
    data = CLASSIFICATION.open(classes, quiet=True)
    assert data.classes == ("cat", "dog")
    assert {Path(str(one)).parts[-3] for one in data.train.sources} == {learned}
    assert {Path(str(one)).parts[-3] for one in data.val.sources} == {held}
    assert sorted(one.path for one in data.skipped) == ["docs/", *left_out]
    boxed = tmp_path / "boxed"
    for one in folders:
        write_yolo(
            boxed / one, {"all": [PARTS["train"][0], PARTS["train"][1]]}, ("cat", "dog", "bird"), described=False
        )
        (boxed / one / "classes.txt").unlink()
    found = DETECTION.open(boxed, quiet=True)
    assert {Path(str(image)).parts[-3] for image in found.train.sources} == {learned}
    assert {Path(str(image)).parts[-3] for image in found.val.sources} == {held}
    assert sorted(one.path for one in found.skipped) == left_out


def test_a_word_means_one_split_or_none() -> None:
    words = {
        "train": ("train", "Training", "TRAIN", "train_aug", "train2017", "TrainImages", "trainset", "set-train-0.tar"),
        "val": ("val", "valid", "validation", "eval", "Evaluation", "dev", "val2017", "valset"),
        "test": ("test", "Testing", "test-dev", "test-dev2017", "testDev", "test2015", "testimages"),
        None: ("trainval", "train_val", "trained", "contest", "minitrain", "data", "holdout"),
    }
    assert {word: split_in(word) for split in words for word in words[split]} == {
        word: split for split in words for word in words[split]
    }


def test_published_parts_are_no_classes(tmp_path: Path) -> None:
    root = draw(tmp_path, {"Train/0": 3, "Train/1": 3, "Train/10": 3, "Test": 4, "Meta": 3})
    (root / "Test.csv").write_text("Width,Height\n")
    data = CLASSIFICATION.open(root, quiet=True)
    assert data.classes == ("0", "1", "10")
    assert len(data.train) + len(data.val) == 9
    assert [(one.path, one.files) for one in data.skipped] == [("Test/", 4), ("Meta/", 3), ("Test.csv", 1)]


def test_folders_that_may_be_classes_or_splits_are_told_by_what_is_in_them(tmp_path: Path) -> None:
    vehicles = draw(tmp_path / "vehicles", {"train": 3, "bus": 3, "car": 3})
    data = CLASSIFICATION.open(vehicles, quiet=True)
    assert data.classes == ("bus", "car", "train")
    assert "called like a train split" in data.skipped[0].reason
    with pytest.raises(fb.InputError, match="may be splits or classes"):
        CLASSIFICATION.open(draw(tmp_path / "two", {f"train_{n}/{c}": 2 for n in "ab" for c in "xy"}), quiet=True)
    with pytest.raises(fb.InputError, match="val has class folders of its own, beside cat, dog, val"):
        CLASSIFICATION.open(draw(tmp_path / "beside", {"cat": 2, "dog": 2, "val/cat": 2, "val/dog": 2}), quiet=True)


def test_class_folders_with_folders_and_images_beside_them_are_said(tmp_path: Path) -> None:
    root = draw(tmp_path / "set", {"animals/cat": 2, "animals/dog": 2, "plants": 3, ".": 2})
    data = CLASSIFICATION.open(root, quiet=True)
    assert data.classes == ("animals", "plants")
    assert [(one.path, one.files) for one in data.skipped] == [("animals/", 0), ("./", 2)]
    (root / "empty").mkdir()
    with pytest.raises(fb.InputError, match=r"too few in .* for empty \(0\)"):
        CLASSIFICATION.open(root, quiet=True)


def test_a_data_set_one_level_down_is_opened_or_several_are_named(tmp_path: Path) -> None:
    photos = draw(tmp_path / "photos", {"photos/cat": 2, "photos/dog": 2, "__MACOSX": 1})
    assert CLASSIFICATION.open(photos, quiet=True).classes == ("cat", "dog")
    box = tmp_path / "box"
    write_voc(box / "cells", {"all": PARTS["train"]})
    assert len(DETECTION.open(box, quiet=True).train) == 2
    draw(box, {"more": 2})
    with pytest.raises(fb.InputError, match=r"several things: name one of cells \(Pascal VOC\), more \(images\)"):
        DETECTION.open(box, quiet=True)


def test_several_kinds_of_annotations_are_said(tmp_path: Path) -> None:
    root = write_voc(write_coco(tmp_path / "set", PARTS, ("cat", "dog", "bird")), PARTS)
    said = {one.path: (one.reason, one.files) for one in DETECTION.open(root, quiet=True).skipped}
    assert said["."] == ("Pascal VOC is here, too, and was not read: the boxes are those of COCO", 0)
    assert said["Annotations/"][1] == 5


def test_a_link_to_a_folder_is_followed_if_its_images_are_named(tmp_path: Path) -> None:
    elsewhere = draw(tmp_path / "elsewhere", {"images": 2})
    root = write_coco(tmp_path / "set", {"all": PARTS["train"]}, ("cat", "dog", "bird"))
    (root / "images").rename(tmp_path / "moved")
    (root / "images").symlink_to(tmp_path / "moved")
    (root / "other").symlink_to(elsewhere)
    (root / "round").symlink_to(root)
    data = DETECTION.open(root, quiet=True)
    assert len(data.train) + len(data.val) == 3
    assert [(one.path, one.reason) for one in data.skipped] == [
        (name, "a link to a folder, not followed") for name in ("other", "round")
    ]


def test_a_folder_of_a_million_names_is_few_lines(tmp_path: Path) -> None:
    draw(tmp_path, {"used": 1, "deep/er/and": 30, "deep/er": 2})
    for number in range(40):
        (tmp_path / "used" / f"{number}.txt").touch()
    found = remainder(tmp_path, [tmp_path / "used" / "0.png"])
    assert [(one.path, one.files) for one in found] == [("deep/", 32), ("used/", 40)]
    assert found[0].reason == "32 files (32 images), no part of the data set"
    assert found[1].reason == "40 files, no part of the data set: 0.txt, 1.txt, 10.txt and 37 more"
