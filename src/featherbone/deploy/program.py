"""A network as a program of PyTorch operations with a free batch size: what rules rewrite and exporters read."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.fx import GraphModule

from featherbone.errors import InputError


def captured(module: nn.Module, image: Tensor) -> ExportedProgram:
    """Capture a module that is in evaluation mode; the batch size stays free, the image size is fixed.

    Args:
        module: takes images ``(B, C, H, W)`` like ``image``. It is not changed.
        image: any image batch of the wanted size.

    Raises:
        InputError: if the module cannot be captured.
    """
    # a batch of one would be taken for a constant
    batch = image[:1].expand(2, *image.shape[1:]).contiguous()
    try:
        with torch.no_grad():
            return export(module, (batch,), dynamic_shapes=({0: Dim("batch")},), strict=False)
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"the network cannot be captured for export: {str(error).splitlines()[0]}") from error


def rewritable(program: ExportedProgram) -> GraphModule:
    """Return the program as a graph module that rules may change; its tensors are shared with the program."""
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    return module
