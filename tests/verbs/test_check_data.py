"""A data set is checked whether or not it can be trained on."""

import shutil
from pathlib import Path

from helpers.images import draw_classes, noise
from helpers.shards import write_shards

import featherbone as fb


def test_nothing_is_found_where_nothing_is_wrong(colours: Path, own_cache: Path) -> None:
    assert fb.check_data(colours, quiet=True).findings == ()
    write_shards(colours, colours.parent / "shards")
    check = fb.check_data(colours.parent / "shards", quiet=True)
    assert (check.findings, check.images, check.classes) == ((), 48, ("blue", "green", "red"))


def test_what_cannot_be_trained_on_can_be_checked(tmp_path: Path) -> None:
    draw_classes(tmp_path / "one", count=10)
    for name in ("blue", "green"):
        shutil.rmtree(tmp_path / "one" / name)
    assert [finding.kind for finding in fb.check_data(tmp_path / "one", quiet=True).findings] == ["one-class"]
    (tmp_path / "test").mkdir()
    (tmp_path / "one").rename(tmp_path / "both").rename(tmp_path / "test" / "x")
    found = fb.check_data(tmp_path, quiet=True)
    assert [finding.kind for finding in found.findings] == ["nothing-to-learn"]
    (tmp_path / "empty" / "a").mkdir(parents=True)
    for i in range(3):
        (tmp_path / "few" / f"c{i}").mkdir(parents=True)
        for k in range(1 + 3 * i):
            noise(10 * i + k).save(tmp_path / "few" / f"c{i}" / f"{k}.png")
    assert [finding.text for finding in fb.check_data(tmp_path / "few", quiet=True).findings] == [
        "1 class with fewer than the two images that a split needs: c0 (1)",
        "2 classes with fewer than 10 images to learn from: c1 (4), c2 (7)",
    ]
    empty = fb.check_data(tmp_path / "empty", quiet=True)
    assert (empty.images, empty.side(0)) == (0, (0, 0, 0))
    assert {finding.kind for finding in empty.findings} == {"nothing-to-learn"}


def test_digits() -> None:
    check = fb.check_data("digits", quiet=True)
    assert check.images == 1797
    assert check.modes == {"L": 1797}
    assert [finding.kind for finding in check.findings] == ["small"]
