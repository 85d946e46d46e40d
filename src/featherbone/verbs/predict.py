"""What a trained network predicts for images and videos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherbone.detect.detector import Detector
from featherbone.detect.postprocess import SCORE_THRESHOLD
from featherbone.device import device_named
from featherbone.errors import InputError, check_type, counted, needs
from featherbone.files import MARK, AnyPath, check_outside, check_replaceable, replacing
from featherbone.graph import check_finite
from featherbone.weights import load, read_header
from featherbone.weights.open import describe

if TYPE_CHECKING:
    from featherbone.data.dataset import Skipped
    from featherbone.evaluation.detection import DetectionPrediction
    from featherbone.evaluation.report import Prediction


def predict(
    run: AnyPath,
    images: AnyPath | Iterable[AnyPath],
    *,
    top: int = 5,
    score: float = SCORE_THRESHOLD,
    device: str | None = None,
    quiet: bool = False,
) -> tuple[list[Prediction], list[Skipped]]:
    """Classify image files, or find boxes in them.

    Args:
        run: a run's folder, or a file that ``save`` wrote with classes and preprocessing.
        images: a file, a folder or a shell pattern, or several of them.
        top: how many classes a classifier names per image.
        score: the least score, 0 to 1, of a box that a detector names.
        device: where the network computes: "cpu", or an accelerator of this machine, such as "cuda:1"; default "cpu".
        quiet: no progress on the error stream.

    Returns:
        One prediction per readable image, and the files that could not be read.

    Raises:
        InputError: if an argument is not usable, no image can be read, or the network's weights or outputs are no
            numbers.
    """
    header, preprocess = describe(run)
    paths = _several("images", images)
    where = device_named(device)
    if top < 1:
        raise InputError(f"top={top} is not allowed: 1 or more")
    check_score(score)
    with needs("train", "predicting"):
        from featherbone.data.sources.folder import find_images
        from featherbone.runs.tasks import task_of
    files, model = find_images(paths), load(run)
    check_finite(model, run)
    found, skipped = task_of(header).predict(
        model.to(where), files, preprocess, header.classes, top=top, score=score, quiet=quiet
    )
    if not found:
        raise InputError(
            f"none of the {len(skipped)} files can be read as an image ({skipped[0].path}: {skipped[0].reason})"
            if skipped
            else "no image to predict on was named"
        )
    return list(found), skipped


@dataclass(frozen=True)
class Predictions:
    """What a network predicts for images and videos, and where it was drawn.

    Attributes:
        columns: titles of the table's columns.
        found: one prediction per readable image.
        skipped: files that could not be read.
        pictures: of a detector, the files of the images with their boxes drawn, one each.
        videos: of a detector, each video, the file with boxes drawn, and the predictions for its frames.
    """

    columns: tuple[str, ...]
    found: Sequence[Prediction]
    skipped: Sequence[Skipped]
    pictures: Sequence[Path] = ()
    videos: Sequence[tuple[Path, Path, Sequence[Prediction]]] = ()

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Every image and video in a few words."""
        films = [(str(video), counted(len(frames), "frame")) for video, _, frames in self.videos]
        return [*(one.row for one in self.found), *films]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        drawn = [{"picture": str(path)} for path in self.pictures] or [{} for _ in self.found]
        return {
            "predictions": [{**one.to_dict(), **path} for one, path in zip(self.found, drawn, strict=True)],
            "videos": [
                {"video": str(video), "frames": [one.to_dict() for one in frames], "picture": str(path)}
                for video, path, frames in self.videos
            ],
            "skipped": [asdict(file) for file in self.skipped],
        }


def predict_files(
    run: AnyPath,
    paths: AnyPath | Iterable[AnyPath],
    *,
    out: AnyPath | None = None,
    top: int = 5,
    score: float | None = None,
    device: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Predictions:
    """Classify images, or find boxes in images and videos and draw them.

    Args:
        run: a run's folder, or a file that ``save`` wrote with classes and preprocessing.
        paths: a file, a folder or a shell pattern, or several of them.
        out: of a detector: the folder for images and videos with boxes; default: ``predictions`` beside the weights.
        top: how many classes a classifier names per image.
        score: the least score, 0 to 1, of a box that a detector names; default 0.25.
        device: where the network computes: "cpu", or an accelerator of this machine, such as "cuda:1"; default "cpu".
        overwrite: replace files in ``out`` that featherbone did not make.
        quiet: no progress on the error stream.

    Raises:
        InputError: if an argument is not usable, nothing can be read, an image would be replaced by its drawing, or
            drawings would lie among the images.
    """
    with needs("train", "predicting"):
        from featherbone.data.sources.folder import find_images, images_and_videos
        from featherbone.evaluation.detection import DetectionPrediction
        from featherbone.runs.tasks import task_of
    check_type("run", run, (str, PathLike), "a run, its folder or a weight file")
    paths = _several("paths", paths)
    kind = task_of(read_header(run)).prediction
    if not kind.drawn:
        if out is not None:
            raise InputError(f"out={out} is not allowed: {run} finds no boxes that could be drawn")
        found, skipped = predict(run, find_images(paths), top=top, device=device, quiet=quiet)
        return Predictions(kind.columns, found, skipped)
    folder = Path(out) if out else (Path(run) if Path(run).is_dir() else Path(run).parent) / "predictions"
    for path in paths:
        check_outside("out", folder, path)
    images, videos = images_and_videos(paths)
    overwrite = overwrite or (out is None and Path(run).is_dir())  # the run's own folder of drawings
    _places([Path(path) for path in images], folder, ".jpg", overwrite=overwrite)
    _places([Path(path) for path in videos], folder, ".mp4", overwrite=overwrite)
    score = SCORE_THRESHOLD if score is None else score
    found, skipped = predict(run, images, score=score, device=device, quiet=quiet) if images else ([], [])
    drawn = [one for one in found if isinstance(one, DetectionPrediction)]
    pictures = draw_detections(drawn, folder, overwrite=overwrite)
    films = detect_videos(run, videos, folder, score=score, device=device, overwrite=overwrite, quiet=quiet)
    shown = [(video, path, frames) for video, (path, frames) in zip(videos, films, strict=True)]
    return Predictions(kind.columns, found, skipped, pictures, shown)


def draw_detections(found: Sequence[DetectionPrediction], folder: AnyPath, *, overwrite: bool = False) -> list[Path]:
    """Write images with the boxes that were found in them to a folder, as JPEG files of the same names.

    Args:
        found: what ``predict`` returned; the images must still be where they were.
        folder: made if it is not there.
        overwrite: replace files of the same names that featherbone did not make.

    Returns:
        The files, one for each image.

    Raises:
        InputError: if an image would be replaced by its own drawing or can no longer be read, or a file is somebody
            else's or cannot be written.
    """
    with needs("train", "drawing"):
        from featherbone.data.image import read_image, without_pillows_warnings
        from featherbone.evaluation.detection import DetectionPrediction
        from featherbone.report.pictures.boxes import draw_boxes
    check_type("found", found, (list, tuple), "what predict returned for a detector")
    check_type("folder", folder, (str, PathLike), "the path of a folder")
    for one in found:
        check_type("found", one, DetectionPrediction, "what predict returned for a detector")
    sources = [Path(one.image) for one in found]
    places = _places(sources, Path(folder), ".jpg", overwrite=overwrite)
    for one, source, path in zip(found, sources, places, strict=True):
        with without_pillows_warnings():
            drawn = draw_boxes(read_image(source), one.found, one.classes)
        with replacing(path) as temporary, temporary.open("wb") as stream:
            drawn.save(stream, "JPEG", quality=92, comment=MARK)
    return places


def detect_videos(
    run: AnyPath,
    videos: Sequence[AnyPath],
    folder: AnyPath,
    *,
    score: float = SCORE_THRESHOLD,
    device: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> list[tuple[Path, list[DetectionPrediction]]]:
    """Write videos with the boxes that are found in them to a folder, as .mp4 files of the same names.

    Args:
        run: of a detector.
        videos: files that FFmpeg reads.
        folder: made if it is not there.
        score: as for ``detect_video``.
        device: where the network computes: "cpu", or an accelerator of this machine, such as "cuda:1"; default "cpu".
        overwrite: replace files of the same names that featherbone did not make.
        quiet: no progress on the error stream.

    Returns:
        For each video the file, and what was found in its frames.

    Raises:
        InputError: as ``detect_video``, before anything is written if a video would be replaced by its own drawing.
    """
    places = _places([Path(video) for video in videos], Path(folder), ".mp4", overwrite=overwrite)
    return [
        (path, detect_video(run, video, path, score=score, device=device, overwrite=overwrite, quiet=quiet))
        for path, video in zip(places, videos, strict=True)
    ]


def detect_video(
    run: AnyPath,
    video: AnyPath,
    out: AnyPath,
    *,
    score: float = SCORE_THRESHOLD,
    device: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> list[DetectionPrediction]:
    """Find boxes in every frame of a video and write it with the boxes drawn, without its sound.

    Every frame keeps its time.

    Args:
        run: of a detector.
        video: a file that FFmpeg reads.
        out: .mp4, .mkv or .mov.
        score: the least score, 0 to 1, of a box that is drawn.
        device: where the network computes: "cpu", or an accelerator of this machine, such as "cuda:1"; default "cpu".
        overwrite: replace a file that featherbone did not make.
        quiet: no progress on the error stream.

    Returns:
        What was found in each frame.

    Raises:
        InputError: if the run is not that of a detector, a file cannot be read or written, or both are one.
    """
    header, preprocess = describe(run)
    for name, path in (("video", video), ("out", out)):
        check_type(name, path, (str, PathLike), "the path of a video")
    model = load(run, Detector).to(device_named(device))
    check_finite(model, run)
    check_score(score)
    _require_apart([Path(out)], [Path(video)])
    check_replaceable("out", out, overwrite=overwrite)
    with needs("video", "reading videos"):
        from featherbone.data.video import reading, writing
    with needs("train", "predicting"):
        from featherbone.data.image import image_mode
        from featherbone.data.progress import watched
        from featherbone.evaluation.detection import detect_image
        from featherbone.report.pictures.boxes import draw_boxes
    mode = image_mode(preprocess.channels)
    found: list[DetectionPrediction] = []
    with reading(Path(video)) as opened, writing(Path(out), opened.rate) as append:
        for frame in watched(opened.frames, "detecting", total=opened.count, quiet=quiet):
            image, name = frame.image.convert(mode), f"frame {len(found) + 1}"
            found.append(detect_image(model, image, preprocess, header.classes, name=name, score=score))
            append(replace(frame, image=draw_boxes(frame.image, found[-1].found, header.classes)))
    if not found:
        raise InputError(f"{video} has no frame")
    return found


def _several(name: str, given: Any) -> Sequence[AnyPath]:
    """Return one path, or several, as several.

    Raises:
        InputError: if there is something else among them.
    """
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes | PathLike)
    paths = list(given) if several else [given]
    for path in paths:
        check_type(name, path, (str, PathLike), "the path of a file, a folder, a pattern, or several of them")
    return paths


def _places(sources: Sequence[Path], folder: Path, suffix: str, *, overwrite: bool) -> list[Path]:
    """Return where the drawing of each goes, named like it, each at a place of its own.

    Raises:
        InputError: if it would replace one of them, or somebody else's file.
    """
    places: list[Path] = []
    for source in sources:
        names = (f"{source.stem}{f'-{i}' if i > 1 else ''}{suffix}" for i in count(1))
        places.append(next(path for name in names if (path := folder / name) not in places))
    _require_apart(places, sources)
    for place in places:
        check_replaceable("out", place, overwrite=overwrite)
    return places


def _require_apart(written: Sequence[Path], read: Sequence[Path]) -> None:
    def files(paths: Sequence[Path]) -> dict[tuple[int, int], Path]:
        return {(path.stat().st_dev, path.stat().st_ino): path for path in paths if path.exists()}

    known, lost = files(read), files(written)
    if both := known.keys() & lost.keys():
        raise InputError(f"{lost[both.pop()]} would be replaced by its own drawing: write to another place")


def check_score(score: float) -> None:
    """Check the score from which boxes count.

    Raises:
        InputError: if it is not from 0 to 1.
    """
    if not 0 <= score <= 1:
        raise InputError(f"score={score} is not allowed: from 0 to 1")
