"""An input is the same as torchvision makes it, which is not imported for it."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from featherbone.data import Preprocess
from featherbone.data.transforms import evaluation_transform


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    side=st.integers(1, 48),
    crop=st.sampled_from((1.0, 0.95, 0.875, 224 / 232, 0.5)),
    channels=st.sampled_from((1, 3)),
    bgr=st.booleans(),
)
def test_an_input_is_torchvisions_to_the_bit(
    size: tuple[int, int], side: int, crop: float, channels: int, *, bgr: bool
) -> None:
    values = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), np.uint8)
    image = Image.fromarray(values[..., 0] if channels == 1 else values)
    how = Preprocess(size=side, mean=(0.485, 0.456, 0.406)[:channels], std=(0.229, 0.224, 0.225)[:channels],
                     crop=crop, bgr=bgr and channels == 3)  # fmt: skip
    steps = [v2.Resize(round(side / crop), antialias=True), v2.CenterCrop(side), v2.ToImage()]
    steps += [v2.ToDtype(torch.float32, scale=True), *([v2.Lambda(lambda x: x.flip(-3))] if how.bgr else [])]
    wanted = v2.Compose([*steps, v2.Normalize(list(how.mean), list(how.std)), v2.ToPureTensor()])(image)
    assert torch.equal(evaluation_transform(how)(image), wanted)
