"""The network that a run begins with: a row fitted to its data, fresh or from trained weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING

import torch

from featherbone.data import Preprocess
from featherbone.detect.anchors import Anchors, cluster_anchors
from featherbone.detect.detector import Detector, DetectorSpec, HeadKind, reset_classes, with_backbone
from featherbone.detect.necks import NeckSpec, neck_spec
from featherbone.errors import InputError, check_type
from featherbone.files import AnyPath
from featherbone.layers import as_pytorch
from featherbone.models import spec, stem_stride_for
from featherbone.runs.folder import START
from featherbone.spec import Backbone, Spec, reset_head
from featherbone.training import Recipe
from featherbone.weights import Network, load, read_header, row_from_dict

if TYPE_CHECKING:
    from featherbone.data.dataset import ClassificationData, DetectionData

DEFAULT_MODEL, DEFAULT_DETECTOR = "shufflenet_v2_x0_5", "shufflenet_v2_x1_0"
DEFAULT_NECK = "efm"
DEFAULT_HEAD: HeadKind = "free"
_PER_SCALE = 3  # anchors, as YOLOv3 has them


@dataclass(frozen=True)
class ModelRequest:
    """What network was asked for.

    Attributes:
        model: a name or a row; ``None`` for that of ``weights``, or the default.
        weights: a run or weight file to start from.
        neck: of a detector: a name or a row; ``None`` for that of ``weights``, or the default.
        head: of a detector, likewise.
    """

    model: str | Spec | None = None
    weights: AnyPath | None = None
    neck: str | NeckSpec | None = None
    head: HeadKind | None = None

    def __post_init__(self) -> None:
        """Check what was given.

        Raises:
            InputError: if it is of another type.
        """
        named = "the name of a network, or its row; weights=... begins with a trained one"
        check_type("model", self.model, (str, Spec, NoneType), named)
        check_type("weights", self.weights, (str, PathLike, NoneType), "a run, its folder or a weight file")
        check_type("neck", self.neck, (str, NeckSpec, NoneType), "the name of a neck, or its row")

    @property
    def named(self) -> Spec | None:
        """The row that was asked for by its name, or as it is.

        Raises:
            InputError: if there is no such network.
        """
        return spec(self.model) if isinstance(self.model, str) else self.model

    @property
    def wanted_neck(self) -> NeckSpec | None:
        """The neck's row that was asked for.

        Raises:
            InputError: if there is no such neck.
        """
        return neck_spec(self.neck) if isinstance(self.neck, str) else self.neck

    def check(self) -> None:
        """Refuse a request that cannot be met, before the data is read.

        Raises:
            InputError: if there is no such network, neck, head or weight file.
        """
        _ = self.named, self.wanted_neck
        if self.head not in (None, "anchors", "free"):
            raise InputError(f"head={self.head!r} is not allowed: anchors or free")
        if self.weights is not None:
            read_header(self.weights)


def classifier(request: ModelRequest, images: ClassificationData, size: int, seed: int) -> tuple[Spec, Backbone | None]:
    """Return the row of a classifier for a data set, and the network if it starts from weights.

    Raises:
        InputError: if a neck or head was asked for, or the weights are of another network.
    """
    if request.neck is not None or request.head is not None:
        raise InputError(f"neck and head are those of a detector, but {images.name} has classes only: leave them out")
    if request.weights is None:
        row = request.named or spec(DEFAULT_MODEL)
        # a row with another stem than the published one was made so on purpose
        stride = stem_stride_for(size) if row.stem_stride == Spec.stem_stride else row.stem_stride
        row = replace(row, num_classes=len(images.classes), in_chans=images.channels, stem_stride=stride)
        return row, None
    start = load(request.weights, Backbone)
    _require_same(request, start.spec)
    torch.manual_seed(seed)
    if read_header(request.weights).classes != images.classes:
        start = reset_head(start, len(images.classes))
    return start.spec, start


def detector(
    request: ModelRequest, images: DetectionData, size: int, seed: int
) -> tuple[DetectorSpec, Detector | None]:
    """Return the row of a detector for a data set, and the network if it starts from weights, its own or a backbone's.

    Raises:
        InputError: if the weights are of another network.
    """
    start = load(request.weights) if request.weights is not None else None
    torch.manual_seed(seed)
    if isinstance(start, Detector):
        _require_same(request, start.spec.backbone)
        if request.wanted_neck not in (None, start.spec.neck) or request.head not in (None, start.spec.head):
            raise InputError(
                f"weights={request.weights} are those of a detector with another neck or head: leave it out"
            )
        if read_header(request.weights or "").classes != images.classes:
            start = reset_classes(start, len(images.classes))
        return start.spec, start
    if start is None:
        backbone = replace(request.named or spec(DEFAULT_DETECTOR), in_chans=images.channels)
    else:
        backbone = _require_same(request, start.spec)
        if not isinstance(request.model, Spec):  # a classifier of small images has a stem that hardly shrinks them
            backbone = replace(backbone, stem_stride=Spec.stem_stride)
    neck = request.wanted_neck or neck_spec(DEFAULT_NECK)
    head = request.head or DEFAULT_HEAD
    row = DetectorSpec(
        backbone=backbone,
        neck=neck,
        head=head,
        num_classes=len(images.classes),
        anchors=_anchors(images, size, len(neck.widths), seed) if head == "anchors" else (),
    )
    return row, with_backbone(row.build(), start) if start else None


def _require_same(request: ModelRequest, own: Spec) -> Spec:
    """Return the row of given weights.

    Raises:
        InputError: if another one was asked for.
    """
    if request.named is not None:
        same = replace(request.named, num_classes=own.num_classes, in_chans=own.in_chans, stem_stride=own.stem_stride)
        if same != own:
            raise InputError(
                f"weights={request.weights} are those of another network than model={request.model}: leave model out"
            )
    return own


def _anchors(images: DetectionData, size: int, scales: int, seed: int) -> Anchors:
    """Return the anchors that suit the boxes to learn from, in pixels of an input of ``size``."""
    from featherbone.data.image import info_upright

    sides = []
    for source, target in zip(images.train.sources, images.train.targets, strict=True):
        info = info_upright(source)
        corners = torch.from_numpy(target.boxes[~target.crowd])
        sides.append((corners[:, 2:] - corners[:, :2]) * (size / max(info.width, info.height)))
    return cluster_anchors(torch.cat(sides), scales, _PER_SCALE, seed)


def build(recipe: Recipe) -> Network:
    """Return the recipe's network, its weights decided by the seed.

    Raises:
        InputError: if it cannot read inputs of the recipe's size.
    """
    torch.manual_seed(recipe.seed)
    model = row_from_dict(recipe.model).build()
    if recipe.init == "torch":
        as_pytorch(model.backbone if isinstance(model, Detector) else model)
    model.check_size(recipe.size)
    return model


def beginning(folder: Path, recipe: Recipe) -> tuple[Network, Preprocess | None]:
    """Return the network that a run begins with and, if it starts from weights, how its images are prepared."""
    if not (folder / START).exists():
        return build(recipe), None
    start = load(folder / START).train()
    known = read_header(folder / START).preprocess or Preprocess.usual(recipe.size, start.spec.in_chans)
    return start, replace(known, crop=recipe.crop_pct)


def letterboxed(preprocess: Preprocess) -> Preprocess:
    """Return the same preprocessing for whole images, of which no box is cut off."""
    return replace(preprocess, fit="letterbox", crop=1.0)
