"""Tables, published files and Hugging Face data sets become the same images and labels as a folder of them."""

import csv
import gzip
import io
import os
import pickle
import shutil
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import SHARED
from helpers.training import QUICK, evaluated
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import featherbone as fb
from featherbone.data.dataset import Dataset
from featherbone.data.image import read_image
from featherbone.data.names import in_order, printable
from featherbone.data.open import CLASSIFICATION

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pixels(images: Dataset[int]) -> list[np.ndarray]:
    return [np.asarray(read_image(source)) for source in images.sources]


def same(ours: Dataset[int], wanted: Dataset[int]) -> bool:
    return ours.targets == wanted.targets and all(map(np.array_equal, pixels(ours), pixels(wanted)))


def write_table(path: Path, root: Path, *, sep: str = ",", head: tuple[str, ...] = ("path", "label")) -> Path:
    files = sorted(root.glob("*/*.png"))
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter=sep)
        rows.writerow(head)
        rows.writerows((os.path.relpath(f, path.parent), f.parent.name, *head[2:]) for f in files)
    return path


@pytest.mark.parametrize(
    ("name", "sep", "head"),
    [
        ("a.csv", ",", ("path", "label")),
        ("a.csv", ";", ("\ufeffFilename", " Class ")),
        ("a.tsv", "\t", ("image", "target")),
    ],
)
def test_a_table_is_the_folder_that_it_lists(colours: Path, name: str, sep: str, head: tuple[str, ...]) -> None:
    table = write_table(colours.parent / name, colours, sep=sep, head=head)
    data, folder = CLASSIFICATION.open(table, quiet=True), CLASSIFICATION.open(colours, quiet=True)
    assert (data.classes, data.channels, data.size) == (folder.classes, folder.channels, folder.size)
    assert same(data.train, folder.train)
    assert same(data.val, folder.val)
    assert data.fingerprint != folder.fingerprint  # one names files below the table, one below the folder
    shutil.copytree(colours.parent, colours.parent / "elsewhere" / "copy", ignore=shutil.ignore_patterns("elsewhere"))
    assert CLASSIFICATION.open(colours.parent / "elsewhere" / "copy" / name, quiet=True).fingerprint == data.fingerprint


def test_parquet_is_read_like_text(colours: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    table = write_table(colours.parent / "a.csv", colours)
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    labels = {"blue": 2.0, "green": 10.0, "red": None}
    columns = {"file": [row["path"] for row in rows], "label": [labels[row["label"]] for row in rows]}
    parquet.write_table(pa.table(columns), colours.parent / "b.parquet")
    data = CLASSIFICATION.open(colours.parent / "b.parquet", quiet=True)
    assert data.classes == ("2", "10")  # in the order of numbers
    assert len(data.skipped) == 16
    assert {file.reason[:8] for file in data.skipped} == {"no label"}
    parquet.write_table(pa.table({"image": [{"bytes": b""}], "label": [1]}), colours.parent / "c.parquet")
    with pytest.raises(fb.InputError, match="holds the images themselves"):
        CLASSIFICATION.open(colours.parent / "c.parquet", quiet=True)
    (colours.parent / "d.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(fb.InputError, match="cannot be read as a table"):
        CLASSIFICATION.open(colours.parent / "d.parquet", quiet=True)


def test_a_table_may_say_the_split_and_what_is_wrong_is_named(colours: Path, finished: fb.Run) -> None:
    lines = ["img_path,class,subset"]
    for name in ("blue", "green", "red"):
        lines += [f"colours/{name}/{i:02}.png,{name},{'valid' if i < 4 else 'Train'}" for i in range(16)]
    lines += ["colours/red/none.png,red,train", ",red,train", "colours/red/00.png,,train", "colours,red,train"]
    table = colours.parent / "a.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    data = CLASSIFICATION.open(table, quiet=True)
    assert (len(data.train), len(data.val)) == (36, 12)
    assert [(file.path, file.reason) for file in data.skipped] == [
        ("row 50", "no path in row 50"),
        ("colours/red/00.png", "no label in row 51"),
        ("colours/red/none.png", "No such file or directory"),
        ("colours", "a folder, not a file"),
    ]
    assert evaluated(finished.folder, table).confusion.sum() == 12
    table.write_text("\n".join([*lines, "a.png,red,holdout"]), encoding="utf-8")
    with pytest.raises(fb.InputError, match="row 53: the split 'holdout' is not allowed: train, val or test"):
        CLASSIFICATION.open(table, quiet=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b\n1,2\n", "no column of paths: its first row must name one path, .* \\(it names: a, b\\)"),
        (b"path,b\n1,2\n", "no column of labels"),
        (b"", "it names: none"),
        (b"path,label\n", "lists no image"),
        (b"path,label\n\xff\xfe,2\n", "it is no text in UTF-8 .byte 11."),
        (b'path,label\n"a,2\n', "cannot be read as a table"),
        (b"path,label\na.png,x\nb.png,x\n", "has one class only \\(x\\)"),
        (b"path,label\na.png,x\n\x00,y\n", "can be read as an image"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(fb.InputError, match=said):
        CLASSIFICATION.open(tmp_path / "t.csv", quiet=True)


def test_a_table_reaches_nothing_outside_its_folder(colours: Path, tmp_path: Path) -> None:
    private = Path(shutil.copytree(colours, tmp_path / "private"))
    (colours / "above").symlink_to(private / "red", target_is_directory=True)
    outside = [str(private / "red" / "00.png"), f"../{private.name}/red/01.png", "above/../blue/02.png", "/dev/zero"]
    inside = [str(colours / "blue" / "03.png"), "./blue/04.png", "green/../green/05.png", "blue/06.png", "green/07.png"]
    rows = [f"{path},{'ab'[i % 2]}\n" for i, path in enumerate([*outside, *inside])]
    (colours / "t.csv").write_text("path,label\n" + "".join(rows))
    data = CLASSIFICATION.open(colours / "t.csv", quiet=True)
    read = {Path(os.path.realpath(str(source))) for split in (data.train, data.val) for source in split.sources}
    # ".." is taken as it is written, not to where a link leads
    assert {path.relative_to(colours).as_posix() for path in read} == {
        *(f"blue/{i:02}.png" for i in (2, 3, 4, 6)),
        *(f"green/{i:02}.png" for i in (5, 7)),
    }
    said = "outside the folder of the table, which is not left"
    assert [(one.path, one.reason) for one in data.skipped] == [(outside[i], said) for i in (0, 1, 3)]
    (colours / "t.csv").write_text(f"path,label\n{outside[0]},a\n{outside[1]},b\n")
    with pytest.raises(fb.InputError, match="lists no image .*red/00.png: outside the folder"):
        CLASSIFICATION.open(colours / "t.csv", quiet=True)


@pytest.mark.parametrize(
    "columns", ["path,label,xmin,ymin,xmax,ymax", "ImageID,LabelName,XMin,XMax,YMin,YMax", "image,class,x1,y1,x2,y2"]
)
def test_a_table_of_boxes_is_no_table_of_classes(columns: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{columns}\na.png,cat,0,0,9,9\n")
    with pytest.raises(fb.InputError, match=r"has boxes \(columns .*a detector learns from boxes as COCO"):
        CLASSIFICATION.open(tmp_path / "t.csv", quiet=True)


def test_a_small_parquet_of_millions_of_rows_costs_what_it_says(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    count = 2_000_000
    files = sorted(colours.glob("*/*.png"))[:8]
    rows = np.arange(count) * 8 // count  # runs of equal rows, which take no room
    paths = pa.array([os.path.relpath(file, colours) for file in files]).take(pa.array(rows))
    labels = pa.array(["a", "b", "a", "b", None, "b", "a", ""]).take(pa.array(rows))
    parquet.write_table(pa.table({"label": labels, "path": paths}), colours / "t.parquet", compression="zstd")
    assert (colours / "t.parquet").stat().st_size < 50_000
    data = CLASSIFICATION.open(colours / "t.parquet", quiet=True)
    assert sorted(map(str, [*data.train.sources, *data.val.sources])) == [str(files[i]) for i in (0, 1, 2, 3, 5, 6)]
    assert [one.reason for one in data.skipped] == [
        "no label in row 1000001",
        "no label in row 1750001",
        "1,999,992 rows that repeat another one, counted once",
    ]
    for name, most in (("_MOST_ROWS", 1000), ("_MOST_BYTES", 100)):
        with monkeypatch.context() as patched:
            patched.setattr(f"featherbone.data.sources.table.{name}", most)
            with pytest.raises(fb.InputError, match="is too large: 2,000,000 rows of"):
                CLASSIFICATION.open(colours / "t.parquet", quiet=True)


def test_a_run_on_a_table_is_trained_resumed_and_evaluated_by_its_name(colours: Path, tmp_path: Path) -> None:
    table = write_table(colours.parent / "a.csv", colours)
    run = fb.train(table, out=tmp_path / "run", changes={**QUICK, "epochs": 1}, quiet=True)
    assert run.recipe.data == str(table.resolve())
    held_out = evaluated(run.folder)
    assert held_out.top1 == evaluated(run.folder, table).top1 == pytest.approx(run.test_top1, abs=1e-6)
    assert held_out.confusion.sum() == run.test_images == 9


def cifar_sheet(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return real images of CIFAR-10 ``(count, 32, 32, 3)`` and their labels."""
    if not SHARED.is_dir():
        pytest.skip("the shared images are not here")
    with Image.open(SHARED / "cifar10" / "train_00.webp") as image:
        sheet = np.asarray(image.convert("RGB")).reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4)
    return sheet.reshape(-1, 32, 32, 3)[:count], np.load(SHARED / "cifar10" / "train_labels.npy")[:count]


def write_cifar(folder: Path, images: np.ndarray, labels: np.ndarray, *, fine: bool = False) -> Path:
    """Write images in the published form: five files and one, or (CIFAR-100) one and one with coarse labels."""
    folder.mkdir(parents=True)
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    columns = [np.zeros_like(labels)[:, None] + 7] if fine else []
    records = np.concatenate([*columns, labels[:, None], planes], axis=1).astype(np.uint8)
    names = ["train.bin", "test.bin"] if fine else [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for name, part in zip(names, np.array_split(records, len(names)), strict=True):
        (folder / name).write_bytes(part.tobytes())
    (folder / ("fine_label_names.txt" if fine else "batches.meta.txt")).write_text("\n".join(CIFAR10) + "\n\n")
    return folder


@pytest.mark.parametrize("fine", [False, True])
def test_cifar_in_its_binary_version(tmp_path: Path, fine: bool) -> None:
    images, labels = cifar_sheet(240)
    inner = "cifar-100-binary" if fine else "cifar-10-batches-bin"
    folder = write_cifar(tmp_path / inner, images, labels, fine=fine)
    data = CLASSIFICATION.open(folder, quiet=True)
    assert (data.classes, data.channels, data.size) == (CIFAR10, 3, 32)
    held = 120 if fine else 40
    assert np.array_equal(np.stack(pixels(data.train)), images[:-held])
    assert np.array_equal(np.stack(pixels(data.val)), images[-held:])
    assert (*data.train.targets, *data.val.targets) == tuple(labels)
    packed = tmp_path / "packed" / "cifar.tar.gz"
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(folder, inner)
    for way in (tmp_path, packed):  # the folder that holds it, and the archive
        assert CLASSIFICATION.open(way, quiet=True).fingerprint == data.fingerprint


def test_what_is_not_whole_cifar(tmp_path: Path) -> None:
    images, labels = np.zeros((60, 32, 32, 3), np.uint8), np.arange(60) % 10
    folder = write_cifar(tmp_path / "c", images, labels)
    batch = folder / "data_batch_2.bin"
    for content, said in (
        (batch.read_bytes()[:-1], "data_batch_2.bin is damaged"),
        (b"\xfe" + batch.read_bytes()[1:], "has the label 254"),
        (None, "data_batch_2.bin is missing"),
    ):
        batch.write_bytes(content) if content else batch.unlink()
        with pytest.raises(fb.InputError, match=said):
            CLASSIFICATION.open(folder, quiet=True)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("it was unpickled",)


def test_the_pickled_version_is_refused_unopened(tmp_path: Path) -> None:
    trap = pickle.dumps(Trap())
    ten, hundred = tmp_path / "cifar-10-batches-py", tmp_path / "renamed"
    for folder, names in ((ten, ("data_batch_1", "batches.meta")), (hundred, ("train", "test", "meta"))):
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(trap)
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(ten, ten.name)
    for path in (ten, hundred, tmp_path, packed):
        with pytest.raises(fb.InputError, match="get the binary version"):
            CLASSIFICATION.open(path, quiet=True)


@pytest.mark.slow
def test_an_archive_that_unpacks_to_gigabytes_is_given_up(tmp_path: Path) -> None:
    size = 1 << 40
    with tarfile.open(tmp_path / "whole.tar", "w") as archive:
        info = tarfile.TarInfo("data_batch_1.bin")
        info.size = 1 << 22
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    header = bytearray((tmp_path / "whole.tar").read_bytes()[:512])
    header[124:136] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=1) as file:
        file.write(header)
        for _ in range(160):  # 640 MB of the terabyte that it promises
            file.write(bytes(1 << 22))
    with pytest.raises(fb.InputError, match="larger than any published one"):
        CLASSIFICATION.open(tmp_path / "bomb.tar.gz", quiet=True)


def write_idx(path: Path, array: np.ndarray) -> None:
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize(("end", "fashion"), [("", False), (".gz", True)])
def test_mnist_and_its_fellows(tmp_path: Path, end: str, fashion: bool) -> None:
    random = np.random.default_rng(0)
    first = [9, 0, 0, 3, 0, 2, 7, 2, 5, 5] if fashion else [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    labels = {"train": np.array([*first, *range(10)], np.uint8), "t10k": np.arange(10, dtype=np.uint8)}
    images = {word: random.integers(0, 256, (len(y), 28, 28), np.uint8) for word, y in labels.items()}
    for word, numbers in labels.items():
        write_idx(tmp_path / f"{word}-images-idx3-ubyte{end}", images[word])
        write_idx(tmp_path / f"{word}-labels-idx1-ubyte{end}", numbers)
    data = CLASSIFICATION.open(tmp_path, quiet=True)
    assert (data.channels, data.size, len(data.classes)) == (1, 32, 10)
    assert data.classes[9] == ("Ankle boot" if fashion else "9")
    assert np.array_equal(np.stack([np.asarray(s) for s in data.val.sources]), images["t10k"])
    assert (*data.train.targets,) == (*labels["train"],)
    damaged = tmp_path / f"t10k-images-idx3-ubyte{end}"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(fb.InputError, match="is damaged"):
        CLASSIFICATION.open(tmp_path, quiet=True)
    damaged.unlink()
    with pytest.raises(fb.InputError, match="t10k-images-idx3-ubyte is missing"):
        CLASSIFICATION.open(tmp_path, quiet=True)


def test_what_is_no_data_set_is_told_what_is(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK")
    for source, said in ((tmp_path / "a.zip", "is a file; a data set is 'digits', .* shards"), ("x:/y", "no such")):
        with pytest.raises(fb.InputError, match=said):
            CLASSIFICATION.open(source, quiet=True)
        with pytest.raises(fb.InputError, match=said):
            CLASSIFICATION.images(source, ("a",), quiet=True)


def test_training_and_testing_folders_in_other_words(colours: Path) -> None:
    root = colours.parent / "both"
    shutil.copytree(colours, root / "Training")
    shutil.copytree(colours, root / "Testing")
    data = CLASSIFICATION.open(root, quiet=True)
    assert (data.classes, len(data.train), len(data.val)) == (("blue", "green", "red"), 48, 48)


@given(st.text())
def test_a_printable_name_is_one_line_that_can_be_encoded(name: str) -> None:
    shown = printable(name)
    assert len(shown.encode().decode().splitlines()) <= 1
    assert printable(shown) == shown


@given(st.lists(st.integers(min_value=-(10**9), max_value=10**9)))
def test_numbers_are_in_the_order_of_numbers(numbers: list[int]) -> None:
    assert in_order(map(str, numbers)) == tuple(map(str, sorted(set(numbers))))
