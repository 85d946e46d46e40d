"""Write a run, a named network or any module as a file for an engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from featherbone.data import Preprocess
from featherbone.errors import InputError, needs
from featherbone.graph import image_channels
from featherbone.spec import Backbone
from featherbone.verbs.folder import DATA, AnyPath, open_network, read_json
from featherbone.weights import Header, read_header

if TYPE_CHECKING:
    from featherbone.deploy import Exported

_DEFAULT_SIZE = 224


def export(
    source: AnyPath | nn.Module,
    out: AnyPath,
    *,
    to: str | None = None,
    size: int | None = None,
    in_chans: int | None = None,
) -> Exported:
    """Write a network for ONNX Runtime or OpenVINO, rewritten exactly, batch size free.

    The written file is run on random images and on photographs (for a run also on its held-out images). It appears
    under its name only if its outputs are those of the network.

    Args:
        source: a run's folder, a weight file, the name of a network (freshly initialised), or any module that takes
            images.
        out: the file; its suffix, ``.onnx`` or ``.xml``, says the format.
        to: "onnx" or "openvino", if ``out`` has no suffix.
        size: side of the input, in pixels; default: as trained, else as published, else 224.
        in_chans: channels of a module's input; default: those its first convolution reads.

    Raises:
        InputError: if an argument is not usable, or the file's outputs differ.
    """
    model, header = _resolved(source)
    known = header.preprocess if header else None
    if size is not None and size < 1:
        raise InputError(f"size={size} is not allowed: 1 pixel or more")
    channels = known.channels if known else in_chans or image_channels(model)
    side = size or (known.size if known else header.spec.usual_size if header else _DEFAULT_SIZE)
    with needs("export", "exporting"):
        from featherbone.deploy import export_network
    random = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    samples = torch.cat([random, _real_images(source, known, channels, side)])
    if header:
        usual = known or Preprocess.usual(side, channels) if channels in (1, 3) else None
        header = Header(header.spec, header.classes, usual.resized(side) if usual else None)
    return export_network(model, out, samples, to=to, metadata=header.to_dict() if header else None)


def _resolved(source: AnyPath | nn.Module) -> tuple[nn.Module, Header | None]:
    if isinstance(source, nn.Module):
        return source, Header(source.spec) if isinstance(source, Backbone) else None
    model = open_network(source)
    return model, read_header(source) if Path(source).exists() else Header(model.spec)


def _real_images(source: AnyPath | nn.Module, preprocess: Preprocess | None, channels: int, side: int) -> Tensor:
    """Return photographs, and a run's held-out images, as inputs ``(N, channels, side, side)``."""
    with needs("export", "reading images"):
        from featherbone.data.bundled import photographs
        from featherbone.data.images import UnreadableImageError, read_image
        from featherbone.data.loading import evaluation_transform
    seen = channels if channels in (1, 3) else 3
    transform = evaluation_transform((preprocess or Preprocess.usual(side, seen)).resized(side))
    found: list[Any] = list(photographs())
    if not isinstance(source, nn.Module) and (Path(source) / DATA).exists():
        found += [path for name in read_json(Path(source) / DATA)["examples"] if (path := Path(name)).exists()]
    inputs = []
    for image in found:
        try:
            inputs.append(transform(read_image(image, "L" if seen == 1 else "RGB")))
        except UnreadableImageError:
            continue  # a held-out image that has been damaged since: the others prove as much
    stacked = torch.stack(inputs)
    # an input that is neither grey nor RGB gets the colours again and again
    return stacked if channels == seen else stacked.repeat(1, -(-channels // seen), 1, 1)[:, :channels]
