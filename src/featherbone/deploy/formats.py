"""The formats of files: who writes them, and what runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.fx import GraphModule

from featherbone.deploy.engines import (
    Runner,
    executorch,
    onnxruntime,
    openvino,
    torch_export,
)


@dataclass(frozen=True)
class BoxWriter:
    """How files of a format are written whose output is boxes, one image at a time.

    Attributes:
        translate: a graph and images of its size to what the engine reads.
        end: that with non-maximum suppression behind it, given the limit that scores exceed, the IoU and the number of
            boxes: another model.
        save: writes it, with metadata by key.
    """

    translate: Callable[[GraphModule, Tensor], Any]
    end: Callable[[Any, float, float, int], Any]
    save: Callable[[Any, Path, Mapping[str, str]], None]


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: as users say it.
        suffix: of the file that is named.
        runtime: the package that runs its files.
        engine: name of the engine on which the fastest form is looked for; ``None`` where none stands for the device.
        batch: images at a time; ``None`` for any number.
        write: writes a graph, given images of its size, the file, and metadata by key.
        load: a file to a function from images to the output, in float32, or to a tuple of several.
        save: writes a network in eight-bit integers, as ``quantized`` gives it; ``None`` where files hold only floats.
        boxes: writes detectors; ``None`` where files cannot hold non-maximum suppression.
        beside: suffix of another file of the same name that belongs to it; empty if there is none.
    """

    name: str
    suffix: str
    runtime: str
    engine: str | None
    batch: int | None
    write: Callable[[GraphModule, Tensor, Path, Mapping[str, str]], None]
    load: Callable[[Path], Runner]
    save: Callable[[Any, Path, Mapping[str, str]], None] | None = None
    boxes: BoxWriter | None = None
    beside: str = ""


_ONNX_BOXES = BoxWriter(partial(onnxruntime.translate, one=True), onnxruntime.with_boxes, onnxruntime.save)
_OPENVINO_BOXES = BoxWriter(partial(openvino.translate, one=True), openvino.with_boxes, openvino.save)

FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        Format(
            "onnx",
            ".onnx",
            "onnxruntime",
            "onnxruntime",
            None,
            onnxruntime.write,
            onnxruntime.load,
            boxes=_ONNX_BOXES,
        ),
        Format(
            "openvino",
            ".xml",
            "openvino",
            "openvino",
            None,
            openvino.write,
            openvino.load,
            openvino.save,
            _OPENVINO_BOXES,
            beside=".bin",
        ),
        Format("torch", ".pt2", "torch", "eager", None, torch_export.write, torch_export.load),
        Format("executorch", ".pte", "executorch", None, 1, executorch.write, executorch.load),
    )
}
