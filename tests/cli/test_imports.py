"""What a command imports: packages, not seconds. ``benchmarks/import_time.py`` measures what they cost."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.images import draw_classes

import featherbone as fb

# run as the installed program is, then say on the error stream which packages are there
SCRIPT = """
import sys
from featherbone.cli import main
try:
    main()
finally:
    print("\\n", *{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
    print(*(name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules), file=sys.stderr)
"""
# of the extras; and what is heaviest of what they bring along
FOR_TRAINING = {"lightning", "lightning_utilities", "pytorch_lightning", "tensorboard", "torchmetrics", "torchvision"}
FOR_FIGURES = {"matplotlib", "scipy", "sklearn", "pandas", "plotly", "sympy"}
FOR_EXPORT = {"nncf", "onnx", "onnxruntime", "onnxscript", "openvino", "executorch"}
FOR_DATA = {"aiohttp", "av", "datasets", "faster_coco_eval", "huggingface_hub", "pyarrow"}
HEAVY = FOR_TRAINING | FOR_FIGURES | FOR_EXPORT | FOR_DATA


def packages(*arguments: object) -> set[str]:
    call = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, names, parts = done.stderr.splitlines()
    return {*names.split(), *parts.split()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "m.safetensors"
    model = fb.create_model("shufflenet_v2_x0_5", num_classes=3)
    fb.save(model, path, classes=("blue", "green", "red"), preprocess=fb.Preprocess.usual(32, 3))
    return path


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("predict", "--help"), ("data", "--help")])
def test_help_needs_no_torch(arguments: tuple[str, ...]) -> None:
    assert not packages(*arguments) & {*HEAVY, "torch", "numpy", "PIL"}


def test_predict_and_evaluate_import_no_package_that_they_do_not_use(weights: Path, tmp_path: Path) -> None:
    data = draw_classes(tmp_path / "colours", count=2)
    image = next(data.rglob("*.png"))
    for arguments in (("predict", weights, image), ("evaluate", weights, data)):
        used = packages(*arguments)
        assert {"torch", "PIL"} <= used
        assert not used & {*HEAVY, "torch._dynamo", "torch._inductor"}, arguments


@pytest.mark.slow
def test_cost_imports_no_package_of_an_extra_but_that_of_the_command_line() -> None:
    assert not packages("cost", "shufflenet_v2_x0_5") & (HEAVY - {"sympy"})  # PyTorch's shape functions use sympy


def test_the_help_of_train_names_what_there_is() -> None:
    """It is written out, so that help needs no torch."""
    done = subprocess.run(
        [sys.executable, "-m", "featherbone", "train", "--help"], capture_output=True, text=True, check=True
    )
    words = set(done.stdout.replace(",", " ").replace(";", " ").replace(".", " ").split())
    assert {*fb.NECKS, *fb.RECIPES, fb.DEFAULT_MODEL, fb.DEFAULT_DETECTOR} <= words
