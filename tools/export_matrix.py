"""Write docs/export.md: networks x formats and runtimes x forms, each file run and compared. ``--check`` only looks."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

import featherbone as fb
from featherbone.data.sources.scikit_learn import photographs
from featherbone.data.transforms import training_transform
from featherbone.deploy.engines import eager, openvino
from featherbone.deploy.formats import FORMATS, Format
from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.search import BOUNDS
from featherbone.deploy.variants import PLAIN, Variant
from featherbone.errors import InputError, first_line

TARGET = Path(__file__).parents[1] / "docs" / "export.md"
SIZE = 64
# small ones of every family; where a stage only repeats a layer, it repeats it less often
NETWORKS: Mapping[str, Mapping[str, object]] = {
    "shufflenet_v2_x0_5": {"repeats": (2, 2, 2)},
    "shufflenet_v1_g3_x0_5": {"repeats": (2, 2, 2)},
    "shufflenet_v1_g8_x0_25": {"repeats": (2, 2, 2)},
    "vovnet27_slim": {},
    "vovnet_v2_19_slim_dw": {},
    "cspdarknet_nano.yolox": {},
    "cs3darknet_s.timm": {"depths": (1, 2, 1, 1)},
    "cspnext_tiny.timm": {},
    "peleenet": {"layers": (2, 2, 2, 2)},
    "csppeleenet_last": {"layers": (2, 2, 2, 2)},
    "resnet50": {"depths": (1, 2, 1, 1)},
    "cspresnet50": {"depths": (1, 2, 1, 1)},
    "cspresnext50.timm": {"depths": (1, 1, 2, 1)},
    "cspdarknet53": {"depths": (1, 1, 1, 1, 1)},
    "rdnet_tiny": {"growth_rates": (8, 8, 8, 16), "shrinks": (True, True, True), "stem_channels": 16},
    "densenet121": {"layers": (2, 2, 2, 2)},
}
VARIANTS = {"as given": PLAIN, "rewritten": Variant()}
HEADER = f"""# What runs where

Written by `just matrix` (`uv run --extra executorch python tools/export_matrix.py`); a test fails when a family or a
format is missing here. Every network was captured once as it is and once rewritten (the exact rewrites that `export`
applies), written as a file, read back by the runtime, and run on three images, all together and one by one. A cell is
the largest difference from the network's own outputs in PyTorch, as a share of the largest output; in float32 anything
below 1e-4 is rounding. Rounding in bfloat16 depends on the network, so the last column says what PyTorch itself makes
of it; a cell is bold if it is beyond 1e-4 in float32, or in bfloat16 beyond both 5e-2 and three times PyTorch's own. A
failure stands as the runtime said it. Networks are shortened where a stage only repeats a layer; weights are random,
norms have the statistics of the images, and these are crops of photographs, {SIZE} x {SIZE}.

"""
FOOTER = """
## The formats

| format | suffix | runtime | batch | metadata |
|---|---|---|---|---|
| `onnx` | `.onnx` | `onnxruntime` | free | `metadata_props["featherbone"]` |
| `openvino` | `.xml`, weights in a `.bin` beside it | `openvino` | free | `rt_info`, key `featherbone` |
| `torch` | `.pt2` | `torch` (`torch.export.load`) | free | the archive's extra file `featherbone` |
| `executorch` | `.pte`, with XNNPACK's kernels | `executorch` | 1 | the method `featherbone` returns the text |

- `export` writes float32 and proves the file in float32. It is run on 16 images, four of noise and twelve real ones
  (held-out images of a run, photographs and parts of these), one by one and as a batch. Every channel of every output
  (a class, a map) is judged by itself: it may err by 1e-4 of its standard deviation over these images, and by eight
  times what PyTorch's own float32 differs from float64 there. Of the networks above, honest files used at most 0.15
  of that. What the images do not tell apart from a constant is named: there the proof says little. In int8, scales
  come from one half of the calibration images and the proof from the other; an output may err by half of its
  variation, as a root mean square over the images and over the channels, and the first class must hold on all but
  `max_drop`. OpenVINO itself computes in bfloat16 on a processor that can, unless it is told
  `INFERENCE_PRECISION_HINT: "f32"`: the column `bf16` says what that does to a network.
- A network may give several tensors, in a tuple, a list or a dictionary: they are named `outputs_0`, `outputs_1`, or
  by their keys, and each is proven.
- A file appears whole or not at all. A file that exists is replaced only if `export` wrote it (it holds "made by
  featherbone") or with `--overwrite`; so it is with every file that a command writes. Of an OpenVINO pair, a reader
  finds the old model or the new one at every instant: five renames lead from one to the other.
- OpenVINO files are made from the captured program, not by way of ONNX.
- A `.pt2` that we write holds plain tensors, but PyTorch's reader unpickles whatever a file asks it to: open only those
  of people whose code you would run. ONNX, OpenVINO and ExecuTorch files hold no code.
- ExecuTorch is an extra of its own, `pip install 'featherbone[executorch]'`, for Python before 3.14, because it brings
  twenty packages. Its batch is fixed because a file reserves its memory beforehand. On phones and boards its runtime
  is a C++ library; the Python package imports PyTorch.
"""


@dataclass(frozen=True)
class Column:
    """A format, a runtime and a precision."""

    form: Format
    precision: str

    @property
    def title(self) -> str:
        """As the table's head says it."""
        return f"{self.form.name} ({self.form.runtime}) {self.precision}"

    def load(self, file: Path) -> Callable[[Tensor], Tensor]:
        """Return a function that runs a file in the precision."""
        if self.precision == "f32":
            return self.form.load(file)
        if self.precision not in openvino.precisions():
            raise InputError(f"this processor has no {self.precision}")
        return openvino.load(file, self.precision)


COLUMNS = tuple(
    Column(form, precision)
    for form in FORMATS.values()
    for precision in (("f32", "bf16") if form.name == "openvino" else ("f32",))
)


def main() -> int:
    """Write the page, or say what is missing on it."""
    if "--check" in sys.argv:
        text = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
        missing = [name for name in [*FORMATS, *families()] if f"`{name}`" not in text]
        if missing:
            print(f"{TARGET.name} is stale, it lacks {', '.join(missing)}: just matrix")
        return int(bool(missing))
    titles = [*(column.title for column in COLUMNS), "PyTorch itself in bf16"]
    lines = [
        "| " + " | ".join(["family", "network", "form", *titles]) + " |",
        "|---|---|---|" + "---:|" * len(titles),
        *(line for name in NETWORKS for line in rows(name)),
    ]
    TARGET.write_text(HEADER + "\n".join(lines) + "\n" + FOOTER, encoding="utf-8")
    return 0


def families() -> list[str]:
    """Return the families that there are."""
    return sorted({fb.spec(name).family for name in fb.list_models()})


def rows(name: str) -> list[str]:
    """Return the table's lines of a network."""
    torch.manual_seed(0)
    network = settled(fb.create_model(replace(fb.spec(name), num_classes=10, **NETWORKS[name])))  # type: ignore[arg-type]
    images = crops(3)
    with torch.no_grad():
        wanted = network(images)
    lines = []
    for title, variant in VARIANTS.items():
        graph, _ = variant.of(rewritable(captured(network, images)))
        own = share(eager.start(graph, images, "bf16", torch.get_num_threads())(images), wanted)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model"
            found = [
                cell(column, graph, images, wanted, own, file.with_suffix(column.form.suffix)) for column in COLUMNS
            ]
        lines.append("| " + " | ".join([f"`{fb.spec(name).family}`", f"`{name}`", title, *found, f"{own:.0e}"]) + " |")
        print(lines[-1], flush=True)
    return lines


def cell(column: Column, graph: torch.fx.GraphModule, images: Tensor, wanted: Tensor, own: float, file: Path) -> str:
    """Write a file if it is not there, run it, and return the largest difference as a share, or why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not file.exists():
                column.form.write(graph, images, file, {})
            run = column.load(file)
        given = torch.cat([run(images), *(run(image[None]) for image in images)])
    except Exception as problem:  # noqa: BLE001 - the cell says what went wrong
        return first_line(problem).replace("|", "/")
    error = share(given, wanted.repeat(2, 1))
    allowed = BOUNDS["f32"] if column.precision == "f32" else max(BOUNDS["bf16"], 3 * own)
    return f"{error:.0e}" if error <= allowed else f"**{error:.0e}**"


def share(given: Tensor, wanted: Tensor) -> float:
    """Return the largest difference as a share of the largest output."""
    return float((given - wanted).abs().max() / wanted.abs().max())


def settled(network: nn.Module) -> nn.Module:
    """Give the norms the statistics of photographs, so that outputs are neither tiny nor huge."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the plain average
            part.reset_running_stats()
    network.train()
    with torch.no_grad():
        network(crops(32))
    return network.eval()


def crops(count: int) -> Tensor:
    """Return squares of many sizes out of photographs, as inputs (count, 3, SIZE, SIZE)."""
    cut = training_transform(
        fb.Preprocess.usual(SIZE, 3), crop_min=0.02, flip=0.5, rotation=0.0, translate=0.0, random_erasing=0.0
    )
    pictures = [Image.fromarray(photo) for photo in photographs()]
    return torch.stack([cut(pictures[i % len(pictures)]) for i in range(count)])


if __name__ == "__main__":
    sys.exit(main())
