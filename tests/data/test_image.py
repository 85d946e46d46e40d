"""Every image a person may have is read rightly, or left out by name; what an epoch shows depends on its seed alone."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import featherbone as fb
from featherbone.data.image import UnreadableImageError, decoded, read_image
from featherbone.data.loader import LabelPipeline, loader
from featherbone.data.open import CLASSIFICATION
from featherbone.data.sources.folder import find_images
from featherbone.data.transforms import evaluation_transform, training_transform

RED, GREEN = (200, 30, 40), (20, 180, 60)


def picture(colour: tuple[int, int, int] = RED, size: tuple[int, int] = (12, 8)) -> Image.Image:
    return Image.new("RGB", size, colour)


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def pixel(path: Path, mode: str = "RGB") -> tuple[int, ...]:
    value = np.asarray(read_image(path, mode))[1, 1]  # type: ignore[arg-type]
    return tuple(int(v) for v in np.atleast_1d(value))


def is_grey(path: Path) -> bool:
    with decoded(path) as (_, seen):
        return seen.grey


def close(found: tuple[int, ...], wanted: tuple[int, ...], by: int = 6) -> bool:
    return len(found) == len(wanted) and all(abs(a - b) <= by for a, b in zip(found, wanted, strict=True))


def png16(path: Path, value: int, *, colour: bool) -> Path:
    """Write a 16-bit PNG by hand: Pillow does not write 16-bit colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">H", value) * (4 * (3 if colour else 1))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2 if colour else 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def test_ordinary_files(tmp_path: Path) -> None:
    for suffix in ("png", "bmp", "webp", "tiff", "jpg", "gif"):
        assert close(pixel(save(picture(), tmp_path / f"a.{suffix}")), RED, 12), suffix


def test_cmyk_is_turned_into_rgb(tmp_path: Path) -> None:
    path = save(picture().convert("CMYK"), tmp_path / "a.jpg", quality=98)
    with Image.open(path) as stored:
        assert stored.mode == "CMYK"
    assert close(pixel(path), RED, 12)


@pytest.mark.parametrize("colour", [False, True])
def test_16_bits_are_scaled_not_clipped(tmp_path: Path, colour: bool) -> None:
    assert close(pixel(png16(tmp_path / "a.png", 30000, colour=colour)), (117, 117, 117), 1)
    assert close(pixel(png16(tmp_path / "b.png", 200, colour=colour)), (1, 1, 1), 1)


@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_dark_16_bits_stay_dark_in_either_byte_order(tmp_path: Path, kind: str) -> None:
    mode = "I;16" if kind == "<u2" else "I;16B"
    image = Image.frombytes(mode, (4, 4), np.full((4, 4), 200, kind).tobytes())
    assert close(pixel(save(image, tmp_path / "a.tiff")), (1, 1, 1), 1)


def test_floats_between_0_and_1_are_scaled(tmp_path: Path) -> None:
    path = save(Image.fromarray(np.full((4, 4), 0.5, np.float32)), tmp_path / "a.tiff")
    assert close(pixel(path), (128, 128, 128), 1)


def test_palette_and_transparency(tmp_path: Path) -> None:
    assert pixel(save(picture().quantize(4), tmp_path / "p.png")) == RED
    clear = Image.new("RGBA", (8, 8), (*GREEN, 0))
    assert pixel(save(clear, tmp_path / "clear.png")) == (255, 255, 255)
    opaque = Image.new("RGBA", (8, 8), (*GREEN, 255))
    assert pixel(save(opaque, tmp_path / "opaque.png")) == GREEN
    see_through = picture().quantize(4)
    path = save(see_through, tmp_path / "t.png", transparency=0)
    assert pixel(path) in {(255, 255, 255), RED}
    assert pixel(save(Image.new("LA", (8, 8), (90, 0)), tmp_path / "la.png")) == (255, 255, 255)


def test_of_an_animation_the_first_frame_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    picture().save(path, save_all=True, append_images=[picture(GREEN)])
    assert close(pixel(path), RED, 12)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    path = save(picture(size=(12, 8)), tmp_path / "a.jpg", exif=exif)
    with Image.open(path) as stored:
        assert stored.size == (12, 8)
    assert read_image(path).size == (8, 12)


def test_grey(tmp_path: Path) -> None:
    grey = save(Image.new("L", (8, 8), 77), tmp_path / "g.png")
    assert is_grey(grey)
    assert not is_grey(save(picture(), tmp_path / "c.png"))
    assert is_grey(png16(tmp_path / "g16.png", 5000, colour=False))
    assert pixel(grey, "L") == (77,)
    assert pixel(grey) == (77, 77, 77)


def broken_files(folder: Path) -> dict[str, str]:
    """Write files that are no readable image; return the reason expected for each."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(whole, "jpeg")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("not a picture")
    (folder / "cut.jpg").write_bytes(whole.getvalue()[:300])
    (folder / "cut.png").write_bytes(save(picture(size=(90, 90)), folder / "cut.png").read_bytes()[:60])
    (folder / "named.png").write_bytes(b"GIF89a" + b"\0" * 40)
    return {
        "empty.jpg": "empty",
        "notes.txt": "not an image",
        "cut.jpg": "damaged",
        "cut.png": "damaged",
        "named.png": ".",
    }


def test_broken_files_say_why(tmp_path: Path) -> None:
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(UnreadableImageError, match=reason):
            read_image(tmp_path / name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of ten images, with everything odd among them."""
    root = tmp_path / "photos"
    for name, colour in (("red", RED), ("green", GREEN)):
        for i in range(10):
            save(picture(colour, (40 + i, 40)), root / name / f"{i}.png")
    broken_files(root / "red")
    save(picture(GREEN).convert("CMYK"), root / "green" / "cmyk.jpg")
    png16(root / "green" / "deep.png", 40000, colour=True)
    (root / "green" / ".DS_Store").write_bytes(b"hidden")
    return root


def test_a_folder_is_read_and_what_is_broken_is_listed(folder: Path) -> None:
    data = CLASSIFICATION.open(folder, quiet=True)
    assert data.classes == ("green", "red")
    assert (data.channels, data.size) == (3, 64)
    assert len(data.train) + len(data.val) == 22
    assert {Path(file.path).name for file in data.skipped} == {
        "empty.jpg", "notes.txt", "cut.jpg", "cut.png", "named.png", ".*",
    }  # fmt: skip
    assert sorted(data.val.targets) == [0, 0, 1, 1]
    assert not set(data.train.sources) & set(data.val.sources)


def test_a_split_depends_on_its_seed_alone(folder: Path) -> None:
    first, again, other = (CLASSIFICATION.open(folder, seed=seed, quiet=True) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.val.sources == again.val.sources != other.val.sources


def test_train_and_val_folders_are_taken_as_they_are(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "both"
    root.mkdir()
    folder.rename(root / "train")
    save(picture(), root / "valid" / "red" / "a.png")
    data = CLASSIFICATION.open(root, quiet=True)
    assert len(data.train) == 22
    assert [Path(s).name for s in data.val.sources] == ["a.png"]  # type: ignore[arg-type]
    assert data.val.targets == (1,)
    save(picture(), root / "valid" / "blue" / "a.png")
    with pytest.raises(fb.InputError, match="blue is none of the known classes"):
        CLASSIFICATION.open(root, quiet=True)


def test_grey_folders_have_one_channel(tmp_path: Path) -> None:
    for name in "ab":
        for i in range(3):
            save(Image.new("L", (28, 28), 10 * i), tmp_path / name / f"{i}.png")
    data = CLASSIFICATION.open(tmp_path, quiet=True)
    assert (data.channels, data.size) == (1, 32)


def test_folders_that_are_no_data_set_are_refused(tmp_path: Path, folder: Path) -> None:
    def refuses(path: Path, said: str) -> None:
        with pytest.raises(fb.InputError, match=said):
            CLASSIFICATION.open(path, quiet=True)

    refuses(tmp_path / "absent", "no such folder")
    refuses(folder / "red" / "0.png", "is a file")
    refuses(folder / "red", "no class folders")
    one = tmp_path / "one"
    save(picture(), one / "red" / "0.png")
    refuses(one, "one class folder only")
    (one / "blue").mkdir()
    refuses(one, r"too few in .* for blue \(0\), red \(1\)")
    corrupt = tmp_path / "corrupt"
    broken_files(corrupt / "a")
    broken_files(corrupt / "b")
    refuses(corrupt, "no file in .* can be read as an image")


def test_labels_follow_the_networks_classes(folder: Path) -> None:
    images, skipped = CLASSIFICATION.images(folder, ("blue", "red", "green"), quiet=True)
    assert sorted(set(images.targets)) == [1, 2]
    assert len(skipped) == 6
    with pytest.raises(fb.InputError, match="none of the known classes"):
        CLASSIFICATION.images(folder, ("red", "blue"), quiet=True)


def test_find_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(find_images([folder / "green"])) == 12
    assert len(find_images([str(folder / "red" / "*.png")])) == 12
    monkeypatch.chdir(folder)
    assert find_images(["red/0.png", "green/*9.png"]) == [Path("red/0.png"), Path("green/9.png")]
    with pytest.raises(fb.InputError, match="no such file"):
        find_images(["red/none*.png"])


def test_digits_need_no_download() -> None:
    data = CLASSIFICATION.open("digits")
    assert (len(data.train), len(data.val), data.channels, len(data.classes)) == (1437, 360, 1, 10)
    assert data.fingerprint == CLASSIFICATION.open("digits", seed=5).fingerprint
    counts = np.bincount(data.val.targets)
    assert counts.min() >= 34


def test_an_epoch_depends_on_its_seed_and_number_alone() -> None:
    data = CLASSIFICATION.open("digits")
    preprocess = fb.Preprocess.usual(16, 1)
    transform = training_transform(preprocess, crop_min=0.5, flip=0.5, rotation=10.0, translate=0.1, random_erasing=0.5)

    def epoch(number: int, *, seed: int = 0, workers: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(number * 77)  # the state of the global generator must not matter
        images = data.train.pick(range(50))
        batches = loader(
            images, LabelPipeline(transform), channels=1, batch_size=16, workers=workers, shuffle=True, seed=seed
        )
        batches.order.set_epoch(number)
        xs, ys = zip(*batches, strict=True)
        return torch.cat(xs), torch.cat(ys)

    first = epoch(3)
    assert all(torch.equal(a, b) for a, b in zip(first, epoch(3), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, epoch(3, workers=2), strict=True))
    assert not torch.equal(first[0], epoch(4)[0])
    assert not torch.equal(first[0], epoch(3, seed=1)[0])
    assert sorted(first[1].tolist()) == sorted(data.train.targets[:50])


def test_augmentation_leaves_the_global_generator_alone() -> None:
    data = CLASSIFICATION.open("digits")
    transform = training_transform(
        fb.Preprocess.usual(16, 1), crop_min=0.5, flip=0.5, rotation=9, translate=0.1, random_erasing=0
    )
    torch.manual_seed(1)
    before = torch.get_rng_state()
    batches = loader(data.val, LabelPipeline(transform), channels=1, batch_size=8, workers=0)
    batches.dataset[(0, 3)]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_lone_last_image_is_dropped_in_training_only() -> None:
    data = CLASSIFICATION.open("digits")
    transform = evaluation_transform(fb.Preprocess.usual(16, 1))
    nine = data.train.pick(range(9))
    assert [
        len(y) for _, y in loader(nine, LabelPipeline(transform), channels=1, batch_size=4, workers=0, shuffle=True)
    ] == [4, 4]
    assert [len(y) for _, y in loader(nine, LabelPipeline(transform), channels=1, batch_size=4, workers=0)] == [4, 4, 1]


def test_evaluation_resizes_crops_and_normalizes() -> None:
    preprocess = fb.Preprocess(size=20, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0), crop=0.5)
    out = evaluation_transform(preprocess)(picture((255, 255, 0), (80, 40)))
    assert out.shape == (3, 20, 20)
    assert out[:, 0, 0].tolist() == [2.0, 1.0, -0.5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0, "mean": (0.5,), "std": (0.5,)},
        {"size": 8, "mean": (0.5, 0.5), "std": (0.5, 0.5)},
        {"size": 8, "mean": (0.5,), "std": (0.0,)},
        {"size": 8, "mean": (0.5,), "std": (0.5,), "crop": 0.0},
        {"size": 8, "mean": (0.5,)},
        {"size": 8, "mean": (0.5,), "std": (0.5,), "scale": 255},
    ],
)
def test_wrong_preprocessing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(fb.InputError, match="not allowed"):
        fb.Preprocess.from_dict(wrong)
