"""Independent implementations to compare with, and how to give two networks the same numbers."""

import torch
from torch import Tensor, nn


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy by position: both register their tensors in the order in which they run."""
    given, wanted = source.state_dict(), target.state_dict()
    target.load_state_dict(dict(zip(wanted, given.values(), strict=True)))


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every norm weights and statistics that are not the identity, so that a wrong order shows."""
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


class AuthorsShuffleNetV2(nn.Module):
    """ShuffleNet V2 written a second time, from the paper's Fig. 3 and Table 5, with plain indexing.

    The projection branch of every downsampling unit keeps its input's width and the main branch emits the rest, the
    rule under which the paper's operations come out.
    """

    def __init__(self, channels: tuple[int, ...], conv5: int, num_classes: int) -> None:
        super().__init__()
        self.first = nn.ModuleList([nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24)])
        self.units = nn.ModuleList()
        c = 24
        for c_out, repeats in zip(channels, (4, 8, 4), strict=True):
            half = c_out // 2
            projection = nn.ModuleList([*self._depthwise(c, 2), *self._pointwise(c, c)])
            main = [*self._pointwise(c, half), *self._depthwise(half, 2), *self._pointwise(half, c_out - c)]
            self.units.append(nn.ModuleList([projection, nn.ModuleList(main)]))
            for _ in range(repeats - 1):
                body = [*self._pointwise(half, half), *self._depthwise(half, 1), *self._pointwise(half, half)]
                self.units.append(nn.ModuleList(body))
            c = c_out
        self.last = nn.ModuleList(self._pointwise(c, conv5))
        self.classifier = nn.Linear(conv5, num_classes, bias=False)

    @staticmethod
    def _pointwise(c_in: int, c_out: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out)]

    @staticmethod
    def _depthwise(c: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(c, c, 3, stride, 1, groups=c, bias=False), nn.BatchNorm2d(c)]

    @staticmethod
    def _main(parts: nn.Module, x: Tensor) -> Tensor:
        w1, n1, w2, n2, w3, n3 = parts.children()
        return n3(w3(n2(w2(n1(w1(x)).relu())))).relu()

    @staticmethod
    def _interleave(first: Tensor, second: Tensor) -> Tensor:
        both = torch.cat([first, second], 1)
        c = both.shape[1]
        order = [i // 2 + (c // 2) * (i % 2) for i in range(c)]
        return both[:, order]

    def forward(self, x: Tensor) -> Tensor:
        convolution, norm = self.first
        x = nn.functional.max_pool2d(norm(convolution(x)).relu(), 3, 2, 1)
        for unit in self.units:
            if len(list(unit.children())) == 2:
                projection, main = unit.children()
                w1, n1, w2, n2 = projection.children()
                x = self._interleave(n2(w2(n1(w1(x)))).relu(), self._main(main, x))
            else:
                half = x.shape[1] // 2
                x = self._interleave(x[:, :half], self._main(unit, x[:, half:]))
        w, n = self.last
        return self.classifier(n(w(x)).relu().mean((2, 3)))
