"""The families that every test of what all can do goes through."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import pytest

import featherbone as fb

# the smallest of each family, of each form of its wiring
FAMILIES = (
    "densenet121",
    "densenet_bc100_k12_cifar",
    "cspdensenet121",
    "densenetblur121d.timm",
    "peleenet",
    "csppeleenet_last",
    "cspresnet50",
    "cspresnext50.timm",
    "cspdarknet53",
    "darknet53",
    "resnet50",
    "resnext50.darknet",
    "darknetaa53.timm",
    "cspdarknet_nano.yolox",
    "cs3darknet_s.timm",
    "cs3darknet_focus_s.timm",
    "cs3se_edgenet_x.timm",
    "cspnext_tiny.timm",
    "vovnet27_slim",
    "vovnet_v2_19_slim_dw",
    "vovnet_v2_39.timm",
    "cspvovnet39",
    "shufflenet_v1_g3_x0_5",
    "shufflenet_v1_g8_x0_25",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x0_5_star",
    "shufflenet_v2_50",
    "cspshufflenet_v2_x1_0",
    "rdnet_tiny",
)


# one of each wiring: where whole programs are made of networks, which takes seconds for each
BRIEF = (
    "csppeleenet_last",
    "vovnet_v2_19_slim_dw",
    "shufflenet_v1_g3_x0_5",
    "shufflenet_v2_x0_5",
)


SHUFFLED: dict[str, Any] = {"repeats": (2, 3, 2)}


def thin(name: str, **columns: object) -> fb.Spec:
    """Return a row with few layers, so that a test of the wiring is quick."""
    row = fb.spec(name)
    shorter: dict[str, dict[str, Any]] = {
        "densenet121": {"layers": (2, 2, 2, 2)},
        "densenet_bc100_k12_cifar": {"layers": (3, 3, 3)},
        "cspdensenet121": {"layers": (2, 2, 2, 2)},
        "densenetblur121d.timm": {"layers": (2, 2, 2, 2)},
        "rdnet_tiny": {"growth_rates": (8, 8, 8, 16), "shrinks": (True, True, True), "stem_channels": 16},
        "cspresnet50": {"depths": (1, 2, 1, 1)},
        "cspresnext50.timm": {"depths": (1, 1, 2, 1)},
        "cspdarknet53": {"depths": (1, 1, 1, 1, 1)},
        "darknet53": {"depths": (1, 1, 1, 1, 1)},
        "resnet50": {"depths": (1, 2, 1, 1)},
        "resnext50.darknet": {"depths": (2, 1, 1, 1)},
        "darknetaa53.timm": {"depths": (1, 1, 1, 1, 1)},
        "cs3darknet_s.timm": {"depths": (1, 2, 1, 1)},
        "cs3darknet_focus_s.timm": {"depths": (1, 2, 1, 1)},
        "cs3se_edgenet_x.timm": {
            "depths": (1, 2, 1, 1),
            "stem_channels": (16, 32),
            "out_channels": (64, 128, 192, 256),
        },
        "shufflenet_v2_50": {"repeats": (2, 2, 2, 2)},
        "peleenet": {"layers": (1, 2, 1, 1)},
        "csppeleenet_last": {"layers": (1, 2, 1, 1)},
        "vovnet_v2_39.timm": {"modules": (1, 1, 2, 1), "layers": 3},
        "cspvovnet39": {"modules": (1, 1, 2, 1), "layers": 3},
        **dict.fromkeys((name for name in FAMILIES if "shufflenet" in name and "_50" not in name), SHUFFLED),
    }
    wanted: dict[str, Any] = {**shorter.get(name, {}), **columns}
    return replace(row, **wanted)


def tiny(**columns: object) -> fb.Backbone:
    """Return a ShuffleNet V2 of four units: for tests of what happens to a network, whichever it is."""
    return thin("shufflenet_v2_x0_5", repeats=(1, 2, 1), **columns).build()


def slow_but(names: Iterable[object], quick: Collection[object]) -> list[Any]:
    """Return names or other values to parametrize over, all but the quick ones marked slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


# one network of every family, the cheapest
SMALL = (
    "densenet121",
    "peleenet",
    "vovnet27_slim",
    "vovnet_v2_39",
    "shufflenet_v1_g3_x0_5",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0.tv",
    "cspresnet50",
    "cspdarknet53",
    "cspdarknet_nano.yolox",
    "cs3darknet_s.timm",
    "cspnext_tiny.timm",
    "rdnet_tiny",
)

# of these, where a sweep over all is left to the slow tests
FEW = ("peleenet", "vovnet27_slim", "shufflenet_v1_g3_x0_5", "shufflenet_v2_x0_5")
