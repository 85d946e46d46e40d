"""What a trained network says, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from featherbone.detect.detector import Detector
from featherbone.detect.spec import DetectorSpec
from featherbone.errors import InputError, needs
from featherbone.files import replacing
from featherbone.verbs.folder import AnyPath, describe
from featherbone.verbs.inference import SURE
from featherbone.weights import load

if TYPE_CHECKING:
    from featherbone.train.box_scores import BoxEvaluation
    from featherbone.train.detections import Detections


def confusion_picture(confusion: np.ndarray, classes: Sequence[str], path: AnyPath) -> None:
    """Draw an evaluation's confusion matrix to a picture file (.png, .svg, .pdf).

    Raises:
        InputError: if it cannot be written.
    """
    with needs("train", "drawing"):
        from featherbone.report.confusion import draw_confusion
    draw_confusion(confusion, classes, path)


def precision_recall_picture(evaluation: BoxEvaluation, path: AnyPath) -> None:
    """Draw a detector's precision against its recall at IoU 0.5 to a picture file (.png, .svg, .pdf).

    Raises:
        InputError: if it cannot be written.
    """
    with needs("train", "drawing"):
        from featherbone.report.boxes import draw_precision_recall
    draw_precision_recall(evaluation, path)


def draw_detections(found: Sequence[Detections], folder: AnyPath) -> list[Path]:
    """Write images with the boxes that were found in them to a folder, as JPEG files of the same names.

    Args:
        found: what ``predict`` returned; the images must still be where they were.
        folder: made if it is not there; files of the same names are replaced.

    Returns:
        The files, one for each image.

    Raises:
        InputError: if an image can no longer be read, or a file cannot be written.
    """
    with needs("train", "drawing"):
        from featherbone.data.images import read_image, without_pillows_warnings
        from featherbone.report.boxes import draw_boxes
    written: list[Path] = []
    for one in found:
        source = Path(one.image)
        path = _free(Path(folder), source.stem, written)
        with without_pillows_warnings():
            drawn = draw_boxes(read_image(source), one.found, one.classes)
        with replacing(path) as temporary, temporary.open("wb") as stream:
            drawn.save(stream, "JPEG", quality=92)
        written.append(path)
    return written


def detect_video(
    run: AnyPath, video: AnyPath, out: AnyPath, *, score: float = SURE, quiet: bool = False
) -> list[Detections]:
    """Find boxes in every frame of a video and write it with the boxes drawn, at the same rate, without its sound.

    Args:
        run: of a detector.
        video: a file that FFmpeg reads.
        out: .mp4, .mkv or .mov.
        score: the least score, 0 to 1, of a box that is drawn.
        quiet: no progress on the error stream.

    Returns:
        What was found in each frame.

    Raises:
        InputError: if the run is not that of a detector, or a file cannot be read or written.
    """
    header, preprocess = describe(run)
    if not isinstance(header.spec, DetectorSpec):
        raise InputError(f"{run} is a classifier: it finds no boxes in a video")
    with needs("video", "reading videos"):
        from featherbone.data.video import reading, writing
    with needs("train", "predicting"):
        from featherbone.data.progress import watched
        from featherbone.report.boxes import draw_boxes
        from featherbone.train.detections import detect_images
    model = load(run, Detector)
    found: list[Detections] = []
    with reading(Path(video)) as opened, writing(Path(out), opened.rate) as append:
        for frame in watched(opened.frames, "detecting", total=opened.count, quiet=quiet):
            one = detect_images(model, [np.asarray(frame)], preprocess, header.classes, score=score, quiet=True)[0]
            append(draw_boxes(frame, one[0].found, header.classes))
            found += one
    if not found:
        raise InputError(f"{video} has no frame")
    return found


def _free(folder: Path, stem: str, taken: Sequence[Path]) -> Path:
    """Return a file's name that no other image of this call has."""
    path = folder / f"{stem}.jpg"
    return (
        next(other for i in count(2) if (other := folder / f"{stem}-{i}.jpg") not in taken) if path in taken else path
    )
