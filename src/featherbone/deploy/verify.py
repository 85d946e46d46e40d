"""Write a network to a file, read it back, and compare its outputs with the network's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor
from torch.fx import GraphModule

from featherbone.deploy.engines import Runner
from featherbone.deploy.fidelity import OutputReport, Reference, outputs_of
from featherbone.deploy.formats import Format
from featherbone.deploy.nms import BoxReport, Postprocess, compared
from featherbone.deploy.quantize import Calibration, Int8Report, Quantized, agreement, in_parts, quantized
from featherbone.errors import InputError, first_line

# with less than that left, a writer that says nothing of use ran out of room
_ROOM = 1 << 20


class Proof(TypedDict):
    """What ``Exported`` says of the comparison."""

    largest_error: float
    largest_output: float
    same_answers: float
    outputs: NotRequired[tuple[OutputReport, ...]]
    int8: NotRequired[Int8Report]
    boxes: NotRequired[BoxReport]


@dataclass(frozen=True, eq=False)
class Verified:
    """A file that is made in one of three ways, read back, and compared with the network.

    Attributes:
        file_format: its format.
        file: where.
        graph: what is written.
        samples: what it is compared on.
        reference: the network's outputs for these.
        notes: its metadata.
    """

    file_format: Format
    file: Path
    graph: GraphModule
    samples: Tensor
    reference: Reference
    notes: Mapping[str, str]

    def in_floats(self, tolerance: float) -> Proof:
        """Write and compare it; ``tolerance`` is a share of each channel's variation over the samples."""
        with self._engine("written"):
            self.file_format.write(self.graph, self.samples, self.file, self.notes)
        given = self._given()
        with self._refused():
            reports = self.reference.compared(given, tolerance, repeats=2)
        return self._proof(reports, given)

    def in_integers(self, network: Runner, calibration: Calibration, max_drop: float) -> Proof:
        """Write and compare it in eight-bit integers; ``samples`` are of those that are not scaled with."""
        assert self.file_format.save is not None
        score = agreement(in_parts(network), calibration.check)
        allowed = calibration.allowed(max_drop)
        integers = quantized(self.graph, calibration.scale, score=score, max_drop=allowed)
        with self._engine("written"):
            self.file_format.save(integers.model, self.file, self.notes)
        given = self._given()
        with self._refused():
            reports = self.reference.compared_coarsely(given, "int8", repeats=2)
        proof = self._proof(reports, given)
        proof["int8"] = _scored(integers, score, in_parts(self._run(self.file)), allowed)
        return proof

    def with_boxes(self, postprocess: Postprocess, tolerance: float) -> Proof:
        """Write and compare it with non-maximum suppression behind it.

        It is compared once more without a score threshold, in a file of its own: else an image in which no box counts
        would test nothing.
        """
        writer = self.file_format.boxes
        assert writer is not None
        wanted = self.reference.plain[0]
        with self._engine("written"):
            network = writer.translate(self.graph, self.samples)
        found: list[BoxReport] = []
        with tempfile.TemporaryDirectory(dir=self.file.parent.parent) as aside:
            every = Path(aside) / self.file.name
            for how, file in ((postprocess, self.file), (postprocess.any_score, every)):
                with self._engine("written"):
                    writer.save(writer.end(network, how.above, how.iou, how.max_detections), file, self.notes)
                run = self._run(file)
                with self._refused():
                    found.append(compared(_one_by_one(run, self.samples)[0], wanted, how, tolerance))
        boxes = found[0].joined(found[1])
        largest_edge = float(wanted[..., :4].abs().max())
        return Proof(largest_error=boxes.edge_error, largest_output=largest_edge, same_answers=boxes.same, boxes=boxes)

    def _run(self, file: Path) -> Runner:
        with self._engine("read"):
            return self.file_format.load(file)

    def _given(self) -> list[Tensor]:
        """Return what the file gives for the samples as one batch and, below, one by one."""
        run = self._run(self.file)
        with self._engine("run"):
            batch = outputs_of(run(self.samples))
            single = _one_by_one(run, self.samples)
        if len(batch) != len(single):
            raise InputError(f"nothing was written: {len(single)} outputs for one image, {len(batch)} for a batch")
        with self._engine("run"):
            return [torch.cat(pair) for pair in zip(batch, single, strict=True)]

    def _proof(self, reports: Sequence[OutputReport], given: Sequence[Tensor]) -> Proof:
        return Proof(
            largest_error=max(report.error for report in reports),
            largest_output=max(report.largest for report in reports),
            same_answers=self.reference.same_answers(given, repeats=2),
            outputs=tuple(reports),
        )

    @contextmanager
    def _refused(self) -> Iterator[None]:
        """Say of which file a difference is."""
        try:
            yield
        except InputError as error:
            raise InputError(f"nothing was written: the {self.file_format.name} file is wrong: {error}") from error

    @contextmanager
    def _engine(self, what: str) -> Iterator[None]:
        """Turn what an engine raises, which may be anything, into a sentence."""
        try:
            yield
        except (InputError, OSError):  # the folder's owner says what an OSError means
            raise
        except Exception as error:
            if what == "written" and shutil.disk_usage(self.file.parent).free < _ROOM:
                raise OSError("No space left on device") from error
            raise InputError(
                f"nothing was written: a {self.file_format.name} file of this network cannot be {what}: "
                f"{first_line(error)}"
            ) from error


def _one_by_one(run: Callable[[Tensor], Any], samples: Tensor) -> tuple[Tensor, ...]:
    """Return what single images give."""
    rows = [outputs_of(run(sample[None])) for sample in samples]
    return tuple(torch.cat(outputs) for outputs in zip(*rows, strict=True))


def _scored(model: Quantized, score: Callable[[Runner], float], run: Runner, max_drop: float) -> Int8Report:
    """Return what eight bits cost in the written file.

    Raises:
        InputError: if it is more than is allowed.
    """
    reached = score(run)
    if model.report.float_score - reached > max_drop:
        raise InputError(
            f"nothing was written: on {1 - reached:.2%} of the images that were not calibrated with the file's highest "
            f"output is another than the network's, {max_drop:.2%} are allowed"
        )
    return replace(model.report, score=reached)
