"""Runs for the pages of runs, and what such a page holds."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import featherbone as fb
from featherbone.data.dataset import Dataset
from featherbone.evaluation.classification import ClassifierOutputs
from featherbone.evaluation.report import Outputs
from featherbone.runs import tasks
from featherbone.spec import spec_to_dict


def invented(folder: Path, classes: int, images: int = 300, rows: int = 5) -> tuple[Path, ClassifierOutputs]:
    """Write the folder of a run that never was, and invent what its network says of grey images."""
    random = np.random.default_rng(classes)
    names = tuple(f"class {label:03}" for label in range(classes))
    model = fb.create_model("shufflenet_v2_x0_5", num_classes=classes, in_chans=1, stem_stride=1)
    fb.save(model, folder / "model.safetensors", classes=names, preprocess=fb.Preprocess.usual(32, 1))
    recipe = fb.Recipe(data="/nowhere", size=32, model=spec_to_dict(model.spec), epochs=rows)
    data = {"classes": names, "train_images": 1000, "val_images": images, "fingerprint": "", "channels": 1}
    outputs = ClassifierOutputs(
        Dataset.of([(random.integers(0, 256, (8, 8), dtype=np.uint8), i % classes) for i in range(images)]),
        names,
        torch.from_numpy(random.normal(size=(images, classes)).astype(np.float32)),
    )
    outputs.logits[range(images), outputs.labels] += 2.5
    result = {"top1": outputs.evaluation().top1, "top5": 1.0, "train_seconds": 1e4, "epochs": rows, "machine": "abacus"}
    for name, values in (("recipe", recipe.to_dict()), ("data", data), ("result", result)):
        (folder / f"{name}.json").write_text(json.dumps(values))
    lines = ["epoch,train_loss,val_loss,val_top1,val_top5,lr,momentum_used,note"]
    lines += [
        f"{i},{3 / i},{5 / i + (i > 3)},{0.9 - abs(i - 3) / 10},0.95,{0.1 / i},0.9,words" for i in range(1, rows + 1)
    ]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    return folder, outputs


def page_of(run: Path, outputs: ClassifierOutputs) -> Path:
    """Write the page of an invented run."""
    return page_saying(outputs, run, outputs.images)


def page_saying(outputs: Outputs, run: Path, images: Dataset[Any]) -> Path:
    """Write the page of a run whose network says this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "TASKS", [replace(task, outputs=lambda *_, **__: outputs) for task in tasks.TASKS])
        return fb.run_page(run, images=images, quiet=True)


def seen(page: Path) -> dict[str, Any]:
    """Return the values inside a page."""
    text = page.read_text(encoding="utf-8")
    inside = text.partition('type="application/json">')[2].partition("</script>")[0]
    assert "<" not in inside
    return json.loads(inside)
