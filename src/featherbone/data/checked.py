"""What a look at every image of a data set has found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np

from featherbone.data.names import ALL, TRAIN
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
            "findings": [asdict(finding) for finding in self.findings],
        }

    def _about_duplicates(self) -> Iterator[Finding]:
        across = _pictures(group for group in self.duplicates if group.across)
        if across:
            text = f"{across} pictures are in more than one part: what is measured on them is memory, not recognition"
            yield Finding("leak", across, grave=True, text=text)
        conflicting = _pictures(group for group in self.duplicates if group.conflicting)
        if conflicting:
            text = f"{conflicting} pictures are equal to one with another label: one of the labels is wrong"
            yield Finding("conflict", conflicting, grave=True, text=text)
        plain = _pictures(group for group in self.duplicates if not group.across and not group.conflicting)
        if plain:
            split = ALL in self.counts
            after = ": a split may put equal ones on both sides" if split else ", within one part and class"
            yield Finding("duplicate", plain, grave=split, text=f"{plain} pictures are there more than once{after}")

    def _about_classes(self) -> Iterator[Finding]:
        learnt = next((self.counts[part] for part in (TRAIN, ALL) if part in self.counts), None)
        if learnt is None:
            text = f"there is nothing to learn from: only the part {', '.join(self.counts)}"
            yield Finding("nothing-to-learn", self.images, grave=True, text=text)
            return
        of_class = {name: learnt.get(name, 0) for name in self.classes}
        absent = [name for name, n in of_class.items() if not n]
        if absent:
            text = f"nothing to learn from in {len(absent)} classes: {some(absent)}"
            yield Finding("absent", 0, grave=True, text=text)
        few = {name: n for name, n in of_class.items() if 0 < n < FEW}
        if few:
            names = some([f"{name} ({n})" for name, n in few.items()])
            text = f"fewer than {FEW} images to learn from in {len(few)} classes: {names}"
            yield Finding("few", sum(few.values()), grave=False, text=text)
        if len(self.classes) == 1:
            yield Finding("one-class", self.images, grave=True, text="there is one class only: a classifier needs two")
        most, least = max(of_class.values(), default=0), min((n for n in of_class.values() if n), default=0)
        if most >= _UNBALANCED * least > 0:
            text = f"the largest class has {most} images, the smallest {least}: accuracy alone will hide the small ones"
            yield Finding("unbalanced", most, grave=False, text=text)

    def _about_files(self) -> Iterator[Finding]:
        if self.broken:
            text = f"{len(self.broken)} files cannot be used, and are left out"
            yield Finding("broken", len(self.broken), grave=False, text=text)
        if self.small:
            text = f"{len(self.small)} images have a side below {SMALL} pixels"
            yield Finding("small", len(self.small), grave=False, text=text)
        if self.turned:
            text = f"{self.turned} images are turned upright as their EXIF tag says"
            yield Finding("turned", self.turned, grave=False, text=text)
        if self.further_frames:
            text = f"{self.further_frames} files have several frames, of which the first counts"
            yield Finding("frames", self.further_frames, grave=False, text=text)
        odd = {mode: n for mode, n in self.modes.items() if mode not in _USUAL_MODES}
        if odd:
            named = ", ".join(f"{mode} {n}" for mode, n in odd.items())
            text = f"{sum(odd.values())} images are not stored as 8-bit colour or grey, and are turned into it: {named}"
            yield Finding("modes", sum(odd.values()), grave=False, text=text)


def _pictures(groups: Iterator[Duplicates] | Sequence[Duplicates]) -> int:
    return sum(len(group.pictures) for group in groups)
