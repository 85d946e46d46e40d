"""Equality with the implementations of other libraries, their weights brought over by our own importer."""

from dataclasses import replace
from typing import Any

import pytest
import timm
import timm.models.cspnet
import torch
import torchvision
from helpers.families import SMALL, thin
from helpers.parity import PAIRS
from helpers.reference import randomize
from pytorchcv.model_provider import get_model
from torch import nn

import featherbone as fb
from featherbone.layers import he_normal


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
    if row.family == "cspnext":
        he_normal(reference)  # through PyTorch's own weights hardly anything of an image reaches the end
    report = fb.load_weights(ours, reference.state_dict())
    assert not report.missing
    assert not report.left_over
    # pytorchcv's last pools have a fixed size
    size = 32 if row.stem_stride == 1 else 224 if library == "pytorchcv" else 64
    x = torch.randn(1, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        wanted = reference(x)
        assert (ours(x) - wanted).abs().max() <= 1e-10 * max(1.0, wanted.abs().max().item())


def thin_csp(name: str, row: Any) -> nn.Module:
    """Return timm's network of a name, with the depths and widths of a row of ours."""
    stages = timm.models.cspnet.model_cfgs[name].stages
    stem = replace(timm.models.cspnet.model_cfgs[name].stem, out_chs=row.stem_channels)
    return timm.create_model(name, stem=stem, stages=replace(stages, depth=row.depths, out_chs=row.out_channels))


def thin_timm(name: str, row: Any) -> nn.Module:
    """Return timm's network of a name, as thin as a row of ours."""
    if name.startswith("densenet"):
        return timm.create_model(name, block_config=row.layers)
    return timm.create_model(name) if name.startswith("cspnext") else thin_csp(name, row)


@pytest.mark.parametrize("size", [(64, 64), (97, 75)])
@pytest.mark.parametrize(
    "name",
    [
        "cs3darknet_s.timm",
        "cs3darknet_focus_s.timm",
        "cs3se_edgenet_x.timm",
        "cspnext_tiny.timm",
        "darknetaa53.timm",
        "densenetblur121d.timm",
    ],
)
def test_thin_networks_equal_timms_on_images_of_odd_sides_too(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    row = thin(name)
    reference = randomize(thin_timm(name.removesuffix(".timm"), row).double())
    he_normal(reference)
    ours = row.build().double().eval()
    report = fb.load_weights(ours, reference.state_dict())
    assert not report.missing
    assert not report.left_over
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        wanted = reference(x)
        assert (wanted[0] - wanted[1]).abs().max() > 1e-3 * wanted.abs().max()  # something of the images is left
        assert (ours(x) - wanted).abs().max() <= 1e-10 * wanted.abs().max()
