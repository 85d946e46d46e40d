"""Every rewrite is an exact identity: random weights and running statistics, float64, equal to 1e-10."""

from typing import Any

import pytest
import torch
from helpers.families import FAMILIES, slow_but, thin
from helpers.rewrites import Calls, aten, calls, chain, depthwise, equal, graph_of, images, point, proven, shaken
from torch import Tensor, nn

import featherbone as fb
from featherbone.deploy.rewrites import rewrite
from featherbone.deploy.rewrites.dense_groups import dense_groups, grouped_shapes
from featherbone.deploy.rewrites.fold_norm import fold_norm
from featherbone.deploy.rewrites.pool_first import pool_first

NORM, CONV = aten.batch_norm.default, aten.conv2d.default


# batch norm ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        chain(point(3, 4), nn.BatchNorm2d(4), nn.ReLU()),
        chain(nn.Conv2d(3, 6, 3, groups=3, padding=1, bias=False), nn.BatchNorm2d(6)),
        chain(depthwise(3), nn.BatchNorm2d(3, affine=False)),
        chain(nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm2d(4, eps=0.1)),
        chain(nn.Flatten(), nn.Linear(192, 5), nn.BatchNorm1d(5)),
    ],
    ids=["1x1", "groups", "depthwise", "same", "linear"],
)
def test_a_norm_after_a_layer(model: nn.Module) -> None:
    graph, count = proven(model, fold_norm)
    assert count == 1
    assert not calls(graph, NORM)


@pytest.mark.parametrize(
    "model",
    [
        chain(nn.BatchNorm2d(3), point(3, 4)),
        chain(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, stride=2, bias=False)),
        chain(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding="valid", dilation=2)),
        chain(nn.BatchNorm2d(3), nn.Conv2d(3, 6, 2, groups=3)),
        chain(nn.Flatten(), nn.BatchNorm1d(192, affine=False), nn.Linear(192, 5, bias=False)),
        Calls(lambda x, n, a, b: a(n(x)) + b(n(x)), nn.BatchNorm2d(3), point(3, 4), point(3, 4, bias=False)),
    ],
    ids=["1x1", "stride", "valid", "groups", "linear", "two readers"],
)
def test_a_norm_before_layers(model: nn.Module) -> None:
    graph, count = proven(model, fold_norm)
    assert count >= 1
    assert not calls(graph, NORM)


@pytest.mark.parametrize(
    "model",
    [
        chain(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1)),
        chain(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding="same")),
        chain(nn.BatchNorm2d(3), nn.ReLU(), point(3, 4)),
        Calls(lambda x, n, a: a(y := n(x)) + y, nn.BatchNorm2d(3), point(3, 3)),
        chain(point(3, 4), nn.BatchNorm2d(4, track_running_stats=False)),
        # normalizes the second side, not the one that the linear layer makes or reads
        Calls(lambda x, a, n: n(a(x.flatten(2))), nn.Linear(64, 3), nn.BatchNorm1d(3)),
        Calls(lambda x, n, a: a(n(x.flatten(2))), nn.BatchNorm1d(3), nn.Linear(64, 3)),
        Calls(lambda x, n, a: a(n(x[:, :, 0, :3])), nn.BatchNorm1d(3), nn.Linear(3, 3)),
    ],
    ids=["padding", "same", "relu", "also read", "images' statistics", "rows after", "rows before", "square rows"],
)
def test_norms_that_stay(model: nn.Module) -> None:
    graph, count = proven(model, fold_norm)
    assert count == 0
    assert calls(graph, NORM)


def test_the_second_norm_of_a_dense_layer() -> None:
    graph, count = proven(fb.create_model(thin("densenet121"), num_classes=3), fold_norm, images(32))
    assert count == 1 + 8  # the stem's, and one a layer; the first norm of a layer follows a concatenation
    assert len(calls(graph, NORM)) == 8 + 3 + 1


# pooling -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, 2),
        nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.AvgPool2d((1, 2)),
    ],
    ids=["2", "overlapping", "border left out", "ceil", "one side"],
)
@pytest.mark.parametrize("how", [{"bias": True}, {"bias": False}, {"groups": 2}], ids=["bias", "no bias", "groups"])
def test_pooled_first(pool: nn.Module, how: dict[str, Any]) -> None:
    graph, count = proven(chain(point(4, 6, **how), pool), pool_first, images(9, channels=4))
    assert count == 1
    (reader,) = calls(graph, aten.avg_pool2d.default)[0].users
    assert reader.target is CONV


@pytest.mark.parametrize(
    "model",
    [
        chain(point(3, 4), nn.AvgPool2d(3, 2, padding=1)),
        chain(point(3, 4), nn.AvgPool2d(2, divisor_override=3)),
        chain(point(3, 4), nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)),
        chain(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2)),
        chain(point(3, 4, stride=2), nn.AvgPool2d(2)),
        chain(point(3, 4), nn.ReLU(), nn.AvgPool2d(2)),
        chain(point(3, 4), nn.MaxPool2d(2)),
        Calls(lambda x, a, p: (a(x), p(a(x))), point(3, 4), nn.MaxPool2d(2)),
    ],
    ids=["border", "divisor", "stride 1", "3x3", "strided", "relu", "max", "also read"],
)
def test_pools_that_stay(model: nn.Module) -> None:
    assert proven(model, pool_first)[1] == 0


def test_a_convolution_read_twice_is_not_pooled_first() -> None:
    def forward(x: Tensor, layer: nn.Module, pool: nn.Module) -> tuple[Tensor, Tensor]:
        y = layer(x)
        return y, pool(y)

    assert proven(Calls(forward, point(3, 4), nn.AvgPool2d(2)), pool_first)[1] == 0


# groups --------------------------------------------------------------------------------------------------------------


def grouped() -> nn.Module:
    return chain(
        nn.Conv2d(4, 6, 3, groups=2, stride=2),
        nn.Conv2d(6, 6, 1, groups=3, bias=False),
        depthwise(6),
        nn.Conv2d(6, 6, 1, groups=3),
        nn.Conv2d(6, 12, 1, groups=6),  # two filters a channel: not one a channel, so it is no depthwise one
    )


def test_groups_made_dense() -> None:
    graph, count = proven(grouped(), dense_groups, images(9, channels=4))
    assert count == 4
    assert [node.args[6] for node in calls(graph, CONV)] == [1, 1, 6, 1, 1]


def test_groups_made_dense_by_shape() -> None:
    model, x = grouped(), images(9, channels=4)
    shapes = list(grouped_shapes(graph_of(shaken(model), x)).values())
    assert len(shapes) == 4
    assert len(set(shapes)) == 3  # a bias does not count
    graph, count = proven(model, lambda graph: dense_groups(graph, {shapes[1]}), x)
    assert count == 2
    assert [node.args[6] for node in calls(graph, CONV)] == [2, 1, 6, 1, 6]
    assert proven(model, lambda graph: dense_groups(graph, ()), x)[1] == 0
    assert str(shapes[0]) == "4 to 6 channels in 2 groups, 3x3, at 4x4"


# whole networks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", slow_but(FAMILIES, ("csppeleenet_last", "shufflenet_v2_x0_5")))
def test_every_family(name: str) -> None:
    model, x = shaken(fb.create_model(thin(name), num_classes=5)), images(32)
    graph, _ = rewrite(graph_of(model, x))
    equal(model, graph, x)


def stranger(name: str) -> nn.Module:
    if name == "cspresnet50":
        import timm

        return timm.create_model(name, num_classes=5)
    import torchvision

    known = {"googlenet": {"init_weights": False, "aux_logits": False}}
    return torchvision.models.get_model(name, num_classes=5, **known.get(name, {}))


@pytest.mark.parametrize(
    "name",
    slow_but(
        "mobilenet_v3_small googlenet efficientnet_b0 convnext_tiny resnet18 squeezenet1_1 cspresnet50".split(),
        ("resnet18", "squeezenet1_1"),
    ),
)
def test_strangers(name: str) -> None:
    model, x = shaken(stranger(name)), images(64)
    graph, applied = rewrite(graph_of(model, x))
    equal(model, graph, x)
    norms = sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())
    assert applied["batch norm folded into a convolution"] == norms


@pytest.mark.slow
def test_densenet201() -> None:
    model, x = shaken(fb.create_model("densenet201", num_classes=5)), images(32)
    before = graph_of(model, x)
    graph, applied = rewrite(before)
    equal(model, graph, x)
    assert applied["batch norm folded into a convolution"] == 1 + 98
    assert applied["average pool before a 1x1 convolution"] == 3
    assert len(calls(graph, NORM)) == len(calls(before, NORM)) - 99
    assert len(calls(graph, aten.cat.default)) == len(calls(before, aten.cat.default))


@pytest.mark.parametrize(
    "model",
    [
        chain(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        Calls(lambda x: x),
        Calls(lambda x: x.softmax(1) * 2),
        Calls(lambda x: (x.mean((2, 3)), {"x": x.exp()}["x"])),
    ],
    ids=["plain", "nothing", "unknown operations", "two outputs"],
)
def test_a_network_that_no_rule_fits_passes_untouched(model: nn.Module) -> None:
    graph = graph_of(shaken(model), images())
    result, applied = rewrite(graph)
    assert result is graph
    assert not any(applied.values())


# operations that change a tensor in place ----------------------------------------------------------------------------


def _twice_read(x: Tensor, a: nn.Module, n: nn.Module) -> Tensor:
    y = n(a(x))
    z = y * 2
    y.relu_()
    return y + z


def _halves(x: Tensor, a: nn.Module, n: nn.Module) -> Tensor:
    y = n(a(x))
    first, second = y.chunk(2, 1)
    first.relu_()
    second.mul_(3)
    return torch.cat([second, first], 1) + y


def _seen_through_a_view(x: Tensor, a: nn.Module, n: nn.Module) -> Tensor:
    y = n(a(x))
    rows = y.flatten(2)
    y.relu_()
    return rows.sum(2)


def _through_dropout(x: Tensor, a: nn.Module, n: nn.Module) -> Tensor:
    y = n(a(x))
    torch.nn.functional.dropout(y, 0.5, training=False).relu_()
    return y


def _in_a_dropped_place(x: Tensor, a: nn.Module, n: nn.Module) -> Tensor:
    y = n(a(x))
    torch.nn.functional.dropout(y, 0.5, training=False)
    z = y.relu_()
    return z + y


def _added(x: Tensor, a: nn.Module, n: nn.Module) -> Tensor:
    y = n(a(x))
    y += a(x)
    y[:, 1:3] *= 2
    return y.relu_()


def _the_image(x: Tensor, a: nn.Module, n: nn.Module) -> Tensor:
    x.mul_(2)
    return n(a(x)) + x.sum()


@pytest.mark.parametrize(
    "forward",
    slow_but(
        (_twice_read, _halves, _seen_through_a_view, _through_dropout, _in_a_dropped_place, _added, _the_image),
        (_seen_through_a_view, _in_a_dropped_place, _the_image),
    ),
    ids=lambda function: function.__name__,
)
def test_changes_in_place(forward: Any) -> None:
    graph, count = proven(Calls(forward, point(3, 4), nn.BatchNorm2d(4)), fold_norm)
    assert count == 1
    image = next(iter(graph.graph.nodes))
    left = [node for node in graph.graph.nodes if str(node.target).split(".")[1:2] and "_." in str(node.target)]
    assert all(node.args[0] is image for node in left)  # only the caller's images are still changed
    model = Calls(forward, point(3, 4), nn.BatchNorm2d(4))
    x, model = images(), shaken(model)
    equal(model, rewrite(graph_of(model, x))[0], x)
