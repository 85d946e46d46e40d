"""Norms that were folded into convolutions know no statistics; a network that is to learn needs them.

Such a norm only adds its bias (mean 0, variance and eps make 1). That is exact until the network trains: then a norm
divides by what it measures in the batch, and every channel would change its size. Measured on images first, and its
gain and bias adapted, it computes what it did before *and* nearly that with the statistics of a batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from featherbone.data import Preprocess
from featherbone.data.image import image_mode, read_again, without_pillows_warnings
from featherbone.data.sampler import Grouped
from featherbone.data.transforms import evaluation_transform

Model = TypeVar("Model", bound=nn.Module)

_IMAGES, _BATCH = 64, 16  # a map of 13 x 13 has 10,000 values a channel


def without_statistics(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the norms that only add their bias; a fresh one's variance is 1, which with eps is more."""
    return [part for part in model.modules() if isinstance(part, nn.BatchNorm2d) and _only_adds(part)]


@torch.no_grad()
def measured(model: Model, batches: Iterable[Tensor]) -> Model:
    """Return a network equal in evaluation mode, whose folded norms have the statistics of what they are given.

    Args:
        model: any network of images; as it was, if it has no such norm.
        batches: images ``(B, C, H, W)`` of the kind that it is to learn from.
    """
    if not without_statistics(model):
        return model
    training = model.training
    result = copy.deepcopy(model).eval()
    norms = without_statistics(result)
    sums = [torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms]  # values, squares, how many
    hooks = [norm.register_forward_pre_hook(_adding(sums[i])) for i, norm in enumerate(norms)]
    for images in batches:
        result(images)
    for hook in hooks:
        hook.remove()
    for norm, (total, squares, count) in zip(norms, sums, strict=True):
        if bool((count > 0).all()):
            mean = total / count
            _set_statistics(norm, mean, (squares / count - mean.square()).clamp(min=0))
    return result.train(training)


def sample_inputs(images: Grouped, preprocess: Preprocess) -> Iterator[Tensor]:
    """Yield some of the images that are learned from, as batches that a network is evaluated with.

    They are spread over all, or the first ones where images are fetched together.
    """
    transform, mode = evaluation_transform(preprocess), image_mode(preprocess.channels)
    step = 1 if images.groups else max(1, len(images) // _IMAGES)
    some = images.sources[::step][:_IMAGES]
    with without_pillows_warnings():
        for start in range(0, len(some), _BATCH):
            yield torch.stack([transform(read_again(source, mode)) for source in some[start : start + _BATCH]])


def _only_adds(norm: nn.BatchNorm2d) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return False
    return not bool(mean.any()) and bool(((variance.double() + norm.eps - 1).abs() < norm.eps / 4).all())


def _adding(sums: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def add(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        x = given[0].double()
        sums.add_(torch.stack((x.sum((0, 2, 3)), x.square().sum((0, 2, 3)), torch.full_like(sums[2], x[:, 0].numel()))))

    return add


def _set_statistics(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Give a norm statistics, and the gain and bias with which it computes what it did."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.double()
    norm.bias.copy_(norm.bias + gain * mean)
    norm.weight.copy_(gain * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
