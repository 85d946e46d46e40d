"""Eight-bit integers after training: scales from the user's images, the worst layers in float until accuracy holds.

NNCF chooses the scales and corrects the biases; OpenVINO runs the model. What NNCF leaves open is done here: all inputs
of a concatenation get one scale, since parts of different scales would be computed again wherever they are joined; the
error of every layer is measured on its own; and the layers with the largest errors go back to float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from featherbone.deploy.engines import openvino as engine
from featherbone.deploy.engines.engine import Runner
from featherbone.deploy.openvino_int8 import integers, layer_errors, named
from featherbone.errors import InputError, counted

# what errors are measured on: more images change a sum over all points of a layer little
_ERROR_IMAGES = 32
# images at a time, of the scores
_BATCH = 50


# fewer images of different content say too little of how values lie; and how many are usual
_LEAST, _USUAL = 50, "100 to 300"
# two images whose 8 x 8 points differ by less, as a share of their size, have one content
_ALIKE = 1e-3


class Calibration(NamedTuple):
    """Images for eight-bit integers, in two halves: one to find scales with, and others to judge the result on.

    Attributes:
        scale: ``(N, C, H, W)``.
        check: ``(M, C, H, W)``.
    """

    scale: Tensor
    check: Tensor

    @classmethod
    def of(cls, calibration: Tensor, images: Tensor) -> Calibration:
        """Check and split images.

        Args:
            calibration: what is given.
            images: what the network takes, ``(N, C, H, W)``.

        Raises:
            InputError: as ``check_calibration``; or if too few are of different content.
        """
        check_calibration(calibration, images)
        points = nn.functional.adaptive_avg_pool2d(calibration, 8).flatten(1)
        near = torch.cdist(points, points) <= _ALIKE * points.norm(dim=1).mean()
        different = calibration[~near.tril(-1).any(1)]
        if len(different) < _LEAST:
            raise InputError(
                f"calibration has {counted(len(calibration), 'image')}, {len(different)} of different content: "
                f"{_LEAST} or more are needed, {_USUAL} are usual, as the network gets them in use"
            )
        return cls(different[::2], different[1::2])

    def allowed(self, max_drop: float) -> float:
        """Return a share as a whole number of the images that are judged, rounded up."""
        return math.ceil(max_drop * len(self.check)) / len(self.check)


@dataclass(frozen=True)
class Int8Report:
    """What eight bits cost.

    Attributes:
        float_score: the score of the network in float32.
        score: in eight-bit integers.
        kept_float: layers that are left in float, the worst first.
        layer_errors: what eight bits add in each layer when all layers have them: the norm of the difference of a
            layer's outputs, from the float network's values before it, as a share of the norm of its outputs.
        layers: how many layers there are.
    """

    float_score: float
    score: float
    kept_float: tuple[str, ...]
    layer_errors: Mapping[str, float]
    layers: int

    def __str__(self) -> str:
        kept = f"{len(self.kept_float)} of {self.layers} layers in float"
        return f"score {self.score:.4f}, {self.float_score:.4f} in float; {kept}"


@dataclass(frozen=True, eq=False)
class Quantized:
    """A network in eight-bit integers: an ``openvino.Model``, batch size free, and what it costs."""

    model: Any
    report: Int8Report

    def runner(self, threads: int = 0) -> Runner:
        """Return a function that runs the model on any number of images; 0 threads are OpenVINO's own choice."""
        return in_parts(engine.run_model(self.model.clone(), "int8", threads))


def in_parts(run: Runner) -> Runner:
    """Return a function that gives another one a few images at a time, so that memory stays small."""
    return lambda images: torch.cat([run(part.float().contiguous()) for part in torch.split(images, _BATCH)])


def agreement(run: Runner, images: Tensor) -> Callable[[Runner], float]:
    """Return a score: the share of the images on which the largest output is that of ``run``."""
    wanted = run(images).flatten(1).argmax(1)
    return lambda other: float((other(images).flatten(1).argmax(1) == wanted).double().mean())


def quantized(
    graph: GraphModule,
    calibration: Tensor,
    *,
    score: Callable[[Runner], float] | None = None,
    max_drop: float = 0.01,
    log: Callable[[str], None] = lambda _: None,
) -> Quantized:
    """Put a network into eight-bit integers, except for the layers that lose too much.

    Layers are ranked by their errors, and 0, 1, 2, 4, 8, ... of the worst stay in float until the score holds.

    Args:
        graph: images ``(B, C, H, W)`` to one tensor, as ``rewritable`` and ``rewrite`` give it. It is not changed.
        calibration: images ``(N, C, H, W)`` as the network gets them in use, preprocessed; 100 to 300 are usual.
        score: of a function from images to outputs, more is better. Default: the share of the calibration images on
            which the largest output is that of the float network.
        max_drop: the most that the score may lose.
        log: told what is being done.

    Raises:
        InputError: if the images are none or of another size, a package is missing, or the score does not hold even
            with half of the layers in float.
    """
    check_calibration(calibration, next(iter(graph.graph.find_nodes(op="placeholder"))).meta["val"])
    if not 0 <= max_drop < math.inf:
        raise InputError(f"max_drop={max_drop} is not allowed: 0 or more")
    plain = named(engine.translate(graph, calibration))
    run = in_parts(engine.run_model(plain.clone(), "f32", 0))
    score = score or agreement(run, calibration)
    wanted = score(run)
    model = integers(plain, calibration, ())
    errors = layer_errors(plain, model, calibration[:_ERROR_IMAGES])
    worst = sorted(errors, key=lambda name: -errors[name])
    kept: tuple[str, ...] = ()
    while True:
        reached = score(in_parts(engine.run_model(model.clone(), "int8", 0)))
        log(f"{len(kept)} of {len(worst)} layers in float: score {reached:.4f}, {wanted:.4f} in float")
        if wanted - reached <= max_drop:
            return Quantized(model, Int8Report(wanted, reached, kept, errors, len(worst)))
        more = max(1, 2 * len(kept))
        if more > len(worst) // 2:
            break
        kept = tuple(worst[:more])
        model = integers(plain, calibration, kept)
    raise InputError(
        f"max_drop={max_drop:g} does not hold: int8 scores {reached:.4f}, float {wanted:.4f}, with "
        f"{len(kept)} of {len(worst)} layers in float; give more calibration images, or allow more"
    )


def check_calibration(calibration: Tensor, images: Tensor) -> None:
    """Check images to quantize with.

    Args:
        calibration: what is given.
        images: what the network takes, ``(N, C, H, W)``.

    Raises:
        InputError: if there are none, or they are of another size or hold numbers that are no image.
    """
    channels, height, width = images.shape[1:]
    if calibration.ndim != 4 or not len(calibration) or calibration.shape[1:] != images.shape[1:]:
        allowed = f"(N, {channels}, {height}, {width}), N 1 or more"
        raise InputError(f"calibration={tuple(calibration.shape)} is not allowed: images {allowed}")
    if not calibration.is_floating_point() or not bool(calibration.isfinite().all()):
        raise InputError("calibration holds numbers that are no image: finite float values, preprocessed, are allowed")
