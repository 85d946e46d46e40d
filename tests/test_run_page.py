"""The page of a run: what it says, in a real browser, whatever classes and files are called."""

import base64
import inspect
import io
import itertools
import json
import shlex
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from conftest import QUICK
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from torchmetrics.functional.classification import multiclass_calibration_error
from typer.testing import CliRunner

import featherbone as fb
from featherbone.cli import training as command_line
from featherbone.cli.app import app
from featherbone.data.sets import ImageSet
from featherbone.report.run_page import run_html, thumbnail
from featherbone.spec import spec_to_dict
from featherbone.train import evaluate, recipe_for
from featherbone.train.evaluate import Outputs
from featherbone.verbs import reporting

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = ("<b>blue<!--<script>", "green\" onload='alert(1)", "red &amp; \u202eder")
HOSTILE_FILE = "<img src=x onerror=alert(1)>.png"


class Opens(Protocol):
    def __call__(self, page: Path, *, width: int = 1300, dark: bool = False) -> AbstractContextManager[Page]: ...


@pytest.fixture(scope="module")
def opened() -> Iterator[Opens]:
    """Open pages in a real browser without a net; a word on the console or a request fails the test."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        @contextmanager
        def opening(page: Path, *, width: int = 1300, dark: bool = False) -> Iterator[Page]:
            said: list[str] = []
            tab = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
            ).new_page()
            tab.on("console", lambda message: said.append(message.text))
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.on("dialog", lambda dialog: said.append(dialog.message))
            tab.on("request", lambda asked: said.append(asked.url) if asked.url.startswith("http") else None)
            tab.goto(page.as_uri())
            tab.wait_for_selector("nav a")
            yield tab
            tab.context.close()
            assert said == []

        yield opening
        browser.close()


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> fb.Run:
    """A run that has hardly begun to learn, on images whose names are hostile."""
    place = tmp_path_factory.mktemp("short")
    random = np.random.default_rng(0)
    for label, name in enumerate(HOSTILE):
        folder = place / "colours" / name
        folder.mkdir(parents=True)
        for i in range(10):
            pixels = random.integers(0, 50, (16, 16, 3), dtype=np.uint8)
            pixels[..., label] += 160
            Image.fromarray(pixels).save(folder / f"{i}{HOSTILE_FILE}")
    (folder / "notes.txt").write_text("no picture")
    return fb.train(place / "colours", out=place / "run", changes={**QUICK, "epochs": 2}, quiet=True)


def invented(folder: Path, classes: int, images: int = 300, rows: int = 5) -> tuple[Path, Outputs]:
    """Write the folder of a run that never was, and invent what its network says of grey images."""
    random = np.random.default_rng(classes)
    names = tuple(f"class {label:03}" for label in range(classes))
    model = fb.create_model("shufflenet_v2_x0_5", num_classes=classes, in_chans=1, stem_stride=1)
    fb.save(model, folder / "model.safetensors", classes=names, preprocess=fb.Preprocess.usual(32, 1))
    recipe = fb.Recipe(data="/nowhere", size=32, model=spec_to_dict(model.spec), epochs=rows)
    data = {"classes": names, "train_images": 1000, "val_images": images, "fingerprint": "", "skipped": []}
    outputs = Outputs(
        ImageSet.of([(random.integers(0, 256, (8, 8), dtype=np.uint8), i % classes) for i in range(images)]),
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


@pytest.fixture
def page_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write the page of an invented run."""

    def write(run: Path, outputs: Outputs) -> Path:
        monkeypatch.setattr(evaluate, "classifier_outputs", lambda *_, **__: outputs)
        return fb.run_page(run, images=outputs.images, quiet=True)

    return write


def cells(page: Page, table: str, column: int) -> list[str]:
    return page.locator(f"{table} tbody tr td:nth-child({column})").all_inner_texts()


@pytest.mark.parametrize("look", ["wide", "narrow", "dark"])
def test_the_page_of_a_run_with_hostile_names(short: fb.Run, opened: Opens, tmp_path: Path, look: str) -> None:
    written = fb.run_page(short.folder, tmp_path / "page.html", quiet=True)
    assert written.stat().st_size < 400_000
    result = fb.evaluate(short.folder, quiet=True)
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


def test_curves_tell_their_values_and_the_best_epoch(opened: Opens, tmp_path: Path, page_of: Any) -> None:
    written = page_of(*invented(tmp_path, 10))
    with opened(written) as page:
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
def test_confusions_are_pointed_at_and_chosen(opened: Opens, tmp_path: Path, page_of: Any, classes: int) -> None:
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


def test_classes_are_sorted_and_filtered(opened: Opens, tmp_path: Path, page_of: Any) -> None:
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


def test_mistakes_and_doubts_are_pictured_once_and_few(tmp_path: Path, page_of: Any) -> None:
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


def seen(page: Path) -> dict[str, Any]:
    """Return the values inside a page."""
    text = page.read_text(encoding="utf-8")
    inside = text.partition('type="application/json">')[2].partition("</script>")[0]
    assert "<" not in inside
    return json.loads(inside)


def test_a_network_without_mistakes(opened: Opens, tmp_path: Path, page_of: Any) -> None:
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
        assert page.locator("nav a").all_inner_texts() == ["Curves", "Recipe"]
        assert not page.locator("#mistakes").is_visible()
        assert f"featherbone train {colours}" in page.locator("#command").inner_text()


def test_images_that_vanish_meanwhile_are_said(tmp_path: Path) -> None:
    run, _ = invented(tmp_path, 3)
    gone = ImageSet((tmp_path / "gone.png",) * 300, (0, 1, 2) * 100)
    assert "gone.png" in seen(fb.run_page(run, images=gone, quiet=True))["missing"]


def test_one_picture_that_is_gone_is_said_in_its_place(opened: Opens, tmp_path: Path, page_of: Any) -> None:
    run, outputs = invented(tmp_path, 3)
    places = tuple(tmp_path / "gone" / f"{i}.png" for i in range(300))
    with opened(page_of(run, replace(outputs, images=replace(outputs.images, sources=places)))) as page:
        assert "no picture: " in page.locator("#mistakes .shot").first.inner_text()
        assert page.locator("#mistakes img").count() == 0


def test_one_epoch_and_odd_histories(opened: Opens, tmp_path: Path, page_of: Any) -> None:
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


def test_what_gets_no_page(short: fb.Run, tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match="run=.*nothing.* is not allowed: the folder of a finished run"):
        fb.run_page(tmp_path / "nothing")
    with pytest.raises(fb.InputError, match=r"out=.*page.pdf is not allowed: a file that ends in .html"):
        fb.run_page(short.folder, tmp_path / "page.pdf")
    shutil.copytree(short.folder, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(fb.InputError, match="did not finish"):
        fb.run_page(tmp_path / "run")


@given(st.integers(2, 6), st.integers(0, 1000), st.floats(0, 30))
def test_the_bins_of_calibration_are_those_of_its_error(classes: int, seed: int, sharpness: float) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(50, classes, generator=random)
    labels = tuple(torch.randint(classes, (50,), generator=random).tolist())
    outputs = Outputs(ImageSet((Path(),) * 50, labels), tuple("abcdef"[:classes]), logits)
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
        address = thumbnail(Image.fromarray(pixels))
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
    command = reporting._command(short.folder, recipe, reporting._name(recipe))
    assert command is not None
    program, *words = shlex.split(command)
    done = CliRunner().invoke(app, words)
    assert (program, done.exit_code) == ("featherbone", 0), done.output
    assert (asked["data"], asked["model"]) == (recipe.data, "shufflenet_v2_x0_5")
    repeated = recipe_for(recipe.data, recipe.size).changed(asked["changes"])
    assert repeated.changed({"model": recipe.model, "data": recipe.data}) == recipe


def test_any_run_is_repeated_in_python(short: fb.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = seen(fb.run_page(short.folder, tmp_path / "page.html", quiet=True))
    assert "--set flip=0.0" in told["command"]
    monkeypatch.chdir(tmp_path)
    exec(told["python"], {})  # noqa: S102
    (again,) = (tmp_path / "runs").iterdir()
    for name in ("recipe.json", "model.safetensors"):
        assert (again / name).read_bytes() == (short.folder / name).read_bytes()


def test_the_page_knows_the_options_of_the_command_line() -> None:
    columns = fb.Recipe().to_dict()
    options = [name for name in inspect.signature(command_line.train).parameters if name in columns]
    assert set(options) - {"data", "model"} == set(reporting._OPTIONS)


def test_networks_are_known_by_their_rows() -> None:
    for name, stem_stride in itertools.product(fb.list_models(), (1, 4)):
        row = fb.spec(name)
        fitted = replace(row, num_classes=7, in_chans=1, stem_stride=min(stem_stride, row.stem_stride))
        assert fb.spec(str(reporting._name(fb.Recipe(model=spec_to_dict(fitted))))) == row, name


def test_a_row_of_ones_own_has_no_name() -> None:
    thin: dict[str, Any] = {"concat_channels": (8, 8, 8, 8)}
    assert reporting._name(fb.Recipe(model=spec_to_dict(replace(fb.spec("vovnet39"), **thin)))) is None


def test_a_network_that_prefers_no_class(tmp_path: Path, page_of: Any) -> None:
    run, outputs = invented(tmp_path, 3)
    told = seen(page_of(run, replace(outputs, logits=torch.zeros(300, 3))))
    assert told["mistaken"] == 200
    assert {tuple(answer["said"]) for answer in told["mistakes"]} == {(0, 1)}
    assert told["calibration"]["error"] == pytest.approx(0, abs=1e-6)
