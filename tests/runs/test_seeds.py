"""Several seeds: whole runs with one split, their range, and going on after a stop anywhere."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.boxes import BOXES_MODEL, SHORT_BOXES, draw_boxes
from helpers.browser import Opens
from helpers.cli import Cli
from helpers.runs import seen
from helpers.training import QUICK, history, same_weights

import featherbone as fb
from featherbone.runs import identity
from featherbone.runs.seed_runs import ScoreRange
from featherbone.training.callbacks import History

FEW = {**QUICK, "epochs": 2, "batch_size": 16, "lr": 0.05}


def seeds_of(colours: Path, out: Path, seeds: int = 3, **options: Any) -> fb.SeedRuns:
    found = fb.train(colours, out=out, seeds=seeds, changes=options.pop("changes", FEW), quiet=True, **options)
    assert isinstance(found, fb.SeedRuns)
    return found


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> fb.SeedRuns:
    """Three seeds, beginning with seed 4."""
    from helpers.images import draw_classes

    place = tmp_path_factory.mktemp("several")
    return seeds_of(draw_classes(place / "colours"), place / "out", changes={**FEW, "seed": 4})


def copied(several: fb.SeedRuns, out: Path, *, finished: int, begun: bool = False) -> Path:
    """Return a copy as it is after a stop: so many runs are finished, and the next one has begun or has not."""
    shutil.copytree(several.folder, out)
    for name in ("scores.json", "seeds.html"):
        (out / name).unlink()
    for run in several.runs[finished + begun :]:
        shutil.rmtree(out / run.folder.name)
    if begun:
        place = out / several.runs[finished].folder.name
        for name in ("result.json", "model.safetensors", "best.safetensors", "run.html"):
            (place / name).unlink()
        max((place / "checkpoints").glob("*.ckpt")).unlink()
    return out


def test_a_range_is_mean_lowest_and_highest() -> None:
    assert ScoreRange.of((0.5, 0.25, 0.75)) == ScoreRange(0.5, 0.25, 0.75, (0.5, 0.25, 0.75))


def test_each_seed_is_a_whole_run_on_one_split(several: fb.SeedRuns, tmp_path: Path) -> None:
    assert several.seeds == (4, 5, 6)
    assert [run.folder.name for run in several.runs] == ["seed_4", "seed_5", "seed_6"]
    facts = [json.loads((run.folder / "data.json").read_text()) for run in several.runs]
    assert len({one["fingerprint"] for one in facts}) == 1
    recipes = [run.recipe.to_dict() for run in several.runs]
    assert [one.pop("seed") for one in recipes] == [4, 5, 6]
    assert recipes[0] == recipes[1] == recipes[2]
    assert recipes[0]["split_seed"] == 4
    assert not same_weights(several.runs[0].folder, several.runs[1].folder)
    alone = fb.train(several.runs[0].recipe.data, out=tmp_path / "run", changes={**FEW, "seed": 4}, quiet=True)
    assert same_weights(alone.folder, several.runs[0].folder)
    again = fb.train(alone.recipe.data, out=tmp_path / "again", recipe=several.runs[2].recipe, quiet=True)
    assert same_weights(again.folder, several.runs[2].folder)


def test_their_range_is_in_a_file_and_on_a_page(several: fb.SeedRuns, opened: Opens, tmp_path: Path) -> None:
    reached = tuple(run.test_top1 for run in several.runs)
    top1 = several.scores["top1"]
    assert (top1.low, top1.high, top1.values) == (min(reached), max(reached), reached)
    assert top1.mean == pytest.approx(sum(reached) / 3)
    stored = json.loads((several.folder / "scores.json").read_text())
    assert stored["seeds"] == [4, 5, 6]
    assert stored["scores"]["top1"]["values"] == list(reached)
    assert stored["runs"] == ["seed_4", "seed_5", "seed_6"]
    assert several.summary[0] == "held-out top-1"
    assert several.summary[1].startswith(f"mean {top1.mean:.2%}, {top1.low:.2%} to {top1.high:.2%} (3 seeds, ")
    moved = shutil.copytree(several.folder, tmp_path / "moved")
    with opened(Path(moved) / "seeds.html", width=390) as page:
        assert page.locator("h1").inner_text() == "shufflenet_v2_x0_5 on colours with 3 seeds"
        assert page.locator("#seeds tbody tr").count() == 3 + 3
        assert f"{100 * top1.mean:.2f} %" in page.locator("#facts").inner_text()
        assert page.locator("#curves svg").count() == 3
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator("#seeds a").nth(1).click()
        assert page.locator("h1").inner_text() == "shufflenet_v2_x0_5 on colours"


def test_finished_seeds_are_kept_and_the_others_go_on_to_the_bit(several: fb.SeedRuns, tmp_path: Path) -> None:
    for number, (finished, begun) in enumerate(((1, True), (2, False), (0, True), (3, False))):
        out = copied(several, tmp_path / str(number), finished=finished, begun=begun)
        kept = [(run.stat().st_mtime_ns, run) for run in out.glob("seed_*/model.safetensors")]
        again = fb.resume_seeds(out, quiet=True)
        assert all(run.stat().st_mtime_ns == time for time, run in kept)
        assert again.scores == several.scores
        assert all(same_weights(a.folder, b.folder) for a, b in zip(again.runs, several.runs, strict=True))
        assert [history(run.folder) for run in again.runs] == [history(run.folder) for run in several.runs]
        with pytest.raises(fb.InputError, match="are finished"):
            fb.resume_seeds(out)


def test_a_stop_names_the_folder_of_all(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = seeds_of(colours, tmp_path / "whole", 2)
    undisturbed = History.on_train_epoch_end

    def interrupted(self: History, trainer: Any, learner: Any) -> None:
        undisturbed(self, trainer, learner)
        if learner.recipe.seed == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(fb.InterruptedRunError) as stopped:
        patch.setattr(History, "on_train_epoch_end", interrupted)
        seeds_of(colours, tmp_path / "out", 2)
    assert stopped.value.folder == tmp_path / "out"
    with pytest.raises(fb.InputError, match="a run for each of several seeds"):
        fb.resume(tmp_path / "out")
    with pytest.raises(fb.InputError, match="a run for each of several seeds: name one of them"):
        fb.load(tmp_path / "out")
    said: list[str] = []
    again = fb.resume_seeds(tmp_path / "out", quiet=True, log=said.append)
    assert said[0] == "seed     1, run 2 of 2"
    assert again.scores == whole.scores
    assert same_weights(again.runs[1].folder, whole.runs[1].folder)


def test_a_stop_while_a_later_run_is_prepared_can_be_gone_on_from(
    several: fb.SeedRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied(several, tmp_path / "out", finished=2)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(fb.InterruptedRunError) as stopped:
        patch.setattr("featherbone.runs.single.prepare", stop)
        fb.resume_seeds(out, quiet=True)
    assert stopped.value.folder == out
    assert not (out / "seed_6").exists()
    assert fb.resume_seeds(out, quiet=True).scores == several.scores


def test_what_has_changed_meanwhile_is_refused_or_named(
    several: fb.SeedRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied(several, tmp_path / "out", finished=2)
    environment = identity.environment
    monkeypatch.setattr(identity, "environment", lambda *given: {**environment(*given), "torch": "9.9"})
    with pytest.raises(fb.InputError, match=r"would not go on as they began: torch .* -> 9\.9"):
        fb.resume_seeds(out, quiet=True)
    again = fb.resume_seeds(out, accept_changes=True, quiet=True)
    assert len(again.changes) == 1
    assert json.loads((out / "scores.json").read_text())["changes"] == list(again.changes)
    assert seen(out / "seeds.html")["changes"] == list(again.changes)


def test_other_images_are_refused(colours: Path, tmp_path: Path) -> None:
    several = seeds_of(colours, tmp_path / "whole", 2, changes={**FEW, "epochs": 1})
    out = copied(several, tmp_path / "out", finished=1)
    next(colours.rglob("*.png")).unlink()
    with pytest.raises(fb.InputError, match="are not those that the run"):
        fb.resume_seeds(out, quiet=True)


def test_a_fraction_is_drawn_by_each_seed_from_the_same_images(colours: Path, tmp_path: Path) -> None:
    few = {**FEW, "epochs": 1, "batch_size": 4, "fraction": 0.3}
    several = seeds_of(colours, tmp_path / "out", 2, changes=few)
    files = [{*(run.folder / "files.csv").read_text().splitlines()} for run in several.runs]
    assert [len(one) for one in files] == [1 + 12 + 9] * 2
    assert len(files[0] & files[1]) >= 1 + 9  # those held out
    assert files[0] != files[1]


def test_weights_and_rows_of_ones_own_are_those_of_every_seed(colours: Path, finished: fb.Run, tmp_path: Path) -> None:
    changes = {**FEW, "epochs": 1}
    weights = shutil.copy(finished.folder / "model.safetensors", tmp_path / "start.safetensors")
    (colours / "green").rename(colours / "x")  # other classes: a new classifier, drawn by each seed
    several = seeds_of(colours, tmp_path / "out", 2, weights=weights, changes=changes)
    one, other = (fb.load(run.folder / "start.safetensors").state_dict() for run in several.runs)
    different = {name.split(".")[0] for name in one if not torch.equal(one[name], other[name])}
    assert different == {"head"}
    out = copied(several, tmp_path / "again", finished=1)
    again = fb.resume_seeds(out, quiet=True)
    assert same_weights(again.runs[1].folder, several.runs[1].folder)
    out = copied(several, tmp_path / "changed", finished=1)
    Path(weights).unlink()
    shutil.copy(several.runs[0].folder / "model.safetensors", weights)
    with pytest.raises(fb.InputError, match="the weights in .* have changed"):
        fb.resume_seeds(out, quiet=True)

    row = replace(fb.spec("densenet121"), growth_rate=4, layers=(1, 1), stem_channels=8)  # type: ignore[call-arg]
    several = seeds_of(colours, tmp_path / "own", 2, model=row, changes=changes)
    out = copied(several, tmp_path / "own again", finished=1)
    again = fb.resume_seeds(out, quiet=True)
    assert again.runs[1].recipe == several.runs[1].recipe
    assert same_weights(again.runs[1].folder, several.runs[1].folder)


def test_detectors_have_seeds_too(tmp_path: Path) -> None:
    shapes = draw_boxes(tmp_path / "shapes")
    changes = {**SHORT_BOXES, "epochs": 1}
    neck = fb.neck_spec("fpn")
    several = seeds_of(shapes, tmp_path / "out", 2, model=BOXES_MODEL, neck=neck, head="anchors", changes=changes)
    assert {*several.scores} == {"ap", "ap50", "ap75"}
    again = fb.resume_seeds(copied(several, tmp_path / "again", finished=1), quiet=True)
    assert same_weights(again.runs[1].folder, several.runs[1].folder)


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "3", None])
def test_numbers_that_count_no_seeds_are_refused(wrong: Any, colours: Path, tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match=r"seeds=.* is not allowed: how many, a whole number, 1 or more"):
        fb.train(colours, out=tmp_path / "out", seeds=wrong, quiet=True)
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_of_what_has_not_begun_and_nothing_is_replaced(
    several: fb.SeedRuns, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(fb.InputError, match="epochs=0"):
        seeds_of(colours, tmp_path / "new" / "out", changes={"epochs": 0})
    with pytest.raises(fb.InputError, match="size=4 is too small"):
        seeds_of(colours, tmp_path / "new" / "out", changes={**FEW, "size": 4})
    with pytest.raises(fb.InputError, match="seed="):
        seeds_of(colours, tmp_path / "new" / "out", changes={**FEW, "seed": (1 << 63) - 2})
    assert not (tmp_path / "new").exists()
    with pytest.raises(fb.InputError, match="holds seed_4, seed_5, seed_6, scores.json, seeds.html already"):
        seeds_of(colours, several.folder)
    with pytest.raises(fb.InputError, match=r"holds seeds\.json already"):
        fb.train(colours, out=several.folder, changes=FEW, quiet=True)
    with pytest.raises(fb.InputError, match="holds a run already"):
        seeds_of(colours, several.runs[0].folder)
    with pytest.raises(fb.InputError, match="lies inside the data"):
        seeds_of(colours, colours / "out")
    with pytest.raises(fb.InputError, match="holds no runs of several seeds"):
        fb.resume_seeds(tmp_path)
    killed = tmp_path / "killed"  # before its first run had begun
    (killed / "seed_0").mkdir(parents=True)
    for place in (killed, killed / "seed_0"):
        (place / "writer.json").write_text("{}")
    shutil.copy(several.folder / "seeds.json", killed)
    with pytest.raises(fb.InputError, match="no run has begun: train once more"):
        fb.resume_seeds(killed)
    assert seeds_of(colours, killed, 2, changes={**FEW, "epochs": 1}).seeds == (0, 1)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(fb.InputError, match="several seeds are not allowed with 2 processes"):
        seeds_of(colours, tmp_path / "team")


def test_the_command_line_prints_mean_and_range_and_goes_on(colours: Path, tmp_path: Path, cli: Cli) -> None:
    columns = [word for name, value in FEW.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    code, out, err = cli("train", colours, "--seeds", 2, "--out", tmp_path / "out", *columns)
    assert code == 0, err
    assert "held-out top-1  mean " in out
    assert "(2 seeds, 9 images)" in out
    assert [line.split()[0] for line in out.splitlines() if line[:1].isdigit()] == ["0", "1"]
    assert "lowest" in out
    assert "seed     1, run 2 of 2" in err
    for name in ("scores.json", "seeds.html"):
        (tmp_path / "out" / name).unlink()
    code, out, err = cli("train", "--resume", tmp_path / "out", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["seeds"] == [0, 1]
    assert {*told["scores"]["top1"]} == {"mean", "low", "high", "values"}
    assert len(told["runs"]) == 2
    code, _, err = cli("train", "--resume", tmp_path / "out", "--seeds", 3)
    assert (code, "leave out seeds" in err) == (2, True)
    code, _, err = cli("train", colours, "--seeds", 0)
    assert code == 2
    assert "seeds=0 is not allowed" in err
