"""A network in eight-bit integers, as OpenVINO has it: where its values are rounded, to what scales, at what loss."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import redirect_stdout
from io import StringIO
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from featherbone.deploy.engines.openvino import core
from featherbone.errors import needs

# these give values that they were given, so a scale before them is the scale behind them
_MOVES = frozenset(
    "Concat Gather MaxPool Relu Reshape ShuffleChannels Slice Split Squeeze StridedSlice Transpose Unsqueeze "
    "VariadicSplit".split()
)
_LEVELS = 256
# images at a time, of the errors
_BATCH = 50


def named(model: Any) -> Any:
    """Return a copy with names that are the same in every run, since users read them: type and number."""
    named = model.clone()
    counts: dict[str, int] = {}
    for node in named.get_ordered_ops():
        kind = node.get_type_name()
        counts[kind] = counts.get(kind, 0) + 1
        node.set_friendly_name(f"{kind} {counts[kind]}")
    return named


def integers(plain: Any, calibration: Tensor, kept: Sequence[str]) -> Any:
    """Return the model in integers, except for the layers named in ``kept``."""
    # NNCF imports PyTorch's compilers, which warn of missing graphics cards
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with needs("export", "quantizing"):
        import nncf
    nncf.set_log_level(logging.ERROR)
    images = torch.split(calibration.float(), 1)

    def quantize() -> Any:
        return nncf.quantize(
            plain,
            nncf.Dataset([image.numpy() for image in images]),
            # asymmetric where a layer's outputs are: as fast here, and right for activations other than ReLU, too
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=list(kept)) if kept else None,
        )

    # without NNCF's progress bars; its errors are exceptions
    with redirect_stdout(StringIO()):
        model = _in_a_thread(quantize)
    _share_scales(model)
    return model


def _in_a_thread(work: Callable[[], Any]) -> Any:
    """Run work that opens OpenVINO cores in a thread of its own, which then has their stacks for signals (``core``)."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as problem:  # noqa: BLE001 - the caller gets it
            future.set_exception(problem)

    Thread(target=run, daemon=True).start()  # so Ctrl-C does not wait for it
    return future.result()


def concat_scales(model: Any) -> dict[str, tuple[tuple[float, float], ...]]:
    """Return the different ranges (lowest, highest) that reach each concatenation of a quantized ``openvino.Model``.

    Inputs in float have none.
    """
    return {
        join.friendly_name: tuple(sorted({_range(node) for node in _scales_before(join.output(0))}))
        for join in _feature_joins(model)
    }


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


def layer_errors(plain: Any, model: Any, images: Tensor) -> dict[str, float]:
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
    request = core().compile_model(both, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
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
