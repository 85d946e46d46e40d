"""PyTorch's compiler: ``torch.compile`` with frozen weights. Needs a C++ compiler, and minutes rather than seconds."""

from __future__ import annotations

import shutil
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from featherbone.deploy.engines import eager
from featherbone.deploy.engines.engine import Engine, Runner
from featherbone.errors import InputError


def precisions() -> tuple[str, ...]:
    """Return those of PyTorch.

    Raises:
        InputError: if there is no C++ compiler.
    """
    if not any(map(shutil.which, ("g++", "clang++", "cl", "c++"))):
        raise InputError("torch.compile needs a C++ compiler: install g++ or clang++")
    return eager.precisions()


def translate(graph: GraphModule, images: Tensor) -> GraphModule:
    """Return the network as it is."""
    return graph


def start(model: Any, images: Tensor, precision: str, threads: int) -> Runner:
    """Compile a copy in the precision for this batch and size; the first call does the work."""
    compiled = torch.compile(eager.placed(model, precision), dynamic=False, options={"freezing": True})
    run = eager.with_threads(compiled, precision, threads)
    run(images)
    return run


COMPILED = Engine("compile", precisions, translate, start)
