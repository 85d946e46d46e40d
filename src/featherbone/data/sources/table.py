"""Tables of paths and labels."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featherbone.data.dataset import Item, Listing, Skipped
from featherbone.data.names import ALL, TEST, TRAIN, VAL, printable, split_of
from featherbone.data.sources.paths import located
from featherbone.errors import InputError, counted, first_line, needs, some
from featherbone.files import read_text

# what columns are usually called, those that are surer first
_PATHS = (
    *("path", "file_path", "filepath", "image_path", "img_path", "relpath"),
    *("file", "file_name", "filename", "image_file", "image", "img", "image_name"),
)
_LABELS = ("label", "class", "class_name", "classname", "target", "category", "label_name", "y")
_SPLITS = ("split", "set", "subset", "partition")
_ROW = "\0row"  # no column is called so

# columns that say where something is in an image
_BOXES = (("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"), ("x", "y", "w", "h"), ("bbox",))
_MOST_ROWS = 20_000_000
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class _Table:
    """What the columns that count have in each row, and the number of the row; rows that repeat another are left out.

    Attributes:
        columns: all names.
        rows: path, label and split, each by its column.
        repeated: how many were left out.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[int, Mapping[str, Any]]]
    repeated: int


def find_table(path: Path) -> Listing[str] | None:
    """Return what a ``.csv``, ``.tsv`` or ``.parquet`` file lists; ``None`` for any other file.

    Raises:
        InputError: if it cannot be read, is too large, has no column of paths or of labels, or has boxes.
    """
    readers = {".csv": _read_text, ".tsv": _read_text, ".parquet": _read_parquet}
    read = readers.get(path.suffix.lower())
    if read is None or not path.is_file():
        return None
    table = read(path)
    _refuse_boxes(path, table.columns)
    paths, labels = _column(path, table.columns, _PATHS, "paths"), _column(path, table.columns, _LABELS, "labels")
    column = _first(table.columns, _SPLITS)
    splits: dict[str, list[Item[str]]] = {}
    skipped: list[Skipped] = []
    for number, row in table.rows:
        file, label = _text(row[paths]), _text(row[labels])
        split = _split(_text(row[column]), path, number) if column and file and label else ALL
        image = _inside(path.parent, file)
        if not file or not label:
            missing = "label" if file else "path"
            skipped.append(Skipped(printable(file) or f"row {number}", f"no {missing} in row {number}"))
        elif image is None:
            skipped.append(Skipped(printable(file), "outside the folder of the table, which is not left"))
        else:
            splits.setdefault(split, []).append(Item(image, printable(label)))
    if not splits:
        first = f" (the first row left out, {skipped[0].path}: {skipped[0].reason})" if skipped else ""
        raise InputError(f"{path} lists no image{first}")
    if table.repeated:
        skipped.append(Skipped(path.name, f"{counted(table.repeated, 'row')} that repeat another one, counted once"))
    ordered = {split: splits[split] for split in (TRAIN, VAL, TEST, ALL) if split in splits}
    return Listing(name=str(path), splits=ordered, skipped=tuple(skipped))


def _read_text(path: Path) -> _Table:
    text = read_text(path, _MOST_BYTES)
    first = text.partition("\n")[0]
    try:
        reader = csv.DictReader(io.StringIO(text), delimiter=max("\t;,", key=first.count), strict=True)
        columns = reader.fieldnames or ()
        wanted = _wanted(columns)
        found: dict[tuple[str | None, ...], int] = {}
        number = 0
        for number, row in enumerate(reader, 1):
            found.setdefault(tuple(row[name] for name in wanted), number)
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {first_line(error)}") from error
    rows = [(place, dict(zip(wanted, values, strict=True))) for values, place in found.items()]
    return _Table(columns, rows, number - len(rows))


def _read_parquet(path: Path) -> _Table:
    with needs("datasets", "reading a .parquet table"):
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
        from pyarrow.types import is_nested
    try:
        with ParquetFile(path) as file:
            columns, about = file.schema_arrow.names, file.metadata
            wanted = _wanted(columns)
            if any(is_nested(file.schema_arrow.field(name).type) for name in wanted):
                raise InputError(f"{path} holds the images themselves, not their paths")
        groups = [about.row_group(number) for number in range(about.num_row_groups)]
        chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
        size = sum(one.total_uncompressed_size for one in chunks if one.path_in_schema in wanted)
        if about.num_rows > _MOST_ROWS or size > _MOST_BYTES:
            raise InputError(
                f"{path} is too large: {about.num_rows:,} rows of {size:,} bytes, at most {_MOST_ROWS:,} and "
                f"{_MOST_BYTES:,}"
            )
        # a value that is there a million times is kept once, in the file and here
        with ParquetFile(path, read_dictionary=wanted) as file:
            table = file.read(wanted).unify_dictionaries().combine_chunks()
        table = table.append_column(_ROW, pa.array(range(1, about.num_rows + 1)))
        different = table.group_by(wanted, use_threads=False).aggregate([(_ROW, "min")]) if wanted else table
        rows = [(row.pop(f"{_ROW}_min"), row) for row in different.to_pylist()] if wanted else []
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as a table: {first_line(error)}") from error
    return _Table(columns, sorted(rows, key=lambda row: row[0]), about.num_rows - len(rows))


def _inside(folder: Path, written: str) -> Path | None:
    """Return the path of an image that a table names, if it lies in the folder of the table."""
    path = os.path.normpath(located(folder, written))
    try:
        real = path if Path(path).is_relative_to(folder) else os.path.realpath(path)
    except ValueError:  # a null byte
        return None
    return Path(real) if Path(real).is_relative_to(folder) else None


def _refuse_boxes(path: Path, columns: Sequence[str]) -> None:
    known = {column.strip().lower() for column in columns}
    named = next((names for names in _BOXES if known.issuperset(names)), None)
    if named:
        raise InputError(
            f"{path} has boxes (columns {', '.join(named)}), not a class for each image: a detector learns from boxes "
            "as COCO, Pascal VOC or YOLO have them"
        )


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
