"""DenseNet's and PeleeNet's layers in other projects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import count

from featherbone.models.densenet import DenseNetSpec
from featherbone.models.peleenet import PeleeNetSpec
from featherbone.spec import Spec
from featherbone.weights.importers.sources.source import Layer, LayerMapping, Project, State, pairs


def _densenet(
    spec: Spec,
    *,
    stem: tuple[str, str],
    block: str,
    layer: str,
    parts: tuple[str, ...],
    transition: tuple[str, str],
    last: tuple[str, str],
    first_layer: int = 1,
) -> Iterator[Layer]:
    """Yield the layers of a project that follows the paper's outline; ``{b}`` is a block, ``{l}`` a layer.

    Of the stem ``{i}`` is a convolution, where the project has stems of several.
    """
    assert isinstance(spec, DenseNetSpec)
    convolutions = [tuple(part.format(i=i) for part in stem) for i in range(len(spec.deep_stem) + 1)]
    if len(set(convolutions)) < len(convolutions):
        return
    *before, last_of_stem = convolutions
    for names in before:
        yield from names
    yield from last_of_stem if spec.stem_norm else last_of_stem[:1]
    for b, layers in enumerate(spec.layers, 1):
        if b > 1:
            yield from (part.format(b=b - 1, after=b) for part in transition)
        for i in range(first_layer, first_layer + layers):
            for part in parts if spec.bottleneck else parts[:2]:
                yield f"{block.format(b=b)}.{layer.format(l=i)}.{part}"
    yield from last


_torchvision = partial(
    _densenet,
    stem=("features.conv{i}", "features.norm{i}"),
    block="features.denseblock{b}",
    layer="denselayer{l}",
    parts=("norm1", "conv1", "norm2", "conv2"),
    transition=("features.transition{b}.norm", "features.transition{b}.conv"),
    last=("features.norm5", "classifier"),
)
_gpleiss = partial(_torchvision, last=("features.norm_final", "classifier"))
_listed = partial(
    _torchvision,
    stem=("features.0", "features.1"),
    layer="layers.{l}",
    parts=("bn1", "conv1", "bn2", "conv2"),
    transition=("features.transition{b}.bn", "features.transition{b}.conv"),
    first_layer=0,
)


def _pytorchcv(spec: Spec) -> Iterator[Layer]:
    assert isinstance(spec, DenseNetSpec)
    init = "features.init_block"
    return _densenet(
        spec,
        stem=(f"{init}.conv", f"{init}.bn") if spec.stem_norm else (init, ""),
        block="features.stage{b}",
        layer="unit{l}",
        parts=("conv1.bn", "conv1.conv", "conv2.bn", "conv2.conv") if spec.bottleneck else ("conv.bn", "conv.conv"),
        transition=("features.stage{after}.trans{after}.conv.bn", "features.stage{after}.trans{after}.conv.conv"),
        last=("features.post_activ.bn", "output"),
    )


_kuangliu = partial(
    _densenet,
    stem=("conv1", "no norm"),
    block="dense{b}",
    layer="{l}",
    parts=("bn1", "conv1", "bn2", "conv2"),
    transition=("trans{b}.bn", "trans{b}.conv"),
    last=("bn", "linear"),
    first_layer=0,
)


def _new_channels_first(spec: Spec, state: State) -> State:
    """Reorder what reads a block's maps, from those of the newest layer first to those of the newest layer last."""
    assert isinstance(spec, DenseNetSpec)
    state, k, c = dict(state), spec.growth_rate, spec.stem_channels
    layers = iter([name for name, part in spec.build_empty().named_modules() if [*part.parameters(recurse=False)]])
    next(layers)  # the first convolution

    def reorder(made: int) -> None:
        """Reorder a norm, and the convolution or classifier after it, that read ``made`` layers and what came in."""
        new = [(made - 1 - i) * k + channel for i in range(made) for channel in range(k)]
        order = [made * k + channel for channel in range(c)] + new
        norm, reader = next(layers), f"{next(layers)}.weight"
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{tensor}"] = state[f"{norm}.{tensor}"][order]
        if reader in state:
            state[reader] = state[reader][:, order]

    for depth in spec.layers:
        for made in range(depth):
            reorder(made)
            if spec.bottleneck:
                next(layers)
                next(layers)
        reorder(depth)  # the transition, or the last norm and the classifier
        c = int((c + depth * k) * spec.compression)
    return state


def _old_torchvision(name: str) -> str:
    # files of 2017 say norm.1 and conv.2, which newer module names may not
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name)


def _peleenet(spec: Spec) -> Iterator[Layer]:
    assert isinstance(spec, PeleeNetSpec)
    named = partial(pairs, norm="norm")
    yield from named(*(f"features.stemblock.{part}." for part in ("stem1", "stem2a", "stem2b", "stem3")))
    for b, layers in enumerate(spec.layers, 1):
        for i in range(1, layers + 1):
            ways = ("1a", "1b", "2a", "2b", "2c")
            yield from named(*(f"features.denseblock{b}.denselayer{i}.branch{way}." for way in ways))
        yield from named(f"features.transition{b}.")
    yield "classifier"


def _pytorchcv_peleenet(spec: Spec) -> Iterator[Layer]:
    assert isinstance(spec, PeleeNetSpec)
    init = "features.init_block"
    yield from pairs(f"{init}.first_conv.", f"{init}.branches.branch1.conv1.", f"{init}.branches.branch1.conv2.")
    # it concatenates the pool after the convolutions
    yield LayerMapping((f"{init}.last_conv.conv",), swaps=spec.stem_channels)
    yield f"{init}.last_conv.bn"
    for b, layers in zip(count(1), spec.layers, strict=False):
        for i in range(1, layers + 1):
            unit = f"features.stage{b}.unit{i}"
            yield from pairs(
                *(f"{unit}.branch1.conv{n}." for n in (1, 2)), *(f"{unit}.branch2.conv{n}." for n in (1, 2, 3))
            )
        last = b == len(spec.layers)
        yield from pairs("features.final_block." if last else f"features.stage{b + 1}.trans{b + 1}.conv.")
    yield "output.fc"


_SMALL = {"stem_norm": False, "partial_ratio": 0.0}
_EITHER = ("stem_norm",)  # with a small stem, many ports norm after the first convolution and the paper does not
DENSENET = (
    Project("torchvision or timm", _torchvision, rename=_old_torchvision, either=_EITHER),
    Project("gpleiss/efficient_densenet_pytorch", _gpleiss, either=_EITHER),
    Project("numbered layers", _listed, either=_EITHER),
    Project("pytorchcv", _pytorchcv, either=_EITHER),
    Project(
        "kuangliu/pytorch-cifar",
        _kuangliu,
        permute=_new_channels_first,
        reordered="a layer's new channels were put behind those that it read",
        either=_EITHER,
        always=_SMALL,
    ),
    # what others made of it, as the paper writes it; names and shapes are the same, so it is asked which is meant
    Project("kuangliu/pytorch-cifar with new channels last", _kuangliu, either=_EITHER, always=_SMALL),
)
_RELU = {"swish": False, "partial_ratio": 0.0}
PELEENET = (
    Project("Robert-JunWang/PeleeNet", _peleenet, always=_RELU),
    Project("pytorchcv", _pytorchcv_peleenet, always=_RELU),
)
