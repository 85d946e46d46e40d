"""Equality with the implementations of other libraries, their weights brought over by our own importer."""

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
import torchvision
from helpers.families import SMALL
from helpers.parity import PAIRS
from helpers.reference import randomize
from pytorchcv.model_provider import get_model
from torch import nn

import featherbone as fb


def built(library: str, name: str) -> nn.Module:
    """Return a network of another library, with weights of chance."""
    if library == "torchvision":
        return getattr(torchvision.models, name)()
    return timm.create_model(name) if library == "timm" else get_model(name)


def test_there_are_sixty_pairs_at_least() -> None:
    assert len({(library, theirs) for _, library, theirs, _ in PAIRS}) == len(PAIRS) >= 60


@pytest.mark.parametrize(
    ("name", "library", "theirs", "columns"),
    [pytest.param(*p, marks=[pytest.mark.slow] * (p[0] not in SMALL), id=f"{p[0]}={p[1]}:{p[2]}") for p in PAIRS],
)
def test_outputs_equal(name: str, library: str, theirs: str, columns: dict[str, Any]) -> None:
    torch.manual_seed(0)
    row = replace(fb.spec(name), **columns)
    with torch.device("meta"):
        model = row.build().to(torch.float64)
    ours = model.to_empty(device="cpu").eval()
    reference = randomize(built(library, theirs).double())
    report = fb.load_weights(ours, reference.state_dict())
    assert not report.missing
    assert not report.left_over
    # pytorchcv's last pools have a fixed size
    size = 32 if row.stem_stride == 1 else 224 if library == "pytorchcv" else 64
    x = torch.randn(1, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        wanted = reference(x)
        assert (ours(x) - wanted).abs().max() <= 1e-10 * max(1.0, wanted.abs().max().item())
