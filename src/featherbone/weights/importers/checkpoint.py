"""Tensors from the files of other projects. Nothing in them is ever run."""

from __future__ import annotations

import argparse
import os
import re
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from featherbone.data.names import printable
from featherbone.errors import InputError, first_line, some
from featherbone.files import exists
from featherbone.weights.importers.darknet import read_darknet
from featherbone.weights.signature import UNKNOWN, is_darknet, is_safetensors, is_torch, read_start, what_it_is

_DEEPEST = 12
_MOST_PARTS = 100_000
_SPARE_VALUES = 1 << 26
# what training scripts leave beside their tensors: numpy's numbers (an accuracy) and parsed arguments; both are values
_NUMBER = np.float64(0).__reduce__()[0]
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
    _NUMBER,
    (_NUMBER, "numpy.core.multiarray.scalar"),  # before numpy 2
]
# what wraps a module while it trains; its name comes between those of the network's parts
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
_AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|average|averaged|moving_average|polyak|shadow)\d*([._]|$)", re.IGNORECASE)
IDLE = ("total_ops", "total_params")  # buffers that counters of operations leave in every module
_COUNT = "n_averaged"  # which torch.optim.swa_utils keeps beside an average


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: tensors by name. The keys under which they lie are the beginnings of their names.

    Attributes:
        name: the file, for messages.
        tensors: by name, without the parts of names that only wrap a module.
        given: for these names, the dictionary in which the tensor lies, and its name there.
        averaged: beginnings of names under which averaged weights lie, whatever they are called.
        raw: those under which none lie.
        in_order: whether the tensors lie in the order in which their modules were registered, and were not sorted.
    """

    name: str
    tensors: Mapping[str, Tensor]
    given: Mapping[str, tuple[str, str]]
    averaged: frozenset[str] = frozenset()
    raw: frozenset[str] = frozenset()
    in_order: bool = True

    def renamed(self, rules: Sequence[tuple[str, str]]) -> Checkpoint:
        """Return the same with other names; a name is what a tensor is called in the dictionary in which it lies.

        Args:
            rules: regular expressions and what takes the place of what they match, applied one after the other.

        Raises:
            InputError: if a rule is none, matches nothing, or leaves two tensors with one name.
        """
        if not rules:
            return self
        names = {}
        for name in self.tensors:
            where = _bare(self.given[name][0])
            names[name] = name.removeprefix(f"{where}.") if where else name
        for rule in rules:
            pattern, replacement = rule
            try:
                changed = {old: re.sub(pattern, replacement, new) for old, new in names.items()}
            except (re.error, IndexError) as error:
                raise InputError(f"rename {pattern}={replacement} is no regular expression: {error}") from error
            if changed == names:
                held = some([printable(name) for name in names.values()], 3)
                raise InputError(f"rename {pattern}={replacement} changes no name in {self.name}: it holds {held}")
            names = changed
        first: dict[str, str] = {}
        given: dict[str, tuple[str, str]] = {}
        for old, new in names.items():
            where = self.given[old][0]
            if not new.strip("."):
                raise InputError(f"rename leaves no name for {printable(old)} of {self.name}")
            full = f"{_bare(where)}.{new}".removeprefix(".")
            if full in first:
                raise InputError(
                    f"rename makes {printable(full)} of two tensors of {self.name}: {printable(first[full])} and "
                    f"{printable(old)}"
                )
            first[full], given[full] = old, (where, new)
        return replace(self, tensors={full: self.tensors[old] for full, old in first.items()}, given=given)

    def is_average(self, label: str) -> bool:
        """Return whether the weights whose names begin so are an average over the training."""
        beginnings = {"", label, *(label[: found.start()] for found in re.finditer(r"\.", label))}
        if beginnings & self.raw:
            return False
        return bool(beginnings & self.averaged) or _AVERAGED.search(label) is not None


def read_checkpoint(
    source: str | os.PathLike[str] | Mapping[str, Any], config: str | os.PathLike[str] | None = None
) -> Checkpoint:
    """Return the named tensors of a weight file.

    Args:
        source: safetensors, a PyTorch checkpoint (read with ``weights_only``) or darknet's ``.weights``; which it is,
            is told by what it holds. Or named tensors, nested or not.
        config: darknet's ``.cfg``; default: the file of the same name beside the weights.

    Raises:
        InputError: if it is missing, damaged, of another format, or holds no tensors.
    """
    if isinstance(source, Mapping):
        return _checkpoint(source, "the given tensors", None)
    file = Path(source)
    if not exists(file):
        raise InputError(f"no such weight file: {file}")
    checkpoint = _checkpoint(_content(file, config), str(file), file.stat().st_size)
    names = list(checkpoint.tensors)
    # safetensors holds tensors by name, and whoever makes another file of one keeps that order
    in_order = names != sorted(names) and not is_safetensors(read_start(file))
    return replace(checkpoint, in_order=in_order)


def _content(file: Path, config: str | os.PathLike[str] | None) -> Any:
    start = read_start(file)
    if is_torch(start, file):
        return _unpickled(file)
    if is_safetensors(start):
        try:
            return load_file(file)
        except Exception as error:
            raise InputError(f"{file} cannot be read as safetensors: {first_line(error)}") from error
    if config is not None or is_darknet(start):
        return read_darknet(file, Path(config) if config else file.with_suffix(".cfg"))
    what = what_it_is(file)
    if file.suffix == ".weights" and what == UNKNOWN:
        return read_darknet(file, file.with_suffix(".cfg"))
    raise InputError(f"{file} is no safetensors, no PyTorch checkpoint of plain tensors, no darknet weights: {what}")


def _unpickled(file: Path) -> Any:
    try:
        # an open file, as torch.load goes by the suffix of a name
        with file.open("rb") as stream, warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # of foreign pickle protocols; what fails is said below
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:
        held = re.search(r"GLOBAL (\S+)", str(error))
        if held:
            raise InputError(
                f"{file} is no PyTorch checkpoint of plain tensors (it holds {printable(held[1])}), and nothing else "
                "is read, as it could run code: save its state_dict() where you trust it, or convert it to safetensors"
            ) from error
        why = printable(first_line(error))[:100]
        raise InputError(f"{file} is a damaged PyTorch checkpoint ({type(error).__name__}: {why})") from error


def _checkpoint(content: Any, name: str, size: int | None) -> Checkpoint:
    """Return the tensors in what a file held, if they are not more than it can hold."""
    found = list(_tensors(content, name))
    if not found:
        raise InputError(f"{name} holds no named tensors")
    if size is not None and sum(tensor.numel() for *_, tensor in found) > 8 * size + _SPARE_VALUES:
        raise InputError(f"{name} is damaged: it says that it holds more values than its {size:,} bytes can")
    bare = [_bare(where + inner) for where, inner, _ in found]
    if len(set(bare)) < len(bare):  # the same names, once wrapped and once not
        bare = [where + inner for where, inner, _ in found]
    averaged = {_bare(where) for where, inner, _ in found if inner == _COUNT}
    exchanged, raw = _exchanged(content)
    return Checkpoint(
        name,
        {full: tensor for full, (*_, tensor) in zip(bare, found, strict=True)},
        {full: (where, inner) for full, (where, inner, _) in zip(bare, found, strict=True)},
        frozenset(averaged | exchanged),
        frozenset(raw),
    )


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part and part not in _WRAPPERS)


def _exchanged(content: Any) -> tuple[set[str], set[str]]:
    """Return where averaged and where raw weights lie, for programs that write the average in the raw ones' place."""
    if not isinstance(content, Mapping):
        return set(), set()
    meta = content.get("meta")
    if isinstance(meta, Mapping) and "mmengine_version" in meta and "ema_state_dict" in content:
        return {"state_dict"}, {"ema_state_dict"}
    lightning = "averaging_state" in content and "current_model_state" in content
    return {"state_dict"} if lightning else set(), set()


def _tensors(content: Any, name: str) -> Iterator[tuple[str, str, Tensor]]:
    """Yield all tensors in nested dictionaries and lists: the keys that lead there, the last key, the tensor."""
    waiting: deque[tuple[str, Any, int]] = deque([("", content, 0)])
    for parts in count():
        if not waiting:
            return
        where, inner, depth = waiting.popleft()
        if parts > _MOST_PARTS:
            raise InputError(f"{name} is damaged: it is nested without end")
        if not isinstance(inner, Mapping | list | tuple):
            continue
        for key, value in list(inner.items() if isinstance(inner, Mapping) else enumerate(inner)):
            if isinstance(value, Tensor):
                if value.is_nested:
                    raise InputError(f"{name} holds a nested tensor, {printable(f'{where}{key}')}, which is not read")
                yield where, str(key), value
            elif depth < _DEEPEST:
                waiting.append((f"{where}{key}.", value, depth + 1))
