"""A folder that needs nothing but a runtime: what lies in it beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

from featherbone.deploy.formats import Format
from featherbone.deploy.nms import Postprocess
from featherbone.errors import InputError
from featherbone.files import to_json

# how a runner opens the model, and calls it: x is the input, a numpy array
CALLS: Mapping[str, tuple[str, str, str]] = {
    "onnx": (
        "import onnxruntime",
        'onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])',
        'network.run(None, {"images": x})[0]',
    ),
    "openvino": (
        "import openvino",
        'openvino.compile_model(HERE / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})',
        "network(x)[0]",
    ),
    "torch": (
        "import torch",
        'torch.export.load(HERE / "model.pt2").module()',
        "network(torch.from_numpy(x)).detach().numpy()",
    ),
    "executorch": (
        "import torch\nfrom executorch.runtime import Runtime",
        'Runtime.get().load_program(HERE / "model.pte").load_method("forward")',
        "network.execute([torch.from_numpy(x)])[0].numpy()",
    ),
}
_OPENING = Template('''\
$about

import json
import math
import sys
from pathlib import Path

import numpy as np
$imports
from PIL import Image, ImageOps

HERE = Path(__file__).parent
HOW = json.loads((HERE / "preprocessing.json").read_text(encoding="utf-8"))
LABELS = (HERE / "labels.txt").read_text(encoding="utf-8").removesuffix("\\n").split("\\n")
network = $network


def read(path):
    """Return an image upright, on white, with 8 bits a colour."""
    stored = Image.open(path)
    negative = stored.format == "TIFF" and stored.tag_v2.get(262) == 0
    image = ImageOps.exif_transpose(stored)
    if image.mode == "F" or image.mode.startswith("I"):
        white = 1 if image.mode == "F" else 65535
        values = np.nan_to_num(np.asarray(image, np.float64), posinf=white, neginf=0)
        known = -0.001 <= values.min() <= values.max() <= white + 0.001
        if not known or (image.mode == "I" and stored.format != "PPM"):
            sys.exit(f"{path}: 32 bits a pixel, which has no fixed white; save it with 8 or 16")
        values = (values.clip(0, white) * (255 / white)).round().astype(np.uint8)
        image = Image.fromarray(255 - values if negative else values)
    if image.mode == "LAB":
        image = image.convert("RGB")  # from which there is a way to grey
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if HOW["colours"] == "L" else "RGB")


def normalized(square):
    """Return a square image as the network's input (1, C, size, size)."""
    pixels = np.asarray(square, np.float32).reshape(HOW["size"], HOW["size"], -1) / 255
    pixels = pixels[..., ::-1] if HOW["colours"] == "BGR" else pixels
    scaled = (pixels - np.float32(HOW["mean"])) / np.float32(HOW["std"])
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])
''')
_CROPPED = '''

def prepare(image):
    """Return the network's input: the short side resized, the middle cut out, normalized."""
    size, drawn = HOW["size"], [HOW["resize_short_side"] * side // min(image.size) for side in image.size]
    left, top = (round((side - size) / 2) for side in drawn)
    if drawn[0] * drawn[1] <= 1 << 24:
        return normalized(image.resize(drawn, Image.Resampling.BILINEAR).crop((left, top, left + size, top + size)))
    # so thin that the resized image would fill the memory: of it, only what stays
    cut, box = [], []
    for side, length, start in zip(image.size, drawn, (left, top)):
        step = side / length
        low, high = start * step, min(side, (start + size) * step)
        reach = math.ceil(max(1, step)) + 1
        cut.append((max(0, math.floor(low) - reach), min(side, math.ceil(high) + reach)))
        box.append((low - cut[-1][0], high - cut[-1][0]))
    near, inner = image.crop(sum(zip(*cut), ())), sum(zip(*box), ())
    return normalized(near.resize((size, size), Image.Resampling.BILINEAR, inner))
'''
_LETTERBOXED = '''

def drawn(size):
    """Return the width and height with which an image lies in the input."""
    factor = HOW["resize_long_side"] / max(size)
    return [max(1, round(side * factor)) for side in size]


def prepare(image):
    """Return the network's input: all of the image at the top left, the rest grey, normalized."""
    grey = HOW["fill"] if image.mode == "L" else (HOW["fill"],) * 3
    square = Image.new(image.mode, (HOW["size"], HOW["size"]), grey)
    square.paste(image.resize(drawn(image.size), Image.Resampling.BILINEAR))
    return normalized(square)
'''
_CLASSES = Template("""

for path in sys.argv[1:]:
    x = prepare(read(path))
    outputs = $call[0]
    shares = np.exp(outputs - outputs.max())
    shares /= shares.sum()
    print(path, *(f"{LABELS[i]} {shares[i]:.4f}" for i in np.argsort(-shares)[:5]), sep="\\t")
""")
_BOXES = Template("""

for path in sys.argv[1:]:
    image = read(path)
    x = prepare(image)
    found = $call[0]
    found = found[found.any(1)]  # rows of zeros follow the last box
    scale = [there / here for there, here in zip(drawn(image.size), image.size)]
    edges = (found[:, :4] / np.array(scale * 2)).clip(0, image.size * 2)
    for box, score, label in zip(edges, found[:, 4], found[:, 5].astype(int)):
        print(path, LABELS[label], f"{score:.4f}", *(f"{edge:.2f}" for edge in box), sep="\\t")
    if not len(found):
        print(path)
""")
_ABOUT_CLASSES = (
    '''"""Say what is in images: python run.py IMAGE... prints for each its five likeliest classes, tabs between."""'''
)
_ABOUT_BOXES = '''"""Say where things are in images: python run.py IMAGE... prints a line for every box, tabs between.

A line is the image, the class, the score, and left, top, right and bottom in pixels of the upright image; an image in
which nothing is found is a line without these.
"""'''


_README = Template("""\
# A network that is ready to be used

```console
$$ pip install $runtime numpy pillow
$$ python run.py IMAGE...
```

| file | what it is |
|---|---|
| `$model` | the network for $runtime: `images` ($shape) to $outputs |
| `preprocessing.json` | how an image becomes the input |
| `labels.txt` | the classes, one a line, in the order of their numbers |
| `run.py` | an example that does all of it; it needs the packages above, and nothing else |

The outputs of `$model` were compared with those of the network that it was made from, with $runtime $version.
""")


@dataclass(frozen=True)
class Contents:
    """What a folder says of its network.

    Attributes:
        labels: class names in the order of the outputs.
        preprocessing: ``size`` in pixels, and ``resize_short_side`` and ``crop``, or ``resize_long_side``, ``place``
            and ``fill``; ``interpolation``, ``colours`` ("L", "RGB" or "BGR"), and ``mean`` and ``std`` of the range
            0..1 in that order.
        postprocess: of a detector.
    """

    labels: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    postprocess: Postprocess | None = None

    def __post_init__(self) -> None:
        """Check the labels.

        Raises:
            InputError: if one has a line break, which ``labels.txt`` cannot hold.
        """
        for label in self.labels:
            if set(label) & set("\r\n"):
                raise InputError(f"class {label!r} is not allowed in labels.txt: a name without line breaks")

    def write(self, folder: Path, file_format: Format) -> None:
        """Write everything but the model."""
        for name, text in self.files(file_format).items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")

    def files(self, file_format: Format) -> dict[str, str]:
        """Return the texts by file name."""
        channels, size = len(self.preprocessing["mean"]), self.preprocessing["size"]
        readme = _README.substitute(
            runtime=file_format.runtime,
            version=version(file_format.runtime),
            model=f"model{file_format.suffix}",
            shape=f"{1 if self.postprocess else file_format.batch or 'any number'}, {channels}, {size}, {size}",
            outputs=self._outputs(),
        )
        letterbox = "resize_long_side" in self.preprocessing
        return {
            "preprocessing.json": to_json(dict(self.preprocessing)) + "\n",
            "labels.txt": "\n".join(self.labels) + "\n",
            "run.py": script(file_format.name, letterbox=letterbox, boxes=self.postprocess is not None),
            "README.md": readme,
        }

    def _outputs(self) -> str:
        """Return what the model gives, in words."""
        if self.postprocess is None:
            return f"`outputs` ({len(self.labels)} of each), before the softmax"
        how = self.postprocess
        return (
            f"`boxes` (1, {how.max_detections}, 6): x1, y1, x2, y2 in pixels of the input, score, and the number of "
            f"the class; the best first, zeros after the last. Scores are {how.score:g} or more; of two boxes of a "
            f"class whose intersection over union is more than {how.iou:g}, the better one is there"
        )


def script(file_format: str, *, letterbox: bool, boxes: bool) -> str:
    """Return the text of a script for a format.

    Args:
        file_format: a key of ``CALLS``.
        letterbox: show all of the image; else its middle is cut out.
        boxes: the network returns boxes, which only goes with ``letterbox``; else classes.
    """
    imports, network, call = CALLS[file_format]
    about = _ABOUT_BOXES if boxes else _ABOUT_CLASSES
    opening = _OPENING.substitute(about=about, imports=imports, network=network)
    postprocess = _BOXES if boxes else _CLASSES
    return opening + (_LETTERBOXED if letterbox else _CROPPED) + postprocess.substitute(call=call)
