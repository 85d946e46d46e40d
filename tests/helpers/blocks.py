"""The papers' blocks, written again in plain PyTorch from their descriptions."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Convolution(nn.Module):
    """A convolution whose dilation is a larger kernel with zeros in it; the border is half of that kernel."""

    def __init__(
        self, c_in: int, c_out: int, side: int = 1, *, stride: int = 1, groups: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(c_out, c_in // groups, side, side))
        self.stride, self.groups, self.dilation = stride, groups, dilation

    def forward(self, x: Tensor) -> Tensor:
        side = (self.weight.shape[2] - 1) * self.dilation + 1
        kernel = self.weight.new_zeros(*self.weight.shape[:2], side, side)
        kernel[:, :, :: self.dilation, :: self.dilation] = self.weight
        x = F.pad(x, (side // 2,) * 4)
        parts = zip(x.chunk(self.groups, 1), kernel.chunk(self.groups, 0), strict=True)
        return torch.cat([F.conv2d(part, weight, stride=self.stride) for part, weight in parts], 1)


class Composite(nn.Module):
    """DenseNet's H: norm, ReLU, convolution (sec. 3)."""

    def __init__(self, c_in: int, c_out: int, side: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(c_in), Convolution(c_in, c_out, side, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x).clamp(min=0))


class Normalized(nn.Module):
    """Convolution, norm, and a ReLU if one is drawn."""

    def __init__(self, c_in: int, c_out: int, side: int = 1, *, rectified: bool = True, **columns: int) -> None:
        super().__init__()
        self.conv, self.norm = Convolution(c_in, c_out, side, **columns), nn.BatchNorm2d(c_out)
        self.rectified = rectified

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return x.clamp(min=0) if self.rectified else x


class DenseLayer(nn.Module):
    def __init__(self, c_in: int, k: int, bottleneck: int, dilation: int) -> None:
        super().__init__()
        width = bottleneck * k
        self.narrow = Composite(c_in, width) if width else nn.Sequential()
        self.new = Composite(width or c_in, k, 3, dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.new(self.narrow(x))


class DenseBlock(nn.Module):
    def __init__(self, c_in: int, layers: int, k: int, bottleneck: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(c_in + i * k, k, bottleneck, dilation) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class Transition(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.narrow, self.stride = Composite(c_in, c_out), stride

    def forward(self, x: Tensor) -> Tensor:
        x = self.narrow(x)
        return x.unfold(2, self.stride, self.stride).unfold(3, self.stride, self.stride).mean((4, 5))


class CSPDenseBlock(nn.Module):
    """Fig. 3: (b) both transitions, (c) the one after the shares met, (d) the one before."""

    def __init__(self, past: int, through: int, fusion: str, dilation: int) -> None:
        super().__init__()
        self.past, grown = past, through + 3 * 4
        self.block = DenseBlock(through, 3, 4, 4, dilation)
        half = int(grown * 0.5)
        before = {"both": half, "first": 0, "last": past + grown - past}[fusion]
        self.before = Composite(grown, before) if before else nn.Sequential()
        met = past + (before or grown)
        self.after = Composite(met, past + grown) if fusion != "last" else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        worked = self.before(self.block(x[:, self.past :]))
        return self.after(torch.cat([x[:, : self.past], worked], 1))


class OSAModule(nn.Module):
    def __init__(
        self,
        c_in: int,
        width: int,
        c_out: int,
        *,
        residual: bool,
        gated: bool,
        depthwise: bool,
        dilation: int,
        bottleneck: int = 0,
    ) -> None:
        super().__init__()
        self.reduce = Normalized(c_in, width) if depthwise and c_in != width else nn.Sequential()
        self.chain = nn.ModuleList()
        first = width if depthwise else c_in
        for i in range(3):
            c = width if i else first
            narrow = [Normalized(c, bottleneck)] if bottleneck else []
            c = bottleneck or c
            if depthwise:
                spread = Convolution(c, c, 3, groups=c, dilation=dilation)
                self.chain.append(nn.Sequential(*narrow, spread, Normalized(c, width)))
            else:
                self.chain.append(nn.Sequential(*narrow, Normalized(c, width, 3, dilation=dilation)))
        self.join = Normalized(c_in + 3 * width, c_out)
        self.gate = nn.Conv2d(c_out, c_out, 1) if gated else None
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        kept, link = [x], self.reduce(x)
        for layer in self.chain:
            link = layer(link)
            kept.append(link)
        y = self.join(torch.cat(kept, 1))
        if self.gate:
            # PyTorch's own: the sixth in its gradient is rounded to float32, in float64 too
            y = y * F.hardsigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        return x + y if self.residual else y


def shuffled(x: Tensor, groups: int) -> Tensor:
    size = x.shape[1] // groups
    return x[:, [group * size + i for i in range(size) for group in range(groups)]]


class ShuffleNetV1Unit(nn.Module):
    def __init__(self, c_in: int, c_out: int, *, groups: int, stride: int, dilation: int) -> None:
        super().__init__()
        width = c_out // 4
        self.adds = stride == 1 and c_in == c_out
        self.first = Normalized(c_in, width, groups=groups)
        self.spatial = Normalized(width, width, 3, rectified=False, groups=width, stride=stride, dilation=dilation)
        self.last = Normalized(width, c_out if self.adds else c_out - c_in, rectified=False, groups=groups)
        self.groups, self.stride = groups, stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(self.spatial(shuffled(self.first(x), self.groups)))
        if self.adds:
            return (x + y).clamp(min=0)
        if self.stride > 1:  # zeros at the border count
            x = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, self.stride).unfold(3, 3, self.stride).mean((4, 5))
        return torch.cat([x, y], 1).clamp(min=0)


class ShuffleNetV2Unit(nn.Module):
    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        stride: int,
        dilation: int,
        both: bool,
        projection: int = 0,
        extra_depthwise: bool = False,
        residual: bool = False,
        gated: bool = False,
    ) -> None:
        super().__init__()
        half = c_out // 2
        projection = projection or half
        spread: dict[str, Any] = {"rectified": False, "dilation": dilation}
        if both:
            self.project = nn.Sequential(
                Normalized(c_in, c_in, 3, groups=c_in, stride=stride, **spread), Normalized(c_in, projection)
            )
        c, made = (c_in, c_out - projection) if both else (half, half)
        parts = [Normalized(c, c, 3, groups=c, **spread)] if extra_depthwise else []
        self.main = nn.Sequential(
            *parts,
            Normalized(c, half),
            Normalized(half, half, 3, groups=half, stride=stride, **spread),
            Normalized(half, made, rectified=False),
        )
        self.squeeze = nn.Conv2d(made, made, 1) if gated else None
        self.excite = nn.Conv2d(made, made, 1) if gated else None
        self.both, self.side, self.adds = both, half, residual and not both

    def forward(self, x: Tensor) -> Tensor:
        past, into = (self.project(x), x) if self.both else (x[:, : self.side], x[:, self.side :])
        y = self.main(into)
        if self.squeeze and self.excite:
            y = y * self.excite(self.squeeze(y.mean((2, 3), keepdim=True)).relu()).sigmoid()
        if self.adds:
            y = y + into
        return shuffled(torch.cat([past, y.clamp(min=0)], 1), 2)
