"""The middle of an image is cut out as torchvision does it, and however thin the image is, in little memory."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

import featherbone as fb
from featherbone.data.crop import center_crop
from featherbone.data.transforms import evaluation_transform, training_transform


@pytest.mark.parametrize("size", [(30_000, 1), (1, 30_000), (100_000, 3), (7, 9_001)])
def test_a_thin_image_takes_little_memory(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray((np.arange(math.prod(size)).reshape(size[::-1]) * 7 % 251).astype(np.uint8))
    made: list[int] = []
    resize = Image.Image.resize

    def noted(self: Image.Image, wanted: tuple[int, int], *args: Any, **options: Any) -> Image.Image:
        made.append(math.prod(wanted))
        return resize(self, wanted, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", noted)
    for preprocess in (fb.Preprocess.usual(224, 1, crop=0.875), fb.Preprocess.usual(224, 1, fit="letterbox")):
        for change in (
            evaluation_transform(preprocess),
            training_transform(preprocess),
            training_transform(preprocess, crop_min=0.1),
        ):
            assert change(image).shape == (1, 224, 224)
    assert made
    assert max(made) <= 1 << 24


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 3000), st.booleans(), st.integers(1, 64), st.integers(0, 64))
def test_a_thin_image_is_cut_as_any_other(short: int, more: int, wide: bool, size: int, around: int) -> None:
    shape = (short, short + more, 3) if wide else (short + more, short, 3)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    usual = v2.Compose([v2.Resize(size + around, antialias=True), v2.CenterCrop(size)])(image)
    assert np.array_equal(np.asarray(center_crop(image, size + around, size)), np.asarray(usual))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featherbone.data.crop._MOST", 0)
        thin = np.asarray(center_crop(image, size + around, size), int)
    assert np.abs(thin - np.asarray(usual, int)).max() <= 2
