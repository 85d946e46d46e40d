"""Wirings as equations."""

from math import comb

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from featherbone import (
    ChannelNorm,
    Dense,
    Head,
    OneShot,
    Parallel,
    Residual,
    Scale,
    Shuffle,
    Split,
    conv,
    depthwise,
    ese,
    preconv,
    se,
)
from featherbone.layers import blur_pool


def image(channels: int = 6, size: int = 5) -> torch.Tensor:
    return torch.randn(2, channels, size, size, dtype=torch.float64)


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


class Sum(nn.Module):
    """Sums all channels into one: shows what a layer was given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(1, keepdim=True)


def test_conv_is_convolution_norm_activation() -> None:
    brick = conv(6, 4, 3, stride=2).double().eval()
    x = image()
    convolution, norm, activation = brick
    assert isinstance(activation, nn.ReLU)
    assert torch.equal(brick(x), norm(convolution(x)).relu())
    assert conv(6, 4, act=None)[-1].__class__ is nn.BatchNorm2d
    assert convolution.bias is None


def test_preconv_is_norm_activation_convolution() -> None:
    brick = preconv(6, 4, 3).double().eval()
    x = image()
    norm, _, convolution = brick
    assert torch.equal(brick(x), convolution(norm(x).relu()))
    assert norm.num_features == 6


def test_padding_keeps_the_size_at_every_kernel() -> None:
    for kernel in (1, 3, 5, 7):
        assert conv(6, 4, kernel).double()(image(size=9)).shape[2:] == (9, 9)


def test_depthwise_keeps_channels_apart() -> None:
    brick = depthwise(6).double().eval()
    x = image()
    changed = x.clone()
    changed[:, 2] += 1
    differs = (brick(x) != brick(changed)).any(dim=(0, 2, 3))
    assert differs.tolist() == [False, False, True, False, False, False]


def test_residual_adds() -> None:
    x = image()
    assert torch.equal(Residual(Times(2.0))(x), 3 * x)


def test_a_body_that_widens_has_its_input_added_to_its_first_channels() -> None:
    x = image(2)
    widened = Residual(Parallel(Times(1.0), Times(3.0)))(x)
    assert torch.equal(widened, torch.cat([2 * x, 3 * x], 1))


def test_dense_layer_reads_everything_before_it() -> None:
    x = image(1)
    # 1, then 1, then 1 + 1, then 1 + 1 + 2: every layer doubles the sum
    assert torch.equal(Dense([Sum(), Sum(), Sum()])(x), torch.cat([x, x, 2 * x, 4 * x], 1))


def test_one_shot_is_a_chain_collected_once() -> None:
    x = image(2)
    assert torch.equal(OneShot([Times(2.0), Times(3.0)])(x), torch.cat([x, 2 * x, 6 * x], 1))


def test_the_entry_of_a_chain_is_not_collected() -> None:
    x = image(2)
    assert torch.equal(OneShot([Times(2.0)], Times(5.0))(x), torch.cat([x, 10 * x], 1))


@given(channels=st.integers(2, 9), bypass=st.integers(1, 8))
def test_split_takes_odd_shares(channels: int, bypass: int) -> None:
    x = image(channels)
    bypass = min(bypass, channels - 1)
    assert torch.equal(Split(bypass, Times(2.0))(x), torch.cat([x[:, :bypass], 2 * x[:, bypass:]], 1))


def test_gates_weigh_channels_by_their_means() -> None:
    x = image()
    for gate in (ese(6), se(6, 3)):
        gate = gate.double()  # noqa: PLW2901
        means = x.mean((2, 3), keepdim=True)
        assert torch.allclose(gate(x), x * gate.gate(means))
    hard = ese(6).double()
    linear = hard.get_submodule("gate.0")
    expected = (linear(x.mean((2, 3), keepdim=True)) + 3).clamp(0, 6) / 6  # relu6(x + 3) / 6
    assert torch.allclose(hard(x), x * expected)


def test_channel_norm_is_over_channels_alone() -> None:
    x = image()
    norm = ChannelNorm(6).double()
    expected = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    assert torch.allclose(norm(x), expected)
    assert torch.equal(Scale(6, 0.5).double()(x), 0.5 * x)


def test_split_leaves_the_first_channels_alone() -> None:
    x = image()
    assert torch.equal(Split(2, Times(2.0))(x), torch.cat([x[:, :2], 2 * x[:, 2:]], 1))


def test_parallel_concatenates_in_order() -> None:
    x = image()
    assert torch.equal(Parallel(Times(1.0), Times(5.0))(x), torch.cat([x, 5 * x], 1))


@given(half=st.integers(1, 3), height=st.integers(4, 9), width=st.integers(4, 9))
def test_blur_pool_is_a_strided_binomial_convolution(half: int, height: int, width: int) -> None:
    side = 2 * half + 1
    row = torch.tensor([comb(side - 1, i) / 2 ** (side - 1) for i in range(side)], dtype=torch.float64)
    kernel = torch.outer(row, row).view(1, 1, side, side)
    x = torch.randn(2, 1, height, width, dtype=torch.float64)
    mirrored = nn.functional.pad(x, (half,) * 4, mode="reflect")
    wanted = nn.functional.conv2d(mirrored, kernel, stride=2)
    assert torch.allclose(blur_pool(side)(x), wanted, rtol=0, atol=1e-14)
    assert wanted.shape[2:] == ((height + 1) // 2, (width + 1) // 2)


@given(groups=st.integers(1, 8), width=st.integers(1, 8))
def test_shuffle_is_the_documented_permutation_and_its_inverse_undoes_it(groups: int, width: int) -> None:
    channels = groups * width
    x = torch.arange(channels, dtype=torch.float32).view(1, channels, 1, 1)
    shuffled = Shuffle(groups)(x).flatten().long()
    for i in range(width):
        for k in range(groups):
            assert shuffled[i * groups + k] == k * width + i
    assert torch.equal(Shuffle(width)(Shuffle(groups)(x)), x)


def test_a_shuffled_image_is_contiguous() -> None:
    """Kernels that read memory straight through, quantized ones for example, need it."""
    assert Shuffle(3)(image(12)).is_contiguous()


def test_shuffle_agrees_with_torch() -> None:
    x = image(12)
    assert torch.equal(Shuffle(3)(x), nn.ChannelShuffle(3)(x))


def test_head_pools_then_classifies() -> None:
    x = image()
    head = Head(6, 3).double().eval()
    assert torch.allclose(head(x), head.classifier(x.mean((2, 3))))
    assert torch.allclose(Head(6, 0)(x), x.mean((2, 3)))
    assert Head(6, 3, bias=False).classifier.bias is None
