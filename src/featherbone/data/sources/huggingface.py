"""Hugging Face data sets: by name, or in the folder that ``save_to_disk`` wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from featherbone.data.dataset import Item, Listing, Skipped
from featherbone.data.image import UnreadableImageError, check_file
from featherbone.data.names import ALL, SPLIT_WORDS, TEST, TRAIN, VAL, printable, split_of
from featherbone.errors import InputError, counted, first_line, needs, some

if TYPE_CHECKING:
    from datasets import Dataset

_PREFIX = "hf:"
_LABELS = ("label", "fine_label", "class", "target", "category")


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """An image in a row of a data set, as it was encoded."""

    rows: Dataset
    column: str
    index: int
    split: str
    roots: tuple[Path, ...]  # where files may lie that a row names
    group: str = ""

    @property
    def name(self) -> str:
        """The split and the row."""
        return f"{self.split}[{self.index}]"

    @property
    def origins(self) -> tuple[Path, ...]:
        """The files that hold the rows; none of rows that only memory holds."""
        return tuple(Path(file["filename"]) for file in self.rows.cache_files)

    def read(self) -> bytes:
        """Return the encoded image.

        Raises:
            UnreadableImageError: if the row has none.
        """
        stored = self.rows[self.index][self.column]
        if not stored:
            raise UnreadableImageError("no image in this row")
        if stored["bytes"] is not None:
            return bytes(stored["bytes"])
        try:
            path = Path(os.path.realpath(stored["path"]))
            if not any(path.is_relative_to(root) for root in self.roots):
                raise UnreadableImageError("its file lies outside the folder of the data set, which is not left")
            return check_file(path).read_bytes()
        except (OSError, ValueError, TypeError) as error:
            if isinstance(error, UnreadableImageError):
                raise
            raise UnreadableImageError(first_line(error)) from error


def list_named(source: str, *, quiet: bool) -> Listing[str]:
    """Return the images of the data set ``hf:NAME`` of the hub, downloaded unless it was before.

    Raises:
        InputError: if it cannot be loaded, or has no image or no label.
    """
    with needs("datasets", "a Hugging Face data set"):
        import datasets
        import huggingface_hub
    if quiet:
        datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(source.removeprefix(_PREFIX))
    except Exception as error:  # whatever hub, net and files may raise
        raise InputError(f"{source} cannot be loaded: {first_line(error)}") from error
    config, hub = datasets.config, huggingface_hub.constants.HF_HUB_CACHE
    fetched = (config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, config.EXTRACTED_DATASETS_PATH, hub)
    return _listing(source, loaded, fetched)


def find_saved(path: Path) -> Listing[str] | None:
    """Return the images of a folder that ``save_to_disk`` wrote; ``None`` for other paths.

    Raises:
        InputError: if it cannot be read, or has no image or no label.
    """
    one = (path / "dataset_info.json").is_file() and (path / "state.json").is_file()
    if not one and not (path / "dataset_dict.json").is_file():
        return None
    with needs("datasets", "a Hugging Face data set"):
        import datasets
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # Arrow and the packages round it have errors of many kinds
        raise InputError(f"{path} cannot be read as a Hugging Face data set: {first_line(error)}") from error
    files = frozenset(file for file in path.rglob("*") if file.is_file())  # all of it is one program's own
    return replace(_listing(str(path), loaded, [path]), annotations=files)


def _listing(
    name: str, loaded: Dataset | Mapping[str, Dataset], folders: Iterable[str | os.PathLike[str]]
) -> Listing[str]:
    from datasets import ClassLabel

    roots = tuple(Path(os.path.realpath(folder)) for folder in folders)
    loaded_splits, left_out = _splits(name, loaded) if isinstance(loaded, Mapping) else ({ALL: loaded}, [])
    classes: tuple[str, ...] = ()
    splits: dict[str, list[Item[str]]] = {}
    skipped: list[Skipped] = []
    for split, rows in loaded_splits.items():
        image, label = _columns(name, rows)
        feature = rows.features[label]
        names = tuple(map(printable, feature.names or ())) if isinstance(feature, ClassLabel) else ()
        classes = classes or names
        pairs = list(zip(_rows(rows, image, split, roots), _labels(rows, label, names, name), strict=True))
        items = [Item(row, text) for row, text in pairs if text]
        if items:
            splits[split] = items
            skipped += [Skipped(row.name, "no label") for row, text in pairs if not text]
        else:  # as test splits often are, so that nobody can cheat
            skipped.append(Skipped(split, "no row has a label"))
    if not splits:
        raise InputError(f"{name} has no labelled image")
    return Listing(name=name, splits=splits, classes=classes, skipped=tuple(skipped), left_out=tuple(left_out))


def _splits(name: str, loaded: Mapping[str, Dataset]) -> tuple[dict[str, Dataset], list[Skipped]]:
    """Return the data of each split, and the splits that are none of them, or another name of one that is there."""
    words = list(SPLIT_WORDS)
    known = sorted(filter(split_of, loaded), key=lambda given: words.index(given.strip().lower()))
    found: dict[str, str] = {}
    for given in known:
        found.setdefault(str(split_of(given)), given)
    if not found:
        raise InputError(f"{name} has no split that is train, validation or test: {some(list(loaded))}")
    left_out = [
        Skipped(printable(given), f"{counted(len(rows), 'row')}: {_why_not(given, found)}", 0)
        for given, rows in loaded.items()
        if given not in found.values()
    ]
    return {split: loaded[found[split]] for split in (TRAIN, VAL, TEST) if split in found}, left_out


def _why_not(given: str, found: Mapping[str, str]) -> str:
    split = split_of(given)
    return f"the {split} split is {found[split]}" if split else "a split that is not train, validation or test"


def _columns(name: str, rows: Dataset) -> tuple[str, str]:
    from datasets import ClassLabel, Image

    features = rows.features
    images = [column for column, feature in features.items() if isinstance(feature, Image)]
    named = [column for column, feature in features.items() if isinstance(feature, ClassLabel)]
    usual = [column for column in _LABELS if column in features]
    labels = [column for column in usual if column in named] + named + usual  # the surest first
    if not images or not labels:
        missing = "Image feature" if not images else "ClassLabel feature (or column called label)"
        raise InputError(f"{name} has no {missing}; its columns are {some(list(features), most=12)}")
    return images[0], labels[0]


def _rows(rows: Dataset, column: str, split: str, roots: tuple[Path, ...]) -> list[DatasetRow]:
    from datasets import Image

    encoded = rows.select_columns([column]).cast_column(column, Image(decode=False))
    return [DatasetRow(encoded, column, index, split, roots) for index in range(len(rows))]


def _labels(rows: Dataset, column: str, names: tuple[str, ...], where: str) -> list[str]:
    """Return the name of every row's class, empty if it has none; the hub's test splits often say -1.

    Raises:
        InputError: if a row has something else than one label.
    """
    numbers = list(rows[column])
    odd = next((number for number in numbers if not isinstance(number, (int, float, str, bool, type(None)))), None)
    if odd is not None:
        raise InputError(
            f"{where}: the column {printable(column)} holds several labels for a row, such as "
            f"{printable(str(odd))[:60]}: a classifier learns one class of each image"
        )
    if not names:
        return ["" if number is None else printable(str(number)) for number in numbers]
    return [names[number] if number is not None and 0 <= number < len(names) else "" for number in numbers]
