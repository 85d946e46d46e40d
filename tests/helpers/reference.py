"""Independent implementations, networks with numbers that show a wrong order, and how to compare and import them."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import featherbone as fb
from featherbone.layers import he_normal
from featherbone.spec import Trunk

Module = TypeVar("Module", bound=nn.Module)


def randomize(model: Module, seed: int = 0) -> Module:
    """Give every norm weights and statistics that are not the identity, so that a wrong order shows.

    With these statistics, networks whose authors let them begin with small weights would answer the same to all images.
    """
    for part in model.modules():
        if isinstance(part, Trunk):
            he_normal(part)
    generator = torch.Generator().manual_seed(seed)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d) and part.affine:
            for tensor, low, high in (
                (part.weight.data, 0.5, 1.5),
                (part.bias.data, -0.5, 0.5),
                (part.running_mean, -0.5, 0.5),
                (part.running_var, 0.5, 1.5),
            ):
                assert isinstance(tensor, Tensor)
                tensor.uniform_(low, high, generator=generator)
    return model.eval()


def differs(ours: nn.Module, theirs: nn.Module, size: int = 64) -> float:
    """Return the largest difference of two outputs, as a share of the largest output."""
    torch.manual_seed(1)
    x = torch.randn(1, 3, size, size, dtype=next(ours.parameters()).dtype)
    with torch.no_grad():
        wanted = theirs(x)
        return ((ours(x) - wanted).abs().max() / wanted.abs().max()).item()


def imported(tmp_path: Path, name: str, state: dict[str, Tensor], **nested: Any) -> tuple[fb.Backbone, fb.Imported]:
    """Go through a file, in the form of a checkpoint."""
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}, **nested}, tmp_path / "m.pth")
    return fb.import_weights(name, tmp_path / "m.pth")


class MegviiShuffleNetV1(nn.Module):
    """The authors' later code, written again from its description: the inverse shuffle stands after the depthwise."""

    def __init__(self, groups: int, stem: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.groups = groups
        self.first_conv = nn.Sequential(nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        self.features = nn.ModuleList()
        c = stem
        for c_out, repeats in zip(channels, (4, 8, 4), strict=True):
            for i in range(repeats):
                unit, mid, last = nn.Module(), c_out // 4, c_out if i else c_out - c
                unit.branch_main_1 = nn.Sequential(
                    nn.Conv2d(c, mid, 1, groups=groups if len(self.features) else 1, bias=False),
                    nn.BatchNorm2d(mid),
                    nn.ReLU(),
                    nn.Conv2d(mid, mid, 3, 1 if i else 2, 1, groups=mid, bias=False),
                    nn.BatchNorm2d(mid),
                )
                unit.branch_main_2 = nn.Sequential(
                    nn.Conv2d(mid, last, 1, groups=groups, bias=False), nn.BatchNorm2d(last)
                )
                self.features.append(unit)
                c = c_out
        self.classifier = nn.Sequential(nn.Linear(c, 10, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.first_conv(x), 3, 2, 1)
        for unit in self.features:
            first, second = unit.children()
            y = first(x)
            order = [i for k in range(self.groups) for i in range(k, y.shape[1], self.groups)]
            y = second(y[:, order])
            if y.shape[2] == x.shape[2]:
                x = (x + y).relu()
            else:
                x = torch.cat([nn.functional.avg_pool2d(x, 3, 2, 1), y.relu()], 1)
        return self.classifier(x.mean((2, 3)))


class MegviiShuffleNetV2(nn.Module):
    """The authors' code, written again from its description: even channels walk past a unit's branch, odd into it."""

    def __init__(self, channels: tuple[int, ...], last: int) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.features = nn.ModuleList()
        c = 24
        for c_out, repeats in zip(channels, (4, 8, 4), strict=True):
            half = c_out // 2
            for i in range(repeats):
                unit, c_in = nn.Module(), half if i else c
                if not i:
                    unit.branch_proj = nn.Sequential(*self._depthwise(c, 2), *self._pointwise(c, c))
                unit.branch_main = nn.Sequential(
                    *self._pointwise(c_in, half),
                    *self._depthwise(half, 1 if i else 2),
                    *self._pointwise(half, c_out - c_in),
                )
                self.features.append(unit)
            c = c_out
        self.conv_last = nn.Sequential(*self._pointwise(c, last))
        self.classifier = nn.Sequential(nn.Linear(last, 10, bias=False))

    @staticmethod
    def _pointwise(c_in: int, c_out: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]

    @staticmethod
    def _depthwise(c: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(c, c, 3, stride, 1, groups=c, bias=False), nn.BatchNorm2d(c)]

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.first_conv(x), 3, 2, 1)
        for unit in self.features:
            branches = list(unit.children())
            past, into = (x[:, 0::2], x[:, 1::2]) if len(branches) == 1 else (branches[0](x), x)
            x = torch.cat([past, branches[-1](into)], 1)
        return self.classifier(self.conv_last(x).mean((2, 3)))
