"""How faithfully an engine gives a network's outputs: every channel of every output is judged by its own variation.

An error says nothing by itself, nor beside the largest output: where all outputs lie near 10,000, or one of them is a
thousand times another, a constant is within a small share of it. What counts is how far a channel (a class, a map, a
column) moves from sample to sample. Below that lies the rounding of float32, which is measured too: it is how far
PyTorch's own float32 is from float64.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_unflatten

from featherbone.errors import InputError

# largest error of a channel in float32, as a share of its standard deviation over the samples, beyond rounding
TOLERANCE = 1e-4
# how much further from the exact outputs than PyTorch's own float32 an engine may be: it sums in another order
_ROUNDINGS = 8.0
# a channel that varies less than so many times its rounding is as good as constant
_CONSTANT = 32.0
# of coarse numbers (bfloat16, eight-bit integers) the error of a channel over the samples, or of a sample over the
# channels, is judged as a share of the variation, both as root mean squares; another output's errs by about 1.4
COARSE = {"bf16": 0.25, "int8": 0.5}

# images at a time in float64, whose maps are large
_PART = 4


@dataclass(frozen=True)
class OutputReport:
    """One output of a file beside the network's.

    Attributes:
        name: of the output.
        shape: of one sample's.
        error: largest difference.
        largest: largest magnitude of the network's.
        share: the largest difference as a share of its channel's standard deviation over the samples, of the channels
            that vary.
        channels: how many it has.
        varying: how many of them the samples tell apart from a constant; of the others the proof says little.
    """

    name: str
    shape: tuple[int, ...]
    error: float
    largest: float
    share: float
    channels: int
    varying: int

    def __str__(self) -> str:
        found = f"largest difference {self.error:.2g}, {self.share:.1g} of the variation over the samples"
        if self.varying == self.channels:
            return found
        return f"{found}; {self.channels - self.varying} of {self.channels} channels hardly vary: not proven there"


class Reference:
    """A network's outputs for samples, how far each channel varies, and how exact float32 is there.

    Args:
        network: in evaluation mode, images ``(N, C, H, W)`` to tensors.
        graph: the same network, captured.
        samples: the images.

    Attributes:
        names: of the outputs.
        plain: the outputs as the network gives them.
        outputs: each ``(N, channels, points)``, float64, as the network gives them in float32.
        shapes: each output's, without the samples.
        spread: the standard deviation of each channel over samples and points.

    Raises:
        InputError: if it gives anything but tensors of numbers, one row for each sample; or no numbers (NaN).
    """

    def __init__(self, network: nn.Module, graph: GraphModule, samples: Tensor) -> None:
        with torch.no_grad():
            given = network(samples)
        self.names = output_names(given)
        plain = outputs_of(given)
        for name, output in zip(self.names, plain, strict=True):
            if output.ndim == 0 or len(output) != len(samples):
                raise InputError(
                    f"the network's {name} is {tuple(output.shape)} for {len(samples)} images: one row each"
                )
            if not bool(output.isfinite().all()):
                raise InputError(f"the network's {name} holds NaN or infinity: nothing can be compared with it")
        self.shapes = tuple(tuple(output.shape[1:]) for output in plain)
        self.plain = plain
        self.outputs = tuple(_by_channel(output) for output in plain)
        self._graph, self._samples = graph, samples
        self.spread = tuple(output.std((0, 2), correction=0) for output in self.outputs)

    @cached_property
    def rounding(self) -> tuple[Tensor, ...]:
        """How far float32 is from float64 in each channel of each output."""
        exact = _exact(self._graph, self._samples, self.outputs)
        least = torch.finfo(torch.float32).eps
        return tuple(
            torch.maximum((mine - true).abs(), mine.abs() * least).amax((0, 2))
            for mine, true in zip(self.outputs, exact, strict=True)
        )

    def compared(self, given: Sequence[Tensor], tolerance: float = TOLERANCE, repeats: int = 1) -> list[OutputReport]:
        """Compare outputs in float32.

        Args:
            given: what an engine gives, for the samples one or more times.
            tolerance: largest error of a channel, as a share of its standard deviation over the samples.
            repeats: how many times.

        Raises:
            InputError: if one is another, beyond tolerance and rounding.
        """
        reports = []
        for place, errors in enumerate(self._errors(given, repeats)):
            name, spread, rounding = self.names[place], self.spread[place], self.rounding[place]
            most, allowed = errors.amax((0, 2)), tolerance * spread + _ROUNDINGS * rounding
            wrong = ~(most <= allowed)  # also NaN
            if bool(wrong.any()):
                worst = int(torch.where(wrong, most / allowed, 0.0).nan_to_num(torch.inf).argmax())
                raise InputError(
                    f"its {name} differ from the network's by {most[worst]:.3g} in channel {worst}, which varies by "
                    f"{spread[worst]:.3g} over the samples ({allowed[worst]:.2g} allowed; "
                    f"{int(wrong.sum())} of {len(wrong)} channels are wrong)"
                )
            reports.append(self._report(place, errors))
        return reports

    def compared_coarsely(self, given: Sequence[Tensor], precision: str, repeats: int = 1) -> list[OutputReport]:
        """Compare outputs in bfloat16 or eight-bit integers: the root mean square of errors, by channel and by sample.

        Raises:
            InputError: if one is another.
        """
        reports, allowed = [], COARSE[precision]
        for place, errors in enumerate(self._errors(given, repeats)):
            spread = torch.where(self._varies(place), self.spread[place], torch.inf)[:, None]
            shares = (errors / spread).square()
            varying = max(1, int(self._varies(place).sum()))
            by_channel = shares.mean((0, 2)).sqrt()
            by_sample = (shares.mean(2).sum(1) / varying).sqrt()
            for kind, found in (("channel", by_channel), ("sample", by_sample)):
                if not bool((found <= allowed).all()):  # also NaN
                    worst = int(found.nan_to_num(torch.inf).argmax())
                    raise InputError(
                        f"its {self.names[place]} differ from the network's in {kind} {worst} by {found[worst]:.2g} of "
                        f"the variation over the samples ({allowed:g} allowed in {precision})"
                    )
            reports.append(self._report(place, errors))
        return reports

    def same_answers(self, given: Sequence[Tensor], repeats: int = 1) -> float:
        """Return the share of the samples whose first class is the network's, or equal to it but for rounding."""
        wanted, found = self.outputs[0].flatten(1).repeat(repeats, 1), _by_channel(given[0]).flatten(1)
        first = wanted.gather(1, found.argmax(1, keepdim=True))[:, 0]
        rounding = _ROUNDINGS * float(self.rounding[0].max())
        return float((first >= wanted.amax(1) - rounding).double().mean())

    def _varies(self, place: int) -> Tensor:
        return self.spread[place] > _CONSTANT * self.rounding[place]

    def _errors(self, given: Sequence[Tensor], repeats: int) -> list[Tensor]:
        """Return the differences, as ``outputs`` lie."""
        if len(given) != len(self.outputs):
            raise InputError(f"it gives {len(given)} outputs, the network {len(self.outputs)}")
        errors = []
        for place, output in enumerate(given):
            wanted = (repeats * len(self.outputs[place]), *self.shapes[place])
            if tuple(output.shape) != wanted:
                raise InputError(f"its {self.names[place]} are {tuple(output.shape)}, the network's {wanted}")
            errors.append((_by_channel(output) - self.outputs[place].repeat(repeats, 1, 1)).abs())
        return errors

    def _report(self, place: int, errors: Tensor) -> OutputReport:
        varies = self._varies(place)
        shares = errors.amax((0, 2))[varies] / self.spread[place][varies]
        return OutputReport(
            name=self.names[place],
            shape=self.shapes[place],
            error=float(errors.max()),
            largest=float(self.outputs[place].abs().max()),
            share=float(shares.max()) if len(shares) else 0.0,
            channels=len(varies),
            varying=int(varies.sum()),
        )


def names_in(program: ExportedProgram) -> tuple[str, ...]:
    """Return the names of a captured network's outputs."""
    spec = program.call_spec.out_spec
    assert spec is not None
    return output_names(tree_unflatten([torch.empty(0)] * spec.num_leaves, spec))


def outputs_of(given: Any) -> tuple[Tensor, ...]:
    """Return the tensors that a network gives: itself, or those in a tuple, list or dictionary, in their order.

    Raises:
        InputError: if there is anything else in it, or nothing.
    """
    leaves = [leaf for _, leaf in tree_flatten_with_path(given)[0]]
    others = [leaf for leaf in leaves if not isinstance(leaf, Tensor) or leaf.is_complex()]
    if others or not leaves:
        kind = f"a {type(others[0]).__name__}" if others else "nothing"
        raise InputError(f"the network gives {kind}: a tensor, or a tuple, list or dictionary of tensors is allowed")
    return tuple(leaves)


def output_names(given: Any) -> tuple[str, ...]:
    """Return a name for each tensor that a network gives: "outputs", else by place or key ("outputs_0", "boxes")."""
    if isinstance(given, Tensor):
        return ("outputs",)
    paths = [path for path, _ in tree_flatten_with_path(given)[0]]
    words = ["_".join(keystr((key,)).strip("[]'\". ") for key in path) for path in paths]
    return tuple(word if word and not word[0].isdigit() else f"outputs_{word}" for word in words)


def _by_channel(output: Tensor) -> Tensor:
    """Return an output as ``(N, channels, points)`` in float64; of ``(N, rows, columns)`` the columns are channels."""
    wide = output.detach().double()
    if wide.ndim == 3:
        wide = wide.transpose(1, 2)
    return wide.reshape(len(wide), 1 if wide.ndim == 1 else wide.shape[1], -1)


def _exact(graph: GraphModule, samples: Tensor, default: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the outputs in float64, or ``default`` where the network insists on float32."""
    try:
        with torch.no_grad():
            network = copy.deepcopy(graph).double()
            parts = [outputs_of(network(part)) for part in torch.split(samples.double(), _PART)]
    except RuntimeError:
        return tuple(default)
    return tuple(_by_channel(torch.cat(outputs)) for outputs in zip(*parts, strict=True))
