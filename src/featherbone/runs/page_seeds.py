"""The page that several seeds leave behind."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from featherbone.files import write_text
from featherbone.report.pages.seeds import seeds_html
from featherbone.runs.folder import HISTORY, PAGE
from featherbone.runs.page import read_history
from featherbone.runs.run import Run
from featherbone.runs.seed_runs import SeedRuns
from featherbone.runs.tasks import task_of
from featherbone.weights import read_header


def write_seeds_page(found: SeedRuns) -> None:
    """Write the page of finished runs into the folder that they lie in.

    Raises:
        InputError: if it cannot be written, or a run cannot be read.
    """
    first = found.runs[0]
    header = read_header(first.folder)
    values = {
        "network": task_of(header).model_name(header.spec),
        "place": first.recipe.data,
        "train_images": first.train_images,
        "val_images": first.test_images,
        "fraction": first.recipe.fraction,
        "changes": found.changes,
        "scores": {name: asdict(one) for name, one in found.scores.items()},
        "runs": [_told(run) for run in found.runs],
    }
    write_text(found.page, seeds_html(values))


def _told(run: Run) -> dict[str, Any]:
    history = read_history(run.folder / HISTORY)
    return {
        "seed": run.recipe.seed,
        "page": Path(run.folder.name, PAGE).as_posix(),  # as seen from the folder: all of it may be moved
        "scores": run.scores,
        "best": asdict(run.best) if run.best else None,
        "seconds": run.train_seconds,
        "epochs": history.get("epoch", []),
        "history": history,
    }
