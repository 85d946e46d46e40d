"""ONNX Runtime on the processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from featherbone.errors import needs


def load(path: Path) -> Callable[[Tensor], Tensor]:
    """Return a function that runs the ONNX file.

    Raises:
        InputError: if ONNX Runtime is not installed.
    """
    with needs("export", "running ONNX files"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: images.numpy()})[0])

    return run
