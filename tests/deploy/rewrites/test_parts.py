"""Convolutions merged side by side, split where they are read in parts, and summed instead of concatenated."""

from typing import Any

import pytest
import torch
from helpers.families import slow_but, thin
from helpers.rewrites import Calls, aten, calls, chain, equal, graph_of, images, point, proven, shaken
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu, silu

import featherbone as fb
from featherbone.deploy.rewrites import concat_free, merge_parallel, rewrite, split_convolution

CONV, CAT, SPLIT = aten.conv2d.default, aten.cat.default, aten.split_with_sizes.default


# merged --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [None, relu, silu, lambda x: leaky_relu(x, 0.2)], ids=["none", "relu", "silu", "leaky"])
@pytest.mark.parametrize("biases", [(True, True), (True, False), (False, False)])
def test_two_layers_side_by_side(act: Any, biases: tuple[bool, bool]) -> None:
    def forward(x: Tensor, *layers: nn.Module) -> list[Tensor]:
        return [act(layer(x)) if act else layer(x) for layer in layers]

    graph, count = proven(Calls(forward, point(3, 4, bias=biases[0]), point(3, 5, bias=biases[1])), merge_parallel)
    assert count == 1
    assert len(calls(graph, CONV)) == len(calls(graph, SPLIT)) == 1
    names = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    assert len(names) == 1 + (act is not None) + 1 + 2


def test_different_activations_follow_the_split() -> None:
    model = Calls(lambda x, a, b: relu(a(x)) + silu(b(x)), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3))
    graph, count = proven(model, merge_parallel)
    assert count == 1
    assert calls(graph, SPLIT)[0].args[0] is calls(graph, CONV)[0]
    slopes = Calls(lambda x, a, b: leaky_relu(a(x), 0.1) + leaky_relu(b(x), 0.2), point(3, 4), point(3, 4))
    graph, count = proven(slopes, merge_parallel)
    assert count == 1
    assert len(calls(graph, aten.leaky_relu.default)) == 2


def test_an_output_before_its_activation() -> None:
    def forward(x: Tensor, a: nn.Module, b: nn.Module) -> tuple[Tensor, Tensor]:
        y = a(x)
        return relu(y) + relu(b(x)), y

    assert proven(Calls(forward, point(3, 4), point(3, 4)), merge_parallel)[1] == 1


def test_only_layers_of_a_shape_are_merged() -> None:
    layers = [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(3, 2, 3, padding=1),
        nn.Conv2d(3, 2, 3, padding=2, dilation=2),
        nn.Conv2d(3, 5, 1),
        nn.Conv2d(3, 3, 3, padding=1, groups=3),
        nn.Conv2d(3, 6, 3, padding=1),
    ]
    graph, count = proven(Calls(lambda x, *layers: torch.cat([f(x) for f in layers], 1), *layers), merge_parallel)
    assert count == 2
    assert len(calls(graph, CONV)) == 4


def test_convolutions_that_read_different_things_stay() -> None:
    assert proven(Calls(lambda x, a, b: a(x) + b(x.relu()), point(3, 4), point(3, 4)), merge_parallel)[1] == 0
    assert proven(chain(point(3, 4), point(4, 4)), merge_parallel)[1] == 0


@pytest.mark.parametrize("name", slow_but(("cspresnet50", "peleenet", "cspdarknet53"), ("peleenet",)))
def test_families_with_layers_side_by_side(name: str) -> None:
    model, x = shaken(fb.create_model(thin(name), num_classes=5)), images(32)
    folded, _ = rewrite(graph_of(model, x))
    graph, count = merge_parallel(folded)
    equal(model, graph, x)
    assert count > 0
    assert len(calls(graph, CONV)) == len(calls(folded, CONV)) - count
    back, split = split_convolution(graph)
    equal(model, back, x)
    assert split > 0


# split ---------------------------------------------------------------------------------------------------------------


def _uneven(x: Tensor) -> list[Tensor]:
    return list(torch.split(x, [1, 2, 3], 1))


CUTS = {
    "chunk": lambda x: x.chunk(2, 1),
    "split": lambda x: torch.split(x, 4, 1),
    "sizes": _uneven,
    "from the end": lambda x: x.chunk(2, -3),
    "slices": lambda x: [x[:, :2], x[:, 3:]],
    "steps": lambda x: [x[:, ::2], x[:, 1::2]],
    "narrow": lambda x: [x.narrow(1, 0, 2), x.narrow(1, 4, 2)],
    "one part of two": lambda x: x.chunk(2, 1)[1:],
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
@pytest.mark.parametrize("layer", [point(3, 6), nn.Conv2d(3, 6, 3, stride=2, bias=False)], ids=["1x1", "3x3"])
@pytest.mark.parametrize(
    "act", [nn.Identity(), pytest.param(nn.SiLU(), marks=pytest.mark.slow)], ids=["plain", "activation"]
)
def test_a_layer_read_in_parts(cut: Any, layer: nn.Module, act: nn.Module) -> None:
    def forward(x: Tensor, a: nn.Module, act: nn.Module) -> list[Tensor]:
        return [part.sigmoid() for part in cut(act(a(x)))]

    model, x = shaken(Calls(forward, layer, act)), images()
    graph, _ = rewrite(graph_of(model, x))  # the full slice of the images' side goes
    graph, count = split_convolution(graph_of(model, x)) if cut is not CUTS["steps"] else split_convolution(graph)
    equal(model, graph, x)
    if not calls(graph, aten.slice.Tensor):
        assert count == 1
    moving = (aten.chunk.default, aten.split.Tensor, SPLIT, aten.narrow.default)
    assert not calls(graph, *moving)


@pytest.mark.parametrize(
    "forward",
    [
        lambda x, a: [y := a(x), y.narrow(1, 0, 2)],
        lambda x, a: [(y := a(x)).narrow(1, 0, 3), y.narrow(1, 2, 3)],
        lambda x, a: a(x).chunk(2, 2),
        lambda x, a: a(x).relu().mul(2).chunk(2, 1),
    ],
    ids=["read whole too", "overlap", "rows", "another operation between"],
)
def test_layers_that_stay_whole(forward: Any) -> None:
    graph, count = proven(Calls(forward, point(3, 6)), split_convolution)
    assert count == 0
    assert len(calls(graph, CONV)) == 1


def test_grouped_layers_stay_whole() -> None:
    model = Calls(lambda x, a: a(x).chunk(2, 1), point(4, 6, groups=2))
    assert proven(model, split_convolution, images(channels=4))[1] == 0


# summed --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [point(9, 5), nn.Conv2d(9, 5, 3, padding=1, stride=2), point(9, 5, bias=False)],
    ids=["1x1", "3x3", "no bias"],
)
def test_a_convolution_of_a_concatenation(layer: nn.Module) -> None:
    model = Calls(lambda x, a, b, c: c(torch.cat([x, a(x), x, b(x)], 1)).relu(), point(3, 2), point(3, 1), layer)
    graph, count = proven(model, concat_free)
    assert count == 1
    assert not calls(graph, CAT)
    assert len(calls(graph, aten.add.Tensor)) == 3
    assert sum(node.args[2] is not None for node in calls(graph, CONV)[2:]) == (layer.bias is not None)
    assert len(calls(graph, aten.relu.default)) == 1
    assert proven(model, lambda graph: concat_free(graph, at_most=3))[1] == 0


@pytest.mark.parametrize(
    "model",
    [
        Calls(lambda x, a: [a(y := torch.cat([x, x.relu()], 1)), y], point(6, 4)),
        Calls(lambda x, a: a(torch.cat([x, x.relu()], 1)), point(6, 4, groups=2)),
        Calls(lambda x, a: a(torch.cat([x, x.relu()], 2)), point(3, 4)),
        Calls(lambda x, a: a(torch.cat([x, x.exp()], 1).relu()), point(6, 4)),
    ],
    ids=["also read", "grouped", "rows", "activation between"],
)
def test_concatenations_that_stay(model: nn.Module) -> None:
    assert proven(model, concat_free)[1] == 0


@pytest.mark.parametrize("name", slow_but(("vovnet27_slim", "cspvovnet39", "squeezenet"), ("vovnet27_slim",)))
def test_concat_free_families(name: str) -> None:
    import torchvision

    whole = torchvision.models.squeezenet1_1(num_classes=5) if name == "squeezenet" else None
    model, x = shaken(whole or fb.create_model(thin(name), num_classes=5)), images(64)
    folded, _ = rewrite(graph_of(model, x))
    graph, count = concat_free(folded, at_most=8)
    equal(model, graph, x)
    assert count > 0
    assert len(calls(graph, CAT)) == len(calls(folded, CAT)) - count
