"""Images that are kept in memory are those that would be decoded again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import featherbone as fb
from featherbone.data import loader as loading
from featherbone.data.dataset import Dataset
from featherbone.data.loader import LabelPipeline, loader
from featherbone.data.memory import ImageMemory, room_for_images
from featherbone.data.transforms import training_transform


def test_what_has_no_room_is_not_kept_and_what_was_kept_stays() -> None:
    memory = ImageMemory(300)
    small, large = Image.new("RGB", (5, 10)), Image.new("RGB", (10, 20))
    memory.keep(0, large)
    memory.keep(1, small)
    memory.keep(2, small)
    memory.keep(3, Image.new("L", (1, 1)))
    assert [memory.get(place) is not None for place in range(4)] == [False, True, True, False]
    assert memory.room == 0
    assert len(memory) == 2


def test_loaders_share_an_eighth_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    assert room_for_images(1) == 512_000
    assert room_for_images(4) == 128_000
    monkeypatch.delattr("os.sysconf")
    assert room_for_images(1) == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_second_epoch_shows_what_it_would_have_shown_and_reads_no_file(colours: Path, workers: int) -> None:
    files = sorted(colours.rglob("*.png"))
    images = Dataset(tuple(files), tuple(range(len(files))))
    transform = training_transform(fb.Preprocess.usual(16, 3), crop_min=0.3, flip=0.5)

    def epochs(*, keep: bool) -> list[torch.Tensor]:
        batches = loader(
            images, LabelPipeline(transform), channels=3, batch_size=4, workers=workers, shuffle=True, keep=keep
        )
        found = []
        for epoch in range(2):
            batches.order.set_epoch(epoch)
            found.append(torch.cat([pixels for pixels, _ in batches]))
            if keep:
                for file in files:
                    file.unlink(missing_ok=True)
        return found

    again, kept = epochs(keep=False), epochs(keep=True)
    assert all(torch.equal(first, second) for first, second in zip(again, kept, strict=True))
    assert not torch.equal(again[0], again[1])


def test_arrays_are_in_memory_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "room_for_images", lambda _: pytest.fail("no image has to be decoded"))
    images = Dataset((np.zeros((4, 4), np.uint8),), (0,))
    transform = training_transform(fb.Preprocess.usual(4, 1))
    loader(images, LabelPipeline(transform), channels=1, batch_size=1, workers=0, keep=True)
