"""ONNX Runtime on the processor."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from featherbone.deploy.engines.engine import Engine, Runner
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
    with _quiet_exporter():
        written = torch.onnx.export(
            captured(graph, images, one=one),
            dynamo=True,
            input_names=["images"],
            output_names=["outputs"],
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
        return torch.from_numpy(session.run(None, {name: images.numpy()})[0])

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


ONNXRUNTIME = Engine("onnxruntime", precisions, translate, start)
