"""PyTorch itself, operation by operation, with the channels of a pixel together in memory."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from featherbone.deploy.engines.engine import Engine, Runner

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def precisions() -> tuple[str, ...]:
    """Return "f32", and "bf16" where the processor computes in it."""
    return ("f32", "bf16") if torch.ops.mkldnn._is_mkldnn_bf16_supported() else ("f32",)


def translate(graph: GraphModule, images: Tensor) -> GraphModule:
    """Return the network as it is."""
    return graph


def placed(graph: Any, precision: str) -> Any:
    """Return a copy in the precision, with weights in the memory order of the images."""
    return copy.deepcopy(graph).to(DTYPES[precision]).to(memory_format=torch.channels_last)


def start(model: Any, images: Tensor, precision: str, threads: int) -> Runner:
    """Return a function that runs a copy in the precision."""
    return with_threads(placed(model, precision), precision, threads)


def with_threads(network: Any, precision: str, threads: int) -> Runner:
    """Return a function that runs a module in a precision with so many threads."""

    def run(images: Tensor) -> Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                ready = images.to(DTYPES[precision], memory_format=torch.channels_last)
                return network(ready).float()
        finally:
            torch.set_num_threads(before)

    return run


EAGER = Engine("eager", precisions, translate, start)
