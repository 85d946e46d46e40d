"""A detector's answers as a table of fixed size, which files for engines give."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from featherbone.detect.postprocess import answers

# what a file answers with by itself: the boxes that people are shown
SURE, IOU, MOST = 0.25, 0.6, 100


def table(output: Tensor, *, score: float = SURE, iou: float = IOU, most: int = MOST) -> Tensor:
    """Return the boxes of every image as rows of x1, y1, x2, y2, score and class: ``(B, most, 6)``.

    The best come first; rows of zeros follow the last one.

    Args:
        output: what a detector returns, ``(B, N, 4 + num_classes)``.
        score: as in ``answers``.
        iou: as in ``answers``.
        most: rows.

    Raises:
        InputError: if the output has another form.
    """
    found = answers(output, score=score, iou=iou, most=most)
    rows = [torch.cat((one.boxes, one.scores[:, None], one.labels[:, None].to(one.boxes)), 1) for one in found]
    return torch.stack([pad(row, (0, 0, 0, most - len(row))) for row in rows])
