"""The loss of a classifier, against sums written out by hand and finite differences."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import featherbone as fb
from featherbone.data.dataset import Dataset
from featherbone.data.sampler import EpochBatches
from featherbone.training.classification import ClassificationLearner, class_weights, image_weights

CLASSES = ("a", "b", "c")


class Given(nn.Module):
    """Gives the same outputs, whatever it sees: a row for each image."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows[: len(x)]


def learner(
    rows: Tensor, recipe: fb.Recipe, counts: tuple[int, ...], teacher: nn.Module | None
) -> ClassificationLearner:
    labels = tuple(label for label, count in enumerate(counts) for _ in range(count))
    images = Dataset((Path("a"),) * len(labels), labels)
    return ClassificationLearner(Given(rows), recipe, CLASSES, images, EpochBatches(images, len(rows)), teacher)


def by_hand(
    logits: list[float],
    shares: list[float],
    weights: list[float],
    smoothing: float,
    taught: list[float] | None,
    t: float,
) -> float:
    """Return the loss of one image, from logarithms alone."""

    def logs(values: list[float]) -> list[float]:
        total = math.log(sum(math.exp(value) for value in values))
        return [value - total for value in values]

    wanted = [(1 - smoothing) * share + smoothing / len(shares) for share in shares]
    loss = -sum(share * log for share, log in zip(wanted, logs(logits), strict=True))
    if taught is not None:
        theirs, ours = logs([value / t for value in taught]), logs([value / t for value in logits])
        apart = t * t * sum(math.exp(a) * (a - b) for a, b in zip(theirs, ours, strict=True))
        loss = 0.75 * loss + 0.25 * apart
    return loss * sum(weight * share for weight, share in zip(weights, shares, strict=True))


numbers = st.floats(-4, 4, width=32)
rows = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=5)


@given(
    rows=rows,
    smoothing=st.sampled_from([0.0, 0.1, 0.6]),
    mixed=st.booleans(),
    taught=st.booleans(),
    counts=st.tuples(*[st.integers(1, 400)] * 3),
    seed=st.integers(0, 99),
)
def test_every_image_weighs_as_its_own_class_whatever_else_the_loss_has(
    rows: list[tuple[float, ...]],
    smoothing: float,
    mixed: bool,
    taught: bool,
    counts: tuple[int, int, int],
    seed: int,
) -> None:
    random = torch.Generator().manual_seed(seed)
    logits, answers = torch.tensor(rows), torch.randn(len(rows), 3, generator=random)
    recipe = fb.Recipe(
        label_smoothing=smoothing,
        class_weights="balanced",
        channels_last=False,
        distill_weight=0.25,
        temperature=3.0,
    )
    teacher = Given(answers) if taught else None
    task = learner(logits, recipe, counts, teacher)
    labels = torch.randint(3, (len(rows),), generator=random)
    shares = F.one_hot(labels, 3).float()
    if mixed:
        shares = 0.3 * shares + 0.7 * shares.roll(1, 0)
    losses = task.losses((torch.zeros(len(rows), 3, 2, 2), shares if mixed else labels), 0)
    weights = [sum(counts) / (3 * count) for count in counts]
    expected = [
        by_hand(row, share, weights, smoothing, answer if taught else None, 3.0)
        for row, share, answer in zip(logits.tolist(), shares.tolist(), answers.tolist(), strict=True)
    ]
    assert losses.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("mixed", [False, True])
def test_the_gradient_of_the_weighted_loss_is_that_of_finite_differences(mixed: bool) -> None:
    recipe = fb.Recipe(class_weights="balanced", channels_last=False)
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    task = learner(rows, recipe, (5, 90, 2), None).double()
    labels = torch.tensor([0, 1, 2, 1])
    given = 0.2 * F.one_hot(labels, 3) + 0.8 * F.one_hot(labels.flip(0), 3) if mixed else labels

    def loss(rows: Tensor) -> Tensor:
        task._beside = replace(task._beside, fast=lambda _: rows)
        return task.losses((torch.zeros(4, 3, 2, 2), given), 0).sum()

    assert torch.autograd.gradcheck(loss, rows.double().requires_grad_())


def test_classes_weigh_the_same_however_many_images_they_have() -> None:
    images = Dataset((Path("a"),) * 10, (0,) * 8 + (1,) * 2)
    weights = class_weights(images, 2, "balanced")
    assert weights is not None
    assert weights.tolist() == pytest.approx([10 / 16, 10 / 4])
    assert sum(float(weights[label]) for label in images.targets) == pytest.approx(10)
    assert class_weights(images, 2, "none") is None


@given(counts=st.tuples(*[st.integers(1, 30)] * 3), batch_size=st.integers(1, 40), seed=st.integers(0, 99))
def test_images_weigh_the_same_in_batches_of_any_size(counts: tuple[int, int, int], batch_size: int, seed: int) -> None:
    """Batches of one image, the share of a process and the whole set: the sum over all of them is one sum."""
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    weights = class_weights(Dataset((Path("a"),) * len(labels), tuple(labels.tolist())), 3, "balanced")
    assert weights is not None
    parts = [image_weights(labels[part], weights) for part in torch.split(order, batch_size)]
    of_class = torch.zeros(3).index_add(0, labels[order], torch.cat(parts))
    torch.testing.assert_close(of_class, torch.full((3,), len(labels) / 3))


def test_a_class_without_images_changes_no_weight() -> None:
    images = Dataset((Path("a"),) * 10, (0,) * 8 + (2,) * 2)
    weights = class_weights(images, 3, "balanced")
    assert weights is not None
    assert weights[[0, 2]].tolist() == pytest.approx([10 / 16, 10 / 4])
