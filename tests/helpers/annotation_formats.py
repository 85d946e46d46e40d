"""Detection data sets, written in every format that there is."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featherbone.data.dataset import Annotations, Dataset

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawn:
    """An image to be written, and the boxes on it: x1 y1 x2 y2 in pixels, class, crowd."""

    name: str
    size: tuple[int, int]
    boxes: Sequence[tuple[Corners, str, bool]] = ()
    seed: int = 0

    def save(self, path: Path, **options: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(self.seed or zlib.crc32(self.name.encode()))
        Image.fromarray(random.integers(0, 255, (self.size[1], self.size[0], 3), np.uint8)).save(path, **options)


Parts = Mapping[str, Sequence[Drawn]]


def coco(images: Sequence[Drawn], classes: Sequence[str], folder: str = "") -> dict[str, Any]:
    """Return what COCO says of images; ids of categories begin at 7 and leave gaps."""
    numbers = {name: 7 + 5 * place for place, name in enumerate(classes)}
    return {
        "images": [
            {"id": place, "file_name": folder + image.name, "width": image.size[0], "height": image.size[1]}
            for place, image in enumerate(images)
        ],
        "annotations": [
            {
                "id": 100 * place + k,
                "image_id": place,
                "category_id": numbers[name],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": int(crowd),
            }
            for place, image in enumerate(images)
            for k, ((x1, y1, x2, y2), name, crowd) in enumerate(image.boxes)
        ],
        "categories": [{"id": numbers[name], "name": name} for name in reversed(classes)],
    }


def write_coco(root: Path, parts: Parts, classes: Sequence[str]) -> Path:
    for part, images in parts.items():
        for image in images:
            image.save(root / "images" / image.name)
        (root / f"{part}.json").write_text(json.dumps(coco(images, classes)))
    return root


def voc(image: Drawn) -> str:
    """Return what Pascal VOC says of an image: pixels from 1, both ends among them."""
    objects = "".join(
        f"<object><name>{name}</name><difficult>{int(crowd)}</difficult><part><name>x</name></part><bndbox>"
        f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for (x1, y1, x2, y2), name, crowd in image.boxes
    )
    width, height = image.size
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>elsewhere.jpg</filename>{size}{objects}</annotation>"


def write_voc(root: Path, parts: Parts) -> Path:
    (root / "Annotations").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for part, images in parts.items():
        for image in images:
            image.save(root / "JPEGImages" / image.name)
            (root / "Annotations" / image.name).with_suffix(".xml").write_text(voc(image))
        if part != "all":
            (root / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(Path(i.name).stem for i in images))
    return root


def yolo(image: Drawn, classes: Sequence[str]) -> str:
    """Return what YOLO says of an image."""
    width, height = image.size
    return "".join(
        f"{classes.index(name)} {(x1 + x2) / 2 / width:.7f} {(y1 + y2) / 2 / height:.7f} "
        f"{(x2 - x1) / width:.7f} {(y2 - y1) / height:.7f}\n"
        for (x1, y1, x2, y2), name, _ in image.boxes
    )


def write_yolo(root: Path, parts: Parts, classes: Sequence[str], *, described: bool = True) -> Path:
    for part, images in parts.items():
        inner = "" if part == "all" else part
        for image in images:
            image.save(root / "images" / inner / image.name)
            place = (root / "labels" / inner / image.name).with_suffix(".txt")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(yolo(image, classes))
    if described:
        lines = [f"{part}: images/{part}" for part in parts]
        (root / "data.yaml").write_text("\n".join(["path: .", *lines, f"names: {json.dumps(list(classes))}"]))
    else:
        (root / "classes.txt").write_text("\n".join(classes) + "\n")
    return root


def drawn(random: np.random.Generator, name: str, classes: Sequence[str], most: int = 5) -> Drawn:
    """Return an image with some boxes inside it, no two in one place."""
    width, height = (int(side) for side in random.integers(40, 90, 2))
    boxes = []
    for place in range(int(random.integers(0, most + 1))):
        x1, y1 = (int(v) for v in random.integers(0, 30, 2))
        corners = (x1, y1, x1 + 2 + place, y1 + int(random.integers(2, 11)))
        boxes.append((corners, classes[int(random.integers(len(classes)))], False))
    return Drawn(name, (width, height), boxes, seed=int(random.integers(1, 2**31)))


CLASSES = ("cat", "dog", "bird")
PARTS: Parts = {
    "train": [
        Drawn("a.png", (60, 40), [((1, 2, 30, 40), "dog", False), ((0, 0, 60, 40), "cat", False)]),
        Drawn("b.png", (50, 50), [((10, 10, 20, 30), "bird", False)]),
        Drawn("empty.png", (40, 60)),
    ],
    "val": [Drawn("c.png", (64, 48), [((5, 6, 7, 8), "cat", False)])],
    "test": [Drawn("d.png", (64, 48), [((5, 6, 9, 9), "dog", False)])],
}
WRITERS: dict[str, Callable[[Path, Parts], Path]] = {
    "COCO": lambda root, parts: write_coco(root, parts, CLASSES),
    "Pascal VOC": write_voc,
    "YOLO": lambda root, parts: write_yolo(root, parts, CLASSES),
}


def boxes_of(images: Dataset[Annotations], classes: tuple[str, ...]) -> dict[str, list[tuple[str, bool, list[float]]]]:
    """Return what is on each image, by its name."""
    return {
        Path(str(source)).stem: [
            (classes[label], bool(crowd), np.round(box, 3).tolist())
            for box, label, crowd in zip(truth.boxes, truth.labels, truth.crowd, strict=True)
        ]
        for source, truth in zip(images.sources, images.targets, strict=True)
    }


def wanted(images: Parts, part: str) -> dict[str, list[tuple[str, bool, list[float]]]]:
    return {
        Path(image.name).stem: [(name, crowd, [float(v) for v in box]) for box, name, crowd in image.boxes]
        for image in images[part]
    }


def without(parts: Parts, part: str) -> Parts:
    return {name: images for name, images in parts.items() if name != part}
