"""ExecuTorch, PyTorch's runtime for phones and boards, with its XNNPACK kernels for processors."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.export import export
from torch.fx import GraphModule

from featherbone.deploy.engines.engine import Runner, alone
from featherbone.errors import needs


def write(graph: GraphModule, images: Tensor, file: Path, metadata: Mapping[str, str]) -> None:
    """Write a ``.pte`` for one image at a time; metadata are its methods, which return the text.

    The batch is fixed because the file says beforehand how much memory it needs, for the largest batch.

    Raises:
        InputError: if ExecuTorch is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports and steps
        with needs("executorch", "writing ExecuTorch files"):
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
        lowered = to_edge_transform_and_lower(
            export(graph, (images[:1].contiguous(),), strict=False),
            partitioner=[XnnpackPartitioner()],
            constant_methods=dict(metadata),
        )
        file.write_bytes(lowered.to_executorch().buffer)


def load(path: Path) -> Runner:
    """Return a function that runs a ``.pte``, image by image.

    Raises:
        InputError: if ExecuTorch is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with needs("executorch", "running ExecuTorch files"):
            from executorch.runtime import Runtime
        method = Runtime.get().load_program(path).load_method("forward")

    def run(images: Tensor) -> Tensor:
        # the next call writes its outputs over this one's
        rows = [[output.clone() for output in method.execute([image[None].contiguous()])] for image in images]
        return alone([torch.cat(outputs) for outputs in zip(*rows, strict=True)])

    return run
