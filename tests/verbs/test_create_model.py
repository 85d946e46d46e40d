"""A network by its name: classes, channels, maps, and what is refused."""

import pytest
import torch
from helpers.families import SMALL
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import featherbone as fb


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


def test_an_unknown_network_is_told_its_neighbour() -> None:
    with pytest.raises(fb.InputError, match="did you mean 'vovnet39'"):
        fb.create_model("vovnet93")
