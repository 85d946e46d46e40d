"""Files are told apart by what they hold, whatever they are called."""

import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import featherbone as fb


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stream.getvalue()


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def tar(stream: io.BytesIO) -> None:
    with tarfile.open(fileobj=stream, mode="w") as file:
        file.addfile(tarfile.TarInfo("m.pth"))


CHECKPOINT = written(lambda stream: torch.save({"a": torch.zeros(9)}, stream))
SCRIPT = archive(**{"m/data.pkl": b"", "m/constants.pkl": b"", "m/code/__torch__.py": b""})
KINDS = {
    "empty": (b"", "the file is empty"),
    "gzip": (gzip.compress(CHECKPOINT), "compressed with gzip: unpack it first"),
    "xz": (lzma.compress(CHECKPOINT), "compressed with xz: unpack it first"),
    "tar": (written(tar), "a tar archive: unpack it first"),
    "zip of a checkpoint": (archive(**{"model.pth": CHECKPOINT}), r"zip archive of other files \(model.pth\): unpack"),
    "empty zip": (archive(), r"zip archive of other files \(none\)"),
    "cut zip": (CHECKPOINT[:200], "zip archive, but damaged or cut short"),
    "bomb": (archive(**{"m/data.pkl": bytes(1 << 20)}), "unpacks to more than it is"),
    "TorchScript": (SCRIPT, "a TorchScript archive, a program and no checkpoint: save its state_dict"),
    "torch.export": (archive(**{"m/archive_format": b"pt2", "m/data/weights/w": b""}), "torch.export's archive"),
    "Keras 3": (archive(**{"config.json": b"{}", "model.weights.h5": b""}), "Keras's"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5, as Keras writes it"),
    "npz": (written(lambda stream: np.savez(stream, a=np.zeros(2))), r"NumPy's arrays \(.npz\)"),
    "npy": (written(lambda stream: np.save(stream, np.zeros(2))), "one array of NumPy"),
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x032.9", "ONNX or TensorFlow's"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + bytes(99), "TensorFlow Lite"),
    "pickle": (pickle.dumps({"a": 1}), "a pickle, which can run code and is never opened"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer.*git lfs pull"),
    "login": (b"\n<!DOCTYPE html><html><title>Sign in</title></html>", "a page of the web"),
    "JSON": (json.dumps({"weight_map": {}}).encode(), "it is JSON"),
    "text": (b"404: Not Found", "text that begins with '404: Not Found'"),
    "random": (bytes(range(1, 256)) * 3, "damaged or of another format"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
def test_a_file_that_holds_no_weights_is_named_after_what_it_is(kind: str, suffix: str, tmp_path: Path) -> None:
    content, said = KINDS[kind]
    file = tmp_path / f"m{suffix}"
    file.write_bytes(content)
    for read in (lambda: fb.import_weights("peleenet", file), lambda: fb.load(file)):
        with pytest.raises(fb.InputError, match=said):
            read()


def test_the_suffix_decides_nothing(tmp_path: Path) -> None:
    theirs = fb.create_model("shufflenet_v2_x0_5", num_classes=2).eval()
    torch.save(theirs.state_dict(), tmp_path / "m.safetensors")
    fb.save(theirs, tmp_path / "m.pth")
    torch.save(theirs.state_dict(), tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    for name in ("m.safetensors", "m.pth", "old.bin"):
        model, _ = fb.import_weights("shufflenet_v2_x0_5", tmp_path / name)
        assert all(torch.equal(tensor, theirs.state_dict()[key]) for key, tensor in model.state_dict().items())
