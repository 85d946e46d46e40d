"""Write a network to a file for an engine, and only if the engine gives the network's own answers from that file."""

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featherbone.cost.measured.machine import usable_cores
from featherbone.deploy.choice import OptimizeReport
from featherbone.deploy.engines import Runner
from featherbone.deploy.formats import FORMATS, Format
from featherbone.deploy.forms import Form
from featherbone.deploy.optimize import optimize_network
from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.quantise import Int8Report, Quantised, agreement, check_calibration, in_parts, quantised
from featherbone.deploy.ready import Contents
from featherbone.deploy.search import BOUNDS, REAL_IMAGES
from featherbone.errors import InputError, nearest

METADATA_KEY = "featherbone"


@dataclass(frozen=True)
class Exported:
    """A written file and the proof that it is right.

    Attributes:
        path: the file (OpenVINO: the ``.xml``, its weights lie beside it).
        format: "onnx", "openvino", "torch" or "executorch".
        batch: images at a time; ``None`` for any number.
        rewrites: how often each exact rewrite applied.
        samples: images on which the file's outputs were compared with the network's.
        largest_error: largest difference of an output.
        largest_output: largest magnitude of the network's outputs, to judge the error by.
        same_answers: share of the samples whose highest output is the same.
        folder: the folder that is ready to be used, if one was asked for; ``path`` lies in it.
        report: what was tried to find the fastest form, if that was asked for.
        int8: what eight-bit integers cost, if the file has them; the score is that of the written file.
    """

    path: Path
    format: str
    batch: int | None
    rewrites: Mapping[str, int]
    samples: int
    largest_error: float
    largest_output: float
    same_answers: float
    folder: Path | None = None
    report: OptimizeReport | None = None
    int8: Int8Report | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        found = self.report
        verdict = {"form": str(found.chosen.form), "speedup": found.speedup, "verdict": found.verdict} if found else {}
        return asdict(self) | {
            "path": str(self.path),
            "folder": str(self.folder) if self.folder else None,
            "report": verdict | found.to_dict() if found else None,
        }


def export_network(
    module: nn.Module,
    path: str | os.PathLike[str],
    samples: Tensor,
    *,
    to: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    tolerance: float = BOUNDS["f32"],
    optimize: bool = False,
    contents: Contents | None = None,
    calibration: Tensor | None = None,
    largest_drop: float = 0.01,
) -> Exported:
    """Rewrite a network, write it, run the written file on ``samples`` one by one and all together, and compare.

    Args:
        module: images ``(B, C, H, W)`` to one tensor. It is not changed.
        path: where to write; the format's suffix is added if it has none.
        samples: images ``(N, C, H, W)``, N at least 2, of the size that the file is to take.
        to: a name in ``FORMATS``; default: by the suffix of ``path``, for a folder "onnx".
        metadata: stored in the file as JSON under the key ``featherbone``.
        tolerance: largest allowed difference, as a share of the largest output.
        optimize: write the form that is fastest on the format's engine on this machine, one image at a time.
        contents: makes ``path`` a folder, which holds this beside the model.
        calibration: makes the file one of eight-bit integers, with scales from these images ``(N, C, H, W)``, as the
            network gets them in use, 100 to 300. Then the outputs are compared on some of these, and may differ by as
            much as ``fb.optimize`` allows.
        largest_drop: in integers, the share of the calibration images on which the highest output may be another.

    Raises:
        InputError: if the network cannot be captured, a package is missing, the file cannot be written, or its outputs
            differ; then nothing is written.
    """
    target, form = _folder(Path(path), to) if contents else _target(Path(path), to)
    if calibration is not None:
        if form.save is None:
            able = ", ".join(one.name for one in FORMATS.values() if one.save)
            raise InputError(f"precision='int8' is not allowed for {form.name} files: {able}")
        check_calibration(calibration, samples)
        samples = calibration[:REAL_IMAGES]  # eight bits are scaled for real images, and go astray on noise
    module = copy.deepcopy(module).cpu().eval()
    report = _fastest(module, samples, form, calibration, largest_drop) if optimize else None
    graph, applied = (report.chosen.form if report else Form()).of(rewritable(captured(module, samples)))
    with torch.no_grad():
        wanted = module(samples)
    integers = None
    if calibration is not None:
        score = agreement(in_parts(torch.no_grad()(module)), calibration)
        integers = quantised(graph, calibration, score=score, largest_drop=largest_drop)
    notes = {METADATA_KEY: json.dumps(dict(metadata or {}))}
    with _workshop(target) as shop:
        file = shop / (f"model{form.suffix}" if contents else target.name)
        if integers and form.save:
            form.save(integers.model, file, notes)
        else:
            form.write(graph, samples, file, notes)
        error, same = _proven(form, file, samples, wanted, BOUNDS["int8"] if integers else tolerance)
        int8 = _scored(integers, score, in_parts(form.load(file)), largest_drop) if integers else None
        if contents:
            contents.write(shop, form)
            shop.replace(target)
        else:
            _move_files(shop, target)
    scale = float(wanted.abs().max())
    written = target / file.name if contents else target
    folder = target if contents else None
    return Exported(written, form.name, form.batch, applied, len(samples), error, scale, same, folder, report, int8)


def _fastest(
    module: nn.Module, samples: Tensor, form: Format, calibration: Tensor | None, largest_drop: float
) -> OptimizeReport:
    if form.engine is None:
        raise InputError(f"optimize=True is not allowed for {form.name}: its files are for other devices than this one")
    return optimize_network(
        module,
        samples,
        engines=(form.engine,),
        precisions=("f32",) if calibration is None else ("int8",),
        calibration=calibration,
        largest_drop=largest_drop,
        threads=usable_cores(),
    ).report


def _scored(model: Quantised, score: Callable[[Runner], float], run: Runner, largest_drop: float) -> Int8Report:
    """Return what eight bits cost in the written file.

    Raises:
        InputError: if it is more than is allowed.
    """
    reached = score(run)
    if model.report.float_score - reached > largest_drop:
        raise InputError(
            f"nothing was written: on {1 - reached:.2%} of the calibration images the file's highest output is another "
            f"than the network's, largest_drop={largest_drop:g} is allowed"
        )
    return replace(model.report, score=reached)


def _proven(form: Format, file: Path, samples: Tensor, wanted: Tensor, tolerance: float) -> tuple[float, float]:
    """Return the largest difference between the file's outputs and ``wanted``, and the share of equal first classes.

    Raises:
        InputError: if they differ by more than the tolerance.
    """
    run = form.load(file)
    given = torch.cat([run(samples), *(run(sample[None]) for sample in samples)])
    error = float((given - wanted.repeat(2, 1)).abs().max())
    scale = float(wanted.abs().max())
    if not error <= tolerance * scale:  # also refuses NaN
        raise InputError(
            f"nothing was written: the outputs of the {form.name} file differ from the network's by {error:.3g} "
            f"(largest output {scale:.3g}, allowed {tolerance * scale:.3g})"
        )
    return error, (given.argmax(1) == wanted.argmax(1).repeat(2)).float().mean().item()


def _named(to: str) -> Format:
    if to not in FORMATS:
        raise InputError(f"to={to!r} is not allowed{nearest(to, FORMATS)}: {' or '.join(FORMATS)}")
    return FORMATS[to]


def _target(path: Path, to: str | None) -> tuple[Path, Format]:
    by_suffix = {one.suffix: one for one in FORMATS.values()}
    form = _named(to) if to is not None else by_suffix.get(path.suffix)
    if form is None:
        raise InputError(
            f"the format of {path} is not clear: name it {' or '.join(by_suffix)}, or say which ({', '.join(FORMATS)})"
        )
    if path.suffix == form.suffix:
        return path, form
    if path.suffix in by_suffix:
        raise InputError(f"{path} is to be {form.name}, whose files end in {form.suffix}, not {path.suffix}")
    return path.with_name(path.name + form.suffix), form


def _folder(path: Path, to: str | None) -> tuple[Path, Format]:
    if path.suffix in {one.suffix for one in FORMATS.values()}:
        raise InputError(f"{path} is to be a folder: name it without {path.suffix}, and say the format with to=...")
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path} exists: a folder is written to a new name, or an empty one")
    return path, _named(to or "onnx")


@contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """Yield a folder beside the target, so that what is finished only has to be renamed; remove it in the end.

    Raises:
        InputError: if the target cannot be written.
    """
    closed = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        closed = Path(tempfile.mkdtemp(prefix=f".{target.stem}.", dir=target.parent))
        # a temporary folder is its owner's alone; one in it is open to whom the user's folders are
        shop = closed / "shop"
        shop.mkdir()
        yield shop
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if closed:
            shutil.rmtree(closed, ignore_errors=True)


def _move_files(shop: Path, target: Path) -> None:
    # the file that is named goes last: when it is there, all of it is there
    for file in sorted(shop.iterdir(), key=lambda file: file.name == target.name):
        file.replace(target.with_name(file.name))
