"""What a look at every image of a classification data set has found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from featherbone.data.boxes import Severity
from featherbone.data.check.report import FEW, Check, Finding
from featherbone.errors import counted, some

_UNBALANCED = 10


@dataclass(frozen=True, eq=False)
class ClassificationCheck(Check):
    """What a look at every image of a classification data set has found.

    Attributes:
        unmixed: how many shards at URLs hold images of one class only, though there are several.
    """

    unmixed: int = 0

    @cached_property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Readable images by split and class."""
        return {split: Counter(p.label for p, _ in self.seen if p.split == split) for split in self.splits}

    @property
    def table(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        rows = [(name, *(self.counts[split].get(name, 0) for split in self.splits)) for name in self.classes]
        return ("class", *self.splits), list(rows)

    @property
    def facts(self) -> list[tuple[str, str]]:
        return self.facts_about_images()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rows = [{"name": name, **{p: c.get(name, 0) for p, c in self.counts.items()}} for name in self.classes]
        return {**super().to_dict(), "classes": rows, "unmixed_shards": self.unmixed}

    def about_labels(self) -> Iterator[Finding]:
        if self.learned is None:
            yield self.nothing_to_learn()
            return
        of_class = {name: self.counts[self.learned].get(name, 0) for name in self.classes}
        least = 2 if self.unsplit else 1
        why = "fewer than the two images that a split needs" if self.unsplit else "nothing to learn from"
        kinds: tuple[tuple[str, Severity, int, int, str], ...] = (
            ("absent", "error", 0, least, why),
            ("few", "warning", least, FEW, f"fewer than {FEW} images to learn from"),
        )
        for kind, severity, lowest, below, what in kinds:
            short = [f"{name} ({n})" for name, n in of_class.items() if lowest <= n < below]
            if short:
                text = f"{counted(len(short), 'class', 'classes')} with {what}: {some(short)}"
                images = sum(n for n in of_class.values() if lowest <= n < below)
                yield Finding(kind, images, severity=severity, text=text)
        if len(self.classes) == 1:
            yield Finding(
                "one-class", self.images, severity="error", text="one class only: a classifier needs two or more"
            )
        if self.unmixed:
            text = (
                f"{counted(self.unmixed, 'shard')} of one class only: shards are learned one after the other, "
                "so mix them"
            )
            yield Finding("unmixed", self.images, severity="error", text=text)
        most, fewest = max(of_class.values(), default=0), min((n for n in of_class.values() if n), default=0)
        if most >= _UNBALANCED * fewest > 0:
            text = f"{most} images in the largest class, {fewest} in the smallest: accuracy alone hides the small ones"
            yield Finding("unbalanced", most, severity="warning", text=text)
