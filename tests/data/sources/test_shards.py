"""Shards here are read where they lie, at random; what is damaged in them is named."""

import itertools
import json
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.shards import add, all_sums, write_shards
from helpers.training import QUICK, evaluated

import featherbone as fb
from featherbone.data.dataset import Dataset
from featherbone.data.image import UnreadableImageError
from featherbone.data.open import CLASSIFICATION
from featherbone.data.sources.shards import Member, expand


def test_local_shards_are_the_folder_they_were_made_of(colours: Path, finished: fb.Run) -> None:
    place = colours.parent / "shards"
    write_shards(colours, place)
    data, folder = CLASSIFICATION.open(place, quiet=True), CLASSIFICATION.open(colours, quiet=True)
    assert (data.classes, data.size, data.channels) == (folder.classes, folder.size, folder.channels)
    assert all_sums(data) == all_sums(folder)
    assert (data.skipped, data.train.groups) == ((), ())
    pattern = str(place / "shard-{000000..000003}.tar")
    assert CLASSIFICATION.open(pattern, quiet=True).fingerprint == data.fingerprint
    assert CLASSIFICATION.open(str(place / "shard-*.tar"), quiet=True).fingerprint == data.fingerprint
    assert evaluated(finished.folder, place).confusion.sum() == 48
    one, skipped = CLASSIFICATION.images(place / "shard-000002.tar", ("red", "green", "blue"), quiet=True)
    assert (len(one), skipped) == (12, ())
    member = pickle.loads(pickle.dumps(data.train.sources[0]))  # noqa: S301 - ours
    assert member == data.train.sources[0]
    with pytest.raises(UnreadableImageError, match="cut short"):
        replace(member, offset=10**9).read()


def test_a_run_on_shards_is_learned_from_and_measured(colours: Path, tmp_path: Path) -> None:
    write_shards(colours, tmp_path / "shards")
    pattern = str(tmp_path / "shards" / "shard-{000000..000003}.tar")
    run = fb.train(pattern, out=tmp_path / "run", changes={**QUICK, "epochs": 1}, quiet=True)
    held_out = evaluated(run.folder)
    assert held_out.top1 == evaluated(run.folder, pattern).top1 == pytest.approx(run.test_top1, abs=1e-6)


def test_shards_named_after_splits(colours: Path) -> None:
    place = colours.parent / "shards"
    write_shards(colours, place / "train", "{:03d}.tar")
    write_shards(colours, place / "val", "{:03d}.tar")
    data = CLASSIFICATION.open(place, quiet=True)
    assert (len(data.train), len(data.val)) == (48, 48)
    assert data.classes == ("blue", "green", "red")  # the names lie beside the shards
    (place / "classes.json").write_text(json.dumps({"0": "b", "1": "g", "2": "r"}))
    assert CLASSIFICATION.open(place, quiet=True).classes == ("b", "g", "r")
    flat = colours.parent / "flat"
    write_shards(colours, flat, "set-train-{:03d}.tar")
    (flat / "set-train-003.tar").rename(flat / "set-test-000.tar")
    assert len(CLASSIFICATION.open(flat, quiet=True).val) == 12
    (flat / "set-train-001.tar").rename(flat / "more.tar")
    with pytest.raises(fb.InputError, match="not more.tar"):
        CLASSIFICATION.open(flat, quiet=True)


def damaged_tar(path: Path, good: bytes) -> None:
    """Write a tar file with everything odd, and cut its last image short."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for i in range(4):
            add(archive, f"a{i}.png", good + bytes([i]))  # no copies, which stay on one side of a split
            add(archive, f"a{i}.cls", b"xy"[i % 2 : i % 2 + 1])
        add(archive, "alone.png", good)
        add(archive, "no-image.cls", b"x")
        add(archive, "strange\n\U0001f600.jpg", b"no image")
        add(archive, "strange\n\U0001f600.json", b'{"class": "x"}')
        add(archive, "._a0.png", b"hidden")
        add(archive, "nested.png", good)
        add(archive, "nested.json", b"[" * 100_000)
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        add(archive, "cut.cls", b"x")
        add(archive, "cut.png", good * 9)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(good) + len(good) // 2])


def test_what_can_be_read_of_a_damaged_shard_counts_and_the_rest_is_named(colours: Path, tmp_path: Path) -> None:
    damaged_tar(tmp_path / "a.tar", (colours / "red" / "00.png").read_bytes())
    data = CLASSIFICATION.open(tmp_path / "a.tar", quiet=True)
    assert len(data.train) + len(data.val) == 4
    reasons = {file.path.removeprefix("a.tar/"): file.reason for file in data.skipped}
    assert reasons.keys() == {
        "alone.png",
        "no-image",
        "strange\\n\U0001f600.jpg",
        "nested.png",
        "link.png",
        "cut.png",
        "cut",
        "a.tar",
    }
    assert reasons["alone.png"] == reasons["nested.png"] == "no label: neither in .cls nor in .json beside it"
    assert reasons["link.png"] == "a link or a device, not a file"
    assert reasons["strange\\n\U0001f600.jpg"] == "not an image"
    assert reasons["cut.png"] == "cut short"


@pytest.mark.parametrize("size", [1 << 62, -512])
def test_headers_that_lie_end_in_a_reason(tmp_path: Path, size: int, colours: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for i, label in itertools.product(range(3), "xy"):
            add(archive, f"{label}{i}.png", (colours / "red" / f"{i:02}.png").read_bytes())
            add(archive, f"{label}{i}.cls", label.encode())
    content = bytearray((tmp_path / "a.tar").read_bytes().rstrip(b"\0"))
    content += bytes(-len(content) % 512)
    header = bytearray(content[:512])
    header[124:136] = (b"\x80" if size > 0 else b"\xff") + size.to_bytes(11, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(bytes(content + header + bytes(512)))
    data = CLASSIFICATION.open(tmp_path / "a.tar", quiet=True)
    assert len(data.train) + len(data.val) == 6
    assert "damaged" in data.skipped[-1].reason


def test_what_is_no_shard_is_refused(tmp_path: Path, colours: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar")
    (tmp_path / "b.tar.xz").write_bytes(b"")
    write_shards(colours, tmp_path / "s")
    for source, said in (
        (tmp_path / "a.tar", "no image KEY.jpg with its label"),
        (tmp_path / "b.tar.xz", "unpack it to a plain .tar"),
        (tmp_path / "s" / "shard-{000003..000004}.tar", "no such shard: .*shard-000004.tar"),
        (tmp_path / "s" / "shard-{a}.tar", "is not allowed"),
        (tmp_path / "s" / "shard-{0..9999999}.tar", "more than 1,000,000"),
    ):
        with pytest.raises(fb.InputError, match=said):
            CLASSIFICATION.open(source, quiet=True)
    assert expand("{a,b}{1..2}") == ["a1", "a2", "b1", "b2"]


def test_groups_follow_what_is_picked() -> None:
    images = Dataset.of([(Member(Path("a"), str(i), i, 1, group="ab"[i // 3]), 0) for i in range(6)])
    assert images.groups == (3, 3)
    assert images.pick([0, 1, 4]).groups == (2, 1)
    assert images.pick([]).groups == ()
