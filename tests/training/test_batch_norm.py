"""Folded norms, measured before a network learns: the same function, and nearly the same with a batch's statistics."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.boxes import draw_boxes
from helpers.families import BRIEF, SMALL, slow_but, thin
from helpers.images import draw_classes
from helpers.paths import SHARED
from helpers.training import QUICK
from torch import Tensor, nn

import featherbone as fb
from featherbone.data.dataset import Dataset
from featherbone.layers import conv
from featherbone.training.batch_norm import check_batches, measured, sample_inputs, without_statistics

EPS = 1e-5


def folded(channels: int) -> nn.BatchNorm2d:
    """A norm as the importer leaves it: it adds its bias."""
    norm = nn.BatchNorm2d(channels, eps=EPS)
    with torch.no_grad():
        assert norm.running_var is not None
        norm.running_var -= EPS
        norm.bias.copy_(torch.randn(channels))
    return norm


def network(norm: type[nn.BatchNorm2d] | None = None) -> nn.Sequential:
    """Convolutions of any size, as those of trained networks that took their norms up."""
    torch.manual_seed(3)
    layers: list[nn.Module] = []
    for c_in, c_out in ((3, 8), (8, 8), (8, 16)):
        block = conv(c_in, c_out, 3)
        with torch.no_grad():
            next(block.parameters()).mul_(torch.rand(c_out, 1, 1, 1) * 5)
        block[1] = folded(c_out) if norm is None else norm(c_out)
        layers.append(block)
    return nn.Sequential(*layers)


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(8, 3, 12, 12, generator=generator) * 2 + 1 for _ in range(2)]


def test_it_computes_what_it_did_and_learns_from_there() -> None:
    model = network().eval()
    image = batches()[0]
    before = model(image)
    after = measured(model, batches())
    assert not after.training
    assert after is not model
    assert len(without_statistics(model)) == 3, "the given one is as it was"
    assert not without_statistics(after)
    torch.testing.assert_close(after(image), before, rtol=1e-4, atol=1e-4)
    seen = torch.cat(batches())
    wanted = model(seen)
    torch.testing.assert_close(after.train()(seen), wanted, rtol=1e-3, atol=1e-3)
    assert (model.train()(seen) - wanted).abs().max() > 1, "unmeasured, training is another function"


def test_statistics_are_those_of_what_the_norm_is_given() -> None:
    model = measured(network(), batches())
    first = model[0]
    assert isinstance(first, nn.Sequential)
    assert isinstance(first[1], nn.BatchNorm2d)
    given = first[0](torch.cat(batches())).double()
    assert first[1].running_mean is not None
    assert first[1].running_var is not None
    torch.testing.assert_close(first[1].running_mean.double(), given.mean((0, 2, 3)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        first[1].running_var.double(), given.var((0, 2, 3), unbiased=False), rtol=1e-5, atol=1e-5
    )


def test_networks_with_norms_of_their_own_are_left_alone() -> None:
    fresh = network(nn.BatchNorm2d)
    assert measured(fresh, batches()) is fresh
    trained = fresh.train()
    trained(batches()[0])
    assert measured(trained, batches()) is trained


def test_a_channel_that_says_nothing_stays_finite() -> None:
    model = network()
    first = model[0]
    assert isinstance(first, nn.Sequential)
    with torch.no_grad():
        next(first.parameters())[0] = 0
    after = measured(model.eval(), batches())
    torch.testing.assert_close(after(batches()[0]), model(batches()[0]), rtol=1e-4, atol=1e-4)
    assert after.train()(batches()[0]).isfinite().all()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared weights are not here")
def test_a_run_begins_as_published_weights_are(tmp_path: Path) -> None:
    file = SHARED / "weights" / "nanodet_m_coco_bnfolded.safetensors"
    model, report = fb.import_weights("shufflenet_v2_x1_0.nanodet", file)
    preprocess = report.preprocess
    assert preprocess is not None
    files = tuple(sorted((SHARED / "bccd" / "images").glob("*.jpg"))[:32])
    sources, few = (Dataset(some, (0,) * len(some)) for some in (files, files[:8]))
    after = fb.Pyramid(measured(model, sample_inputs(sources, preprocess)), (2, 3))
    before = fb.Pyramid(model, (2, 3))
    images = torch.cat(list(sample_inputs(few, preprocess)))
    with torch.no_grad():
        published = before.eval()(images)
        for ours, theirs in zip(after.eval()(images), published, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
        learning = [alike(ours, theirs) for ours, theirs in zip(after.train()(images), published, strict=True)]
        unmeasured = [alike(ours, theirs) for ours, theirs in zip(before.train()(images), published, strict=True)]
    assert min(learning) > 0.95
    assert max(unmeasured) < 0.8


def alike(one: Tensor, other: Tensor) -> float:
    """Correlation of the values of two maps."""
    return float(torch.corrcoef(torch.stack((one.flatten(), other.flatten())))[0, 1])


def test_training_starts_from_measured_norms(tmp_path: Path) -> None:
    backbone = fb.create_model("shufflenet_v2_x0_5", num_classes=3)
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.load_state_dict({**part.state_dict(), "running_var": torch.full_like(part.bias, 1 - part.eps)})
    fb.save(backbone, tmp_path / "folded.safetensors", classes=("blue", "green", "red"))
    data = draw_classes(tmp_path / "colours")
    changes = {**QUICK, "epochs": 1, "size": 32}
    run = fb.train(data, weights=tmp_path / "folded.safetensors", out=tmp_path / "run", changes=changes, quiet=True)
    assert without_statistics(backbone)
    assert not without_statistics(fb.load(run.folder / "start.safetensors"))


@pytest.mark.parametrize("name", slow_but(SMALL, BRIEF))
def test_batches_from_which_a_norm_cannot_learn_are_refused_and_others_train(name: str) -> None:
    """Whatever is let through makes a step; one value of a channel is PyTorch's own error."""
    model = thin(name, num_classes=3).build().train()
    norms = any(isinstance(part, nn.BatchNorm2d) for part in model.modules())
    for size, batch, values in ((32, 1, 1), (32, 2, 2), (64, 1, 4), (32, 8, 8)):
        recipe, inputs = fb.Recipe(size=size, batch_size=batch), torch.zeros(batch, 3, size, size)
        if norms and values == 1:
            with pytest.raises(fb.InputError, match="size=32 gives batch norm 1 value of each channel"):
                check_batches(model, recipe, 100)
            with pytest.raises(ValueError, match="more than 1 value per channel"):
                model(inputs)
        else:
            assert ("learns badly" in check_batches(model, recipe, 100)) == (norms and values < 8)
            assert model(inputs).isfinite().all()


def test_a_single_image_and_what_is_frozen_count() -> None:
    model = fb.create_model("shufflenet_v2_x0_5", num_classes=2)
    with pytest.raises(fb.InputError, match="1 image to learn with size=32 gives batch norm 1 value"):
        check_batches(model, fb.Recipe(size=32), 1)
    frozen = fb.Recipe(size=32, batch_size=1, freeze=("stem", "stages"))
    with pytest.raises(fb.InputError, match="cannot learn"):
        check_batches(model, frozen, 100)  # its head has a norm
    assert not check_batches(model, replace(frozen, freeze=("stem", "stages", "head")), 100)
    assert not check_batches(model, fb.Recipe(size=32, batch_size=8), 100)
    one = check_batches(model, fb.Recipe(size=224, batch_size=1), 100)
    assert one.startswith("batch_size=1 shows batch norm one image at a time, from which it learns badly")
    assert not check_batches(model, fb.Recipe(size=224, batch_size=2), 100)
    with pytest.raises(fb.InputError, match="batch_size=1 with size=32 gives"):
        check_batches(model, fb.Recipe(size=96, multi_scale=0.7, batch_size=1), 100)


def test_a_run_with_batches_of_one_point_ends_before_it_begins(colours: Path, tmp_path: Path) -> None:
    changes = {"size": 32, "batch_size": 1, "epochs": 1, "precision": "f32", "channels_last": True, "workers": 0}
    shapes = draw_boxes(tmp_path / "shapes")
    with pytest.raises(fb.InputError, match="from which it cannot learn: 2 images a batch or more"):
        fb.train(shapes, "shufflenet_v2_x0_5", out=tmp_path / "boxes", changes=changes, quiet=True)
    row = replace(fb.spec("shufflenet_v2_x0_5"), num_classes=3)
    fb.save(row.build(), tmp_path / "start.safetensors", classes=("blue", "green", "red"))
    with pytest.raises(fb.InputError, match="from which it cannot learn: 2 images a batch or more"):
        fb.train(colours, weights=tmp_path / "start.safetensors", out=tmp_path / "run", changes=changes, quiet=True)
    assert not (tmp_path / "run").exists()
