"""Write the page of a finished run."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherbone.errors import InputError, check_type, needs
from featherbone.files import AnyPath, check_replaceable

if TYPE_CHECKING:
    from featherbone.data.dataset import Dataset


def run_page(
    run: AnyPath,
    out: AnyPath | None = None,
    *,
    images: Dataset[Any] | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Write the page of a finished run: what it reached, curves, confusion, mistakes as pictures, recipe; one file.

    Of a classifier it also says whether its probabilities can be trusted; of a detector, precision and recall.
    Where the held-out images are gone or have changed, the page says so and has the rest.

    Args:
        run: the folder of a finished run.
        out: the file to write, ending in ``.html``; default ``RUN/run.html``.
        images: the run's held-out images, if they are open already; default: they are opened once more.
        overwrite: replace an ``out`` that featherbone did not make.
        quiet: no progress on the error stream.

    Returns:
        The file that was written.

    Raises:
        InputError: if there is no finished run, or the file cannot be written, or another process writes to the run.
    """
    check_type("run", run, (str, os.PathLike), "the folder of a finished run")
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(f"run={folder} is not allowed: the folder of a finished run")
    with needs("train", "the page of a run"):
        from featherbone.runs.folder import PAGE
        from featherbone.runs.page import write_page
        from featherbone.runs.writer import writing
    page = folder / PAGE if out is None else Path(out)
    if out is not None:
        check_replaceable("out", page, overwrite=overwrite)
    with nullcontext() if page.parent.resolve() != folder.resolve() else writing(folder):
        write_page(folder, page, images, quiet=quiet)
    return page
