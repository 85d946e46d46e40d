"""Weights of other projects in our networks: recognized, renamed, reordered, and accounted for to the last tensor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from featherbone.data import Preprocess
from featherbone.data.names import printable
from featherbone.errors import InputError, check_type, counted, first_line, nearest, some
from featherbone.models import spec as named_spec
from featherbone.spec import Backbone, Spec
from featherbone.weights.catalog import PUBLISHED
from featherbone.weights.importers.checkpoint import Checkpoint, read_checkpoint
from featherbone.weights.importers.convert import misfits, translated
from featherbone.weights.importers.match import OURS, Match, layers_of, matches, own_layers, shapes_of
from featherbone.weights.importers.order import BY_ORDER, ordered
from featherbone.weights.importers.proof import TOLERANCE, Proof, Reference, prove, read_reference
from featherbone.weights.importers.sources import SOURCES
from featherbone.weights.importers.suggestion import nearest_form, suggestion, typed
from featherbone.weights.importers.values import COUNTS, Values
from featherbone.weights.importers.variants import alike, untold

_EXPECTED = ("num_classes", "in_chans")  # columns that follow the file without a word
_MOST_VARIANTS = 16
_MOST_READINGS = 16  # in one order, where a reference will tell them apart
UNPROVED = "matched by order: shapes agree, and nothing else is known; prove it with --check"


@dataclass(frozen=True)
class Imported:
    """What came of loading foreign weights.

    Attributes:
        source: the project whose form the file has.
        loaded: how many of our tensors were filled.
        missing: our tensors that the file has nothing for; they keep what they had. Only last layers may be missing.
        left_over: tensors beside the loaded ones that no layer of ours takes, for example a detector's head.
        notes: what was chosen, converted and adapted on the way.
        preprocess: how the weights want their images, where the project's files do not differ in it.
        part: what the weights are called in the file, for example "state_dict"; nothing where they are alone in it.
        others: what else the file holds tensors under, for example other weights of the network, or an optimizer.
        by_order: whether the names were not known, and layers were matched in the order of running.
        untold: columns that stay as the row has them, as neither tensors nor names tell them; nothing once proved.
        proof: the outputs beside a reference, if one was given.
        accuracy: share of images whose class is right, if there were some to evaluate on.
    """

    source: str
    loaded: int
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    part: str = ""
    others: tuple[str, ...] = ()
    by_order: bool = False
    untold: tuple[str, ...] = ()
    proof: Proof | None = None
    accuracy: float | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be known of the weights for as long as they are used."""
        remarks = []
        if self.proof:
            remarks.append(f"outputs agree with a reference: {self.proof}")
        if self.accuracy is not None:
            remarks.append(f"top-1 {self.accuracy:.2%} when imported")
        if self.by_order and not self.proof and self.accuracy is None:
            remarks.append(UNPROVED)
        if self.untold:
            remarks.append(f"no tensor tells {some(self.untold, 9)}")
        return tuple(remarks)


@dataclass(frozen=True)
class _Attempt:
    """A network's row against weights in a file, and what keeps them from fitting."""

    row: Spec
    match: Match
    problems: list[str]


def load_weights(
    model: Backbone,
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    config: str | os.PathLike[str] | None = None,
    part: str = "",
    rename: Sequence[tuple[str, str]] = (),
    form: str = "",
) -> Imported:
    """Fill a network, in place, with weights of another project (or plain ones of ours).

    Recognized are the forms in which torchvision, timm, pytorchcv and the papers' authors publish these families;
    names are translated, channels put in our order, folded norms unfolded, and a first convolution for other channels
    adapted (grey: the sum over the colours; more: the colours repeated and scaled). A classifier for another number of
    classes is left out. Of a checkpoint with averaged weights these are taken, as the programs that keep them evaluate
    and publish them.

    Args:
        model: the network.
        source: a file (safetensors, a PyTorch checkpoint, darknet's ``.weights``), or named tensors.
        config: darknet's ``.cfg``, if it does not lie beside the weights under the same name.
        part: which weights of several in the file, by the name under which they lie there, as "state_dict_ema".
        rename: regular expressions and replacements, applied in turn to the file's names before they are compared.
        form: the project whose form the file has, where its names and shapes are those of several.

    Raises:
        InputError: if the file cannot be read, its form is not known, it does not fit the network or does not say which
            of several weights are meant, or values are NaN or infinite; the network is then as it was.
    """
    check_type("model", model, Backbone, "a classifier; weights of whole detectors are not imported")
    check_type("source", source, (str, os.PathLike, Mapping), "the path of a file, or named tensors")
    checkpoint = read_checkpoint(source, config).renamed(rename)
    shapes, own = shapes_of(checkpoint), [name for name, _ in layers_of(model)]
    attempts = [_tried(model.spec, match, model) for match in matches(model.spec, shapes, own)]
    attempts = _of_form(attempts, form, model.spec)
    attempt, others = _chosen(attempts, checkpoint, part, model.spec)
    _check_form(_readings(attempts, attempt), checkpoint)
    return _load(model, attempt, others, checkpoint)


def import_weights(
    network: str | Spec,
    source: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | None = None,
    part: str = "",
    rename: Sequence[tuple[str, str]] = (),
    form: str = "",
    check: str | os.PathLike[str] | None = None,
    tolerance: float = TOLERANCE,
) -> tuple[Backbone, Imported]:
    """Return a network with foreign weights, in evaluation mode. What the file decides is taken from it.

    The numbers of classes and of input channels, whether there is a norm after a small stem, and whether the
    classifier has a bias: those columns follow the file. It may also be what ``torch.save`` made of the ``state_dict``
    of a network of ours.

    Where nobody knows the names, layers are matched in the order of running, if shapes and the numbers in names allow
    one way only; that proves no more than that shapes agree, and the report says so. With ``check``, of several ways
    that fit the one is taken whose outputs agree.

    Args:
        network: the name of the network, or a row.
        source: the file.
        config: darknet's ``.cfg``, if it does not lie beside the weights under the same name.
        part: which weights of several in the file, by the name under which they lie there, as "state_dict_ema".
        rename: regular expressions and replacements, applied in turn to the file's names before they are compared.
        form: the project whose form the file has, where its names and shapes are those of several.
        check: an .npz file with ``input`` ``(N, C, H, W)`` and what the original network makes of it, ``output``
            ``(N, classes)``, or its last map ``(N, channels, H, W)``.
        tolerance: the largest difference of an output that is allowed, as a share of the largest output.

    Raises:
        InputError: as ``load_weights``; or if the name is unknown, or outputs differ from the reference.
    """
    check_type("network", network, (str, Spec), "the name of a network, or its row")
    check_type("source", source, (str, os.PathLike), "the path of a file")
    row = named_spec(network) if isinstance(network, str) else network
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance={tolerance!r} is not allowed: a share of the largest output, above 0 and below 1")
    reference = None if check is None else read_reference(check)
    checkpoint = read_checkpoint(source, config).renamed(rename)
    shapes = shapes_of(checkpoint)
    like_ours = any(".stages." in f".{name}" for name in shapes)
    attempts = [
        _tried(candidate, match)
        for candidate in _candidates(row, like_ours=like_ours)
        for match in matches(candidate, shapes, own_layers(candidate) if like_ours else ())
    ]
    if not attempts:
        attempts = _by_order(row, checkpoint, shapes, proved=reference is not None)
    attempts = _of_form(attempts, form, row)
    attempt, others = _chosen(attempts, checkpoint, part, row)
    readings = _readings(attempts, attempt)
    if reference:
        attempt, proof = _proved(readings, checkpoint, reference, tolerance)
    else:
        _check_form(readings, checkpoint)
    model = attempt.row.build().eval()
    report = _load(model, attempt, others, checkpoint)
    changed = [field.name for field in fields(row) if getattr(row, field.name) != getattr(attempt.row, field.name)]
    why = "as the reference shows" if reference and len(readings) > 1 else "as in the file"
    shown = [f"{name}={getattr(attempt.row, name)}, {why}" for name in changed if name not in _EXPECTED]
    unproved: tuple[str, ...] = ()
    if reference:
        report = replace(report, proof=proof)
    else:
        unproved = tuple(_untold(attempt, report))
        if report.source == OURS and len(_strides(attempts, attempt)) > 1:
            shown.append(f"stem_stride={attempt.row.stem_stride}, as published: the tensors do not tell it")
    preprocess = report.preprocess or _published_preprocess(network, report.source, attempt.row)
    return model, replace(report, notes=(*shown, *report.notes), preprocess=preprocess, untold=unproved)


def _by_order(row: Spec, checkpoint: Checkpoint, shapes: Mapping[str, Tensor], *, proved: bool) -> list[_Attempt]:
    """Return the ways in which a file whose names nobody knows fits by order.

    Raises:
        InputError: if there is none, there are several and no reference will tell them apart, or the names are known
            as those of another network.
    """
    known = f"is in no form of {row.family} that is known ({_forms(row)})"
    if hint := suggestion(row, checkpoint, _fits):
        raise InputError(f"{checkpoint.name} {known}{hint}")
    attempts: list[_Attempt] = []
    tried: set[tuple[tuple[int, ...], ...]] = set()
    problem = ""
    for candidate in _candidates(row, like_ours=True):
        model = candidate.build_empty()
        form = tuple(tuple(tensor.shape) for tensor in model.state_dict().values())
        if form in tried:
            continue  # what no tensor tells stays as the row has it
        tried.add(form)
        found = ordered(model, checkpoint, shapes, most=_MOST_READINGS if proved else 2)
        if found.ambiguous and not proved:
            raise InputError(
                f"{checkpoint.name} {known}, and by order it fits in more than one way: {found.ambiguous}; put the "
                "names right with --rename, or let outputs decide with --check"
            )
        problem = problem or found.problem
        matched = found.matches
        if proved:  # any arrangement of channels that a project of the family has may be this one's, too
            permuted = {project.permute: project for project in SOURCES[row.family] if project.permute}.values()
            matched = matched + [
                replace(match, source=replace(project, name=BY_ORDER), used=set())
                for project in permuted
                for match in matched
            ]
        attempts += [_tried(candidate, match) for match in matched]
    if not attempts:
        raise InputError(
            f"{checkpoint.name} {known}, and by order it does not fit either: {problem or 'too few layers'}"
        )
    return attempts


def _forms(row: Spec) -> str:
    return some([project.name for project in SOURCES[row.family]], 9)


def _of_form(attempts: list[_Attempt], form: str, row: Spec) -> list[_Attempt]:
    """Return the attempts of the form that is asked for.

    Raises:
        InputError: if the family has none of this name, or the file's names are not those of it.
    """
    if not form:
        return attempts
    known = [project.name for project in SOURCES[row.family]]
    if form not in known:
        raise InputError(
            f"form={form!r} is not allowed for {row.family}{nearest(form, known)}: one of {', '.join(known)}"
        )
    asked = [one for one in attempts if one.match.source.name == form]
    if not asked:
        raise InputError(f"form={form!r} is not allowed: the file's names are not those of that form of this network")
    return asked


def _check_form(readings: Sequence[_Attempt], checkpoint: Checkpoint) -> None:
    """Refuse weights that names and shapes let two forms take which compute otherwise.

    Raises:
        InputError: if they do.
    """
    names = list(dict.fromkeys(one.match.source.name for one in readings))
    if len(names) > 1:
        raise InputError(
            f"names and shapes of {checkpoint.name} are those of forms that compute otherwise, {' and '.join(names)}: "
            "say which with form=NAME (--form), or let outputs decide with check=FILE.npz (--check)"
        )


def _readings(attempts: Sequence[_Attempt], chosen: _Attempt) -> list[_Attempt]:
    """Return all that the weights that were chosen can be read as, as they were chosen first."""
    fitting = [one for one in attempts if not one.problems and one.match.label == chosen.match.label]
    most = max((one.match.found for one in fitting), default=0)
    return [chosen, *(one for one in fitting if one is not chosen and one.match.found == most)]


def _proved(
    readings: Sequence[_Attempt], checkpoint: Checkpoint, reference: Reference, tolerance: float
) -> tuple[_Attempt, Proof]:
    """Return the first way to read the weights in which outputs agree with the reference.

    Raises:
        InputError: if there is none.
    """

    def outcome(attempt: _Attempt) -> Proof:
        model = attempt.row.build().eval()
        report = _load(model, attempt, (), checkpoint)
        if reference.output.ndim == 2 and report.missing:
            raise InputError(
                f"{checkpoint.name} has no classifier to compare with output in {reference.name}: give the last map, "
                "(N, channels, H, W)"
            )
        return prove(model, reference, tolerance)

    first: Proof | None = None
    for attempt in readings:
        proof = outcome(attempt)
        first = first or proof
        if proof.holds:
            return attempt, proof
    others = ((column, replace(readings[0], row=other)) for column, other in alike(readings[0].row)[:_MOST_VARIANTS])
    hints = [typed(one.row, column) for column, one in others if _agrees(one, outcome)]
    hint = f"; with {hints[0]} they agree (--set)" if hints else ""
    raise InputError(f"the outputs are not those of the reference: {first}{hint}")


def _agrees(attempt: _Attempt, outcome: Callable[[_Attempt], Proof]) -> bool:
    try:
        return outcome(attempt).holds
    except InputError:  # another row may not take these inputs
        return False


def _untold(attempt: _Attempt, report: Imported) -> Iterator[str]:
    """Yield what the row says and no tensor does; nothing for files as they are published."""
    published = attempt.row.num_classes == 1000 or report.missing
    if report.by_order or not published:
        for column in untold(attempt.row, report.source):
            yield typed(attempt.row, column)


def _candidates(row: Spec, *, like_ours: bool) -> list[Spec]:
    """Return the row, and those that files of the same network also come in; of ours, those of other stems."""
    projects = [candidate for project in SOURCES[row.family] for candidate in project.rows(row)]
    stems = [replace(row, stem_stride=stride) for stride in (4, 2, 1)] if like_ours else []
    return list(dict.fromkeys([row, *projects, *stems]))


def _strides(attempts: Iterable[_Attempt], chosen: _Attempt) -> set[int]:
    """Return the strides of stems of our own form whose tensors would be of the same shapes."""
    return {
        one.row.stem_stride
        for one in attempts
        if not one.problems and one.match.source.name == OURS and one.match.prefix == chosen.match.prefix
    }


def _tried(row: Spec, match: Match, model: Backbone | None = None) -> _Attempt:
    """Return what keeps tensors of the match's shapes from being a network's; nothing is computed with values.

    Args:
        row: the network's.
        match: with shapes alone.
        model: the network; default: that of the row, with the columns that the file decides.
    """
    try:
        row = row if model else _decided(row, match)
        model = model or row.build_empty()
        problems = misfits(model, translated(model, match)[0])
        inside = match.inside()
        if inside and not problems:
            problems = [f"no layer of the network takes {some([printable(name) for name in inside], 3)} inside it"]
        return _Attempt(row, match, problems)
    except Exception as error:  # noqa: BLE001 - shapes of strangers make tensor operations fail in any way
        return _Attempt(row, match, [first_line(error)])


def _chosen(attempts: list[_Attempt], checkpoint: Checkpoint, part: str, row: Spec) -> tuple[_Attempt, list[str]]:
    """Return the attempt to load, of several weights the average or what is asked for, and what the others are called.

    Raises:
        InputError: if none fits, or several do and it is not clear which are meant.
    """
    what = checkpoint.name
    every = [one.match.label for one in attempts if not one.problems]
    if part:
        labels = list(dict.fromkeys(one.match.label for one in attempts))
        attempts = [one for one in attempts if f".{one.match.label}.".find(f".{part}.") >= 0]
        if not attempts:
            raise InputError(f"part={part!r} is not allowed: {what} holds weights of it under {_listed(labels)}")
    if not attempts:
        hint = suggestion(row, checkpoint, _fits)
        raise InputError(f"{what} is in no form of {row.family} that is known ({_forms(row)}){hint}")
    attempts = [one if not one.problems else _completed(one, attempts, checkpoint) for one in attempts]
    best: dict[str, _Attempt] = {}
    for one in sorted(attempts, key=lambda one: -one.match.found):
        if not one.problems:
            best.setdefault(one.match.label, one)
    if not best:
        closest = max(attempts, key=lambda one: (one.match.found, -len(one.problems)))
        hint = suggestion(row, checkpoint, _fits)
        raise InputError(
            f"{what} does not fit the network: {some(closest.problems, 3)}; {nearest_form(closest.match)}; forms of "
            f"{row.family} that are known: {_forms(row)}{hint}"
        )
    averages = [label for label in best if checkpoint.is_average(label)]
    odd = [one for one in attempts if checkpoint.is_average(one.match.label) and one.match.label not in best]
    if odd and not averages and not part:
        raise InputError(
            f"{what} holds averaged weights under {_listed([odd[0].match.label])}, which do not fit the network "
            f"({some(odd[0].problems, 2)}), and others under {_listed(best)}: say which with part=NAME"
        )
    labels = averages or list(best)
    if any(not _same(best[labels[0]], best[label], checkpoint) for label in labels[1:]):
        raise InputError(f"{what} holds weights of this network under {_listed(labels)}: say which with part=NAME")
    return best[labels[0]], [label for label in dict.fromkeys(every) if label != labels[0]]


def _listed(labels: Iterable[str]) -> str:
    return some([printable(label) or "no name" for label in labels], 8)


def _completed(attempt: _Attempt, attempts: Iterable[_Attempt], checkpoint: Checkpoint) -> _Attempt:
    """Return an average of parameters alone with the statistics of norms that the raw weights beside it have."""
    if not checkpoint.is_average(attempt.match.label):
        return attempt
    for other in attempts:
        same = other.match.source.name == attempt.match.source.name and other.row == attempt.row
        if same and not other.problems and other.match.label != attempt.match.label:
            return _tried(attempt.row, attempt.match.with_statistics(other.match), attempt.row.build_empty())
    return attempt


def _same(one: _Attempt, other: _Attempt, checkpoint: Checkpoint) -> bool:
    """Return whether two names in a file stand for the same weights."""
    ours, theirs = (
        {name.removeprefix(attempt.match.prefix): own for name, own in attempt.match.names.items()
         if name.startswith(attempt.match.prefix)}
        for attempt in (one, other)
    )  # fmt: skip
    pairs = [
        (checkpoint.tensors[own], checkpoint.tensors[theirs[name]]) for name, own in ours.items() if name in theirs
    ]
    return all(a is b or (a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())) for a, b in pairs)


def _published_preprocess(network: str | Spec, source: str, row: Spec) -> Preprocess | None:
    """Return how a project's published weights of a network want their images: those of 1000 classes."""
    published = PUBLISHED.get(network) if isinstance(network, str) else None
    place = "torchvision" if published and published.place == "torchvision" else "timm"
    return published.preprocess if published and row.num_classes == 1000 and place in source else None


def _decided(row: Spec, match: Match) -> Spec:
    """Return the row with the numbers of classes and channels, and the bias of the classifier, that the file has."""
    first, last = match.get(match.layers[0], "weight"), match.get(match.layers[-1], "weight")
    columns: dict[str, Any] = {}
    if first:
        columns["in_chans"] = match.layers[0].weight(first).shape[1]
    if last:
        columns["num_classes"] = last[0].shape[0]
        if "classifier_bias" in {field.name for field in fields(row)}:
            columns["classifier_bias"] = match.get(match.layers[-1], "bias") is not None
    return replace(row, **columns)


def _load(model: Backbone, attempt: _Attempt, others: Sequence[str], checkpoint: Checkpoint) -> Imported:
    values = Values(checkpoint.tensors)
    match = attempt.match.of(values)
    try:
        state, notes = translated(model, match)
        wanted = model.state_dict()
        ready = {name: _as(wanted[name], tensor, name, notes) for name, tensor in state.items()}
    except InputError as error:
        raise InputError(f"{checkpoint.name} cannot be loaded: {error}") from error
    with torch.no_grad():
        for name, tensor in ready.items():
            wanted[name].copy_(tensor)
    left_over, beside = _unused(match, others, checkpoint)
    return Imported(
        source=match.source.name,
        loaded=len(state),
        missing=tuple(name for name in wanted if name not in state),
        left_over=tuple(left_over),
        notes=tuple(dict.fromkeys([*_choice(match, checkpoint), *values.notes(), *notes])),
        preprocess=match.source.preprocess,
        part=match.label,
        others=tuple(beside),
        by_order=match.source.name == BY_ORDER,
    )


def _unused(match: Match, others: Sequence[str], checkpoint: Checkpoint) -> tuple[list[str], list[str]]:
    """Return the names of tensors beside those that were taken, and under what the file holds anything else."""
    taken = {checkpoint.given[name][0] for name in match.used if name.startswith(match.prefix)}
    known = {label.split(".")[0] for label in others}
    left_over, beside = [], dict.fromkeys(others)
    for name, (where, inner) in checkpoint.given.items():
        if name in match.used or any(name.startswith(f"{label}.") for label in others):
            continue
        if where in taken:
            left_over += [] if inner.endswith((COUNTS, "n_averaged")) else [inner]
        elif (first := (where or inner).split(".")[0]) not in known:
            beside[first] = None
    return left_over, list(beside)


def _as(wanted: Tensor, tensor: Tensor, name: str, notes: list[str]) -> Tensor:
    """Return a tensor in the type of ours, if its values can be held there."""
    if tensor.dtype == torch.float64 and wanted.dtype == torch.float32:
        notes.append("float64 was rounded to float32")
        if not bool(tensor.float().isfinite().all()):
            raise InputError(f"{name} holds values too large for float32")
    return tensor.to(wanted.dtype)


def _choice(match: Match, checkpoint: Checkpoint) -> list[str]:
    """Return what is to be said of the weights that were taken."""
    said = []
    if checkpoint.is_average(match.label):
        said.append(f"averaged weights were taken ({printable(match.label) or 'n_averaged'})")
    if match.borrowed:
        said.append(f"{counted(match.borrowed, 'statistic')} of norms are the raw weights', as the average has none")
    return said


def _fits(row: Spec, shapes: Mapping[str, Tensor], own: bool) -> bool:
    found = matches(row, shapes, own_layers(row) if own else ())
    return any(not _tried(row, match, row.build_empty()).problems for match in found)
