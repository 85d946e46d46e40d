"""The first batch of a run as its network will see it, looked at beforehand; nothing that is drawn changes by it."""

from __future__ import annotations

from torch import Tensor

from featherbone.data.loader import Examples
from featherbone.data.sampler import drawing_from
from featherbone.training.learner import Job, Marks


def first_batch(job: Job, most: int) -> list[tuple[Tensor, Marks]]:
    """Return the first images of the first batch of the first epoch, and what is said of each.

    Args:
        job: the learner, which has no trainer yet, and its batches.
        most: images at most.

    Returns:
        Inputs ``(C, H, W)``, normalized, after all augmentation; of mixed images with the classes in their shares.

    Raises:
        InputError: if an image can no longer be read.
    """
    learner, order, examples = job.learner, job.train.order, job.train.dataset
    assert isinstance(examples, Examples)
    places = order.places(0)
    # mixing lays every image over the one behind it and the last over the first: these are all that the first ones need
    few = places if len(places) <= most else [*places[:most], places[-1]]
    batch = examples.pipeline.collate([examples[place] for place in few])
    with drawing_from(learner.recipe.seed, 0, 0, order.rank):  # as the learner does before its first step
        images, targets = learner.inputs(batch, 0)
    return [(images[i], learner.marks(targets, i)) for i in range(min(most, len(places)))]
