"""predict: what a network says of images and videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import featherbone as fb
from featherbone.cli.evaluate import _detects, _folder
from featherbone.cli.options import Debug, Json, RunArgument
from featherbone.cli.output import next_steps, say, show_json, show_skipped, show_table


def predict(
    run: RunArgument,
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Files, folders, patterns; videos, too.")],
    top: Annotated[int, typer.Option(help="How many classes to name per image in --json.")] = 5,
    score: Annotated[float, typer.Option(help="Of a detector: the least score of a box, 0 to 1.")] = fb.SCORE_THRESHOLD,
    out: Annotated[
        Path | None,
        typer.Option(help="Of a detector: the folder for pictures with the boxes; default RUN/predictions."),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Classify images, or find boxes in images and videos."""
    if _detects(run):
        _find(run, images, score, out or _folder(run) / "predictions", json=json)
        return
    if out is not None:
        raise fb.InputError(f"--out={out} is not allowed: {run} is a classifier, which draws nothing")
    found: Any
    found, skipped = fb.predict(run, images, top=top)
    if json:
        show_json({"predictions": [prediction.to_dict() for prediction in found], "skipped": _plain(skipped)})
        return
    rows = []
    for p in found:
        others = ", ".join(f"{c} {share:.1%}" for c, share in zip(p.classes[1:3], p.probabilities[1:3], strict=True))
        rows.append((p.image, p.classes[0], f"{p.probabilities[0]:.1%}", others))
    show_table(("image", "class", "probability", "or else"), rows, left=2)
    show_skipped(skipped)
    next_steps(["predict", run, images[0], "--json"], ["export", run, "--to", "onnx", "--out", "model.onnx"])


def _find(run: str, given: Sequence[str], score: float, out: Path, *, json: bool) -> None:
    images, videos = fb.images_and_videos(given)
    found: Any
    found, skipped = fb.predict(run, images, score=score) if images else ([], [])
    drawn = fb.draw_detections(found, out)
    films = fb.detect_videos(run, videos, out, score=score)
    if json:
        pictures = [{**one.to_dict(), "picture": str(path)} for one, path in zip(found, drawn, strict=True)]
        moving = [
            {"video": str(video), "frames": [one.to_dict() for one in ones], "picture": str(path)}
            for video, (path, ones) in zip(videos, films, strict=True)
        ]
        show_json({"predictions": pictures, "videos": moving, "skipped": _plain(skipped)})
        return
    rows = [(one.image, _counted(one)) for one in found]
    rows += [(str(video), f"{len(ones)} frames") for video, (_, ones) in zip(videos, films, strict=True)]
    show_table(("image", "found"), rows, left=2)
    say(f"\ndrawn in {out}")
    show_skipped(skipped)
    next_steps(["predict", run, given[0], "--json"], ["evaluate", run])


def _counted(one: Any) -> str:
    """Return how many of each class were found: ``3 RBC, 1 WBC``."""
    labels = [one.classes[label] for label in one.found.labels]
    return ", ".join(f"{labels.count(name)} {name}" for name in dict.fromkeys(labels)) or "nothing"


def _plain(skipped: Sequence[Any]) -> list[dict[str, str]]:
    return [{"path": file.path, "reason": file.reason} for file in skipped]
