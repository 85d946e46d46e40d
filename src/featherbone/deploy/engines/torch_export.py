"""Programs of ``torch.export`` in files: PyTorch runs them without the code that built the network."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils._pytree import tree_leaves

from featherbone.deploy.engines.engine import Runner, alone
from featherbone.deploy.program import captured


def write(graph: GraphModule, images: Tensor, file: Path, metadata: Mapping[str, str]) -> None:
    """Write a ``.pt2``: an archive of the program and plain tensors; each key of the metadata is a file in it."""
    program = captured(graph, images)
    program.example_inputs = None  # they would be stored, as a pickle
    # into memory first: on a full disk PyTorch's own writer ends the whole process
    content = BytesIO()
    torch.export.save(program, content, extra_files=dict(metadata))
    file.write_bytes(content.getbuffer())


def load(path: Path) -> Runner:
    """Return a function that runs a ``.pt2``.

    Only files of one's own: PyTorch's reader unpickles what a file asks it to.
    """
    network = torch.export.load(path).module()

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            return alone(tree_leaves(network(images)))

    return run
