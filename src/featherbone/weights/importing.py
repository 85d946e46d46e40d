"""Weights of other projects in our networks: recognised, renamed, reordered, and accounted for to the last tensor."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from featherbone.data import Preprocess
from featherbone.errors import InputError, some
from featherbone.models import list_models
from featherbone.models import spec as named_spec
from featherbone.models.densenet import DenseNetSpec
from featherbone.models.shufflenet_v1 import ShuffleNetV1Spec
from featherbone.models.shufflenet_v2 import ShuffleNetV2Spec
from featherbone.spec import Backbone, Spec
from featherbone.weights.foreign import read_tensors
from featherbone.weights.published import PUBLISHED
from featherbone.weights.sources import SOURCES, Given, Source, State

_COUNTS = "num_batches_tracked"
_EXPECTED = ("num_classes", "in_chans")  # columns that follow the file without a word


@dataclass(frozen=True)
class Imported:
    """What came of loading foreign weights.

    Attributes:
        source: the project whose form the file has.
        loaded: how many of our tensors were filled.
        missing: our tensors that the file has nothing for; they keep what they had. Only last layers may be missing.
        left_over: tensors of the file that no layer of ours takes, for example a detector's head.
        notes: what was adapted on the way.
        preprocess: how the weights want their images, where the project's files do not differ in it.
    """

    source: str
    loaded: int
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    preprocess: Preprocess | None = None


@dataclass
class _Match:
    """A source against a file."""

    source: Source
    layers: list[Given]
    prefix: str
    tensors: Mapping[str, Tensor]
    used: set[str] = field(default_factory=set)

    @property
    def found(self) -> int:
        """How many of the source's layers the file has."""
        return sum(self.has(layer) for layer in self.layers)

    def has(self, layer: Given) -> bool:
        name = self.prefix + layer.names[0]
        return name in self.tensors or f"{name}.weight" in self.tensors

    def get(self, layer: Given, tensor: str) -> list[Tensor] | None:
        """Return a tensor of every foreign layer that makes up one of ours; all or none."""
        names = [self.prefix + name for name in layer.names]
        full = [name if name in self.tensors else f"{name}.{tensor}" for name in names]
        if not all(name in self.tensors for name in full):
            return None
        self.used.update(full)
        return [self.tensors[name] for name in full]


def load_weights(
    model: Backbone,
    source: str | os.PathLike[str] | Mapping[str, Tensor],
    *,
    config: str | os.PathLike[str] | None = None,
) -> Imported:
    """Fill a network, in place, with weights of another project (or plain ones of ours).

    Recognised are the forms in which torchvision, timm, pytorchcv and the papers' authors publish these families;
    names are translated, channels put in our order, folded norms unfolded, and a first convolution for other channels
    adapted (grey: the sum over the colours; more: the colours repeated and scaled). A classifier for another number of
    classes is left out.

    Args:
        model: the network.
        source: a file (safetensors, a PyTorch checkpoint, darknet's ``.weights``), or named tensors.
        config: darknet's ``.cfg``, if it does not lie beside the weights under the same name.

    Raises:
        InputError: if the file cannot be read, its form is not known, or it does not fit the network; the network is
            then as it was.
    """
    given = _in_full(source if isinstance(source, Mapping) else read_tensors(source, config))
    what = "the given tensors" if isinstance(source, Mapping) else str(source)
    if set(given) >= {name for name in model.state_dict() if not name.startswith("head.")}:
        return _load(model, given, _ours(model, given), what)
    match = _recognise(model.spec, given)
    if match is None:
        raise InputError(f"{what} is in no form of {model.spec.family} that is known{_suggestion(given)}")
    return _load(model, given, match, what)


def import_weights(
    network: str | Spec,
    source: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | None = None,
) -> tuple[Backbone, Imported]:
    """Return a network with foreign weights, in evaluation mode. What the file decides is taken from it.

    The numbers of classes and of input channels, whether there is a norm after a small stem, and whether the
    classifier has a bias: those columns follow the file.

    Args:
        network: the name of the network, or a row.
        source: the file.
        config: darknet's ``.cfg``, if it does not lie beside the weights under the same name.

    Raises:
        InputError: as ``load_weights``; or if the name is unknown.
    """
    row = named_spec(network) if isinstance(network, str) else network
    given = _in_full(read_tensors(source, config))
    known = [(candidate, match) for candidate in _near(row) if (match := _recognise(candidate, given))]
    failed = f"{source} is in no form of {row.family} that is known{_suggestion(given) if not known else ''}"
    for candidate, match in sorted(known, key=lambda pair: -pair[1].found):
        decided = _decided(candidate, match)
        model = decided.build().eval()
        try:
            report = _load(model, given, match, str(source))
        except InputError as error:
            failed = str(error)
            continue
        changed = [field.name for field in fields(row) if getattr(row, field.name) != getattr(decided, field.name)]
        shown = [f"{name}={getattr(decided, name)}, as in the file" for name in changed if name not in _EXPECTED]
        preprocess = report.preprocess or _published_preprocess(network, report.source, decided)
        return model, replace(report, notes=(*shown, *report.notes), preprocess=preprocess)
    raise InputError(failed)


def _in_full(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return half-precision tensors as float32, since arithmetic on them would lose digits."""
    halves = (torch.float16, torch.bfloat16)
    return {name: tensor.float() if tensor.dtype in halves else tensor for name, tensor in tensors.items()}


def _published_preprocess(network: str | Spec, source: str, row: Spec) -> Preprocess | None:
    """Return how a project's published weights of a network want their images: those of 1000 classes."""
    published = PUBLISHED.get(network) if isinstance(network, str) else None
    place = "torchvision" if published and published.place == "torchvision" else "timm"
    return published.preprocess if published and row.num_classes == 1000 and place in source else None


def _near(row: Spec) -> Iterator[Spec]:
    """Yield the row, and those that differ in what a file shows better than a name."""
    yield row
    if isinstance(row, DenseNetSpec):
        yield replace(row, stem_norm=not row.stem_norm)
    if isinstance(row, ShuffleNetV1Spec):
        yield replace(row, inverse_shuffle=not row.inverse_shuffle)


def _decided(row: Spec, match: _Match) -> Spec:
    """Return the row with the numbers of classes and channels that the file has."""
    first, last = match.get(match.layers[0], "weight"), match.get(match.layers[-1], "weight")
    columns: dict[str, Any] = {}
    if first:
        columns["in_chans"] = match.layers[0].weight(first).shape[1]
    if last:
        columns["num_classes"] = last[0].shape[0]
        if isinstance(row, ShuffleNetV1Spec | ShuffleNetV2Spec):
            columns["classifier_bias"] = match.get(match.layers[-1], "bias") is not None
    match.used.clear()
    return replace(row, **columns)


def _recognise(row: Spec, tensors: Mapping[str, Tensor]) -> _Match | None:
    """Return the source of which the file has most layers, if it has a good part of them."""
    matches = []
    for source in SOURCES[row.family]:
        renamed = {source.rename(name): tensor for name, tensor in tensors.items()}
        layers = [layer if isinstance(layer, Given) else Given((layer,)) for layer in source.layers(row)]
        if layers:
            matches.append(_Match(source, layers, _prefix(layers[0].names[0], renamed), renamed))
    best = max(matches, key=lambda match: match.found, default=None)
    # a file with folded norms and without last layers has nearly half
    return best if best and best.found > 0.4 * len(best.layers) else None


def _prefix(first: str, tensors: Iterable[str]) -> str:
    """Return what stands before the first layer's name, as "module." or "backbone."."""
    found = [name for name in tensors if f".{name}".endswith(f".{first}.weight")]
    return min(found, key=len).removesuffix(f"{first}.weight") if found else ""


def _ours(model: Backbone, tensors: Mapping[str, Tensor]) -> _Match:
    layers = [Given((name,)) for name, _ in _leaves(model)]
    return _Match(Source("featherbone", lambda _: ()), layers, "", tensors)


def _leaves(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers that have tensors of their own, in the order in which they run."""
    return [
        (name, part)
        for name, part in model.named_modules()
        if next(part.parameters(recurse=False), None) is not None or next(part.buffers(recurse=False), None) is not None
    ]


def _load(model: Backbone, given: Mapping[str, Tensor], match: _Match, what: str) -> Imported:
    try:
        state, notes = _translated(model, match)
        faults = _faults(model, state)
    except InputError as error:
        faults = [str(error)]
    if faults:
        raise InputError(f"{what} does not fit the network: {some(faults, 3)}{_suggestion(given)}")
    wanted = model.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            wanted[name].copy_(tensor)
    return Imported(
        source=match.source.name,
        loaded=len(state),
        missing=tuple(name for name in wanted if name not in state),
        left_over=tuple(name for name in match.tensors if name not in match.used and not name.endswith(_COUNTS)),
        notes=tuple(dict.fromkeys(notes)),
        preprocess=match.source.preprocess,
    )


def _translated(model: Backbone, match: _Match) -> tuple[State, list[str]]:
    """Return the file's tensors under our names, and what was adapted."""
    leaves = _leaves(model)
    state: State = {}
    notes: list[str] = []
    for index, ((name, part), layer) in enumerate(zip(leaves, match.layers, strict=False)):
        if isinstance(part, nn.BatchNorm2d):
            bias = _bias_before(leaves[index - 1][1], match.layers[index - 1], match)
            if match.has(layer):
                state |= _norm(name, layer, match, part.eps, bias)
            elif bias is not None:
                state |= _unfolded(name, bias, part.eps)
                notes.append("norms were folded into convolutions: they only add the convolution's bias now")
            continue
        for tensor, _ in part.named_parameters(recurse=False):
            found = match.get(layer, tensor)
            if found:
                state[f"{name}.{tensor}"] = layer.weight(found) if tensor == "weight" else torch.cat(found)
        if isinstance(part, nn.Linear) and part.bias is not None and f"{name}.weight" in state:
            if f"{name}.bias" not in state:
                notes.append("the file's classifier has no bias: it is 0")
            state.setdefault(f"{name}.bias", torch.zeros(state[f"{name}.weight"].shape[0]))
    _adapt(state, model, notes)
    if match.source.permute and not _faults(model, state):
        state = match.source.permute(model.spec, state)
        notes.append("channels were put in the order of the paper's shuffle")
    return state, notes


def _faults(model: Backbone, state: State) -> list[str]:
    """Return what keeps a state from being loaded; last layers may be missing."""
    wanted = model.state_dict()
    shapes = [
        f"{name} is {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
        for name, tensor in state.items()
        if tensor.shape != wanted[name].shape
    ]
    return shapes + [f"nothing for {name}" for name in wanted if name not in state and not name.startswith("head.")]


def _bias_before(part: nn.Module, layer: Given, match: _Match) -> Tensor | None:
    """Return the bias that the file's convolution before a norm has, and ours has not."""
    found = match.get(layer, "bias") if isinstance(part, nn.Conv2d) and part.bias is None else None
    return torch.cat(found) if found else None


def _norm(name: str, layer: Given, match: _Match, eps: float, bias: Tensor | None) -> State:
    state = {}
    for tensor in ("weight", "bias", "running_mean", "running_var"):
        found = match.get(layer, tensor)
        if found:
            state[f"{name}.{tensor}"] = torch.cat(found)
    if state:
        counts = match.get(layer, _COUNTS)
        state[f"{name}.{_COUNTS}"] = counts[0] if counts else torch.tensor(0)
        if bias is not None:  # taken off again with the mean
            state[f"{name}.running_mean"] = state[f"{name}.running_mean"] - bias
        # another project's eps makes part of the variance
        state[f"{name}.running_var"] = state[f"{name}.running_var"] + (match.source.norm_eps - eps)
    return state


def _unfolded(name: str, bias: Tensor, eps: float) -> State:
    """Return a norm that only adds ``bias``: its variance and ``eps`` make 1."""
    return {
        f"{name}.weight": torch.ones_like(bias),
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": torch.ones_like(bias) - eps,
        f"{name}.{_COUNTS}": torch.tensor(0),
    }


def _adapt(state: State, model: Backbone, notes: list[str]) -> None:
    """Fit the first convolution to the input's channels, and leave out a classifier of other classes."""
    wanted, leaves = model.state_dict(), _leaves(model)
    first = next(f"{name}.weight" for name, part in leaves if isinstance(part, nn.Conv2d))
    if first in state and state[first].shape[1] != wanted[first].shape[1]:
        state[first] = adapted(state[first], channels := wanted[first].shape[1])
        notes.append(f"the first convolution was adapted to {channels} channels")
    for name, part in leaves:
        if isinstance(part, nn.Linear) and state.get(f"{name}.weight", part.weight).shape[0] != part.out_features:
            notes.append(f"the classifier for {state[f'{name}.weight'].shape[0]} classes was left out")
            state.pop(f"{name}.weight")
            state.pop(f"{name}.bias", None)


def adapted(weight: Tensor, channels: int) -> Tensor:
    """Return a first convolution's weight for another number of input channels.

    One channel stands for all: their sum. More repeat the given ones, scaled so that the response stays as large.
    """
    given = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    times = -(-channels // given)
    return weight.repeat(1, times, 1, 1)[:, :channels] * (given / channels)


def _suggestion(tensors: Mapping[str, Tensor]) -> str:
    """Return which of our networks the tensors fit, so that the form can be named."""
    fitting = [name for name in list_models() if _fits(named_spec(name), tensors)]
    return f"; they fit {some(fitting)}" if fitting else ""


def _fits(row: Spec, tensors: Mapping[str, Tensor]) -> bool:
    match = _recognise(row, tensors)
    if match is None:
        return False
    with torch.device("meta"):
        model = row.build()
    try:
        return not _faults(model, _translated(model, match)[0])
    except InputError:  # channels that cannot be reordered
        return False
