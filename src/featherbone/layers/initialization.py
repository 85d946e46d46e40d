"""Initial weights: how the families' authors draw them. Each function sets those of a module, in place.

Biases of norms and of convolutions, and weights of norms, are as PyTorch makes them where nothing else is said.
Parameters on PyTorch's "meta" device are left alone: they hold no values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

from torch import nn

from featherbone.layers.wirings import Residual

LayerT = TypeVar("LayerT", bound=nn.Conv2d | nn.Linear | nn.BatchNorm2d)


def he_normal(module: nn.Module) -> None:
    """Set convolutions to He's normal weights by what they read (fan-in), biases of classifiers to zero.

    Source: He et al., arXiv 1502.01852, equation 10. VoVNet's and RDNet's released code have it.
    """
    for layer in _layers(module, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight)
    _zero_biases(module)


def he_normal_outputs(module: nn.Module) -> None:
    """Set convolutions to He's normal weights by what they write (fan-out), biases of classifiers to zero.

    Source: DenseNet's released code. He et al., arXiv 1502.01852, equation 14.
    """
    for layer in _layers(module, nn.Conv2d):
        writes = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels  # of all groups, as the code counts
        nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / writes))
    _zero_biases(module)


def small_classifier(module: nn.Module) -> None:
    """Set classifiers to normal weights with a standard deviation of 0.01, and their biases to zero.

    Source: ShuffleNet's and PeleeNet's released code.
    """
    for layer in _layers(module, nn.Linear):
        nn.init.normal_(layer.weight, 0.0, 0.01)
    _zero_biases(module)


def darknet_uniform(module: nn.Module) -> None:
    """Set convolutions to uniform weights between plus and minus He's standard deviation; biases to zero.

    Source: the darknet in which CSPNet was made (``make_convolutional_layer``); its classifier is a convolution, too.
    """
    for kind in (nn.Conv2d, nn.Linear):
        for layer in _layers(module, kind):
            most = math.sqrt(2 / layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -most, most)
    _zero_biases(module)


def inverse_of_inputs(module: nn.Module, stem: nn.Module) -> None:
    """Set convolutions to normal weights whose standard deviation is 1 over the channels that a group reads.

    That is 1 for a depthwise convolution. Those of the stem have 0.01, and biases of norms are 0.0001.

    Source: ShuffleNet's released code, of both versions.
    """
    for layer in _layers(module, nn.Conv2d):
        nn.init.normal_(layer.weight, 0.0, 1 / layer.weight.shape[1])
    for layer in _layers(stem, nn.Conv2d):
        nn.init.normal_(layer.weight, 0.0, 0.01)
    for norm in _layers(module, nn.BatchNorm2d):
        nn.init.constant_(norm.bias, 1e-4)


def as_pytorch(module: nn.Module) -> None:
    """Set convolutions, norms and classifiers as PyTorch makes them.

    Those of convolutions and classifiers are uniform, with a standard deviation of 1 / sqrt(3 * fan-in). torchvision's
    ShuffleNet V2 and YOLOX's released code begin so.
    """
    for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear):
        for layer in _layers(module, kind):
            layer.reset_parameters()


def zero_biases(module: nn.Module) -> None:
    """Set biases of convolutions (only gates have them) and of classifiers to zero.

    Source: timm's code, and mmengine's, in which RTMDet was made.
    """
    for layer in _layers(module, nn.Conv2d):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    _zero_biases(module)


def zero_last_norms(module: nn.Module) -> None:
    """Set the weights of every residual path's last norm to zero: at first a block gives back what it reads.

    Source: timm's code; Goyal et al., "Accurate, Large Minibatch SGD" (arXiv 1706.02677, sec. 5.1).
    """
    for part in module.modules():
        if isinstance(part, Residual):
            for last in list(_layers(part.body, nn.BatchNorm2d))[-1:]:
                nn.init.zeros_(last.weight)


def _layers(module: nn.Module, kind: type[LayerT]) -> Iterator[LayerT]:
    for layer in module.modules():
        if isinstance(layer, kind) and layer.weight is not None and not layer.weight.is_meta:
            yield layer


def _zero_biases(module: nn.Module) -> None:
    for layer in _layers(module, nn.Linear):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
