"""OpenVINO on the processor."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from featherbone.deploy.engines.engine import Engine, Runner, alone
from featherbone.deploy.fidelity import names_in
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
    program = captured(graph, images)
    model = openvino.convert_model(program)
    model.reshape([1 if one else -1, *images.shape[1:]])
    model.inputs[0].get_tensor().set_names({"images"})
    for output, name in zip(model.outputs, names_in(program), strict=True):
        output.get_tensor().set_names({name})
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
        return alone([torch.from_numpy(output.data.copy()) for output in request.output_tensors])

    return run


def with_boxes(network: Any, above: float, iou: float, max_detections: int) -> Any:
    """Return a copy of an ``openvino.Model`` whose output is the table ``boxes``, ``(1, max_detections, 6)``.

    ``NonMaxSuppression`` stops at the boxes that are asked for. ``MulticlassNms``, which would be shorter to write,
    goes through all that pass the threshold: 383 ms instead of 2.1 where 32,000 do.

    Args:
        network: for one image, to ``(1, N, 4 + classes)``.
        above: a score must be greater.
        iou: overlap above which the better one of two boxes of a class stays.
        max_detections: boxes.
    """
    import openvino
    from openvino import opset13 as ops

    model = network.clone()
    output = model.output(0).get_node().input_value(0)
    corners, probabilities = ops.variadic_split(output, 2, np.array([4, -1])).outputs()
    found = ops.non_max_suppression(
        corners,
        ops.transpose(probabilities, np.array([0, 2, 1])),
        max_output_boxes_per_class=np.int64(max_detections),
        # an overlap must be less; what is smaller than the smallest normal number is zero to processors
        iou_threshold=np.maximum(np.nextafter(np.float32(iou), np.float32(2)), np.finfo(np.float32).tiny),
        score_threshold=np.float32(above),
        box_encoding="corner",
        sort_result_descending=True,
        output_type="i32",
    )
    place, second = found.output(0), found.output(1)  # image, class, place; image, class, score; the best first
    edges = ops.gather(ops.squeeze(corners, np.array(0)), ops.gather(place, np.array(2), np.array(1)), np.array(0))
    rows = ops.concat([edges, ops.gather(second, np.array([2, 1]), np.array(1))], 1)
    below = np.array([max_detections, 0])
    filled = ops.pad(rows, np.array([0, 0]), below, "constant", np.float32(0))
    best = ops.slice(filled, np.array([0]), np.array([max_detections]), np.array([1]), np.array([0]))
    table = ops.reshape(best, np.array([1, max_detections, 6]), special_zero=False)
    table.output(0).get_tensor().set_names({"boxes"})
    return openvino.Model([table], model.get_parameters(), model.get_friendly_name())


OPENVINO = Engine("openvino", precisions, translate, start)
