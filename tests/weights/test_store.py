"""Weight files describe themselves, and wrong ones are refused with their reason."""

import json
import pickle
from pathlib import Path

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
    refuses(b"\x89PNG\r\n\x1a\n" * 20, "another format")
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


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"version": 1}', '{"version": 99}', '{"version": 1, "spec": {"family": "x"}}']
)
def test_a_damaged_header_is_refused(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "h.safetensors"
    save_file({"a": torch.zeros(1)}, file, metadata={"featherbone": damage})
    with pytest.raises(fb.InputError):
        fb.read_header(file)
