"""Networks side by side: what they cost on paper, and what they take on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from torch import nn

from featherbone.cost import Cost, cost, roofline
from featherbone.cost.comparison import Comparison, ComparisonGroup, Entry
from featherbone.cost.measurement import (
    Energy,
    Rates,
    Timing,
    energy,
    machine,
    measure,
    measured_peak,
    rates,
    usable_cores,
)
from featherbone.cost.measurement.setting import Precision, Setting
from featherbone.detect.detector import Detector
from featherbone.errors import InputError, check_type
from featherbone.files import AnyPath, check_replaceable, write_text
from featherbone.graph import copy_network, image_channels
from featherbone.report.pages.comparison import comparison_html
from featherbone.spec import Backbone
from featherbone.weights.open import AnyNetwork, open_module

# each family once (PeleeNet with and without CSP): common networks, equal in neither size nor accuracy
ONE_OF_EACH = (
    "densenet121",
    "peleenet",
    "csppeleenet",
    "cspresnet50",
    "cspdarknet53",
    "vovnet27_slim",
    "vovnet_v2_19_slim",
    "shufflenet_v1_g3_x1_0",
    "shufflenet_v2_x1_0",
    "rdnet_tiny",
)

_SIZE = 224


def compare(
    networks: AnyPath | Iterable[AnyPath] | Mapping[str, AnyNetwork] | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    batches: Sequence[int] = (1,),
    device: str = "cpu",
    precision: Precision = "f32",
    threads: int | None = None,
    channels_last: bool = True,
    rounds: int = 30,
    progress: Callable[[float], None] = lambda _: None,
) -> Comparison:
    """Work out what networks cost, and measure them side by side on this machine.

    Args:
        networks: names, runs or weight files, or one of them; or these, rows and any modules by a name that you give;
            default: one network of each family.
        size: side of the images in pixels, or (height, width); default: the one that all are
            published for, else 224.
        batches: images at a time; every one is a group of its own.
        device: "cpu", "cuda" or "mps".
        precision: "f32", "bf16" or "f16".
        threads: of the processor; default: the cores this process may use.
        channels_last: memory order.
        rounds: how often each network runs, in turn with the others.
        progress: called with the share that is done.

    Raises:
        InputError: if a network is unknown or does not run under the setting.
    """
    networks = ONE_OF_EACH if networks is None else networks
    modules = _by_name(networks)
    if not modules or not batches:
        raise InputError("networks and batches are not allowed to be empty")
    size = _usual(modules) if size is None else size
    settings = [
        Setting(
            size=(size, size) if isinstance(size, int) else size,
            batch=batch,
            device=device,
            precision=precision,
            threads=threads if threads is not None else usable_cores(),
            channels_last=channels_last,
        )
        for batch in batches
    ]
    groups = [
        _group(modules, setting, rounds, partial(_tell, progress, number, len(settings)))
        for number, setting in enumerate(settings)
    ]
    return Comparison(machine(device), tuple(groups))


def _by_name(networks: AnyPath | Iterable[AnyPath] | Mapping[str, AnyNetwork]) -> dict[str, nn.Module]:
    """Return the networks that were asked for.

    Raises:
        InputError: if one is unknown, or has no name.
    """
    allowed = "names, runs or weight files; give others a name, networks={'mine': module}"
    if isinstance(networks, Mapping):
        return {name: open_module(network) for name, network in networks.items()}
    given = [networks] if isinstance(networks, str | os.PathLike) else networks
    check_type("networks", given, Iterable, allowed)
    if isinstance(given, bytes | nn.Module):
        check_type("networks", given, str, allowed)
    found = {}
    for network in given:
        check_type("networks", network, (str, os.PathLike), allowed)
        found[os.fspath(network)] = open_module(network)
    return found


def _usual(modules: Mapping[str, nn.Module]) -> int:
    """Return the size that all of them are published for; 224 if they differ or it is not known."""
    sizes = {one.spec.usual_size if isinstance(one, Backbone | Detector) else _SIZE for one in modules.values()}
    return sizes.pop() if len(sizes) == 1 else _SIZE


def comparison_page(comparison: Comparison, path: AnyPath, *, caption: str = "", overwrite: bool = False) -> None:
    """Write the page of a comparison: one file with plots and a table that works offline.

    Args:
        comparison: what ``compare`` returned.
        path: the file.
        caption: a line below the title, for example the command that made the page.
        overwrite: replace a file that featherbone did not make.

    Raises:
        InputError: if the plotting library is missing or the file cannot be written.
    """
    check_type("comparison", comparison, Comparison, "what compare returned")
    check_replaceable("path", path, overwrite=overwrite)
    write_text(path, comparison_html(comparison.to_dict(), caption=caption))


def _tell(progress: Callable[[float], None], number: int, of: int, done: float) -> None:
    progress((number + done) / of)


def _group(
    modules: Mapping[str, nn.Module],
    setting: Setting,
    rounds: int,
    progress: Callable[[float], None],
) -> ComparisonGroup:
    # copies, so that nobody's network changes its precision; costs are those of the precision it runs in
    ready = {name: setting.prepared(copy_network(module)) for name, module in modules.items()}
    channels = {name: image_channels(module) for name, module in ready.items()}
    costs = {
        name: cost(module, setting.size, batch=setting.batch, in_chans=channels[name]) for name, module in ready.items()
    }
    reached = rates(setting)
    timings = measure(
        ready, setting, channels=channels, rounds=rounds, between=lambda done: progress((done + 1) / (rounds + 3))
    )
    entries = []
    for name, module in ready.items():
        run = partial(module, setting.image(channels[name]))
        with setting.pinned():
            peak, used = measured_peak(run, setting), energy(run, setting)
        entries.append(_entry(name, costs[name], timings[name], used, peak, reached))
    progress(1.0)
    return ComparisonGroup(setting, reached, tuple(sorted(entries, key=lambda entry: entry.timing.median_ms)))


def _entry(name: str, counted: Cost, timing: Timing, used: Energy, peak: int | None, reached: Rates) -> Entry:
    layers = [(row.name, row.macs, row.traffic_bytes) for row in counted.by("layer")]
    bounds = roofline(counted, reached)
    total = sum(bound.bound_ms for bound in bounds)
    waiting = sum(bound.bound_ms for bound in bounds if bound.binds == "memory")
    return Entry(
        name=os.fspath(name),
        params=counted.params,
        macs=counted.macs,
        traffic_bytes=counted.traffic_bytes,
        cio=counted.cio,
        activations=counted.activations,
        peak_bytes=counted.peak_bytes,
        measured_peak_bytes=peak,
        bound_ms=total,
        memory_bound=waiting / total if total else 0.0,
        timing=timing,
        energy=used,
        stages=tuple((row.name, row.params, row.macs, row.traffic_bytes) for row in counted.by("stage")),
        layers=tuple(layers),
    )
