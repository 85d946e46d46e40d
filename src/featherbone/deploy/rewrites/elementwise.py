"""Operations that work on every point by itself, whatever its channel or place: they go wherever a channel goes."""

import torch

_aten = torch.ops.aten

ELEMENTWISE = frozenset(
    (
        _aten.relu.default,
        _aten.relu6.default,
        _aten.hardtanh.default,
        _aten.leaky_relu.default,
        _aten.silu.default,
        _aten.gelu.default,
        _aten.elu.default,
        _aten.sigmoid.default,
        _aten.tanh.default,
        _aten.mish.default,
        _aten.hardsigmoid.default,
        _aten.hardswish.default,
        _aten.clamp.default,
    )
)
