"""The scores of a detector while it learns: gathered batch by batch, and from all processes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, distributed

from featherbone.data._box_dataset import BoxSet
from featherbone.evaluation.average_precision import BoxEvaluation, score_boxes
from featherbone.evaluation.matching import Found


class BoxWatch:
    """What was found in the images of a set since the last ``reset``. It lives within one validation: nothing to save.

    Args:
        images: the set that is validated on.
        classes: names, in label order.
    """

    def __init__(self, images: BoxSet, classes: Sequence[str]) -> None:
        self.images, self.classes = images, tuple(classes)
        self._found: dict[int, Found] = {}

    def reset(self) -> None:
        """Forget everything."""
        self._found.clear()

    def update(self, found: Sequence[Found], places: Tensor) -> None:
        """Take what was found in the images at these places of the set."""
        self._found.update(zip(places.tolist(), found, strict=True))

    def compute(self) -> BoxEvaluation:
        """Return the scores of all images seen, the same in every process: all of them must ask.

        Raises:
            InputError: if none was seen.
        """
        found = self._found
        if distributed.is_available() and distributed.is_initialized():
            shares: list[dict[int, Found]] = [{} for _ in range(distributed.get_world_size())]
            distributed.all_gather_object(shares, found)
            found = {place: one for share in shares for place, one in share.items()}
        places = sorted(found)
        return score_boxes([found[i] for i in places], [self.images.truths[i] for i in places], self.classes)
