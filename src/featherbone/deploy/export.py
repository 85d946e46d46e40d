"""Write a network to a file for an engine, if the engine gives the network's own outputs from that file."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from featherbone.cost.measurement.machine import usable_cores
from featherbone.deploy.bundle import Contents
from featherbone.deploy.fidelity import TOLERANCE, OutputReport, Reference
from featherbone.deploy.formats import FORMATS, Format
from featherbone.deploy.nms import BoxReport, Postprocess, box_scale
from featherbone.deploy.optimize import optimize_network
from featherbone.deploy.optimize_report import OptimizeReport
from featherbone.deploy.pair import replace_pair
from featherbone.deploy.program import captured, on_cpu, rewritable
from featherbone.deploy.quantize import Calibration, Int8Report
from featherbone.deploy.search import REAL_IMAGES
from featherbone.deploy.variants import Variant
from featherbone.deploy.verify import Verified
from featherbone.errors import InputError, nearest, some
from featherbone.files import MARK, check_replaceable, to_json

METADATA_KEY = "featherbone"
# ends the names of folders that hold what is not finished
_WORK = ".export"


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
        largest_output: largest magnitude of the network's outputs.
        same_answers: share of the samples whose highest output is the same, or equally high but for rounding.
        outputs: of each output how far it was from the network's, by its own variation over the samples; none if the
            file is a detector's.
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
    outputs: tuple[OutputReport, ...] = ()
    folder: Path | None = None
    report: OptimizeReport | None = None
    int8: Int8Report | None = None
    boxes: BoxReport | None = None

    @property
    def proof(self) -> Mapping[str, str]:
        """The comparison in words, by subject."""
        how = "one by one" if self.boxes else "one by one and as a batch"
        chosen = "real, none of them calibrated with" if self.int8 else "random and real"
        compared = {"compared": f"on {self.samples} images, {chosen}, {how}"}
        if self.boxes:
            return compared | {"boxes": str(self.boxes), "postprocessing": self.boxes.allowed}
        return (
            compared | {one.name: str(one) for one in self.outputs} | {"same first class": f"{self.same_answers:.2%}"}
        )

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
    tolerance: float = TOLERANCE,
    optimize: bool = False,
    contents: Contents | None = None,
    calibration: Tensor | None = None,
    max_drop: float = 0.01,
    postprocess: Postprocess | None = None,
    overwrite: bool = False,
) -> Exported:
    """Rewrite a network, write it, run the written file on ``samples`` one by one and all together, and compare.

    Every channel of every output is judged by its own variation over the samples (see ``fidelity``).

    Args:
        module: images ``(B, C, H, W)`` to a tensor, or a tuple, list or dictionary of tensors. It is not changed.
        path: where to write; the format's suffix is added if it has none.
        samples: images ``(N, C, H, W)``, N at least 2, of the size that the file is to take, which make outputs differ.
        to: a name in ``FORMATS``; default: by the suffix of ``path``, for a folder "onnx".
        metadata: stored in the file as JSON under the key ``featherbone``.
        tolerance: largest allowed difference, as a share of the standard deviation of a channel over the samples,
            beyond float32's rounding; with boxes, as for ``compared``.
        optimize: write the form that is fastest on the format's engine on this machine, one image at a time.
        contents: makes ``path`` a folder, which holds this beside the model.
        calibration: makes the file one of eight-bit integers, with scales from these images ``(N, C, H, W)``, as the
            network gets them in use, 50 or more of different content, 100 to 300 are usual. Scales come from one half
            of them; on the other the outputs are compared, and may differ by half of their variation.
        max_drop: in integers, the share of that other half on which the highest output may be another.
        postprocess: for a network that gives boxes and probabilities ``(B, N, 4 + classes)``: the file takes one
            image, and returns the boxes that are left after non-maximum suppression, ``(1, max_detections, 6)``.
        overwrite: replace a file of this name whoever made it; else only one that ``export`` wrote.

    Raises:
        InputError: if the network cannot be captured, a package is missing, the file cannot be written, or its outputs
            differ; then nothing is written, and what was there stays.
    """
    target, file_format = _folder(Path(path), to) if contents else _target(Path(path), to)
    _check_able(file_format, postprocess, optimize=optimize, int8=calibration is not None)
    _check_replaceable(target, file_format, overwrite=overwrite)
    module = on_cpu(module)
    split = None if calibration is None else Calibration.of(calibration, samples)
    report = _fastest(module, samples, file_format, calibration, max_drop, postprocess) if optimize else None
    if split:
        samples = split.check[:REAL_IMAGES]  # eight bits are scaled for real images, and go astray on noise
    plain = rewritable(captured(module, samples))
    reference = Reference(module, plain, samples)
    if (split or optimize) and len(reference.names) > 1:
        raise InputError(
            f"int8 and optimize are not allowed for a network of {len(reference.names)} outputs "
            f"({some(reference.names)}): only for one"
        )
    graph, applied = (report.chosen.variant if report else Variant()).of(plain)
    notes = {METADATA_KEY: to_json(dict(metadata or {}), indent=None), "generator": MARK}
    with _workshop(target) as shop:
        file = shop / (f"model{file_format.suffix}" if contents else target.name)
        made = Verified(file_format, file, graph, samples, reference, notes)
        if postprocess:
            proof = made.with_boxes(postprocess, tolerance)
        elif split:
            proof = made.in_integers(torch.no_grad()(module), split, max_drop)
        else:
            proof = made.in_floats(tolerance)
        if contents:
            contents.write(shop, file_format)
            shop.replace(target)
        elif file_format.beside:
            replace_pair(file, target)
        else:
            file.replace(target)
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


def _check_replaceable(target: Path, file_format: Format, *, overwrite: bool) -> None:
    """Refuse to replace somebody else's file, or one that would come to lie beside the named one."""
    check_replaceable("out", target, overwrite=overwrite)
    if file_format.beside and not target.exists():  # else it belongs to the named one
        check_replaceable("out", target.with_suffix(file_format.beside), overwrite=overwrite, mark=None)


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
        scale=box_scale if postprocess else None,
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
        _sweep(target)
        closed = Path(tempfile.mkdtemp(prefix=f".{target.stem}.", suffix=_WORK, dir=target.parent))
        with FileLock(closed / "lock"):
            # a temporary folder is for its owner alone; what is in it has the permissions that the user's files have
            shop = closed / "shop"
            shop.mkdir()
            yield shop
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if closed:
            shutil.rmtree(closed, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what exports to this target left behind that were killed: their locks were released by that."""
    for left in target.parent.glob(f".{glob.escape(target.stem)}.*{_WORK}"):
        with suppress(OSError, Timeout), FileLock(left / "lock", timeout=0):
            shutil.rmtree(left, ignore_errors=True)
