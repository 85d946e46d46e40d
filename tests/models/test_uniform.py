"""What every family can do alike: any input, features at any stride, dropping, freezing, exporting."""

import copy
import os
import pickle
from dataclasses import replace

import pytest
import torch
from helpers.families import BRIEF, FAMILIES, SMALL, slow_but, thin
from helpers.reference import randomize
from torch import Tensor, nn

import featherbone as fb


class Ones(nn.Module):
    """A gate that stands open."""

    def forward(self, means: Tensor) -> Tensor:
        return torch.ones_like(means)


@pytest.mark.parametrize(("in_chans", "output_stride"), [(1, 8), (4, 32)])
@pytest.mark.parametrize("name", slow_but(FAMILIES, BRIEF))
def test_declared_channels_and_strides_are_the_real_ones(name: str, in_chans: int, output_stride: int) -> None:
    with torch.device("meta"):
        row = thin(name, in_chans=in_chans, output_stride=output_stride, num_classes=5)
        whole = row.build().eval()
        maps = fb.Pyramid(whole)
        assert max(maps.strides) == min(output_stride, max(thin(name).build().strides))
        for height, width in ((32, 32), (33, 97), (224, 224)):
            image = torch.empty(2, in_chans, height, width)
            assert whole(image).shape == (2, 5)
            found = maps(image)
            assert [m.shape[1] for m in found] == list(maps.channels) == list(whole.channels)
            for m, stride in zip(found, maps.strides, strict=True):
                for side, length in zip(m.shape[2:], (height, width), strict=True):
                    # rounding may go up or down at each halving, never further
                    assert length // stride <= max(side, 1) <= -(-length // stride) + (length % stride > 0)


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", slow_but([n for n in FAMILIES if "cifar" not in n], BRIEF))
def test_a_dilated_network_computes_the_plain_one_at_more_points(name: str, output_stride: int) -> None:
    """Every n-th point of the larger map is, border included, the point of the small one: the weights are the same."""
    torch.manual_seed(0)
    plain = randomize(thin(name).build().double())
    dense = thin(name, output_stride=output_stride).build().double().eval()
    dense.load_state_dict(plain.state_dict())
    for model in (plain, dense):
        for part in model.modules():
            if isinstance(part, fb.Gate):  # its global average is over other points, so it is left out here
                part.gate = Ones()
    assert dense.strides == tuple(min(s, output_stride) for s in plain.strides)
    x = torch.randn(1, 3, 64, 128, dtype=torch.float64)
    with torch.no_grad():
        small, large = plain.forward_features(x), dense.forward_features(x)
    step = 32 // output_stride
    assert large.shape[2:] == (64 // output_stride, 128 // output_stride)
    assert (large[:, :, ::step, ::step] - small).abs().max() <= 1e-10 * small.abs().max()


def test_a_dilation_of_eight_doubles_twice() -> None:
    """A pool that pads, with a rate of its own; the plain pool of the same kernel is the reference."""
    maps = fb.create_model("shufflenet_v1_g1_x0_25", output_stride=8, features_only=True)
    rates = {m.dilation[0] for m in maps.modules() if isinstance(m, nn.Conv2d) and m.kernel_size[0] == 3}
    assert rates == {1, 2, 4}


@pytest.mark.parametrize("name", slow_but(FAMILIES, BRIEF))
def test_every_family_drops_paths_and_only_while_training(name: str) -> None:
    torch.manual_seed(0)
    plain, dropping = randomize(thin(name).build()), thin(name, drop_path=0.9).build()  # some paths begin at zero
    dropping.load_state_dict(plain.state_dict())
    x = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(plain.eval()(x), dropping.eval()(x))
        for part in dropping.modules():  # only the dropping is left to chance
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        dropping.train()
        features = [dropping.forward_features(x) for _ in range(4)]
    assert any(not torch.equal(features[0], other) for other in features[1:])


def test_a_dropped_path_keeps_its_mean_and_drops_whole_images() -> None:
    torch.manual_seed(0)
    path = fb.Residual(nn.Identity())
    path.drop_path = 0.25
    out = path(torch.ones(4000, 2, 3, 3)) - 1
    assert out.mean().item() == pytest.approx(1.0, abs=0.03)
    assert all(image.unique().numel() == 1 for image in out[:50])
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(path.eval()(torch.ones(1, 1, 1, 1)), torch.full((1, 1, 1, 1), 2.0))


def test_the_rate_rises_from_nothing_to_the_whole() -> None:
    rates = [
        m.drop_path for m in fb.create_model("shufflenet_v2_x0_5", drop_path=0.3).modules() if isinstance(m, fb.Split)
    ]
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0.3)
    assert rates == sorted(rates)
    assert len(rates) == 13


@pytest.mark.parametrize("name", slow_but(FAMILIES, SMALL))
def test_freezing_stops_the_stem_and_the_first_stages_and_nothing_else(name: str) -> None:
    torch.manual_seed(0)
    plain = randomize(thin(name).build())  # some paths begin at zero
    model = fb.freeze(plain, 2).train()
    assert all(p.requires_grad for p in plain.parameters())
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    model(torch.randn(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    frozen = ("stem.", "stages.0.", "stages.1.")
    for key, tensor in model.state_dict().items():
        if key.startswith(frozen):
            assert torch.equal(tensor, before[key]), key
        elif "running" in key or "weight" in key:
            assert not torch.equal(tensor, before[key]) or not tensor.any(), key
    assert model.stages[2].training
    assert not model.stages[1].training


def test_freezing_survives_pyramid_head_and_evaluation() -> None:
    model = fb.freeze(fb.create_model("shufflenet_v2_x0_5"), 1)
    for other in (fb.Pyramid(model), fb.reset_head(model, 3), copy.deepcopy(model)):
        other.eval().train()
        assert not other.stem.training
        assert other.stages[2].training
        assert not any(p.requires_grad for p in other.stem.parameters())
    for wrong in (-1, 5):
        with pytest.raises(fb.InputError, match="stages="):
            fb.freeze(model, wrong)


@pytest.mark.parametrize("name", slow_but(FAMILIES, SMALL))
def test_a_new_head_leaves_the_rest(name: str) -> None:
    model = thin(name).build().eval()
    new = fb.reset_head(model, 7)
    assert new.spec == replace(model.spec, num_classes=7)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert new(x).shape == (1, 7)
        assert torch.equal(new.forward_features(x), model.forward_features(x))
        pooled = fb.reset_head(new, 0)(x)
        assert torch.equal(pooled, fb.reset_head(model, 0)(x))
        assert fb.reset_head(fb.reset_head(new, 0), 5)(x).shape == (1, 5)
    assert model.spec.num_classes != 7


@pytest.mark.parametrize("name", slow_but(FAMILIES, ("csppeleenet_last", "shufflenet_v2_x0_5")))
def test_every_family_exports_also_recomputed_and_dilated(name: str) -> None:
    model = fb.recompute(randomize(thin(name, output_stride=16, drop_path=0.1).build())).eval()
    x = torch.randn(1, 3, 64, 96)
    program = torch.export.export(model, (x,)).module()
    with torch.no_grad():
        wanted = model(x)
        assert (program(x) - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.skipif(os.name == "nt", reason="needs a C++ compiler")
@pytest.mark.parametrize("name", slow_but(FAMILIES, ("shufflenet_v2_x0_5",)))
def test_every_family_goes_through_dynamo_without_a_break(name: str) -> None:
    torch.compiler.reset()
    model = randomize(thin(name).build())
    x = torch.randn(1, 3, 64, 64)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        wanted = model(x)
        assert (compiled(x) - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("name", slow_but(FAMILIES, SMALL))
def test_networks_and_rows_can_be_copied_and_pickled(name: str) -> None:
    row = thin(name, output_stride=16)
    assert pickle.loads(pickle.dumps(row)) == row  # noqa: S301 - our own row, made a line above
    model = row.build().eval()
    x = torch.randn(1, 3, 33, 47)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(x), model(x))


@pytest.mark.parametrize(
    ("ratio", "fusion"),
    [(0.25, "both"), (0.5, "first"), (0.33, "last")],
)
@pytest.mark.parametrize(
    "name",
    slow_but(
        (
            "densenet121",
            "peleenet",
            "vovnet27_slim",
            "vovnet_v2_19_dw",
            "cspresnet50.timm",
            "cspresnext50",
            "cspdarknet53",
            "rdnet_tiny",
            "cspdarknet_nano.yolox",
            "cs3darknet_s.timm",
            "cspnext_tiny.timm",
            "shufflenet_v2_x1_0",
            "shufflenet_v1_g3_x1_0",
        ),
        ("peleenet", "vovnet_v2_19_dw", "shufflenet_v2_x1_0", "cs3darknet_s.timm", "cspnext_tiny.timm"),
    ),
)
def test_csp_goes_round_any_body_in_any_share(name: str, ratio: float, fusion: str) -> None:
    row = thin(name)
    with torch.device("meta"):
        model = replace(row, partial_ratio=ratio, fusion=fusion, num_classes=3).build()  # type: ignore[arg-type]
        maps = fb.Pyramid(model)(torch.empty(2, 3, 65, 64))
        if fusion != "last":
            plain = replace(row, partial_ratio=0.5, fusion="first") if "csp" in name else row
            assert model.channels[-1] == plain.build().channels[-1]
    assert [m.shape[1] for m in maps] == list(model.channels)
    crossed = [m for m in model.modules() if isinstance(m, fb.Split | fb.Parallel)]  # the authors' CSP has two ways
    assert len(crossed) >= 3
