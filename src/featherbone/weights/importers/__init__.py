"""Weights of other projects in our networks: recognized, renamed, reordered, and accounted for to the last tensor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from featherbone.data import Preprocess
from featherbone.errors import InputError, check_type
from featherbone.models import spec as named_spec
from featherbone.spec import Backbone, Spec
from featherbone.weights.catalog import PUBLISHED
from featherbone.weights.importers.attempt import (
    Attempt,
    choose,
    fits_row,
    forms_of,
    of_form,
    readings_of,
    require_one_form,
    try_row,
)
from featherbone.weights.importers.checkpoint import Checkpoint, read_checkpoint
from featherbone.weights.importers.fill import fill
from featherbone.weights.importers.match import OURS, layers_of, matches, own_layers, shapes_of
from featherbone.weights.importers.order import BY_ORDER, ordered
from featherbone.weights.importers.proof import TOLERANCE, Proof, Reference, prove, read_reference
from featherbone.weights.importers.report import UNPROVED as UNPROVED
from featherbone.weights.importers.report import Imported as Imported
from featherbone.weights.importers.sources import SOURCES
from featherbone.weights.importers.suggestion import suggestion, typed
from featherbone.weights.importers.variants import alike, untold

_EXPECTED = ("num_classes", "in_chans")  # columns that follow the file without a word
_MOST_VARIANTS = 16
_MOST_READINGS = 16  # in one order, where a reference will tell them apart


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
    attempts = [try_row(model.spec, match, model) for match in matches(model.spec, shapes, own)]
    attempts = of_form(attempts, form, model.spec)
    attempt, others = choose(attempts, checkpoint, part, model.spec)
    require_one_form(readings_of(attempts, attempt), checkpoint)
    return fill(model, attempt, others, checkpoint)


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
        try_row(candidate, match)
        for candidate in _candidates(row, like_ours=like_ours)
        for match in matches(candidate, shapes, own_layers(candidate) if like_ours else ())
    ]
    if not attempts:
        attempts = _by_order(row, checkpoint, shapes, proved=reference is not None)
    attempts = of_form(attempts, form, row)
    attempt, others = choose(attempts, checkpoint, part, row)
    readings = readings_of(attempts, attempt)
    if reference:
        attempt, proof = _proved(readings, checkpoint, reference, tolerance)
    else:
        require_one_form(readings, checkpoint)
    model = attempt.row.build().eval()
    report = fill(model, attempt, others, checkpoint)
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


def _by_order(row: Spec, checkpoint: Checkpoint, shapes: Mapping[str, Tensor], *, proved: bool) -> list[Attempt]:
    """Return the ways in which a file whose names nobody knows fits by order.

    Raises:
        InputError: if there is none, there are several and no reference will tell them apart, or the names are known
            as those of another network.
    """
    known = f"is in no form of {row.family} that is known ({forms_of(row)})"
    if hint := suggestion(row, checkpoint, fits_row):
        raise InputError(f"{checkpoint.name} {known}{hint}")
    attempts: list[Attempt] = []
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
        attempts += [try_row(candidate, match) for match in matched]
    if not attempts:
        raise InputError(
            f"{checkpoint.name} {known}, and by order it does not fit either: {problem or 'too few layers'}"
        )
    return attempts


def _proved(
    readings: Sequence[Attempt], checkpoint: Checkpoint, reference: Reference, tolerance: float
) -> tuple[Attempt, Proof]:
    """Return the first way to read the weights in which outputs agree with the reference.

    Raises:
        InputError: if there is none.
    """

    def outcome(attempt: Attempt) -> Proof:
        model = attempt.row.build().eval()
        report = fill(model, attempt, (), checkpoint)
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


def _agrees(attempt: Attempt, outcome: Callable[[Attempt], Proof]) -> bool:
    try:
        return outcome(attempt).holds
    except InputError:  # another row may not take these inputs
        return False


def _untold(attempt: Attempt, report: Imported) -> Iterator[str]:
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


def _strides(attempts: Iterable[Attempt], chosen: Attempt) -> set[int]:
    """Return the strides of stems of our own form whose tensors would be of the same shapes."""
    return {
        one.row.stem_stride
        for one in attempts
        if not one.problems and one.match.source.name == OURS and one.match.prefix == chosen.match.prefix
    }


def _published_preprocess(network: str | Spec, source: str, row: Spec) -> Preprocess | None:
    """Return how a project's published weights of a network want their images: those of 1000 classes."""
    published = PUBLISHED.get(network) if isinstance(network, str) else None
    place = "torchvision" if published and published.place == "torchvision" else "timm"
    return published.preprocess if published and row.num_classes == 1000 and place in source else None
