"""The tasks that a network can be trained for, as values: all that differs between them.

A verb asks once, ``task_for`` a data set or ``task_of`` a network, and has no further branch. What a task needs heavy
packages for is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from featherbone.data import Preprocess
from featherbone.data.check.examine import examine, examine_boxes
from featherbone.data.check.report import Check
from featherbone.data.dataset import Skipped
from featherbone.data.open import CLASSIFICATION as LABELS
from featherbone.data.open import DETECTION as BOXES
from featherbone.data.open import Opener
from featherbone.detect.detector import DetectorSpec
from featherbone.errors import InputError, check_type
from featherbone.evaluation.average_precision import DetectionEvaluation
from featherbone.evaluation.classification import (
    ClassificationEvaluation,
    ClassificationPrediction,
    classifier_outputs,
    classify_images,
)
from featherbone.evaluation.detection import DetectionPrediction, detect_images, detector_outputs
from featherbone.evaluation.report import Evaluation, Outputs, Prediction
from featherbone.files import AnyPath
from featherbone.report.pages.run import CLASSIFICATION_SECTION, DETECTION_SECTION, PageSection
from featherbone.runs.names import classifier_name, classifier_options, detector_name, detector_options
from featherbone.runs.page_classification import classification_values
from featherbone.runs.page_detection import detection_values
from featherbone.runs.start import DEFAULT_DETECTOR, DEFAULT_MODEL, ModelRequest, classifier, detector, letterboxed
from featherbone.training import Recipe, classification_recipe, detection_recipe
from featherbone.weights import Header, Network, Row


@dataclass(frozen=True, kw_only=True)
class Task:
    """What differs between classification, detection and others.

    Attributes:
        name: as it stands in the files of a run.
        opener: how its data sets are opened.
        check: what is found in a listing of images, before anything is trained on it.
        default_model: name of the network where nobody asked for one.
        recipe: the recipe for a data set's name, an input size in pixels and whether weights are given.
        start: the row of a network for a request, data, input size and seed, and the network if it has weights.
        preprocess: how inputs are prepared, given what is usual or comes with weights.
        job: the learner and its batches, for a network, data, preprocessing, recipe, processes and teacher.
        outputs: what a network predicts for every image of a set, which its scores are of.
        predict: what it predicts for image files, and those that could not be read.
        evaluation: the kind of scores.
        prediction: the kind of predictions.
        draw: writes pictures of an evaluation to the given file, else to a folder; returns them by what they
            show; only with ``overwrite`` it replaces files that are not ours.
        section: its part of the page of a run.
        values: what that part shows of the held-out images, named relative to a folder.
        model_name: what people call a network.
        options: those of the command line that ask for a network; ``None`` if it has no name.
        arguments: the same in Python, for the row ``spec``.
    """

    name: str
    opener: Opener[Any, Any, Any]
    check: Callable[..., Check]
    default_model: str
    recipe: Callable[..., Recipe]
    start: Callable[[ModelRequest, Any, int, int], tuple[Row, Network | None]]
    preprocess: Callable[[Preprocess], Preprocess]
    job: Callable[..., Any]
    outputs: Callable[..., Outputs]
    predict: Callable[..., tuple[Sequence[Prediction], list[Skipped]]]
    evaluation: type[Evaluation]
    prediction: type[Prediction]
    draw: Callable[..., Mapping[str, Path]]
    section: PageSection
    values: Callable[[Any, str], dict[str, Any]]
    model_name: Callable[[Any], str]
    options: Callable[[Any], list[str] | None]
    arguments: str


def _unchanged(preprocess: Preprocess) -> Preprocess:
    return preprocess


def _classification_job(*given: Any) -> Any:
    from featherbone.training.classification import classification_job

    return classification_job(*given)


def _detection_job(*given: Any) -> Any:
    from featherbone.training.detection import detection_job

    return detection_job(*given)


def _classify(
    model: nn.Module,
    files: Sequence[Path],
    preprocess: Preprocess,
    classes: Sequence[str],
    *,
    top: int,
    score: float,
    quiet: bool,
) -> tuple[Sequence[Prediction], list[Skipped]]:
    return classify_images(model, files, preprocess, classes, top=top, quiet=quiet)


def _detect(
    model: nn.Module,
    files: Sequence[Path],
    preprocess: Preprocess,
    classes: Sequence[str],
    *,
    top: int,
    score: float,
    quiet: bool,
) -> tuple[Sequence[Prediction], list[Skipped]]:
    return detect_images(model, files, preprocess, classes, score=score, quiet=quiet)


def _draw_classification(
    evaluation: ClassificationEvaluation, out: Path | None, folder: Path, *, overwrite: bool
) -> dict[str, Path]:
    from featherbone.report.pictures.confusion import draw_confusion

    path = out or folder / "confusion.png"
    draw_confusion(evaluation.confusion, [score.name for score in evaluation.classes], path, overwrite=overwrite)
    return {"confusion": path}


def _draw_detection(
    evaluation: DetectionEvaluation, out: Path | None, folder: Path, *, overwrite: bool
) -> dict[str, Path]:
    from featherbone.report.pictures.confusion import draw_confusion
    from featherbone.report.pictures.precision_recall import draw_precision_recall

    curve = out or folder / "precision-recall.png"
    confusion = out.with_stem(f"{out.stem}-confusion") if out else folder / "confusion.png"
    draw_precision_recall(evaluation, curve, overwrite=overwrite)
    draw_confusion(evaluation.confusion, [score.name for score in evaluation.classes], confusion, overwrite=overwrite)
    return {"precision_recall": curve, "confusion": confusion}


CLASSIFICATION = Task(
    name="classification",
    opener=LABELS,
    check=examine,
    default_model=DEFAULT_MODEL,
    recipe=classification_recipe,
    start=classifier,
    preprocess=_unchanged,
    job=_classification_job,
    outputs=classifier_outputs,
    predict=_classify,
    evaluation=ClassificationEvaluation,
    prediction=ClassificationPrediction,
    draw=_draw_classification,
    section=CLASSIFICATION_SECTION,
    values=classification_values,
    model_name=classifier_name,
    options=classifier_options,
    arguments="spec",
)
DETECTION = Task(
    name="detection",
    opener=BOXES,
    check=examine_boxes,
    default_model=DEFAULT_DETECTOR,
    recipe=detection_recipe,
    start=detector,
    preprocess=letterboxed,
    job=_detection_job,
    outputs=detector_outputs,
    predict=_detect,
    evaluation=DetectionEvaluation,
    prediction=DetectionPrediction,
    draw=_draw_detection,
    section=DETECTION_SECTION,
    values=detection_values,
    model_name=detector_name,
    options=detector_options,
    arguments="spec.backbone, neck=spec.neck, head=spec.head",
)
TASKS: list[Task] = [DETECTION, CLASSIFICATION]  # the first that finds a data set learns from it


def task_for(source: AnyPath) -> Task:
    """Return the task that a data set is for; nothing but its layout is looked at."""
    check_type("data", source, (str, PathLike), "the name, path or address of a data set")
    return next(task for task in TASKS if task.opener.finds(source))


def task_of(header: Header) -> Task:
    """Return the task that a network was trained for: as its file says, else as its row does.

    Raises:
        InputError: if the file says one that is not known.
    """
    name = header.task or ("detection" if isinstance(header.spec, DetectorSpec) else "classification")
    found = next((task for task in TASKS if task.name == name), None)
    if found is None:
        raise InputError(f"task={name!r} is not known: one of {', '.join(task.name for task in TASKS)}")
    return found
