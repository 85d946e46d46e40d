"""Read and write our own safetensors files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from featherbone.data import Preprocess
from featherbone.detect.detector import Detector, DetectorSpec, detector_from_dict, detector_to_dict
from featherbone.errors import InputError, check_type
from featherbone.files import replacing
from featherbone.models import spec_from_row
from featherbone.spec import Backbone, Spec, spec_to_dict

FILE_NAME = "model.safetensors"
_KEY = "featherbone"
_VERSION = 1
_KINDS = {Backbone: "a classifier", Detector: "a detector"}
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

Row = Spec | DetectorSpec
Network = Backbone | Detector
Model = TypeVar("Model", bound=nn.Module)


def row_to_dict(row: Row) -> dict[str, Any]:
    """Return a network's or detector's row as plain JSON values."""
    return detector_to_dict(row) if isinstance(row, DetectorSpec) else spec_to_dict(row)


def row_from_dict(values: Mapping[str, Any]) -> Row:
    """Return the row that ``row_to_dict`` wrote.

    Raises:
        InputError: if the family or a column is unknown, missing or out of range.
    """
    values = dict(values)
    detects = values.get("family") == DetectorSpec.family
    return detector_from_dict(values, spec_from_row) if detects else spec_from_row(values)


@dataclass(frozen=True)
class Header:
    """What a weight file says of itself.

    Attributes:
        spec: the network's row, or the detector's.
        classes: class names in the order of the outputs; empty if not known.
        preprocess: how an image becomes the input; ``None`` if not known.
        task: what the network was trained for, where that is not clear from its row.
    """

    spec: Row
    classes: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    task: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "version": _VERSION,
            "spec": row_to_dict(self.spec),
            "classes": list(self.classes),
            "preprocess": self.preprocess.to_dict() if self.preprocess else None,
            **({"task": self.task} if self.task else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Header:
        """Return what ``to_dict`` wrote.

        Raises:
            InputError: if it describes no network or preprocessing.
            KeyError: if a part is missing.
        """
        preprocess = Preprocess.from_dict(values["preprocess"]) if values["preprocess"] else None
        classes = tuple(map(str, values["classes"]))
        return cls(row_from_dict(values["spec"]), classes, preprocess, str(values.get("task", "")))


def save(
    model: Network,
    path: str | os.PathLike[str],
    *,
    classes: Sequence[str] = (),
    preprocess: Preprocess | None = None,
    task: str = "",
) -> None:
    """Write weights, spec, class names and preprocessing to one safetensors file, whole or not at all.

    Args:
        model: a classifier or a detector.
        path: the file.
        classes: names, in the order of the outputs.
        preprocess: how an image becomes the input.
        task: what it was trained for, where that is not clear from its row.

    Raises:
        InputError: if the number of class names is not the number of outputs, a detector's images would be cropped, or
            the file cannot be written.
    """
    check_type("model", model, (Backbone, Detector), "one of our networks, a Backbone or a Detector")
    outputs = model.spec.num_classes
    if isinstance(model, Detector) and preprocess is not None and preprocess.fit != "letterbox":
        raise InputError(f"fit={preprocess.fit!r} is not allowed for a detector, which sees whole images: 'letterbox'")
    if classes and len(classes) != outputs:
        raise InputError(f"classes has {len(classes)} names, but the network has {outputs} outputs")
    header = Header(model.spec, tuple(classes), preprocess, task)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata={_KEY: json.dumps(header.to_dict())})
    except SafetensorError as error:  # what safetensors makes of a full disk
        raise InputError(f"cannot write {path}: {error}") from error


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return what a weight file, or the run in a folder, says of itself. No tensor is read.

    Raises:
        InputError: if it is missing, damaged, of another format or without our header.
    """
    file = _weight_file(path)
    try:
        with safe_open(file, framework="pt") as opened:
            metadata: Mapping[str, str] = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} cannot be read as safetensors: {_what_is_wrong(file, error)}") from error
    if _KEY not in metadata:
        raise InputError(
            f"{file} has no featherbone header, so the network it belongs to is unknown: "
            f"'featherbone import {file} --as NAME' makes one that has"
        )
    try:
        values = json.loads(metadata[_KEY])
        version = int(values["version"])
        if version <= _VERSION:
            return Header.from_dict(values)
    except InputError as error:
        raise InputError(f"the header of {file} describes no network we know: {error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"the header of {file} is damaged ({type(error).__name__}: {error})") from error
    raise InputError(f"{file} was written by a newer featherbone (format {version}): upgrade to read it")


@overload
def load(path: str | os.PathLike[str], *, num_classes: int | None = None) -> Network: ...


@overload
def load(path: str | os.PathLike[str], kind: type[Model], *, num_classes: int | None = None) -> Model: ...


def load(
    path: str | os.PathLike[str], kind: type[nn.Module] = nn.Module, *, num_classes: int | None = None
) -> nn.Module:
    """Rebuild the network of a weight file, or of the run in a folder, in evaluation mode.

    Args:
        path: a file that ``save`` wrote, a run or its folder.
        kind: what the caller counts on, ``Backbone`` or ``Detector``; anything else in the file is refused. Default:
            either.
        num_classes: the number of outputs the caller counts on; the same holds.

    Raises:
        InputError: as ``read_header``; or if the tensors do not fit the network, or it is another than counted on.
    """
    header = read_header(path)
    file = _weight_file(path)
    if num_classes not in (None, header.spec.num_classes):
        raise InputError(f"num_classes={num_classes}, but {file} has {header.spec.num_classes} classes")
    model = header.spec.build()
    if not isinstance(model, kind):
        found, wanted = type(model), _KINDS.get(kind, kind.__name__)
        raise InputError(f"{file} holds {_KINDS[found]}, not {wanted}: load(path, {found.__name__}) reads it")
    tensors = load_file(file)
    wrong = _differences(model.state_dict(), tensors)
    if wrong:
        raise InputError(f"{file} does not fit its own header: {'; '.join(wrong[:3])} ({len(wrong)} differences)")
    model.load_state_dict(tensors)
    return model.eval()


def _weight_file(path: str | os.PathLike[str]) -> Path:
    check_type("path", path, (str, os.PathLike), "a run, its folder or a weight file")
    file = Path(path)
    if file.is_dir():
        if not (file / FILE_NAME).exists():
            unfinished = (file / "recipe.json").exists()
            why = f"its training did not finish: featherbone train --resume {file}" if unfinished else "it is no run"
            raise InputError(f"the folder {file} holds no {FILE_NAME}; {why}")
        return file / FILE_NAME
    if not file.exists():
        raise InputError(f"no such run or weight file: {file}")
    return file


def _what_is_wrong(file: Path, error: Exception) -> str:
    with file.open("rb") as stream:
        start = stream.read(8)
    if not start:
        return "the file is empty"
    if start.startswith(_PICKLE_STARTS):
        return "it is a pickle (a .pt or .pth checkpoint), which can run code and is never opened"
    if 8 < int.from_bytes(start, "little") < 100_000_000:
        return f"it is damaged or cut short ({error})"
    return f"it is of another format ({error})"


def _differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    missing = [f"{name} is missing" for name in wanted if name not in given]
    extra = [f"{name} is unknown" for name in given if name not in wanted]
    shapes = [
        f"{name} is {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    return missing + extra + shapes
