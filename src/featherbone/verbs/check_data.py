"""Look at a data set before anything is trained on it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from os import PathLike
from typing import Any

from featherbone.data.check.report import Check, ImageRef
from featherbone.data.dataset import group_of
from featherbone.errors import check_type, needs
from featherbone.files import AnyPath, check_replaceable, write_text
from featherbone.report.pages.data import DUPLICATES, ISSUES, OF_ONE_GROUP, data_html


def check_data(source: AnyPath, *, quiet: bool = False) -> Check:
    """Decode every image of a data set once, in parallel; return what is broken, duplicated, mislabelled or missing.

    Args:
        source: whatever ``train`` takes; it need not be good enough to train on.
        quiet: no progress on the error stream.

    Returns:
        What was found: a ``DetectionCheck`` if the data set has boxes, else a ``ClassificationCheck``.

    Raises:
        InputError: if it is no data set.
    """
    check_type("source", source, (str, PathLike), "the name, path or address of a data set")
    with needs("train", "reading images"):
        from featherbone.runs.tasks import task_for
    task = task_for(source)
    return task.check(task.opener.list(source, quiet=quiet), quiet=quiet)


def data_page(check: Check, path: AnyPath, *, caption: str = "", overwrite: bool = False, quiet: bool = False) -> None:
    """Write the page of a check: one file with pictures that works offline.

    Args:
        check: what ``check_data`` returned; its images must still be where they were.
        path: the file.
        caption: a line below the title, for example the command that made the page.
        overwrite: replace a file that featherbone did not make.
        quiet: no progress on the error stream.

    Raises:
        InputError: if the file cannot be written.
    """
    check_type("check", check, Check, "what check_data returned")
    check_replaceable("path", path, overwrite=overwrite)
    groups = check.duplicates[:DUPLICATES]
    equal = _thumbnails((image for group in groups for image in group.images[:OF_ONE_GROUP]), quiet=quiet)
    duplicates = [
        {**group.to_dict(), "images": [equal[p] for p in group.images[:OF_ONE_GROUP]], "count": len(group.images)}
        for group in groups
    ]
    samples = _thumbnails(check.samples, quiet=quiet, side=check.sample_side)
    issues = check.issue_groups(ISSUES)
    shown = _thumbnails((image for group in issues for image in group.images), quiet=quiet, side=check.sample_side)
    write_text(
        path,
        data_html(
            check.to_dict(),
            [{**samples[image], **check.drawing(image)} for image in check.samples],
            duplicates,
            [
                {**group._asdict(), "images": [{**shown[image], **drawn} for image, drawn in group.images.items()]}
                for group in issues
            ],
            caption=caption,
        ),
    )


def _thumbnails(
    images: Iterable[ImageRef], *, quiet: bool, side: int = Check.sample_side
) -> dict[ImageRef, dict[str, Any]]:
    """Return each image's name and thumbnail, in order."""
    with needs("train", "reading images"):
        from featherbone.data.scan import scan_images
        from featherbone.data.thumbnails import thumbnail
    wanted = dict.fromkeys(images)
    # a shard that is fetched serves all of its images
    fetched = sorted(wanted, key=lambda image: group_of(image.source))
    how = partial(thumbnail, side=side)
    drawn = scan_images([image.source for image in fetched], how, doing="drawing thumbnails", quiet=quiet)
    found = {image: one for image, one in zip(fetched, drawn, strict=True) if isinstance(one, dict)}
    return {image: {**image.to_dict(), **found[image]} for image in wanted}
