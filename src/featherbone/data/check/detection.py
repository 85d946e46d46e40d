"""What a look at every image of a detection data set, and at every box, has found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from featherbone.data._box_dataset import Annotations, Format
from featherbone.data.boxes import LEFT_OUT, Fault, corners
from featherbone.data.check.report import FEW, Check, Finding, Picture, named_spread, spread_of
from featherbone.data.dataset import ImageInfo
from featherbone.errors import counted, some

# COCO's limits: areas in pixels of the image
_SMALL, _MEDIUM = 32**2, 96**2
_SHARES = (0.001, 0.01, 0.1, 0.25, 1.0)  # of the image, largest of each row
_PER_IMAGE = (0, 1, 5, 10, 20, 50, 100)

# what is wrong with single boxes, the gravest first: how a finding goes on after their number, and whether it is grave
FAULTS = {
    "numbers": (f"{LEFT_OUT['numbers']}, left out", True),
    "class": (f"{LEFT_OUT['class']}, left out", True),
    "two-classes": ("in the same place as one of another class: only one can be right", True),
    "empty": (f"{LEFT_OUT['empty']}, left out", False),
    "twice": ("there more than once: same class, same place", False),
    "outside": ("cut off at the edge of the image, beyond which they reach", False),
}


@dataclass(frozen=True, eq=False)
class Flaw:
    """Something wrong with a box, and the picture that it is on."""

    picture: Picture
    fault: Fault

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; corners that are no finite numbers are missing."""
        values = np.array(self.fault.corners)
        return {
            "kind": self.fault.kind,
            "box": self.fault.box,
            "corners": values.tolist() if np.isfinite(values).all() else None,
            **self.picture.to_dict(),
        }


class Outline(NamedTuple):
    """A box as a page draws it: ``role`` is "shown" for what the picture is there for, "wrong", or "other"."""

    corners: tuple[float, float, float, float]
    name: str
    role: str


@dataclass(frozen=True, eq=False)
class BoxCheck(Check):
    """What a look at every image of a detection data set, and at every box, has found.

    Pictures have what is on them as their label, such as "12 RBC, 1 WBC"; samples have the class that they show.

    Attributes:
        format: how it is written.
        truths: of every picture that can be read, and of every sample, what was seen and the boxes that are kept.
        flaws: what is wrong with single boxes.
        unknown: how many boxes have each name or number that is no class.
        missing: images that are annotated and are not there.
        unlisted: image files beside the others for which nothing is annotated.
        resized: pictures of another size than was annotated.
        turned_boxes: pictures whose boxes were annotated before the EXIF tag turned them.
    """

    thing: ClassVar[str] = "thing"

    format: Format
    truths: Mapping[Picture, tuple[ImageInfo, Annotations]]
    flaws: tuple[Flaw, ...]
    unknown: Mapping[str, int]
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]
    resized: tuple[Picture, ...]
    turned_boxes: int

    @cached_property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Boxes by part and class, without crowds."""
        return self._counted(lambda labels: labels)

    @cached_property
    def images_with(self) -> Mapping[str, Mapping[str, int]]:
        """Images by part and class that have a box of it, without crowds."""
        return self._counted(np.unique)

    @property
    def boxes(self) -> int:
        """How many boxes are kept, without crowds."""
        return sum(n for part in self.counts.values() for n in part.values())

    @cached_property
    def crowds(self) -> int:
        """How many boxes are crowds, or difficult: neither learnt nor scored."""
        return sum(int(truth.crowd.sum()) for _, truth in self._seen_truths)

    @cached_property
    def per_image(self) -> np.ndarray:
        """How many boxes each picture has, ``(images,)``."""
        return np.array([len(_single(truth)) for _, truth in self._seen_truths], np.int64)

    @cached_property
    def measures(self) -> np.ndarray:
        """Width and height of every box in pixels, and its share of its image, ``(boxes, 3)``."""
        rows = [np.zeros((0, 3))]
        for picture, _ in self.seen:
            seen, truth = self.truths[picture]
            sides = (truth.boxes[:, 2:] - truth.boxes[:, :2])[~truth.crowd].astype(np.float64)
            rows.append(np.column_stack([sides, sides.prod(1) / (seen.width * seen.height)]))
        return np.concatenate(rows)

    @property
    def table(self) -> tuple[Sequence[str], list[Sequence[object]]]:
        titles = [title for part in self.parts for title in (f"{part} boxes", "in images")]
        counts = [found[part] for part in self.parts for found in (self.counts, self.images_with)]
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
            ("box sizes", f"{sizes} (COCO's: 32 and 96 pixels square part them)"),
            ("box, share of its image", f"{shares[0]} to {shares[2]}, median {shares[1]}"),
        ]

    def sizes_of_boxes(self) -> dict[str, int]:
        """Return how many boxes are small, medium and large, by COCO's areas."""
        areas = self.measures[:, 0] * self.measures[:, 1]
        small, medium = int((areas < _SMALL).sum()), int((areas < _MEDIUM).sum())
        return {"small": small, "medium": medium - small, "large": len(areas) - medium}

    def size_of(self, picture: Picture) -> tuple[int, int]:
        """Return the width and height of a picture or sample, in pixels."""
        seen, _ = self.truths[picture]
        return seen.width, seen.height

    def outlines(self, picture: Picture, flaws: Sequence[Flaw] = ()) -> list[Outline]:
        """Return the boxes of a picture or sample: those of its class, or what is wrong, stand out."""
        _, truth = self.truths[picture]
        names = [self.classes[label] for label in truth.labels]
        whole = [
            Outline(corners(box), name, "shown" if name == picture.label else "other")
            for box, name in zip(truth.boxes, names, strict=True)
        ]
        # those that stand out lie above the others
        wrong = [Outline(flaw.fault.corners, flaw.fault.kind, "wrong") for flaw in flaws]
        drawable = [one for one in wrong if np.isfinite(one.corners).all()]
        return sorted(whole, key=lambda one: one.role == "shown") + drawable

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rows = [
            {"name": name}
            | {p: {"boxes": self.counts[p][name], "images": self.images_with[p][name]} for p in self.parts}
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
            "flaws": [flaw.to_dict() for flaw in self.flaws],
            "unknown_classes": dict(self.unknown),
            "missing": list(self.missing),
            "unlisted": list(self.unlisted),
            "resized": [picture.to_dict() for picture in self.resized],
        }

    def about_labels(self) -> Iterator[Finding]:
        yield from self._about_boxes()
        yield from self._about_classes()
        yield from self._about_images()

    @property
    def _seen_truths(self) -> Iterator[tuple[Picture, Annotations]]:
        return ((picture, self.truths[picture][1]) for picture, _ in self.seen)

    def _counted(self, which: Callable[[np.ndarray], np.ndarray]) -> dict[str, dict[str, int]]:
        """Return how often each class is among the labels that are chosen of every picture, by part."""
        found = {part: np.zeros(len(self.classes), np.int64) for part in self.parts}
        for picture, truth in self._seen_truths:
            found[picture.part] += np.bincount(which(_single(truth)), minlength=len(self.classes))
        return {part: dict(zip(self.classes, counts.tolist(), strict=True)) for part, counts in found.items()}

    def _about_boxes(self) -> Iterator[Finding]:
        for kind, (text, grave) in FAULTS.items():
            found = [flaw for flaw in self.flaws if flaw.fault.kind == kind]
            if found:
                images = len({flaw.picture for flaw in found})
                names = [f"{name} ({n})" for name, n in self.unknown.items()] if kind == "class" else []
                said = f"{counted(len(found), 'box', 'boxes')} {text}{': ' if names else ''}{some(names)}"
                yield Finding(kind, images, grave=grave, text=said)

    def _about_classes(self) -> Iterator[Finding]:
        if self.learnt is None:
            yield self.nothing_to_learn()
            return
        learnt = self.counts[self.learnt]
        boxed = sum(n > 0 for (p, _), n in zip(self.seen, self.per_image, strict=True) if p.part == self.learnt)
        least = 2 if self.unsplit else 1
        if boxed < least:
            text = f"{counted(boxed, 'image')} with boxes to learn from: it takes {least} or more"
            yield Finding("nothing-to-learn", boxed, grave=True, text=text)
        measured = {name for part in self.parts if part != self.learnt for name, n in self.counts[part].items() if n}
        absent = [name for name, n in learnt.items() if not n]
        for grave, what in ((True, "to learn from, though they are to be found elsewhere"), (False, "anywhere")):
            names = [name for name in absent if (name in measured) == grave]
            if names:
                text = f"{counted(len(names), 'class', 'classes')} without a box {what}: {some(names)}"
                yield Finding("absent", 0, grave=grave, text=text)
        few = [f"{name} ({n})" for name, n in learnt.items() if 0 < n < FEW]
        if few:
            text = f"{counted(len(few), 'class', 'classes')} with fewer than {FEW} boxes to learn from: {some(few)}"
            images = sum(self.images_with[self.learnt][name] for name, n in learnt.items() if 0 < n < FEW)
            yield Finding("few", images, grave=False, text=text)

    def _about_images(self) -> Iterator[Finding]:
        empty, resized = int((self.per_image == 0).sum()), [picture.path for picture in self.resized]
        for kind, grave, count, noun, text, names in (
            ("resized", True, len(resized), "image", "of another size than annotated: the boxes may not fit", resized),
            ("missing", False, len(self.missing), "annotated image", "missing", self.missing),
            (
                "unlisted",
                False,
                len(self.unlisted),
                "image file",
                "beside the others without annotation",
                self.unlisted,
            ),
            ("background", False, empty, "image", "without a box: learnt as showing nothing", ()),
            ("turned-boxes", False, self.turned_boxes, "image", "annotated lying, and turned with the boxes", ()),
        ):
            if count:
                said = f" ({some(names, most=3)})" if names else ""
                yield Finding(kind, count, grave=grave, text=f"{counted(count, noun)} {text}{said}")


def contents(truth: Annotations, classes: Sequence[str]) -> str:
    """Return what is on an image in a few words, such as "12 RBC, 1 WBC"."""
    found = Counter(classes[label] for label in np.sort(truth.labels))
    return ", ".join(f"{n} {name}" for name, n in found.items()) or "no box"


def _single(truth: Annotations) -> np.ndarray:
    return truth.labels[~truth.crowd]


def _percent(number: int, of: int) -> str:
    return f"{100 * number / max(1, of):.0f} %"


def _binned(values: np.ndarray, tops: Sequence[float]) -> list[dict[str, Any]]:
    """Return how many values there are up to each limit and above the one before, as far as there are any."""
    places = np.bincount(np.searchsorted(tops, values), minlength=len(tops) + 1)
    last = max(np.flatnonzero(places), default=0)
    return [{"up_to": top, "count": int(n)} for top, n in zip((*tops, None), places, strict=True)][: last + 1]
