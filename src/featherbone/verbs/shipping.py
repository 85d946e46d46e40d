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
    from featherbone.deploy import Contents, Exported

_DEFAULT_SIZE = 224


def export(
    source: AnyPath | nn.Module,
    out: AnyPath,
    *,
    to: str | None = None,
    size: int | None = None,
    in_chans: int | None = None,
    optimize: bool = False,
    folder: bool = False,
) -> Exported:
    """Write a network for ONNX Runtime, OpenVINO, PyTorch or ExecuTorch, rewritten exactly.

    The written file is run on random images and on photographs (for a run also on its held-out images). It appears
    under its name only if its outputs are those of the network.

    Args:
        source: a run's folder, a weight file, the name of a network (freshly initialised), or any module that takes
            images.
        out: the file; its suffix, ``.onnx``, ``.xml``, ``.pt2`` or ``.pte``, says the format.
        to: "onnx", "openvino", "torch" or "executorch", if ``out`` has no suffix; default for a folder: "onnx".
        size: side of the input, in pixels; default: as trained, else as published, else 224.
        in_chans: channels of a module's input; default: those its first convolution reads.
        optimize: try equal forms of the network on the format's engine on this machine, and write the fastest.
        folder: make ``out`` a folder that needs only the runtime: the model, ``preprocessing.json``, ``labels.txt``
            and ``run.py``, which classifies image files. The source must know its classes and preprocessing.

    Raises:
        InputError: if an argument is not usable, or the file's outputs differ.
    """
    model, header = _resolved(source)
    _check_known(source, header, folder=folder)
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
    return export_network(
        model,
        out,
        samples,
        to=to,
        metadata=header.to_dict() if header else None,
        optimize=optimize,
        contents=_contents(header) if folder and header else None,
    )


def _check_known(source: AnyPath | nn.Module, header: Header | None, *, folder: bool) -> None:
    if folder and not (header and header.classes and header.preprocess):
        name = "a module" if isinstance(source, nn.Module) else source
        raise InputError(
            f"folder=True, but {name} does not say its classes and preprocessing: "
            "name a run, or a file saved with classes=... and preprocess=..."
        )


def _contents(header: Header) -> Contents:
    """Return what a folder says of a network, as steps that a program without featherbone can follow."""
    from featherbone.deploy import Contents

    how = header.preprocess
    assert how is not None
    preprocessing = {
        "size": how.size,
        "resize_short_side": round(how.size / how.crop),
        "interpolation": "bilinear, antialiased",
        "crop": "center",
        "colours": "L" if how.channels == 1 else "BGR" if how.bgr else "RGB",
        "range": [0, 1],
        "mean": list(how.mean),
        "std": list(how.std),
    }
    return Contents(header.classes, preprocessing)


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
