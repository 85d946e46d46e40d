"""Networks by name: fresh, or with published weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

from featherbone.errors import InputError
from featherbone.models import row_for
from featherbone.pyramid import Pyramid
from featherbone.spec import Backbone, Spec
from featherbone.weights import load_weights
from featherbone.weights.catalog import download


@overload
def create_model(
    model: str | Spec,
    *,
    pretrained: bool = ...,
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
    pretrained: bool = ...,
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
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
    stem_stride: int | None = None,
    output_stride: int | None = None,
    drop_path: float | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
) -> Backbone | Pyramid:
    """Build a network, freshly initialized or with published weights.

    Args:
        model: a name of ``list_models()``, or a row of your own.
        pretrained: download the weights that ``published_weights`` names, and load them; they are kept on disk.
            Another number of classes leaves the classifier untrained, other channels adapt the first convolution.
        num_classes: outputs of the classifier; 0 for pooled features ``(B, C)``. Default: the row's.
        in_chans: channels of the image. Default: the row's.
        stem_stride: 1, 2 or 4, see ``stem_stride_for``. Default: the row's.
        output_stride: 8, 16 or 32; stages that would shrink the image further are dilated. Default: the row's.
        drop_path: probability of dropping the deepest path while training. Default: the row's.
        features_only: return a ``Pyramid`` of feature maps instead of a classifier.
        out_indices: with ``features_only``, which maps: i has stride ``2 ** (i + 1)`` with the published stem.

    Raises:
        InputError: if the name is unknown, a value is not allowed, or published weights do not exist or arrive.
    """
    if out_indices is not None and not features_only:
        raise InputError("out_indices goes with features_only=True")
    backbone = row_for(
        model,
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        output_stride=output_stride,
        drop_path=drop_path,
    ).build()
    if pretrained:
        if not isinstance(model, str):
            raise InputError("pretrained=True needs the name of a network: a row of your own has no published weights")
        load_weights(backbone, download(model))
    return Pyramid(backbone, out_indices) if features_only else backbone
