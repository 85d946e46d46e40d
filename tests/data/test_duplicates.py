"""A file is a file, however often and under whatever name it is listed; equal bytes stay on one side of a split."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.annotation_formats import Drawn
from PIL import Image

from featherbone.data.dataset import ClassificationData, Data
from featherbone.data.duplicates import copies
from featherbone.data.open import CLASSIFICATION, DETECTION
from featherbone.errors import InputError


def draw(root: Path, count: int = 12, folder: str = "images") -> Path:
    for i in range(count):
        Drawn(f"{i}.png", (20, 20), seed=i + 1).save(root / folder / f"{i}.png")
    return root


def table(root: Path, *rows: tuple[str, str]) -> Path:
    (root / "t.csv").write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
    return root / "t.csv"


def sides(data: Data[int]) -> tuple[set[bytes], set[bytes]]:
    """Return the contents learned from and held out, once none is there twice."""
    both = []
    for split in (data.train, data.val):
        files = [source for source in split.sources if isinstance(source, Path)]
        both.append({file.read_bytes() for file in files})
    return both[0], both[1]


def test_a_file_under_several_names_is_one(tmp_path: Path) -> None:
    draw(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "images", target_is_directory=True)
    os.link(tmp_path / "images" / "3.png", tmp_path / "hard.png")
    rows = [(f"images/{i}.png", "ab"[i % 2]) for i in range(12)]
    others = [("linked/0.png", "a"), ("./images/1.png", "b"), ("images/../images/2.png", "a"), ("hard.png", "b")]
    data = CLASSIFICATION.open(table(tmp_path, *rows, *others), quiet=True)
    plain = CLASSIFICATION.open(table(tmp_path, *rows), quiet=True)
    assert (len(data.train), len(data.val), data.notes) == (len(plain.train), len(plain.val), ()) == (10, 2, ())
    assert data.fingerprint == plain.fingerprint
    assert [one.reason for one in data.skipped] == [
        "4 files named more than once, counted once: linked/0.png, images/1.png, images/2.png, hard.png"
    ]


@pytest.mark.parametrize("seed", range(5))
def test_equal_bytes_stay_on_one_side_of_a_split(seed: int, tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw(tmp_path, 12, name)
        for i in range(12):
            Drawn("", (20, 20), seed=100 * ord(name) + i).save(tmp_path / name / f"{i}.png")
        for i in range(0, 12, 2):
            shutil.copy(tmp_path / name / f"{i}.png", tmp_path / name / f"copy {i}.png")
    data = CLASSIFICATION.open(tmp_path, seed=seed, quiet=True)
    learned, held = sides(data)
    assert learned.isdisjoint(held)
    assert len(data.train) + len(data.val) == 36
    assert data.notes == ("12 images there more than once, byte for byte",)
    assert 6 <= len(data.val) <= 10


def test_what_a_check_would_say_is_known_before_a_training(tmp_path: Path) -> None:
    draw(tmp_path)
    rows = [(f"images/{i}.png", "ab"[i % 2]) for i in range(12)]
    data = CLASSIFICATION.open(table(tmp_path, *rows, ("images/0.png", "b")), quiet=True)
    assert data.notes == (
        "1 image there with different labels: only one can be right",
        "1 image there more than once, byte for byte",
    )
    learned, held = sides(data)
    assert learned.isdisjoint(held)
    for split, numbers in (("train", range(8)), ("val", range(7, 12))):
        for i in numbers:
            for name in "ab":
                Drawn("", (20, 20), seed=1 + i + 100 * ord(name)).save(tmp_path / "set" / split / name / f"{i}.png")
    data = CLASSIFICATION.open(tmp_path / "set", quiet=True)
    assert isinstance(data, ClassificationData)
    assert data.notes[0] == "2 images learned from and held out, too: measuring on them tests memory, not recognition"


def test_a_class_of_one_picture_cannot_be_held_out(tmp_path: Path) -> None:
    for name in "ab":
        for i in range(3):
            Drawn("", (20, 20), seed=ord(name)).save(tmp_path / name / f"{i}.png")
    with pytest.raises(InputError, match="its images are copies of one another"):
        CLASSIFICATION.open(tmp_path, quiet=True)


def test_boxes_of_several_entries_of_an_image_are_all_its(tmp_path: Path) -> None:
    draw(tmp_path)
    boxes = [[2, 2, 8, 8], [10, 4, 6, 6]]
    entries = [(i, box) for i in range(12) for box in boxes]
    listed = {
        "images": [{"id": k, "file_name": f"{i}.png", "width": 20, "height": 20} for k, (i, _) in enumerate(entries)],
        "annotations": [{"id": k, "image_id": k, "category_id": 1, "bbox": box} for k, (_, box) in enumerate(entries)],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "all.json").write_text(json.dumps(listed))
    data = DETECTION.open(tmp_path, quiet=True)
    assert len(data.train) + len(data.val) == 12
    assert {len(target.labels) for split in (data.train, data.val) for target in split.targets} == {2}
    assert set(data.train.sources).isdisjoint(data.val.sources)


def test_copies_are_those_of_the_same_bytes(tmp_path: Path) -> None:
    contents = [b"x" * 20_000, b"x" * 20_000, b"x" * 9_000 + b"y" + b"x" * 10_999, b"z", b"", b"z"]
    paths = [tmp_path / str(place) for place in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    assert copies([*paths, tmp_path / "none"]) == [0, 0, 2, 3, 4, 3, 6]
    pixels = np.zeros((4, 4, 3), np.uint8)
    assert copies([pixels, pixels + 1, pixels.copy(), np.asarray(Image.new("L", (4, 4)))]) == [0, 1, 0, 3]
