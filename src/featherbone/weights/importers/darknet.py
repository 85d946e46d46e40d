"""Tensors from darknet's files: a configuration that lists the layers, and their numbers one after the other."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from featherbone.errors import InputError
from featherbone.files import read_text

_WITHOUT_WEIGHTS = ("maxpool", "shortcut", "avgpool", "softmax", "cost", "dropout", "upsample", "yolo")


def read_darknet(file: Path, config: Path) -> dict[str, Tensor]:
    """Return darknet's convolutions, numbered as the configuration lists them.

    Raises:
        InputError: if a file cannot be read, or the two do not belong together.
    """
    if not config.is_file():
        raise InputError(f"{file} is only numbers: config must name its configuration, as {config} is not there")
    net, *sections = _sections(config)
    reader = _Numbers(_numbers(file), f"{file} with {config}")
    state: dict[str, Tensor] = {}
    c_in = net.whole("channels", 3)
    widths: list[int] = []  # output channels of every section
    convolutions = 0
    for section in sections:
        if section.kind == "convolutional":
            state |= _convolution(section, f"convolution{convolutions}", c_in, reader)
            c_in, convolutions = section.whole("filters", 1), convolutions + 1
        elif section.kind == "route":
            c_in = section.routed(widths)
        elif section.kind not in _WITHOUT_WEIGHTS:
            raise InputError(f"{config} has a section [{section.kind}], which is not read")
        widths.append(c_in)
    reader.finish()
    return state


@dataclass(frozen=True)
class _Section:
    """A section of a configuration.

    Attributes:
        where: the file and the section's number, for messages.
        kind: its name.
        values: what it says, by key.
    """

    where: str
    kind: str
    values: dict[str, str] = field(default_factory=dict)

    def whole(self, name: str, default: int, least: int = 1) -> int:
        """Return a whole number."""
        given = self.values.get(name, str(default))
        with suppress(ValueError):
            if (number := int(given)) >= least:
                return number
        raise InputError(f"{self.where}: {name}={given!r} is not allowed: a whole number, {least} or more")

    def routed(self, widths: Sequence[int]) -> int:
        """Return the channels that a route joins; it counts sections from the first, or backwards from itself."""
        given = self.values.get("layers", "")
        try:
            return sum(widths[int(number)] for number in given.split(","))
        except (ValueError, IndexError) as error:
            raise InputError(
                f"{self.where}: layers={given!r} is not allowed: numbers, with commas between, of the {len(widths)} "
                "sections before it"
            ) from error


def _sections(config: Path) -> list[_Section]:
    """Return the sections in order. Darknet repeats their names, so this is no INI file to a parser of those."""
    found: list[_Section] = []
    for line in read_text(config).split("\n"):
        text = re.split("[#;]", line)[0].strip()
        key, equals, value = text.partition("=")
        if text.startswith("[") and text.endswith("]"):
            found.append(_Section(f"{config}, section {len(found)} {text}", text[1:-1].strip()))
        elif found and equals:
            found[-1].values[key.strip()] = value.strip()
        elif text:
            raise InputError(f"{config} is no darknet configuration: {text!r} is neither a [section] nor a key=value")
    if not found or found[0].kind not in ("net", "network"):
        raise InputError(f"{config} is no darknet configuration: it does not begin with [net]")
    return found


def _numbers(file: Path) -> Tensor:
    """Return what follows the header: three version numbers and the count of images seen."""
    raw = _read(file)
    if len(raw) < 20:
        raise InputError(f"{file} is too short for darknet's weights")
    major, minor = np.frombuffer(raw, "<i4", 2).tolist()
    start = 20 if major * 10 + minor >= 2 else 16  # the count has 64 bits since version 0.2
    if odd := (len(raw) - start) % 4:
        raise InputError(f"{file} is cut short: its last number has {odd} of 4 bytes")
    return torch.from_numpy(np.frombuffer(raw, "<f4", offset=start).copy())


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error


class _Numbers:
    """The numbers of a weight file, taken one after the other."""

    def __init__(self, numbers: Tensor, what: str) -> None:
        self.numbers = numbers
        self.what = what
        self.used = 0

    def take(self, *shape: int) -> Tensor:
        start = self.used
        self.used += math.prod(shape)
        if self.used > len(self.numbers):
            raise InputError(f"{self.what}: the weights end too early; the two do not belong together")
        return self.numbers[start : self.used].view(shape)

    def finish(self) -> None:
        if left := len(self.numbers) - self.used:
            raise InputError(f"{self.what}: {left:,} numbers are left over; the two do not belong together")


def _convolution(section: _Section, name: str, c_in: int, reader: _Numbers) -> dict[str, Tensor]:
    c_out, side, groups = (section.whole(key, 1) for key in ("filters", "size", "groups"))
    if c_in % groups:
        raise InputError(f"{section.where}: groups={groups} is not allowed: they must divide the {c_in} channels read")
    state = {}
    if section.whole("batch_normalize", 0, least=0):
        for tensor in ("bias", "weight", "running_mean", "running_var"):
            state[f"{name}.bn.{tensor}"] = reader.take(c_out)
    else:
        state[f"{name}.conv.bias"] = reader.take(c_out)
    state[f"{name}.conv.weight"] = reader.take(c_out, c_in // groups, side, side)
    return state
