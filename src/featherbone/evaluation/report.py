"""What every task has in common: the outputs of a network, their scores, and single predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from featherbone.data.dataset import Skipped
from featherbone.errors import InputError


class Evaluation(ABC):
    """How good a network is on images whose targets are known.

    Attributes:
        skipped: files that could not be read.
    """

    skipped: tuple[Skipped, ...]

    @property
    @abstractmethod
    def table(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        """Titles and rows: the scores of each class."""

    @property
    @abstractmethod
    def facts(self) -> list[tuple[str, str]]:
        """The scores of the whole, names and values."""

    @property
    @abstractmethod
    def headline(self) -> float | None:
        """The score by which networks are compared, 0 to 1; ``None`` if there is nothing to measure."""

    @classmethod
    @abstractmethod
    def summary(cls, scores: Mapping[str, float], images: int) -> tuple[str, str]:
        """Return the headline's name, and the headline and other scores in words.

        Args:
            scores: as a finished run has them.
            images: how many were held out.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""


class Outputs(ABC):
    """What a network predicts for every image of a set."""

    @abstractmethod
    def evaluation(self, skipped: tuple[Skipped, ...] = ()) -> Evaluation:
        """Return the scores; ``skipped``, files that were left out before, is carried along."""


class Prediction(ABC):
    """What a network predicts for an image.

    Attributes:
        columns: titles of ``row``.
        drawn: whether it can be drawn on its image.
        image: its path, or what else it is known by.
    """

    columns: ClassVar[tuple[str, ...]]
    drawn: ClassVar[bool] = False
    image: str

    @property
    @abstractmethod
    def row(self) -> tuple[str, ...]:
        """The prediction in a few words."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""


def check_numbers(outputs: Tensor, what: object) -> Tensor:
    """Return a network's outputs, if they are numbers: NaN would come out as one of the classes, or as no box.

    Raises:
        InputError: if they are not.
    """
    if not bool(outputs.isfinite().all()):
        raise InputError(f"the network's outputs for {what} hold NaN or infinity: it has no answer")
    return outputs


def percent(share: float | None) -> str:
    """Return a share as a percentage, in words if there is none.

    >>> percent(0.5), percent(None)
    ('50.00%', 'none there')
    """
    return "none there" if share is None else f"{share:.2%}"
