"""Channel routes folded into weights: what moves channels is gone, and the answers are the same to 1e-10."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from helpers.families import slow_but
from helpers.reference import MegviiShuffleNetV1, MegviiShuffleNetV2
from helpers.rewrites import (
    Calls,
    aten,
    calls,
    chain,
    depthwise,
    equal,
    graph_of,
    images,
    interleaved,
    point,
    proven,
    shaken,
    shuffled,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import featherbone as fb
from featherbone.deploy.rewrites import rewrite
from featherbone.deploy.rewrites.dense_groups import dense_groups
from featherbone.deploy.rewrites.routes import route_channels

CONV = aten.conv2d.default
SHUFFLES = (
    aten.transpose.int,
    aten.permute.default,
    aten.channel_shuffle.default,
    aten.index_select.default,
    aten.index.Tensor,
    aten.stack.default,
)


# networks that shuffle -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    slow_but(
        ("shufflenet_v2_x0_5", "shufflenet_v2_x0_5.tv", "shufflenet_v2_x0_5.pcv", "cspshufflenet_v2_x1_0"),
        ("shufflenet_v2_x0_5",),
    ),
)
def test_our_shufflenet_v2_is_never_shuffled(name: str) -> None:
    graph, count = proven(fb.create_model(name, num_classes=5), route_channels, images(32))
    assert count > 0
    assert not calls(graph, *SHUFFLES)


def test_torchvisions_shufflenet_v2_is_never_shuffled() -> None:
    import torchvision

    model = torchvision.models.get_model("shufflenet_v2_x0_5", num_classes=5)
    graph, count = proven(model, route_channels, images(32))
    assert count >= 13
    assert not calls(graph, *SHUFFLES)


@pytest.mark.slow
def test_pytorchcvs_shufflenet_v2_is_never_shuffled() -> None:
    from pytorchcv.model_provider import get_model

    graph, _ = proven(get_model("shufflenetv2b_wd2"), route_channels, images(224, batch=2))
    assert not calls(graph, *SHUFFLES)


def test_the_authors_shufflenet_v2_is_never_shuffled() -> None:
    graph, count = proven(MegviiShuffleNetV2((48, 96, 192), 64), route_channels, images(32))
    assert count > 0
    assert not calls(graph, *SHUFFLES)


@pytest.mark.parametrize("groups", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_the_authors_shufflenet_v1_made_dense_is_never_shuffled(groups: int) -> None:
    model, x = shaken(MegviiShuffleNetV1(groups, 12, (120, 240, 480))), images(32)
    dense, _ = dense_groups(graph_of(model, x))
    graph, count = route_channels(dense)
    equal(model, graph, x)
    assert count > 0
    assert not calls(graph, *SHUFFLES)


@pytest.mark.parametrize(
    "name",
    slow_but(
        ("shufflenet_v1_g3_x0_5", "shufflenet_v1_g8_x0_25", "shufflenet_v1_g3_x1_0.pcv"), ("shufflenet_v1_g3_x0_5",)
    ),
)
def test_shufflenet_v1_made_dense_is_never_shuffled(name: str) -> None:
    model, x = shaken(fb.create_model(name, num_classes=5)), images(32)
    plain, _ = route_channels(graph_of(model, x))
    equal(model, plain, x)
    dense, _ = dense_groups(plain)
    graph, count = route_channels(dense)
    equal(model, graph, x)
    assert count > 0
    assert not calls(graph, *SHUFFLES)


# small networks: the layers, what happens between them, what must be gone --------------------------------------------


def _halves(x: Tensor) -> Tensor:
    first, second = x.chunk(2, 1)
    return torch.cat([second, first], 1)


def _pairs(x: Tensor) -> Tensor:
    return x.view(-1, 3, 2, *x.shape[2:])


MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "view and transpose": lambda x: shuffled(x, 2),
    "the operation": lambda x: torch.nn.functional.channel_shuffle(x, 3),
    "stack": lambda x: interleaved(x.chunk(2, 1)),
    "index_select": lambda x: x.index_select(1, torch.tensor([5, 3, 1, 4, 2, 0])),
    "index": lambda x: x[:, [5, 3, 1, 4, 2, 0]],
    "permute": lambda x: _pairs(x).permute(0, 2, 1, 3, 4).flatten(1, 2),
    "negative permute": lambda x: _pairs(x).permute(0, -3, -4, -2, -1).flatten(1, 2),
    "halves": _halves,
    "slices": lambda x: torch.cat([x[:, 1::2], x[:, ::2]], 1),
    "narrow": lambda x: torch.cat([x.narrow(1, 2, 4), x.narrow(1, 0, 2)], 1),
    "split": lambda x: torch.cat(torch.split(x, [1, 2, 3], 1)[::-1], 1),
    "unbind": lambda x: torch.stack(x.unbind(1)[::-1], 1),
    "through an activation": lambda x: shuffled(x.relu(), 3).sigmoid(),
    "through a pool": lambda x: torch.nn.functional.max_pool2d(shuffled(x, 3), 3, 1, 1),
    "twice": lambda x: shuffled(shuffled(x, 2).relu(), 2),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
@pytest.mark.parametrize("second", [point(6, 5), nn.Conv2d(6, 5, 3, padding=1, bias=False)], ids=["1x1", "3x3"])
def test_moves_between_two_layers(move: Callable[[Tensor], Tensor], second: nn.Module) -> None:
    graph, count = proven(Calls(lambda x, a, b: b(move(a(x))), point(3, 6), second), route_channels)
    assert count > 0
    assert not calls(graph, *SHUFFLES, aten.cat.default, aten.split.Tensor, aten.chunk.default, aten.slice.Tensor)


SECOND: Sequence[nn.Module] = (
    chain(depthwise(6), nn.BatchNorm2d(6), nn.ReLU(), point(6, 5)),
    point(6, 4, groups=2),
    chain(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)),
    Calls(lambda x, a: a(x.mean((2, 3))), nn.Linear(6, 4)),
    Calls(lambda x, a: a(x.mean((-1, -2), keepdim=True).flatten(1)), nn.Linear(6, 4)),
    Calls(lambda x, a: a(x.amax((2, 3))), nn.Linear(6, 4)),
    chain(nn.Flatten(), nn.Linear(6 * 64, 4)),
    Calls(lambda x, a: x * a(x).sigmoid(), chain(nn.AdaptiveAvgPool2d(1), point(6, 6))),
    nn.Softmax(1),
    nn.GroupNorm(3, 6),
    nn.PReLU(6),
    nn.Identity(),
)
_SECOND_NAMES = "depthwise grouped head mean kept_mean max flat gate softmax groupnorm prelu nothing".split()


@pytest.mark.parametrize(
    ("move", "second"),
    [
        pytest.param(move, second, id=f"{name}-{other}", marks=[pytest.mark.slow] * ((i + j) % 6 > 0))
        for i, (name, move) in enumerate(MOVES.items())
        for j, (other, second) in enumerate(zip(_SECOND_NAMES, SECOND, strict=True))
    ],
)
def test_moves_before_anything(move: Callable[[Tensor], Tensor], second: nn.Module) -> None:
    proven(Calls(lambda x, a, b: b(move(a(x))), point(3, 6), second), route_channels)


def test_an_output_in_the_middle_of_a_shuffle() -> None:
    def forward(x: Tensor, *layers: nn.Module) -> list[Tensor]:
        first = shuffled(layers[0](x), 2)
        second = shuffled(layers[1](first).relu(), 3)
        return [first, second, layers[2](second)]

    proven(Calls(forward, point(3, 6), point(6, 6), point(6, 6)), route_channels)


@pytest.mark.slow
def test_features_of_a_shufflenet() -> None:
    proven(fb.create_model("shufflenet_v2_x0_5", features_only=True), route_channels, images(32))


def test_branches_of_a_unit() -> None:
    """ShuffleNet V2's unit with a residual addition: the sum fixes the order, and the rest still needs no shuffle."""

    def forward(x: Tensor, stem: nn.Module, *layers: nn.Module) -> Tensor:
        x = stem(x)
        for layer in layers:
            kept, worked = x.chunk(2, 1)
            x = shuffled(torch.cat([kept, layer(worked) + worked], 1), 2)
        return x.mean((2, 3))

    layers = [chain(point(4, 4), nn.ReLU(), depthwise(4), point(4, 4)) for _ in range(3)]
    proven(Calls(forward, point(3, 8), *layers), route_channels)


def test_channels_read_twice_have_their_weights_added() -> None:
    model = Calls(lambda x, a, b: b(torch.cat([a(x), a(x)], 1)), point(3, 4), point(8, 5))
    proven(model, route_channels)

    def forward(x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
        y = a(x)
        return b(torch.cat([y, y], 1))

    graph, count = proven(Calls(forward, point(3, 4), point(8, 5)), route_channels)
    assert count == 1
    assert not calls(graph, aten.cat.default)
    assert [node.meta for node in calls(graph, CONV)]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("order", [(0, 0, 1, 1), (0, 1, 0, 1), (1, 0, 0, 0)])
def test_channels_read_twice_by_any_layer(groups: int, order: tuple[int, ...]) -> None:
    def forward(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module) -> Tensor:
        parts = a(x).chunk(2, 1)
        return c(b(torch.cat([parts[i] for i in order], 1)).relu())

    proven(Calls(forward, point(3, 4), nn.Conv2d(8, 8, 3, groups=groups), point(8, 3)), route_channels)
    proven(Calls(forward, point(3, 4), depthwise(8), point(8, 3)), route_channels)


# what nobody reads ---------------------------------------------------------------------------------------------------


def test_outputs_that_nobody_reads_are_not_computed() -> None:
    model = Calls(lambda x, a, n, b: b(n(a(x)).relu()[:, 2:5]), point(3, 8), nn.BatchNorm2d(8), point(3, 4))
    graph, count = proven(model, route_channels)
    assert count > 0
    weight = calls(graph, CONV)[0].args[1]
    assert getattr(graph, str(weight.target)).shape[0] == 3  # type: ignore[union-attr]


def test_outputs_that_meet_only_zero_weights_are_not_computed() -> None:
    fifth, last = point(8, 6), nn.Conv2d(6, 4, 3)
    model = shaken(chain(point(3, 8), nn.ReLU(), depthwise(8), nn.ReLU(), fifth, last))
    fifth.weight.data[:, [1, 4, 6]] = 0
    last.weight.data[:, 2:] = 0
    graph, count = route_channels(graph_of(model, images()))
    equal(model, graph, images())
    assert count > 0
    shapes = [tuple(getattr(graph, str(node.args[1].target)).shape[:2]) for node in calls(graph, CONV)]  # type: ignore[union-attr]
    assert shapes == [(5, 3), (5, 1), (2, 5), (4, 2)]


def test_a_layer_of_zeros() -> None:
    zeros = point(4, 4)
    model = shaken(chain(point(3, 4), zeros, nn.ReLU(), point(4, 2)))
    zeros.weight.data.zero_()
    graph, _ = route_channels(graph_of(model, images()))
    equal(model, graph, images())


@pytest.mark.parametrize(
    "made",
    [
        lambda x, a, b: a(x) + b(x),
        lambda x, a, b: a(x) * 2,
        lambda x, a, b: (a(x) - b(x)).relu(),
        lambda x, a, b: a(x).softmax(1),
        lambda x, a, b: torch.nn.functional.max_pool2d(a(x) + b(x), 2),
    ],
    ids=["sum", "scaled", "relu", "softmax", "pool"],
)
def test_half_of_what_another_operation_makes(made: Any) -> None:
    """Nothing else is computed per channel: a sum that is read in part is computed whole, and read in part."""
    half = Calls(lambda x, a, b, c: c(made(x, a, b)[:, :2]), point(3, 4), point(3, 4), point(2, 3))
    proven(half, route_channels)
    both = Calls(
        lambda x, a, b, c, d: c(made(x, a, b)[:, 1:3]) + d(shuffled(made(x, a, b), 2)[:, :3]),
        point(3, 4),
        point(3, 4),
        point(2, 3),
        point(3, 3),
    )
    proven(both, route_channels)


def test_part_of_the_image_s_channels() -> None:
    proven(Calls(lambda x, a: a(x[:, 1:]), point(2, 4)), route_channels)
    proven(Calls(lambda x, a: a(shuffled(x.relu(), 3)[:, :2]), point(2, 4)), route_channels, images(channels=6))


# random networks -----------------------------------------------------------------------------------------------------

STEPS = (
    *("conv", "conv3", "depthwise", "grouped", "relu", "norm", "add", "gate", "split", "chunk", "slice", "cat"),
    *("double", "shuffle", "stack", "select", "pool", "scale"),
)


class Drawn(nn.Module):
    """A network of steps, each of which reads maps made so far, counted from the last, and makes another."""

    def __init__(self, steps: list[tuple[str, int, int, int]], outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.steps: list[tuple[str, int, int, int, int]] = []
        self.outputs = outputs
        widths = [4]
        for step, first, second, number in steps:
            place = len(self.layers)
            a, b = (len(widths) - 1 - at % len(widths) for at in (first, second))
            width = widths[a]
            made = self._layer(step, width, 2 + number % 7)
            if made is not None:
                self.layers.append(made.eval())
            self.steps.append((step, a, b, number, place))
            with torch.no_grad():
                empty = [torch.zeros(1, w, 1, 1) for w in widths]
                widths.append(self._does(self.steps[-1], empty).shape[1])

    def _layer(self, step: str, width: int, number: int) -> nn.Module | None:
        groups = max(g for g in (1, 2, 3, 4) if width % g == 0)
        layers: dict[str, Callable[[], nn.Module]] = {
            "conv": lambda: point(width, number, bias=number % 2 == 0),
            "conv3": lambda: nn.Conv2d(width, number, 3, padding=1),
            "depthwise": lambda: depthwise(width),
            "grouped": lambda: point(width, groups * (1 + number % 3), groups=groups),
            "norm": lambda: nn.BatchNorm2d(width),
            "gate": lambda: chain(nn.AdaptiveAvgPool2d(1), point(width, width), nn.Sigmoid()),
        }
        return layers[step]() if step in layers else None

    def _does(self, step: tuple[str, int, int, int, int], maps: list[Tensor]) -> Tensor:
        name, a, b, number, place = step
        if name in ("conv", "conv3", "depthwise", "grouped", "norm"):
            return self.layers[place](maps[a])
        return maps[a] * self.layers[place](maps[a]) if name == "gate" else _moved(name, maps[a], maps[b], number)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [x]
        for step in self.steps:
            maps.append(self._does(step, maps))
        return [m + 0 if i else m.mean((2, 3)) for i, m in enumerate(maps[-self.outputs :])]


def _moved(name: str, x: Tensor, y: Tensor, number: int) -> Tensor:
    c = x.shape[1]
    even = [g for g in (2, 3, 4, 5) if c % g == 0]
    moves: dict[str, Callable[[], Tensor]] = {
        "add": lambda: x + y if c == y.shape[1] else x,
        "slice": lambda: x[:, number % c :: 1 + number % 3],
        "split": lambda: torch.split(x, [1, c - 1], 1)[number % 2] if c > 1 else x,
        "chunk": lambda: x.chunk(2, 1)[number % 2] if c > 1 else x,
        "shuffle": lambda: shuffled(x, even[number % len(even)]) if even else x,
        "stack": lambda: interleaved(x.chunk(2, 1)) if c % 2 == 0 else x,
        "cat": lambda: torch.cat([x, y], 1),
        "double": lambda: torch.cat([x, x], 1),
        "select": lambda: x.index_select(1, torch.tensor([(number * i + 1) % c for i in range(c)])),
        "pool": lambda: torch.nn.functional.max_pool2d(x, 3, 1, 1),
        "scale": lambda: x * 2,
        "relu": x.relu,
    }
    return moves[name]()


steps = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, 3), st.integers(0, 3), st.integers(0, 12)),
    min_size=2,
    max_size=14,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.integers(1, 2), st.booleans())
def test_random_networks(steps: list[tuple[str, int, int, int]], outputs: int, dense: bool) -> None:
    model, x = shaken(Drawn(steps, outputs)), images(3, channels=4)
    graph = graph_of(model, x)
    if dense:
        graph, _ = dense_groups(graph)
    graph, _ = rewrite(graph)
    equal(model, graph, x)
    again, _ = rewrite(graph)
    equal(model, again, x)
