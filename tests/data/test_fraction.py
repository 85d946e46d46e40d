"""A share of the images to learn from: the same of every class, decided by the seed, held-out images untouched."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.boxes import draw_boxes
from hypothesis import given
from hypothesis import strategies as st

from featherbone.data.assemble import LabelAssembler
from featherbone.data.dataset import ClassificationData, Dataset
from featherbone.data.fraction import with_fraction
from featherbone.data.open import DETECTION

STRATA = LabelAssembler().strata


def numbered(*counts: int) -> ClassificationData:
    """Return a set with so many images of each class, which are files that nobody opens."""
    labels = tuple(label for label, count in enumerate(counts) for _ in range(count))
    train = Dataset(tuple(Path(f"{i}.png") for i in range(len(labels))), labels)
    val = Dataset((Path("held.png"),), (0,))
    names = tuple(f"class {label}" for label in range(len(counts)))
    return ClassificationData(name="/x", classes=names, channels=3, size=32, train=train, val=val)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.floats(0.001, 0.999), st.integers(0, 5))
def test_every_class_keeps_its_share_and_one_image_at_least(counts: list[int], fraction: float, seed: int) -> None:
    whole = numbered(*counts)
    part = with_fraction(whole, STRATA, fraction, seed)
    left = Counter(part.train.targets)
    assert [left[label] for label in range(len(counts))] == [max(1, round(fraction * count)) for count in counts]
    pairs = dict(zip(whole.train.sources, whole.train.targets, strict=True))
    assert all(pairs[source] == label for source, label in zip(part.train.sources, part.train.targets, strict=True))
    order = {source: place for place, source in enumerate(whole.train.sources)}
    places = [order[source] for source in part.train.sources]
    assert places == sorted(set(places))
    assert part.val is whole.val
    assert part.drawn_from == sum(counts)
    assert with_fraction(whole, STRATA, fraction, seed).fingerprint == part.fingerprint


def test_the_whole_is_left_as_it_is() -> None:
    whole = numbered(5, 5)
    assert with_fraction(whole, STRATA, 1.0, 0) is whole
    assert whole.drawn_from is None


def test_another_seed_draws_others_and_a_smaller_share_lies_in_a_larger_one() -> None:
    whole = numbered(200, 100)
    few, more, other = (
        {*with_fraction(whole, STRATA, fraction, seed).train.sources}
        for fraction, seed in ((0.1, 0), (0.4, 0), (0.1, 1))
    )
    assert few < more
    assert few != other


def test_of_boxes_some_are_left_however_small_the_share(tmp_path: Path) -> None:
    whole = DETECTION.open(draw_boxes(tmp_path / "shapes"), quiet=True)
    part = with_fraction(whole, DETECTION.assembler.strata, 0.3, 0)
    assert len(part.train) == pytest.approx(0.3 * len(whole.train), abs=1)
    assert part.val is whole.val
    least = with_fraction(whole, DETECTION.assembler.strata, 1e-6, 0)
    assert len(least.train) == 1
    assert len(least.train.targets[0].labels) > 0
    assert with_fraction(whole, lambda *_: [(np.arange(9), 0)], 1e-6, 0).drawn_from == len(whole.train)
