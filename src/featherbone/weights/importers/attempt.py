"""A network's row against weights in a file: what keeps them from fitting, and which of several are meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from featherbone.data.names import printable
from featherbone.errors import InputError, first_line, nearest, some
from featherbone.spec import Backbone, Spec
from featherbone.weights.importers.checkpoint import Checkpoint
from featherbone.weights.importers.convert import misfits, translated
from featherbone.weights.importers.match import Match, matches, own_layers
from featherbone.weights.importers.sources import SOURCES
from featherbone.weights.importers.suggestion import nearest_form, suggestion


@dataclass(frozen=True)
class Attempt:
    """A network's row against weights in a file, and what keeps them from fitting."""

    row: Spec
    match: Match
    problems: list[str]


def try_row(row: Spec, match: Match, model: Backbone | None = None) -> Attempt:
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
        return Attempt(row, match, problems)
    except Exception as error:  # noqa: BLE001 - shapes of strangers make tensor operations fail in any way
        return Attempt(row, match, [first_line(error)])


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


def fits_row(row: Spec, shapes: Mapping[str, Tensor], own: bool) -> bool:
    """Return whether tensors of these shapes fit a network, in any form that is known; ``own``: or in ours."""
    found = matches(row, shapes, own_layers(row) if own else ())
    return any(not try_row(row, match, row.build_empty()).problems for match in found)


def forms_of(row: Spec) -> str:
    """Return the names of the projects whose form of a network is known."""
    return some([project.name for project in SOURCES[row.family]], 9)


def of_form(attempts: list[Attempt], form: str, row: Spec) -> list[Attempt]:
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


def readings_of(attempts: Sequence[Attempt], chosen: Attempt) -> list[Attempt]:
    """Return all that the weights that were chosen can be read as, as they were chosen first."""
    fitting = [one for one in attempts if not one.problems and one.match.label == chosen.match.label]
    most = max((one.match.found for one in fitting), default=0)
    return [chosen, *(one for one in fitting if one is not chosen and one.match.found == most)]


def require_one_form(readings: Sequence[Attempt], checkpoint: Checkpoint) -> None:
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


def choose(attempts: list[Attempt], checkpoint: Checkpoint, part: str, row: Spec) -> tuple[Attempt, list[str]]:
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
        hint = suggestion(row, checkpoint, fits_row)
        raise InputError(f"{what} is in no form of {row.family} that is known ({forms_of(row)}){hint}")
    attempts = [one if not one.problems else _completed(one, attempts, checkpoint) for one in attempts]
    best: dict[str, Attempt] = {}
    for one in sorted(attempts, key=lambda one: -one.match.found):
        if not one.problems:
            best.setdefault(one.match.label, one)
    if not best:
        closest = max(attempts, key=lambda one: (one.match.found, -len(one.problems)))
        hint = suggestion(row, checkpoint, fits_row)
        raise InputError(
            f"{what} does not fit the network: {some(closest.problems, 3)}; {nearest_form(closest.match)}; forms of "
            f"{row.family} that are known: {forms_of(row)}{hint}"
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


def _completed(attempt: Attempt, attempts: Iterable[Attempt], checkpoint: Checkpoint) -> Attempt:
    """Return an average of parameters alone with the statistics of norms that the raw weights beside it have."""
    if not checkpoint.is_average(attempt.match.label):
        return attempt
    for other in attempts:
        same = other.match.source.name == attempt.match.source.name and other.row == attempt.row
        if same and not other.problems and other.match.label != attempt.match.label:
            return try_row(attempt.row, attempt.match.with_statistics(other.match), attempt.row.build_empty())
    return attempt


def _same(one: Attempt, other: Attempt, checkpoint: Checkpoint) -> bool:
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
