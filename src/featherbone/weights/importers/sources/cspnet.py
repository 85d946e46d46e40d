"""CSPNet's, Darknet's, YOLOX's and RDNet's layers in other projects."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count

import torch
from torch import Tensor

from featherbone.data import Preprocess
from featherbone.models.cspnet import CSPDarknetSpec, CSPResNetSpec
from featherbone.models.rdnet import RDNetSpec
from featherbone.models.yolox import YOLOXDarknetSpec
from featherbone.spec import Spec
from featherbone.weights.importers.sources.source import Layer, LayerMapping, Project, pairs


def _timm(spec: Spec) -> Iterator[Layer]:
    assert isinstance(spec, CSPResNetSpec | CSPDarknetSpec)
    if spec.partial_ratio and spec.two_convolutions:
        return
    convolutions = (1, 2, 3) if isinstance(spec, CSPResNetSpec) else (1, 2)
    yield from pairs("stem.conv1.")
    for s, depth in enumerate(spec.depths):
        stage = f"stages.{s}"
        if s or isinstance(spec, CSPDarknetSpec):
            after_mean = isinstance(spec, CSPDarknetSpec) and spec.down_kernel == 1
            yield from pairs(f"{stage}.conv_down.{'1.' if after_mean else ''}")
        if spec.partial_ratio:
            yield from pairs(f"{stage}.conv_exp.")
        for block in range(depth):
            yield from pairs(*(f"{stage}.blocks.{block}.conv{i}." for i in convolutions))
        if spec.partial_ratio:
            yield from pairs(f"{stage}.conv_transition_b.", f"{stage}.conv_transition.")
    yield "head.fc"


def _pytorchcv_darknet(spec: Spec) -> Iterator[Layer]:
    assert isinstance(spec, CSPDarknetSpec)
    yield from pairs("features.init_block.")
    for s, depth in enumerate(spec.depths, 1):
        yield from pairs(f"features.stage{s}.unit1.")
        for unit in range(2, depth + 2):
            yield from pairs(f"features.stage{s}.unit{unit}.conv1.", f"features.stage{s}.unit{unit}.conv2.")
    yield "output"


def _darknet(spec: Spec) -> Iterator[Layer]:
    """Yield the convolutions as the configuration file numbers them: bypass, body and both transitions in this order.

    The file concatenates the body first.
    """
    assert isinstance(spec, CSPResNetSpec | CSPDarknetSpec)
    if spec.partial_ratio and not spec.two_convolutions:
        return  # another form, with another leak
    number = count()

    def layers(convolutions: int = 1, swaps: int = 0) -> Iterator[Layer]:
        for _ in range(convolutions):
            name = f"convolution{next(number)}"
            yield from (LayerMapping((f"{name}.conv",), swaps=swaps), f"{name}.bn")

    yield from layers()
    for s, depth in enumerate(spec.depths):
        split = spec.split_channels[s]
        if s or isinstance(spec, CSPDarknetSpec):
            yield from layers()
        if spec.partial_ratio:
            yield from layers(2)
        yield from layers(depth * (3 if isinstance(spec, CSPResNetSpec) else 2))
        if spec.partial_ratio:
            yield from layers()
            yield from layers(swaps=split - round(split * spec.partial_ratio))
    yield LayerMapping((f"convolution{next(number)}.conv",), change=lambda weight: weight.flatten(1))


def _yolox(spec: Spec) -> Iterator[Layer]:
    """Yield the layers of ``CSPDarknet``; its body is "conv1", its bypass "conv2", and the body comes first."""
    assert isinstance(spec, YOLOXDarknetSpec)

    def spatial(where: str) -> Iterator[Layer]:
        yield from pairs(*([f"{where}.dconv.", f"{where}.pconv."] if spec.depthwise else [f"{where}."]))

    yield LayerMapping(("stem.conv.conv",), change=_unfold)
    yield "stem.conv.bn"
    for s, depth in enumerate(spec.depths):
        last = s == len(spec.depths) - 1
        stage, half = f"dark{s + 2}", spec.stem_channels * 2**s
        yield from spatial(f"{stage}.0")
        if last:
            yield from pairs(f"{stage}.1.conv1.", f"{stage}.1.conv2.")
        cross = f"{stage}.{2 if last else 1}"
        for part in ("conv", "bn"):
            yield LayerMapping((f"{cross}.conv2.{part}", f"{cross}.conv1.{part}"))
        for block in range(depth):
            yield from pairs(f"{cross}.m.{block}.conv1.")
            yield from spatial(f"{cross}.m.{block}.conv2")
        yield LayerMapping((f"{cross}.conv3.conv",), swaps=half)
        yield f"{cross}.conv3.bn"
    yield "no classifier"


def _unfold(weight: Tensor) -> Tensor:
    """Return the 6x6 convolution that a 3x3 one over 2x2 pixels folded into channels is.

    The four quarters are, in this order: upper left, lower left, upper right, lower right.
    """
    c_out, folded = weight.shape[:2]
    quarters = weight.view(c_out, 2, 2, folded // 4, 3, 3)  # (out, column, row, in, y, x)
    whole = quarters.permute(0, 3, 4, 2, 5, 1).reshape(c_out, folded // 4, 6, 6)
    return torch.as_tensor(whole)


def _rdnet(spec: Spec) -> Iterator[Layer]:
    assert isinstance(spec, RDNetSpec)
    yield from ("stem.0", "stem.1")
    for b in range(len(spec.growth_rates)):
        stage = f"dense_stages.{b}"
        if b:
            yield from (f"{stage}.0", f"{stage}.1")
        for i in range(spec.layers):
            layer = f"{stage}.{2 if b else 0}.dense_block{i}"
            yield from (f"{layer}.layers.layers.{part}" for part in (0, 1, 2, 4))
            if b >= spec.plain_blocks:
                yield f"{layer}.layers.layers.5.fc"
            yield LayerMapping((f"{layer}.gamma",), change=lambda gamma: gamma.view(-1, 1, 1))
    yield from ("head.norm", "head.fc")


# blue first, 0 to 255
_YOLOX_PIXELS = Preprocess(size=416, mean=(0.0,) * 3, std=(1 / 255,) * 3, bgr=True)
_DARKNET_PIXELS = Preprocess(size=256, mean=(0.0,) * 3, std=(1.0,) * 3)
_DARKNET = partial(Project, "darknet", _darknet, preprocess=_DARKNET_PIXELS)
CSPRESNET = (
    Project("timm", _timm, always={"negative_slope": 0.01, "pool_kernel": 3, "split_activation": False}),
    _DARKNET(always={"negative_slope": 0.1, "pool_kernel": 2}),
)
_LEAK = {"negative_slope": 0.1, "split_activation": True}
CSPDARKNET = (
    Project("timm", _timm, always={**_LEAK, "negative_slope": 0.01}),
    _DARKNET(always=_LEAK),
    Project("pytorchcv", _pytorchcv_darknet, always={**_LEAK, "partial_ratio": 0.0}),
)
YOLOX = (Project("Megvii-BaseDetection/YOLOX", _yolox, norm_eps=1e-3, preprocess=_YOLOX_PIXELS),)
# the authors' file nests the stem once more
RDNET = (Project("timm or naver-ai/rdnet", _rdnet, rename=lambda name: name.replace("stem.stem.", "stem.")),)
