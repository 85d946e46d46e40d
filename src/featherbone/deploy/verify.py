"""Write a network to a file, read it back, and compare its outputs with the network's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NotRequired, TypedDict

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from featherbone.cost.measurement.machine import usable_cores
from featherbone.deploy.engines import ENGINES, Runner
from featherbone.deploy.formats import Format
from featherbone.deploy.nms import BoxReport, Postprocess, compared
from featherbone.deploy.quantize import Int8Report, Quantized, agreement, in_parts, quantized
from featherbone.deploy.search import BOUNDS
from featherbone.errors import InputError


class Proof(TypedDict):
    """What ``Exported`` says of the comparison."""

    largest_error: float
    largest_output: float
    same_answers: float
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
        wanted: the network's outputs for these.
        notes: its metadata.
    """

    file_format: Format
    file: Path
    graph: GraphModule
    samples: Tensor
    wanted: Tensor
    notes: Mapping[str, str]

    def in_floats(self, tolerance: float) -> Proof:
        """Write and compare it; ``tolerance`` is a share of the largest output."""
        self.file_format.write(self.graph, self.samples, self.file, self.notes)
        return self._compared(tolerance)

    def in_integers(self, module: nn.Module, calibration: Tensor, max_drop: float) -> Proof:
        """Write and compare it in eight-bit integers."""
        assert self.file_format.save is not None
        score = agreement(in_parts(torch.no_grad()(module)), calibration)
        integers = quantized(self.graph, calibration, score=score, max_drop=max_drop)
        self.file_format.save(integers.model, self.file, self.notes)
        proof = self._compared(BOUNDS["int8"])
        proof["int8"] = _scored(integers, score, in_parts(self.file_format.load(self.file)), max_drop)
        return proof

    def with_boxes(self, postprocess: Postprocess, tolerance: float) -> Proof:
        """Write and compare it with non-maximum suppression behind it.

        It is compared once more without a score threshold: else an image in which no box counts would test nothing.
        """
        writer, engine = self.file_format.boxes, self.file_format.engine
        assert writer is not None
        assert engine is not None
        network = writer.translate(self.graph, self.samples)
        writer.save(
            writer.end(network, postprocess.above, postprocess.iou, postprocess.max_detections), self.file, self.notes
        )
        free = postprocess.any_score
        every = writer.end(network, free.above, free.iou, free.max_detections)
        run = ENGINES[engine].start(every, self.samples[:1], "f32", usable_cores())
        try:
            found = compared(
                _one_by_one(self.file_format.load(self.file), self.samples), self.wanted, postprocess, tolerance
            )
            more = compared(_one_by_one(run, self.samples), self.wanted, free, tolerance)
        except InputError as error:
            raise InputError(f"nothing was written: the {self.file_format.name} file is wrong: {error}") from error
        boxes = found.joined(more)
        largest_edge = float(self.wanted[..., :4].abs().max())
        return Proof(largest_error=boxes.edge_error, largest_output=largest_edge, same_answers=boxes.same, boxes=boxes)

    def _compared(self, tolerance: float) -> Proof:
        """Return the proof of equal outputs.

        Raises:
            InputError: if they differ by more than the tolerance.
        """
        run, wanted = self.file_format.load(self.file), self.wanted
        given = torch.cat([run(self.samples), _one_by_one(run, self.samples)])
        error = float((given - wanted.repeat(2, 1)).abs().max())
        scale = float(wanted.abs().max())
        if not error <= tolerance * scale:  # also refuses NaN
            raise InputError(
                f"nothing was written: the outputs of the {self.file_format.name} file differ from the network's by "
                f"{error:.3g} (largest output {scale:.3g}, allowed {tolerance * scale:.3g})"
            )
        same = (given.argmax(1) == wanted.argmax(1).repeat(2)).float().mean().item()
        return Proof(largest_error=error, largest_output=scale, same_answers=same)


def _one_by_one(run: Runner, samples: Tensor) -> Tensor:
    """Return what single images give."""
    return torch.cat([run(sample[None]) for sample in samples])


def _scored(model: Quantized, score: Callable[[Runner], float], run: Runner, max_drop: float) -> Int8Report:
    """Return what eight bits cost in the written file.

    Raises:
        InputError: if it is more than is allowed.
    """
    reached = score(run)
    if model.report.float_score - reached > max_drop:
        raise InputError(
            f"nothing was written: on {1 - reached:.2%} of the calibration images the file's highest output is another "
            f"than the network's, max_drop={max_drop:g} is allowed"
        )
    return replace(model.report, score=reached)
