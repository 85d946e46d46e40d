"""PyTorch on a GPU, recorded once as a CUDA graph and replayed: no time goes into starting one kernel after another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from featherbone.deploy.engines import eager
from featherbone.deploy.engines.engine import Engine, Runner
from featherbone.errors import InputError


def precisions() -> tuple[str, ...]:
    """Return "f32", and "bf16" where the GPU computes in it.

    Raises:
        InputError: if there is no GPU.
    """
    if not torch.cuda.is_available():
        raise InputError("engine='cuda-graphs' needs an NVIDIA GPU, and none is here")
    return ("f32", "bf16") if torch.cuda.is_bf16_supported() else ("f32",)


def translate(graph: GraphModule, images: Tensor) -> GraphModule:
    """Return the network as it is."""
    return graph


def start(model: Any, images: Tensor, precision: str, threads: int) -> Runner:
    """Record a copy in the precision for this batch and size; outputs come back to where the images are."""
    network = eager.placed(model, precision).cuda()
    read = images.cuda().to(eager.DTYPES[precision], memory_format=torch.channels_last)
    recorded = torch.cuda.CUDAGraph()
    with torch.inference_mode():
        # what the libraries choose and allocate at the first runs must not be recorded
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                network(read)
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(recorded):
            written = network(read)

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            read.copy_(images)
            recorded.replay()
            # copied, for the next run writes to the same place; to the processor, this also waits
            return written.to(images.device, torch.float32, copy=True)

    return run


CUDA_GRAPHS = Engine("cuda-graphs", precisions, translate, start)
