"""The scores of a classifier, beside other libraries' ones."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torchmetrics.functional.classification import multiclass_accuracy

from featherbone.data.dataset import Dataset
from featherbone.evaluation.classification import ClassifierOutputs


@given(count=st.integers(2, 8), images=st.integers(1, 40), seed=st.integers(0, 2**16))
def test_scores_are_those_of_scikit_learn_and_torchmetrics(count: int, images: int, seed: int) -> None:
    """Some classes have no image, and some are never said."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, count, generator=random)
    labels = torch.randint(count, (images,), generator=random)
    sources = (np.zeros((1, 1), np.uint8),) * images
    outputs = ClassifierOutputs(Dataset(sources, tuple(labels.tolist())), tuple("abcdefgh"[:count]), logits)
    found = outputs.evaluation()
    said = logits.argmax(1)
    wanted = precision_recall_fscore_support(labels, said, labels=range(count), zero_division=0.0)
    ours = [(score.precision, score.recall, score.f1, score.images) for score in found.classes]
    assert ours == pytest.approx(np.transpose(wanted))
    assert found.confusion.tolist() == confusion_matrix(labels, said, labels=range(count)).tolist()
    assert found.top1 == float(multiclass_accuracy(logits, labels, count, average="micro"))
    assert found.top5 == float(multiclass_accuracy(logits, labels, count, average="micro", top_k=min(5, count)))
