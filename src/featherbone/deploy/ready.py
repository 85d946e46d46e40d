"""A folder that needs nothing but a runtime: what lies in it beside the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

from featherbone.deploy.formats import Format
from featherbone.errors import InputError

# how a runner opens the model, and asks it: x is the input, a numpy array
_CALLS: Mapping[str, tuple[str, str, str]] = {
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

_RUNNER = Template('''\
"""Say what is in images: python run.py IMAGE... prints for each its five likeliest classes, tabs between."""

import json
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
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode in ("I", "F"):
        sys.exit(f"{path}: 32 bits a pixel, which has no fixed white; save it with 8 or 16")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) * (255 / 65535)).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if HOW["colours"] == "L" else "RGB")


def prepare(image):
    """Return the network's input (1, C, size, size): the short side resized, the middle cut out, normalised."""
    short, size = min(image.size), HOW["size"]
    image = image.resize([HOW["resize_short_side"] * side // short for side in image.size], Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32).reshape(size, size, -1) / 255
    pixels = pixels[..., ::-1] if HOW["colours"] == "BGR" else pixels
    scaled = (pixels - np.float32(HOW["mean"])) / np.float32(HOW["std"])
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


for path in sys.argv[1:]:
    x = prepare(read(path))
    outputs = $answer[0]
    shares = np.exp(outputs - outputs.max())
    shares /= shares.sum()
    print(path, *(f"{LABELS[i]} {shares[i]:.4f}" for i in np.argsort(-shares)[:5]), sep="\\t")
''')

_README = Template("""\
# A network that is ready to be used

```console
$$ pip install $runtime numpy pillow
$$ python run.py IMAGE...
```

| file | what it is |
|---|---|
| `$model` | the network for $runtime: `images` ($shape) to `outputs` ($classes of each), before the softmax |
| `preprocessing.json` | how an image becomes the input |
| `labels.txt` | the classes, one a line, in the order of the outputs |
| `run.py` | an example that does all of it; it needs the packages above, and nothing else |

The outputs of `$model` were compared with those of the network that it was made from, with $runtime $version.
""")


@dataclass(frozen=True)
class Contents:
    """What a folder says of its network.

    Attributes:
        labels: class names in the order of the outputs.
        preprocessing: ``size`` and ``resize_short_side`` in pixels, ``interpolation``, ``crop``, ``colours`` ("L",
            "RGB" or "BGR"), and ``mean`` and ``std`` of the range 0..1 in that order.
    """

    labels: tuple[str, ...]
    preprocessing: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Check the labels.

        Raises:
            InputError: if one has a line break, which ``labels.txt`` cannot hold.
        """
        for label in self.labels:
            if set(label) & set("\r\n"):
                raise InputError(f"class {label!r} is not allowed in labels.txt: a name without line breaks")

    def write(self, folder: Path, form: Format) -> None:
        """Write everything but the model."""
        for name, text in self.files(form).items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")

    def files(self, form: Format) -> dict[str, str]:
        """Return the texts by file name."""
        imports, network, answer = _CALLS[form.name]
        channels, size = len(self.preprocessing["mean"]), self.preprocessing["size"]
        readme = _README.substitute(
            runtime=form.runtime,
            version=version(form.runtime),
            model=f"model{form.suffix}",
            shape=f"{form.batch or 'any number'}, {channels}, {size}, {size}",
            classes=len(self.labels),
        )
        return {
            "preprocessing.json": json.dumps(dict(self.preprocessing), indent=2) + "\n",
            "labels.txt": "\n".join(self.labels) + "\n",
            "run.py": _RUNNER.substitute(imports=imports, network=network, answer=answer),
            "README.md": readme,
        }
