"""Held-out figures of a run are measured as every later answer is computed: in float32, whatever it learned in."""

import csv
from pathlib import Path
from typing import Any

import pytest
from helpers.boxes import QUICK_BOXES
from helpers.training import QUICK, classified, evaluated

import featherbone as fb
from featherbone.data.open import CLASSIFICATION
from featherbone.evaluation.classification import classifier_outputs
from featherbone.weights.open import describe


def held_out_loss(run: fb.Run) -> float:
    """Return the mean loss of a classifier's held-out images, measured after the run."""
    header, preprocess = describe(run.folder)
    images = CLASSIFICATION.open(
        run.recipe.data, seed=run.recipe.seed, val_fraction=run.recipe.val_fraction, quiet=True
    )
    return float(
        classifier_outputs(fb.load(run.folder), images.val, preprocess, header.classes, quiet=True).losses.mean()
    )


@pytest.mark.parametrize("averaged", [0.0, 0.5])
def test_a_run_in_bfloat16_reports_what_evaluate_and_predict_find(
    colours: Path, tmp_path: Path, averaged: float
) -> None:
    """Losses show it: bfloat16 has eight bits, so they would differ by some thousandths."""
    changes = {**QUICK, "epochs": 2, "precision": "bf16", "ema_decay": averaged}
    run = fb.train(colours, out=tmp_path / "run", changes=changes, quiet=True)
    with (run.folder / "history.csv").open() as stream:
        last = list(csv.DictReader(stream))[-1]
    assert float(last["val_loss"]) == pytest.approx(held_out_loss(run), rel=1e-5)
    result = evaluated(run.folder)
    assert run.test_top1 == pytest.approx(result.top1, abs=1e-6)
    assert float(last["val_top1"]) == pytest.approx(result.top1, abs=1e-6)
    images = CLASSIFICATION.open(colours, seed=run.recipe.seed, val_fraction=run.recipe.val_fraction, quiet=True).val
    said, _ = classified(run.folder, images.sources)
    right = [one.classes[0] == run.classes[true] for one, true in zip(said, images.targets, strict=True)]
    assert sum(right) / len(right) == pytest.approx(result.top1)


def test_a_detector_that_learned_in_bfloat16_reports_what_evaluate_finds(finder: fb.Run, tmp_path: Path) -> None:
    changes = {**QUICK_BOXES, "epochs": 1, "lr": 1e-4, "ema_decay": 0.0, "precision": "bf16"}
    run = fb.train(finder.recipe.data, weights=finder.folder, out=tmp_path / "run", changes=changes, quiet=True)
    result: Any = fb.evaluate(run.folder, quiet=True)
    assert dict(run.scores) == pytest.approx({"ap": result.ap, "ap50": result.ap50, "ap75": result.ap75}, abs=1e-4)
    assert result.ap50 > 0.5
