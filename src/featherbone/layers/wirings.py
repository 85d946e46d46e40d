"""Wirings: how the outputs of parts meet. No network calls ``torch.cat`` or adds branches anywhere but here.

A rewrite or an analysis that knows these few forms knows every family; so does what holds for any path through a
network: dropping it now and then (``stochastic_depth``), or computing it again for the backward pass (``recompute``).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from featherbone.errors import InputError, check_type
from featherbone.layers.recomputation import again, concat, leanly

Module = TypeVar("Module", bound=nn.Module)


class Wiring(nn.Module):
    """What the wirings share: how the parts along their paths are run.

    Attributes:
        drop_path: probability that a path gives nothing for an image, while training (stochastic depth); see
            ``stochastic_depth``.
        recomputed: whether what a path needs for its gradient is computed again instead of kept; see ``recompute``.
    """

    drop_path = 0.0
    recomputed = False

    def run(self, part: nn.Module, *features: Tensor) -> Tensor:
        """Return ``part`` of the concatenated features."""
        return again([part], features) if self.recomputes() else part(concat(features))

    def recomputes(self) -> bool:
        """Tell whether there will be a backward pass to leave work for."""
        return self.recomputed and self.training and torch.is_grad_enabled() and not torch.compiler.is_exporting()

    def drop(self, path: Tensor) -> Tensor:
        """Return the path, scaled so that its mean stays, or for some images zero."""
        if not self.drop_path or not self.training:
            return path
        kept = 1 - self.drop_path
        return path * path.new_empty(path.shape[0], 1, 1, 1).bernoulli_(kept).div_(kept)

    def extra_repr(self) -> str:
        return f"drop_path={self.drop_path:.3g}" if self.drop_path else ""


class Residual(Wiring):
    """``x + body(x)``. Where the body widens, x counts as padded with empty channels (darknet's partial shortcut).

    ``shortcut`` stands on the way of x, where the body shrinks the map or a convolution makes its channels (ResNet's
    options A and B).
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        path = self.drop(self.run(self.body, x))
        x = self.shortcut(x) if self.shortcut is not None else x
        wider = path.shape[1] - x.shape[1]
        return path + (nn.functional.pad(x, (0, 0, 0, 0, 0, wider)) if wider else x)


class Dense(Wiring):
    """Layer i reads the block's input and every output before its own; all of them are the result (DenseNet eq. 2)."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            path = _layer_again(layer, features) if self.recomputes() else self.run(layer, *features)
            features.append(self.drop(path))
        return concat(features)


class OneShot(Wiring):
    """A chain whose input and whose every output are concatenated once, at the end (VoVNet sec. 3.2).

    ``entry`` stands before the chain, and its output is not part of the concatenation.
    """

    def __init__(self, layers: Iterable[nn.Module], entry: nn.Module | None = None) -> None:
        super().__init__()
        self.entry = entry or nn.Identity()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        link = self.entry(x)
        for layer in self.layers:
            link = self.run(layer, link)
            features.append(self.drop(link))  # the path to the concatenation, not the chain
        return concat(features)


class Split(Wiring):
    """The first ``bypass`` channels walk round the body, the rest go through it; both are concatenated.

    CSPNet (Fig. 2b) around any body, and ShuffleNet V2's unit (Fig. 3c). A transition inside ``body``, after the
    ``Split``, or both gives CSPNet's three fusions: they are compositions, not modes.
    """

    def __init__(self, bypass: int, body: nn.Module) -> None:
        super().__init__()
        self.bypass = bypass
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = torch.split(x, [self.bypass, x.shape[1] - self.bypass], 1)
        return concat([kept, self.drop(self.run(self.body, worked))])

    def extra_repr(self) -> str:
        return ", ".join(filter(None, [f"bypass={self.bypass}", super().extra_repr()]))


class Parallel(Wiring):
    """Branches that read the same input side by side; their outputs are concatenated in order."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return concat([self.run(branch, x) for branch in self.branches])


def _layer_again(layer: nn.Module, features: Sequence[Tensor]) -> Tensor:
    if isinstance(layer, Parallel):
        return concat([_layer_again(branch, features) for branch in layer.branches])
    return leanly(list(_bricks(layer)), features)


def _bricks(part: nn.Module) -> Iterator[nn.Module]:
    """Yield what runs one after another."""
    if isinstance(part, nn.Sequential):
        for child in part:
            yield from _bricks(child)
    else:
        yield part


def paths(module: nn.Module) -> Iterator[Wiring]:
    """Yield the wirings whose paths are a network's units of depth, in the order in which they run.

    Two ways round a body that has wirings of its own (CSP round residual or dense layers) are none; the body's are.
    """
    for child in module.children():
        inner = any(isinstance(part, Wiring) for part in child.modules() if part is not child)
        if isinstance(child, Wiring) and not (inner and isinstance(child, Split | Parallel)):
            yield child
        else:
            yield from paths(child)


def stochastic_depth(module: nn.Module, drop_path: float) -> None:
    """Let the paths of a new network drop out while it trains, in place: the first never, the last with ``drop_path``.

    In a ``OneShot`` the paths are those to the concatenation; the chain itself goes on. Huang et al., arXiv 1603.09382.
    """
    found = [wiring for wiring in paths(module) if not isinstance(wiring, Parallel)]
    for i, wiring in enumerate(found):
        wiring.drop_path = drop_path * (i / (len(found) - 1) if len(found) > 1 else 1.0)


def recompute(model: Module) -> Module:
    """Return a copy that trains in less memory: activations along its paths are computed again in the backward pass.

    Weights, outputs and gradients are the same; the running statistics of the norms are updated once. A dense block
    then keeps memory linear instead of quadratic in its depth (Pleiss et al., arXiv 1707.06990). Evaluation and export
    are unchanged.

    Raises:
        InputError: if the model has no wirings (it is not made of featherbone's layers).
    """
    check_type("model", model, nn.Module, "a network")
    copied = copy.deepcopy(model)
    found = list(paths(copied))
    if not found:
        raise InputError("model has none of featherbone's wirings: there is nothing that recompute could leave out")
    for wiring in found:
        wiring.recomputed = True
    return copied
