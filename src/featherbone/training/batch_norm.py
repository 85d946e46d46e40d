"""Norms that were folded into convolutions know no statistics; a network that is to learn needs them.

Such a norm only adds its bias (mean 0, variance and eps make 1). That is exact until the network trains: then a norm
divides by what it measures in the batch, and every channel would change its size. Measured on images first, and its
gain and bias adapted, it computes what it did before *and* nearly that with the statistics of a batch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from featherbone.data import Preprocess
from featherbone.data.image import image_mode, read_again, without_pillows_warnings
from featherbone.data.loader import side_at, smallest_side
from featherbone.data.sampler import Grouped
from featherbone.data.transforms import evaluation_transform
from featherbone.errors import InputError, counted
from featherbone.training.optimizer import parts
from featherbone.training.recipe import Recipe

Model = TypeVar("Model", bound=nn.Module)

_FEW = 8  # values of a channel in a batch: with fewer, colours that differ plainly were not learned
_IMAGES, _BATCH = 64, 16  # a map of 13 x 13 has 10,000 values a channel


def without_statistics(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the norms that only add their bias; a fresh one's variance is 1, which with eps is more."""
    return [part for part in model.modules() if isinstance(part, nn.BatchNorm2d) and _only_adds(part)]


def smallest_input(recipe: Recipe) -> int:
    """Return the smallest side at which a recipe shows images, in pixels."""
    grown = (side_at(recipe.size, recipe.train_size, progress) for progress in (0, 1))
    return min(smallest_side(recipe.size, recipe.multi_scale), *grown)


def check_batches(model: nn.Module, recipe: Recipe, images: int, channels: int = 3) -> str:
    """Refuse batches from which a norm cannot learn, and name those from which it learns badly.

    A single value of a channel has no spread to divide by; of two, one becomes 1 and the other -1 whatever they were.

    Args:
        model: the network of the recipe.
        recipe: all choices, with the size of the inputs.
        images: how many there are to learn from.
        channels: of an image.

    Returns:
        A sentence, or nothing if there is nothing to say.

    Raises:
        InputError: if a norm that learns would see one value of each channel.
    """
    batch, side = min(recipe.batch_size, images), smallest_input(recipe)
    points = _points(model, recipe.freeze, (1, channels, side, side))
    if points is None or (batch > 1 and batch * points >= _FEW):
        return ""
    given = f"batch_size={recipe.batch_size}" if recipe.batch_size <= images else f"{counted(images, 'image')} to learn"
    fact = f"{given} with size={side} gives batch norm {counted(batch * points, 'value')} of each channel"
    if batch * points == 1:
        raise InputError(
            f"{fact}, from which it cannot learn: 2 images a batch or more, better {_FEW}, or a larger size"
        )
    if batch * points >= _FEW:  # the statistics of one image are not those of all, with which it computes later
        return (
            f"{given} shows batch norm one image at a time, from which it learns badly: {_FEW} images a batch or more"
        )
    return f"{fact}, from which it learns badly: {math.ceil(_FEW / points)} images a batch or more, or a larger size"


def _points(model: nn.Module, freeze: Sequence[str], shape: tuple[int, ...]) -> int | None:
    """Return how many points the smallest map has that a norm learns from; ``None`` without such norms."""
    sketch = copy.deepcopy(model).to("meta").eval()  # shapes alone: nothing is computed
    frozen = {id(norm) for part in parts(sketch, freeze) for norm in part.modules()}
    sizes: list[int] = []
    for norm in sketch.modules():
        if isinstance(norm, nn.BatchNorm2d) and id(norm) not in frozen:
            norm.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[2:].numel()))
    sketch(torch.empty(shape, device="meta"))
    return min(sizes, default=None)


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
