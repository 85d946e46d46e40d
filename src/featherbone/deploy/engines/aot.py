"""AOTInductor: PyTorch's compiler, ahead of time, into a library that runs without the compiler."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import export
from torch.fx import GraphModule

from featherbone.deploy.engines import eager, torch_compile
from featherbone.deploy.engines.engine import Engine, Runner


def translate(graph: GraphModule, images: Tensor) -> GraphModule:
    """Return the network as it is."""
    return graph


def start(model: Any, images: Tensor, precision: str, threads: int) -> Runner:
    """Compile a copy in the precision for this batch and size."""
    network: nn.Module = eager.placed(model, precision)
    ready = images.to(eager.DTYPES[precision], memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        package = torch._inductor.aoti_compile_and_package(
            export(network, (ready,), strict=False),
            package_path=str(Path(folder) / "network.pt2"),
            inductor_configs={"freezing": True},
        )
        loaded = torch._inductor.aoti_load_package(package)
    return eager.with_threads(loaded, precision, threads)


AOT = Engine("aot", torch_compile.precisions, translate, start)
