"""Open a data set by its name or folder."""

from __future__ import annotations

import os

from featherbone.data.bundled import digits
from featherbone.data.folders import open_folder
from featherbone.data.sets import ImageData
from featherbone.errors import InputError


def open_data(
    source: str | os.PathLike[str], *, seed: int = 0, val_fraction: float = 0.2, quiet: bool = False
) -> ImageData:
    """Open a classification data set and read every image once, in parallel; unreadable files are left out and listed.

    Args:
        source: ``"digits"``, a folder with ``train/`` and ``val/`` (or ``valid``, ``validation``, ``test``), or one
            folder of class folders, which is split.
        seed: decides the split of a single folder.
        val_fraction: share of each class held out when a single folder is split.
        quiet: show no progress bar.

    Raises:
        InputError: if it is not such a folder, if a class has no readable image or there is one class only, or if
            ``val_fraction`` is not between 0 and 1.
    """
    if not 0 < val_fraction < 1:
        raise InputError(f"val_fraction={val_fraction} is not allowed: above 0, below 1")
    if os.fspath(source) == "digits":
        return digits()
    return open_folder(source, seed=seed, val_fraction=val_fraction, quiet=quiet)
