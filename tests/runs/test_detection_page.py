"""The page of a detector's run: what it says, in a real browser, whatever classes and files are called."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.boxes import QUICK_BOXES, draw_boxes, found, invented, many_outputs, outputs_of, page_of, truth
from helpers.browser import Opens
from helpers.families import slow_but
from helpers.images import HOSTILE, HOSTILE_FILE
from helpers.runs import seen
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Locator, Page
from typer.testing import CliRunner

import featherbone as fb
from featherbone.cli.app import app
from featherbone.evaluation.detection import DetectorOutputs
from featherbone.runs import reproduce as repeating
from featherbone.runs.page_detection import detection_values
from featherbone.runs.tasks import DETECTION
from featherbone.training import detection_recipe

KINDS = ("right", "false", "missed", "true")


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    """A detector that has hardly begun to learn, on images whose names are hostile."""
    place = tmp_path_factory.mktemp("hasty")
    data = draw_boxes(place / "shapes", (("train", 8), ("val", 4)), HOSTILE, HOSTILE_FILE)
    (data / "images" / f"val-00{HOSTILE_FILE}").write_text("no picture")
    changes = {**QUICK_BOXES, "epochs": 1}
    return fb.train(data, "shufflenet_v2_x0_5", neck="fpn", head="free", out=place / "run", changes=changes, quiet=True)


@pytest.fixture
def one_of_each() -> DetectorOutputs:
    """Two boxes found, one of them as another thing; one missed; two imagined, one of them in a crowd."""
    return outputs_of(
        ("cat", "dog"),
        (
            truth((10, 10, 30, 30, 0), (50, 10, 80, 40, 1), (10, 50, 20, 70, 0), (60, 50, 99, 79, 0), crowd=[3]),
            found(
                (11, 10, 30, 31, 0, 0.9), (50, 11, 80, 40, 0, 0.8), (85, 5, 95, 15, 1, 0.7), (65, 55, 75, 65, 0, 0.75)
            ),
        ),
        (truth((0, 0, 50, 50, 1)), found((0, 0, 50, 50, 1, 0.6))),
        (truth(), found()),
    )


def cells(page: Page, table: str, column: int) -> list[str]:
    return page.locator(f"{table} tbody tr td:nth-child({column})").all_inner_texts()


def kinds(shot: Locator) -> dict[str, int]:
    return {kind: shot.locator(f"g.{kind}").count() for kind in KINDS}


@pytest.mark.parametrize("look", slow_but(("wide", "narrow", "dark"), ("narrow",)))
def test_the_page_of_a_detector_with_hostile_names(hasty: fb.Run, opened: Opens, look: str) -> None:
    written = hasty.folder / "run.html"  # training left it there
    assert written.stat().st_size < 200_000
    with opened(written, width=390 if look == "narrow" else 1300, dark=look == "dark") as page:
        assert page.locator("h1").inner_text() == "shufflenet_v2_x0_5 · fpn · free on shapes"
        assert "AP50" in page.locator("#facts").inner_text()
        assert f"torch {torch.__version__}" in page.locator("#facts").inner_text()
        assert sorted(cells(page, "#classes", 1)) == sorted(hasty.classes)
        assert page.locator("img[src='x'], [onload], [onerror]").count() == 0
        shots = page.locator("#worst .shot")
        assert shots.count() >= 1
        assert HOSTILE_FILE in shots.first.inner_text()
        load = "async ({ href }) => { const i = new Image(); i.src = href.baseVal; await i.decode(); return i.width; }"
        assert 64 <= shots.first.locator("image").evaluate(load) <= 96
        assert "not an image" in str(page.locator("#skipped").text_content())
        assert page.locator("#curves svg").count() == 4  # losses, scores, learning rate, seconds
        page.locator("#recipe summary").click()
        assert page.locator("#recipe caption").all_inner_texts() == ["Training", "Network", "Backbone", "Neck"]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(20, 23, 26)" if look == "dark" else "rgb(255, 255, 255)")


def test_curves_are_those_of_the_evaluation(opened: Opens, tmp_path: Path) -> None:
    outputs = many_outputs(3)
    evaluation = outputs.evaluation()
    with opened(page_of(invented(tmp_path, outputs), outputs)) as page:
        assert "Best epoch on the held-out images: 4 of 5 (50.00 % AP)" in page.locator("#best").inner_text()
        captions = page.locator("#curves figcaption, #precision figcaption").all_inner_texts()
        assert [caption.split("\n")[0] for caption in captions] == [
            "Loss", "Held-out average precision", "Learning rate", "Seconds per epoch", "Precision over recall",
            "What a score is worth"]  # fmt: skip
        assert [line for line in captions[4].split("\n")[1:] if line] == ["all classes", *outputs.classes]
        tip = page.locator("#tip")
        precision, worth = (page.locator("#precision svg").nth(i) for i in range(2))
        precision.focus()
        settled(page)
        page.keyboard.press("ArrowRight")
        assert tip.inner_text().split("\n")[0] == "recall 100.00 %"  # from the end, where no row is the best
        for _ in range(60):
            page.keyboard.press("ArrowLeft")
        lines = dict(line.split(": ") for line in tip.inner_text().split("\n")[1:])
        assert tip.inner_text().split("\n")[0] == "recall 40.00 %"
        wanted = [evaluation.curve[40], *(curve[40] for curve in evaluation.curves)]
        assert [float(value.removesuffix(" %")) for value in lines.values()] == pytest.approx(
            [100 * share for share in wanted], abs=0.01
        )
        worth.focus()
        settled(page)
        page.keyboard.press("ArrowRight")
        best = evaluation.best
        shares = [f"{name}: {100 * share:.2f} %" for name, share in zip(
            ("precision", "recall", "F1"), (best.precision, best.recall, best.f1), strict=True)]  # fmt: skip
        assert tip.inner_text().split("\n") == [f"least score {best.score:.2f}, the best", *shares]
        assert page.locator("#of").is_hidden()


def settled(page: Page) -> None:
    """Wait until a page has told itself that it has scrolled, which hides what it says of a place."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def pointed_at(page: Page, spot: Locator, x: float = 0.5, y: float = 0.5) -> str:
    """What the page says of a place, in shares of its width and height; a page that scrolls says nothing."""
    spot.scroll_into_view_if_needed()
    settled(page)
    room = spot.bounding_box()
    assert room is not None
    page.mouse.move(0, 0)
    page.mouse.move(room["x"] + x * room["width"], room["y"] + y * room["height"])
    tip = page.locator("#tip")
    return tip.inner_text() if tip.is_visible() else ""


def test_boxes_say_what_they_are(one_of_each: DetectorOutputs, opened: Opens, tmp_path: Path) -> None:
    with opened(page_of(invented(tmp_path, one_of_each), one_of_each)) as page:
        shot = page.locator("#worst .shot")  # of three images, one has faults
        assert shot.inner_text().startswith("2 missed, 2 false, 1 found")
        assert kinds(shot) == {"right": 1, "false": 2, "missed": 2, "true": 1}
        picture = shot.locator("svg")
        there = {"found": (0.2, 0.25), "both": (0.65, 0.3), "false": (0.9, 0.125), "missed": (0.15, 0.75)}
        said = {name: pointed_at(page, picture, *place) for name, place in there.items()}
        assert said == {
            "found": "found: cat 90 %",
            "both": "missed: dog\nfalse: cat 80 %",
            "false": "false: dog 70 %",
            "missed": "missed: cat",
        }
        assert pointed_at(page, picture, 0.45, 0.95) == ""
        page.locator("#show-false").uncheck()
        assert shot.locator("g.false").first.is_hidden()
        assert pointed_at(page, picture, *there["false"]) == ""
        assert pointed_at(page, picture, *there["both"]) == "missed: dog"


def test_cells_of_the_confusion_say_and_show_what_they_count(
    one_of_each: DetectorOutputs, opened: Opens, tmp_path: Path
) -> None:
    with opened(page_of(invented(tmp_path, one_of_each), one_of_each)) as page:
        cell = page.locator("#matrix [data-cell='1,0']")
        assert pointed_at(page, cell) == "true: dog\nsaid: cat\n1 box, 50.0 % of the true class"
        imagined = page.locator("#matrix [data-cell='2,1']")
        assert pointed_at(page, imagined) == "true: nothing\nsaid: dog\n1 box, 100.0 % of what is nothing"
        cell.click()
        told = page.locator("#pairs")
        assert "1 box of dog taken for cat, 50.0 % of the class." in told.inner_text()
        shot = told.locator(".shot")
        assert kinds(shot) == {"right": 1, "false": 2, "missed": 2, "true": 1}
        looked_for = [shot.locator(f"g.{kind}:not(.faint)").count() for kind in KINDS]
        assert looked_for == [0, 1, 1, 0], "the box of the dog, and the cat that was said"


def test_classes_are_sorted_and_each_has_its_curve(opened: Opens, tmp_path: Path) -> None:
    outputs = many_outputs(80, images=120)
    written = page_of(invented(tmp_path, outputs), outputs)
    assert written.stat().st_size < 500_000
    aps = {score.name: score.ap for score in outputs.evaluation().classes}
    with opened(written) as page:
        rising = [aps[name] for name in cells(page, "#classes", 1)]
        assert rising == sorted(rising, key=lambda ap: -1 if ap is None else ap)
        shown = [float(text.removesuffix(" %")) / 100 for text in cells(page, "#classes", 4)]
        assert shown == pytest.approx(rising, abs=6e-4)
        assert page.locator("#precision figcaption").first.inner_text() == "Precision over recall"
        page.locator("#of select").select_option("class 007")
        assert "class 007" in page.locator("#precision figcaption").first.inner_text()
        assert page.locator("#precision .charts figure").count() == 2
        assert page.locator("#matrix canvas").count() == 1


def test_a_detector_without_faults(opened: Opens, tmp_path: Path) -> None:
    outputs = outputs_of(("cat",), (truth((5, 5, 60, 60, 0)), found((5, 5, 60, 60, 0, 0.5))))
    with opened(page_of(invented(tmp_path, outputs, rows=1), outputs)) as page:
        said = page.locator("#worst p").inner_text()
        assert said == "None: where a score of 0.50 is trusted, every box is found, and nothing else."
        assert page.locator("#worst .shot").count() == page.locator("#pairs tbody tr").count() == 0
        assert page.locator("#worst .legend").is_hidden()


def test_a_detector_that_finds_nothing(opened: Opens, tmp_path: Path) -> None:
    outputs = outputs_of(("cat", "dog"), (truth((5, 5, 60, 60, 0)), found()))
    with opened(page_of(invented(tmp_path, outputs), outputs)) as page:
        assert page.locator("#worst .shot").inner_text().startswith("1 missed, 0 false, 0 found")
        assert cells(page, "#classes", 4) == ["-", "0.0 %"]  # there is no dog: nothing can be said
        assert "- · 0 % · -" in page.locator("#facts").inner_text()


def test_images_that_are_gone_are_said_and_the_rest_is_there(hasty: fb.Run, opened: Opens, tmp_path: Path) -> None:
    run, shapes = tmp_path / "run", tmp_path / "shapes"
    shutil.copytree(hasty.folder, run)
    shutil.copytree(hasty.recipe.data, shapes)
    recipe = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps({**recipe, "data": str(shapes)}))
    told = seen(fb.run_page(run, quiet=True))
    assert "missing" not in told  # a data set may be moved
    assert told["scores"]["ap"] == pytest.approx(hasty.scores["ap"], abs=1e-6)
    annotations = json.loads((shapes / "val.json").read_text())
    annotations["annotations"].pop()
    (shapes / "val.json").write_text(json.dumps(annotations))
    assert "are not those that the run was trained on" in seen(fb.run_page(run, quiet=True))["missing"]
    shutil.rmtree(shapes)
    with opened(fb.run_page(run, quiet=True)) as page:
        assert str(shapes) in page.locator("#missing").inner_text()
        assert page.locator("nav a").all_inner_texts() == ["Curves", "First batch", "Recipe"]
        assert f"featherbone train {shapes}" in page.locator("#command").inner_text()
        assert "best score" not in page.locator("#facts").inner_text()


def test_one_picture_that_is_gone_is_said_in_its_place(opened: Opens, tmp_path: Path) -> None:
    outputs = many_outputs(3, images=3)
    places = tuple(tmp_path / "gone" / f"{i}.png" for i in range(3))
    gone = replace(outputs, images=replace(outputs.images, sources=places))
    with opened(page_of(invented(tmp_path, outputs), gone)) as page:
        assert "no picture: " in page.locator("#worst .shot").first.inner_text()
        assert page.locator("#worst image").count() == 0


@settings(max_examples=30, deadline=None)
@given(classes=st.integers(1, 5), images=st.integers(1, 6))
def test_what_the_page_counts_is_what_the_evaluation_counts(classes: int, images: int) -> None:
    outputs = many_outputs(classes, images)
    told, evaluation = detection_values(outputs, "/"), outputs.evaluation()
    confusion = np.zeros_like(evaluation.confusion)
    for true, said, count in told["confusion"]:
        confusion[true, said] = count
    assert (confusion == evaluation.confusion).all()
    right = int(np.trace(confusion))
    faults = [one["missed"] + one["imagined"] for one in told["worst"]]
    assert faults == sorted(faults, reverse=True)
    assert len(faults) == told["faulty"]
    boxes = sum(len(one.labels) for one in outputs.images.targets)
    assert sum(one["missed"] for one in told["worst"]) == boxes - right
    for one in told["worst"]:
        drawn = [box[0] for box in one["boxes"]]
        assert [drawn.count(kind) for kind in KINDS[:3]] == [one["right"], one["imagined"], one["missed"]]
        assert drawn.count("true") == one["right"]
    best = evaluation.best
    row = told["trusted"]["rows"][told["trusted"]["scores"].index(best.score)]
    assert row == pytest.approx([best.precision, best.recall, best.f1])
    assert max(f1 for _, _, f1 in told["trusted"]["rows"]) == pytest.approx(best.f1)


def asked_by(command: str, monkeypatch: pytest.MonkeyPatch, run: fb.Run) -> dict[str, Any]:
    """Return what a command asks of ``train``."""
    asked: dict[str, Any] = {}

    def noted(data: str, model: str | None, **options: Any) -> fb.Run:
        asked.update(data=data, model=model, **options)
        return run

    monkeypatch.setattr(fb, "train", noted)
    program, *words = shlex.split(command)
    done = CliRunner().invoke(app, words)
    assert (program, done.exit_code) == ("featherbone", 0), done.output
    return asked


def test_the_command_repeats_the_run(hasty: fb.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = hasty.recipe.changed({"box_loss": "giou", "freeze": ["backbone.stem"]})
    asked = asked_by(str(repeating.command(hasty.folder, recipe, DETECTION)), monkeypatch, hasty)
    own = {name: asked[name] for name in ("data", "model", "neck", "head", "weights")}
    assert own == {
        "data": recipe.data, "model": "shufflenet_v2_x0_5", "neck": "fpn", "head": "free", "weights": None}  # fmt: skip
    repeated = detection_recipe(recipe.data, recipe.size).changed(asked["changes"])
    assert repeated.changed({"model": recipe.model, "data": recipe.data}) == recipe
    (tmp_path / "start.safetensors").touch()
    shutil.copy(hasty.folder / "data.json", tmp_path)
    asked = asked_by(str(repeating.command(tmp_path, recipe, DETECTION)), monkeypatch, hasty)
    assert asked["weights"] == tmp_path / "start.safetensors"
    assert asked["model"] is asked["neck"] is asked["head"] is None


def test_what_has_no_name_cannot_be_asked_for(hasty: fb.Run) -> None:
    row = hasty.recipe.model
    for column, value in (
        ("neck", {**row["neck"], "widths": [8, 16, 32]}),
        ("backbone", {**row["backbone"], "stem_stride": 2}),
    ):
        recipe = hasty.recipe.changed({"model": {**row, column: value}})
        assert repeating.command(hasty.folder, recipe, DETECTION) is None


@pytest.mark.slow
def test_any_run_is_repeated_in_python(hasty: fb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changes = {**QUICK_BOXES, "epochs": 1}
    tuned = fb.train(hasty.recipe.data, weights=hasty.folder, out=tmp_path / "tuned", changes=changes, quiet=True)
    for run in (hasty, tuned):
        exec(seen(run.folder / "run.html")["python"], {})  # noqa: S102
        (again,) = (tmp_path / "runs").iterdir()
        for name in ("recipe.json", "model.safetensors"):
            assert (again / name).read_bytes() == (run.folder / name).read_bytes()
        shutil.rmtree(again)
