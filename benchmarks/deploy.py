"""Rewritten networks against what engines make of the peers' own models: ``python benchmarks/deploy.py``.

For every network: the peer's model (torchvision, timm, pytorchcv) on its fastest engine, and the fastest equal form
that ``fb.optimize`` finds, in one run, in turns, the same precision on both sides, threads pinned. Printed are medians
and tenths, how many times as fast ours is, and what computing and moving take at this machine's matrix and copy rates.

    --networks   some of the names below, by comma; default: all
    --batches    default: 1,16
    --precisions default: f32,bf16
    --compile    let torch.compile run for the peer too (minutes a network)
    --profile    print where OpenVINO spends its time, by class of operation, before and after
    --rounds     turns of each; default 13, with 4 timed runs a turn
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import timm
import torch
import torchvision
from pytorchcv.model_provider import get_model
from torch import Tensor, nn

import featherbone as fb
from featherbone.cost.measurement import Timing, machine, rates, usable_cores
from featherbone.cost.measurement.race import race
from featherbone.cost.measurement.setting import Precision, Setting
from featherbone.deploy import OptimizeReport
from featherbone.deploy.engines import ENGINES, QUICK
from featherbone.deploy.engines.openvino import core
from featherbone.deploy.search import Search, Subject
from featherbone.deploy.variants import PLAIN

PEERS: Mapping[str, tuple[str, Callable[[], nn.Module]]] = {
    "ShuffleNet V1 g3": ("pytorchcv", lambda: get_model("shufflenet_g3_w1")),
    "ShuffleNet V2 0.5": ("torchvision", torchvision.models.shufflenet_v2_x0_5),
    "ShuffleNet V2 1.0": ("torchvision", torchvision.models.shufflenet_v2_x1_0),
    "ShuffleNet V2 2.0": ("torchvision", torchvision.models.shufflenet_v2_x2_0),
    "PeleeNet": ("pytorchcv", lambda: get_model("peleenet")),
    "DenseNet-121": ("torchvision", torchvision.models.densenet121),
    "DenseNet-201": ("torchvision", torchvision.models.densenet201),
    "VoVNet-27-slim": ("pytorchcv", lambda: get_model("vovnet27s")),
    "VoVNet-39": ("pytorchcv", lambda: get_model("vovnet39")),
    "CSPResNet-50": ("timm", lambda: timm.create_model("cspresnet50")),
    "CSPResNeXt-50": ("timm", lambda: timm.create_model("cspresnext50")),
    "CSPDarknet-53": ("timm", lambda: timm.create_model("cspdarknet53")),
}


# the largest networks in the largest batches get fewer turns than asked for
_MOST_SECONDS = 45.0


def lively(module: nn.Module) -> nn.Module:
    """Give every batch norm statistics and gains as after training: none zero, none one."""
    generator = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            state = layer.state_dict()
            for name in ("weight", "running_var"):
                state[name].uniform_(0.5, 1.5, generator=generator)
            for name in ("bias", "running_mean"):
                state[name].normal_(0, 0.1, generator=generator)
    return module.eval()


def versus(
    search: Search, precision: Precision, engines: Sequence[str], rounds: int
) -> tuple[OptimizeReport, Timing, Timing]:
    """Search in one precision, then race the fastest of the peer's model against ours; the report and both timings."""
    here = [name for name in engines if precision in ENGINES[name].precisions()]
    ours = [name for name in here if name in QUICK]
    search.compare(
        [(name, precision, PLAIN) for name in here]
        + [(name, precision, variant) for name in ours for variant in search.subject.variants if variant.rewritten]
    )
    report = search.report(precision)
    ways = {"theirs": report.plain.way, "ours": report.chosen.way}
    runners = {name: search.runners[way] for name, way in ways.items()}
    if runners["theirs"] is runners["ours"]:
        del runners["ours"]  # nothing rewritten is faster: what we give is the peer's model on its fastest engine
    times = race(runners, search.images, rounds=rounds, most_seconds=_MOST_SECONDS)
    return report, times["theirs"], times.get("ours", times["theirs"])


def bound(module: nn.Module, batch: int, precision: Precision, threads: int) -> str:
    """Return the milliseconds of all its operations at the machine's matrix rate, and of its traffic at its copy rate.

    The first bounds the time from below. The second does where maps do not fit the caches: in small batches they do.
    """
    setting = Setting(size=(224, 224), batch=batch, precision=precision, threads=threads)
    reached = rates(setting)
    counted = fb.cost(module, 224, batch=batch)
    width = 2 if precision == "bf16" else 4
    return f"{2e3 * counted.macs / reached.flops:.2f}, {1e3 * counted.traffic_bytes * width / 4 / reached.bytes:.2f}"


def profile(graph: Any, images: Tensor, precision: str, threads: int) -> dict[str, float]:
    """Return OpenVINO's milliseconds by class of operation, the median of 40 runs."""
    import numpy as np

    model = ENGINES["openvino"].translate(graph, images)
    model.reshape(list(images.shape))  # type: ignore[attr-defined]
    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERF_COUNT": True}
    request = core().compile_model(model, "CPU", hints).create_infer_request()
    runs: dict[str, list[float]] = {}
    for number in range(50):
        request.infer([images.numpy()])
        total: dict[str, float] = {}
        for node in request.get_profiling_info():
            total[node.node_type] = total.get(node.node_type, 0.0) + node.real_time.total_seconds() * 1e3
        for name, spent in total.items() if number >= 10 else ():
            runs.setdefault(name, []).append(spent)
    medians = {name: float(np.median(values)) for name, values in runs.items()}
    return dict(sorted(((kind, ms) for kind, ms in medians.items() if ms >= 0.005), key=lambda item: -item[1]))


def spread(timing: Timing) -> str:
    """Return the median and the tenths."""
    return f"{timing.median_ms:.2f} ({timing.p10_ms:.2f}-{timing.p90_ms:.2f}, {timing.runs} runs)"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(PEERS))
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--precisions", default="f32,bf16")
    parser.add_argument("--rounds", type=int, default=13)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(asdict(machine()), f"{given.threads} threads, at 224", flush=True)
    columns = ["network", "batch", "precision", "fastest peer (ms)", "ours (ms)", "times as fast"]
    columns += ["computing, moving (ms)", "our form"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    precisions: list[Precision] = given.precisions.split(",")
    engines = [*QUICK, "compile"] if given.compile else QUICK
    for name in given.networks.split(","):
        package, build = PEERS[name]
        torch.manual_seed(0)
        module = lively(build())
        subject = Subject(module, torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)))
        for batch in map(int, given.batches.split(",")):
            search = Search(subject, batch, given.threads)
            for precision in precisions:
                report, theirs, mine = versus(search, precision, engines, given.rounds)
                cells = (
                    name,
                    batch,
                    precision,
                    f"{package} on {report.plain.engine} {spread(theirs)}",
                    spread(mine),
                    f"{theirs.median_ms / mine.median_ms:.2f}",
                    bound(module, batch, precision, given.threads),
                    f"{report.chosen.engine}, {report.chosen.variant}",
                )
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
                if given.profile:
                    for label, variant in (("before", PLAIN), ("after", report.chosen.variant)):
                        spent = profile(subject.variant(variant), search.images, precision, given.threads)
                        print(f"  {label}: " + ", ".join(f"{kind} {ms:.2f}" for kind, ms in spent.items()), flush=True)


if __name__ == "__main__":
    main()
