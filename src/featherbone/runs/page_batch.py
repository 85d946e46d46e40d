"""What the page of a run shows of its first batch: the images as the network saw them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from featherbone.data import Preprocess
from featherbone.data.image import without_pillows_warnings
from featherbone.data.thumbnails import encode
from featherbone.errors import counted, first_line
from featherbone.report.pictures.boxes import outline
from featherbone.report.pictures.grid import draw_grid, save_picture
from featherbone.runs.folder import BATCH
from featherbone.training.learner import Job, Marks
from featherbone.training.preview import first_batch

_MOST = 16  # images
_SIDE, _WIDE = 128, 240  # pixels of an image: of one with words below it, of one with boxes in it
_COLUMNS, _FEW = 8, 4


def draw_batch(folder: Path, job: Job, preprocess: Preprocess, classes: Sequence[str]) -> None:
    """Draw the first images of a run's first batch, as its network will see them, into the run's folder.

    Args:
        folder: of the run.
        job: the learner and its batches; training has not begun.
        preprocess: how the inputs were normalized.
        classes: names, in label order.

    Raises:
        InputError: if an image can no longer be read, or the picture cannot be written.
    """
    with without_pillows_warnings():
        seen = first_batch(job, _MOST)
    boxed = any(len(marks.boxes) for _, marks in seen)
    images = [_drawn(inputs, marks, preprocess, classes, _WIDE if boxed else _SIDE) for inputs, marks in seen]
    lines = [[_named(share, classes[label]) for label, share in marks.classes] for _, marks in seen]
    of = counted(job.train.order.size(0), "image")
    title = f"{of if len(seen) == job.train.order.size(0) else f'{len(seen)} of the {of}'} of the first batch"
    save_picture(draw_grid(images, lines, _FEW if boxed else _COLUMNS), folder / BATCH, title)


def batch_values(folder: Path) -> dict[str, Any]:
    """Return the picture as a page needs it, or why there is none."""
    try:
        with Image.open(folder / BATCH) as stored:
            picture = encode(stored, max(stored.size))
            return {"picture": picture, "size": stored.size, "said": stored.info.get("Title", "Images")}
    except FileNotFoundError:  # an older version's run
        return {}
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        return {"unreadable": first_line(error)}


def image_of(inputs: Tensor, preprocess: Preprocess) -> Image.Image:
    """Return the image that a normalized input ``(C, H, W)`` shows: grey or RGB, what is too dark or bright cut off."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    values = (inputs.detach().float().cpu() * std + mean).clamp(0, 1)
    pixels = (values.flip(0) if preprocess.bgr else values).mul(255).round().to(torch.uint8)
    array = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    return Image.fromarray(array[..., 0] if len(pixels) == 1 else array)


def _drawn(inputs: Tensor, marks: Marks, preprocess: Preprocess, classes: Sequence[str], side: int) -> Image.Image:
    """Return an input with its boxes, ``side`` pixels wide and high; of tiny ones every pixel is to be seen."""
    image = image_of(inputs, preprocess)
    how = Image.Resampling.NEAREST if image.width * 2 <= side else Image.Resampling.LANCZOS
    boxes = marks.boxes.numpy() * (side / image.width)
    labels = marks.labels.numpy()
    return outline(image.resize((side, side), how), boxes, labels, [classes[label] for label in labels])


def _named(share: float, name: str) -> str:
    return name if share > 0.995 else f"{share:.0%} {name}"
