"""Networks of strangers: written from the papers, with names that no project has, in orders that can be chosen."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Layer(nn.Module):
    """DenseNet's composite function with a bottleneck (arXiv 1608.06993, sec. 3)."""

    def __init__(self, c_in: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))


class _Transition(nn.Module):
    """The layers between two blocks, which halve channels and sides (sec. 3)."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(c_in)
        self.conv = nn.Conv2d(c_in, c_in // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.bn(x))), 2)


class SmallDenseNet(nn.Module):
    """A DenseNet-BC for CIFAR: no norm after the first convolution, growth 12.

    Args:
        depths: layers of each block.
        new_first: whether a layer's new maps come before those that it read.
        growth: maps that each layer adds.
    """

    def __init__(self, depths: Sequence[int] = (6, 12, 24), *, new_first: bool = False, growth: int = 12) -> None:
        super().__init__()
        self.depths, self.new_first = tuple(depths), new_first
        c = 2 * growth
        self.conv1 = nn.Conv2d(3, c, 3, padding=1, bias=False)
        for number, depth in enumerate(self.depths, 1):
            layers = [_Layer(c + i * growth, growth) for i in range(depth)]
            self.add_module(f"dense{number}", nn.Sequential(*layers))
            c += depth * growth
            if number < len(self.depths):
                self.add_module(f"trans{number}", _Transition(c))
                c //= 2
        self.bn = nn.BatchNorm2d(c)
        self.linear = nn.Linear(c, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for number in range(1, len(self.depths) + 1):
            for layer in self.get_submodule(f"dense{number}").children():
                made = layer(x)
                x = torch.cat([made, x] if self.new_first else [x, made], 1)
            if number < len(self.depths):
                x = self.get_submodule(f"trans{number}")(x)
        return self.linear(F.relu(self.bn(x)).mean((2, 3)))


class _Unit(nn.Module):
    """ShuffleNet V1's unit (arXiv 1707.01083, Fig. 2 b and c)."""

    def __init__(self, c_in: int, c_out: int, groups: int, *, stride: int, first: bool, pool: int = 3) -> None:
        super().__init__()
        width, self.groups, self.stride, self.pool = c_out // 4, groups, stride, pool
        self.adds = c_in == c_out
        added = c_out if self.adds else c_out - c_in
        self.reduce = nn.Conv2d(c_in, width, 1, groups=1 if first else groups, bias=False)
        self.reduce_norm = nn.BatchNorm2d(width)
        self.spatial = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
        self.spatial_norm = nn.BatchNorm2d(width)
        self.expand = nn.Conv2d(width, added, 1, groups=groups, bias=False)
        self.expand_norm = nn.BatchNorm2d(added)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.reduce_norm(self.reduce(x)))
        y = torch.cat([y[:, i :: y.shape[1] // self.groups] for i in range(y.shape[1] // self.groups)], 1)
        y = self.expand_norm(self.expand(self.spatial_norm(self.spatial(y))))
        if self.adds:
            return F.relu(x + y)
        if self.stride == 2:
            x = F.avg_pool2d(x, 3, 2, 1) if self.pool == 3 else F.avg_pool2d(x, 2)
        return F.relu(torch.cat([x, y], 1))


class SmallShuffleNet(nn.Module):
    """ShuffleNet V1 for small images: the first convolution has the stride ``stem``, and there is no pool.

    Args:
        stem: stride of the first convolution.
        turned: whether the units of a stage are registered last to first.
        stride: of the first unit.
        pool: side of the shortcuts' pool; 2 has no border.
    """

    def __init__(self, *, stem: int = 1, turned: bool = False, stride: int = 2, pool: int = 3) -> None:
        super().__init__()
        self.start = nn.Conv2d(3, 24, 3, stem, 1, bias=False)
        self.start_norm = nn.BatchNorm2d(24)
        self.body = nn.ModuleDict()
        self.units: list[str] = []
        c = 24
        for c_out, repeats in zip((240, 480, 960), (2, 3, 2), strict=True):
            units = {
                f"c{c_out}n{i}": _Unit(
                    c_out if i else c,
                    c_out,
                    3,
                    stride=1 if i else 2 if self.units else stride,
                    first=not i and not self.units,
                    pool=pool,
                )
                for i in range(repeats)
            }
            self.units += list(units)
            self.body.update({name: units[name] for name in (reversed(units) if turned else units)})
            c = c_out
        self.answer = nn.Linear(c, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.start_norm(self.start(x)))
        for name in self.units:
            x = self.body[name](x)
        return self.answer(x.mean((2, 3)))
