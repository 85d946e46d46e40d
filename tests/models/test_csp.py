"""What CSPNet's wiring saves, and the reading of its paper that the reconstructions take."""

import re
import runpy
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from helpers.paths import ROOT

import featherbone as fb
from featherbone.layers import Fusion

TOOL = runpy.run_path(str(ROOT / "tools" / "networks.py"))
READINGS = runpy.run_path(str(ROOT / "tools" / "csp_readings.py"))
PAIRS: list[tuple[str, str]] = TOOL["csp_pairs"]()
# as released, its shares are made by two convolutions that both read the whole map
MORE_TRAFFIC = ("cspdarknet53", "cspdarknet53.timm")
PRINTED: dict[str, tuple[float, float]] = TOOL["CSP_PRINTED"]
# how many hundredths ours may be from what the paper says is saved: its configurations of PeleeNet were not released
POINTS = {"csppeleenet": 1.0, "csppeleenet_last": 4.0, "csppeleenet_first": 8.0}


def counted(name: str | fb.Spec, size: int) -> fb.Cost:
    with torch.device("meta"):
        return fb.cost(fb.create_model(name), size)


def test_every_network_with_the_wiring_has_a_plain_partner() -> None:
    crossed = {name for name in fb.list_models() if fb.spec(name).partial_ratio}
    # nobody published those without it: timm's ResNets of this depth, and the networks that were made with it
    alone = r"cspresn(e|ex)t50\.timm|cspdarknet_\w+\.yolox|cs3\w+\.timm|cspnext_\w+\.timm"
    left = crossed - {name for name, _ in PAIRS}
    assert left == {name for name in fb.list_models() if re.fullmatch(alone, name)}
    assert len(left) == 25


@pytest.mark.parametrize(
    ("name", "plain"),
    [pytest.param(*pair, marks=[pytest.mark.slow] * bool(re.search("169|201", pair[0]))) for pair in PAIRS],
)
def test_the_wiring_costs_less_than_the_plain_network(name: str, plain: str) -> None:
    size = fb.spec(name).usual_size
    ours, theirs = counted(name, size), counted(plain, size)
    assert ours.macs < 0.95 * theirs.macs
    assert (ours.cio < 0.98 * theirs.cio) is (name not in MORE_TRAFFIC)
    assert (ours.traffic_bytes < 0.99 * theirs.traffic_bytes) is (name not in MORE_TRAFFIC)
    if name in PRINTED:
        saved, said = ours.macs / theirs.macs - 1, PRINTED[name][0] / PRINTED[name][1] - 1
        assert abs(saved - said) * 100 <= POINTS.get(name, 0.1)


@pytest.mark.parametrize("fusion", get_args(Fusion))
def test_the_reconstruction_is_the_reading_that_the_table_marks(fusion: Any) -> None:
    """Counted from PeleeNet's table alone, and by the network that is built."""
    reading = READINGS["Reading"]()
    for share in READINGS["SHARES"]:
        built = counted(replace(fb.spec("csppeleenet"), partial_ratio=share, fusion=fusion), 224)
        assert (2 * built.macs / 1e9, built.params) == READINGS["cost"](reading, fusion, share)


def test_the_order_of_the_fusions_is_the_papers() -> None:
    costs = [counted(f"csppeleenet{suffix}", 224).macs for suffix in ("_first", "_last", "")]
    assert costs == sorted(costs)
    assert costs[-1] < counted("peleenet", 224).macs


def test_the_plain_partners_have_the_traffic_that_cspnet_starts_from() -> None:
    """34.41 and 32.64 million elements for ResNeXt-50 at 256, with and without the wiring (sec. 3, CIO)."""
    assert counted("resnext50.darknet", 256).cio == 34_411_496
    assert counted("cspresnext50", 256).cio == 32_642_024
    assert counted("resnet50.darknet", 256).cio == 25_826_280


def test_a_pool_stands_before_the_transition_after() -> None:
    network = fb.create_model("csppeleenet")
    for before, stage in zip(network.channels[1:], network.stages[1:], strict=False):
        pool, transition = list(stage.children())[:2]
        assert isinstance(pool, torch.nn.AvgPool2d)
        first = next(part for part in transition.modules() if isinstance(part, torch.nn.Conv2d))
        assert (first.in_channels, first.kernel_size) == (before, (1, 1))


@pytest.mark.parametrize("fusion", ["both", "last"])
def test_a_share_that_leaves_the_body_nothing_to_make_is_refused(fusion: Any) -> None:
    """VoVNet's modules make what the share that walks round leaves of a stage's channels."""
    row = replace(fb.spec("cspvovnet39"), partial_ratio=0.75, fusion=fusion, concat_channels=(96, 512, 768, 1024))  # type: ignore[call-arg]
    with pytest.raises(
        fb.InputError, match=r"partial_ratio=0\.75 is not allowed: 1 to 95 of this stage's 128 channels"
    ):
        row.build_empty()
