"""Write a network to a file for an engine, if the engine gives the network's own outputs from that file."""

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featherbone.cost.measurement.machine import usable_cores
from featherbone.deploy.bundle import Contents
from featherbone.deploy.formats import FORMATS, Format
from featherbone.deploy.nms import BoxReport, Postprocess, box_scale
from featherbone.deploy.optimize import optimize_network
from featherbone.deploy.optimize_report import OptimizeReport
from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.quantize import Int8Report, check_calibration
from featherbone.deploy.search import BOUNDS, REAL_IMAGES, largest
from featherbone.deploy.variants import Variant
from featherbone.deploy.verify import Verified
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
        boxes: if the file is a detector's, which boxes it returns; then the largest error and output are those of edges
            in pixels, and ``same_answers`` counts equal lists of boxes.
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
    boxes: BoxReport | None = None

    @property
    def proof(self) -> Mapping[str, str]:
        """The comparison in words, by subject."""
        how = "one by one" if self.boxes else "one by one and as a batch"
        compared = {"compared": f"on {self.samples} images, random and real, {how}"}
        if self.boxes:
            return compared | {"boxes": str(self.boxes), "postprocessing": self.boxes.allowed}
        share = self.largest_error / self.largest_output if self.largest_output else 0.0
        return compared | {
            "largest difference": f"{self.largest_error:.2g} ({share:.1g} of the largest output)",
            "same first class": f"{self.same_answers:.2%}",
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        found = self.report
        verdict = (
            {"form": str(found.chosen.variant), "speedup": found.speedup, "verdict": found.verdict} if found else {}
        )
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
    max_drop: float = 0.01,
    postprocess: Postprocess | None = None,
) -> Exported:
    """Rewrite a network, write it, run the written file on ``samples`` one by one and all together, and compare.

    Args:
        module: images ``(B, C, H, W)`` to one tensor. It is not changed.
        path: where to write; the format's suffix is added if it has none.
        samples: images ``(N, C, H, W)``, N at least 2, of the size that the file is to take.
        to: a name in ``FORMATS``; default: by the suffix of ``path``, for a folder "onnx".
        metadata: stored in the file as JSON under the key ``featherbone``.
        tolerance: largest allowed difference, as a share of the largest output; with boxes, as for ``compared``.
        optimize: write the form that is fastest on the format's engine on this machine, one image at a time.
        contents: makes ``path`` a folder, which holds this beside the model.
        calibration: makes the file one of eight-bit integers, with scales from these images ``(N, C, H, W)``, as the
            network gets them in use, 100 to 300. Then the outputs are compared on some of these, and may differ by as
            much as ``fb.optimize`` allows.
        max_drop: in integers, the share of the calibration images on which the highest output may be another.
        postprocess: for a network that gives boxes and probabilities ``(B, N, 4 + classes)``: the file takes one
            image, and returns the boxes that are left after non-maximum suppression, ``(1, max_detections, 6)``.

    Raises:
        InputError: if the network cannot be captured, a package is missing, the file cannot be written, or its outputs
            differ; then nothing is written.
    """
    target, file_format = _folder(Path(path), to) if contents else _target(Path(path), to)
    _check_able(file_format, postprocess, optimize=optimize, int8=calibration is not None)
    if calibration is not None:
        check_calibration(calibration, samples)
        samples = calibration[:REAL_IMAGES]  # eight bits are scaled for real images, and go astray on noise
    module = copy.deepcopy(module).cpu().eval()
    report = _fastest(module, samples, file_format, calibration, max_drop, postprocess) if optimize else None
    graph, applied = (report.chosen.variant if report else Variant()).of(rewritable(captured(module, samples)))
    with torch.no_grad():
        wanted = module(samples)
    with _workshop(target) as shop:
        file = shop / (f"model{file_format.suffix}" if contents else target.name)
        made = Verified(file_format, file, graph, samples, wanted, {METADATA_KEY: json.dumps(dict(metadata or {}))})
        if postprocess:
            proof = made.with_boxes(postprocess, tolerance)
        elif calibration is not None:
            proof = made.in_integers(module, calibration, max_drop)
        else:
            proof = made.in_floats(tolerance)
        if contents:
            contents.write(shop, file_format)
            shop.replace(target)
        else:
            _move_files(shop, target)
    return Exported(
        path=target / file.name if contents else target,
        format=file_format.name,
        batch=1 if postprocess else file_format.batch,
        rewrites=applied,
        samples=len(samples),
        folder=target if contents else None,
        report=report,
        **proof,
    )


def _check_able(file_format: Format, postprocess: Postprocess | None, *, optimize: bool, int8: bool) -> None:
    """Refuse what a format cannot hold."""
    if optimize and file_format.engine is None:
        raise InputError(
            f"optimize=True is not allowed for {file_format.name}: its files are for other devices than this one"
        )
    if int8 and file_format.save is None:
        able = ", ".join(one.name for one in FORMATS.values() if one.save)
        raise InputError(f"precision='int8' is not allowed for {file_format.name} files: {able}")
    if not postprocess:
        return
    if file_format.boxes is None:
        able = ", ".join(f"{one.name} ({one.suffix})" for one in FORMATS.values() if one.boxes)
        raise InputError(
            f"{file_format.name} files are not allowed for a detector: they hold no suppression of boxes; {able}"
        )
    if int8:
        raise InputError("precision='int8' is not allowed for a detector: what eight bits do to boxes is not judged")


def _fastest(
    module: nn.Module,
    samples: Tensor,
    file_format: Format,
    calibration: Tensor | None,
    max_drop: float,
    postprocess: Postprocess | None,
) -> OptimizeReport:
    assert file_format.engine is not None
    return optimize_network(
        module,
        samples,
        engines=(file_format.engine,),
        precisions=("f32",) if calibration is None else ("int8",),
        calibration=calibration,
        max_drop=max_drop,
        threads=usable_cores(),
        scale=box_scale if postprocess else largest,
    ).report


def _named(to: str) -> Format:
    if to not in FORMATS:
        raise InputError(f"to={to!r} is not allowed{nearest(to, FORMATS)}: {' or '.join(FORMATS)}")
    return FORMATS[to]


def _target(path: Path, to: str | None) -> tuple[Path, Format]:
    by_suffix = {one.suffix: one for one in FORMATS.values()}
    file_format = _named(to) if to is not None else by_suffix.get(path.suffix)
    if file_format is None:
        raise InputError(
            f"the format of {path} is not clear: name it {' or '.join(by_suffix)}, or say which ({', '.join(FORMATS)})"
        )
    if path.suffix == file_format.suffix:
        return path, file_format
    if path.suffix in by_suffix:
        raise InputError(
            f"{path} is to be {file_format.name}, whose files end in {file_format.suffix}, not {path.suffix}"
        )
    return path.with_name(path.name + file_format.suffix), file_format


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
        # a temporary folder is for its owner alone; a folder in it has the permissions that the user's folders have
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
