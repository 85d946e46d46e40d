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
from torch import nn

from featherbone.data import Preprocess
from featherbone.detect.detector import Detector, DetectorSpec, detector_from_dict, detector_to_dict
from featherbone.errors import InputError, check_type, check_types, counted, first_line, parsing, some
from featherbone.files import check_replaceable, exists, parse_json, replacing
from featherbone.models import spec_from_row
from featherbone.spec import Backbone, Spec, spec_to_dict
from featherbone.weights.budget import Budget, values_of
from featherbone.weights.signature import is_safetensors, read_start, what_it_is

FILE_NAME = "model.safetensors"
_KEY = "featherbone"
MARK = f'"{_KEY}":"{{'  # how the header of a file of ours begins
_VERSION = 1
_KINDS = {Backbone: "a classifier", Detector: "a detector"}
_SMALL = 1024  # what a row may say that counts no values, as a side in pixels
_MOST_TEXT = 1 << 24  # characters of our header: 20,000 class names are a million

Row = Spec | DetectorSpec
Network = Backbone | Detector
Shapes = Mapping[str, Sequence[int]]
Model = TypeVar("Model", bound=nn.Module)


def row_to_dict(row: Row) -> dict[str, Any]:
    """Return a network's or detector's row as plain JSON values."""
    return detector_to_dict(row) if isinstance(row, DetectorSpec) else spec_to_dict(row)


def row_from_dict(values: Mapping[str, Any]) -> Row:
    """Return the row that ``row_to_dict`` wrote.

    Raises:
        InputError: if the family or a column is unknown, missing or out of range.
    """
    detects = isinstance(values, Mapping) and values.get("family") == DetectorSpec.family
    return detector_from_dict(values, spec_from_row) if detects else spec_from_row(values)


@dataclass(frozen=True)
class Header:
    """What a weight file says of itself.

    Attributes:
        spec: the network's row, or the detector's.
        classes: class names in the order of the outputs; empty if not known.
        preprocess: how an image becomes the input; ``None`` if not known.
        task: what the network was trained for, where that is not clear from its row.
        notes: what is to be known of the weights, for example how they were imported and what was not proved.
    """

    spec: Row
    classes: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    task: str = ""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "version": _VERSION,
            "spec": row_to_dict(self.spec),
            "classes": list(self.classes),
            "preprocess": self.preprocess.to_dict() if self.preprocess else None,
            **({"task": self.task} if self.task else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Header:
        """Return what ``to_dict`` wrote.

        Raises:
            InputError: if it describes no network or preprocessing.
        """
        lacking = [name for name in ("spec", "classes", "preprocess") if name not in values]
        if lacking:
            raise InputError(f"it lacks {some(lacking)}")
        classes, images, notes = values["classes"], values["preprocess"], values.get("notes", [])
        header = cls(
            row_from_dict(values["spec"]),
            tuple(classes) if isinstance(classes, list) else classes,
            Preprocess.from_dict(images) if images is not None else None,
            values.get("task", ""),
            tuple(notes) if isinstance(notes, list) else notes,
        )
        check_types(header)
        outputs = header.spec.num_classes
        if header.classes and len(header.classes) != outputs:
            raise InputError(f"it has {len(header.classes)} class names for {counted(outputs, 'output')}")
        return header


def save(
    model: Network,
    path: str | os.PathLike[str],
    *,
    classes: Sequence[str] = (),
    preprocess: Preprocess | None = None,
    task: str = "",
    notes: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write weights, spec, class names and preprocessing to one safetensors file, whole or not at all.

    Args:
        model: a classifier or a detector.
        path: the file.
        classes: names, in the order of the outputs.
        preprocess: how an image becomes the input.
        task: what it was trained for, where that is not clear from its row.
        notes: what is to be known of the weights.
        overwrite: replace a file that ``save`` did not write.

    Raises:
        InputError: if the number of class names is not the number of outputs, a detector's images would be cropped, or
            the file cannot be written.
    """
    check_type("model", model, (Backbone, Detector), "one of our networks, a Backbone or a Detector")
    check_replaceable("path", path, overwrite=overwrite, mark=MARK)
    outputs = model.spec.num_classes
    if isinstance(model, Detector) and preprocess is not None and preprocess.fit != "letterbox":
        raise InputError(f"fit={preprocess.fit!r} is not allowed for a detector, which sees whole images: 'letterbox'")
    if classes and len(classes) != outputs:
        raise InputError(f"classes has {len(classes)} names, but the network has {outputs} outputs")
    header = Header(model.spec, tuple(classes), preprocess, task, tuple(notes))
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
    return _read(_weight_file(path))[0]


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
    file = _weight_file(path)
    header, shapes = _read(file)
    if num_classes not in (None, header.spec.num_classes):
        raise InputError(f"num_classes={num_classes}, but {file} has {header.spec.num_classes} classes")
    with parsing(file, "its header describes no network that can be built"), Budget(shapes):
        model = header.spec.build()
    if not isinstance(model, kind):
        found, wanted = type(model), _KINDS.get(kind, kind.__name__)
        raise InputError(f"{file} holds {_KINDS[found]}, not {wanted}: load(path, {found.__name__}) reads it")
    wrong = _differences({name: tensor.shape for name, tensor in model.state_dict().items()}, shapes)
    if wrong:
        raise InputError(f"{file} does not fit its own header: {'; '.join(wrong[:3])} ({len(wrong)} differences)")
    with parsing(file, "a tensor in it is damaged"):
        model.load_state_dict(load_file(file))
    return model.eval()


def _weight_file(path: str | os.PathLike[str]) -> Path:
    check_type("path", path, (str, os.PathLike), "a run, its folder or a weight file")
    file = Path(path)
    if not exists(file):
        raise InputError(f"no such run or weight file: {file}")
    if file.is_dir():
        if not exists(file / FILE_NAME):
            unfinished = (file / "recipe.json").exists()
            why = f"its training did not finish: featherbone train --resume {file}" if unfinished else "it is no run"
            if exists(file / "seeds.json"):
                why = "it holds a run for each of several seeds: name one of them"
            raise InputError(f"the folder {file} holds no {FILE_NAME}; {why}")
        return file / FILE_NAME
    return file


def _read(file: Path) -> tuple[Header, Shapes]:
    """Return what a weight file says of itself, compared with the shapes of its tensors, and these."""
    metadata, shapes = read_shapes(file)
    if _KEY not in metadata:
        raise InputError(
            f"{file} has no featherbone header, so the network it belongs to is unknown: "
            f"'featherbone import {file} --as NAME' makes one that has"
        )
    text = metadata[_KEY]
    if len(text) > _MOST_TEXT:
        raise InputError(f"the header of {file} is too long: {len(text):,} characters, at most {_MOST_TEXT:,}")
    values = parse_json(text, f"the header of {file}")
    version = values.get("version") if isinstance(values, dict) else None
    if not isinstance(version, int):
        raise InputError(f"the header of {file} is damaged: it does not say its version")
    if version > _VERSION:
        raise InputError(f"{file} was written by a newer featherbone (format {version}): upgrade to read it")
    try:
        header = Header.from_dict(values)
    except InputError as error:
        raise InputError(f"the header of {file} describes no network we know: {error}") from error
    # whatever a row counts, layers, channels or classes, has values in the file
    if (most := _largest(row_to_dict(header.spec))) > max(values_of(shapes), _SMALL):
        raise InputError(f"the header of {file} does not fit its tensors: it says {most:,}, more than they hold values")
    return header, shapes


def read_shapes(file: Path) -> tuple[Mapping[str, str], Shapes]:
    """Return the metadata and the tensors' shapes of a safetensors file. No tensor is read.

    Raises:
        InputError: if it is no file, cannot be read, is damaged or of another format.
    """
    start = read_start(file)
    try:
        with safe_open(file, framework="pt") as opened:
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
            return opened.metadata() or {}, shapes
    except Exception as error:
        why = f" ({first_line(error)})" if is_safetensors(start) else ""
        raise InputError(f"{file} cannot be read as safetensors: {what_it_is(file)}{why}") from error


def _largest(values: Any) -> int:
    """Return the largest whole number in plain JSON values."""
    if isinstance(values, dict | list):
        inner = values.values() if isinstance(values, dict) else values
        return max(map(_largest, inner), default=0)
    return values if isinstance(values, int) else 0


def _differences(wanted: Shapes, given: Shapes) -> list[str]:
    missing = [f"{name} is missing" for name in wanted if name not in given]
    extra = [f"{name} is unknown" for name in given if name not in wanted]
    shapes = [
        f"{name} is {tuple(given[name])} instead of {tuple(wanted[name])}"
        for name in wanted
        if name in given and tuple(given[name]) != tuple(wanted[name])
    ]
    return missing + extra + shapes
