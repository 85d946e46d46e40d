"""Answers of classifiers, of which the type checker does not know that they are none of detectors."""

from typing import Any

import featherbone as fb
from featherbone.data.dataset import Skipped
from featherbone.evaluation.classification import Evaluation, Prediction


def evaluated(*given: Any, **named: Any) -> Evaluation:
    """Return the evaluation of a classifier, without progress."""
    result = fb.evaluate(*given, **named, quiet=True)
    assert isinstance(result, Evaluation)
    return result


def classified(*given: Any, **named: Any) -> tuple[list[Prediction], list[Skipped]]:
    """Return what a classifier says of images, without progress."""
    found, skipped = fb.predict(*given, **named, quiet=True)
    return [one for one in found if isinstance(one, Prediction)], skipped
