"""Recipes: what they say of learning is what happens."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.training import QUICK, evaluated
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import featherbone as fb
from featherbone.data.dataset import Dataset
from featherbone.data.sampler import EpochBatches
from featherbone.training import classification_recipe
from featherbone.training.classification import ClassificationLearner
from featherbone.training.learner import averaged
from featherbone.training.optimizer import optimizer_for, parameter_groups, sections, share_of_lr
from featherbone.training.recipe import RENAMED
from featherbone.training.recipes import RECIPES, recipe_named


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json_and_says_how_it_is_run(name: str) -> None:
    recipe = recipe_named(name)
    assert fb.Recipe.from_dict(recipe.to_dict()) == recipe
    text = Path(fb.__file__).parent.joinpath("training", "recipes", f"{name}.py").read_text()
    assert "Command:" in text
    assert "Hardware:" in text


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*fb.Recipe().to_dict(), "averaging", "mixpu"]), ANYTHING, max_size=4))
@pytest.mark.filterwarnings("ignore:a recipe has older names")
def test_any_value_in_any_column_is_taken_as_it_is_or_refused_in_a_sentence(values: dict[str, Any]) -> None:
    try:
        recipe = fb.Recipe.from_dict(values)
    except fb.InputError as error:
        said = str(error)
    else:
        assert fb.Recipe.from_dict(json.loads(json.dumps(recipe.to_dict(), allow_nan=False))) == recipe
        return
    assert any(RENAMED.get(name, name) in said for name in values)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("mixup", "abc", "'abc' is not allowed: a finite number"),
        ("mixup", True, "a finite number"),
        ("lr", float("inf"), "a finite number"),
        ("epochs", 1.5, "a whole number"),
        ("compile", 1, "true or false"),
        ("freeze", "stem", "a list of texts"),
        ("milestones", ["0.5"], "a list of numbers"),
        ("workers", 5000, "0 to 256"),
        ("precision", 3, "a text"),
        ("model", 3, "the row of a network"),
    ],
)
def test_the_type_of_a_column_is_looked_at_before_its_range(column: str, value: object, said: str) -> None:
    with pytest.raises(fb.InputError, match=f"^{column}=.*{said}"):
        fb.Recipe().changed({column: value})


def test_a_column_under_both_of_its_names_is_refused() -> None:
    with pytest.warns(UserWarning, match="'averaging' is 'ema_decay' now"):
        assert fb.Recipe.from_dict({"averaging": 0.5}).ema_decay == 0.5
    with (
        pytest.warns(UserWarning, match="now"),
        pytest.raises(fb.InputError, match="'averaging' and 'ema_decay'"),
    ):
        fb.Recipe.from_dict({"averaging": 0.5, "ema_decay": 0.9})


def test_an_unknown_recipe() -> None:
    with pytest.raises(fb.InputError, match=r"recipe='dense' is not allowed.*densenet"):
        recipe_named("dense")


@given(
    name=st.sampled_from(sorted(RECIPES)),
    steps=st.integers(2, 400),
    schedule=st.sampled_from(["cosine", "linear", "polynomial", "steps"]),
)
def test_the_learning_rate_rises_then_never_rises_again(name: str, steps: int, schedule: str) -> None:
    recipe = RECIPES[name].changed({"schedule": schedule})
    rates = [share_of_lr(recipe, step, steps) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 <= rate <= 1 for rate in rates)
    assert max(rates) == pytest.approx(1.0)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_the_papers_schedules() -> None:
    dense = RECIPES["densenet"]
    assert [share_of_lr(dense, epoch, 300) for epoch in (0, 149, 150, 224, 225, 299)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    assert share_of_lr(RECIPES["shufflenet"], 75_000, 300_000) == pytest.approx(0.75)
    csp = RECIPES["cspnet"]
    assert share_of_lr(csp, 0, 800_000) == pytest.approx(1 / 1000)
    assert share_of_lr(csp, 1000 + 799_000 // 2, 800_000) == pytest.approx(0.5**4, rel=1e-3)


def test_groups_of_weights() -> None:
    model = fb.create_model("vovnet27_slim", num_classes=3)
    recipe = fb.Recipe(layer_decay=0.5, freeze=("stem",), weight_decay=0.1)
    groups = parameter_groups(model, recipe)
    names = [name for name, _ in sections(model)]
    assert names == ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"]
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}  # type: ignore[attr-defined]
    for depth, (name, section) in enumerate(reversed(sections(model))):
        for weight in section.parameters():
            assert rates.get(id(weight)) == (None if name == "stem" else pytest.approx(0.1 * 0.5**depth))
    for group in groups:
        assert all((weight.ndim > 1) == (group["weight_decay"] == 0.1) for weight in group["params"])  # type: ignore[attr-defined]
    assert {group["weight_decay"] for group in parameter_groups(model, recipe.changed({"decay_norms": True}))} == {0.1}
    assert isinstance(optimizer_for(model, recipe.changed({"optimizer": "adamw"})), torch.optim.AdamW)
    with pytest.raises(fb.InputError, match=r"freeze='stage.0' is not allowed.*stages.0"):
        parameter_groups(model, recipe.changed({"freeze": ["stage.0"]}))
    with pytest.raises(fb.InputError, match="leaves nothing to learn"):
        parameter_groups(model, recipe.changed({"freeze": ["stem", "stages", "head"]}))


def test_the_average_follows_weights_and_statistics() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = averaged(model, 0.9)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step in range(20):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(1)
        average.update_parameters(model)
        decay = 0.0 if not step else min(0.9, (1 + step) / (10 + step))  # the first one is a copy
        for name, now in model.state_dict().items():
            expected[name] = expected[name] * decay + now * (1 - decay) if now.is_floating_point() else now.clone()
    for name, tensor in average.module.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])


class Constant(nn.Module):
    """Gives its weights, whatever it sees."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, x: Tensor) -> Tensor:
        return self.values.expand(len(x), -1)


def test_distillation_is_the_difference_of_softened_answers() -> None:
    images = Dataset((Path("a"),) * 4, (0, 1, 0, 1))
    student, teacher = Constant([1.0, 0.0]), Constant([0.0, 3.0])
    recipe = fb.Recipe(distill_weight=0.25, temperature=3.0, label_smoothing=0.0, channels_last=False)
    task = ClassificationLearner(student, recipe, ("a", "b"), images, EpochBatches(images, 4), teacher)
    pixels, labels = torch.zeros(2, 3, 4, 4), torch.tensor([0, 1])
    hard = F.cross_entropy(student(pixels), labels, reduction="none")
    found = task._taught(pixels, student(pixels), hard)
    given, wanted = ((net.values / 3).softmax(0) for net in (student, teacher))
    apart = 9 * (wanted * (wanted / given).log()).sum()
    torch.testing.assert_close(found, 0.75 * hard + 0.25 * apart)
    assert not any("teacher" in name or "_beside" in name for name in task.state_dict())


def test_fine_tuning_starts_from_weights_and_leaves_alone_what_is_frozen(
    finished: fb.Run, colours: Path, tmp_path: Path
) -> None:
    changes = {**QUICK, "epochs": 2, "freeze": ["stem", "stages.0"], "freeze_epochs": 1}
    (colours / "green").rename(colours / "x")  # other classes: a new classifier
    run = fb.train(colours, weights=finished.folder, out=tmp_path / "run", changes=changes, quiet=True)
    before, after = fb.load(finished.folder, fb.Backbone), fb.load(run.folder, fb.Backbone)
    assert after.spec == before.spec
    for part in ("stem", "stages.0"):
        for name, tensor in before.get_submodule(part).state_dict().items():
            assert torch.equal(after.get_submodule(part).state_dict()[name], tensor), name
    assert any(
        not torch.equal(tensor, after.stages[1].state_dict()[name])
        for name, tensor in before.stages[1].state_dict().items()
    )
    with pytest.raises(fb.InputError, match="are those of another network"):
        fb.train(colours, "vovnet39", weights=finished.folder, out=tmp_path / "other", quiet=True)


def test_in_its_first_epochs_only_the_head_learns(finished: fb.Run, tmp_path: Path) -> None:
    changes = {**QUICK, "epochs": 1, "freeze_epochs": 1}
    run = fb.train(finished.recipe.data, weights=finished.folder, out=tmp_path / "run", changes=changes, quiet=True)
    before, after = fb.load(finished.folder).state_dict(), fb.load(run.folder).state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"head"}


def test_learning_from_a_teacher(finished: fb.Run, tmp_path: Path) -> None:
    data, changes = finished.recipe.data, {**QUICK, "epochs": 1}
    run = fb.train(data, out=tmp_path / "run", teacher=finished.folder, changes=changes, quiet=True)
    assert run.recipe.teacher == str(finished.folder)
    module = fb.load(finished.folder)
    other = fb.train(data, out=tmp_path / "module", teacher=module, changes=changes, quiet=True)
    same = zip(fb.load(run.folder).state_dict().values(), fb.load(other.folder).state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    (other.folder / "result.json").unlink()
    with pytest.raises(fb.InputError, match="give it again"):
        fb.resume(other.folder, quiet=True)
    assert fb.resume(other.folder, teacher=module, quiet=True).test_top1 == other.test_top1
    with pytest.raises(fb.InputError, match="knows other classes than the data"):
        fb.train("digits", out=tmp_path / "digits", teacher=finished.folder, changes=changes, quiet=True)


@pytest.mark.slow
def test_a_run_without_progress_stops_and_gives_its_best(finished: fb.Run, tmp_path: Path) -> None:
    changes = {**QUICK, "epochs": 30, "patience": 5}
    run = fb.train(finished.recipe.data, out=tmp_path / "run", changes=changes, quiet=True)
    lines = (run.folder / "history.csv").read_text().splitlines()[1:]
    reached = [float(line.split(",")[4]) for line in lines]
    assert len(reached) < 30
    assert run.test_top1 == pytest.approx(max(reached), abs=1e-6)
    assert max(reached[-5:]) <= max(reached[:-5])
    assert evaluated(run.folder).top1 == pytest.approx(run.test_top1, abs=1e-6)
    assert run.test_top1 > 0.5  # it had learned before it stopped


@pytest.mark.parametrize("name", ["densenet", "modern"])
def test_a_named_recipe_trains(name: str, colours: Path, tmp_path: Path) -> None:
    changes = {"epochs": 1, "batch_size": 8, "workers": 0, "precision": "f32", "channels_last": True}
    run = fb.train(colours, out=tmp_path / "run", recipe=name, changes=changes, quiet=True)
    assert run.recipe.optimizer == RECIPES[name].optimizer
    assert len((run.folder / "history.csv").read_text().splitlines()) == 2


def test_the_recipe_suits_the_data() -> None:
    assert classification_recipe("digits", 16).flip == 0.0
    assert classification_recipe("photos", 32).crop_pct == 1.0
    assert classification_recipe("photos", 224).crop_pct == 0.875


@pytest.mark.parametrize("size", [32, 224])
def test_what_knows_something_learns_in_smaller_steps(size: int) -> None:
    scratch, trained = (classification_recipe("photos", size, trained=known) for known in (False, True))
    assert {"lr", "optimizer"} <= scratch.differences(trained).keys() <= {"lr", "optimizer", "momentum"}
    assert (scratch.optimizer, trained.optimizer) == ("muon", "sgd")
    assert trained.lr <= scratch.lr / 5


@pytest.mark.parametrize(("images", "batch"), [(3, 8), (100, 8), (300, 16), (512, 32), (2_000, 32), (50_000, 32)])
def test_few_images_have_small_batches_and_enough_steps(images: int, batch: int) -> None:
    usual = classification_recipe("photos", 224)
    recipe = classification_recipe("photos", 224, images=images)
    assert recipe.batch_size == batch
    steps = recipe.epochs * math.ceil(images / batch)
    assert steps >= 1000
    assert recipe.epochs == usual.epochs or steps - 1000 < math.ceil(images / batch)
    assert usual.differences(recipe).keys() <= {"batch_size", "epochs"}


def test_the_first_lines_name_the_recipe_of_trained_weights(colours: Path, finished: fb.Run, tmp_path: Path) -> None:
    said: list[str] = []
    quick = {name: QUICK[name] for name in ("batch_size", "precision", "channels_last", "workers")}
    fb.train(colours, weights=finished, out=tmp_path / "a", changes={**quick, "epochs": 1}, log=said.append, quiet=True)
    (line,) = [line for line in said if line.startswith("recipe ")]
    assert (
        line.split(None, 1)[1]
        == "transfer, but epochs 1 (not 30), batch_size 8 (not 32), crop_min 0.5 (not 0.25), crop_pct 1 (not 0.875)"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"warmup": 1.0},
        {"crop_min": 0.0},
        {"flip": 1.5},
        {"precision": "fp8"},
        {"weight_decay": -1.0},
        {"val_fraction": 1.0},
        {"workers": -1},
    ],
)
def test_wrong_recipes_are_refused(wrong: dict[str, object]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(fb.InputError, match=f"{name}={value!r} is not allowed"):
        fb.Recipe.from_dict(wrong)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ({"optimizer": "adamw"}, "lr=0.1 is not allowed: with optimizer=adamw"),
        ({"optimizer": "adamw", "lr": 0.025}, "lr=0.025 is not allowed: with optimizer=adamw"),  # Muon's usual one
        ({"optimizer": "muon", "lr": 1.0}, "lr=1.0 is not allowed: with optimizer=muon"),
        ({"schedule": "steps", "milestones": [0.1, 0.5]}, "none before the end of warmup=0.15"),
        ({"patience": 2, "freeze_epochs": 2}, "patience=2 is not allowed: more than freeze_epochs=2"),
        ({"mixup": 0.2, "batch_size": 1}, "mixup=0.2 is not allowed: 0 with batch_size=1"),
        ({"cutmix": 1.0, "batch_size": 1}, "cutmix=1.0 is not allowed: 0 with batch_size=1"),
        ({"power": 2.0}, "power=2.0 is not allowed: 4.0, as it changes nothing without schedule=polynomial"),
        ({"milestones": [0.6]}, "changes nothing without schedule=steps"),
        ({"temperature": 4.0}, "temperature=4.0 is not allowed: 2.0, as it changes nothing without a teacher"),
        ({"distill_weight": 0.9}, "changes nothing without a teacher"),
    ],
)
def test_columns_that_are_wrong_or_idle_together_are_refused_before_a_run(pair: dict[str, object], said: str) -> None:
    recipe = fb.Recipe.from_dict(pair)  # an older run may have it, and is read
    with pytest.raises(fb.InputError, match=said):
        recipe.check_for("classification")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_begins(name: str) -> None:
    RECIPES[name].check_for("detection" if name in ("detection", "scratch") else "classification")
