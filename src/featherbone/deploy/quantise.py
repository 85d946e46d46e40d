"""Eight-bit integers after training: scales from the user's images, the worst layers in float until accuracy holds.

NNCF chooses the scales and corrects the biases; OpenVINO runs the model. What NNCF leaves open is done here: all inputs
of a concatenation get one scale, since parts of different scales would be computed again wherever they are joined; the
error of every layer is measured on its own; and the layers with the largest errors are given back to float.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from featherbone.deploy.engines import openvino as engine
from featherbone.deploy.engines.engine import Runner
from featherbone.errors import InputError, needs

# these give values that they were given, so a scale before them is the scale behind them
_MOVES = frozenset(
    "Concat Gather MaxPool Relu Reshape ShuffleChannels Slice Split Squeeze StridedSlice Transpose Unsqueeze "
    "VariadicSplit".split()
)
_LEVELS = 256
# what errors are measured on: more images change a sum over all points of a layer little
_ERROR_IMAGES = 32
# images at a time, of the scores and errors
_BATCH = 50


@dataclass(frozen=True, eq=False)
class Quantised:
    """A network in eight-bit integers.

    Attributes:
        model: an ``openvino.Model``, batch size free.
        float_score: the score of the network in float32.
        score: of this model.
        kept_float: layers that are left in float, the worst first.
        layer_errors: what eight bits add in each layer when all layers have them: the norm of the difference of a
            layer's outputs, from the float network's values before it, as a share of the norm of its outputs.
        layers: how many layers there are.
    """

    model: Any
    float_score: float
    score: float
    kept_float: tuple[str, ...]
    layer_errors: Mapping[str, float]
    layers: int

    def runner(self, threads: int = 0) -> Runner:
        """Return a function that runs the model on any number of images; 0 threads are OpenVINO's own choice."""
        return _runner(self.model, "int8", threads)

    def __str__(self) -> str:
        kept = f"{len(self.kept_float)} of {self.layers} layers in float"
        return f"int8: score {self.score:.4f} against {self.float_score:.4f} in float, {kept}"


def quantised(
    graph: GraphModule,
    calibration: Tensor,
    *,
    score: Callable[[Runner], float] | None = None,
    largest_drop: float = 0.01,
    say: Callable[[str], None] = lambda _: None,
) -> Quantised:
    """Put a network into eight-bit integers, except for the layers that lose too much.

    Layers are ranked by their errors, and 0, 1, 2, 4, 8, ... of the worst stay in float until the score holds.

    Args:
        graph: images ``(B, C, H, W)`` to one tensor, as ``rewritable`` and ``rewrite`` give it. It is not changed.
        calibration: images ``(N, C, H, W)`` as the network gets them in use, preprocessed; 100 to 300 are usual.
        score: of a function from images to outputs, more is better. Default: the share of the calibration images on
            which the largest output is that of the float network.
        largest_drop: the most that the score may lose.
        say: told what is being done.

    Raises:
        InputError: if the images are none or of another size, a package is missing, or the score does not hold even
            with half of the layers in float.
    """
    _check(graph, calibration, largest_drop)
    plain = _named(engine.translate(graph, calibration))
    run = _runner(plain, "f32")
    score = score or _agreement(run, calibration)
    wanted = score(run)
    model = _integers(plain, calibration, ())
    errors = _layer_errors(plain, model, calibration[:_ERROR_IMAGES])
    worst = sorted(errors, key=lambda name: -errors[name])
    kept: tuple[str, ...] = ()
    while True:
        reached = score(_runner(model, "int8"))
        say(f"{len(kept)} of {len(worst)} layers in float: score {reached:.4f}, {wanted:.4f} in float")
        if wanted - reached <= largest_drop:
            return Quantised(model, wanted, reached, kept, errors, len(worst))
        more = max(1, 2 * len(kept))
        if more > len(worst) // 2:
            break
        kept = tuple(worst[:more])
        model = _integers(plain, calibration, kept)
    raise InputError(
        f"largest_drop={largest_drop:g} does not hold: int8 scores {reached:.4f}, float {wanted:.4f}, with "
        f"{len(kept)} of {len(worst)} layers in float; give more calibration images, or allow more"
    )


def concat_scales(model: Any) -> dict[str, tuple[tuple[float, float], ...]]:
    """Return the different ranges (lowest, highest) that reach each concatenation of a quantised ``openvino.Model``.

    Parts in float have none.
    """
    return {
        join.friendly_name: tuple(sorted({_range(node) for node in _scales_before(join.output(0))}))
        for join in _feature_joins(model)
    }


def _check(graph: GraphModule, calibration: Tensor, largest_drop: float) -> None:
    image = next(iter(graph.graph.find_nodes(op="placeholder"))).meta["val"]
    channels, height, width = (int(side) for side in image.shape[1:])
    if calibration.ndim != 4 or not len(calibration) or tuple(calibration.shape[1:]) != (channels, height, width):
        allowed = f"(N, {channels}, {height}, {width}), N 1 or more"
        raise InputError(f"calibration={tuple(calibration.shape)} is not allowed: images {allowed}")
    if not calibration.is_floating_point() or not bool(calibration.isfinite().all()):
        raise InputError("calibration holds numbers that are no image: finite float values, preprocessed, are allowed")
    if not 0 <= largest_drop < math.inf:
        raise InputError(f"largest_drop={largest_drop} is not allowed: 0 or more")


def _named(model: Any) -> Any:
    """Return a copy with names that are the same in every run, since users read them: type and number."""
    named = model.clone()
    counts: dict[str, int] = {}
    for node in named.get_ordered_ops():
        kind = node.get_type_name()
        counts[kind] = counts.get(kind, 0) + 1
        node.set_friendly_name(f"{kind} {counts[kind]}")
    return named


def _integers(plain: Any, calibration: Tensor, kept: Sequence[str]) -> Any:
    """Return the model in integers, but for the layers of these names."""
    # NNCF's own import of PyTorch's compilers speaks of missing graphics cards
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with needs("export", "quantising"):
        import nncf
    nncf.set_log_level(logging.ERROR)
    images = torch.split(calibration.float(), 1)
    with _quiet():
        model = nncf.quantize(
            plain,
            nncf.Dataset([image.numpy() for image in images]),
            # asymmetric where a layer's outputs are: as fast here, and right for activations other than ReLU, too
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=list(kept)) if kept else None,
        )
    _share_scales(model)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out NNCF's progress bars; its errors are exceptions."""
    with redirect_stdout(StringIO()):
        yield


def _agreement(run: Runner, images: Tensor) -> Callable[[Runner], float]:
    wanted = run(images).flatten(1).argmax(1)
    return lambda other: float((other(images).flatten(1).argmax(1) == wanted).double().mean())


def _runner(model: Any, precision: str, threads: int = 0) -> Runner:
    """Return a function that runs any number of images, a few at a time."""
    run = engine.run_model(model.clone(), precision, threads)
    return lambda images: torch.cat([run(part.float().contiguous()) for part in torch.split(images, _BATCH)])


def _feature_joins(model: Any) -> list[Any]:
    """Return the concatenations of values; those of the shapes that some operations read have one dimension."""
    joins = (node for node in model.get_ordered_ops() if node.get_type_name() == "Concat")
    return [join for join in joins if join.output(0).partial_shape.rank.get_length() > 1]


def _scales_before(output: Any) -> list[Any]:
    """Return the nodes that round a value, looking back through what only moves it."""
    found, seen, waiting = [], set(), [output]
    while waiting:
        node = waiting.pop().get_node()
        if node.friendly_name in seen:
            continue
        seen.add(node.friendly_name)
        if node.get_type_name() == "FakeQuantize":
            found.append(node)
        elif node.get_type_name() == "Concat":
            waiting += node.input_values()
        elif node.get_type_name() in _MOVES:
            waiting.append(node.input_value(0))
    return found


def _range(rounding: Any) -> tuple[float, float]:
    """Return the lowest and highest value that a node lets through."""
    low, high = (rounding.input_value(place).get_node().data for place in (1, 2))
    return float(low.min()), float(high.max())


def _share_scales(model: Any) -> None:
    """Give all that is ever joined one scale.

    NNCF does it only where nothing but convolutions reads the joined maps; a DenseNet's norms read them, too.
    """
    groups: list[dict[str, Any]] = []
    for join in _feature_joins(model):
        group = {node.friendly_name: node for node in _scales_before(join.output(0))}
        for other in [other for other in groups if other.keys() & group.keys()]:
            groups.remove(other)
            group |= other
        groups.append(group)
    for group in groups:
        ranges = {_range(node) for node in group.values()}
        if len(ranges) > 1:
            low, high = _with_zero(min(low for low, _ in ranges), max(high for _, high in ranges))
            for node in group.values():
                _set_range(node, low, high)


def _with_zero(low: float, high: float) -> tuple[float, float]:
    """Return a range of the same width in which zero, which pads images, is one of the levels."""
    step = (high - low) / (_LEVELS - 1)
    below = round(-low / step)
    return -below * step, (_LEVELS - 1 - below) * step


def _set_range(rounding: Any, low: float, high: float) -> None:
    from openvino import opset13

    rounding.set_attribute("levels", _LEVELS)
    for place, value in enumerate((low, high, low, high), start=1):
        constant = opset13.constant(torch.full((1, 1, 1, 1), value).numpy())
        rounding.input(place).replace_source_output(constant.output(0))


def _layer_errors(plain: Any, model: Any, images: Tensor) -> dict[str, float]:
    """Return each layer's error by itself: the float network runs, and beside it each layer once more in integers.

    Both models become one: what is rounded is taken from the float network. So an error counts where it arises, and not
    again in every layer behind it.
    """
    import openvino
    from openvino import opset13

    first, second = plain.clone(), model.clone()
    floats = {node.friendly_name: node for node in first.get_ops()}
    nodes = second.get_ordered_ops()  # once the two are one, only the last layer is found from the end
    for node in nodes:
        if node.get_type_name() == "FakeQuantize":
            source = node.input_value(0)
            same = floats.get(source.get_node().friendly_name)
            if same is not None:
                node.input(0).replace_source_output(same.output(source.get_index()))
    layers, sums = [], []
    for node in nodes:
        if node.friendly_name in floats and _reads_integers(node):
            ours, theirs = _with_bias(node), _with_bias(floats[node.friendly_name])
            layers.append(node.friendly_name)
            sums += [_sum_of_squares(opset13.subtract(ours, theirs)), _sum_of_squares(theirs)]
    both = openvino.Model(sums, first.get_parameters(), "errors")
    request = openvino.Core().compile_model(both, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    totals = torch.zeros(len(sums), dtype=torch.float64)
    for part in torch.split(images.float(), _BATCH):
        given = request.infer([part.contiguous().numpy()])
        totals += torch.tensor([float(given[place]) for place in range(len(sums))], dtype=torch.float64)
    pairs = totals.reshape(-1, 2).tolist()
    return {name: math.sqrt(error / size) if size else 0.0 for name, (error, size) in zip(layers, pairs, strict=True)}


def _reads_integers(node: Any) -> bool:
    """Return whether a node computes with values that were rounded."""
    if node.get_type_name() in _MOVES or node.get_type_name() in {"Constant", "Parameter", "Result", "FakeQuantize"}:
        return False
    return any(_scales_before(value) for value in node.input_values())


def _with_bias(node: Any) -> Any:
    """Return the node that adds a layer's bias, which NNCF corrects, or the layer if it has none."""
    readers = [reader.get_node() for reader in node.output(0).get_target_inputs()]
    if len(readers) == 1 and readers[0].get_type_name() == "Add":
        terms = [value.get_node().get_type_name() for value in readers[0].input_values()]
        return readers[0] if "Constant" in terms else node
    return node


def _sum_of_squares(node: Any) -> Any:
    from openvino import opset13

    dimensions = list(range(node.output(0).partial_shape.rank.get_length()))
    return opset13.reduce_sum(opset13.multiply(node, node), opset13.constant(dimensions), keep_dims=False)
