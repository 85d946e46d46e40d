"""Weight files describe themselves, and wrong ones are refused with their reason."""

import json
import os
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.reference import randomize
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import featherbone as fb


@pytest.fixture
def saved(tmp_path: Path) -> tuple[fb.Backbone, Path]:
    torch.manual_seed(0)
    model = fb.create_model("shufflenet_v2_x0_5", num_classes=3, in_chans=1, stem_stride=1)
    randomize(model)
    path = tmp_path / "model.safetensors"
    preprocess = fb.Preprocess(size=32, mean=(0.5,), std=(0.25,), crop=0.9)
    fb.save(model, path, classes=("a", "b", "ü"), preprocess=preprocess)
    return model, path


def test_a_file_needs_nothing_else(saved: tuple[fb.Backbone, Path]) -> None:
    model, path = saved
    again = fb.load(path)
    x = torch.randn(2, 1, 32, 32)
    assert not again.training
    assert torch.equal(again(x), model(x))
    header = fb.read_header(path)
    assert header.spec == model.spec
    assert header.classes == ("a", "b", "ü")
    assert header.preprocess == fb.Preprocess(size=32, mean=(0.5,), std=(0.25,), crop=0.9)


def test_a_folder_stands_for_the_file_in_it(saved: tuple[fb.Backbone, Path]) -> None:
    assert fb.read_header(saved[1].parent) == fb.read_header(saved[1])


def test_saving_leaves_no_other_file_and_replaces_whole(saved: tuple[fb.Backbone, Path]) -> None:
    model, path = saved
    fb.save(model, path)
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]
    assert fb.read_header(path).classes == ()


def test_class_names_must_be_as_many_as_outputs(saved: tuple[fb.Backbone, Path]) -> None:
    with pytest.raises(fb.InputError, match="2 names, but the network has 3"):
        fb.save(saved[0], saved[1], classes=("a", "b"))


def test_a_failed_save_keeps_the_old_file(saved: tuple[fb.Backbone, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = saved
    before = path.read_bytes()

    def full(tensors: object, filename: Path, metadata: object) -> None:
        filename.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("featherbone.weights.store.save_file", full)
    with pytest.raises(fb.InputError, match="No space left on device"):
        fb.save(model, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


def test_other_files_are_refused(saved: tuple[fb.Backbone, Path], tmp_path: Path) -> None:
    _, path = saved
    whole = path.read_bytes()

    def refuses(content: bytes, said: str) -> None:
        file = tmp_path / "other.safetensors"
        file.write_bytes(content)
        with pytest.raises(fb.InputError, match=said):
            fb.load(file)

    refuses(b"", "empty")
    refuses(whole[: len(whole) // 2], "damaged or cut short")
    refuses(whole[:100], "damaged or cut short")
    refuses(pickle.dumps({"a": 1}), "pickle")
    torch.save({"a": torch.zeros(1)}, tmp_path / "c.pth")
    refuses((tmp_path / "c.pth").read_bytes(), "pickle")
    refuses(b"\x89PNG\r\n\x1a\n" * 20, "a picture")
    refuses(b"\x01\x02\xff" * 200, "another format")
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    refuses((tmp_path / "plain.safetensors").read_bytes(), "no featherbone header")
    with pytest.raises(fb.InputError, match="no such"):
        fb.load(tmp_path / "absent.safetensors")
    with pytest.raises(fb.InputError, match="no run"):
        fb.load(Path(__file__).parent)


def test_tensors_that_do_not_fit_the_header_are_named(saved: tuple[fb.Backbone, Path], tmp_path: Path) -> None:
    tensors = load_file(saved[1])
    header = json.dumps(fb.read_header(saved[1]).to_dict())
    tensors["head.1.classifier.weight"] = torch.zeros(5, 1024)
    del tensors["stem.0.0.weight"]
    file = tmp_path / "wrong.safetensors"
    save_file(tensors, file, metadata={"featherbone": header})
    with pytest.raises(fb.InputError, match=r"stem\.0\.0\.weight is missing.*\(5, 1024\) instead of \(3, 1024\)"):
        fb.load(file)


def test_a_number_of_classes_that_differs_is_refused(saved: tuple[fb.Backbone, Path]) -> None:
    assert fb.load(saved[1], num_classes=3).spec.num_classes == 3
    with pytest.raises(fb.InputError, match="num_classes=10, but .* has 3 classes"):
        fb.load(saved[1], num_classes=10)


def test_a_writer_that_fails_in_its_own_words_is_a_sentence_too(
    saved: tuple[fb.Backbone, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr("featherbone.weights.store.save_file", full)
    with pytest.raises(fb.InputError, match="cannot write .*No space left"):
        fb.save(*saved)


def rewritten(path: Path, to: Path, **changes: Any) -> Path:
    """Write a weight file again, with another row, class names or whatever else its header says."""
    header = fb.read_header(path).to_dict()
    row = {**header["spec"], **changes.pop("row", {})}
    save_file(load_file(path), to, metadata={"featherbone": json.dumps({**header, "spec": row, **changes})})
    return to


@pytest.mark.parametrize(
    "row",
    [
        {"num_classes": 10**9},
        {"num_classes": 10**30},
        {"in_chans": 10**12},
        {"repeats": [4, 10**9, 4]},
        {"repeats": [4, 20_000, 4]},  # no number is large, but there would be 100,000 tensors
        {"channels": [48, 96, 300_000]},  # each number may be, but not together
        {"channels": [2 * 10**9] * 3},
        {"conv5_channels": 2**62},
        {"stem_channels": [24] * 50_000},
    ],
)
def test_a_header_that_asks_for_more_than_the_file_has_is_refused_before_anything_is_built(
    row: dict[str, Any], saved: tuple[fb.Backbone, Path], tmp_path: Path
) -> None:
    file = rewritten(saved[1], tmp_path / "large.safetensors", row=row, classes=[])
    with limited_memory(2 << 30), pytest.raises(fb.InputError, match=r"does not fit|larger network"):
        fb.load(file)


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """Let this process take so many bytes more than it has, within the block."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"row": {"num_classes": "3"}}, "num_classes='3' is not allowed: a whole number"),
        ({"row": {"num_classes": 3.0}}, "num_classes=3.0 is not allowed: a whole number"),
        ({"row": {"num_classes": True}}, "num_classes=True is not allowed: a whole number"),
        ({"row": {"num_classes": -1}}, "num_classes=-1 is not allowed"),
        ({"row": {"repeats": "484"}}, "repeats='484' is not allowed: whole numbers"),
        ({"row": {"repeats": [4, None, 4]}}, r"repeats=\(4, None, 4\) is not allowed: whole numbers"),
        ({"row": {"dropout": "0"}}, "dropout='0' is not allowed: a number"),
        ({"row": {"dropout": [0.5]}}, r"dropout=\(0.5,\) is not allowed: a number"),
        ({"row": {"se": 1}}, "se=1 is not allowed: true or false"),
        ({"row": {"fusion": {}}}, "fusion={} is not allowed"),
        ({"spec": [1, 2]}, "incomplete row"),
        ({"spec": {"family": []}}, "is unknown"),
        ({"classes": "abc"}, "classes='abc' is not allowed: texts"),
        ({"classes": ["a", "b", 3]}, "is not allowed: texts"),
        ({"classes": ["a", "b"]}, "2 class names for 3 outputs"),
        ({"task": 5}, "task=5 is not allowed: text"),
        ({"preprocess": []}, "preprocessing"),
        ({"preprocess": {"size": "32", "mean": [0.5], "std": [1.0]}}, "size='32' is not allowed"),
        ({"preprocess": {"size": 10**12, "mean": [0.5], "std": [1.0]}}, "size=1000000000000 is not allowed"),
        ({"preprocess": {"size": 32, "mean": [0.5], "std": [1.0], "crop": 1e-9}}, "crop=1e-09"),
        ({"preprocess": {"size": 32, "mean": 0.5, "std": [1.0]}}, "mean=0.5 is not allowed: numbers"),
        ({"version": "1"}, "does not say its version"),
        ({"version": float("inf")}, "Infinity"),
        ({"version": 10**400}, "newer featherbone"),
    ],
)
def test_what_a_header_says_has_its_type_before_its_range(
    changes: dict[str, Any], said: str, saved: tuple[fb.Backbone, Path], tmp_path: Path
) -> None:
    file = rewritten(saved[1], tmp_path / "odd.safetensors", **changes)
    with pytest.raises(fb.InputError, match=said):
        fb.read_header(file)
    with pytest.raises(fb.InputError, match=said):
        fb.load(file)


def test_files_that_cannot_be_read_are_named_and_pipes_are_not_opened(
    saved: tuple[fb.Backbone, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "p.safetensors")
    for read in (fb.load, fb.read_header, fb.open_network, lambda path: fb.import_weights("peleenet", path)):
        with pytest.raises(fb.InputError, match=r"cannot be read: it is a pipe, not a file"):
            read(tmp_path / "p.safetensors")
        with pytest.raises(fb.InputError, match=r"no such|neither a run"):
            read(Path("x" * 5000))
    closed = PermissionError(13, "Permission denied")

    def refuse(*_: object, **__: object) -> None:
        raise closed

    monkeypatch.setattr(Path, "open", refuse)  # as the superuser, who runs tests in containers, may read all
    for read in (fb.load, fb.read_header, fb.open_network, lambda path: fb.import_weights("peleenet", path)):
        with pytest.raises(fb.InputError, match=r"model\.safetensors cannot be read: Permission denied"):
            read(saved[1])
    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(fb.InputError, match=r"cannot be read: Permission denied"):
        fb.load(saved[1])


@pytest.mark.parametrize(
    "damage", ["[" * 200_000, "{", "[]", '{"version": 1}', '{"version": 99}', '{"version": 1, "spec": {"family": "x"}}']
)
def test_a_damaged_header_is_refused(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "h.safetensors"
    save_file({"a": torch.zeros(1)}, file, metadata={"featherbone": damage})
    with pytest.raises(fb.InputError):
        fb.read_header(file)
