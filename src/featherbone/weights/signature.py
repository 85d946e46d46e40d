"""What a file that is no weight file of ours is: told by how it begins and by what lies in it, never by its name."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from featherbone.data.names import printable
from featherbone.errors import some
from featherbone.files import open_file

UNKNOWN = "it is damaged or of another format"
_START = 512
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
# the number with which torch.save began before it wrote zip archives
_OLD_TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_UNPACK = "unpack it first"
_EXPORTED = "a program and no checkpoint: save its state_dict() where it was made"
_MAGIC = (
    (0, b"\x1f\x8b", f"it is compressed with gzip: {_UNPACK} (gunzip)"),
    (0, b"\xfd7zXZ\x00", f"it is compressed with xz: {_UNPACK} (unxz)"),
    (0, b"BZh", f"it is compressed with bzip2: {_UNPACK} (bunzip2)"),
    (0, b"\x28\xb5\x2f\xfd", f"it is compressed with zstd: {_UNPACK} (unzstd)"),
    (0, b"\x04\x22\x4d\x18", f"it is compressed with lz4: {_UNPACK} (unlz4)"),
    (0, b"7z\xbc\xaf\x27\x1c", f"it is a 7-Zip archive: {_UNPACK}"),
    (0, b"Rar!", f"it is a RAR archive: {_UNPACK}"),
    (257, b"ustar", f"it is a tar archive: {_UNPACK}"),
    (0, b"version https://git-lfs", "it is a Git LFS pointer, which stands for the file: 'git lfs pull' fetches that"),
    (0, b"\x89HDF\r\n\x1a\n", "it is HDF5, as Keras writes it, which is not read"),
    (0, b"\x93NUMPY", "it is one array of NumPy, without the names that weights have"),
    (0, b"GGUF", "it is GGUF, which is not read"),
    (4, b"TFL3", "it is TensorFlow Lite, which is not read"),
    (0, b"\x89PNG", "it is a picture"),
    (0, b"\xff\xd8\xff", "it is a picture"),
    (0, b"%PDF", "it is a PDF"),
    (0, b"\x7fELF", "it is a program"),
)
_PAGES = (b"<!doctype", b"<html", b"<head", b"<body")
# files and folders in an archive, and what kind of archive that makes it; the first that is there counts
_MEMBERS = {
    "constants.pkl": f"it is a TorchScript archive, {_EXPORTED}",
    "archive_format": f"it is torch.export's archive, {_EXPORTED}",
    "serialized_exported_program.json": f"it is torch.export's archive, {_EXPORTED}",
    "model.weights.h5": "it is Keras's, which is not read",
    "saved_model.pb": "it is TensorFlow's, which is not read",
    "MAR-INF": f"it is an archive for TorchServe: {_UNPACK}",
}


def read_start(path: Path) -> bytes:
    """Return a file's first 512 bytes.

    Raises:
        InputError: if it is no file, or cannot be read.
    """
    with open_file(path) as stream:
        return stream.read(_START)


def is_safetensors(start: bytes) -> bool:
    """Return whether a file that begins so may be safetensors: the length of its header, then JSON."""
    return start[8:9] == b"{" and 1 < int.from_bytes(start[:8], "little") <= 100_000_000


def is_darknet(start: bytes) -> bool:
    """Return whether a file begins as darknet's weights do: with version 0.1 or 0.2."""
    major, minor = (int.from_bytes(start[i : i + 4], "little") for i in (0, 4))
    return len(start) >= 16 and (major, minor) in ((0, 1), (0, 2))


def is_torch(start: bytes, path: Path) -> bool:
    """Return whether a file may be what ``torch.save`` writes: a zip archive with a pickle in it, or its older form."""
    if start.startswith(b"PK"):
        return not _in_archive(path)
    return start.startswith(_PICKLES) and start[2:].startswith(_OLD_TORCH)


def what_it_is(path: Path) -> str:
    """Return what kind of file this is, and what to do about it, as the end of a sentence.

    Raises:
        InputError: if it is no file, or cannot be read.
    """
    start = read_start(path)
    known = next((said for at, magic, said in _MAGIC if start[at:].startswith(magic)), "")
    if known or not start:
        return known or "the file is empty"
    if start.startswith(b"PK"):
        return _in_archive(path) or "it is a checkpoint of torch.save, a pickle, which only 'import' reads"
    if start.startswith(_PICKLES):
        return "it is a pickle, which can run code and is never opened"
    # a protocol buffer: a version, then the name of the program that wrote it
    if start[:1] == b"\x08" and start[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a"):
        return "it is ONNX or TensorFlow's, which is not read: import the checkpoint from which it was made"
    if is_safetensors(start):
        return "it is safetensors, but damaged or cut short"
    return "it is darknet's weights, which only 'import' reads" if is_darknet(start) else _text(start)


def _text(start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_PAGES):
        return "it is a page of the web, as where a download ends at a login or an error"
    if text.startswith(b"<"):
        return "it is XML"
    if text.startswith((b"{", b"[")):
        return "it is JSON"
    readable = start.decode("utf-8", errors="ignore")
    if b"\0" not in start and readable.strip() and len(readable.encode()) > len(start) - 4:
        return f"it is text that begins with {readable.strip().splitlines()[0][:40]!r}"
    return UNKNOWN


def _in_archive(path: Path) -> str:
    """Return what kind of zip archive this is; nothing for one of torch's."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception:  # noqa: BLE001 - whatever a damaged archive makes of zipfile
        return "it is a zip archive, but damaged or cut short"
    names = [member.filename for member in members]
    parts = {part for name in names for part in name.split("/")}
    known = next((said for part, said in _MEMBERS.items() if part in parts), "")
    if known:
        return known
    if "data.pkl" in parts:
        return _not_stored(members, path.stat().st_size)
    if names and all(name.endswith(".npy") for name in names):
        return "it is an archive of NumPy's arrays (.npz): write them with safetensors.numpy.save_file"
    return f"it is a zip archive of other files ({printable(some(names, 2)) or 'none'}): {_UNPACK}"


def _not_stored(members: Sequence[zipfile.ZipInfo], size: int) -> str:
    """Return what is wrong with an archive that unpacks to more than it is; ``torch.save`` compresses nothing."""
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    larger = packed or sum(member.file_size for member in members) > size
    return "it is a zip archive that unpacks to more than it is, which torch.save never writes" if larger else ""
