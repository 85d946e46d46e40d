"""A folder that needs nothing but a runtime: what lies in it beside the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

from featherbone.deploy._script import script
from featherbone.deploy.formats import Format
from featherbone.deploy.nms import Ending
from featherbone.errors import InputError

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

What `$model` answers was compared with the answers of the network that it was made from, with $runtime $version.
""")


@dataclass(frozen=True)
class Contents:
    """What a folder says of its network.

    Attributes:
        labels: class names in the order of the outputs.
        preprocessing: ``size`` in pixels, and ``resize_short_side`` and ``crop``, or ``resize_long_side``, ``place``
            and ``fill``; ``interpolation``, ``colours`` ("L", "RGB" or "BGR"), and ``mean`` and ``std`` of the range
            0..1 in that order.
        ending: of a detector.
    """

    labels: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    ending: Ending | None = None

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
        channels, size = len(self.preprocessing["mean"]), self.preprocessing["size"]
        readme = _README.substitute(
            runtime=form.runtime,
            version=version(form.runtime),
            model=f"model{form.suffix}",
            shape=f"{1 if self.ending else form.batch or 'any number'}, {channels}, {size}, {size}",
            outputs=self._outputs(),
        )
        letterbox = "resize_long_side" in self.preprocessing
        return {
            "preprocessing.json": json.dumps(dict(self.preprocessing), indent=2) + "\n",
            "labels.txt": "\n".join(self.labels) + "\n",
            "run.py": script(form.name, letterbox=letterbox, boxes=self.ending is not None),
            "README.md": readme,
        }

    def _outputs(self) -> str:
        """Return what the model gives, in words."""
        if self.ending is None:
            return f"`outputs` ({len(self.labels)} of each), before the softmax"
        return (
            f"`boxes` (1, {self.ending.most}, 6): x1, y1, x2, y2 in pixels of the input, score, and the number of the "
            f"class; the best first, zeros after the last. Scores are {self.ending.score:g} or more; of two boxes of a "
            f"class whose intersection over union is more than {self.ending.iou:g}, the better one is there"
        )
