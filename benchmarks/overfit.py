"""A detector overfits a few images on purpose: ``python benchmarks/overfit.py DATA``.

All images of ``DATA`` (a COCO file with boxes, its images beside it) are learned from, nothing is varied, and the boxes
that the detector then finds in them are scored: a check that data, assignment, loss, optimizer, decoding and scores fit
each other to the end. It says nothing of images that were not learned. While it learns, the first few are looked at.

    --weights   a weight file of the backbone to start from, or a run of this benchmark to go on from; default: scratch
    --model     the backbone, if there are no weights; default shufflenet_v2_x1_0
    --neck      default efm
    --head      free (default) or anchors
    --size      default 512
    --epochs    default 180
    --batch     default 8
    --lr        default 4e-3: as large as from nothing, since what is to be learned is new
    --seed      default 0
    --out       where the run is kept; default: nowhere
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import featherbone as fb

LOOKED_AT = 8
EXACT = {"mosaic": 0.0, "scale": 0.0, "color_jitter": 0.0, "flip": 0.0, "weight_decay": 0.0, "ema_decay": 0.99}


def learned(annotations: Path, folder: Path) -> Path:
    """Write a data set that has all images to learn from, and the first few of them to look at meanwhile."""
    everything = json.loads(annotations.read_text(encoding="utf-8"))
    few = everything["images"][:LOOKED_AT]
    looked_at = {
        **everything,
        "images": few,
        "annotations": [a for a in everything["annotations"] if a["image_id"] in {image["id"] for image in few}],
    }
    for split, content in (("train", everything), ("val", looked_at)):
        (folder / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
    for image in everything["images"]:
        place = folder / image["file_name"]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(annotations.parent / image["file_name"], place)
    return folder


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--model", default=fb.DEFAULT_DETECTOR)
    parser.add_argument("--neck", default="efm")
    parser.add_argument("--head", choices=("anchors", "free"), default="free")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=180)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if not given.data.is_file():
        parser.error(f"DATA={given.data} is not allowed: a COCO file, such as instances.json")
    with tempfile.TemporaryDirectory() as place:
        data = learned(given.data, Path(place))
        changes = {"epochs": given.epochs, "size": given.size, "batch_size": given.batch, "lr": given.lr, **EXACT}
        run = fb.train(
            data,
            None if given.weights else given.model,
            weights=given.weights,
            neck=given.neck,
            head=given.head,
            changes={**changes, "seed": given.seed},
            out=given.out or Path(place) / "run",
        )
        result: Any = fb.evaluate(run.folder, data, split="train", quiet=True)
    boxes = sum(one.boxes for one in result.classes)
    print(
        f"{result.images} images, {boxes} boxes, {len(result.classes)} classes; {run.train_seconds:.0f} s of training"
    )
    print(f"AP50 {result.ap50:.4f}, AP {result.ap:.4f}, AP75 {result.ap75:.4f} on the images learned from")


if __name__ == "__main__":
    main()
