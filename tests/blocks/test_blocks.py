"""Every block against the paper's description, written again in plain PyTorch (``helpers.blocks``), in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.blocks import (
    Convolution,
    CSPDenseBlock,
    DenseBlock,
    DenseLayer,
    Normalized,
    OSAModule,
    ShuffleNetV1Unit,
    ShuffleNetV2Unit,
    Transition,
)
from helpers.reference import randomize
from torch import Tensor, nn

import featherbone as fb
from featherbone import blocks

DILATIONS = (1, 2, 3, 4)
STRIDES = (1, 2, 3)


def agree(ours: nn.Module, theirs: nn.Module, c_in: int) -> Tensor:
    """Compare outputs, gradients and statistics, in training and in evaluation; return the last output."""
    torch.manual_seed(0)
    randomize(ours.double())
    theirs.double()
    given, wanted = ours.state_dict(), theirs.state_dict()
    assert [value.shape for value in given.values()] == [value.shape for value in wanted.values()]
    theirs.load_state_dict(dict(zip(wanted, given.values(), strict=True)))
    for mode in (True, False):
        ours.train(mode)
        theirs.train(mode)
        x = torch.randn(2, c_in, 13, 17, dtype=torch.float64)
        images = [x.clone().requires_grad_(), x.clone().requires_grad_()]
        out, expected = ours(images[0]), theirs(images[1])
        close(out, expected)
        assert torch.equal(images[0], x)
        weights = torch.randn(out.shape, dtype=torch.float64)
        gradients = [
            torch.autograd.grad((result * weights).sum(), [image, *module.parameters()])
            for result, image, module in ((out, images[0], ours), (expected, images[1], theirs))
        ]
        for one, other in zip(*gradients, strict=True):
            close(one, other)
        for one, other in zip(ours.buffers(), theirs.buffers(), strict=True):
            close(one, other)
    return out


def close(one: Tensor, other: Tensor) -> None:
    assert one.shape == other.shape
    assert (one - other).abs().max() <= 1e-12 * max(1.0, other.abs().max().item())


@pytest.mark.parametrize("dilation", DILATIONS)
@pytest.mark.parametrize("bottleneck", [0, 1, 4])
def test_a_dense_layer_and_a_dense_block_are_the_papers(bottleneck: int, dilation: int) -> None:
    columns: dict[str, Any] = {"bottleneck": bottleneck, "dilation": dilation}
    out = agree(blocks.dense_layer(7, 5, **columns), DenseLayer(7, 5, **columns), 7)
    assert out.shape == (2, 5, 13, 17)
    out = agree(blocks.dense_block(7, 3, 4, **columns), DenseBlock(7, 3, 4, **columns), 7)
    assert out.shape == (2, 7 + 3 * 4, 13, 17)


@pytest.mark.parametrize("stride", STRIDES)
def test_a_transition_is_the_papers(stride: int) -> None:
    out = agree(blocks.transition(10, 6, stride=stride), Transition(10, 6, stride), 10)
    assert out.shape == (2, 6, 13 // stride, 17 // stride)
    assert agree(blocks.transition(10, 6), Transition(10, 6, 2), 10).shape == (2, 6, 6, 8)


@pytest.mark.parametrize("dilation", DILATIONS)
@pytest.mark.parametrize("fusion", ["both", "first", "last"])
@pytest.mark.parametrize(("ratio", "past"), [(0.5, 5), (0.25, 2), (0.8, 8)])
def test_a_csp_dense_block_is_the_papers(ratio: float, past: int, fusion: Any, dilation: int) -> None:
    ours = blocks.csp_dense_block(10, 3, 4, partial_ratio=ratio, fusion=fusion, dilation=dilation)
    assert agree(ours, CSPDenseBlock(past, 10 - past, fusion, dilation), 10).shape == (2, 22, 13, 17)


def test_a_csp_dense_block_emits_what_is_asked_for_and_compresses_before() -> None:
    block = blocks.csp_dense_block(10, 3, 4, c_out=9, compression=1.0)
    assert block(torch.zeros(2, 10, 5, 5)).shape == (2, 9, 5, 5)
    widths = [part.out_channels for part in block.modules() if isinstance(part, nn.Conv2d) and part.kernel_size[0] == 1]
    assert widths == [16, 16, 16, 5 + 3 * 4, 9]


@pytest.mark.parametrize("dilation", DILATIONS)
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(("c_in", "residual"), [(8, False), (6, False), (12, True)])
def test_an_osa_module_is_the_papers(c_in: int, residual: bool, gated: bool, depthwise: bool, dilation: int) -> None:
    columns: dict[str, Any] = {"residual": residual, "gated": gated, "depthwise": depthwise, "dilation": dilation}
    ours, theirs = blocks.osa_module(c_in, 6, 12, layers=3, **columns), OSAModule(c_in, 6, 12, **columns)
    if depthwise and c_in != 6:  # ours runs the entry first and lists it first, too
        assert next(iter(ours.state_dict())).endswith("entry.0.weight")
    assert agree(ours, theirs, c_in).shape == (2, 12, 13, 17)


@pytest.mark.parametrize("depthwise", [False, True])
def test_an_osa_module_can_have_bottlenecks(depthwise: bool) -> None:
    columns: dict[str, Any] = {"bottleneck": 4, "depthwise": depthwise, "dilation": 2, "residual": False, "gated": True}
    theirs = OSAModule(8, 6, 12, **columns)
    assert agree(blocks.osa_module(8, 6, 12, layers=3, **columns), theirs, 8).shape == (2, 12, 13, 17)


@pytest.mark.parametrize("dilation", DILATIONS)
@pytest.mark.parametrize("stride", STRIDES)
def test_a_separable_convolution_has_nothing_between_its_two(stride: int, dilation: int) -> None:
    spatial = Convolution(5, 5, 3, stride=stride, groups=5, dilation=dilation)
    ours = blocks.separable_conv(5, 7, stride=stride, dilation=dilation)
    out = agree(ours, nn.Sequential(spatial, Normalized(5, 7)), 5)
    assert out.shape == (2, 7, -(-13 // stride), -(-17 // stride))


@pytest.mark.parametrize("dilation", DILATIONS)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(("c_in", "c_out", "groups"), [(24, 24, 3), (24, 24, 1), (12, 24, 3), (8, 32, 4)])
def test_a_shufflenet_v1_unit_is_the_papers(c_in: int, c_out: int, groups: int, stride: int, dilation: int) -> None:
    if stride > 1 and c_in == c_out:
        c_in //= 2
    columns: dict[str, Any] = {"groups": groups, "stride": stride, "dilation": dilation}
    ours = blocks.shufflenet_v1_unit(c_in, c_out, **columns)
    out = agree(ours, ShuffleNetV1Unit(c_in, c_out, **columns), c_in)
    assert out.shape == (2, c_out, -(-13 // stride), -(-17 // stride))
    assert (out >= 0).all()


def test_a_shufflenet_v1_unit_keeps_its_input_where_nothing_shrinks() -> None:
    """A stage's opening in dilated networks: the input's channels come first, and only the ReLU touches them."""
    x = torch.randn(2, 12, 13, 17)
    unit = blocks.shufflenet_v1_unit(12, 24, groups=3, dilation=2)
    assert torch.equal(unit(x)[:, :12], x.relu())
    last = blocks.shufflenet_v1_unit(12, 24, groups=3, dilation=2, shortcut_first=False)
    assert torch.equal(last(x)[:, 12:], x.relu())


def test_a_shufflenet_v1_units_pool_can_be_without_a_border() -> None:
    x = torch.randn(2, 12, 13, 17).relu()
    pooled = blocks.shufflenet_v1_unit(12, 24, groups=3, stride=2, shortcut_pool=2)(x)[:, :12]
    for row, column in ((0, 0), (2, 1), (6, 8)):  # the last has fewer points
        assert torch.allclose(pooled[:, :, row, column], x[:, :, 2 * row :, 2 * column :][..., :2, :2].mean((2, 3)))
    with pytest.raises(fb.InputError, match="shortcut_pool=2 is not allowed: 3, or 2 at stride 2"):
        blocks.shufflenet_v1_unit(12, 24, groups=3, stride=3, shortcut_pool=2)


def test_a_dense_layer_can_drop_after_its_last_convolution_alone() -> None:
    def drops(**columns: Any) -> list[bool]:
        layer = blocks.dense_layer(7, 5, dropout=0.5, **columns)
        return [isinstance(part, nn.Dropout) for part in layer]

    assert drops() == [False, True, False, True]
    assert drops(dropout_everywhere=False) == [False, False, True]
    block = blocks.dense_block(7, 3, 5, dropout=0.5, dropout_everywhere=False)
    assert sum(isinstance(part, nn.Dropout) for part in block.modules()) == 3


def test_a_shufflenet_v1_units_groups_and_shuffle_can_be_those_of_the_authors_code() -> None:
    x = torch.randn(2, 10, 9, 9)
    unit = blocks.shufflenet_v1_unit(10, 34, groups=3, first_groups=1, stride=2)
    assert [m.groups for m in unit.modules() if isinstance(m, nn.Conv2d)] == [1, 9, 3]
    assert unit(x).shape == (2, 34, 5, 5)
    orders = [
        part(torch.arange(12.0).view(1, 12, 1, 1)).flatten().tolist()
        for inverse in (False, True)
        for part in blocks.shufflenet_v1_unit(48, 48, groups=3, inverse_shuffle=inverse).modules()
        if isinstance(part, fb.Shuffle)
    ]
    assert [orders[0][int(i)] for i in orders[1]] == list(range(12))


@pytest.mark.parametrize("dilation", DILATIONS)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(("c_in", "c_out"), [(12, 12), (12, 24), (7, 10), (24, 12)])
def test_a_shufflenet_v2_unit_is_the_papers(c_in: int, c_out: int, stride: int, dilation: int) -> None:
    ours = blocks.shufflenet_v2_unit(c_in, c_out, stride=stride, dilation=dilation)
    both = stride > 1 or c_in != c_out
    theirs = ShuffleNetV2Unit(c_in, c_out, stride=stride, dilation=dilation, both=both)
    assert agree(ours, theirs, c_in).shape == (2, c_out, -(-13 // stride), -(-17 // stride))


@pytest.mark.parametrize("dilation", DILATIONS)
def test_a_shufflenet_v2_unit_of_equal_widths_splits_unless_told_not_to(dilation: int) -> None:
    for split, both in ((None, False), (True, False), (False, True)):
        ours = blocks.shufflenet_v2_unit(12, 12, dilation=dilation, split=split)
        agree(ours, ShuffleNetV2Unit(12, 12, stride=1, dilation=dilation, both=both), 12)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "extra", [{"extra_depthwise": True}, {"gated": True}, {"residual": True}, {"gated": True, "residual": True}]
)
def test_a_shufflenet_v2_units_extras_are_those_of_table_7_and_the_appendix(stride: int, extra: Any) -> None:
    ours = blocks.shufflenet_v2_unit(12, 12, stride=stride, dilation=2, **extra)
    theirs = ShuffleNetV2Unit(12, 12, stride=stride, dilation=2, both=stride > 1, **extra)
    agree(ours, theirs, 12)


def test_a_shufflenet_v2_units_projection_may_make_less_than_half() -> None:
    ours = blocks.shufflenet_v2_unit(12, 16, stride=2, projection=3)
    agree(ours, ShuffleNetV2Unit(12, 16, stride=2, dilation=1, both=True, projection=3), 12)


def test_a_shufflenet_v2_unit_takes_another_activation() -> None:
    unit = blocks.shufflenet_v2_unit(8, 8, act=nn.SiLU)
    kinds = [type(part) for part in unit.modules() if isinstance(part, nn.SiLU | nn.ReLU)]
    assert kinds == [nn.SiLU, nn.SiLU]


@pytest.mark.parametrize(
    ("build", "convolutions"),
    [
        (lambda p: blocks.dense_layer(8, 4, dropout=p), 2),
        (lambda p: blocks.dense_block(8, 3, 4, dropout=p, bottleneck=0), 3),
        (lambda p: blocks.transition(8, 6, dropout=p), 1),
        (lambda p: blocks.csp_dense_block(8, 2, 4, dropout=p), 6),
    ],
)
def test_dropout_comes_after_every_convolution_and_only_while_training(
    build: Callable[[float], nn.Module], convolutions: int
) -> None:
    torch.manual_seed(0)
    plain, dropping = build(0.0), build(0.5)
    dropping.load_state_dict(dict(zip(dropping.state_dict(), plain.state_dict().values(), strict=True)))
    assert sum(isinstance(part, nn.Dropout) for part in dropping.modules()) == convolutions
    x = torch.randn(2, 8, 12, 12)
    assert torch.equal(plain.eval()(x), dropping.eval()(x))
    assert not torch.equal(plain.train()(x), dropping.train()(x))


def test_blocks_in_anybodys_network_can_be_computed_again() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        blocks.dense_block(4, 3, 4),
        blocks.osa_module(16, 4, 16, layers=2, residual=True),
        blocks.shufflenet_v1_unit(16, 16, groups=2, dilation=2),
        blocks.shufflenet_v2_unit(16, 16),
    ).double()
    lean = fb.recompute(network)
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    gradients = [torch.autograd.grad(model(x).square().sum(), list(model.parameters())) for model in (network, lean)]
    for one, other in zip(*gradients, strict=True):
        close(other, one)
    for one, other in zip(network.buffers(), lean.buffers(), strict=True):
        close(other, one)


def test_the_room_is_reached_from_the_package() -> None:
    assert fb.blocks is blocks
    assert fb.blocks.osa_module is blocks.osa_module


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: blocks.dense_layer(0, 4), "c_in=0 is not allowed: a whole number, 1 or more"),
        (lambda: blocks.dense_layer(4, growth_rate=True), "growth_rate=True"),
        (lambda: blocks.dense_layer(4, 4, bottleneck=-1), "bottleneck=-1.*0 or more"),
        (lambda: blocks.dense_layer(4, 4, dropout=1.0), "dropout=1.0 is not allowed: from 0 to below 1"),
        (lambda: blocks.dense_layer(4, 4, dilation=0), "dilation=0"),
        (lambda: blocks.dense_block(4, 0, 4), "layers=0"),
        (lambda: blocks.dense_block("4", 2, 4), "c_in='4'"),  # type: ignore[arg-type]
        (lambda: blocks.dense_block(4, 2, 1.5), "growth_rate=1.5"),  # type: ignore[arg-type]
        (lambda: blocks.transition(4, 0), "c_out=0"),
        (lambda: blocks.transition(4, 4, stride=0), "stride=0"),
        (lambda: blocks.csp_dense_block(1, 2, 4), "c_in=1 is not allowed: a whole number, 2 or more"),
        (lambda: blocks.csp_dense_block(8, 2, 4, partial_ratio=0), "partial_ratio=0 is not allowed: above 0"),
        (lambda: blocks.csp_dense_block(8, 2, 4, partial_ratio=0.01), "partial_ratio=0.01 .* 1 to 7 .* not 0"),
        (lambda: blocks.csp_dense_block(8, 2, 4, fusion="last", c_out=4), "partial_ratio=0.5 .* 1 to 3 .* not 4"),
        (lambda: blocks.csp_dense_block(8, 2, 4, fusion="middle"), "fusion='middle'"),  # type: ignore[arg-type]
        (
            lambda: blocks.csp_dense_block(8, 2, 4, compression=1.5),
            "compression=1.5 is not allowed: above 0, at most 1",
        ),
        (lambda: blocks.csp_dense_block(8, 2, 4, c_out=0), "c_out=0"),
        (lambda: blocks.osa_module(8, 0, 8), "conv_channels=0"),
        (lambda: blocks.osa_module(8, 4, 9, residual=True), "concat_channels=9 is not allowed: c_in=8"),
        (lambda: blocks.osa_module(8, 4, 8, layers=0), "layers=0"),
        (lambda: blocks.separable_conv(8, 4, stride=0), "stride=0"),
        (lambda: blocks.shufflenet_v1_unit(24, 24, groups=0), "groups=0"),
        (lambda: blocks.shufflenet_v1_unit(24, 24, groups=5), "groups=5 is not allowed: a divisor of 24"),
        (lambda: blocks.shufflenet_v1_unit(10, 22, groups=3), "groups=3 is not allowed: a divisor of c_in=10"),
        (lambda: blocks.shufflenet_v1_unit(12, 25, groups=3), "groups=3 is not allowed: a divisor of 13"),
        (
            lambda: blocks.shufflenet_v1_unit(13, 25, groups=3, first_groups=2),
            "first_groups=2 is not allowed: a divisor of c_in=13",
        ),
        (lambda: blocks.shufflenet_v1_unit(24, 24, groups=3, stride=2), "c_out=24 is not allowed: more than c_in=24"),
        (lambda: blocks.shufflenet_v1_unit(24, 12, groups=3), "c_out=12 is not allowed: c_in=24 or more"),
        (lambda: blocks.shufflenet_v1_unit(24, 12, groups=3, stride=3), "c_out=12 is not allowed: more than c_in=24"),
        (lambda: blocks.shufflenet_v2_unit(8, 9), "c_out=9 is not allowed: an even number"),
        (lambda: blocks.shufflenet_v2_unit(9, 9), "c_out=9 is not allowed: an even number"),
        (lambda: blocks.shufflenet_v2_unit(8, 16, split=True), "split=True .* equal widths, not stride 1 and 8 and 16"),
        (lambda: blocks.shufflenet_v2_unit(8, 8, stride=2, split=True), "split=True .* not stride 2"),
        (lambda: blocks.shufflenet_v2_unit(8, 8, projection=4), "projection=4 is not allowed: a unit that splits"),
        (lambda: blocks.shufflenet_v2_unit(8, 8, stride=2, projection=8), "projection=8 is not allowed: 1 to 7"),
        (lambda: blocks.shufflenet_v2_unit(8, 8, dilation=0), "dilation=0"),
    ],
)
def test_a_bad_argument_is_named(build: Callable[[], nn.Module], sentence: str) -> None:
    with pytest.raises(fb.InputError, match=sentence):
        build()
