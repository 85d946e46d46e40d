"""ResNet's and ResNeXt's layers in other projects."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from featherbone.data import Preprocess
from featherbone.models.resnet import ResNetSpec
from featherbone.spec import Spec
from featherbone.weights.importers.sources.source import Layer, LayerMapping, Project


def _torchvision(spec: Spec) -> Iterator[Layer]:
    """Yield the layers under the names that the authors' code, torchvision and timm have in common."""
    assert isinstance(spec, ResNetSpec)
    yield from ("conv1", "bn1")
    c = spec.stem_channels
    for s, (depth, c_out) in enumerate(zip(spec.depths, spec.out_channels, strict=True), 1):
        for block in range(depth):
            where = f"layer{s}.{block}"
            yield from (f"{where}.{part}{number}" for number in (1, 2, 3) for part in ("conv", "bn"))
            if not block and (c != c_out or s > 1):
                yield from (f"{where}.downsample.0", f"{where}.downsample.1")
        c = c_out
    yield "fc"


def _darknet(spec: Spec) -> Iterator[Layer]:
    """Yield the convolutions as the configuration file numbers them."""
    assert isinstance(spec, ResNetSpec)
    number = count()
    for _ in range(1 + 3 * sum(spec.depths)):
        name = f"convolution{next(number)}"
        yield from (f"{name}.conv", f"{name}.bn")
    yield LayerMapping((f"convolution{next(number)}.conv",), change=lambda weight: weight.flatten(1))


RESNET = (
    Project(
        "torchvision or timm",
        _torchvision,
        always={"shortcut": "projection", "pool_kernel": 3, "negative_slope": 0.0, "partial_ratio": 0.0},
    ),
    Project(
        "darknet",
        _darknet,
        preprocess=Preprocess(size=256, mean=(0.0,) * 3, std=(1.0,) * 3),
        always={"shortcut": "padded", "pool_kernel": 2, "negative_slope": 0.1, "partial_ratio": 0.0},
    ),
)
