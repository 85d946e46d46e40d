"""The rules of the house: who may import whom, what files are called, and what the package costs to import."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import featherbone

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "featherbone"
OTHERS = (TESTS, TESTS.parent / "benchmarks", TESTS.parent / "tools")

# docs/decisions/0012-verbs-and-tasks.md; every room may also import itself, and the leaves
LEAVES = {"device", "errors", "files", "signals", "text"}
ALLOWED = {
    "device": set(),
    "errors": set(),
    "files": set(),
    "signals": set(),
    "text": set(),
    "layers": set(),
    "blocks": {"layers"},
    "graph": set(),
    "data": set(),
    "spec": {"layers"},
    "pyramid": {"layers", "spec"},
    "models": {"layers", "blocks", "spec"},
    "detect": {"layers", "pyramid", "spec"},
    "weights": {"layers", "models", "spec", "data", "detect"},
    "cost": {"graph"},
    "deploy": {"graph", "cost"},
    "analysis": {"layers", "graph", "cost"},
    "evaluation": {"data", "detect"},
    "training": {"data", "detect", "evaluation"},
    "report": set(),
    "runs": {"layers", "spec", "models", "detect", "weights", "data", "evaluation", "training", "report"},
    "verbs": {
        *("graph", "pyramid", "models", "spec", "detect", "weights", "data", "cost", "deploy", "report"),
        *("evaluation", "training", "runs"),
    },
}
LIGHT = {"torch", "numpy", "safetensors"}
# nouns of the field that end like a gerund or a participle
NOUNS = {"training", "learning", "matching", "setting", "distributed"}
# words that are participles whatever they end in
PARTICIPLES = {"found", "made", "seen", "given", "learnt", "built", "sent", "kept", "shown", "drawn", "chosen"}
PUBLIC_NAMES = 90


def modules() -> list[tuple[str, str, Path]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        dotted = ".".join(("featherbone", *parts)).removesuffix(".__init__")
        found.append((parts[0], dotted, path))
    return found


NAMES = {name for _, name, _ in modules()}


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, anywhere in it; of ours, the files themselves."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inner & NAMES or {node.module or ""}
            if inner - NAMES:
                names.add(node.module or "")
    return names


@pytest.mark.parametrize(("room", "name", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_one_way(room: str, name: str, path: Path) -> None:
    ours = {n for n in imported(path) if n.split(".")[0] == "featherbone"}
    if room in ("__init__", "api"):
        assert not any(n.startswith("featherbone.cli") for n in ours)
        return
    rooms = {n.split(".")[1] for n in ours if n != "featherbone"}
    if room in ("cli", "__main__"):
        assert rooms <= {"cli", *LEAVES}
        return
    assert "featherbone" not in ours, "rooms import rooms, not the whole"
    assert rooms <= ALLOWED[room] | LEAVES | {room}


def test_no_file_imports_what_imports_it() -> None:
    """Imports inside functions, and those for types alone, count as well."""
    edges = {
        name: {n for n in imported(path) if n in NAMES and n not in (name, "featherbone")}
        for _, name, path in modules()
        if name != "featherbone"
    }
    # a package's __init__ hands on what its files have; that they lie in it is no import
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for other in sorted(edges[name]):
            visit(other)
        path.pop()
        done.add(name)

    for name in sorted(edges):
        visit(name)


@pytest.mark.parametrize("path", [path for _, _, path in modules()], ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_attribute_is_looked_up_by_a_written_name(path: Path) -> None:
    """What may be missing is asked for by its type; ``getattr`` with a name from a table is something else."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        assert node.func.id not in ("hasattr", "eval", "exec", "globals", "__import__"), (path, node.lineno)
        if node.func.id == "getattr":
            assert not isinstance(node.args[1], ast.Constant), (path, node.lineno)


def test_files_are_nouns_of_the_field_or_verbs_as_typed() -> None:
    files = [path for folder in (SOURCE, *OTHERS) for path in folder.rglob("*") if "__pycache__" not in path.parts]
    words = {word for path in files for word in path.stem.strip("_").removeprefix("test_").split("_")}
    wrong = {word for word in words - NOUNS if word in PARTICIPLES or (len(word) > 4 and word.endswith(("ing", "ed")))}
    assert not wrong


def test_words_are_spelled_in_one_way() -> None:
    """As PyTorch spells: -ize, analyze; and learned, not learnt."""
    stems = "quantis|initialis|normalis|optimis|recognis|organis|summaris|minimis|maximis|serialis|generalis|specialis"
    other = re.compile(
        rf"\b\w*({stems}|randomis|parallelis|synchronis|analys)(e|ed|es|er|ing|ation)\b|(\b|_)learnt(\b|_)",
        re.IGNORECASE,
    )
    for path in (*SOURCE.rglob("*.py"), *(p for folder in OTHERS for p in folder.rglob("*.py"))):
        if path != Path(__file__):
            found = other.search(path.read_text(encoding="utf-8"))
            assert not found, (path, found)


def test_a_verb_is_a_file() -> None:
    """The same word in ``verbs``, in ``cli`` and in the tests, as far as a verb has a command."""
    verbs = {path.stem for path in (SOURCE / "verbs").glob("[a-z]*.py")}
    commands = {"train", "evaluate", "predict", "compare", "optimize", "export", "import_weights"}
    assert commands <= verbs
    assert commands <= {path.stem for path in (SOURCE / "cli").glob("[a-z]*.py")}
    assert {f"test_{verb}" for verb in verbs - {"hub", "samples"}} <= {
        path.stem for path in (TESTS / "verbs").glob("test_*.py")
    }


def test_the_task_is_asked_for_once() -> None:
    """No verb, no part of a run and no command looks whether something is a classifier or a detector."""
    types = {
        "DetectorSpec",
        "DetectionData",
        "ClassificationData",
        "BoxListing",
        "DetectionCheck",
        "DetectionEvaluation",
    }
    for folder in ("verbs", "cli", "runs", "training", "evaluation", "report"):
        for path in (SOURCE / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                    asked = {one.id for one in ast.walk(node.args[1]) if isinstance(one, ast.Name)} & types
                    assert not asked or path.name == "tasks.py", (path, node.lineno, asked)


def test_public_names_are_for_users() -> None:
    assert len(featherbone.__all__) == PUBLIC_NAMES
    assert {*featherbone.__all__} <= {*dir(featherbone)}
    assert not [name for name in featherbone.__all__ if isinstance(vars(featherbone)[name], ModuleType)]
    with pytest.raises(AttributeError, match="has no attribute 'creat_model'"):
        _ = featherbone.creat_model  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["cost", "spec"])
def test_a_function_is_not_hidden_by_the_room_of_its_name(name: str) -> None:
    """In a fresh interpreter: the room is imported first, and then the package is asked for the name."""
    script = f"import featherbone.{name}, featherbone as fb, types; print(type(fb.{name}) is types.FunctionType)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
    rooms = {path.stem for path in SOURCE.iterdir()}
    assert rooms & {*featherbone.__all__} == {"cost", "spec"}


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
    start = "import torch, sys; before = set(sys.modules); import featherbone"
    names: list[list[str]] = []
    for script in (start, f"{start}; featherbone.__all__"):  # all public names: the first that is used brings all
        call = [sys.executable, "-c", f"{script}; print(*(set(sys.modules) - before))"]
        names.append(subprocess.run(call, capture_output=True, text=True, check=True).stdout.split())
    none, new = names
    assert {*none} == {"featherbone", "featherbone.signals"}  # a stop may come while the rest is imported
    foreign = {n.split(".")[0] for n in new} - {"featherbone", "safetensors"} - set(sys.stdlib_module_names)
    assert foreign <= LIGHT
    assert len([n for n in new if n.split(".")[0] not in {"featherbone", "safetensors"}]) < 40
