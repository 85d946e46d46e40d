"""Find the fastest equal form of a network on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from featherbone.cost.measurement import usable_cores
from featherbone.detect.detector import Detector
from featherbone.errors import InputError, needs
from featherbone.files import AnyPath
from featherbone.verbs.samples import folder_inputs, samples_of
from featherbone.weights.open import AnyNetwork

if TYPE_CHECKING:
    from featherbone.deploy import Optimized


def optimize(
    source: AnyNetwork,
    size: int | None = None,
    *,
    batch: int = 1,
    engine: str | Sequence[str] = "auto",
    precision: str | Sequence[str] = "auto",
    calibration: Tensor | AnyPath | None = None,
    max_drop: float = 0.01,
    threads: int | None = None,
    in_chans: int | None = None,
    refresh: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Optimized:
    """Return a network as a function that is as fast as this machine's engines and exact rewrites make it.

    A detector's function gives all boxes with their probabilities, ``(B, N, 4 + classes)``: ``fb.postprocess`` chooses.

    Equal forms of the network run on engines in precisions, side by side. The fastest whose outputs are proven close is
    kept. Every output is judged by how far it varies over real and random images: in float32 it may err by 1e-4 of that
    (beyond float32's own rounding), in bfloat16 by a quarter as a root mean square; a detector by 1e-4 or 5e-2 of 1 for
    probabilities, and of every box's longer side for its edges. In int8, which detectors do not have, scales come from
    one half of the calibration images; of the other half all but ``max_drop`` must keep their first class, for which
    the worst layers stay in float, and outputs may err by half of their variation. If no rewritten form is faster than
    the network as it was given, that is what you get. The choice is remembered for this network, setting and machine.

    Args:
        source: any module that takes images, a run or its folder, a weight file, or a network's name or row.
        size: side of the images, in pixels; default: as trained, else as published, else 224.
        batch: images at a time.
        engine: "openvino", "onnxruntime", "eager", "compile" (minutes), "aot" (minutes), "cuda-graphs", or several;
            "auto": the first three, as far as they are installed; for a module on a GPU, the last.
        precision: "f32", "bf16", "int8", or several; "auto": the floats that the processor computes in.
        calibration: for "int8": images ``(N, C, size, size)`` as the network gets them in use, preprocessed, or a
            folder of them, of which up to 300 are taken; 50 or more of different content.
        max_drop: in int8, the share of the images that may get another first class.
        threads: of the processor; default: all that this process may use.
        in_chans: channels of a module's images; default: those that its first convolution reads.
        refresh: measure again, even if the choice is known.
        log: told what is being done.

    Raises:
        InputError: if an argument is not usable, an engine is missing, or nothing gives the network's outputs.
    """
    with needs("export", "optimizing"):
        from featherbone.deploy import optimize_network
        from featherbone.deploy.engines import QUICK, QUICK_ON_GPU
        from featherbone.deploy.nms import box_scale
    if threads is not None and threads < 1:
        raise InputError(f"threads={threads} is not allowed: 1 or more")
    model, samples, header = samples_of(source, size=size, in_chans=in_chans)
    detector, precisions = isinstance(model, Detector), None if precision == "auto" else _several(precision)
    if detector and precisions and "int8" in precisions:
        raise InputError("precision='int8' is not allowed for a detector: what eight bits do to boxes is not judged")
    if calibration is not None and not isinstance(calibration, Tensor):
        calibration = folder_inputs(calibration, header.preprocess if header else None, samples)
    on_gpu = any(parameter.is_cuda for parameter in model.parameters())
    return optimize_network(
        model,
        samples,
        batch=batch,
        engines=(QUICK_ON_GPU if on_gpu else QUICK) if engine == "auto" else _several(engine),
        precisions=precisions,
        calibration=calibration,
        max_drop=max_drop,
        threads=threads or usable_cores(),
        refresh=refresh,
        log=log,
        scale=box_scale if detector else None,
    )


def _several(names: str | Sequence[str]) -> Sequence[str]:
    return (names,) if isinstance(names, str) else tuple(names)
