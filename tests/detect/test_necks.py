"""Necks: what they read, what they cost, and what their rows refuse."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.families import slow_but
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import featherbone as fb
from featherbone.detect.necks import NECKS, NeckSpec, build_neck, neck_spec
from featherbone.layers import Maxout, conv, pools

KINDS = ("fpn", "pan", "prn", "cem", "gfm", "efm")


def maps(channels: tuple[int, ...], height: int, width: int, batch: int = 1) -> list[Tensor]:
    """Return random maps, fine to coarse; the coarsest is ``height`` x ``width``."""
    torch.manual_seed(0)
    steps = range(len(channels) - 1, -1, -1)
    return [torch.randn(batch, c, height << i, width << i) for c, i in zip(channels, steps, strict=True)]


def small(kind: str, *, scales: int = 3, **columns: Any) -> tuple[Any, tuple[int, ...]]:
    """Return a neck in evaluation and the channels it was made for."""
    torch.manual_seed(0)
    widths = (8,) * scales if kind == "cem" else tuple(range(8, 8 + scales))
    spec = NeckSpec(kind=kind, widths=widths, **columns)  # type: ignore[arg-type]
    channels = tuple(range(10, 10 + spec.maps))
    return build_neck(spec, channels, [4 << i for i in range(len(channels))]).eval(), channels


# --- shapes


@given(
    kind=st.sampled_from(KINDS),
    widths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    channels=st.lists(st.integers(12, 20), min_size=5, max_size=5),
    stride=st.sampled_from([1, 3, 8]),
    sides=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    maxout=st.integers(1, 3),
    sam=st.booleans(),
    spp=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_declared_channels_and_strides_are_the_real_ones(
    kind: Any,
    widths: list[int],
    channels: list[int],
    stride: int,
    sides: tuple[int, int],
    maxout: int,
    sam: bool,
    spp: bool,
) -> None:
    widths = widths[:1] * len(widths) if kind == "cem" else widths
    spec = NeckSpec(kind=kind, widths=tuple(widths), maxout=maxout, sam=sam, spp=spp)
    count = spec.maps
    strides = [stride << i for i in range(count)]
    neck = build_neck(spec, channels[:count], strides).eval()
    fused = neck(maps(tuple(channels[:count]), *sides))
    assert neck.channels == tuple(widths)
    assert neck.strides == tuple(strides[spec.finer : spec.finer + len(widths)])
    height, width = (side * strides[-1] for side in sides)  # of the image
    expected = [(1, c, height // s, width // s) for c, s in zip(neck.channels, neck.strides, strict=True)]
    assert [tuple(x.shape) for x in fused] == expected


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "cspdarknet_nano.yolox"])
@pytest.mark.parametrize("size", [(32, 96), (160, 224)])
def test_a_neck_fits_any_pyramid_at_multiples_of_32(name: str, size: tuple[int, int]) -> None:
    spec = replace(neck_spec("efm"), widths=(8, 16, 24))
    tapped = fb.create_model(name, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    neck = build_neck(spec, tapped.channels, tapped.strides).eval()
    fused = neck(tapped(torch.rand(1, 3, *size)))
    assert [tuple(x.shape[2:]) for x in fused] == [(size[0] // s, size[1] // s) for s in (8, 16, 32)]


# --- what is read


def seen(neck: nn.Module, channels: tuple[int, ...]) -> list[list[int]]:
    """Return for every output the maps that it depends on."""
    found = []
    for i in range(3):
        given = [x.requires_grad_() for x in maps(channels, 2, 2)]
        gradients = torch.autograd.grad(neck(given)[i].sum(), given, allow_unused=True)
        found.append([j for j, g in enumerate(gradients) if g is not None and g.abs().sum() > 0])
    return found


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("fpn", [[0, 1, 2], [1, 2], [2]]),
        ("gfm", [[0, 1, 2]] * 3),
        ("pan", [[0, 1, 2]] * 3),
        ("prn", [[0, 1, 2], [1, 2], [2]]),
        ("cem", [[0, 1, 3], [1, 2, 3], [2, 3]]),
        ("efm", [[0, 1, 2, 3]] * 3),
    ],
)
def test_an_output_depends_on_the_maps_its_kind_names(kind: str, expected: list[list[int]]) -> None:
    for columns in ({}, {"sam": True, "spp": True, "maxout": 1}):
        assert seen(*small(kind, **columns)) == expected


def test_before_the_way_back_up_a_scale_sees_the_next_finer_map_its_own_and_coarser_ones() -> None:
    for kind, expected in {"efm": [[0, 1, 2, 3], [1, 2, 3], [2, 3]], "pan": [[0, 1, 2], [1, 2], [2]]}.items():
        neck, channels = small(kind)
        neck.down = nn.ModuleList()
        assert seen(neck, channels) == expected


def test_the_engine_is_the_equations_of_the_exact_fusion_model() -> None:
    neck, channels = small("efm", scales=2, sam=True)
    given = maps(channels, 3, 2, batch=2)
    finest, fine, coarse = (compress(x) for compress, x in zip(neck.compress, given, strict=True))
    assert [finest.shape[1], fine.shape[1], coarse.shape[1]] == [4, 8, 9]

    def half(x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(x, 2)

    def weighed(fuse: Any, *read: Tensor) -> Tensor:
        x = torch.cat(read, 1)
        return fuse.body(x) * fuse.gate(x)

    top = weighed(neck.fuse[1], half(fine), coarse)
    bottom = weighed(neck.fuse[0], half(finest), fine, top.repeat_interleave(2, 2).repeat_interleave(2, 3))
    expected = [bottom, top + neck.down[0](bottom)]
    assert all(torch.allclose(x, y) for x, y in zip(neck(given), expected, strict=True))
    gate = neck.fuse[1].gate(torch.cat([half(fine), coarse], 1))
    assert gate.min() > 0
    assert gate.max() < 1


def test_partial_residuals_are_added_to_the_first_channels_of_the_finer_map() -> None:
    neck, channels = small("prn", scales=2)
    fine, coarse = maps(channels, 3, 2, batch=2)
    top = neck.compress[1](coarse)
    larger = neck.narrow[0](top).repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = [fine[:, :8] + larger, top]
    assert all(torch.allclose(x, y) for x, y in zip(neck(maps(channels, 3, 2, batch=2)), expected, strict=True))


def test_of_a_finer_map_with_few_channels_all_are_added() -> None:
    """As darknet's shortcut does: a small network's map has fewer than the scale."""
    neck = build_neck(NeckSpec(kind="prn", widths=(8, 9), maxout=1), (5, 11), (4, 8)).eval()
    fine, coarse = maps((5, 11), 3, 2)
    larger = neck.narrow[0](neck.compress[1](coarse)).repeat_interleave(2, 2).repeat_interleave(2, 3)  # type: ignore[index]
    found = neck([fine, coarse])[0]
    assert torch.allclose(found[:, :5], fine + larger[:, :5])
    assert torch.allclose(found[:, 5:], larger[:, 5:])


def test_context_enhancement_adds_the_next_coarser_map_and_the_mean_of_the_coarsest() -> None:
    neck, channels = small("cem", scales=1)
    own, coarser = maps(channels, 3, 2, batch=2)
    _, convolution = neck.context[0]
    mean = coarser.mean((2, 3)) @ convolution.weight[:, :, 0, 0].T + convolution.bias
    larger = neck.compress[1](coarser).repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = neck.compress[0](own) + larger + mean[:, :, None, None]
    assert torch.allclose(neck([own, coarser])[0], expected, atol=1e-6)
    assert neck.strides == (4,)


# --- the bricks


@given(pieces=st.integers(1, 5), channels=st.integers(1, 6))
def test_maxout_is_the_largest_of_channels_that_lie_apart(pieces: int, channels: int) -> None:
    x = torch.randn(2, pieces * channels, 3, 2)
    y = Maxout(pieces)(x)
    assert y.shape == (2, channels, 3, 2)
    for j in range(channels):
        largest = x[:, j]
        for piece in range(1, pieces):
            largest = torch.maximum(largest, x[:, j + piece * channels])
        assert torch.equal(y[:, j], largest)


def test_pools_are_the_map_beside_its_maxima() -> None:
    x = torch.zeros(1, 2, 15, 15)
    x[0, 1, 7, 7] = 1
    y = pools()(x)
    assert torch.equal(y[:, :2], x)
    assert y[0].sum((1, 2)).tolist() == [0, 1, 0, 25, 0, 81, 0, 169]


def test_maps_are_compressed_before_they_meet() -> None:
    """The author: maxpool_depth stands before the route."""
    for pieces in (2, 3):
        neck, channels = small("efm", maxout=pieces)
        for brick, c, width in zip(neck.compress, channels, (4, 8, 9, 10), strict=True):
            assert brick[0][0].weight.shape[:2] == (pieces * width, c)
            assert isinstance(brick[1], Maxout)
    assert not any(isinstance(part, Maxout) for part in small("efm", maxout=1)[0].modules())


# --- rows


def test_every_column_changes_the_neck() -> None:
    def keys(spec: NeckSpec) -> dict[str, torch.Size]:
        neck = build_neck(spec, (256,) * spec.maps, [4 << i for i in range(spec.maps)])
        return {name: value.shape for name, value in neck.state_dict().items()}

    plain = neck_spec("efm")
    changes: list[dict[str, Any]] = [{"kind": kind} for kind in KINDS if kind not in ("cem", "efm")]
    changes.append({"kind": "cem", "widths": (64, 64, 64)})
    changes += [{"widths": (64, 128)}, {"maxout": 1}, {"sam": True}, {"spp": True}]
    made = [keys(plain), *(keys(replace(plain, **change)) for change in changes)]
    assert all(a != b for i, a in enumerate(made) for b in made[:i])


def test_rows_survive_json() -> None:
    for spec in (*NECKS.values(), NeckSpec(kind="gfm", widths=(3,), maxout=4, sam=True, spp=True)):
        assert NeckSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"kind": "bifpn"}, "kind='bifpn' is not allowed in a neck: one of fpn, pan, prn, cem, gfm, efm"),
        ({"widths": ()}, r"widths=\(\) is not allowed in a neck: whole numbers, each 1 or more"),
        ({"widths": [64, 0]}, r"widths=\(64, 0\) is not allowed"),
        ({"widths": 64}, "widths=64 is not allowed"),
        ({"kind": "cem", "widths": (8, 9)}, "widths=.* is not allowed in a neck: all the same in cem"),
        ({"maxout": 0}, "maxout=0 is not allowed in a neck: a whole number, 1 or more"),
        ({"maxout": True}, "maxout=True is not allowed"),
        ({"sam": 1}, "sam=1 is not allowed in a neck: true or false"),
        ({"spp": "yes"}, "spp='yes' is not allowed"),
        ({"width": 3}, r"column 'width' is unknown for a neck \(did you mean 'widths'\?\)"),
    ],
)
def test_bad_rows_are_refused_by_column(columns: dict[str, Any], sentence: str) -> None:
    with pytest.raises(fb.InputError, match=sentence):
        NeckSpec.from_dict({"kind": "efm", **columns})


def test_maps_that_a_neck_cannot_fuse_are_refused() -> None:
    spec = neck_spec("efm")
    with pytest.raises(fb.InputError, match=r"channels=\(8, 8, 8\) is not allowed: efm needs those of 4 maps"):
        build_neck(spec, (8, 8, 8), (8, 16, 32))
    with pytest.raises(fb.InputError, match=r"strides=\(4, 8, 16, 16\) is not allowed: efm needs 4, each twice"):
        build_neck(spec, (8,) * 4, (4, 8, 16, 16))
    with pytest.raises(fb.InputError, match="lacks the column 'kind'"):
        NeckSpec.from_dict({})
    with pytest.raises(fb.InputError, match=r"neck 'efm_san' is unknown \(did you mean 'efm_sam'\?\)"):
        neck_spec("efm_san")


# --- export


@pytest.mark.parametrize("name", NECKS)
def test_necks_can_be_exported(name: str) -> None:
    spec = replace(neck_spec(name), widths=(4, 6, 8) if name != "cem" else (5, 5, 5))
    channels = (7, 8, 9, 10)[: spec.maps]
    neck = build_neck(spec, channels, [4 << i for i in range(len(channels))]).eval()
    given = maps(channels, 2, 3)
    exported = torch.export.export(neck, (given,)).module()
    assert all(torch.allclose(x, y, atol=1e-6) for x, y in zip(exported(given), neck(given), strict=True))


# --- what they cost: docs/decisions/0010-necks.md


class YOLOv3(nn.Module):
    """The paper's head, as far as its printed costs tell: a 3x3 of the same width, then 3 anchors x (80 + 5)."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Sequential(conv(c, c, 3), nn.Conv2d(c, 255, 1)) for c in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [level(x) for level, x in zip(self.levels, maps, strict=True)]


def detector(spec: NeckSpec, backbone: str = "csppeleenet") -> nn.Sequential:
    wanted = range(5 - spec.maps, 5)
    tapped = fb.create_model(backbone, features_only=True, out_indices=tuple(wanted))
    neck = build_neck(spec, tapped.channels, tapped.strides)
    return nn.Sequential(tapped, neck, YOLOv3(neck.channels))


# the paper's billion operations at 416 (CSPNet, Table 2, less 3.058 for its backbone), and ours: parameters and
# multiply-accumulates of neck and head
COUNTS: dict[str, tuple[float | None, int, int]] = {
    "fpn": (None, 1_543_997, 691_921_152),
    "pan": (None, 1_913_405, 791_601_408),
    "prn": (0.532, 1_050_238, 268_453_120),
    "prn_3l": (1.528, 1_247_485, 766_508_288),
    "cem": (0.991, 1_075_070, 521_544_240),
    "gfm": (1.547, 1_617_725, 750_067_968),
    "efm": (1.810, 1_964_733, 896_819_456),
    "efm_sam": (2.010, 2_135_613, 990_961_920),
    "efm_spp": (1.805, 1_956_797, 895_435_008),
}


@pytest.mark.parametrize("name", slow_but(NECKS, ("fpn", "efm")))
def test_necks_cost_what_the_record_says(name: str) -> None:
    published, params, macs = COUNTS[name]
    with torch.device("meta"):
        model = detector(neck_spec(name))
        backbone, whole = fb.cost(model[0], 416), fb.cost(model, 416)
    assert not whole.unknown
    assert whole.params - backbone.params == params
    assert whole.macs - backbone.macs == macs
    if published:
        assert 2 * macs / 1e9 == pytest.approx(published, abs=0.06)


def test_no_layer_behind_the_backbone_costs_more_than_the_paper_says() -> None:
    """Fig. 7: a fifth of a billion operations at most."""
    with torch.device("meta"):
        cost = fb.cost(detector(neck_spec("efm_sam")), 416)
    layers = [2 * row.macs for row in cost.by("layer") if not row.name.startswith("0.")]
    assert max(layers) == pytest.approx(0.2e9, rel=0.01)


@pytest.mark.parametrize(
    ("backbone", "widths", "size", "params", "flops"),
    [
        # published: 4.31 M and 5.07, 7.68 billion
        ("csppeleenet", (64, 128, 256), 416, 4_287_101, 5_054_533_120),
        ("csppeleenet", (64, 128, 256), 512, 4_287_101, 7_656_570_880),
    ],
)
def test_whole_detectors_cost_what_the_record_says(
    backbone: str, widths: tuple[int, ...], size: int, params: int, flops: int
) -> None:
    with torch.device("meta"):
        cost = fb.cost(detector(replace(neck_spec("efm_sam"), widths=widths), backbone), size)
    assert (cost.params, cost.flops) == (params, flops)
