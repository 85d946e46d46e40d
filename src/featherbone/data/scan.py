"""Look at every image once, in parallel, so that what is broken is known before anybody relies on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np

from featherbone.data.dataset import ImageInfo, Source, group_of, relative
from featherbone.data.image import UnreadableImageError, decoded, without_pillows_warnings
from featherbone.data.names import printable
from featherbone.data.progress import watched

T = TypeVar("T")
_AT_ONCE = 1024  # images that are handed out together: a million waiting ones would take gigabytes


def scan_image(source: Source) -> ImageInfo:
    """Decode an image and return what was seen.

    Raises:
        UnreadableImageError: if it cannot be decoded.
    """
    with decoded(source) as (_, seen):
        return seen


def scan_images(
    sources: Sequence[Source], how: Callable[[Source], T], *, doing: str = "reading images", quiet: bool
) -> list[T | str]:
    """Return what ``how`` makes of every image, in order; for an unreadable one the reason.

    What has to be fetched as a whole is finished before the next is begun: a late image would fetch it once more.
    """

    def verdict(source: Source) -> T | str:
        try:
            return how(source)
        except UnreadableImageError as error:
            return str(error)

    def verdicts(pool: ThreadPoolExecutor) -> Iterator[T | str]:
        for _, run in groupby(sources, group_of):
            together = list(run)
            for start in range(0, len(together), _AT_ONCE):
                yield from pool.map(verdict, together[start : start + _AT_ONCE])

    # Pillow's decoders release the interpreter lock
    with without_pillows_warnings(), ThreadPoolExecutor() as pool:
        return list(watched(verdicts(pool), doing, total=len(sources), quiet=quiet))


def shown(source: Source, root: str, number: int = 0) -> str:
    """Return what an image is called in a report: one line, relative to its data set; of an array, its number."""
    if isinstance(source, np.ndarray):
        return f"image {number}"
    return printable(str(relative(source, Path(root)) if isinstance(source, Path) else source.name))
