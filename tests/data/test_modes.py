"""Every mode of Pillow gives the right pixels, or is left out by name."""

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featherbone.data.image import UnreadableImageError, image_mode, read_image


def merged(mode: str, values: np.ndarray) -> Image.Image:
    return Image.merge(mode, [Image.fromarray(values[..., band]) for band in range(values.shape[-1])])


def stored(mode: str) -> tuple[Image.Image, np.ndarray]:  # noqa: C901, PLR0911 - one case a mode
    """Return an image of a mode, and its colours as floats ``(6, 8, 3)`` from 0 to 255, by formulas of our own."""
    random = np.random.default_rng(0)
    values = random.integers(0, 256, (6, 8, 4)).astype(np.uint8)
    first, alpha, colour = values[..., :1].repeat(3, 2).astype(float), values[..., 3:] / 255, values[..., :3] / 1.0
    if mode == "1":
        return Image.fromarray(values[..., 0] > 99), np.where(first > 99, 255.0, 0.0)
    if mode == "L":
        return Image.fromarray(values[..., 0]), first
    if mode in ("RGB", "RGBX"):
        return Image.fromarray(values[..., :3]).convert(mode), colour
    if mode in ("P", "PA"):
        palette = random.integers(0, 256, (256, 3)).astype(np.uint8)
        image = Image.fromarray(values[..., 0])
        image.putpalette(palette.tobytes())
        return image.convert(mode), palette[values[..., 0]].astype(float)
    if mode in ("LA", "La"):
        return merged("LA", values[..., (0, 3)]).convert(mode), first * alpha + 255 * (1 - alpha)
    if mode in ("RGBA", "RGBa"):
        return Image.fromarray(values).convert(mode), colour * alpha + 255 * (1 - alpha)
    if mode == "CMYK":
        return merged(mode, values), (255 - colour) * (255 - values[..., 3:] / 1.0) / 255
    if mode == "YCbCr":
        values = np.stack([values[..., 0] // 2 + 60, 118 + values[..., 1] // 13, 118 + values[..., 2] // 13], 2)
        y, cb, cr = np.moveaxis(values - [0.0, 128, 128], 2, 0)
        wanted = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], 2)
        return merged(mode, values), wanted
    if mode == "HSV":
        return merged(mode, values[..., :3]), np.apply_along_axis(
            lambda v: colorsys.hsv_to_rgb(*v), 2, colour / 255
        ) * 255
    if mode == "LAB":
        values = np.stack([values[..., 0] // 2 + 60, 118 + values[..., 1] // 13, 118 + values[..., 2] // 13], 2)
        return merged(mode, values), from_lab(values)
    if mode == "F":
        return Image.fromarray((values[..., 0] / 255).astype(np.float32)), first
    sixteen = random.integers(0, 65536, (6, 8))
    content = sixteen.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    return Image.frombytes(mode, (8, 6), content), (sixteen / 257.0)[..., None].repeat(3, 2)


def from_lab(values: np.ndarray) -> np.ndarray:
    """Return colours of CIE L*a*b* (D50) as sRGB, by the published formulas; the matrix is Lindbloom's."""
    light, a, b = values[..., 0] / 2.55, values[..., 1] - 128.0, values[..., 2] - 128.0
    f = (light + 16) / 116
    share = np.stack([f + a / 500, f, f - b / 200], 2)
    xyz = np.where(share > 6 / 29, share**3, 3 * (6 / 29) ** 2 * (share - 4 / 29)) * [0.9642, 1.0, 0.8249]
    matrix = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = (xyz @ np.array(matrix).T).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255


MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "F"),
    *("I;16", "I;16L", "I;16B"),
)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_has_the_right_pixels(mode: str, channels: int, tmp_path: Path, monkeypatch: Any) -> None:
    image, wanted = stored(mode)
    assert image.mode == mode
    (tmp_path / "a").write_bytes(b"no format stores all modes")
    monkeypatch.setattr(Image, "open", lambda *_, **__: image)
    found = np.asarray(read_image(tmp_path / "a", image_mode(channels)), float)
    if channels == 1:
        wanted = wanted @ [0.299, 0.587, 0.114]
    assert found.shape == wanted.shape
    # premultiplied colours are rounded twice, and Pillow's hues are whole numbers
    assert np.abs(found - wanted).max() <= (6 if mode in ("La", "RGBa", "HSV", "LAB") else 1.5)


def test_what_has_no_known_white_is_left_out_by_name(tmp_path: Path) -> None:
    """The same number is never two brightnesses: what white is does not depend on the picture."""
    for values in (
        np.array([[0, 200]], np.int32),
        np.array([[0, 200]], np.float32),
        np.array([[-1, 1]], np.float32),
    ):
        Image.fromarray(values).save(tmp_path / "a.tiff")
        with pytest.raises(UnreadableImageError, match="nobody can tell what is white"):
            read_image(tmp_path / "a.tiff")


def test_white_is_that_of_the_format(tmp_path: Path) -> None:
    (tmp_path / "dark.pgm").write_bytes(b"P5 2 1 65535\n" + np.array([200, 100], ">u2").tobytes())
    assert np.asarray(read_image(tmp_path / "dark.pgm", "L")).tolist() == [[1, 0]]
    sixteen = Image.fromarray(np.array([[0, 65535, 200]], np.uint16))
    sixteen.save(tmp_path / "negative.tiff", tiffinfo={262: 0})  # white is zero
    assert np.asarray(read_image(tmp_path / "negative.tiff", "L")).tolist() == [[255, 0, 254]]
