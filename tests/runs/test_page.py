"""The page of a run in a real browser, whatever classes and files are called."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.browser import Opens
from helpers.families import slow_but
from helpers.images import HOSTILE_FILE
from helpers.runs import invented, page_of, seen
from helpers.training import evaluated
from playwright.sync_api import Page

import featherbone as fb


def cells(page: Page, table: str, column: int) -> list[str]:
    return page.locator(f"{table} tbody tr td:nth-child({column})").all_inner_texts()


@pytest.mark.parametrize("look", slow_but(("wide", "narrow", "dark"), ("narrow",)))
def test_the_page_of_a_run_with_hostile_names(short: fb.Run, opened: Opens, tmp_path: Path, look: str) -> None:
    written = fb.run_page(short.folder, tmp_path / "page.html", quiet=True)
    assert written.stat().st_size < 400_000
    result = evaluated(short.folder)
    with opened(written, width=390 if look == "narrow" else 1300, dark=look == "dark") as page:
        assert page.locator("h1").inner_text() == "shufflenet_v2_x0_5 on colours"
        facts = page.locator("#facts").inner_text()
        assert f"{100 * short.test_top1:.2f} %" in facts
        assert f"torch {torch.__version__}" in facts
        assert sorted(cells(page, "#classes", 1)) == sorted(short.classes)
        assert page.locator("img[src='x'], [onload], [onerror]").count() == 0
        wrong = int(result.confusion.sum() - np.trace(result.confusion))
        assert wrong > 0
        shots = page.locator("#mistakes .shot")
        assert shots.count() == wrong
        assert HOSTILE_FILE in shots.first.inner_text()
        assert (
            shots.first.locator("img").evaluate("async image => { await image.decode(); return image.naturalWidth; }")
            == 16
        )
        assert page.locator("#curves svg").count() == 4  # losses, accuracy, seconds
        assert "notes.txt" in str(page.locator("#skipped").text_content())
        page.locator("#recipe summary").click()
        assert page.locator("#recipe tr", has_text="crop_min").inner_text().split() == ["crop_min", "0.5"]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(20, 23, 26)" if look == "dark" else "rgb(255, 255, 255)")


def test_curves_tell_their_values_and_the_best_epoch(opened: Opens, tmp_path: Path) -> None:
    with opened(page_of(*invented(tmp_path, 10))) as page:
        titles = page.locator("#curves figcaption").all_inner_texts()
        assert [title.split("\n")[0].split("training")[0] for title in titles] == [
            "Loss", "Held-out accuracy", "Learning rate", "Momentum used"]  # fmt: skip
        assert "3 of 5 (90.00 % top-1); the last: 70.00 % top-1" in page.locator("#best").inner_text()
        loss = page.locator("#curves svg").first
        box = loss.bounding_box()
        assert box
        page.mouse.move(box["x"] + 54, box["y"] + 100)  # the first epoch stands at the left edge
        tip = page.locator("#tip")
        assert tip.inner_text().split("\n") == ["epoch 1", "training: 3", "held-out: 5"]
        assert page.locator("#curves svg .at").count() == 4  # in all plots at once
        loss.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert tip.inner_text().split("\n") == ["epoch 3, the best", "training: 1", "held-out: 1.667"]
        page.keyboard.press("Tab")
        assert tip.is_hidden()


@pytest.mark.parametrize("classes", [2, 10, 120])
def test_confusions_are_pointed_at_and_chosen(opened: Opens, tmp_path: Path, classes: int) -> None:
    run, outputs = invented(tmp_path, classes)
    written = page_of(run, outputs)
    assert written.stat().st_size < 500_000
    confusion = outputs.evaluation().confusion
    off = confusion * (1 - np.eye(classes, dtype=int))
    with opened(written) as page:
        assert int(cells(page, "#pairs", 3)[0]) == off.max()
        true, said = np.argwhere(off)[0]
        names = [outputs.classes[true], outputs.classes[said]]
        if classes <= 40:
            assert page.locator("#matrix canvas").count() == 0
            spot = page.locator(f"#matrix [data-cell='{true},{said}']")
            assert page.locator("#matrix [data-cell]").count() == np.count_nonzero(confusion)
            assert page.locator("#matrix .frame").count() == 1  # round the largest, from the beginning
            spot.hover()
        else:
            assert page.locator("#matrix svg").count() == 0
            spot = page.locator("#matrix canvas")
            box = spot.bounding_box()
            assert box
            x, y = (said + 0.5) * box["width"] / classes, (true + 0.5) * box["height"] / classes
            spot.hover(position={"x": x, "y": y})
        said_by_tip = page.locator("#tip").inner_text()
        assert f"true: {names[0]}" in said_by_tip
        assert f"said: {names[1]}" in said_by_tip
        page.mouse.down()
        page.mouse.up()
        chosen = page.locator("#cell").inner_text()
        count = int(off[true, said])
        assert chosen.startswith(f"{count} image{'s' * (count > 1)} of {names[0]} taken for {names[1]}")
        listed = page.locator("#cell .shot, #cell li").count()
        assert listed == count
        page.locator("#pairs tbody button").first.click()
        largest = page.locator("#cell").inner_text()
        assert largest.startswith(f"{off.max()} image")
        page.locator("#pairs tbody button").nth(1).click()
        assert page.locator("#cell").inner_text() != largest


def test_classes_are_sorted_and_filtered(opened: Opens, tmp_path: Path) -> None:
    run, outputs = invented(tmp_path, 120)
    recall = {score.name: score.recall for score in outputs.evaluation().classes}
    with opened(page_of(run, outputs)) as page:
        assert len(cells(page, "#classes", 1)) == 120
        button = page.locator("#classes th button", has_text="recall")
        button.click()
        rising = [recall[name] for name in cells(page, "#classes", 1)]
        assert rising == sorted(rising)
        button.click()
        assert [recall[name] for name in cells(page, "#classes", 1)] == sorted(rising, reverse=True)
        assert page.locator("#classes th[aria-sort='descending']").inner_text().startswith("recall")
        page.locator("#classes input").fill("CLASS 11")
        assert sorted(cells(page, "#classes", 1)) == [f"class {label}" for label in range(110, 120)]


def test_a_network_without_mistakes(opened: Opens, tmp_path: Path) -> None:
    run, outputs = invented(tmp_path, 3)
    outputs.logits[range(300), outputs.labels] += 100
    with opened(page_of(run, replace(outputs))) as page:
        assert page.locator("#mistakes").inner_text().endswith("None: every held-out image got its true class.")
        assert page.locator("#mistakes .shot").count() == 0
        assert page.locator("#unsure .shot").count() == 16
        assert page.locator("#pairs tbody tr").count() == 0


def test_images_that_are_gone_or_changed_are_said_and_the_rest_is_there(
    short: fb.Run, opened: Opens, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(short.folder, run)
    colours = tmp_path / "colours"
    shutil.copytree(short.recipe.data, colours)
    recipe = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps({**recipe, "data": str(colours)}))
    assert "missing" not in seen(fb.run_page(run, quiet=True))  # a data set may be moved
    next(colours.rglob("*.png")).unlink()
    assert "are not those that the run was trained on" in seen(fb.run_page(run, quiet=True))["missing"]
    shutil.rmtree(colours)
    with opened(fb.run_page(run, quiet=True)) as page:
        assert f"no such folder: {colours}" in page.locator("#missing").inner_text()
        assert page.locator("#curves svg").count() == 4
        assert page.locator("nav a").all_inner_texts() == ["Curves", "First batch", "Recipe"]
        assert not page.locator("#mistakes").is_visible()
        assert f"featherbone train {colours}" in page.locator("#command").inner_text()


def test_one_picture_that_is_gone_is_said_in_its_place(opened: Opens, tmp_path: Path) -> None:
    run, outputs = invented(tmp_path, 3)
    places = tuple(tmp_path / "gone" / f"{i}.png" for i in range(300))
    with opened(page_of(run, replace(outputs, images=replace(outputs.images, sources=places)))) as page:
        assert "no picture: " in page.locator("#mistakes .shot").first.inner_text()
        assert page.locator("#mistakes img").count() == 0


def test_one_epoch_and_odd_histories(opened: Opens, tmp_path: Path) -> None:
    run, outputs = invented(tmp_path, 3, rows=1)
    with opened(page_of(run, outputs)) as page:
        assert page.locator("#curves svg").count() == 4
        assert "Best epoch on the held-out images: 1 of 1" in page.locator("#best").inner_text()
    (run / "history.csv").write_text("epoch,train_loss,val_top1\n1,900,\n2,nan,\n3,0.5,\n4,0.4,\n")
    written = page_of(run, outputs)
    assert seen(written)["history"]["train_loss"] == [900, None, 0.5, 0.4]
    with opened(written) as page:
        assert page.locator("#curves figcaption").all_inner_texts() == ["Loss, logarithmic"]
        assert str(page.locator("#curves path").get_attribute("d")).count("M") == 2  # a gap where there is no value
    (run / "history.csv").unlink()
    with opened(page_of(run, outputs)) as page:
        assert not page.locator("#curves").is_visible()
