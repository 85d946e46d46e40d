"""Multiply-accumulate operations of every PyTorch operation: a table of pure functions of shapes.

Only products that are summed count (convolutions and matrix products), as in the papers. Everything else is listed with
none, so that an operation nobody thought of is told apart from one that has none.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from featherbone.graph import Node

Formula = Callable[[Node], int]


def _convolution(node: Node) -> int:
    image, weight = node.inputs[:2]
    per_position = prod(weight.shape[1:])  # (c_in / groups) * kernel area; transposed: (c_out / groups) * kernel area
    return prod((image if node.arguments["transposed"] else node.outputs[0]).shape) * per_position


def _matrix_product(node: Node) -> int:
    left = node.inputs[-2]  # the last two: addmm and baddbmm have what they add to first
    return prod(node.outputs[0].shape) * left.shape[-1]


def _attention(node: Node) -> int:
    query, key, value = (tensor.shape for tensor in node.inputs[:3])  # (..., length, width)
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _none(_: Node) -> int:
    return 0


_COUNTED: dict[str, Formula] = {
    "convolution": _convolution,
    "mm": _matrix_product,
    "bmm": _matrix_product,
    "addmm": _matrix_product,
    "baddbmm": _matrix_product,
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_efficient_attention": _attention,
    "_scaled_dot_product_attention_math": _attention,
}

_WITHOUT = """
empty zeros ones full arange linspace scalar_tensor empty_like zeros_like ones_like full_like
new_zeros new_ones new_empty new_full
view _unsafe_view reshape _reshape_alias transpose t permute expand squeeze unsqueeze select slice
split split_with_sizes unbind alias detach as_strided unfold lift_fresh narrow diagonal
cat stack clone copy _to_copy contiguous constant_pad_nd reflection_pad2d replication_pad2d roll flip
index gather index_select repeat pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle
im2col col2im scatter where masked_fill fill
relu leaky_relu prelu elu celu selu gelu silu mish hardtanh hardsigmoid hardswish sigmoid tanh softplus
log_sigmoid_forward exp log sqrt rsqrt erf sin cos abs neg sign clamp clamp_min clamp_max pow reciprocal floor round
add sub rsub mul div addcmul addcdiv maximum minimum
eq ne lt le gt ge logical_and logical_or logical_not bitwise_not
native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training batch_norm cudnn_batch_norm
native_layer_norm native_group_norm
avg_pool2d max_pool2d_with_indices _adaptive_avg_pool2d adaptive_max_pool2d
mean sum amax amin max min var var_mean std argmax cumsum prod norm linalg_vector_norm topk sort
_softmax _safe_softmax _log_softmax native_dropout bernoulli rand rand_like randn randn_like randint uniform normal
upsample_nearest2d upsample_bilinear2d _upsample_nearest_exact2d _upsample_bilinear2d_aa upsample_bicubic2d
grid_sampler_2d
""".split()

FORMULAS: dict[str, Formula] = {f"aten.{op}": _none for op in _WITHOUT} | {
    f"aten.{op}": f for op, f in _COUNTED.items()
}


def macs(node: Node) -> int | None:
    """Return the multiply-accumulates of one operation, or ``None`` if there is no formula for it."""
    formula = FORMULAS.get(node.op) or FORMULAS.get(node.op.removesuffix("_"))  # relu_ is relu in place
    return formula(node) if formula else None
