"""OpenVINO on the processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from featherbone.errors import needs


def load(path: Path, precision: str = "f32") -> Callable[[Tensor], Tensor]:
    """Return a function that runs the OpenVINO file.

    Args:
        path: the ``.xml``; its ``.bin`` lies beside it.
        precision: "f32" or "bf16". OpenVINO's own choice on a processor with bfloat16 is "bf16".

    Raises:
        InputError: if OpenVINO is not installed.
    """
    with needs("export", "running OpenVINO files"):
        import openvino
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    request = compiled.create_infer_request()

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(request.infer([images.numpy()])[0].copy())

    return run
