"""Look at a data set before anything is trained on it."""

from __future__ import annotations

from featherbone.data.checked import DataCheck
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


def data_page(check: DataCheck, path: AnyPath, *, caption: str = "") -> None:
    """Write the page of a check: one file with pictures, that needs no net.

    Args:
        check: what ``check_data`` returned; its pictures must still be where they were.
        path: the file.
        caption: a line below the title, for example the command that made the page.

    Raises:
        InputError: if the file cannot be written.
    """
    with needs("train", "reading images"):
        from featherbone.data.images import without_pillows_warnings
        from featherbone.data.thumbnails import thumbnail
    with without_pillows_warnings():
        samples = [{**picture.to_dict(), "uri": thumbnail(picture.source)} for picture in check.samples]
        groups = [
            {
                **group.to_dict(),
                "images": [{**p.to_dict(), "uri": thumbnail(p.source)} for p in group.pictures[:OF_ONE_GROUP]],
                "count": len(group.pictures),
            }
            for group in check.duplicates[:DUPLICATES]
        ]
    write_text(path, data_html(check.to_dict(), samples, groups, caption=caption))
