"""The colours of conftest in shards, and what is in the images of a set."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from featherbone.data.dataset import ClassificationData, Dataset
from featherbone.data.image import read_image

NUMBERS = {"blue": "0", "green": "1", "red": "2"}


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def write_shards(
    colours: Path, place: Path, name: str = "shard-{:06d}.tar", *, of: int = 12, mixed: bool = True
) -> list[Path]:
    """Write the colours, mixed or not, in shards of a few images, with labels in three forms."""
    place.mkdir(parents=True, exist_ok=True)
    files = sorted(colours.glob("*/*.png"), key=lambda path: path.name if mixed else str(path))
    shards = []
    for number, start in enumerate(range(0, len(files), of)):
        shards.append(place / name.format(number))
        with tarfile.open(shards[-1], "w") as archive:
            for i, path in enumerate(files[start : start + of]):
                key, label = f"{path.parent.name}{path.stem}", NUMBERS[path.parent.name]
                form = (("cls", label), ("json", json.dumps({"label": int(label)})), ("json", label))[i % 3]
                add(archive, f"{key}.png", path.read_bytes())
                add(archive, f"{key}.{form[0]}", form[1].encode())
    (place / "classes.txt").write_text("\n".join(NUMBERS) + "\n")
    return shards


def sums(images: Dataset[int]) -> list[tuple[int, int]]:
    return sorted(
        (label, int(np.asarray(read_image(s), np.int64).sum()))
        for s, label in zip(images.sources, images.targets, strict=True)
    )


def all_sums(data: ClassificationData) -> list[tuple[int, int]]:
    return sorted(sums(data.train) + sums(data.val))


class Sums(TorchDataset[int]):
    """The sum of every image's pixels, for a loader with processes of its own."""

    def __init__(self, images: Dataset[int]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> int:
        return int(np.asarray(read_image(self.images.sources[index]), np.int64).sum())
