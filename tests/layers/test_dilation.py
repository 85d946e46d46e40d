"""Strides become dilations, also where a layer is dilated already."""

import copy

import torch
from helpers.reference import randomize
from torch import nn

from featherbone import blocks
from featherbone.layers import dilate


def test_layers_that_are_dilated_already_are_spread_further() -> None:
    """At every twelfth point the larger map has the plain one's values, border included."""
    torch.manual_seed(0)
    plain = nn.Sequential(
        blocks.shufflenet_v2_unit(4, 8, stride=2, dilation=2),
        blocks.dense_block(8, 2, 4, dilation=3),
        blocks.shufflenet_v1_unit(16, 24, groups=2, stride=3, dilation=2),
        nn.MaxPool2d(3, 2, padding=1, dilation=2),
    ).double()
    large = copy.deepcopy(randomize(plain))
    assert dilate(large, 1) == 12
    x = torch.randn(1, 4, 48, 72, dtype=torch.float64)
    with torch.no_grad():
        wanted, given = plain(x), large(x)
    assert given.shape[2:] == x.shape[2:]
    height, width = wanted.shape[2:]
    difference = given[:, :, ::12, ::12][:, :, :height, :width] - wanted
    assert difference.abs().max() <= 1e-12 * wanted.abs().max()
