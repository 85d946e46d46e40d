"""Every network by name: the union of the papers' tables."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, overload

import torch

from featherbone.errors import InputError, nearest
from featherbone.models import cspnet, densenet, peleenet, rdnet, shufflenet_v1, shufflenet_v2, vovnet, yolox
from featherbone.pyramid import Pyramid
from featherbone.spec import Backbone, Spec, spec_from_dict

_PAPERS = (densenet, peleenet, cspnet, yolox, vovnet, shufflenet_v1, shufflenet_v2, rdnet)
_MODELS: Mapping[str, Spec] = {name: row for paper in _PAPERS for name, row in paper.TABLE.items()}
FAMILIES: Mapping[str, type[Spec]] = {row.family: type(row) for row in _MODELS.values()}
FORMS: Mapping[str, str] = {
    "": "as published",
    "tv": "torchvision's form",
    "timm": "timm's form",
    "pcv": "pytorchcv's form",
    "nanodet": "NanoDet's form",
    "yolox": "YOLOX's form",
}


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that match a shell pattern, in the order of the papers' tables.

    >>> list_models("vovnet[0-9]*")
    ['vovnet27_slim', 'vovnet39', 'vovnet57']
    """
    return fnmatch.filter(_MODELS, pattern)


def spec(name: str) -> Spec:
    """Return the row of a named network; it prints as the paper's row.

    >>> spec("densenet121")  # doctest: +ELLIPSIS
    DenseNetSpec(growth_rate=32, layers=(6, 12, 24, 16), stem_channels=64, stem_norm=True, ..., dropout=0.0)

    Raises:
        InputError: if there is no such network.
    """
    if name not in _MODELS:
        raise InputError(
            f"model {name!r} is unknown{nearest(name, _MODELS)}: 'featherbone list' shows all {len(_MODELS)}"
        )
    return _MODELS[name]


def count_parameters(model: str | Spec) -> int:
    """Return the number of trainable values of a network, without making it.

    >>> count_parameters("densenet121")
    7978856
    """
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(model).parameters())


def spec_from_row(row: Mapping[str, Any]) -> Spec:
    """Return the spec of a plain dict, as stored with weights and runs.

    Raises:
        InputError: if the row does not describe a network of a known family.
    """
    return spec_from_dict(row, FAMILIES)


def stem_stride_for(size: int) -> int:
    """Return the stem that suits images of ``size`` pixels: 1 up to 32, 2 up to 64, else the published 4."""
    return 1 if size <= 32 else 2 if size <= 64 else 4


@overload
def create_model(
    model: str | Spec,
    *,
    num_classes: int | None = ...,
    in_chans: int | None = ...,
    stem_stride: int | None = ...,
    output_stride: int | None = ...,
    drop_path: float | None = ...,
    features_only: Literal[False] = ...,
    out_indices: None = ...,
) -> Backbone: ...
@overload
def create_model(
    model: str | Spec,
    *,
    num_classes: int | None = ...,
    in_chans: int | None = ...,
    stem_stride: int | None = ...,
    output_stride: int | None = ...,
    drop_path: float | None = ...,
    features_only: Literal[True],
    out_indices: Sequence[int] | None = ...,
) -> Pyramid: ...
def create_model(
    model: str | Spec,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    stem_stride: int | None = None,
    output_stride: int | None = None,
    drop_path: float | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
) -> Backbone | Pyramid:
    """Build a network, freshly initialised.

    Args:
        model: a name of ``list_models()``, or a row of your own.
        num_classes: outputs of the classifier; 0 for pooled features ``(B, C)``. Default: the row's.
        in_chans: channels of the image. Default: the row's.
        stem_stride: 1, 2 or 4, see ``stem_stride_for``. Default: the row's.
        output_stride: 8, 16 or 32; stages that would shrink the image further are dilated. Default: the row's.
        drop_path: probability of dropping the deepest path while training. Default: the row's.
        features_only: return a ``Pyramid`` of feature maps instead of a classifier.
        out_indices: with ``features_only``, which maps: i has stride ``2 ** (i + 1)`` with the published stem.

    Raises:
        InputError: if the name is unknown or a value is not allowed.
    """
    row = spec(model) if isinstance(model, str) else model
    given: dict[str, Any] = {
        "num_classes": num_classes,
        "in_chans": in_chans,
        "stem_stride": stem_stride,
        "output_stride": output_stride,
        "drop_path": drop_path,
    }
    backbone = replace(row, **{k: v for k, v in given.items() if v is not None}).build()
    if features_only:
        return Pyramid(backbone, out_indices)
    if out_indices is not None:
        raise InputError("out_indices goes with features_only=True")
    return backbone
