"""What the page of a run says: values, pictures, and how to repeat the run."""

import base64
import inspect
import io
import itertools
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.runs import invented, page_of, seen
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchmetrics.functional.classification import multiclass_calibration_error
from typer.testing import CliRunner

import featherbone as fb
from featherbone.cli import train as command_line
from featherbone.cli.app import app
from featherbone.data.dataset import Dataset
from featherbone.data.thumbnails import encode
from featherbone.evaluation.classification import ClassifierOutputs
from featherbone.report.pages.run import run_html
from featherbone.runs import reproduce as repeating
from featherbone.runs.names import network_name
from featherbone.runs.tasks import CLASSIFICATION
from featherbone.training import classification_recipe


def test_mistakes_and_doubts_are_pictured_once_and_few(tmp_path: Path) -> None:
    run, outputs = invented(tmp_path, 120, images=2000)
    written = page_of(run, outputs)
    told = seen(written)
    assert written.stat().st_size < 1_000_000
    assert told["mistaken"] == int((outputs.logits.argmax(1) != outputs.labels).sum()) == len(outputs.mistakes())
    losses = [answer["loss"] for answer in told["mistakes"]]
    assert losses == sorted(losses, reverse=True)
    assert all(answer["true"] != answer["said"][0] for answer in told["mistakes"])
    pictured = [a["image"] for a in (*told["mistakes"], *told["unsure"]) if "picture" in a]
    assert len(pictured) == len(set(pictured)) == 48


def test_images_that_vanish_meanwhile_are_said(tmp_path: Path) -> None:
    run, _ = invented(tmp_path, 3)
    gone = Dataset((tmp_path / "gone.png",) * 300, (0, 1, 2) * 100)
    assert "gone.png" in seen(fb.run_page(run, images=gone, quiet=True))["missing"]


@given(st.integers(2, 6), st.integers(0, 1000), st.floats(0, 30))
def test_the_bins_of_calibration_are_those_of_its_error(classes: int, seed: int, sharpness: float) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(50, classes, generator=random)
    labels = tuple(torch.randint(classes, (50,), generator=random).tolist())
    outputs = ClassifierOutputs(Dataset((Path(),) * 50, labels), tuple("abcdef"[:classes]), logits)
    found = outputs.calibration()
    assert sum(images for images, _, _ in found.bins) == 50
    assert found.error == pytest.approx(
        sum(n * abs(claimed - right) for n, claimed, right in found.bins) / 50, abs=1e-5
    )
    assert found.top1 == pytest.approx(outputs.evaluation().top1)
    if sharpness > 0.01:  # without ties
        theirs = multiclass_calibration_error(outputs.probabilities, outputs.labels, classes)
        assert found.error == pytest.approx(float(theirs), abs=1e-6)
    assert len(outputs.mistakes()) == round(50 * (1 - found.top1))


def test_a_thumbnail_keeps_the_pixels_of_a_small_image(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for side, expected in ((32, 32), (1000, 160)):
        pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        address = encode(Image.fromarray(pixels))
        shown = Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/webp;base64,"))))
        assert shown.size == (expected, expected)
        if side == 32:
            assert (np.asarray(shown.convert("RGB")) == pixels).all()


def test_numbers_that_json_lacks_and_words_that_end_scripts_stay_inside() -> None:
    text = run_html({"value": float("nan"), "name": "</script><!--<script>\udc80"})
    inside = text.encode().decode().partition('type="application/json">')[2].partition("</script>")[0]
    assert json.loads(inside) == {"value": None, "name": "</script><!--<script>\udc80"}


def test_the_command_repeats_the_run(short: fb.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def noted(data: str, model: str, **options: Any) -> fb.Run:
        asked.update(data=data, model=model, **options)
        return short

    monkeypatch.setattr(fb, "train", noted)
    recipe = short.recipe.changed({"freeze": ["stem"], "mixup": 0.2, "workers": 1})
    command = repeating.command(short.folder, recipe, CLASSIFICATION)
    assert command is not None
    program, *words = shlex.split(command)
    done = CliRunner().invoke(app, words)
    assert (program, done.exit_code) == ("featherbone", 0), done.output
    assert (asked["data"], asked["model"]) == (recipe.data, "shufflenet_v2_x0_5")
    repeated = classification_recipe(recipe.data, recipe.size, images=short.train_images).changed(asked["changes"])
    assert repeated.changed({"model": recipe.model, "data": recipe.data}) == recipe


def test_the_page_knows_the_options_of_the_command_line() -> None:
    columns = fb.Recipe().to_dict()
    options = [name for name in inspect.signature(command_line.train).parameters if name in columns]
    assert set(options) - {"data", "model"} == set(repeating.OPTIONS)


def test_networks_are_known_by_their_rows() -> None:
    for name, stem_stride in itertools.product(fb.list_models(), (1, 4)):
        row = fb.spec(name)
        fitted = replace(row, num_classes=7, in_chans=1, stem_stride=min(stem_stride, row.stem_stride))
        assert fb.spec(str(network_name(fitted))) == row, name


def test_a_row_of_ones_own_has_no_name() -> None:
    thin: dict[str, Any] = {"concat_channels": (8, 8, 8, 8)}
    assert network_name(replace(fb.spec("vovnet39"), **thin)) is None


def test_a_network_that_prefers_no_class(tmp_path: Path) -> None:
    run, outputs = invented(tmp_path, 3)
    told = seen(page_of(run, replace(outputs, logits=torch.zeros(300, 3))))
    assert told["mistaken"] == 200
    assert {tuple(answer["said"]) for answer in told["mistakes"]} == {(0, 1)}
    assert told["calibration"]["error"] == pytest.approx(0, abs=1e-6)
