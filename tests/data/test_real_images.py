"""Real photographs and real small images, where the shared data is at hand."""

from pathlib import Path

import numpy as np
import pytest
from helpers.paths import SHARED
from helpers.training import QUICK, classified, evaluated
from PIL import Image

import featherbone as fb
from featherbone.data.image import read_image

DATA = SHARED
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared images are not here")


def test_every_imagenet_photograph_is_read_as_pillow_shows_it() -> None:
    files = sorted((DATA / "imagenet_sample").rglob("*.jpg"))[::10]
    assert len(files) >= 100
    for path in files:
        with Image.open(path) as plain:
            assert np.array_equal(np.asarray(read_image(path)), np.asarray(plain.convert("RGB"))), path


def test_a_folder_of_real_images_trains_evaluates_and_predicts(tmp_path: Path) -> None:
    with Image.open(DATA / "cifar10" / "train_00.webp") as image:
        tiles = (
            np.asarray(image.convert("RGB")).reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
        )
    labels = np.load(DATA / "cifar10" / "train_labels.npy")[:1000]
    for i in range(300):
        place = tmp_path / "photos" / f"class {labels[i]}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tiles[i]).save(place / f"{i:03}.png")
    (tmp_path / "photos" / "class 3" / "broken.png").write_bytes(b"\x89PNG")
    run = fb.train(
        tmp_path / "photos", out=tmp_path / "run", changes={**QUICK, "epochs": 1, "batch_size": 32}, quiet=True
    )
    assert len(run.classes) == 10
    assert [Path(file.path).name for file in run.skipped] == ["broken.png"]
    result = evaluated(run.folder)
    assert result.top1 == pytest.approx(run.test_top1, abs=1e-6)
    assert result.confusion.sum() == run.test_images
    found, _ = classified(run.folder, [tmp_path / "photos" / "class 3"])
    assert all(abs(sum(p.probabilities) - 1) < 1 for p in found)
    assert fb.read_header(run.folder).preprocess == fb.Preprocess.usual(32, 3)
