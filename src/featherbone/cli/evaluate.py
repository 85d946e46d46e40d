"""evaluate, predict: from a network to answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import featherbone as fb
from featherbone.cli.options import Debug, Json, RunArgument
from featherbone.cli.output import next_steps, say, show_json, show_skipped, show_table


def evaluate(
    run: RunArgument,
    data: Annotated[
        str | None, typer.Argument(help="Whatever 'train' takes; default: the run's held-out images.")
    ] = None,
    part: Annotated[
        Literal["train", "val", "test", "all"] | None, typer.Option(help="The images of this part of the data.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The confusion matrix as .png, .svg or .pdf; default RUN/confusion.png. Of a detector: precision and "
            "recall, default RUN/precision-recall.png, and beside it the confusion matrix as NAME-confusion."
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a trained network: top-1 and top-5 on labelled images, average precision on images with boxes."""
    folder = _folder(run)
    fb.check_output("--out", out or folder / "confusion.png", fb.PICTURES)
    if _detects(run):
        curve = out or folder / "precision-recall.png"
        confused = out.with_stem(f"{out.stem}-confusion") if out else folder / "confusion.png"
        _evaluate_detector(run, data, part, curve, confused, json=json)
        return
    picture = out or folder / "confusion.png"
    result: Any = fb.evaluate(run, data, part=part)
    names = [score.name for score in result.classes]
    fb.confusion_picture(result.confusion, names, picture)
    if json:
        show_json({**result.to_dict(), "picture": str(picture)})
        return
    shown = ((s.name, s.images, f"{s.precision:.2%}", f"{s.recall:.2%}", f"{s.f1:.2%}") for s in result.classes)
    show_table(("class", "images", "precision", "recall", "f1"), shown)
    say("")
    images = int(result.confusion.sum())
    shares = [("top-1", f"{result.top1:.2%}"), ("top-5", f"{result.top5:.2%}")]
    show_table(("", ""), [("images", images), *shares[: 2 if len(names) > 5 else 1]])
    say(f"\nconfusion matrix: {picture}")
    show_skipped(result.skipped)
    next_steps(["export", run, "--to", "onnx", "--out", str(folder / "model.onnx")], ["cost", run])


def _evaluate_detector(
    run: str, data: str | None, part: str | None, picture: Path, confused: Path, *, json: bool
) -> None:
    result: Any = fb.evaluate(run, data, part=part)
    fb.precision_recall_picture(result, picture)
    names = [score.name for score in result.classes]
    fb.confusion_picture(result.confusion, names, confused)
    if json:
        show_json({**result.to_dict(), "picture": str(picture), "confusion_picture": str(confused)})
        return
    rows = ((s.name, s.images, s.boxes, _share(s.ap), _share(s.ap50)) for s in result.classes)
    show_table(("class", "images", "boxes", "AP", "AP50"), rows)
    say("")
    best = result.best
    sure = f"{best.score:.2f} (precision {best.precision:.2%}, recall {best.recall:.2%})"
    areas = ", ".join(f"{name} {_share(getattr(result, name))}" for name in ("small", "medium", "large"))
    show_table(
        ("", ""),
        [
            ("images", result.images),
            ("AP", _share(result.ap)),
            ("AP50", _share(result.ap50)),
            ("AP75", _share(result.ap75)),
            ("AP by area", areas),
            ("best score to trust", sure),
        ],
        left=2,
    )
    say(f"\nprecision and recall: {picture}\nconfusion matrix: {confused}")
    show_skipped(result.skipped)
    next_steps(["predict", run, "IMAGES"], ["export", run, "--to", "onnx", "--out", str(_folder(run) / "model.onnx")])


def _share(value: float | None) -> str:
    return "none there" if value is None else f"{value:.2%}"


def _folder(run: str) -> Path:
    return Path(run) if Path(run).is_dir() else Path(run).parent


def _detects(run: str) -> bool:
    return isinstance(fb.read_header(run).spec, fb.DetectorSpec)
