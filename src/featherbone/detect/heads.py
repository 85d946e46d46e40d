"""Heads: from the maps of a neck to raw predictions, and from these to boxes.

Every scale has its own layers. A *prediction* is four numbers for its box, for anchors the objectness, then a score a
class, all before their sigmoid or exponential. Its *prior* is what its numbers refer to: a cell, and an anchor if any.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from featherbone.layers import Parallel, conv, depthwise, he_normal, leaky_relu

_SIDE = math.log(100)  # the exponentials stay between 1/100 and 100: no overflow, no box without area
_RARE = 0.01  # of what the predictions see at first; many classes make it no likelier
_ACT = leaky_relu(0.1)


class BoxHead(nn.Module, ABC):
    """What the heads share.

    Args:
        strides: of the scales, fine to coarse.
        num_classes: scores of a prediction.
        per_cell: predictions of a cell.
        plain: numbers of a prediction before its class scores.
        levels: for every scale, ``(B, C, H, W)`` to ``(B, per_cell * (plain + num_classes), H, W)``.
    """

    def __init__(
        self, strides: Sequence[int], num_classes: int, per_cell: int, plain: int, levels: Iterable[nn.Module]
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.num_classes = num_classes
        self.per_cell = per_cell
        self.plain = plain
        self.levels = nn.ModuleList(levels)

    @abstractmethod
    def reset(self, num_classes: int) -> None:
        """Replace the layers that score classes by new ones, in place; those that predict boxes stay."""

    @abstractmethod
    def priors(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """Return the priors of an image's predictions, ``(N, ...)``, for ``size`` (height, width), x and y first."""

    @abstractmethod
    def coordinates(self, predicted: Tensor) -> Tensor:
        """Return the coordinates of predictions ``(..., 4)``, as ``encode`` returns those of true boxes."""

    @abstractmethod
    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """Return the coordinates ``(..., 4)`` that predictions at ``priors`` should have for ``boxes``."""

    @abstractmethod
    def decode(self, predicted: Tensor, priors: Tensor) -> Tensor:
        """Return the boxes of predictions ``(..., 4)``: x1, y1, x2, y2 in pixels of the input."""

    @abstractmethod
    def probabilities(self, predicted: Tensor) -> Tensor:
        """Return the probability of every class, ``(..., num_classes)``."""

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the predictions of every scale, ``(B, cells * per_cell, plain + num_classes)``, cells row by row."""
        return [self._flat(level(x)) for level, x in zip(self.levels, maps, strict=True)]

    def predict(self, raw: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Return boxes and the probabilities of their classes, ``(B, N, 4 + num_classes)``, in float32 or better.

        Args:
            raw: the predictions of every scale.
            size: height and width of the input in pixels.
        """
        predicted = joined(raw)
        boxes = self.decode(predicted[..., :4], self.priors(size, predicted))
        return torch.cat((boxes, self.probabilities(predicted)), -1)

    def _flat(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.plain + self.num_classes)


class AnchoredHead(BoxHead):
    """YOLOv3's head (arXiv 1804.02767 sec. 2), which CSPNet's detectors have: boxes relative to anchors.

    A 3x3 convolution of the same width (docs/decisions/0010-necks.md), then a 1x1 to x, y, w, h, objectness and class
    scores for every anchor. A centre cannot leave its cell.

    Args:
        channels: of the scales, fine to coarse.
        strides: of the same.
        num_classes: how many.
        anchors: for every scale as many widths and heights, in pixels of the input.
    """

    shapes: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        anchors: Sequence[Sequence[tuple[float, float]]],
    ) -> None:
        biases = self._biases(num_classes, len(anchors[0]))
        levels = [nn.Sequential(_block(conv(c, c, 3, act=_ACT)), _last_layer(c, biases)) for c in channels]
        super().__init__(strides, num_classes, len(anchors[0]), 5, levels)
        self.register_buffer("shapes", torch.tensor(anchors, dtype=torch.float32), persistent=False)  # (scales, A, 2)

    def reset(self, num_classes: int) -> None:
        biases = self._biases(num_classes, self.per_cell)
        for level in self.levels:
            old, new = _replaced(level, biases)
            with torch.no_grad():  # of every anchor, the box and the objectness stay
                for known, fresh in zip(old.parameters(), new.parameters(), strict=True):
                    shape = (self.per_cell, -1, *known.shape[1:])
                    fresh.view(shape)[:, : self.plain] = known.view(shape)[:, : self.plain]
        self.num_classes = num_classes

    def priors(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """Return x and y of the cell's corner, its side, and width and height of the anchor, in pixels: ``(N, 5)``."""
        found = []
        for stride, shapes in zip(self.strides, self.shapes.to(like), strict=True):
            corners = _cells(size, stride, like) * stride
            squares = torch.cat((corners, torch.full_like(corners[:, :1], stride)), 1)
            count = squares.shape[0]
            found.append(torch.cat((squares.repeat_interleave(self.per_cell, 0), shapes.repeat(count, 1)), 1))
        return torch.cat(found)

    def coordinates(self, predicted: Tensor) -> Tensor:
        return torch.cat((predicted[..., :2].sigmoid(), predicted[..., 2:4]), -1)

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        centres, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
        within = ((centres - priors[..., :2]) / priors[..., 2:3]).clamp(0, 1)
        return torch.cat((within, (sides / priors[..., 3:5]).log().clamp(-_SIDE, _SIDE)), -1)

    def decode(self, predicted: Tensor, priors: Tensor) -> Tensor:
        centres = priors[..., :2] + predicted[..., :2].sigmoid() * priors[..., 2:3]
        halves = predicted[..., 2:4].clamp(-_SIDE, _SIDE).exp() * priors[..., 3:5] / 2
        return torch.cat((centres - halves, centres + halves), -1)

    def probabilities(self, predicted: Tensor) -> Tensor:
        return predicted[..., 4:5].sigmoid() * predicted[..., 5:].sigmoid()

    @staticmethod
    def _biases(num_classes: int, per_cell: int) -> list[float]:
        return [0.0, 0.0, 0.0, 0.0, _logit(_RARE), *(-math.log(num_classes) for _ in range(num_classes))] * per_cell


class FreeHead(BoxHead):
    """A light head without anchors: class scores, and the distances from a cell's centre to the sides of its box.

    Depthwise separable blocks at the width of each scale: one that both outputs share, then one for each. Distances are
    exponentials of what is predicted, in strides (FCOS, arXiv 1904.01355 sec. 3.1).

    Args:
        channels: of the scales, fine to coarse.
        strides: of the same.
        num_classes: how many.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_classes: int) -> None:
        sides = [math.log(3)] * 4  # at first, boxes of six cells' width
        scores = self._scores(num_classes)
        levels = [
            nn.Sequential(
                _separable(c),
                Parallel(
                    nn.Sequential(_separable(c), _last_layer(c, sides)),
                    nn.Sequential(_separable(c), _last_layer(c, scores)),
                ),
            )
            for c in channels
        ]
        super().__init__(strides, num_classes, 1, 4, levels)

    def reset(self, num_classes: int) -> None:
        for level in self.levels:
            assert isinstance(level, nn.Sequential)
            outputs = level[-1]
            assert isinstance(outputs, Parallel)
            _replaced(outputs.branches[1], self._scores(num_classes))
        self.num_classes = num_classes

    def priors(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """Return x and y of the cell's centre and its side, in pixels: ``(N, 3)``."""
        found = []
        for stride in self.strides:
            centres = (_cells(size, stride, like) + 0.5) * stride
            found.append(torch.cat((centres, torch.full_like(centres[:, :1], stride)), 1))
        return torch.cat(found)

    def coordinates(self, predicted: Tensor) -> Tensor:
        return predicted

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        distances = torch.cat((priors[..., :2] - boxes[..., :2], boxes[..., 2:] - priors[..., :2]), -1)
        return (distances / priors[..., 2:3]).clamp(math.exp(-_SIDE), math.exp(_SIDE)).log()

    def decode(self, predicted: Tensor, priors: Tensor) -> Tensor:
        distances = predicted.clamp(-_SIDE, _SIDE).exp() * priors[..., 2:3]
        return torch.cat((priors[..., :2] - distances[..., :2], priors[..., :2] + distances[..., 2:]), -1)

    def probabilities(self, predicted: Tensor) -> Tensor:
        return predicted[..., 4:].sigmoid()

    @staticmethod
    def _scores(num_classes: int) -> list[float]:
        return [_logit(_RARE / num_classes)] * num_classes


def joined(raw: Sequence[Tensor]) -> Tensor:
    """Return the predictions of all scales, ``(B, N, outputs)``, in float32 or better: bfloat16 is too coarse."""
    predicted = torch.cat(tuple(raw), 1)
    return predicted if predicted.dtype == torch.float64 else predicted.float()


def _cells(size: tuple[int, int], stride: int, like: Tensor) -> Tensor:
    """Return column and row of every cell, ``(cells, 2)``, row by row."""
    height, width = size
    rows, columns = (torch.arange(side // stride, dtype=like.dtype, device=like.device) for side in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), -1).reshape(-1, 2)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _block(module: nn.Module) -> nn.Module:
    he_normal(module)
    return module


def _separable(channels: int) -> nn.Module:
    return _block(nn.Sequential(depthwise(channels, act=_ACT), conv(channels, channels, act=_ACT)))


def _last_layer(c_in: int, biases: Sequence[float]) -> nn.Conv2d:
    """Return a last layer whose outputs are at first nearly its biases."""
    layer = nn.Conv2d(c_in, len(biases), 1)
    nn.init.normal_(layer.weight, std=0.01)
    layer.bias = nn.Parameter(torch.tensor(biases))
    return layer


def _replaced(layers: nn.Module, biases: Sequence[float]) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Put a new last layer in place, where the old one lives, and return both."""
    assert isinstance(layers, nn.Sequential)
    old = layers[-1]
    assert isinstance(old, nn.Conv2d)
    layers[-1] = new = _last_layer(old.in_channels, biases).to(old.weight.device, old.weight.dtype)
    return old, new
