"""OpenVINO on the processor."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from featherbone.deploy.engines.engine import Engine, Runner
from featherbone.deploy.program import captured
from featherbone.errors import needs


@cache
def core() -> Any:
    """Return this process's one ``openvino.Core``, which is never closed.

    On processors with AMX a core gives signals a stack of its own and, closed before a younger one, leaves a dead stack
    behind: the next signal, be it Ctrl-C or a finished child process, ends Python.

    Raises:
        InputError: if OpenVINO is not installed.
    """
    with needs("export", "running with OpenVINO"):
        import openvino
    return openvino.Core()


def precisions() -> tuple[str, ...]:
    """Return "f32", and "bf16" where the processor computes in it.

    Raises:
        InputError: if OpenVINO is not installed.
    """
    able = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("f32", "bf16") if "BF16" in able else ("f32",)


def translate(graph: GraphModule, images: Tensor, *, one: bool = False) -> Any:
    """Return the ``openvino.Model`` of a network, batch size free, or for one image at a time.

    Raises:
        InputError: if OpenVINO is not installed.
    """
    with needs("export", "writing OpenVINO files"):
        import openvino
    logging.getLogger("openvino").setLevel(logging.ERROR)
    model = openvino.convert_model(captured(graph, images))
    model.reshape([1 if one else -1, *images.shape[1:]])
    model.inputs[0].get_tensor().set_names({"images"})
    model.outputs[0].get_tensor().set_names({"outputs"})
    return model


def write(graph: GraphModule, images: Tensor, file: Path, metadata: Mapping[str, str]) -> None:
    """Write an OpenVINO file, weights in float32 beside it; metadata stands in its ``rt_info``.

    Raises:
        InputError: if OpenVINO is not installed.
    """
    save(translate(graph, images), file, metadata)


def save(model: Any, file: Path, metadata: Mapping[str, str]) -> None:
    """Write an ``openvino.Model``; metadata stands in its ``rt_info``."""
    import openvino

    for key, value in metadata.items():
        model.set_rt_info(value, key)
    openvino.save_model(model, file, compress_to_fp16=False)


def start(model: Any, images: Tensor, precision: str, threads: int) -> Runner:
    """Compile for one batch size, which is faster than for any."""
    fixed = model.clone()
    fixed.reshape(list(images.shape))
    return run_model(fixed, precision, threads)


def load(path: Path, precision: str = "f32", threads: int = 0) -> Runner:
    """Return a function that runs an OpenVINO file.

    Args:
        path: the ``.xml``; its ``.bin`` lies beside it.
        precision: "f32" or "bf16". OpenVINO's own choice on a processor with bfloat16 is "bf16".
        threads: of the processor; 0 for OpenVINO's own choice.

    Raises:
        InputError: if OpenVINO is not installed.
    """
    return run_model(core().read_model(path), precision, threads)


def run_model(model: Any, precision: str, threads: int) -> Runner:
    """Compile an ``openvino.Model``; 0 threads are OpenVINO's own choice."""
    # an int8 model says itself where it computes in integers; between, in the shortest float there is
    floating = precisions()[-1] if precision == "int8" else precision
    hints: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": floating}
    if threads:
        hints |= {"INFERENCE_NUM_THREADS": threads}
    compiled = core().compile_model(model, "CPU", hints | {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1})
    request = compiled.create_infer_request()

    def run(images: Tensor) -> Tensor:
        request.infer([images.numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(request.get_output_tensor().data.copy())

    return run


OPENVINO = Engine("openvino", precisions, translate, start)
