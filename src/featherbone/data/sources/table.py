"""Tables of paths and labels."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from featherbone.data.dataset import Item, Listing, Skipped
from featherbone.data.names import ALL, TEST, TRAIN, VAL, printable, split_of
from featherbone.errors import InputError, first_line, needs, some

# what columns are usually called, those that are surer first
_PATHS = (
    *("path", "file_path", "filepath", "image_path", "img_path", "relpath"),
    *("file", "file_name", "filename", "image_file", "image", "img", "image_name"),
)
_LABELS = ("label", "class", "class_name", "classname", "target", "category", "label_name", "y")
_SPLITS = ("split", "set", "subset", "partition")

_Row = Mapping[str, Any]


def find_table(path: Path) -> Listing[str] | None:
    """Return what a ``.csv``, ``.tsv`` or ``.parquet`` file lists; ``None`` for any other file.

    Raises:
        InputError: if it cannot be read, or has no column of paths or of labels.
    """
    readers = {".csv": _read_text, ".tsv": _read_text, ".parquet": _read_parquet}
    read = readers.get(path.suffix.lower())
    if read is None or not path.is_file():
        return None
    columns, rows = read(path)
    paths, labels = _column(path, columns, _PATHS, "paths"), _column(path, columns, _LABELS, "labels")
    column = _first(columns, _SPLITS)
    splits: dict[str, list[Item[str]]] = {}
    skipped: list[Skipped] = []
    for number, row in enumerate(rows, 1):
        file, label = _text(row[paths]), _text(row[labels])
        if not file or not label:
            missing = "label" if file else "path"
            skipped.append(Skipped(printable(file) or f"row {number}", f"no {missing} in row {number}"))
            continue
        split = _split(_text(row[column]), path, number) if column else ALL
        splits.setdefault(split, []).append(Item(path.parent / file, printable(label)))
    if not splits:
        raise InputError(f"{path} lists no image")
    ordered = {split: splits[split] for split in (TRAIN, VAL, TEST, ALL) if split in splits}
    return Listing(name=str(path), splits=ordered, skipped=tuple(skipped))


def _read_text(path: Path) -> tuple[Sequence[str], list[_Row]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max("\t;,", key=header.count), strict=True)
            columns = reader.fieldnames or ()
            wanted = _wanted(columns)
            return columns, [{name: row[name] for name in wanted} for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {first_line(error)}") from error


def _read_parquet(path: Path) -> tuple[Sequence[str], list[_Row]]:
    with needs("datasets", "reading a .parquet table"):
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
        from pyarrow.types import is_nested
    try:
        with ParquetFile(path) as file:
            columns = file.schema_arrow.names
            wanted = _wanted(columns)
            if any(is_nested(file.schema_arrow.field(name).type) for name in wanted):
                raise InputError(f"{path} holds the images themselves, not their paths")
            return columns, file.read(wanted).to_pylist()
    except (OSError, ArrowException) as error:
        raise InputError(f"{path} cannot be read as a table: {first_line(error)}") from error


def _wanted(columns: Sequence[str]) -> list[str]:
    return [found for names in (_PATHS, _LABELS, _SPLITS) if (found := _first(columns, names))]


def _first(columns: Iterable[str], names: Sequence[str]) -> str | None:
    known = {column.strip().lower(): column for column in columns}
    return next((known[name] for name in names if name in known), None)


def _column(path: Path, columns: Sequence[str], names: Sequence[str], what: str) -> str:
    found = _first(columns, names)
    if found is None:
        seen = some([printable(column) for column in columns], most=12) or "none"
        raise InputError(
            f"{path} has no column of {what}: its first row must name one {', '.join(names[:-1])} or {names[-1]} "
            f"(it names: {seen})"
        )
    return found


def _text(value: object) -> str:
    """Return a cell as text: whole numbers without a point, nothing for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _split(text: str, path: Path, number: int) -> str:
    split = split_of(text)
    if split is None:
        raise InputError(f"{path}, row {number}: the split {text!r} is not allowed: train, val or test")
    return split
