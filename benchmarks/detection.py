"""Detectors side by side, images to boxes: ``python benchmarks/detection.py``.

One image at a time, one call: a prepared image in, boxes out, so decoding and suppression are in the time, reading and
resizing files are not. Ours as exported (ONNX Runtime, OpenVINO) and in PyTorch; torchvision's in PyTorch, and from its
own ONNX export on both engines where that works. All in one run, in turns, threads pinned, float32, channels last in
PyTorch. Weights are random and norms have statistics as after training; every detector has 90 classes (ultralytics' 80)
and answers with boxes of a score of 0.25. An image is as good as empty to all of them: random weights give hardly any
box to suppress, and the second stage of Faster R-CNN, whose random first stage would propose 150, is given none.

    --detectors   some of the names below, by comma; default: all
    --sizes       of ours, default 320,416
    --rounds      turns of each; default 13, with 4 timed runs a turn
    --threads     default: all cores that this process may use
    --seconds     no turn begins after so long; default 600
    --optimize    export the form that is fastest here (minutes)
    --ultralytics a YOLO of ultralytics beside them, as its name, such as yolo11n; that package is to be installed
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import featherbone as fb
from featherbone.cost.measurement import Timing, machine, usable_cores
from featherbone.cost.measurement.race import race
from featherbone.data.sources.scikit_learn import photographs
from featherbone.deploy.engines import eager, onnxruntime, openvino

SCORE = 0.25
CLASSES = 90
# YOLOv3's for COCO, fine to coarse
ANCHORS = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))

OURS: Mapping[str, tuple[str, str, str]] = {
    "ShuffleNetV2-1.0 EFM free": ("shufflenet_v2_x1_0", "efm", "free"),
    "CSPPeleeNet EFM free": ("csppeleenet", "efm", "free"),
    "CSPPeleeNet EFM anchors": ("csppeleenet", "efm", "anchors"),
}


def _faster_rcnn() -> nn.Module:
    module: nn.Module = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1, box_score_thresh=SCORE
    )
    nn.init.constant_(module.get_parameter("rpn.head.cls_logits.bias"), -10.0)  # proposes nothing
    return module


PEERS: Mapping[str, Callable[[], nn.Module]] = {
    "torchvision SSDLite320 MobileNetV3": partial(
        torchvision.models.detection.ssdlite320_mobilenet_v3_large,
        weights=None,
        weights_backbone=None,
        num_classes=CLASSES + 1,
        score_thresh=SCORE,
    ),
    "torchvision Faster R-CNN 320 MobileNetV3 FPN": _faster_rcnn,
}
_PEER_SIZE = 320


@dataclass(frozen=True)
class Way:
    """A detector on an engine.

    Attributes:
        name: of the detector.
        size: side of its input.
        engine: what runs it.
        ours: whether it is one of ours.
        params: its parameters.
        macs: multiply-accumulates of an image, as PyTorch counts them.
        run: from nothing to boxes.
    """

    name: str
    size: int
    engine: str
    ours: bool
    params: int
    macs: int
    run: Callable[[], object]


def some_images(size: int) -> Tensor:
    """Return noise and photographs, ``(4, 3, size, size)``, from 0 to 1: norms are to know both."""
    photos = [torch.from_numpy(photo).permute(2, 0, 1)[None] / 255 for photo in photographs()]
    return torch.cat((torch.rand(2, 3, size, size), *(nn.functional.interpolate(x, (size, size)) for x in photos)))


def settled(module: nn.Module, call: Callable[[], object]) -> nn.Module:
    """Let every batch norm know the statistics of what a call gives it, as after training; in evaluation mode."""
    module.eval()
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the statistics of the call, whole
        norm.train()
    with torch.inference_mode():
        call()
    return module.eval()


def counted(module: nn.Module, call: Callable[[], object]) -> tuple[int, int]:
    """Return parameters, and the multiply-accumulates of a call."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        call()
    return sum(parameter.numel() for parameter in module.parameters()), counter.get_total_flops() // 2


def our_ways(name: str, size: int, threads: int, place: Path, *, optimize: bool) -> Iterator[Way]:
    """Yield one of our detectors on the engines."""
    backbone, neck, head = OURS[name]
    spec = fb.DetectorSpec(
        backbone=fb.spec(backbone),
        neck=fb.neck_spec(neck),
        head="anchors" if head == "anchors" else "free",
        num_classes=CLASSES,
        anchors=ANCHORS if head == "anchors" else (),
    )
    module = spec.build()
    settled(module, lambda: module((some_images(size) - 0.45) / 0.226))
    image = torch.randn(1, 3, size, size)
    facts = counted(module, lambda: module(image))
    network = eager.start(module, image, "f32", threads)
    yield Way(name, size, "PyTorch", True, *facts, lambda: fb.postprocess(network(image), score=SCORE))  # noqa: FBT003
    stem = name.replace(" ", "-")
    for engine, suffix, load in (
        ("ONNX Runtime", "onnx", partial(onnxruntime.load, threads=threads)),
        ("OpenVINO", "xml", partial(openvino.load, threads=threads)),
    ):
        file = place / f"{stem}-{size}.{suffix}"
        result = fb.export(module, file, size=size, score=SCORE, optimize=optimize)
        print(f"{file.name}: {result.boxes}", flush=True)
        yield Way(name, size, engine, True, *facts, partial(load(file), image))  # noqa: FBT003


def peer_ways(name: str, threads: int, place: Path) -> Iterator[Way]:
    """Yield one of torchvision's detectors in PyTorch, and on the engines that take what PyTorch exports of it."""
    module = PEERS[name]().to(memory_format=torch.channels_last)
    settled(module, lambda: module(list(some_images(_PEER_SIZE))))
    image = torch.rand(3, _PEER_SIZE, _PEER_SIZE)
    facts = counted(module, lambda: module([image]))

    def run() -> object:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return module([image])

    yield Way(name, _PEER_SIZE, "PyTorch", False, *facts, run)  # noqa: FBT003
    file = place / f"{name.replace(' ', '-')}.onnx"
    try:
        with torch.inference_mode():
            torch.onnx.export(module, ([image],), file, dynamo=False, opset_version=17, input_names=["images"])
    except Exception as problem:  # noqa: BLE001 - whatever its exporter says: the others go on
        print(f"{name} cannot be exported: {str(problem).splitlines()[0]}", flush=True)
        return
    yield from (
        Way(name, _PEER_SIZE, engine, False, *facts, call)  # noqa: FBT003
        for engine, call in engine_calls(file, image, threads, name)
    )


def engine_calls(file: Path, image: Tensor, threads: int, name: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield calls of a foreign ONNX file on the engines that can run it."""
    for engine, start in (("ONNX Runtime", _onnxruntime), ("OpenVINO", _openvino)):
        try:
            call = start(file, image, threads)
            call()
        except Exception as problem:  # noqa: BLE001 - as above
            print(f"{name} does not run on {engine}: {str(problem).splitlines()[0][:200]}", flush=True)
            continue
        yield engine, call


def _onnxruntime(file: Path, image: Tensor, threads: int) -> Callable[[], object]:
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: image.numpy()}
    return lambda: session.run(None, inputs)


def _openvino(file: Path, image: Tensor, threads: int) -> Callable[[], object]:
    model = openvino.core().read_model(file)
    model.reshape(list(image.shape))
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.core().compile_model(model, "CPU", hints).create_infer_request()
    return lambda: request.infer([image.numpy()])


def ultralytics_ways(name: str, sizes: list[int], threads: int, place: Path) -> Iterator[Way]:
    """Yield a YOLO with suppression inside, from ultralytics' own export."""
    from ultralytics import YOLO  # type: ignore[import-not-found]

    for size in sizes:
        model = YOLO(f"{name}.yaml")
        settled(model.model, lambda: model.model(some_images(size)))  # noqa: B023 - it is called at once
        image = torch.rand(1, 3, size, size)
        facts = counted(model.model, lambda: model.model(image))  # noqa: B023 - it is called at once
        made = Path(model.export(format="onnx", imgsz=size, nms=True, conf=SCORE, verbose=False))
        file = made.rename(place / f"{name}-{size}.onnx")
        for engine, call in engine_calls(file, image, threads, name):
            yield Way(f"ultralytics {name}", size, engine, False, *facts, call)  # noqa: FBT003


def table(ways: list[Way], timings: list[Timing]) -> Iterator[str]:
    """Yield the lines of the table, fastest first; ratios are to the fastest way of another project's detector."""
    best = min((timing.median_ms for way, timing in zip(ways, timings, strict=True) if not way.ours), default=None)
    titles = [
        "detector",
        "input",
        "M params",
        "M macs",
        "engine",
        "ms (p10-p90, n)",
        "images/s",
        "times the best peer's",
    ]
    yield "| " + " | ".join(titles) + " |"
    yield "|---" * len(titles) + "|"
    for way, timing in sorted(zip(ways, timings, strict=True), key=lambda pair: pair[1].median_ms):
        cells = (
            way.name,
            way.size,
            f"{way.params / 1e6:.2f}",
            f"{way.macs / 1e6:,.0f}",
            way.engine,
            f"{timing.median_ms:.2f} ({timing.p10_ms:.2f}-{timing.p90_ms:.2f}, {timing.runs})",
            f"{1e3 / timing.median_ms:.1f}",
            f"{best / timing.median_ms:.2f}" if best else "-",
        )
        yield "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Build, export, time in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", default=",".join((*OURS, *PEERS)))
    parser.add_argument("--sizes", default="320,416")
    parser.add_argument("--rounds", type=int, default=13)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--optimize", action="store_true")
    parser.add_argument("--ultralytics", default="")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    sizes = [int(size) for size in given.sizes.split(",")]
    names: list[str] = given.detectors.split(",")
    if unknown := set(names) - {*OURS, *PEERS}:
        parser.error(f"--detectors: {', '.join(unknown)} is none of {', '.join((*OURS, *PEERS))}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        ways: list[Way] = []
        for name in names:
            if name in PEERS:
                ways += peer_ways(name, given.threads, place)
                continue
            for size in sizes:
                ways += our_ways(name, size, given.threads, place, optimize=given.optimize)
        if given.ultralytics:
            ways += ultralytics_ways(given.ultralytics, sizes, given.threads, place)
        runners: dict[str, Callable[[Tensor], Any]] = {str(i): _ignoring(way.run) for i, way in enumerate(ways)}
        timings = race(runners, torch.empty(0), rounds=given.rounds, most_seconds=given.seconds)
    print(asdict(machine()), f"{given.threads} threads, float32, one image at a time", flush=True)
    print("\n".join(table(ways, list(timings.values()))))


def _ignoring(run: Callable[[], object]) -> Callable[[Tensor], object]:
    """Return a function of an image that a race gives to all: every detector has its own."""
    return lambda _: run()


if __name__ == "__main__":
    main()
