"""A small interpreter of darknet's configurations, written from its format, to compare our CSP networks with."""

import struct
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn


class Darknet(nn.Module):
    """Runs the sections of a configuration one after the other, as darknet does."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections = list(parse(text))[1:]
        self.layers = nn.ModuleList()
        widths: list[int] = []
        c = 3
        for kind, values in self.sections:
            layer: nn.Module = nn.Identity()
            if kind == "convolutional":
                c_out, side = int(values["filters"]), int(values["size"])
                normed = values.get("batch_normalize") == "1"
                convolution = nn.Conv2d(
                    c,
                    c_out,
                    side,
                    int(values["stride"]),
                    side // 2,
                    groups=int(values.get("groups", 1)),
                    bias=not normed,
                )
                layer = nn.Sequential(convolution, nn.BatchNorm2d(c_out) if normed else nn.Identity())
                c = c_out
            elif kind == "route":
                c = sum(widths[int(i)] for i in values["layers"].split(","))
            self.layers.append(layer)
            widths.append(c)

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for (kind, values), layer in zip(self.sections, self.layers, strict=True):
            if kind == "convolutional":
                x = layer(x)
            elif kind == "maxpool":
                x = nn.functional.max_pool2d(x, int(values["size"]), int(values["stride"]))
            elif kind == "route":
                x = torch.cat([outputs[int(i)] for i in values["layers"].split(",")], 1)
            elif kind == "shortcut":
                other = outputs[int(values["from"])]
                x, step = x.clone(), other.shape[2] // x.shape[2]
                x[:, : other.shape[1]] += other[:, :, ::step, ::step]
            elif kind == "avgpool":
                x = x.mean((2, 3), keepdim=True)
            if values.get("activation") == "leaky":
                x = torch.where(x > 0, x, 0.1 * x)
            outputs.append(x)
        return x.flatten(1)

    def write(self, path: Path) -> None:
        """Write the numbers in darknet's order."""
        with path.open("wb") as file:
            file.write(struct.pack("<iiiq", 0, 2, 5, 32013312))
            for layer in self.layers:
                if not isinstance(layer, nn.Sequential):
                    continue
                convolution, norm = layer
                first = (
                    (norm.bias, norm.weight, norm.running_mean, norm.running_var)
                    if isinstance(norm, nn.BatchNorm2d)
                    else (convolution.bias,)
                )
                for tensor in (*first, convolution.weight):
                    assert isinstance(tensor, Tensor)
                    file.write(tensor.detach().float().numpy().tobytes())


def parse(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every section's kind and values."""
    for block in text.split("\n["):
        lines = [line.split("#")[0].strip() for line in block.strip().removeprefix("[").splitlines()]
        values = (line.split("=", 1) for line in lines[1:] if "=" in line)
        if lines and lines[0]:
            yield lines[0].rstrip("]"), {key.strip(): value.strip() for key, value in values}


def convolution(filters: int, size: int = 1, stride: int = 1, activation: str = "leaky", groups: int = 1) -> str:
    """Return a section."""
    return (
        f"[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize={size}\ngroups={groups}\nstride={stride}\n"
        f"pad=1\nactivation={activation}\n\n"
    )


def csp_stage(part: int, body: int, depth: int, block: str, blocks: int, out: int, activation: str) -> str:
    """Return a cross stage: two convolutions side by side, the blocks, a transition, both, a transition."""
    length = depth * blocks
    return (
        convolution(part, activation=activation)
        + "[route]\nlayers = -2\n\n"
        + convolution(body, activation=activation)
        + depth * block
        + convolution(part)
        + f"[route]\nlayers = -1,-{length + 4}\n\n"
        + convolution(out)
    )


def bottleneck(width: int, inner: int, groups: int) -> tuple[str, int]:
    """Return ResNet's block and its number of sections."""
    text = convolution(inner) + convolution(inner, 3, groups=groups) + convolution(width, activation="linear")
    return text + "[shortcut]\nfrom=-4\nactivation=leaky\n\n", 4


def dark_block(width: int, inner: int) -> tuple[str, int]:
    """Return Darknet's block and its number of sections."""
    return convolution(inner) + convolution(width, 3) + "[shortcut]\nfrom=-3\nactivation=linear\n\n", 3


HEAD = "[avgpool]\n\n[convolutional]\nfilters=10\nsize=1\nstride=1\npad=1\nactivation=linear\n\n[softmax]\ngroups=1\n"
NET = "[net]\nchannels=3\nheight=64 # side\nwidth=64\n\n"


def cspresnet50(groups: int = 1) -> str:
    """Return CSPResNet-50, or CSPResNeXt-50 with 32 groups, as the fact sheet describes them."""
    text = NET + convolution(64, 7, 2) + "[maxpool]\nsize=2\nstride=2\n\n"
    c = 0
    for i, (width, depth) in enumerate(zip((128, 256, 512, 1024), (3, 3, 5, 2), strict=True)):
        if i:
            text += convolution(c, 3, 2, groups=groups)
        block, sections = bottleneck(width, width if groups > 1 else width // 2, groups)
        c = 2 * width if groups > 1 else width
        activation = "linear" if i in (1, 2) else "leaky"
        text += csp_stage(width, width if i else 64, depth, block, sections, c, activation)
    return text + HEAD


def resnet50(groups: int = 1) -> str:
    """Return ResNet-50, or ResNeXt-50 with 32 groups, without projections: CSPNet's baseline."""
    text = NET + convolution(64, 7, 2) + "[maxpool]\nsize=2\nstride=2\n\n"
    for i, (width, depth) in enumerate(zip((256, 512, 1024, 2048), (3, 4, 6, 3), strict=True)):
        inner = width // 2 if groups > 1 else width // 4
        for block in range(depth):
            text += convolution(inner) + convolution(inner, 3, 2 if i and not block else 1, groups=groups)
            text += convolution(width, activation="linear") + "[shortcut]\nfrom=-4\nactivation=leaky\n\n"
    return text + HEAD


def cspdarknet53() -> str:
    """Return CSPDarknet-53."""
    text = NET + convolution(32, 3)
    for i, (depth, width) in enumerate(zip((1, 2, 8, 8, 4), (64, 64, 128, 256, 512), strict=True)):
        block, sections = dark_block(width, width if i else 32)
        out = width * (2 if i else 1)
        text += convolution(out, 3, 2) + csp_stage(width, width, depth, block, sections, out, "leaky")
    return text + HEAD


def darknet53() -> str:
    """Return Darknet-53."""
    text = NET + convolution(32, 3)
    for depth, width in zip((1, 2, 8, 8, 4), (64, 128, 256, 512, 1024), strict=True):
        text += convolution(width, 3, 2) + depth * dark_block(width, width // 2)[0]
    return text + HEAD
