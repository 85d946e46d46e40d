"""The rules of the house: who may import whom, and what the package costs to import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "featherbone"

# docs/decisions/0001-house.md; every room may also import itself, and the two leaves
LEAVES = {"errors", "files"}
ALLOWED = {
    "errors": set(),
    "files": set(),
    "layers": set(),
    "graph": set(),
    "data": set(),
    "spec": {"layers"},
    "pyramid": {"layers", "spec"},
    "models": {"layers", "spec"},
    "detect": {"layers", "pyramid", "spec"},
    "weights": {"models", "spec", "data", "detect"},
    "cost": {"graph"},
    "deploy": {"graph", "cost"},
    "analysis": {"layers", "graph", "cost"},
    "evaluation": {"data", "detect"},
    "training": {"data", "detect", "evaluation"},
    "report": set(),
    "runs": {"spec", "models", "detect", "weights", "data", "evaluation", "training", "report"},
    "verbs": {
        *("graph", "pyramid", "models", "spec", "detect", "weights", "data", "cost", "deploy", "report"),
        *("evaluation", "training", "runs"),
    },
}
LIGHT = {"torch", "numpy", "safetensors"}


def modules() -> list[tuple[str, str, Path]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        dotted = ".".join(("featherbone", *parts)).removesuffix(".__init__")
        found.append((parts[0], dotted, path))
    return found


def imported(path: Path, *, at_the_top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in tree.body if at_the_top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize(("room", "name", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_one_way(room: str, name: str, path: Path) -> None:
    ours = {n for n in imported(path) if n.split(".")[0] == "featherbone"}
    if room == "__init__":
        assert not any(n.startswith("featherbone.cli") for n in ours)
        return
    if room in ("cli", "__main__"):
        assert all(n == "featherbone" or n.startswith("featherbone.cli") for n in ours)
        return
    rooms = {n.split(".")[1] for n in ours if n != "featherbone"}
    assert "featherbone" not in ours, "rooms import rooms, not the whole"
    assert rooms <= ALLOWED[room] | LEAVES | {room}


def test_families_do_not_import_each_other() -> None:
    for path in (SOURCE / "models").glob("*.py"):
        if path.name != "__init__.py":
            assert not any(n.startswith("featherbone.models") for n in imported(path)), path


def test_the_core_needs_torch_numpy_and_safetensors_only(tmp_path: Path) -> None:
    """Run in a fresh interpreter in which every other package is absent."""
    script = """
import sys
absent = {"lightning", "torchvision", "PIL", "sklearn", "rich", "typer", "matplotlib", "torchmetrics", "onnx",
          "onnxscript", "onnxruntime", "openvino", "huggingface_hub"}
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in absent else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import torch, featherbone as fb
model = fb.create_model("shufflenet_v2_x0_5", num_classes=3)
fb.save(model, sys.argv[1])
assert fb.load(sys.argv[1])(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
assert fb.cost(model, 64).params == sum(p.numel() for p in model.parameters())
for verb in (lambda: fb.train("digits"), lambda: fb.export(model, "x.onnx"), lambda: fb.from_pretrained("a/b"),
             lambda: fb.create_model("densenet121", pretrained=True),
             lambda: fb.create_model("rdnet_tiny", pretrained=True)):
    try:
        verb()
    except fb.InputError as error:
        print(error)
"""
    target = str(tmp_path / "m.safetensors")
    done = subprocess.run([sys.executable, "-c", script, target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all("pip install 'featherbone[" in line for line in lines)


def test_importing_adds_little_to_torch() -> None:
    """Modules, not seconds: a timed test would depend on the machine. The benchmark times it."""
    script = "import torch, sys; before = set(sys.modules); import featherbone; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    new = done.stdout.split()
    foreign = {n.split(".")[0] for n in new} - {"featherbone", "safetensors"} - set(sys.stdlib_module_names)
    assert foreign <= LIGHT
    assert len([n for n in new if n.split(".")[0] not in {"featherbone", "safetensors"}]) < 40
