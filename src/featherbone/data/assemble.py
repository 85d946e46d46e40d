"""From what a source names to images that are known to be readable, with their targets, and split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Generic, TypeVar

import numpy as np

from featherbone.data.boxes import fit, left_out, why_left_out
from featherbone.data.dataset import (
    Annotations,
    BoxListing,
    ClassificationData,
    Data,
    Dataset,
    DetectionData,
    ImageInfo,
    Item,
    Listing,
    R,
    RawAnnotations,
    ScanResult,
    Skipped,
    Source,
    T,
)
from featherbone.data.duplicates import about_copies, copies
from featherbone.data.image import info_upright
from featherbone.data.names import TRAIN, in_order
from featherbone.data.scan import scan_image, scan_images, shown
from featherbone.errors import InputError, counted, some

D = TypeVar("D", bound=Data[Any])


class Assembler(ABC, Generic[R, T, D]):
    """The way from a listing to a data set; what labels and boxes do not share is abstract."""

    def data(
        self, listing: Listing[R], *, seed: int, val_fraction: float, scan: ScanResult | None = None, quiet: bool
    ) -> D:
        """Return the data set of a listing; if it has no split to hold out, a share of its images is.

        Raises:
            InputError: if there is nothing to learn from or to measure on, or a class that is not to be learned.
        """
        learned = self._learned(listing)
        held = listing.splits[listing.held_out] if listing.held_out else ()
        classes = self.classes(listing, learned)
        self.require_known(listing, held, classes)
        items = [*learned, *held]
        infos, skipped = self.trust(items, listing, scan, quiet) if scan else _look_over(items, listing, quiet)
        found, unusable = self._fitted(items, infos, listing, classes)
        skipped = scan.skipped if scan else (*skipped, *unusable)
        train, val = _kept(found[: len(learned)]), _kept(found[len(learned) :])
        self.require(listing, classes, train, val, skipped)
        first = copies([source for source, _ in (*train, *val)])
        if not listing.held_out:
            train, val = self._split(train, first, classes, seed, val_fraction)
            first = copies([source for source, _ in (*train, *val)])  # their places are others now
            if not val:
                raise InputError(f"{listing.name} has nothing to hold out: its images are copies of one another")
        return self.make(
            listing,
            [info for info in infos if info],
            name=listing.name,
            classes=classes,
            channels=1 if all(info.grey for info in infos if info) else 3,
            train=Dataset.of(train),
            val=Dataset.of(val),
            skipped=skipped if scan else (*listing.left_out, *skipped),
            notes=about_copies(first, [self.said(target) for _, target in (*train, *val)], len(train)),
            root=listing.root,
        )

    def images(
        self, listing: Listing[R], classes: Sequence[str], *, split: str | None = None, quiet: bool
    ) -> tuple[Dataset[T], tuple[Skipped, ...]]:
        """Return the images of a split, or the held-out ones, or all; labels as in ``classes``; and what is left out.

        Raises:
            InputError: if there is no such split, a class is not among ``classes``, or no image can be read.
        """
        split = split or listing.held_out or next(iter(listing.splits), TRAIN)
        if split not in listing.splits:
            has = some(tuple(listing.splits)) or "no image"
            raise InputError(f"split={split!r} is not allowed: {listing.name} has {has}")
        items = listing.splits[split]
        self.require_known(listing, items, classes)
        infos, skipped = _look_over(items, listing, quiet)
        found, unusable = self._fitted(items, infos, listing, classes)
        kept = _kept(found)
        if not kept:
            raise InputError(nothing_readable(listing.name, skipped))
        return Dataset.of(self.relabeled(kept, listing, classes)), (*listing.left_out, *skipped, *unusable)

    @abstractmethod
    def classes(self, listing: Listing[R], learned: Sequence[Item[R]]) -> tuple[str, ...]:
        """Return the classes' names, in label order."""

    @abstractmethod
    def fit(
        self, item: Item[R], info: ImageInfo, listing: Listing[R], labels: Mapping[str, int]
    ) -> tuple[T, Skipped | None]:
        """Return the target of an image that was decoded, and what of it cannot be used."""

    def said(self, target: T) -> Hashable:
        """Return what is said of an image, equal for equal targets."""
        return repr(target)

    @abstractmethod
    def require(
        self,
        listing: Listing[R],
        classes: Sequence[str],
        train: Sequence[tuple[Source, T]],
        val: Sequence[tuple[Source, T]],
        skipped: Sequence[Skipped],
    ) -> None:
        """Refuse what nobody can learn from or measure on; ``val`` is empty where a share is still to be held out."""

    @abstractmethod
    def strata(self, targets: Sequence[T], classes: Sequence[str]) -> list[tuple[np.ndarray, int]]:
        """Return groups of images of which the same share is held out: their places, and how many of each at least."""

    @abstractmethod
    def make(self, listing: Listing[R], infos: Sequence[ImageInfo], **columns: Any) -> D:
        """Return the data set with the columns that all have."""

    def require_known(self, listing: Listing[R], items: Sequence[Item[R]], classes: Sequence[str]) -> None:
        """Refuse a class that is not among ``classes``, where a source says it before its images are read."""

    def relabeled(
        self, found: list[tuple[Source, T]], listing: Listing[R], classes: Sequence[str]
    ) -> list[tuple[Source, T]]:
        """Return the targets with the numbers that ``classes`` give, where a source has numbers of its own."""
        return found

    def trust(
        self, items: Sequence[Item[R]], listing: Listing[R], scan: ScanResult, quiet: bool
    ) -> tuple[list[ImageInfo | None], tuple[Skipped, ...]]:
        """Return what an earlier scan saw, as far as it was kept; sizes were not."""
        bad = {one.path for one in scan.skipped}
        good = ImageInfo(0, 0, "L" if scan.grey else "RGB")
        return [None if shown(item.source, listing.place) in bad else good for item in items], scan.skipped

    def _learned(self, listing: Listing[R]) -> Sequence[Item[R]]:
        if listing.learned is None:
            had = f"only the split {', '.join(listing.splits)}" if listing.splits else "it lists none"
            raise InputError(f"{listing.name} has no images to learn from: {had}")
        return listing.splits[listing.learned]

    def _fitted(
        self, items: Sequence[Item[R]], infos: Sequence[ImageInfo | None], listing: Listing[R], classes: Sequence[str]
    ) -> tuple[list[tuple[Source, T] | None], tuple[Skipped, ...]]:
        """Return every image that could be read with its target, and what of the targets is left out."""
        labels = {name: label for label, name in enumerate(classes)}
        found: list[tuple[Source, T] | None] = []
        skipped = []
        for item, info in zip(items, infos, strict=True):
            if info is None:
                found.append(None)
                continue
            target, out = self.fit(item, info, listing, labels)
            found.append((item.source, target))
            if out:
                skipped.append(out)
        return found, tuple(skipped)

    def _split(
        self,
        found: Sequence[tuple[Source, T]],
        first: Sequence[int],
        classes: Sequence[str],
        seed: int,
        val_fraction: float,
    ) -> tuple[list[tuple[Source, T]], list[tuple[Source, T]]]:
        """Hold out the same share of every stratum, never all of it; images of the same bytes stay together.

        ``first`` is the place of the first image that holds the bytes of each.
        """
        together: dict[int, list[int]] = defaultdict(list)
        for place, one in enumerate(first):
            together[one].append(place)
        random = np.random.default_rng(seed)
        held: set[int] = set()
        for places, least in self.strata([target for _, target in found], classes):
            members = random.permutation(places)
            count = min(max(least, round(val_fraction * len(members))), len(members) - 1)
            different = [place for place in members.tolist() if first[place] == place]
            taken = 0
            for place in different[:-1]:
                if taken >= count:
                    break
                held.update(together[place])
                taken += len(together[place])
        train = [pair for i, pair in enumerate(found) if i not in held]
        return train, [pair for i, pair in enumerate(found) if i in held]


class LabelAssembler(Assembler[str, int, ClassificationData]):
    """Images with a class each."""

    def classes(self, listing: Listing[str], learned: Sequence[Item[str]]) -> tuple[str, ...]:
        classes = listing.classes or in_order(item.target for item in learned)
        if twice := [name for name, count in Counter(classes).items() if count > 1]:
            raise InputError(f"{listing.name} gives several classes one name: {some(twice)}")
        if len(classes) == 1:
            raise InputError(
                f"{listing.name} has one {listing.kind} only ({classes[0]}): a classifier needs two or more"
            )
        return classes

    def require_known(self, listing: Listing[str], items: Sequence[Item[str]], classes: Sequence[str]) -> None:
        unknown = in_order({item.target for item in items} - set(classes))
        if unknown:
            raise InputError(f"in {listing.name}, {some(unknown)} is none of the known classes: {some(classes)}")

    def fit(
        self, item: Item[str], info: ImageInfo, listing: Listing[str], labels: Mapping[str, int]
    ) -> tuple[int, Skipped | None]:
        return labels[item.target], None

    def require(
        self,
        listing: Listing[str],
        classes: Sequence[str],
        train: Sequence[tuple[Source, int]],
        val: Sequence[tuple[Source, int]],
        skipped: Sequence[Skipped],
    ) -> None:
        least = 1 if listing.held_out else 2
        counts = np.bincount([label for _, label in train], minlength=len(classes))
        if not counts.sum():
            raise InputError(nothing_readable(listing.name, skipped))
        short = [f"{name} ({n})" for name, n in zip(classes, counts, strict=True) if n < least]
        if short:
            wanted = "one readable image" if least == 1 else "two readable images, one to learn from and one held out"
            raise InputError(f"every class needs {wanted}; too few in {listing.name} for {some(short)}")
        if listing.held_out and not val:
            raise InputError(nothing_readable(f"the {listing.held_out} split of {listing.name}", skipped))

    def strata(self, targets: Sequence[int], classes: Sequence[str]) -> list[tuple[np.ndarray, int]]:
        labels = np.array(targets)
        return [(np.flatnonzero(labels == label), 1) for label in range(len(classes))]

    def make(self, listing: Listing[str], infos: Sequence[ImageInfo], **columns: Any) -> ClassificationData:
        side = median(info.side for info in infos)
        return ClassificationData(size=listing.size or (32 if side <= 32 else 64 if side <= 64 else 224), **columns)


class BoxAssembler(Assembler[RawAnnotations, Annotations, DetectionData]):
    """Images with boxes."""

    def classes(self, listing: Listing[RawAnnotations], learned: Sequence[Item[RawAnnotations]]) -> tuple[str, ...]:
        return listing.classes

    def trust(
        self, items: Sequence[Item[RawAnnotations]], listing: Listing[RawAnnotations], scan: ScanResult, quiet: bool
    ) -> tuple[list[ImageInfo | None], tuple[Skipped, ...]]:
        """Return what an earlier scan saw; sizes, which boxes need, from the heads of the files."""
        known, skipped = super().trust(items, listing, scan, quiet)
        good = [item.source for item, info in zip(items, known, strict=True) if info]
        results = iter(scan_images(good, info_upright, quiet=quiet))
        verdicts = [info and next(results) for info in known]
        for item, verdict in zip(items, verdicts, strict=True):
            if isinstance(verdict, str):
                name = shown(item.source, listing.place)
                raise InputError(f"{name} in {listing.name} can no longer be read: {verdict}")
        mode = "L" if scan.grey else "RGB"
        return [replace(one, mode=mode) if isinstance(one, ImageInfo) else None for one in verdicts], skipped

    def fit(
        self,
        item: Item[RawAnnotations],
        info: ImageInfo,
        listing: Listing[RawAnnotations],
        labels: Mapping[str, int],
    ) -> tuple[Annotations, Skipped | None]:
        fitted = fit(item, info)
        return fitted.annotations, left_out(shown(item.source, listing.place), fitted.issues)

    def said(self, target: Annotations) -> Hashable:
        return target.boxes.tobytes(), target.labels.tobytes()

    def require(
        self,
        listing: Listing[RawAnnotations],
        classes: Sequence[str],
        train: Sequence[tuple[Source, Annotations]],
        val: Sequence[tuple[Source, Annotations]],
        skipped: Sequence[Skipped],
    ) -> None:
        why = why_left_out(skipped, listing.unknown) if isinstance(listing, BoxListing) else ""
        if not listing.held_out:
            _require_boxes(train, listing.name, skipped, why, least=2)
            return
        for split, images in ((listing.learned, train), (listing.held_out, val)):
            _require_boxes(images, f"the {split} split of {listing.name}", skipped, why)

    def strata(self, targets: Sequence[Annotations], classes: Sequence[str]) -> list[tuple[np.ndarray, int]]:
        """Return the images with boxes, one of which is held out at least, and those without."""
        boxed = np.array([_has_boxes(target) for target in targets])
        return [(np.flatnonzero(boxed), 1), (np.flatnonzero(~boxed), 0)]

    def make(self, listing: Listing[RawAnnotations], infos: Sequence[ImageInfo], **columns: Any) -> DetectionData:
        return DetectionData(**columns)

    def relabeled(
        self,
        found: list[tuple[Source, Annotations]],
        listing: Listing[RawAnnotations],
        classes: Sequence[str],
    ) -> list[tuple[Source, Annotations]]:
        known = {name: label for label, name in enumerate(classes)}
        labels = np.array([known.get(name, -1) for name in listing.classes])
        used = {int(label) for _, target in found for label in target.labels}
        unknown = [listing.classes[label] for label in sorted(used) if labels[label] < 0]
        if unknown:
            raise InputError(f"in {listing.name}, {some(unknown)} is none of the known classes: {some(classes)}")
        return [(source, Annotations(target.boxes, labels[target.labels], target.crowd)) for source, target in found]


def nothing_readable(name: str, skipped: Sequence[Skipped]) -> str:
    """Return the message for a set of which no image can be read."""
    first = f" (the first, {skipped[0].path}: {skipped[0].reason})" if skipped else ""
    return f"no file in {name} can be read as an image{first}"


def _look_over(
    items: Sequence[Item[Any]], listing: Listing[Any], quiet: bool
) -> tuple[list[ImageInfo | None], tuple[Skipped, ...]]:
    """Return what is seen of every image, ``None`` of unreadable ones; and these after what the listing left out."""
    # arrays cannot be broken, and some sources kept what was seen
    known = [scan_image(i.source) if isinstance(i.source, np.ndarray) else i.info for i in items]
    unknown = [item.source for item, info in zip(items, known, strict=True) if info is None]
    results = iter(scan_images(unknown, scan_image, quiet=quiet))
    verdicts = [info or next(results) for info in known]
    bad = [
        Skipped(shown(item.source, listing.place), verdict)
        for item, verdict in zip(items, verdicts, strict=True)
        if isinstance(verdict, str)
    ]
    return [None if isinstance(verdict, str) else verdict for verdict in verdicts], (*listing.skipped, *bad)


def _kept(found: Sequence[tuple[Source, T] | None]) -> list[tuple[Source, T]]:
    return [pair for pair in found if pair]


def _require_boxes(
    found: Sequence[tuple[Source, Annotations]], name: str, skipped: Sequence[Skipped], why: str, least: int = 1
) -> None:
    if not found:
        raise InputError(nothing_readable(name, skipped))
    boxed = sum(_has_boxes(target) for _, target in found)
    if boxed < least:
        wanted = "one" if least == 1 else "two, one to learn from and one held out"
        raise InputError(f"{name} has {counted(boxed, 'readable image')} with boxes: it needs {wanted}{why}")


def _has_boxes(annotations: Annotations) -> bool:
    return not annotations.crowd.all()
