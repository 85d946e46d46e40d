"""What to say of a file that does not fit: the form that is nearest to it, and networks that it does fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from featherbone.data.names import printable
from featherbone.errors import some
from featherbone.models import list_models
from featherbone.models import spec as named_spec
from featherbone.spec import Spec
from featherbone.weights.importers.checkpoint import Checkpoint
from featherbone.weights.importers.match import Match, shapes_of
from featherbone.weights.importers.variants import variants

Fits = Callable[[Spec, Mapping[str, Tensor], bool], bool]


def nearest_form(match: Match) -> str:
    """Return which form a file is nearest to, and what differs."""
    lacking = [layer.names[0] for layer in match.layers if not match.has(layer)]
    names = [name for layer in match.layers for name in layer.names]
    tops = {name.split(".")[0] for name in names[:-1]}
    layers = dict.fromkeys(name.removeprefix(match.prefix).rpartition(".")[0] for name in match.names)
    over = [name for name in layers if name not in names and name.split(".")[0] in tops]
    said = f"nearest is the form of {match.source.name}, with {match.found} of its {len(match.layers)} layers"
    if lacking:
        said += f", without {some(lacking, 3)}"
        if over:
            said += f" but with {some([printable(name) for name in over], 3)}"
    return said


def typed(row: Spec, column: str) -> str:
    """Return a column of a row as it is typed: ``stem_norm=false``, ``layers=6,12,24``."""
    value = getattr(row, column)
    parts = value if isinstance(value, tuple) else [value]
    return f"{column}={','.join(str(part).lower() if isinstance(part, bool) else str(part) for part in parts)}"


def suggestion(row: Spec, checkpoint: Checkpoint, fits: Fits) -> str:
    """Return which of our networks the tensors fit by name, or which other value of a column makes the row fit.

    Args:
        row: the one that does not fit.
        checkpoint: the file.
        fits: tells whether tensors of these shapes, by name, fit a row; the last argument: whether they may be ours.
    """
    shapes = shapes_of(checkpoint)
    own = any(re.search(r"(^|\.)head\.(\w+\.)?classifier\.weight$", name) for name in shapes)
    fitting = [name for name in list_models() if fits(named_spec(name), shapes, own)]
    if fitting:
        return f"; they fit {some(fitting)}"
    columns = [typed(other, column) for column, other in variants(row) if fits(other, shapes, own)]
    return f"; they fit with {some(columns)}" if columns else ""
