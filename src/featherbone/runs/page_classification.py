"""What the page of a classifier's run says of the held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featherbone.data.scan import shown
from featherbone.data.thumbnails import thumbnail
from featherbone.evaluation.classification import ClassifierOutputs

_PICTURED = 32, 16  # mistakes and unsure images with a picture
_NAMED = 2000  # mistakes with a name


def classification_values(outputs: ClassifierOutputs, root: str) -> dict[str, Any]:
    """Return plain values: scores, confusion, mistakes, calibration; images are named relative to ``root``."""
    evaluation, calibration = outputs.evaluation(), outputs.calibration()
    cells = np.argwhere(evaluation.confusion)
    mistakes = outputs.mistakes()
    pictured, unsure = _PICTURED
    first = set(mistakes[:pictured])
    doubtful = [place for place in outputs.least_sure(unsure + pictured) if place not in first][:unsure]
    return {
        "images": len(outputs.images),
        "top1": evaluation.top1,
        "scores": [[s.images, s.precision, s.recall, s.f1] for s in evaluation.classes],
        "confusion": [[*cell, int(evaluation.confusion[tuple(cell)])] for cell in cells.tolist()],
        "mistakes": _predicted(outputs, mistakes[:_NAMED], root, pictures=pictured),
        "mistaken": len(mistakes),
        "unsure": _predicted(outputs, doubtful, root, pictures=unsure),
        "calibration": vars(calibration),
    }


def _predicted(outputs: ClassifierOutputs, places: Sequence[int], root: str, *, pictures: int) -> list[dict[str, Any]]:
    """Return what is predicted for the images at ``places``, the first ``pictures`` of them with a picture."""
    likely = outputs.logits[places].argsort(descending=True, stable=True)[:, :2]  # of equal ones the first, as in said
    shares = outputs.probabilities[places].gather(1, likely)
    found = []
    for number, place in enumerate(places):
        source, true = outputs.images.sources[place], outputs.images.targets[place]
        prediction: dict[str, Any] = {
            "image": shown(source, root, place),
            "true": true,
            "said": likely[number].tolist(),
            "shares": [round(share, 4) for share in shares[number].tolist()],
            "of_true": round(float(outputs.probabilities[place, true]), 6),
            "loss": round(float(outputs.losses[place]), 4),
        }
        if number < pictures:
            prediction |= thumbnail(source)
        found.append(prediction)
    return found
