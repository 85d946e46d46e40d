"""Tensors from the files of other projects. Nothing in them is ever run."""

from __future__ import annotations

import argparse
import configparser
import io
import math
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from featherbone.errors import InputError, first_line

_NESTED = ("state_dict", "model", "model_state_dict", "net", "params", "ema", "state_dict_ema", "model_ema")
# what training scripts leave beside their tensors: numpy's numbers (an accuracy) and parsed arguments; both are values
_NUMBER = np.float64(0).__reduce__()[0]
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
    _NUMBER,
    (_NUMBER, "numpy.core.multiarray.scalar"),  # before numpy 2
]
_WITHOUT_WEIGHTS = ("maxpool", "shortcut", "avgpool", "softmax", "cost", "dropout", "upsample", "yolo")


def read_tensors(path: str | os.PathLike[str], config: str | os.PathLike[str] | None = None) -> dict[str, Tensor]:
    """Return the named tensors of a weight file.

    Args:
        path: safetensors, a PyTorch checkpoint (read with ``weights_only``) or darknet's ``.weights``.
        config: darknet's ``.cfg``; default: the file of the same name beside the weights.

    Raises:
        InputError: if it is missing, damaged, of another format, or holds anything but tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"no such weight file: {file}")
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file} cannot be read as safetensors: {error}") from error
    if file.suffix == ".weights":
        return _darknet(file, Path(config) if config else file.with_suffix(".cfg"))
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # of foreign pickle protocols; what fails is said below
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        held = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it holds {held[1]}" if held else "it is damaged or of another format"
        raise InputError(
            f"{file} is no PyTorch checkpoint of plain tensors ({reason}), and nothing else is read, as it could run "
            "code: save its state_dict() where you trust it, or convert it to safetensors"
        ) from error
    return _tensors(content, file)


def _tensors(content: Any, file: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        found = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
        if found:
            return found
        inner = next((content[k] for k in _NESTED if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        content = inner
    raise InputError(f"{file} holds no tensors under a name we know: at the top, or in one of {', '.join(_NESTED)}")


def _darknet(file: Path, config: Path) -> dict[str, Tensor]:
    """Return darknet's convolutions, numbered as the configuration lists them."""
    if not config.is_file():
        raise InputError(f"{file} is only numbers: config must name its configuration, as {config} is not there")
    sections = _sections(config)
    raw = file.read_bytes()
    if len(raw) < 20:  # three version numbers and the count of images seen
        raise InputError(f"{file} is too short for darknet's weights")
    major, minor = np.frombuffer(raw, "<i4", 2).tolist()
    start = 20 if major * 10 + minor >= 2 else 16  # the count has 64 bits since version 0.2
    numbers = torch.from_numpy(np.frombuffer(raw, "<f4", offset=start).copy())
    reader = _Numbers(numbers, f"{file} with {config}")
    state: dict[str, Tensor] = {}
    c_in = _whole(sections[0], "channels", 3)
    widths: list[int] = []  # output channels of every section
    convolutions = 0
    for section in sections[1:]:
        kind = section["kind"]
        if kind == "convolutional":
            state |= _convolution(section, f"convolution{convolutions}", c_in, reader)
            c_in, convolutions = _whole(section, "filters", 1), convolutions + 1
        elif kind == "route":
            c_in = sum(widths[int(i)] for i in section["layers"].split(","))
        elif kind not in _WITHOUT_WEIGHTS:
            raise InputError(f"{config} has a section [{kind}], which is not read")
        widths.append(c_in)
    reader.finish()
    return state


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


def _convolution(section: Mapping[str, str], name: str, c_in: int, reader: _Numbers) -> dict[str, Tensor]:
    c_out, side = _whole(section, "filters", 1), _whole(section, "size", 1)
    state = {}
    if _whole(section, "batch_normalize", 0):
        for tensor in ("bias", "weight", "running_mean", "running_var"):
            state[f"{name}.bn.{tensor}"] = reader.take(c_out)
    else:
        state[f"{name}.conv.bias"] = reader.take(c_out)
    state[f"{name}.conv.weight"] = reader.take(c_out, c_in // _whole(section, "groups", 1), side, side)
    return state


def _sections(config: Path) -> list[dict[str, str]]:
    """Return the sections in order. Darknet repeats their names, which configparser must not see twice."""
    text, number = "", 0
    for line in config.read_text(encoding="utf-8", errors="replace").splitlines():
        header = re.fullmatch(r"\s*\[(\w+)\]\s*", line)
        text += f"[{(number := number + 1)} {header[1]}]\n" if header else line + "\n"
    parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=("#", ";"))
    try:
        parser.read_file(io.StringIO(text))
    except configparser.Error as error:
        raise InputError(f"{config} cannot be read as a darknet configuration: {first_line(error)}") from error
    found = [{**parser[name], "kind": name.partition(" ")[2]} for name in parser.sections()]
    if not found or found[0]["kind"] not in ("net", "network"):
        raise InputError(f"{config} is no darknet configuration: it does not begin with [net]")
    return found


def _whole(section: Mapping[str, str], name: str, default: int) -> int:
    return int(section.get(name, default))
