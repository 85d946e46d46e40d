"""What a look at every image of a data set can find, whatever is said about the images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, NamedTuple

import numpy as np

from featherbone.data.boxes import Severity
from featherbone.data.dataset import ImageInfo, Skipped, Source
from featherbone.data.names import ALL, TEST, TRAIN, VAL
from featherbone.errors import counted, some

FEW = 10
SMALL = 16
_USUAL_MODES = {"RGB", "L"}


@dataclass(frozen=True, eq=False)
class ImageRef:
    """An image as reports name it: its split, class and path, each one line."""

    source: Source
    split: str
    label: str
    path: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"split": self.split, "label": self.label, "path": self.path}


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Images with equal pixels, once upright and in 8 bits; with ``same_bytes``, all of them the same file."""

    images: tuple[ImageRef, ...]
    same_bytes: bool

    @property
    def across(self) -> bool:
        """Whether they lie in more than one split."""
        return len({image.split for image in self.images}) > 1

    @property
    def conflicting(self) -> bool:
        """Whether they have more than one label."""
        return len({image.label for image in self.images}) > 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "same_bytes": self.same_bytes,
            "across_splits": self.across,
            "conflicting_labels": self.conflicting,
            "images": [image.to_dict() for image in self.images],
        }


@dataclass(frozen=True)
class Finding:
    """Something worth knowing; an error if training on it, or believing what is measured on it, would be a mistake."""

    kind: str
    images: int
    severity: Severity
    text: str


class IssueGroup(NamedTuple):
    """Images with one kind of issue.

    Attributes:
        kind: of the issue.
        severity: of the issue.
        title: what a report calls it.
        total: how many images have it.
        images: the first of them, each with what is to be drawn on it.
    """

    kind: str
    severity: Severity
    title: str
    total: int
    images: Mapping[ImageRef, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Check(ABC):
    """What a look at every image of a data set has found, whatever is said about the images.

    Attributes:
        name: the data set.
        classes: names, in label order.
        splits: "train", "val" and "test", those that there are, or "all" if it is not split.
        seen: the images that can be read, and what was seen of each, upright.
        left_out: folders, files and splits that lie beside the data set and are no part of it.
        broken: files that cannot be used, and why.
        duplicates: images that are there more than once.
        samples: a few images of each class, which they have as their label.
    """

    thing: ClassVar[str] = "file"  # what may be left out
    sample_side: ClassVar[int] = 96  # pixels of an image in a page, at most

    name: str
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    seen: Sequence[tuple[ImageRef, ImageInfo]]
    left_out: tuple[Skipped, ...]
    broken: tuple[Skipped, ...]
    duplicates: tuple[Duplicates, ...]
    samples: tuple[ImageRef, ...]

    @property
    @abstractmethod
    def table(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        """Titles and rows: what there is of each class in each split."""

    @property
    @abstractmethod
    def facts(self) -> list[tuple[str, str]]:
        """What the whole is, in a few lines: names and values."""

    @abstractmethod
    def about_labels(self) -> Iterator[Finding]:
        """Yield what is worth knowing about what is said about the images."""

    def issue_groups(self, most: int) -> list[IssueGroup]:
        """Return the images with each kind of issue, at most so many of a kind, the most severe first."""
        return []

    def drawing(self, image: ImageRef) -> Mapping[str, Any]:
        """Return what is to be drawn on an image of ``samples``: ``width``, ``height`` and ``outlines``, or nothing."""
        return {}

    @property
    def images(self) -> int:
        """How many images can be read."""
        return len(self.seen)

    @cached_property
    def of_split(self) -> Mapping[str, int]:
        """How many images of each split can be read."""
        found = Counter(image.split for image, _ in self.seen)
        return {split: found[split] for split in self.splits}

    @cached_property
    def sizes(self) -> Mapping[tuple[int, int], int]:
        """How many images have each (width, height), upright."""
        return Counter((one.width, one.height) for _, one in self.seen)

    @cached_property
    def modes(self) -> Mapping[str, int]:
        """How many are stored in each mode, in Pillow's words, the commonest first."""
        return dict(Counter(one.mode for _, one in self.seen).most_common())

    @property
    def turned(self) -> int:
        """How many the EXIF tag turns or mirrors; they are read upright."""
        return sum(one.turned for _, one in self.seen)

    @property
    def further_frames(self) -> int:
        """How many have more than one frame; the first counts."""
        return sum(one.animated for _, one in self.seen)

    @property
    def small(self) -> tuple[ImageRef, ...]:
        """Images with a side below 16 pixels."""
        return tuple(image for image, one in self.seen if one.side < SMALL)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is worth knowing, errors first."""
        found = chain(self._about_duplicates(), self.about_labels(), self._about_remainder(), self._about_files())
        return tuple(sorted(found, key=lambda finding: finding.severity != "error"))

    def side(self, axis: int) -> tuple[int, int, int]:
        """Return the smallest, median and largest width (axis 0) or height (1) in pixels."""
        low, middle, high = spread_of(np.repeat([size[axis] for size in self.sizes], list(self.sizes.values())))
        return int(low), int(middle), int(high)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        common = sorted(self.sizes.items(), key=lambda entry: -entry[1])[:10]
        return {
            "name": self.name,
            "images": self.images,
            "splits": dict(self.of_split),
            "width": named_spread(self.side(0)),
            "height": named_spread(self.side(1)),
            "different_sizes": len(self.sizes),
            "commonest_sizes": [{"width": w, "height": h, "images": n} for (w, h), n in common],
            "modes": dict(self.modes),
            "turned": self.turned,
            "further_frames": self.further_frames,
            "small": [image.to_dict() for image in self.small],
            "left_out": [asdict(one) for one in self.left_out],
            "broken": [asdict(file) for file in self.broken],
            "duplicates": [group.to_dict() for group in self.duplicates],
            "findings": [asdict(finding) for finding in self.findings],
        }

    @property
    def unsplit(self) -> bool:
        """Whether there is no split to hold out, so that some of its images will be."""
        return not {VAL, TEST} & set(self.splits)

    @property
    def learned(self) -> str | None:
        """The split to learn from, if there is one."""
        return next((split for split in (TRAIN, ALL) if split in self.splits), None)

    def nothing_to_learn(self) -> Finding:
        """Return the finding that there is no split to learn from."""
        text = f"nothing to learn from: only the split {', '.join(self.splits)}"
        return Finding("nothing-to-learn", self.images, severity="error", text=text)

    def facts_about_images(self) -> list[tuple[str, str]]:
        """Return what the images are, in a few lines."""
        width, height = self.side(0), self.side(1)
        return [
            ("data", self.name),
            ("readable images", f"{self.images:,}"),
            ("width, smallest to largest", f"{width[0]} to {width[2]}, median {width[1]} pixels"),
            ("height", f"{height[0]} to {height[2]}, median {height[1]} pixels"),
            ("stored as", ", ".join(f"{mode} {count:,}" for mode, count in self.modes.items())),
            ("equal images", counted(len(self.duplicates), "group")),
        ]

    def _about_duplicates(self) -> Iterator[Finding]:
        across = [group for group in self.duplicates if group.across]
        if across:
            text = "in more than one split: measuring on them tests memory, not recognition"
            yield _finding("leak", across, text, severity="error")
        conflicting = [group for group in self.duplicates if group.conflicting]
        if conflicting:
            yield _finding(
                "conflict", conflicting, "labelled in more than one way: only one can be right", severity="error"
            )
        plain = [group for group in self.duplicates if not group.across and not group.conflicting]
        copies = [group for group in plain if group.same_bytes]
        alike = [group for group in plain if not group.same_bytes]
        if self.unsplit:  # the split itself looks at bytes, not at pixels
            kinds: tuple[tuple[list[Duplicates], str, Severity], ...] = (
                (alike, ", in files of different bytes: a split may put equal ones on both sides", "error"),
                (copies, ", byte for byte: a split keeps them on one side", "warning"),
            )
        else:
            kinds = ((plain, ", in one split, labelled alike", "warning"),)
        for groups, after, severity in kinds:
            if groups:
                yield _finding("duplicate", groups, f"more than once{after}", severity=severity)

    def _about_remainder(self) -> Iterator[Finding]:
        if self.left_out:
            files = sum(one.files for one in self.left_out)
            names = some([f"{one.path} ({one.files:,})" if one.files else one.path for one in self.left_out])
            text = f"{counted(files, 'file')} beside the data set, left out or not as named: {names}"
            yield Finding("left-out", files, severity="warning", text=text)

    def _about_files(self) -> Iterator[Finding]:
        odd = {mode: n for mode, n in self.modes.items() if mode not in _USUAL_MODES}
        forms = ", ".join(f"{mode} {n}" for mode, n in odd.items())
        for kind, number, noun, text in (
            ("broken", len(self.broken), self.thing, "that cannot be used, left out"),
            ("small", len(self.small), "image", f"with a side below {SMALL} pixels"),
            ("turned", self.turned, "image", "turned upright, as the EXIF tag says"),
            ("frames", self.further_frames, "file", "with several frames, of which the first counts"),
            ("modes", sum(odd.values()), "image", f"converted, because not stored as 8-bit colour or grey: {forms}"),
        ):
            if number:
                yield Finding(kind, number, severity="warning", text=f"{counted(number, noun)} {text}")


def _finding(kind: str, groups: Sequence[Duplicates], text: str, *, severity: Severity) -> Finding:
    files = sum(len(group.images) for group in groups)
    number = f"{counted(len(groups), 'image')} ({counted(files, 'file')})"
    return Finding(kind, files, severity=severity, text=f"{number} {text}")


def spread_of(values: np.ndarray) -> tuple[float, float, float]:
    """Return the smallest, median and largest of some values, zeros if there are none."""
    return (float(values.min()), float(np.median(values)), float(values.max())) if len(values) else (0.0, 0.0, 0.0)


def named_spread(values: Sequence[float]) -> dict[str, float]:
    """Return ``spread_of`` as plain JSON values."""
    return dict(zip(("smallest", "median", "largest"), values, strict=True))
