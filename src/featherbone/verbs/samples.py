"""What a rewritten or exported network is compared on: random images, photographs, and a run's held-out images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from featherbone.data import Preprocess
from featherbone.data.preprocess import Fit
from featherbone.detect.detector import Detector
from featherbone.errors import InputError, needs
from featherbone.files import AnyPath
from featherbone.graph import image_channels
from featherbone.runs.folder import DATA, read_facts
from featherbone.weights import Header
from featherbone.weights.open import AnyNetwork, header_of, open_module

_DEFAULT_SIZE = 224
# random images and real ones: enough that an engine that is wrong for one in eight is found out
_RANDOM, _REAL = 4, 12


class Samples(NamedTuple):
    """A network with images for it.

    Attributes:
        model: the network.
        samples: inputs ``(16, C, side, side)``: two of noise, two of smooth noise, then real ones.
        header: its spec, classes and preprocessing; ``None`` for a foreign module.
    """

    model: nn.Module
    samples: Tensor
    header: Header | None


def samples_of(source: AnyNetwork, *, size: int | None = None, in_chans: int | None = None) -> Samples:
    """Open a network and get images for it.

    Args:
        source: any module that takes images, a run or its folder, a weight file, or a network's name or row.
        size: side of the images, in pixels; default: as trained, else as published, else 224.
        in_chans: channels of a module's images; default: those that its first convolution reads.

    Raises:
        InputError: if an argument is not usable.
    """
    if size is not None and size < 1:
        raise InputError(f"size={size} is not allowed: 1 pixel or more")
    model, header = open_module(source), header_of(source)
    known = header.preprocess if header else None
    channels = known.channels if known else in_chans or image_channels(model)
    side = size or (known.size if known else header.spec.usual_size if header else _DEFAULT_SIZE)
    if isinstance(model, Detector) and side % model.multiple:
        raise InputError(f"size={side} is not allowed for this detector: a multiple of {model.multiple} pixels")
    random = _random_images(channels, side)
    fit: Fit = "letterbox" if isinstance(model, Detector) else "crop"
    known = known or (Preprocess.usual(side, channels, fit=fit) if channels in (1, 3) else None)
    if header:
        header = Header(header.spec, header.classes, known.resized(side) if known else None)
    return Samples(model, torch.cat([random, _real_images(source, known, channels, side)]), header)


def folder_inputs(folder: AnyPath, preprocess: Preprocess | None, like: Tensor, most: int = 300) -> Tensor:
    """Return images of a folder, taken evenly over all of them, as inputs of the size and channels of ``like``.

    Args:
        folder: where image files lie, in it or below; or one file.
        preprocess: how; default: as is usual.
        like: inputs ``(N, C, side, side)``.
        most: how many are taken.

    Raises:
        InputError: if there are no images that can be read.
    """
    with needs("export", "reading images"):
        from featherbone.data.sources.folder import find_images
    files = find_images([folder])
    chosen = files[:: max(1, -(-len(files) // most))]
    read = _inputs(chosen, preprocess, *like.shape[1:3])
    if read is None:
        raise InputError(f"{folder} holds no image that can be read")
    return read


def _random_images(channels: int, side: int) -> Tensor:
    """Return noise, and noise of large patches, as inputs ``(N, channels, side, side)``."""
    generator = torch.Generator().manual_seed(0)
    fine = torch.randn(_RANDOM // 2, channels, side, side, generator=generator)
    patches = torch.randn(_RANDOM // 2, channels, 4, 4, generator=generator)
    return torch.cat([fine, nn.functional.interpolate(patches, (side, side), mode="bilinear")])


def _real_images(source: AnyNetwork, preprocess: Preprocess | None, channels: int, side: int) -> Tensor:
    """Return a run's held-out images, photographs and parts of these, as inputs ``(N, channels, side, side)``."""
    with needs("export", "reading images"):
        from featherbone.data.sources.scikit_learn import photographs

        photos = photographs()
    found: list[Any] = []
    if isinstance(source, str | os.PathLike) and (Path(source) / DATA).exists():
        found += [path for name in read_facts(source).examples if (path := Path(name)).exists()]
    found = found[: _REAL - len(photos)] + photos
    parts = (
        photo[top : top + 214, left : left + 320] for top in (0, 106, 213) for left in (0, 320) for photo in photos
    )
    inputs = _inputs([*found, *islice(parts, max(0, _REAL - len(found)))], preprocess, channels, side)
    assert inputs is not None
    return inputs


def _inputs(images: Iterable[Any], preprocess: Preprocess | None, channels: int, side: int) -> Tensor | None:
    with needs("export", "reading images"):
        from featherbone.data.image import UnreadableImageError, read_image
        from featherbone.data.transforms import evaluation_transform
    seen = channels if channels in (1, 3) else 3
    transform = evaluation_transform((preprocess or Preprocess.usual(side, seen)).resized(side))
    inputs = []
    for image in images:
        try:
            inputs.append(transform(read_image(image, "L" if seen == 1 else "RGB")))
        except UnreadableImageError:
            continue  # a file that is or has been damaged: the others are enough
    if not inputs:
        return None
    stacked = torch.stack(inputs)
    # an input that is neither grey nor RGB gets the colours again and again
    return stacked if channels == seen else stacked.repeat(1, -(-channels // seen), 1, 1)[:, :channels]
