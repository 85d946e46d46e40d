"""Write a network to a file for an engine, and only if the engine gives the network's own answers from that file."""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from featherbone.deploy.engines import onnxruntime as onnxruntime_engine
from featherbone.deploy.engines import openvino as openvino_engine
from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.rewrites import rewrite
from featherbone.errors import InputError, nearest, needs

METADATA_KEY = "featherbone"
_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}


@dataclass(frozen=True)
class Exported:
    """A written file and the proof that it is right.

    Attributes:
        path: the file (OpenVINO: the ``.xml``, its weights lie beside it).
        format: "onnx" or "openvino".
        rewrites: how often each exact rewrite applied.
        samples: images on which the file's outputs were compared with the network's.
        largest_error: largest difference of an output.
        largest_output: largest magnitude of the network's outputs, to judge the error by.
        same_answers: share of the samples whose highest output is the same.
    """

    path: Path
    format: str
    rewrites: Mapping[str, int]
    samples: int
    largest_error: float
    largest_output: float
    same_answers: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"path": str(self.path)}


def export_network(
    module: nn.Module,
    path: str | os.PathLike[str],
    samples: Tensor,
    *,
    to: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    tolerance: float = 1e-4,
) -> Exported:
    """Rewrite a network, write it, run the written file on ``samples`` one by one and all together, and compare.

    Args:
        module: images ``(B, C, H, W)`` to one tensor. It is not changed.
        path: where to write; ``.onnx`` or ``.xml`` is added if it has no suffix.
        samples: images ``(N, C, H, W)``, N at least 2, of the size that the file is to take.
        to: "onnx" or "openvino"; default: by the suffix of ``path``.
        metadata: stored in the file as JSON under the key ``featherbone``.
        tolerance: largest allowed difference, as a share of the largest output.

    Raises:
        InputError: if the network cannot be captured, a package is missing, the file cannot be written, or its outputs
            differ; then nothing is written.
    """
    target, form = _target(Path(path), to)
    module = copy.deepcopy(module).cpu().eval()
    graph, applied = rewrite(rewritable(captured(module, samples)))
    with torch.no_grad():
        wanted = module(samples)
    with _workshop(target) as folder:
        file = folder / target.name
        _WRITERS[form](graph, samples, file, json.dumps(dict(metadata or {})))
        run = _LOADERS[form](file)
        given = torch.cat([run(samples), *(run(sample[None]) for sample in samples)])
        error = float((given - wanted.repeat(2, 1)).abs().max())
        scale = float(wanted.abs().max())
        if not error <= tolerance * scale:  # also refuses NaN
            raise InputError(
                f"nothing was written: the outputs of the {form} file differ from the network's by {error:.3g} "
                f"(largest output {scale:.3g}, allowed {tolerance * scale:.3g})"
            )
        del run  # closes the file
        _move(folder, target)
    same = (given.argmax(1) == wanted.argmax(1).repeat(2)).float().mean().item()
    return Exported(target, form, applied, len(samples), error, scale, same)


def _write_onnx(graph: GraphModule, samples: Tensor, file: Path, metadata: str) -> None:
    with needs("export", "writing ONNX files"):
        import onnx  # noqa: F401 - the exporter needs both, and would name them late
        import onnxscript  # noqa: F401
    with _quiet_exporter():
        written = torch.onnx.export(
            captured(graph, samples), dynamo=True, input_names=["images"], output_names=["outputs"], optimize=True
        )
        assert written is not None
        written.model.metadata_props[METADATA_KEY] = metadata
        written.save(file)


def _write_openvino(graph: GraphModule, samples: Tensor, file: Path, metadata: str) -> None:
    with needs("export", "writing OpenVINO files"):
        import openvino
    onnx_file = file.with_suffix(".onnx")
    _write_onnx(graph, samples, onnx_file, metadata)
    model = openvino.Core().read_model(onnx_file)
    model.set_rt_info(metadata, METADATA_KEY)
    openvino.save_model(model, file, compress_to_fp16=False)
    onnx_file.unlink()


_WRITERS: Mapping[str, Callable[[GraphModule, Tensor, Path, str], None]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
}
_LOADERS: Mapping[str, Callable[[Path], Callable[[Tensor], Tensor]]] = {
    "onnx": onnxruntime_engine.load,
    "openvino": openvino_engine.load,
}


def _target(path: Path, to: str | None) -> tuple[Path, str]:
    if to is not None and to not in _SUFFIXES:
        raise InputError(f"to={to!r} is not allowed{nearest(to, _SUFFIXES)}: {' or '.join(_SUFFIXES)}")
    by_suffix = {suffix: form for form, suffix in _SUFFIXES.items()}
    form = to or by_suffix.get(path.suffix)
    if form is None:
        raise InputError(f"the format of {path} is not clear: name it .onnx or .xml, or say which (onnx, openvino)")
    if path.suffix == _SUFFIXES[form]:
        return path, form
    if path.suffix in by_suffix:
        raise InputError(f"{path} is to be {form}, whose files end in {_SUFFIXES[form]}, not {path.suffix}")
    return path.with_name(path.name + _SUFFIXES[form]), form


@contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """Yield a folder beside the target, so that a finished file only has to be renamed; remove it in the end."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.stem}.", dir=target.parent))
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, target: Path) -> None:
    # the file that is named goes last: when it is there, all of it is there
    files = sorted(folder.iterdir(), key=lambda file: file.name == target.name)
    try:
        for file in files:
            file.replace(target.with_name(file.name))
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from error


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Leave out the exporter's remarks on versions and steps; its errors are exceptions."""
    names: Sequence[str] = ("torch.onnx", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
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
