"""What changed between two sittings of a run: it is refused, or accepted and named."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from featherbone.data.dataset import AnyData
from featherbone.errors import InputError
from featherbone.runs.folder import FILES
from featherbone.runs.identity import (
    changed_environment,
    changed_files,
    read_environment,
    write_environment,
    write_files,
)
from featherbone.training import Recipe, processes


def changes_since(
    folder: Path, images: AnyData, recipe: Recipe, fingerprint: str, device: torch.device, *, quiet: bool
) -> list[str]:
    """Return what a run reads, or what computes it, that is not as it was recorded when it began.

    Raises:
        InputError: if the images are others.
    """
    files = changed_files(folder, images, recipe, quiet=quiet)
    if images.fingerprint != fingerprint:
        raise InputError(
            f"the images in {recipe.data} are not those that the run in {folder} began with: "
            f"{'; '.join(files) or 'their order, labels or classes are others'}"
        )
    return [*files, *changed_environment(folder, processes().world, device)]


def record_changes(
    folder: Path,
    images: AnyData,
    recipe: Recipe,
    device: torch.device,
    changes: Sequence[str],
    *,
    accepted: bool,
    quiet: bool,
) -> None:
    """Record changes that are accepted, and what an older version did not record.

    Raises:
        InputError: if they are not.
    """
    if changes and not accepted:
        raise InputError(
            f"the run in {folder} would not go on as it began: {'; '.join(changes)}; put that right, or go on all the "
            "same with --accept-changes (accept_changes=True), and the result will name it"
        )
    known = read_environment(folder)
    if not (folder / FILES).exists():
        warnings.warn(
            f"the run in {folder} did not record the content of its files, nor its versions and threads, as it is an "
            "older version's: whether they are the same could not be checked",
            stacklevel=3,
        )
    if changes or not (folder / FILES).exists():
        write_files(folder, images, recipe, quiet=quiet)
    if changes or known is None:
        write_environment(folder, device, (*(known.changes if known else ()), *changes))


def changes_of_all_sittings(folder: Path, images: AnyData, recipe: Recipe, *, quiet: bool) -> list[str]:
    """Return what was otherwise at a later sitting, and was accepted, and what has changed in the last one."""
    known = read_environment(folder)
    try:
        meanwhile = changed_files(folder, images, recipe, quiet=quiet)
    except InputError as error:  # a file is gone
        meanwhile = [str(error)]
    for change in meanwhile:
        warnings.warn(f"while the run in {folder} was trained, {change}", stacklevel=4)
    return [*(known.changes if known else ()), *(f"while it was trained, {change}" for change in meanwhile)]
