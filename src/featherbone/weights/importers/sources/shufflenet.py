"""ShuffleNet V1's and V2's layers in other projects.

Where a project shuffles V2 is a matter of the network's form. V1's authors shuffle by the inverse of the paper's
permutation: their weights are put in the paper's order, by following the channels of a unit through both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from featherbone.data import Preprocess
from featherbone.errors import InputError
from featherbone.models.shufflenet_v1 import ShuffleNetV1Spec
from featherbone.models.shufflenet_v2 import ShuffleNetV2Spec
from featherbone.spec import Spec
from featherbone.weights.importers.sources.source import Layer, Project, State, pairs


def _numbered(prefix: str, *numbers: int) -> Iterator[str]:
    return (f"{prefix}.{i}" for i in numbers)


def _v2(
    spec: Spec,
    *,
    stem: str,
    stage: str,
    branches: tuple[str, str],
    last: tuple[str, str],
) -> Iterator[Layer]:
    """Yield the layers of a project that numbers the parts of both branches alike."""
    assert isinstance(spec, ShuffleNetV2Spec)
    if spec.shuffle_first != (stem == "first_conv"):
        return  # the two do not read the same channels
    yield from _numbered(stem, 0, 1)
    number = 0
    for s, repeats in enumerate(spec.repeats):
        for unit in range(repeats):
            where = stage.format(s=s + 2, u=unit, n=number)
            if not unit:
                yield from _numbered(f"{where}.{branches[0]}", 0, 1, 2, 3)
            yield from _numbered(f"{where}.{branches[1]}", 0, 1, 3, 4, 5, 6)
            number += 1
    yield from _numbered(last[0], 0, 1)
    yield last[1]


_torchvision = partial(_v2, stem="conv1", stage="stage{s}.{u}", branches=("branch1", "branch2"), last=("conv5", "fc"))
_megvii_v2 = partial(
    _v2,
    stem="first_conv",
    stage="features.{n}",
    branches=("branch_proj", "branch_main"),
    last=("conv_last", "classifier.0"),
)


_megvii_v2_stages = partial(_megvii_v2, stage="stage{s}.{u}")


def _pytorchcv_v2b(spec: Spec) -> Iterator[Layer]:
    """Yield the layers of its "2b" networks; those without the b have another pool, so they are no form of ours."""
    assert isinstance(spec, ShuffleNetV2Spec)
    if spec.shuffle_first:
        return
    yield from pairs("features.init_block.conv.")
    for s, repeats in enumerate(spec.repeats, 1):
        for unit in range(1, repeats + 1):
            where = f"features.stage{s}.unit{unit}"
            shortcut = () if unit > 1 else (f"{where}.shortcut_dconv.", f"{where}.shortcut_conv.")
            yield from pairs(*shortcut, f"{where}.conv1.", f"{where}.dconv.", f"{where}.conv2.")
    yield from pairs("features.final_block.")
    yield "output"


def _megvii_v1(spec: Spec) -> Iterator[Layer]:
    assert isinstance(spec, ShuffleNetV1Spec)
    yield from _numbered("first_conv", 0, 1)
    for unit in range(sum(spec.repeats)):
        yield from _numbered(f"features.{unit}.branch_main_1", 0, 1, 3, 4)
        yield from _numbered(f"features.{unit}.branch_main_2", 0, 1)
    yield "classifier.0"


def _pytorchcv_v1(spec: Spec) -> Iterator[Layer]:
    assert isinstance(spec, ShuffleNetV1Spec)
    yield from pairs("features.init_block.")
    for s, repeats in enumerate(spec.repeats, 1):
        for unit in range(1, repeats + 1):
            parts = ("compress_conv1", "compress_bn1", "dw_conv2", "dw_bn2", "expand_conv3", "expand_bn3")
            yield from (f"features.stage{s}.unit{unit}.{part}" for part in parts)
    yield "output"


def _permute_v1(spec: Spec, state: State) -> State:
    """Reorder the channels inside every unit from Megvii's shuffle, (C / g, g) transposed, to that of the row."""
    assert isinstance(spec, ShuffleNetV1Spec)
    state, g = dict(state), spec.groups
    pooled = spec.first_stride == 2  # then the pool is a stage, otherwise the beginning of one
    for s, repeats in enumerate(spec.repeats):
        for unit in range(repeats):
            stage, first = f"stages.{s + pooled}", "0.0" if s or pooled else "0.1.0"
            where = f"{stage}.1.0.{2 * unit - 2}.body" if unit else f"{stage}.{first}.branches.1"
            width = state[f"{where}.0.0.weight"].shape[0]
            size = width // g
            theirs = [i for k in range(g) for i in range(k, width, g)]
            ours = theirs if spec.inverse_shuffle else [k * size + i for i in range(size) for k in range(g)]
            blocks = [(ours[j : j + size], theirs[j : j + size]) for j in range(0, width, size)]
            order = _match(blocks, width if unit == s == 0 else size)  # the very first convolution is not grouped
            _reorder(state, f"{where}.0", [order[i] for i in range(width)])
            # the depthwise convolution stands before Megvii's shuffle and after ours
            _reorder(state, f"{where}.2", [order[channel] for channel in ours])
            last = f"{where}.3.0.weight"
            state[last] = torch.cat(
                [
                    rows[:, [block_theirs.index(order[channel]) for channel in block_ours]]
                    for rows, (block_ours, block_theirs) in zip(state[last].chunk(g), blocks, strict=True)
                ]
            )
    return state


def _match(reads: Sequence[tuple[list[int], list[int]]], group: int) -> dict[int, int]:
    """Pair the channels that are made in the same group, and read by the same, in both wirings: ours to theirs.

    Raises:
        InputError: if the two wirings do not read equally many of a kind.
    """
    kinds: tuple[dict[tuple[int, int], list[int]], ...] = (defaultdict(list), defaultdict(list))
    for reader, both in enumerate(reads):
        for kind, channels in zip(kinds, both, strict=True):
            for channel in sorted(channels):
                kind[channel // group, reader].append(channel)
    ours, theirs = kinds
    if {k: len(v) for k, v in ours.items()} != {k: len(v) for k, v in theirs.items()}:
        raise InputError("these widths do not let the channels of the authors' shuffle be put in the paper's order")
    return {mine: other for kind, channels in ours.items() for mine, other in zip(channels, theirs[kind], strict=True)}


def _reorder(state: State, where: str, index: list[int]) -> None:
    """Reorder the outputs of a convolution and its norm."""
    for name in ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
        state[f"{where}.{name}"] = state[f"{where}.{name}"][index]


_BLUE_FIRST = Preprocess(size=224, mean=(0.0,) * 3, std=(1 / 255,) * 3, crop=0.875, bgr=True)  # 0 to 255
_BLUE_FIRST_UNIT = Preprocess(size=224, mean=(0.0,) * 3, std=(1.0,) * 3, bgr=True)
_NANODET = Preprocess(
    size=320,
    mean=(103.53 / 255, 116.28 / 255, 123.675 / 255),
    std=(57.375 / 255, 57.12 / 255, 58.395 / 255),
    bgr=True,
)
SHUFFLENET_V1 = (
    Project(
        "megvii-model/ShuffleNet-Series",
        _megvii_v1,
        permute=_permute_v1,
        reordered="channels were put in the order of the paper's shuffle",
        preprocess=_BLUE_FIRST,
        either=("inverse_shuffle",),  # where channels cannot be put in the paper's order
        always={"shortcut_first": True, "partial_ratio": 0.0},
    ),
    # its channels stand in another order than the paper's, which groups do not let permute
    Project(
        "pytorchcv", _pytorchcv_v1, always={"shortcut_first": False, "inverse_shuffle": False, "partial_ratio": 0.0}
    ),
)
_ALWAYS: Mapping[str, Any] = {
    "residual": False,
    "se": False,
    "extra_depthwise": False,
    "negative_slope": 0.0,
    "partial_ratio": 0.0,
}
SHUFFLENET_V2 = (
    # NanoDet has torchvision's names and leaky activations
    Project("RangiLyu/nanodet", _torchvision, preprocess=_NANODET, always={**_ALWAYS, "negative_slope": 0.1}),
    Project("torchvision", _torchvision, always=_ALWAYS),
    Project("megvii-model/ShuffleNet-Series", _megvii_v2, preprocess=_BLUE_FIRST, always=_ALWAYS),
    Project("dog-qiuqiu/FastestDet", _megvii_v2_stages, preprocess=_BLUE_FIRST_UNIT, always=_ALWAYS),
    Project("pytorchcv (shufflenetv2b)", _pytorchcv_v2b, always=_ALWAYS),
)
