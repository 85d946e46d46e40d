"""Data sets made with Hugging Face's library, saved here and opened again."""

from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from helpers.shards import Sums
from helpers.training import QUICK, evaluated
from PIL import Image as Pillow
from torch.utils.data import DataLoader

import featherbone as fb
from featherbone.data.image import read_image
from featherbone.data.open import CLASSIFICATION

datasets = pytest.importorskip("datasets")
NAMES = ["red", "green", "blue"]  # not sorted: the data set's own order counts


def made(colours: Path, *, first: int = 0, last: int = 16, embedded: bool = True) -> Any:
    files = [path for path in sorted(colours.glob("*/*.png")) if first <= int(path.stem) < last]
    columns = {"image": [str(path) for path in files], "label": [NAMES.index(path.parent.name) for path in files]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    rows = datasets.Dataset.from_dict(columns, features=features)
    return rows.map(lambda row: row) if embedded else rows


def test_a_saved_data_set_is_the_folder_it_was_made_of(colours: Path, finished: fb.Run) -> None:
    place = colours.parent / "saved"
    made(colours).save_to_disk(str(place))
    data, folder = CLASSIFICATION.open(place, quiet=True), CLASSIFICATION.open(colours, quiet=True)
    assert data.classes == tuple(NAMES)
    assert (data.channels, data.size) == (folder.channels, folder.size)
    wanted = {np.asarray(read_image(source)).tobytes(): folder.classes[y] for source, y in zip(
        (*folder.train.sources, *folder.val.sources), (*folder.train.targets, *folder.val.targets), strict=True
    )}  # fmt: skip
    found = {np.asarray(read_image(source)).tobytes(): NAMES[y] for source, y in zip(
        (*data.train.sources, *data.val.sources), (*data.train.targets, *data.val.targets), strict=True
    )}  # fmt: skip
    assert found == wanted
    assert CLASSIFICATION.open(place, quiet=True).fingerprint == data.fingerprint
    run = fb.train(place, out=colours.parent / "run", changes={**QUICK, "epochs": 1}, quiet=True)
    assert evaluated(run.folder, place).confusion.sum() == run.test_images == 9
    result = evaluated(finished.folder, place)
    assert result.top1 == evaluated(finished.folder, colours.parent / "colours").top1


def test_splits_are_taken_as_they_are_and_rows_without_labels_left_out(colours: Path) -> None:
    unlabelled = made(colours, last=2).map(lambda row: {**row, "label": -1})
    parts = {"train": made(colours, last=12), "validation": made(colours, first=12), "test": unlabelled}
    datasets.DatasetDict(parts).save_to_disk(str(colours.parent / "saved"))
    data = CLASSIFICATION.open(colours.parent / "saved", quiet=True)
    assert (len(data.train), len(data.val)) == (36, 12)
    assert [(file.path, file.reason) for file in data.skipped] == [("test", "no row has a label")]


def test_by_name_it_comes_from_the_hub(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load(name: str) -> Any:
        asked.append(name)
        return datasets.DatasetDict({"train": made(colours, embedded=False)})

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(colours))
    data = CLASSIFICATION.open("hf:somebody/colours", quiet=True)
    assert asked == ["somebody/colours"]
    assert data.name == "hf:somebody/colours"
    assert (len(data.train), len(data.val)) == (39, 9)

    def absent(name: str) -> None:
        raise FileNotFoundError(f"no {name}\non the hub")

    monkeypatch.setattr(datasets, "load_dataset", absent)
    with pytest.raises(fb.InputError, match="hf:nobody/none cannot be loaded: no nobody/none$"):
        CLASSIFICATION.open("hf:nobody/none", quiet=True)


def test_files_that_a_row_names_may_be_gone(colours: Path, tmp_path: Path) -> None:
    from featherbone.data.sources.huggingface import _listing

    listing = _listing("hf:x", made(colours, embedded=False), [colours])
    (colours / "blue" / "00.png").unlink()
    sources = [item.source for item in listing.splits["all"]]
    with pytest.raises(fb.InputError, match="No such file"):
        read_image(sources[0])
    assert read_image(sources[1]).size == (16, 16)


def test_a_row_reaches_nothing_outside_its_data_set(colours: Path, tmp_path: Path) -> None:
    from featherbone.data.sources.huggingface import _listing

    (colours / "blue" / "00.png").unlink()
    (colours / "blue" / "00.png").symlink_to(colours / "red" / "00.png")
    listing = _listing("hf:x", made(colours, embedded=False), [colours / "blue"])
    files = sorted(colours.glob("*/*.png"))
    for item, file in zip(listing.splits["all"], files, strict=True):
        if file.parent.name == "blue" and file.stem != "00":
            assert read_image(item.source).size == (16, 16)
        else:
            with pytest.raises(fb.InputError, match="outside the folder of the data set"):
                read_image(item.source)


def test_rows_are_read_by_other_processes_too(colours: Path) -> None:
    made(colours).save_to_disk(str(colours.parent / "saved"))
    images = CLASSIFICATION.open(colours.parent / "saved", quiet=True).train
    loader = DataLoader(Sums(images), batch_size=None, num_workers=2)
    assert list(loader) == list(map(Sums(images).__getitem__, range(len(images))))


def test_what_has_no_images_or_labels_is_refused(colours: Path, tmp_path: Path) -> None:
    rows = made(colours)
    for number, (wrong, said) in enumerate(
        [(rows.remove_columns("image"), "no Image feature"), (rows.remove_columns("label"), "no ClassLabel feature")]
    ):
        wrong.save_to_disk(str(tmp_path / str(number)))
        with pytest.raises(fb.InputError, match=said):
            CLASSIFICATION.open(tmp_path / str(number), quiet=True)
    datasets.DatasetDict({"extra": rows}).save_to_disk(str(tmp_path / "odd"))
    with pytest.raises(fb.InputError, match="no split that is train, validation or test: extra"):
        CLASSIFICATION.open(tmp_path / "odd", quiet=True)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "dataset_dict.json").write_text("{}")
    with pytest.raises(fb.InputError, match="cannot be read as a Hugging Face data set"):
        CLASSIFICATION.open(tmp_path / "broken", quiet=True)


def test_grey_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pictures = [Pillow.fromarray(random.integers(0, 255, (8, 8), np.uint8)) for _ in range(8)]
    features = datasets.Features({"img": datasets.Image(), "label": datasets.Value("int64")})
    rows = datasets.Dataset.from_dict({"img": pictures, "label": [3, 10] * 4}, features=features)
    rows.save_to_disk(str(tmp_path / "saved"))
    data = CLASSIFICATION.open(tmp_path / "saved", quiet=True)
    assert (data.channels, data.classes) == (1, ("3", "10"))


def test_rows_with_several_labels_are_refused_by_name(colours: Path) -> None:
    rows = made(colours)
    several = rows.remove_columns("label").add_column("label", [[0, 1]] * len(rows))
    several.save_to_disk(str(colours.parent / "several"))
    with pytest.raises(fb.InputError, match=r"the column label holds several labels for a row, such as \[0, 1\]"):
        CLASSIFICATION.open(colours.parent / "several", quiet=True)


def test_splits_of_rows_that_are_none_or_there_twice_are_said(colours: Path) -> None:
    parts = {"train": made(colours, last=12), "dev": made(colours, first=14), "validation": made(colours, first=12)}
    datasets.DatasetDict(parts | {"extra": made(colours, last=1)}).save_to_disk(str(colours.parent / "saved"))
    data = CLASSIFICATION.open(colours.parent / "saved", quiet=True)
    assert (len(data.train), len(data.val)) == (36, 12)
    assert [(one.path, one.reason) for one in data.skipped] == [
        ("dev", "6 rows: the val split is validation"),
        ("extra", "3 rows: a split that is not train, validation or test"),
    ]
