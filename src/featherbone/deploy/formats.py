"""The formats of files: who writes them, and what runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.fx import GraphModule

from featherbone.deploy.engines import Runner, executorch, exported, onnxruntime, openvino


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: as users say it.
        suffix: of the file that is named; others may lie beside it.
        runtime: the package that runs its files.
        engine: name of the engine on which the fastest form is looked for; ``None`` where none stands for the device.
        batch: images at a time; ``None`` for any number.
        write: writes a graph, given images of its size, the file, and metadata by key.
        load: a file to a function from images to outputs, in float32.
        save: writes a network in eight-bit integers, as ``quantised`` gives it; ``None`` where files hold only floats.
    """

    name: str
    suffix: str
    runtime: str
    engine: str | None
    batch: int | None
    write: Callable[[GraphModule, Tensor, Path, Mapping[str, str]], None]
    load: Callable[[Path], Runner]
    save: Callable[[Any, Path, Mapping[str, str]], None] | None = None


FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        Format("onnx", ".onnx", "onnxruntime", "onnxruntime", None, onnxruntime.write, onnxruntime.load),
        Format("openvino", ".xml", "openvino", "openvino", None, openvino.write, openvino.load, openvino.save),
        Format("torch", ".pt2", "torch", "eager", None, exported.write, exported.load),
        Format("executorch", ".pte", "executorch", None, 1, executorch.write, executorch.load),
    )
}
