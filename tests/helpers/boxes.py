"""Images of coloured rectangles with their boxes, as COCO has them, and runs of detectors that never were."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import featherbone as fb
from featherbone.data.dataset import Annotations, Dataset
from featherbone.detect.detector import detector_to_dict
from featherbone.evaluation.detection import DetectorOutputs
from featherbone.evaluation.matching import ImageDetections
from helpers.runs import page_saying

SHAPES = ("blue", "green", "red")
_COLOURS = ((40, 60, 220), (40, 190, 70), (220, 50, 40))
# a detector that learns to find them in seconds; every choice is made, so that nothing is measured
QUICK_BOXES: dict[str, Any] = {
    "epochs": 16,
    "size": 64,
    "batch_size": 4,
    "lr": 0.01,
    "ema_decay": 0.8,
    "mosaic": 0.0,
    "scale": 0.0,
    "color_jitter": 0.0,
    "precision": "f32",
    "channels_last": True,
    "workers": 0,
}
SHORT_BOXES: dict[str, Any] = {**QUICK_BOXES, "epochs": 3}
BOXES_MODEL = "shufflenet_v2_x0_5"


def draw_boxes(
    root: Path,
    counts: Sequence[tuple[str, int]] = (("train", 24), ("val", 8), ("test", 6)),
    names: Sequence[str] = SHAPES,
    ending: str = ".png",
) -> Path:
    """Write noisy images of 64 to 96 pixels, one to three rectangles in each, and ``PART.json`` for every part.

    The last image of every part is empty.
    """
    random = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    for part, count in counts:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for i in range(count):
            width, height = (int(side) for side in random.integers(64, 97, 2))
            pixels = random.integers(90, 150, (height, width, 3), dtype=np.uint8)
            for place in range(0 if i == count - 1 else int(random.integers(1, 4))):
                label = int(random.integers(len(names)))
                # side by side, so that none hides another
                w, h = (int(side) for side in random.integers(16, width // 3 - 2, 2))
                x, y = place * width // 3 + 1, int(random.integers(0, height - h))
                pixels[y : y + h, x : x + w] = _COLOURS[label]
                annotations.append({"image_id": i, "category_id": label + 1, "bbox": [x, y, w, h]})
            file = f"{part}-{i:02}{ending}"
            Image.fromarray(pixels).save(root / "images" / file, "PNG")
            images.append({"id": i, "file_name": file, "width": width, "height": height})
        rows = [{"id": i, "iscrowd": 0, "area": a["bbox"][2] * a["bbox"][3], **a} for i, a in enumerate(annotations)]
        kinds = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
        (root / f"{part}.json").write_text(json.dumps({"images": images, "annotations": rows, "categories": kinds}))
    return root


def truth(*rows: tuple[float, ...], crowd: Sequence[int] = ()) -> Annotations:
    """Return the truth of an image: rows are x1, y1, x2, y2, label; ``crowd`` are the places of those that are one."""
    values = np.array(rows, np.float32).reshape(-1, 5)
    return Annotations(values[:, :4], values[:, 4].astype(np.int64), np.isin(np.arange(len(values)), crowd))


def found(*rows: tuple[float, ...]) -> ImageDetections:
    """Return what was found: rows are x1, y1, x2, y2, label, score."""
    values = np.array(rows, np.float64).reshape(-1, 6)
    return ImageDetections(values[:, :4], values[:, 5], values[:, 4].astype(np.int64))


def outputs_of(classes: Sequence[str], *images: tuple[Annotations, ImageDetections]) -> DetectorOutputs:
    """Return what a detector said of grey images of 100 x 80 pixels."""
    grey = [np.full((80, 100, 3), 60 + 20 * i % 100, np.uint8) for i in range(len(images))]
    known = Dataset.of((pixels, there) for pixels, (there, _) in zip(grey, images, strict=True))
    return DetectorOutputs(known, tuple(classes), tuple(said for _, said in images))


def many_outputs(classes: int, images: int = 40) -> DetectorOutputs:
    """Return what a middling detector said: some boxes missed, some moved, some of another class, some imagined."""
    random = np.random.default_rng(classes)
    pairs = []
    for _ in range(images):
        boxes = [
            (x, y, x + w, y + h, label)
            for x, y, w, h, label in zip(
                *random.integers(0, 60, (2, 5)),
                *random.integers(12, 20, (2, 5)),
                random.integers(0, classes, 5),
                strict=True,
            )
        ]
        said = []
        for x1, y1, x2, y2, label in boxes:
            dx, dy = random.normal(0, 2, 2)
            other = int(random.integers(classes)) if random.random() < 0.2 else label
            if random.random() < 0.8:
                said.append((x1 + dx, y1 + dy, x2 + dx, y2 + dy, other, random.uniform(0.3, 1)))
        said.append((*random.integers(0, 40, 2), *random.integers(50, 80, 2), int(random.integers(classes)), 0.2))
        pairs.append((truth(*boxes), found(*said)))
    return outputs_of([f"class {label:03}" for label in range(classes)], *pairs)


def invented(folder: Path, outputs: DetectorOutputs, rows: int = 5) -> Path:
    """Write the folder of a run of a detector that never was."""
    spec = fb.DetectorSpec(
        backbone=fb.spec("shufflenet_v2_x0_5"), neck=fb.neck_spec("fpn"), head="free", num_classes=len(outputs.classes)
    )
    preprocess = replace(fb.Preprocess.usual(64, 3), fit="letterbox", crop=1.0)
    fb.save(spec.build(), folder / "model.safetensors", classes=outputs.classes, preprocess=preprocess)
    scores = outputs.evaluation()
    reached = {name: getattr(scores, name) for name in ("ap", "ap50", "ap75")}
    recipe = fb.Recipe(data="/nowhere", size=64, model=detector_to_dict(spec), epochs=rows)
    data = {"classes": outputs.classes, "train_images": 100, "val_images": len(outputs.images), "channels": 3}
    result = {**reached, "train_seconds": 1e3, "epochs": rows, "machine": "abacus"}
    data |= {"fingerprint": "", "skipped": []}
    for name, values in (("recipe", recipe.to_dict()), ("data", data), ("result", result)):
        (folder / f"{name}.json").write_text(json.dumps(values))
    lines = ["epoch,seconds,train_loss,val_loss,val_ap,val_ap50,val_ap75,lr"]
    lines += [f"{i},9,{9 / i},{12 / i},{0.5 - abs(i - 4) / 10},{0.1 * i},0.001,{0.1 / i}" for i in range(1, rows + 1)]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    return folder


def page_of(run: Path, outputs: DetectorOutputs) -> Path:
    """Write the page of an invented run."""
    return page_saying(outputs, run, outputs.images)
