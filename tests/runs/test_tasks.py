"""A task is a value: one that is thrown away afterwards learns, is evaluated, predicts and has its page."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.browser import Opens
from helpers.cli import Cli
from helpers.runs import seen
from helpers.training import QUICK
from PIL import Image
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError

import featherbone as fb
from featherbone.data.assemble import Assembler
from featherbone.data.dataset import Data, Dataset, ImageInfo, Item, Listing, Skipped, Source
from featherbone.data.image import read_image
from featherbone.data.loader import Pipeline, loader
from featherbone.data.open import Opener
from featherbone.data.transforms import Transform, evaluation_transform
from featherbone.evaluation.report import Evaluation, Outputs, Prediction
from featherbone.report.pages.run import PageSection
from featherbone.runs import tasks
from featherbone.training.learner import Job, Learner, loaders


class RegressionData(Data[float]):
    """Images with a number between 0 and 1 each; the only "class" is what the number is called."""

    def examples(self, count: int) -> list[tuple[int, str]]:
        return [(place, str(place)) for place in range(min(count, len(self.val)))]

    def _bytes(self, target: float) -> Iterator[bytes]:
        yield repr(target).encode()


class NumberAssembler(Assembler[float, float, RegressionData]):
    def classes(self, listing: Listing[float], learned: Sequence[Item[float]]) -> tuple[str, ...]:
        return listing.classes

    def fit(
        self, item: Item[float], info: ImageInfo, listing: Listing[float], labels: Mapping[str, int]
    ) -> tuple[float, Skipped | None]:
        return item.target, None

    def require(
        self,
        listing: Listing[float],
        classes: Sequence[str],
        train: Sequence[tuple[Source, float]],
        val: Sequence[tuple[Source, float]],
        skipped: Sequence[Skipped],
    ) -> None:
        if len(train) < 2:
            raise fb.InputError("two images are needed")

    def strata(self, targets: Sequence[float], classes: Sequence[str]) -> list[tuple[np.ndarray, int]]:
        return [(np.arange(len(targets)), 1)]

    def make(self, listing: Listing[float], infos: Sequence[ImageInfo], **columns: Any) -> RegressionData:
        return RegressionData(size=max(info.side for info in infos), **columns)


def list_numbers(source: Any, *, quiet: bool = False) -> Listing[float]:
    """Read a table whose header is ``image`` and what the number is called."""
    path = Path(source).resolve()
    with path.open(newline="") as stream:
        (_, name), *rows = csv.reader(stream)
    items = [Item(path.parent / image, float(value)) for image, value in rows]
    return Listing(name=str(path), splits={"all": items}, classes=(name,))


@dataclass(frozen=True)
class NumberPipeline(Pipeline[float, tuple[Tensor, float]]):
    transform: Transform

    def example(self, image: Image.Image, target: float, place: int, another: Any) -> tuple[Tensor, float]:
        return self.transform(image), target

    def collate(self, examples: list[tuple[Tensor, float]]) -> tuple[Tensor, Tensor]:
        return torch.stack([image for image, _ in examples]), torch.tensor([target for _, target in examples])


class RegressionLearner(Learner):
    scores: ClassVar[Mapping[str, str]] = {"nearness": "val_nearness"}
    headline: ClassVar[str] = "nearness"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.error = MeanAbsoluteError()

    def losses(self, batch: Any, batch_idx: int) -> Tensor:
        images, targets = batch
        return F.binary_cross_entropy_with_logits(self.model(images)[:, 0], targets, reduction="none")

    def validation_step(self, batch: Any, _: int) -> None:
        images, targets = batch
        logits = self.result(images)[:, 0]
        self.val_loss(F.binary_cross_entropy_with_logits(logits, targets), len(targets))
        self.error(logits.sigmoid(), targets)
        self.log("val_loss", self.val_loss, on_step=False, on_epoch=True)

    def on_validation_epoch_end(self) -> None:
        self.log("val_nearness", 1 - self.error.compute())
        self.error.reset()


def regression_job(
    model: nn.Module, data: RegressionData, preprocess: fb.Preprocess, recipe: fb.Recipe, team: Any, teacher: Any
) -> Job:
    pipeline = NumberPipeline(evaluation_transform(preprocess))
    train, val = loaders(data, recipe, team, pipeline, pipeline)
    return Job(RegressionLearner(model, recipe, data.train, train.order), train, val)


@dataclass(frozen=True)
class RegressionEvaluation(Evaluation):
    name: str
    error: float
    images: int
    skipped: tuple[Skipped, ...]

    @property
    def table(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        return ("number", "images", "mean error"), [(self.name, self.images, f"{self.error:.3f}")]

    @property
    def facts(self) -> list[tuple[str, str]]:
        return [("images", str(self.images)), ("mean error", f"{self.error:.3f}")]

    @property
    def headline(self) -> float:
        return 1 - self.error

    @classmethod
    def summary(cls, scores: Mapping[str, float], images: int) -> tuple[str, str]:
        return "held-out nearness", f"{scores['nearness']:.3f} ({images} images)"

    def to_dict(self) -> dict[str, Any]:
        return {"error": self.error, "images": self.images}


@dataclass(frozen=True)
class RegressionOutputs(Outputs):
    images: Dataset[float]
    name: str
    said: Tensor

    def evaluation(self, skipped: tuple[Skipped, ...] = ()) -> RegressionEvaluation:
        error = (self.said - torch.tensor(self.images.targets)).abs().mean()
        return RegressionEvaluation(self.name, float(error), len(self.images), skipped)


@torch.inference_mode()
def regressor_outputs(
    model: nn.Module, images: Dataset[float], preprocess: fb.Preprocess, classes: Sequence[str], *, quiet: bool = False
) -> RegressionOutputs:
    pipeline = NumberPipeline(evaluation_transform(preprocess))
    batches = loader(images, pipeline, channels=preprocess.channels, batch_size=8, workers=0)
    return RegressionOutputs(images, classes[0], torch.cat([model.eval()(x)[:, 0].sigmoid() for x, _ in batches]))


@dataclass(frozen=True)
class RegressionPrediction(Prediction):
    columns: ClassVar[tuple[str, ...]] = ("image", "number")
    image: str
    number: float

    @property
    def row(self) -> tuple[str, ...]:
        return self.image, f"{self.number:.3f}"

    def to_dict(self) -> dict[str, Any]:
        return {"image": self.image, "number": self.number}


@torch.inference_mode()
def regress_images(
    model: nn.Module, files: Sequence[Path], preprocess: fb.Preprocess, classes: Sequence[str], **_: Any
) -> tuple[list[RegressionPrediction], list[Skipped]]:
    transform = evaluation_transform(preprocess)
    inputs = [transform(read_image(path, "RGB")) for path in files]
    said = model.eval()(torch.stack(inputs))[:, 0].sigmoid().tolist()
    return [RegressionPrediction(str(path), number) for path, number in zip(files, said, strict=True)], []


def draw_nothing(evaluation: Any, out: Path | None, folder: Path, *, overwrite: bool) -> dict[str, Path]:
    return {}


REGRESSION = replace(
    tasks.CLASSIFICATION,  # the same networks, with one output, and the same names for them
    name="regression",
    opener=Opener(lambda source: str(source).endswith(".csv"), list_numbers, NumberAssembler()),
    recipe=lambda data, size, *, trained=False, images=None: fb.Recipe(label_smoothing=0.0),
    job=regression_job,
    outputs=regressor_outputs,
    predict=regress_images,
    evaluation=RegressionEvaluation,
    prediction=RegressionPrediction,
    draw=draw_nothing,
    section=PageSection(),
    values=lambda outputs, root: {"images": len(outputs.images)},
)


@pytest.fixture
def brightness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write noisy images and a table of how bright they are, for a task that is known in this test alone."""
    monkeypatch.setattr(tasks, "TASKS", [REGRESSION, *tasks.TASKS])
    random = np.random.default_rng(0)
    table = tmp_path / "brightness.csv"
    rows = [("image", "brightness")]
    for i in range(40):
        level = i / 40
        pixels = random.integers(0, 20, (16, 16, 3)) + int(200 * level)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i:02}.png")
        rows.append((f"{i:02}.png", str(level)))
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return table


@pytest.mark.slow
def test_a_third_task_needs_one_value_and_touches_no_verb(
    brightness: Path, cli: Cli, opened: Opens, tmp_path: Path
) -> None:
    run = fb.train(brightness, out=tmp_path / "run", changes={**QUICK, "epochs": 30}, quiet=True)
    assert run.classes == ("brightness",)
    assert run.scores["nearness"] > 0.85  # always to say the mean would be 0.75
    assert json.loads((run.folder / "data.json").read_text())["task"] == "regression"
    assert fb.read_header(run.folder).task == "regression"
    evaluation = fb.evaluate(run.folder, quiet=True)
    assert isinstance(evaluation, RegressionEvaluation)
    assert evaluation.headline == pytest.approx(run.scores["nearness"], abs=1e-4)
    assert evaluation.images == run.test_images == 8
    found, _ = fb.predict(run.folder, [tmp_path / "00.png", tmp_path / "39.png"], quiet=True)
    dark, bright = found
    assert isinstance(dark, RegressionPrediction)
    assert isinstance(bright, RegressionPrediction)
    assert dark.number + 0.3 < bright.number
    (run.folder / "result.json").unlink()
    assert fb.resume(run.folder, quiet=True).scores == run.scores
    assert seen(run.folder / "run.html")["images"] == 8
    with opened(run.folder / "run.html") as page:
        assert page.locator("#facts").inner_text().startswith("held-out nearness")
        assert page.locator("#curves svg").count() >= 3
        assert page.locator("nav a").all_inner_texts() == ["Curves", "First batch", "Recipe"]
        page.locator("#command").wait_for()


@pytest.mark.slow
def test_a_third_task_on_the_command_line(brightness: Path, cli: Cli, tmp_path: Path) -> None:
    options = ("--epochs", 1, "--batch-size", 8, "--precision", "f32", "--workers", 0)
    code, out, err = cli("train", brightness, "--out", tmp_path / "run", *options)
    assert code == 0, err
    assert "held-out nearness" in out
    code, out, err = cli("evaluate", tmp_path / "run")
    assert code == 0, err
    assert "mean error" in out
    code, out, err = cli("predict", tmp_path / "run", tmp_path / "00.png")
    assert code == 0, err
    assert "number" in out
    code, out, err = cli("export", tmp_path / "run", "--out", tmp_path / "m.onnx")
    assert code == 0, err
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "TASKS", tasks.TASKS[1:])
        code, _, err = cli("evaluate", tmp_path / "run")
    assert code == 2
    assert "task='regression' is not known: one of detection, classification" in err
    with pytest.raises(fb.InputError, match="mosaic=0.5 is for detection, but the data is for regression"):
        fb.train(brightness, out=tmp_path / "other", changes={"mosaic": 0.5}, quiet=True)


def test_a_task_is_found_by_the_layout_or_by_what_a_file_says(finished: fb.Run, finder: fb.Run) -> None:
    assert tasks.task_for("digits") is tasks.CLASSIFICATION
    assert tasks.task_for(finished.recipe.data) is tasks.CLASSIFICATION
    assert tasks.task_for(finder.recipe.data) is tasks.DETECTION
    for run, task in ((finished, tasks.CLASSIFICATION), (finder, tasks.DETECTION)):
        header = fb.read_header(run.folder)
        assert tasks.task_of(header) is task
        # files that are older than this column
        assert tasks.task_of(replace(header, task="")) is task
