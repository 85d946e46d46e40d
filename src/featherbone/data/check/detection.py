"""What a look at every image of a detection data set, and at every box, has found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from featherbone.data.boxes import ISSUES, BoxIssue, Severity, corners
from featherbone.data.check.report import FEW, Check, Finding, ImageRef, IssueGroup, named_spread, spread_of
from featherbone.data.dataset import Annotations, Format, ImageInfo
from featherbone.errors import counted, some

# COCO's limits: areas in pixels of the image
_SMALL, _MEDIUM = 32**2, 96**2
_SHARES = (0.001, 0.01, 0.1, 0.25, 1.0)  # of the image, largest of each row
_PER_IMAGE = (0, 1, 5, 10, 20, 50, 100)


@dataclass(frozen=True, eq=False)
class ImageIssue:
    """Something wrong with a box, and the image that it is on."""

    image: ImageRef
    issue: BoxIssue

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; corners that are no finite numbers are missing."""
        values = np.array(self.issue.corners)
        return {
            "kind": self.issue.kind,
            "box": self.issue.box,
            "corners": values.tolist() if np.isfinite(values).all() else None,
            **self.image.to_dict(),
        }


class Outline(NamedTuple):
    """A box as a page draws it: ``role`` is "shown" for what the image is there for, "wrong", or "other"."""

    corners: tuple[float, float, float, float]
    name: str
    role: str


@dataclass(frozen=True, eq=False)
class DetectionCheck(Check):
    """What a look at every image of a detection data set, and at every box, has found.

    The label of an image is what is on it, such as "12 RBC, 1 WBC"; that of a sample is the class that it shows.

    Attributes:
        format: how it is written.
        annotated: of every image that can be read, and of every sample, what was seen and the boxes that are kept.
        issues: what is wrong with single boxes.
        unknown: how many boxes have each name or number that is no class.
        missing: images that are annotated and are not there.
        unlisted: image files beside the others for which nothing is annotated.
        resized: images of another size than was annotated.
        turned_boxes: how many images had their boxes annotated before the EXIF tag turned them.
    """

    thing: ClassVar[str] = "thing"
    sample_side: ClassVar[int] = 256

    format: Format
    annotated: Mapping[ImageRef, tuple[ImageInfo, Annotations]]
    issues: tuple[ImageIssue, ...]
    unknown: Mapping[str, int]
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]
    resized: tuple[ImageRef, ...]
    turned_boxes: int

    @cached_property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Boxes by split and class, without crowds."""
        return self._counted(lambda labels: labels)

    @cached_property
    def images_with(self) -> Mapping[str, Mapping[str, int]]:
        """Images by split and class that have a box of it, without crowds."""
        return self._counted(np.unique)

    @property
    def boxes(self) -> int:
        """How many boxes are kept, without crowds."""
        return sum(n for split in self.counts.values() for n in split.values())

    @cached_property
    def crowds(self) -> int:
        """How many boxes are crowds, or difficult: neither learned nor scored."""
        return sum(int(target.crowd.sum()) for _, target in self._seen_targets)

    @cached_property
    def per_image(self) -> np.ndarray:
        """How many boxes each image has, ``(images,)``."""
        return np.array([len(_single(target)) for _, target in self._seen_targets], np.int64)

    @cached_property
    def measures(self) -> np.ndarray:
        """Width and height of every box in pixels, and its share of its image, ``(boxes, 3)``."""
        rows = [np.zeros((0, 3))]
        for image, _ in self.seen:
            seen, target = self.annotated[image]
            sides = (target.boxes[:, 2:] - target.boxes[:, :2])[~target.crowd].astype(np.float64)
            rows.append(np.column_stack([sides, sides.prod(1) / (seen.width * seen.height)]))
        return np.concatenate(rows)

    @property
    def table(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        titles = [title for split in self.splits for title in (f"{split} boxes", "in images")]
        counts = [found[split] for split in self.splits for found in (self.counts, self.images_with)]
        rows = [(name, *(found[name] for found in counts)) for name in self.classes]
        return ("class", *titles), list(rows)

    @property
    def facts(self) -> list[tuple[str, str]]:
        low, middle, high = spread_of(self.per_image)
        sizes = ", ".join(f"{name} {_percent(n, self.boxes)}" for name, n in self.sizes_of_boxes().items())
        shares = [f"{100 * share:.3g} %" for share in spread_of(self.measures[:, 2])]
        crowds = f", and {counted(self.crowds, 'crowd')} that nobody counted" if self.crowds else ""
        return [
            *self.facts_about_images(),
            ("format", self.format),
            ("boxes", f"{self.boxes:,}{crowds}"),
            ("boxes per image", f"{low:.0f} to {high:.0f}, median {middle:g}"),
            ("box sizes", f"{sizes} (by COCO's limits, 32 x 32 and 96 x 96 pixels)"),
            ("box, share of its image", f"{shares[0]} to {shares[2]}, median {shares[1]}"),
        ]

    def sizes_of_boxes(self) -> dict[str, int]:
        """Return how many boxes are small, medium and large, by COCO's areas."""
        areas = self.measures[:, 0] * self.measures[:, 1]
        small, medium = int((areas < _SMALL).sum()), int((areas < _MEDIUM).sum())
        return {"small": small, "medium": medium - small, "large": len(areas) - medium}

    def drawing(self, image: ImageRef, issues: Sequence[ImageIssue] = ()) -> Mapping[str, Any]:
        info, _ = self.annotated[image]
        return {"width": info.width, "height": info.height, "outlines": self.outlines(image, issues)}

    def issue_groups(self, most: int) -> list[IssueGroup]:
        groups = []
        for kind, about in ISSUES.items():
            of_image: dict[ImageRef, list[ImageIssue]] = {}
            for one in self.issues:
                if one.issue.kind == kind:
                    of_image.setdefault(one.image, []).append(one)
            if of_image:
                drawn = {image: self.drawing(image, issues) for image, issues in list(of_image.items())[:most]}
                groups.append(IssueGroup(kind, about.severity, about.title, len(of_image), drawn))
        return groups

    def outlines(self, image: ImageRef, issues: Sequence[ImageIssue] = ()) -> list[Outline]:
        """Return the boxes of an image or sample: those of its class, or what is wrong, stand out."""
        _, target = self.annotated[image]
        names = [self.classes[label] for label in target.labels]
        whole = [
            Outline(corners(box), name, "shown" if name == image.label else "other")
            for box, name in zip(target.boxes, names, strict=True)
        ]
        # those that stand out lie above the others
        wrong = [Outline(one.issue.corners, one.issue.kind, "wrong") for one in issues]
        drawable = [one for one in wrong if np.isfinite(one.corners).all()]
        return sorted(whole, key=lambda one: one.role == "shown") + drawable

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rows = [
            {"name": name}
            | {p: {"boxes": self.counts[p][name], "images": self.images_with[p][name]} for p in self.splits}
            for name in self.classes
        ]
        width, height, share = (named_spread(spread_of(column)) for column in self.measures.T)
        return {
            **super().to_dict(),
            "format": self.format,
            "classes": rows,
            "boxes": {
                "total": self.boxes,
                "crowds": self.crowds,
                "per_image": named_spread(spread_of(self.per_image)),
                "images_with": _binned(self.per_image, _PER_IMAGE),
                "sizes": self.sizes_of_boxes(),
                "width": width,
                "height": height,
                "share": share,
                "shares": _binned(self.measures[:, 2], _SHARES),
            },
            "issues": [issue.to_dict() for issue in self.issues],
            "unknown_classes": dict(self.unknown),
            "missing": list(self.missing),
            "unlisted": list(self.unlisted),
            "resized": [image.to_dict() for image in self.resized],
        }

    def about_labels(self) -> Iterator[Finding]:
        yield from self._about_boxes()
        yield from self._about_classes()
        yield from self._about_images()

    @property
    def _seen_targets(self) -> Iterator[tuple[ImageRef, Annotations]]:
        return ((image, self.annotated[image][1]) for image, _ in self.seen)

    def _counted(self, which: Callable[[np.ndarray], np.ndarray]) -> dict[str, dict[str, int]]:
        """Return how often each class is among the labels that are chosen of every image, by split."""
        found = {split: np.zeros(len(self.classes), np.int64) for split in self.splits}
        for image, target in self._seen_targets:
            found[image.split] += np.bincount(which(_single(target)), minlength=len(self.classes))
        return {split: dict(zip(self.classes, counts.tolist(), strict=True)) for split, counts in found.items()}

    def _about_boxes(self) -> Iterator[Finding]:
        for kind, about in ISSUES.items():
            found = [one for one in self.issues if one.issue.kind == kind]
            if found:
                images = len({one.image for one in found})
                names = [f"{name} ({n})" for name, n in self.unknown.items()] if kind == "class" else []
                said = f"{counted(len(found), 'box', 'boxes')} {about.text}{': ' if names else ''}{some(names)}"
                yield Finding(kind, images, severity=about.severity, text=said)

    def _about_classes(self) -> Iterator[Finding]:
        if self.learned is None:
            yield self.nothing_to_learn()
            return
        learned = self.counts[self.learned]
        boxed = sum(n > 0 for (p, _), n in zip(self.seen, self.per_image, strict=True) if p.split == self.learned)
        least = 2 if self.unsplit else 1
        if boxed < least:
            text = f"{counted(boxed, 'image')} with boxes to learn from: it takes {least} or more"
            yield Finding("nothing-to-learn", boxed, severity="error", text=text)
        measured = {
            name for split in self.splits if split != self.learned for name, n in self.counts[split].items() if n
        }
        absent = [name for name, n in learned.items() if not n]
        kinds: tuple[tuple[Severity, str], ...] = (
            ("error", "to learn from, though they are to be found elsewhere"),
            ("warning", "anywhere"),
        )
        for severity, what in kinds:
            names = [name for name in absent if (name in measured) is (severity == "error")]
            if names:
                text = f"{counted(len(names), 'class', 'classes')} without a box {what}: {some(names)}"
                yield Finding("absent", 0, severity=severity, text=text)
        few = [f"{name} ({n})" for name, n in learned.items() if 0 < n < FEW]
        if few:
            text = f"{counted(len(few), 'class', 'classes')} with fewer than {FEW} boxes to learn from: {some(few)}"
            images = sum(self.images_with[self.learned][name] for name, n in learned.items() if 0 < n < FEW)
            yield Finding("few", images, severity="warning", text=text)

    def _about_images(self) -> Iterator[Finding]:
        empty, resized = int((self.per_image == 0).sum()), [image.path for image in self.resized]
        rows: tuple[tuple[str, Severity, int, str, str, Sequence[str]], ...] = (
            (
                "resized",
                "error",
                len(resized),
                "image",
                "of another size than annotated: the boxes may not fit",
                resized,
            ),
            ("missing", "warning", len(self.missing), "annotated image", "missing", self.missing),
            (
                *("unlisted", "warning", len(self.unlisted)),
                *("image file", "beside the others without annotation", self.unlisted),
            ),
            ("background", "warning", empty, "image", "without a box: learned as showing nothing", ()),
            (
                "turned-boxes",
                "warning",
                self.turned_boxes,
                "image",
                "turned upright, and its boxes with it",
                (),
            ),
        )
        for kind, severity, count, noun, text, names in rows:
            if count:
                said = f" ({some(names, most=3)})" if names else ""
                yield Finding(kind, count, severity=severity, text=f"{counted(count, noun)} {text}{said}")


def contents(target: Annotations, classes: Sequence[str]) -> str:
    """Return what is on an image in a few words, such as "12 RBC, 1 WBC"."""
    found = Counter(classes[label] for label in np.sort(target.labels))
    return ", ".join(f"{n} {name}" for name, n in found.items()) or "no box"


def _single(target: Annotations) -> np.ndarray:
    return target.labels[~target.crowd]


def _percent(number: int, of: int) -> str:
    return f"{100 * number / max(1, of):.0f} %"


def _binned(values: np.ndarray, tops: Sequence[float]) -> list[dict[str, Any]]:
    """Return how many values there are up to each limit and above the one before, as far as there are any."""
    places = np.bincount(np.searchsorted(tops, values), minlength=len(tops) + 1)
    last = max(np.flatnonzero(places), default=0)
    return [{"up_to": top, "count": int(n)} for top, n in zip((*tops, None), places, strict=True)][: last + 1]
