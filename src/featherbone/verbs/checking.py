"""Look at a data set before anything is trained on it."""

from __future__ import annotations

from featherbone.data.checked import DataCheck
from featherbone.data.sets import group_of
from featherbone.errors import needs
from featherbone.files import write_text
from featherbone.report.datapage import DUPLICATES, OF_ONE_GROUP, data_html
from featherbone.verbs.folder import AnyPath


def check_data(source: AnyPath, *, quiet: bool = False) -> DataCheck:
    """Decode every image of a data set once, in parallel: what is broken, there twice, mislabelled, odd or missing.

    Args:
        source: whatever ``train`` takes; it need not be good enough to train on.
        quiet: no progress on the error stream.

    Raises:
        InputError: if it is no data set.
    """
    with needs("train", "reading images"):
        from featherbone.data.examining import examine
        from featherbone.data.opening import list_data
    return examine(list_data(source, quiet=quiet), quiet=quiet)


def data_page(check: DataCheck, path: AnyPath, *, caption: str = "", quiet: bool = False) -> None:
    """Write the page of a check: one file with pictures, that needs no net.

    Args:
        check: what ``check_data`` returned; its pictures must still be where they were.
        path: the file.
        caption: a line below the title, for example the command that made the page.
        quiet: no progress on the error stream.

    Raises:
        InputError: if the file cannot be written.
    """
    with needs("train", "reading images"):
        from featherbone.data.looking import look_at
        from featherbone.data.thumbnails import thumbnail
    groups = check.duplicates[:DUPLICATES]
    shown = [*check.samples, *(picture for group in groups for picture in group.pictures[:OF_ONE_GROUP])]
    shown.sort(key=lambda picture: group_of(picture.source))  # a shard that is fetched serves all of its pictures
    uris = look_at([picture.source for picture in shown], thumbnail, doing="drawing thumbnails", quiet=quiet)
    drawn = {picture: {**picture.to_dict(), "uri": uri} for picture, uri in zip(shown, uris, strict=True)}
    equal = [
        {
            **group.to_dict(),
            "images": [drawn[picture] for picture in group.pictures[:OF_ONE_GROUP]],
            "count": len(group.pictures),
        }
        for group in groups
    ]
    page = data_html(check.to_dict(), [drawn[picture] for picture in check.samples], equal, caption=caption)
    write_text(path, page)
