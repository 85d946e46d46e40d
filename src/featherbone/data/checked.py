"""What a look at every image of a data set has found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np

from featherbone.data.names import ALL, TEST, TRAIN, VAL
from featherbone.data.sets import Skipped, Source
from featherbone.errors import some

FEW = 10
SMALL = 16
_UNBALANCED = 10
_USUAL_MODES = {"RGB", "L"}


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as reports name it: its part, class and path, each one line."""

    source: Source
    part: str
    label: str
    path: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"part": self.part, "label": self.label, "path": self.path}


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pictures with equal pixels, once upright and in 8 bits; with ``same_bytes``, all of them the same file."""

    pictures: tuple[Picture, ...]
    same_bytes: bool

    @property
    def across(self) -> bool:
        """Whether they lie in more than one part."""
        return len({picture.part for picture in self.pictures}) > 1

    @property
    def conflicting(self) -> bool:
        """Whether they have more than one label."""
        return len({picture.label for picture in self.pictures}) > 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "same_bytes": self.same_bytes,
            "across_parts": self.across,
            "conflicting_labels": self.conflicting,
            "images": [picture.to_dict() for picture in self.pictures],
        }


@dataclass(frozen=True)
class Finding:
    """Something worth knowing; ``grave`` if training on it, or believing what is measured on it, would be a mistake."""

    kind: str
    images: int
    grave: bool
    text: str


@dataclass(frozen=True, eq=False)
class DataCheck:
    """What a look at every image of a data set has found.

    Attributes:
        name: the data set.
        classes: names, in label order.
        counts: readable images by part and class; parts are "train", "val" and "test", or "all" if it is not split.
        sizes: how many images have each (width, height), upright.
        modes: how many are stored in each mode, in Pillow's words.
        turned: how many the EXIF tag turns or mirrors; they are read upright.
        further_frames: how many have more than one frame; the first counts.
        small: images with a side below 16 pixels.
        broken: files that are left out, and why.
        duplicates: pictures that are there more than once.
        samples: a few pictures of each class.
        unmixed: how many shards at URLs hold images of one class only, though there are several.
    """

    name: str
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    sizes: Mapping[tuple[int, int], int]
    modes: Mapping[str, int]
    turned: int
    further_frames: int
    small: tuple[Picture, ...]
    broken: tuple[Skipped, ...]
    duplicates: tuple[Duplicates, ...]
    samples: tuple[Picture, ...]
    unmixed: int = 0

    @property
    def images(self) -> int:
        """How many images can be read."""
        return sum(sum(part.values()) for part in self.counts.values())

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is worth knowing, the gravest first."""
        found = chain(self._about_duplicates(), self._about_classes(), self._about_files())
        return tuple(sorted(found, key=lambda finding: not finding.grave))

    def side(self, axis: int) -> tuple[int, int, int]:
        """Return the smallest, median and largest width (axis 0) or height (1) in pixels."""
        sides = np.repeat([size[axis] for size in self.sizes], list(self.sizes.values()))
        return (int(sides.min()), int(np.median(sides)), int(sides.max())) if len(sides) else (0, 0, 0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        common = sorted(self.sizes.items(), key=lambda entry: -entry[1])[:10]
        return {
            "name": self.name,
            "images": self.images,
            "classes": [{"name": name, **{p: c.get(name, 0) for p, c in self.counts.items()}} for name in self.classes],
            "width": dict(zip(("smallest", "median", "largest"), self.side(0), strict=True)),
            "height": dict(zip(("smallest", "median", "largest"), self.side(1), strict=True)),
            "different_sizes": len(self.sizes),
            "commonest_sizes": [{"width": w, "height": h, "images": n} for (w, h), n in common],
            "modes": dict(self.modes),
            "turned": self.turned,
            "further_frames": self.further_frames,
            "small": [picture.to_dict() for picture in self.small],
            "broken": [asdict(file) for file in self.broken],
            "duplicates": [group.to_dict() for group in self.duplicates],
            "unmixed_shards": self.unmixed,
            "findings": [asdict(finding) for finding in self.findings],
        }

    @property
    def _unsplit(self) -> bool:
        return not {VAL, TEST} & self.counts.keys()

    def _about_duplicates(self) -> Iterator[Finding]:
        across = [group for group in self.duplicates if group.across]
        if across:
            text = "in more than one part: measuring on them tests memory, not recognition"
            yield _finding("leak", across, text, grave=True)
        conflicting = [group for group in self.duplicates if group.conflicting]
        if conflicting:
            yield _finding("conflict", conflicting, "with more than one label: only one can be right", grave=True)
        plain = [group for group in self.duplicates if not group.across and not group.conflicting]
        if plain:
            after = ": a split may put equal ones on both sides" if self._unsplit else ", in one part and class"
            yield _finding("duplicate", plain, f"more than once{after}", grave=self._unsplit)

    def _about_classes(self) -> Iterator[Finding]:
        learnt = next((self.counts[part] for part in (TRAIN, ALL) if part in self.counts), None)
        if learnt is None:
            text = f"nothing to learn from: only the part {', '.join(self.counts)}"
            yield Finding("nothing-to-learn", self.images, grave=True, text=text)
            return
        of_class = {name: learnt.get(name, 0) for name in self.classes}
        least = 2 if self._unsplit else 1
        why = "fewer than the two images that a split needs" if self._unsplit else "nothing to learn from"
        for kind, grave, lowest, below, what in (
            ("absent", True, 0, least, why),
            ("few", False, least, FEW, f"fewer than {FEW} images to learn from"),
        ):
            short = [f"{name} ({n})" for name, n in of_class.items() if lowest <= n < below]
            if short:
                text = f"{_count(len(short), 'class', 'classes')} with {what}: {some(short)}"
                images = sum(n for n in of_class.values() if lowest <= n < below)
                yield Finding(kind, images, grave=grave, text=text)
        if len(self.classes) == 1:
            yield Finding("one-class", self.images, grave=True, text="one class only: a classifier needs two or more")
        if self.unmixed:
            text = (
                f"{_count(self.unmixed, 'shard')} of one class only: shards are learnt one after the other, so mix them"
            )
            yield Finding("unmixed", self.images, grave=True, text=text)
        most, fewest = max(of_class.values(), default=0), min((n for n in of_class.values() if n), default=0)
        if most >= _UNBALANCED * fewest > 0:
            text = f"{most} images in the largest class, {fewest} in the smallest: accuracy alone hides the small ones"
            yield Finding("unbalanced", most, grave=False, text=text)

    def _about_files(self) -> Iterator[Finding]:
        odd = {mode: n for mode, n in self.modes.items() if mode not in _USUAL_MODES}
        forms = ", ".join(f"{mode} {n}" for mode, n in odd.items())
        for kind, count, noun, text in (
            ("broken", len(self.broken), "file", "that cannot be used, left out"),
            ("small", len(self.small), "image", f"with a side below {SMALL} pixels"),
            ("turned", self.turned, "image", "turned upright, as the EXIF tag says"),
            ("frames", self.further_frames, "file", "with several frames, of which the first counts"),
            ("modes", sum(odd.values()), "image", f"converted, because not stored as 8-bit colour or grey: {forms}"),
        ):
            if count:
                yield Finding(kind, count, grave=False, text=f"{_count(count, noun)} {text}")


def _finding(kind: str, groups: Sequence[Duplicates], text: str, *, grave: bool) -> Finding:
    files = sum(len(group.pictures) for group in groups)
    return Finding(kind, files, grave=grave, text=f"{_count(len(groups), 'picture')} ({files} files) {text}")


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
