"""Published counts, equality with independent implementations, and declared = real shapes."""

import copy
import pickle
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorchcv.model_provider import get_model
from reference import AuthorsShuffleNetV2, copy_weights, randomise
from torch import nn

import featherbone as fb
from featherbone.models import spec_from_row, stem_stride_for
from featherbone.spec import spec_to_dict

# parameters, multiply-accumulates at 224 in millions: papers, authors' code and torchvision
PUBLISHED = {
    "densenet121": (7_978_856, 2834),
    "densenet169": (14_149_480, 3360),
    "densenet201": (20_013_928, 4291),
    "densenet264": (33_337_704, 5752),
    "densenet161": (28_681_000, 7728),
    "densenet264_k48": (72_686_632, 12851),
    "vovnet27_slim": (3_525_736, 2177),
    "vovnet39": (22_600_296, 7072),
    "vovnet57": (36_640_296, 8930),
    "shufflenet_v2_x0_5": (1_365_792, 40.5),
    "shufflenet_v2_x1_0": (2_278_760, 145.8),
    "shufflenet_v2_x1_5": (3_506_720, 299.0),
    "shufflenet_v2_x2_0": (7_402_600, 590.8),
    "shufflenet_v2_x0_5.tv": (1_366_792, 40.5),
    "shufflenet_v2_x1_0.tv": (2_278_604, 144.9),
    "shufflenet_v2_x1_5.tv": (3_503_624, 295.8),
    "shufflenet_v2_x2_0.tv": (7_393_996, 583.3),
}

# the same at 32 for ten classes: DenseNet's Table 2, counts worked out from its definition
PUBLISHED_CIFAR: dict[str, tuple[int, int | None]] = {
    "densenet40_k12_cifar": (1_019_722, 265),
    "densenet100_k12_cifar": (6_979_642, 1770),
    "densenet100_k24_cifar": (27_249_082, 6889),
    "densenet_bc100_k12_cifar": (769_162, 288),
    "densenet_bc250_k24_cifar": (15_324_406, 5419),
    "densenet_bc190_k40_cifar": (25_624_430, 9302),
    "densenet_bc40_k36_cifar": (1_542_682, None),
    "densenet_bc40_k48_cifar": (2_733_130, None),
    "densenet_bc40_k60_cifar": (4_261_690, None),
}

SMALL = ("densenet121", "vovnet27_slim", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0.tv")


def test_every_network_has_published_numbers() -> None:
    assert set(fb.list_models()) == {*PUBLISHED, *PUBLISHED_CIFAR}


@pytest.mark.parametrize("name", PUBLISHED_CIFAR)
def test_the_cifar_networks_have_the_papers_counts(name: str) -> None:
    params, millions = PUBLISHED_CIFAR[name]
    with torch.device("meta"):
        model = fb.create_model(name)
        maps = fb.Pyramid(model)(torch.empty(1, 3, 32, 32))
    cost = fb.cost(model, 32)
    assert cost.params == params == fb.count_parameters(name)
    assert millions is None or round(cost.macs / 1e6) == millions
    assert model.strides == (1, 1, 2, 4)
    assert [32 // m.shape[2] for m in maps] == list(model.strides)
    assert [m.shape[1] for m in maps] == list(model.channels)


@pytest.mark.parametrize(
    ("name", "other", "columns"),
    [
        ("densenet_bc100_k12_cifar", "densenet100_k12_bc_cifar10", {}),
        # pytorchcv's plain ones have another stem and compress their transitions, which the paper's do not
        ("densenet100_k12_cifar", "densenet100_k12_cifar10", {"stem_channels": 24, "compression": 0.5}),
    ],
)
def test_cifar_outputs_equal_pytorchcvs(name: str, other: str, columns: dict[str, Any]) -> None:
    torch.manual_seed(0)
    reference = randomise(get_model(other).double())
    ours = replace(fb.spec(name), **columns).build().double().eval()
    copy_weights(reference, ours)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        wanted = reference(x)
        assert (ours(x) - wanted).abs().max() <= 1e-10 * max(1.0, wanted.abs().max().item())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_operations_are_the_published_ones(name: str) -> None:
    params, millions = PUBLISHED[name]
    with torch.device("meta"):
        cost = fb.cost(fb.create_model(name), 224)
    assert cost.params == params == fb.count_parameters(name)
    assert round(cost.macs / 1e6, 1 if millions < 1000 else 0) == millions
    assert not cost.unknown


@pytest.mark.parametrize(
    ("name", "other"),
    [
        *((n, getattr(torchvision.models, n)) for n in ("densenet121", "densenet161", "densenet169", "densenet201")),
        *(
            (f"{n}.tv", getattr(torchvision.models, n))
            for n in (f"shufflenet_v2_x{x}" for x in ("0_5", "1_0", "1_5", "2_0"))
        ),
        *((n, lambda n=n: get_model(n.replace("27_slim", "27s"))) for n in ("vovnet27_slim", "vovnet39", "vovnet57")),
        ("densenet121", lambda: get_model("densenet121")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_outputs_equal_those_of_torchvision_and_pytorchcv(name: str, other) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    reference = randomise(other().double())
    ours = fb.create_model(name).double().eval()
    copy_weights(reference, ours)
    x = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        wanted = reference(x)
        assert (ours(x) - wanted).abs().max() <= 1e-10 * max(1.0, wanted.abs().max().item())


@pytest.mark.parametrize(
    ("name", "channels", "conv5"),
    [
        ("shufflenet_v2_x0_5", (48, 96, 192), 1024),
        ("shufflenet_v2_x1_0", (116, 232, 464), 1024),
        ("shufflenet_v2_x1_5", (176, 352, 704), 1024),
        ("shufflenet_v2_x2_0", (244, 488, 976), 2048),
    ],
)
def test_the_authors_shufflenet_equals_one_written_from_the_paper_again(
    name: str, channels: tuple[int, ...], conv5: int
) -> None:
    torch.manual_seed(0)
    reference = randomise(AuthorsShuffleNetV2(channels, conv5, 1000).double())
    ours = fb.create_model(name).double().eval()
    copy_weights(reference, ours)
    x = torch.randn(2, 3, 97, 130, dtype=torch.float64)
    with torch.no_grad():
        wanted = reference(x)
        assert (ours(x) - wanted).abs().max() <= 1e-10 * max(1.0, wanted.abs().max().item())


def test_the_authors_shufflenet_equals_pytorchcvs() -> None:
    """Its "2b" form has the authors' first unit; it registers the main branch before the projection, and has a bias."""
    torch.manual_seed(0)
    reference = randomise(get_model("shufflenetv2b_w1").double())
    ours = replace(fb.spec("shufflenet_v2_x1_0"), **dict.fromkeys(["classifier_bias"], True)).build().double().eval()
    given = reference.state_dict()
    units = list(dict.fromkeys(name.rsplit(".", 3)[0] for name in given))
    order = sorted(given, key=lambda name: (units.index(name.rsplit(".", 3)[0]), "shortcut" not in name))
    ours.load_state_dict(dict(zip(ours.state_dict(), (given[name] for name in order), strict=True)))
    x = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        wanted = reference(x)
        assert (ours(x) - wanted).abs().max() <= 1e-10 * max(1.0, wanted.abs().max().item())


def test_only_the_first_unit_and_the_bias_tell_the_two_shufflenets_apart() -> None:
    ours, theirs = fb.spec("shufflenet_v2_x1_0"), fb.spec("shufflenet_v2_x1_0.tv")
    assert replace(ours, first_projection=58, classifier_bias=True) == theirs  # type: ignore[call-arg]


@pytest.mark.parametrize("name", PUBLISHED)
def test_declared_channels_and_strides_are_real(name: str) -> None:
    with torch.device("meta"):
        maps = fb.create_model(name, features_only=True)
        out = maps(torch.empty(1, 3, 224, 224))
    assert maps.strides == (2, 4, 8, 16, 32)
    assert [m.shape[1] for m in out] == list(maps.channels)
    assert [224 // m.shape[2] for m in out] == list(maps.strides)


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
@pytest.mark.parametrize("name", SMALL)
def test_small_image_stems_shrink_less(name: str, stem_stride: int) -> None:
    maps = fb.create_model(name, features_only=True, stem_stride=stem_stride, in_chans=1).eval()
    out = maps(torch.zeros(1, 1, 64, 64))
    assert maps.strides[1:] == tuple(stem_stride * 2**i for i in range(4))
    assert [64 // m.shape[2] for m in out] == list(maps.strides)
    assert [m.shape[1] for m in out] == list(maps.channels)


def test_the_stem_follows_the_size() -> None:
    assert [stem_stride_for(size) for size in (8, 32, 33, 64, 65, 224)] == [1, 1, 2, 2, 4, 4]


@settings(max_examples=12, deadline=None)
@given(height=st.integers(32, 90), width=st.integers(32, 90), name=st.sampled_from(SMALL))
def test_odd_and_oblong_images_work(height: int, width: int, name: str) -> None:
    with torch.no_grad():
        out = fb.create_model(name, num_classes=3).eval()(torch.zeros(1, 3, height, width))
    assert out.shape == (1, 3)
    assert out.isfinite().all()


@pytest.mark.parametrize("name", SMALL)
def test_classes_channels_and_pooled_features(name: str) -> None:
    x = torch.randn(2, 5, 64, 64)
    assert fb.create_model(name, num_classes=7, in_chans=5).eval()(x).shape == (2, 7)
    features = fb.create_model(name, num_classes=0, in_chans=5).eval()
    assert features(x).ndim == 2
    assert not any(isinstance(part, nn.Linear) for part in features.modules())


def test_maps_come_in_the_order_asked_and_are_those_of_the_whole_network() -> None:
    torch.manual_seed(0)
    whole = fb.create_model("densenet121").eval()
    maps = fb.Pyramid(whole, (-1, 1))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        last, first = maps(x)
        assert torch.equal(last, whole.forward_features(x))
        assert torch.equal(first, whole.stages[0](whole.stem(x)))
    assert maps.strides == (32, 4)
    assert len(fb.Pyramid(whole, (0,)).stages) == 0


@pytest.mark.parametrize("indices", [(), (5,), (-6,), (1, 1), (4, -1)])
def test_wrong_indices_are_named(indices: tuple[int, ...]) -> None:
    with pytest.raises(fb.InputError, match="out_indices"):
        fb.create_model("shufflenet_v2_x0_5", features_only=True, out_indices=indices)


def test_out_indices_need_features_only() -> None:
    with pytest.raises(fb.InputError, match="features_only"):
        fb.create_model("shufflenet_v2_x0_5", out_indices=(1,))  # type: ignore[call-overload]


@pytest.mark.parametrize("name", SMALL)
def test_every_column_changes_the_network(name: str) -> None:
    row = fb.spec(name)
    changes = {"compression": 0.25, "dropout": 0.5, "classifier_bias": not getattr(row, "classifier_bias", False)}
    for field in fields(row):
        value = getattr(row, field.name)
        if field.name == "stem_stride":
            other: Any = 2
        elif field.name in changes:
            other = changes[field.name]
        elif isinstance(value, tuple):
            other = (value[0] + 2, *value[1:])
        else:
            other = value + 2
        with torch.device("meta"):
            changed = fb.create_model(replace(row, **{field.name: other}))
            assert repr(changed) != repr(fb.create_model(row)), field.name


@pytest.mark.parametrize("name", [*PUBLISHED, *PUBLISHED_CIFAR])
def test_rows_survive_json_and_pickle(name: str) -> None:
    row = fb.spec(name)
    assert spec_from_row(spec_to_dict(row)) == row
    assert pickle.loads(pickle.dumps(row)) == row  # noqa: S301 - our own row, made a line above
    assert eval(repr(row), vars(__import__(type(row).__module__, fromlist=["*"]))) == row  # noqa: S307 - likewise


@pytest.mark.parametrize("name", SMALL)
def test_a_copy_gives_the_same_answers(name: str) -> None:
    model = fb.create_model(name, num_classes=3).eval()
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(copy.deepcopy(model)(x), model(x))


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns(name: str) -> None:
    model = fb.create_model(name, num_classes=3)
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_classes": -1}, "num_classes=-1"),
        ({"in_chans": 0}, "in_chans=0"),
        ({"stem_stride": 3}, "stem_stride=3"),
        ({"growth_rate": 0}, "growth_rate=0"),
        ({"growth_rate": 12.5}, "growth_rate=12.5"),
        ({"layers": ()}, "layers=()"),
        ({"layers": (6, 0)}, "layers="),
        ({"compression": 0.0}, "compression=0.0"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_a_wrong_row_is_refused_with_its_column(change: dict[str, Any], said: str) -> None:
    with pytest.raises(fb.InputError, match=said.replace("(", r"\(").replace(")", r"\)")):
        replace(fb.spec("densenet121"), **change)


def test_shufflenet_and_vovnet_rows_are_checked_too() -> None:
    with pytest.raises(fb.InputError, match="even numbers"):
        replace(fb.spec("shufflenet_v2_x1_0"), channels=(115, 232, 464))  # type: ignore[call-arg]
    with pytest.raises(fb.InputError, match="first_projection=116"):
        replace(fb.spec("shufflenet_v2_x1_0"), first_projection=116)  # type: ignore[call-arg]
    with pytest.raises(fb.InputError, match="modules"):
        replace(fb.spec("vovnet39"), modules=(1, 1, 2))  # type: ignore[call-arg]


def test_an_unknown_network_is_told_its_neighbour() -> None:
    with pytest.raises(fb.InputError, match="did you mean 'vovnet39'"):
        fb.create_model("vovnet93")


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"family": "resnet"},
        {"family": "vovnet"},
        {"family": "vovnet", "depth": 3},
        {"family": "densenet", "layers": 3},
    ],
)
def test_a_row_that_is_none_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(fb.InputError):
        spec_from_row(row)
