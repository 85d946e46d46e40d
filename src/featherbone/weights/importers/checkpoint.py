"""Tensors from the files of other projects. Nothing in them is ever run."""

from __future__ import annotations

import argparse
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

from featherbone.errors import InputError
from featherbone.weights.importers.darknet import read_darknet

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
        return read_darknet(file, Path(config) if config else file.with_suffix(".cfg"))
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
