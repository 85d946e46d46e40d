"""Every network by name: the union of the papers' tables."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from featherbone.errors import InputError, check_type, nearest
from featherbone.models import (
    cs3darknet,
    cspnet,
    cspnext,
    densenet,
    peleenet,
    rdnet,
    resnet,
    shufflenet_v1,
    shufflenet_v2,
    vovnet,
    yolox,
)
from featherbone.spec import Spec, spec_from_dict

_PAPERS = (densenet, peleenet, cspnet, resnet, yolox, cs3darknet, cspnext, vovnet, shufflenet_v1, shufflenet_v2, rdnet)
_MODELS: Mapping[str, Spec] = {name: row for paper in _PAPERS for name, row in paper.TABLE.items()}
FAMILIES: Mapping[str, type[Spec]] = {row.family: type(row) for row in _MODELS.values()}
_FORMS: Mapping[str, str] = {
    "": "as published",
    "tv": "torchvision's form",
    "timm": "timm's form",
    "pcv": "pytorchcv's form",
    "darknet": "darknet's form, the baseline of CSPNet's paper",
    "megvii": "the form of the authors' later code",
    "nanodet": "NanoDet's form",
    "yolox": "YOLOX's form",
}


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that match a shell pattern, in the order of the papers' tables.

    >>> list_models("vovnet[0-9][0-9]")
    ['vovnet39', 'vovnet57']
    """
    check_type("pattern", pattern, str, "a shell pattern such as 'vovnet*'")
    return fnmatch.filter(_MODELS, pattern)


def form(name: str) -> str:
    """Return whose form of a network a name stands for.

    >>> form("cspresnet50.timm"), form("csppeleenet")
    ("timm's form", "reconstructed from CSPNet's paper")

    Raises:
        InputError: if there is no such network.
    """
    row = spec(name)
    if row.partial_ratio and row.family in ("densenet", "peleenet"):
        return "reconstructed from CSPNet's paper"
    if row.partial_ratio and row.family in ("vovnet", "shufflenet_v2"):
        return "CSPNet's wiring round it"
    return _FORMS[name.partition(".")[2]]


def spec(name: str) -> Spec:
    """Return the row of a named network; it prints as the paper's row.

    >>> spec("densenet121")  # doctest: +ELLIPSIS
    DenseNetSpec(growth_rate=32, layers=(6, 12, 24, 16), stem_channels=64, stem_norm=True, ..., dropout_everywhere=True)

    Raises:
        InputError: if there is no such network.
    """
    check_type("model", name, str, "the name of a network")
    if name not in _MODELS:
        raise InputError(
            f"model {name!r} is unknown{nearest(name, _MODELS)}: 'featherbone list' shows all {len(_MODELS)}"
        )
    return _MODELS[name]


def spec_from_row(row: Mapping[str, Any]) -> Spec:
    """Return the spec of a plain dict, as stored with weights and runs.

    Raises:
        InputError: if the row does not describe a network of a known family.
    """
    return spec_from_dict(row, FAMILIES)


def stem_stride_for(size: int) -> int:
    """Return the stem that suits images of ``size`` pixels: 1 up to 32, 2 up to 64, else the published 4."""
    return 1 if size <= 32 else 2 if size <= 64 else 4


def row_for(
    model: str | Spec,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    stem_stride: int | None = None,
    output_stride: int | None = None,
    drop_path: float | None = None,
) -> Spec:
    """Return a network's row with some of the columns that every family has; ``None`` leaves the row's own.

    Raises:
        InputError: if the name is unknown or a value is not allowed.
    """
    given: dict[str, Any] = {
        "num_classes": num_classes,
        "in_chans": in_chans,
        "stem_stride": stem_stride,
        "output_stride": output_stride,
        "drop_path": drop_path,
    }
    check_type("model", model, (str, Spec), "the name of a network, or its row")
    row = spec(model) if isinstance(model, str) else model
    return replace(row, **{column: value for column, value in given.items() if value is not None})
