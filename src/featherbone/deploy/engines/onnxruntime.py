"""ONNX Runtime on the processor."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
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


def precisions() -> tuple[str, ...]:
    """Return "f32": on a processor, ONNX Runtime has no kernels in bfloat16.

    Raises:
        InputError: if ONNX Runtime or what writes its files is not installed.
    """
    with needs("export", "running with ONNX Runtime"):
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    return ("f32",)


def translate(graph: GraphModule, images: Tensor, *, one: bool = False) -> Any:
    """Return the ``onnx.ModelProto`` of a network, batch size free, or for one image at a time.

    Raises:
        InputError: if a package is missing.
    """
    with needs("export", "writing ONNX files"):
        import onnx  # noqa: F401 - the exporter needs both, and would name them late
        import onnxscript  # noqa: F401
    program = captured(graph, images, one=one)
    with _quiet_exporter():
        written = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["images"],
            output_names=names_in(program),
            optimize=True,
        )
    assert written is not None
    return written.model_proto


def write(graph: GraphModule, images: Tensor, file: Path, metadata: Mapping[str, str]) -> None:
    """Write an ONNX file; metadata stands in its ``metadata_props``.

    Raises:
        InputError: if a package is missing.
    """
    save(translate(graph, images), file, metadata)


def save(model: Any, file: Path, metadata: Mapping[str, str]) -> None:
    """Write an ``onnx.ModelProto``; metadata stands in its ``metadata_props``."""
    import onnx

    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, file)


def start(model: Any, images: Tensor, precision: str, threads: int) -> Runner:
    """Start a session."""
    return _runner(model.SerializeToString(), threads)


def load(path: Path, threads: int = 0) -> Runner:
    """Return a function that runs an ONNX file.

    Args:
        path: the file.
        threads: of the processor; 0 for ONNX Runtime's own choice.

    Raises:
        InputError: if ONNX Runtime is not installed.
    """
    return _runner(path, threads)


def _runner(model: bytes | Path, threads: int) -> Runner:
    with needs("export", "running ONNX files"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> Tensor:
        return alone([torch.from_numpy(output) for output in session.run(None, {name: images.numpy()})])

    return run


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Leave out the exporter's remarks on versions and steps; its errors are exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# names in capitals, which PyTorch's exporter does not give
_NODES = """
    CORNERS, PROBABILITIES = Split <axis = 2> (outputs, PARTS)
    BY_CLASS = Transpose <perm = [0, 2, 1]> (PROBABILITIES)
    CHOSEN = NonMaxSuppression (CORNERS, BY_CLASS, MOST, IOU, ABOVE)
    SCORES = GatherND (BY_CLASS, CHOSEN)
    IMAGE, LABEL, PLACE = Split <axis = 1, num_outputs = 3> (CHOSEN)
    CORNERS_OF_ONE = Squeeze (CORNERS, FIRST)
    PLACES = Squeeze (PLACE, SECOND)
    EDGES = Gather <axis = 0> (CORNERS_OF_ONE, PLACES)
    SCORE_COLUMN = Unsqueeze (SCORES, SECOND)
    LABEL_COLUMN = Cast <to = 1> (LABEL)
    ROWS = Concat <axis = 1> (EDGES, SCORE_COLUMN, LABEL_COLUMN)
    FILLED = Pad (ROWS, ROWS_BELOW)
    FILLED_SCORES = Pad (SCORES, SCORES_BELOW)
    BEST, ORDER = TopK (FILLED_SCORES, MOST)
    TABLE = Gather <axis = 0> (FILLED, ORDER)
    boxes = Unsqueeze (TABLE, FIRST)
"""


def with_boxes(network: Any, above: float, iou: float, max_detections: int) -> Any:
    """Return the ``onnx.ModelProto`` whose output is the table ``boxes``, ``(1, max_detections, 6)``.

    ONNX's own suppression, which every runtime knows, gives image, class and place of the boxes that stay, class by
    class; then they are gathered, filled up with zeros, and the best are taken.

    Args:
        network: an ``onnx.ModelProto`` for one image, ``images`` to ``outputs``, ``(1, N, 4 + classes)``.
        above: a score must be greater.
        iou: overlap above which the better one of two boxes of a class stays.
        max_detections: boxes.
    """
    from onnx import compose, numpy_helper, parser

    _, count, width = (side.dim_value for side in network.graph.output[0].type.tensor_type.shape.dim)
    (opset,) = (one.version for one in network.opset_import if not one.domain)
    ending = parser.parse_model(
        f'<ir_version: {network.ir_version}, opset_import: ["": {opset}]> '
        f"ending (float[1, {count}, {width}] outputs) => (float[1, {max_detections}, 6] boxes) {{{_NODES}}}"
    )
    constants = {
        "PARTS": np.array([4, width - 4]),
        "MOST": np.array([max_detections]),
        "IOU": np.array([iou], np.float32),
        "ABOVE": np.array([above], np.float32),
        "FIRST": np.array([0]),
        "SECOND": np.array([1]),
        "ROWS_BELOW": np.array([0, 0, max_detections, 0]),
        "SCORES_BELOW": np.array([0, max_detections]),
    }
    ending.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return compose.merge_models(network, ending, io_map=[("outputs", "outputs")])


ONNXRUNTIME = Engine("onnxruntime", precisions, translate, start)
