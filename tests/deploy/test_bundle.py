"""A folder that is ready gives predict's answers where neither featherbone nor PyTorch can be imported."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.families import tiny
from helpers.reference import randomize
from helpers.training import classified
from PIL import Image

import featherbone as fb
from featherbone.cli import main
from featherbone.data.image import read_image
from featherbone.data.sources.scikit_learn import digits, photographs
from featherbone.data.transforms import evaluation_transform
from featherbone.deploy import Contents
from featherbone.deploy.formats import FORMATS

# runs a script where what the folder does not ask for is absent
ISOLATED = """
import runpy, sys
ABSENT = {"featherbone", "torch", "torchvision", "onnx", "onnxscript", "sklearn", "scipy", "lightning"} - {sys.argv[1]}
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in ABSENT else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def answers(folder: Path, images: list[Path], runtime: str) -> dict[str, dict[str, float]]:
    """Run the folder's script; return its classes and probabilities by image."""
    call = [sys.executable, "-I", "-c", ISOLATED, runtime, *map(str, (folder / "run.py", *images))]
    done = subprocess.run(call, capture_output=True, encoding="utf-8", check=False, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.removesuffix("\n").split("\n")]
    return {row[0]: {cell.rpartition(" ")[0]: float(cell.rpartition(" ")[2]) for cell in row[1:]} for row in rows}


def files(folder: Path) -> list[Path]:
    """Write real images in all the ways that image files have."""
    folder.mkdir()
    first, second = (Image.fromarray(photo) for photo in photographs())
    digit = digits().val.sources[0]
    assert isinstance(digit, np.ndarray)
    turned = Image.Exif()
    turned[0x0112] = 6
    first.save(folder / "photo.jpg", quality=90)
    second.resize((97, 233)).save(folder / "turned.jpg", exif=turned)
    second.convert("P").save(folder / "palette.png")
    first.convert("LA").save(folder / "transparent.png")
    faded = first.convert("RGBA")
    faded.putalpha(Image.linear_gradient("L").resize(first.size))
    faded.save(folder / "faded.png")
    Image.fromarray(digit).resize((31, 44)).save(folder / "digit.png")
    Image.fromarray(np.asarray(first.convert("L")).astype(np.uint16) * 257).save(folder / "sixteen bits.png")
    return sorted(folder.iterdir())


def saved(path: Path, preprocess: fb.Preprocess) -> Path:
    """Write a network whose answers differ from image to image."""
    torch.manual_seed(0)
    model = randomize(tiny(num_classes=5, in_chans=preprocess.channels))
    classifier = model.head[1].classifier  # type: ignore[index]
    with torch.no_grad():  # no class is certain
        classifier.weight *= 2 / model(torch.randn(2, preprocess.channels, 64, 64)).abs().max()
    classes = ("a cat", "\u00fcber", "dog", "d\u2028e", "f")
    fb.save(model, path, classes=classes, preprocess=preprocess)
    return path


@pytest.mark.parametrize(
    ("form", "preprocess"),
    [
        ("onnx", fb.Preprocess.usual(64, 3, crop=0.875)),
        pytest.param(
            *("openvino", fb.Preprocess(size=48, mean=(0.4, 0.45, 0.5), std=(0.2, 0.25, 0.3), bgr=True)),
            marks=pytest.mark.slow,
        ),
        pytest.param("onnx", fb.Preprocess.usual(33, 1, crop=0.9), marks=pytest.mark.slow),
        pytest.param("torch", fb.Preprocess.usual(64, 3), marks=pytest.mark.slow),
        ("executorch", fb.Preprocess.usual(64, 3)),
    ],
    ids=["onnx", "openvino, blue first", "grey", "torch", "executorch"],
)
def test_the_folder_answers_as_predict_does(form: str, preprocess: fb.Preprocess, tmp_path: Path) -> None:
    if form == "executorch":
        pytest.importorskip("executorch", reason="an extra of its own: uv sync --extra executorch")
    source = saved(tmp_path / "m.safetensors", preprocess)
    result = fb.export(source, tmp_path / "ready", to=form, folder=True)
    assert result.folder == tmp_path / "ready"
    assert result.path == tmp_path / "ready" / f"model{FORMATS[form].suffix}"
    assert result.path.exists()
    images = files(tmp_path / "images")
    runtime = FORMATS[form].runtime
    given = answers(result.folder, images, "torch" if runtime == "executorch" else runtime)
    wanted, skipped = classified(source, images)
    assert not skipped
    assert len(given) == len(wanted) == 7
    for one in wanted:
        found = given[one.image]
        assert next(iter(found)) == one.classes[0]
        assert found == pytest.approx(dict(zip(one.classes, one.probabilities, strict=True)), abs=1e-3)
    assert len({one.probabilities[0] for one in wanted}) >= 5


def test_the_script_resizes_and_crops_to_the_same_pixels(tmp_path: Path) -> None:
    contents = Contents(("a",), {"colours": "RGB", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.1], "size": 0})
    script = contents.files(FORMATS["onnx"])["run.py"].partition("\nfor path in")[0]
    script = script.replace("import onnxruntime\n", "").replace("network = onnxruntime", "# ")
    random = np.random.default_rng(0)
    for width, height, size, crop in [(640, 427, 224, 0.875), (31, 97, 64, 1.0), (64, 64, 64, 1.0), (5, 300, 33, 0.9)]:
        how = fb.Preprocess(size=size, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.1), crop=crop)
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        values = {**contents.preprocessing, "size": size, "resize_short_side": round(size / crop)}
        (tmp_path / "preprocessing.json").write_text(json.dumps(values))
        (tmp_path / "labels.txt").write_text("a\n")
        names = {"__file__": str(tmp_path / "run.py")}
        exec(compile(script, "run.py", "exec"), names)  # noqa: S102 - our own text
        given = names["prepare"](Image.fromarray(pixels))  # type: ignore[operator]
        wanted = evaluation_transform(how)(read_image(pixels))[None]
        assert np.abs(given - wanted.numpy()).max() <= 1e-6


@pytest.mark.slow
def test_a_folder_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path / "m.safetensors", fb.Preprocess.usual(64, 3))

    def unfinished(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Contents, "write", unfinished)
        with pytest.raises(fb.InputError, match="cannot write .*: No space left"):
            fb.export(source, tmp_path / "ready", folder=True)
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]
    (tmp_path / "ready").mkdir()
    folder = fb.export(source, tmp_path / "ready", folder=True).folder
    assert folder
    names = {"model.onnx", "preprocessing.json", "labels.txt", "run.py", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    (tmp_path / "usual").mkdir()
    assert folder.stat().st_mode == (tmp_path / "usual").stat().st_mode
    compile((folder / "run.py").read_text(encoding="utf-8"), "run.py", "exec")
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "pip install onnxruntime numpy pillow" in readme
    assert "(any number, 3, 64, 64)" in readme


def test_folders_that_cannot_be_made(tmp_path: Path) -> None:
    source = saved(tmp_path / "m.safetensors", fb.Preprocess.usual(64, 3))
    plain = tmp_path / "plain.safetensors"
    model = tiny(num_classes=2)
    fb.save(model, plain)
    for given, out, to, said in (
        (source, tmp_path, None, "exists: a folder is written to a new name"),
        (source, source, None, "exists: a folder"),
        (source, tmp_path / "a.onnx", None, "is to be a folder: name it without .onnx"),
        (source, tmp_path / "a", "onx", "to='onx' is not allowed .did you mean 'onnx'"),
        (plain, tmp_path / "a", None, "plain.safetensors does not say its classes and preprocessing"),
        (model, tmp_path / "a", None, "a module does not say its classes"),
        ("vovnet39", tmp_path / "a", None, "vovnet39 does not say its classes"),
    ):
        with pytest.raises(fb.InputError, match=said):
            fb.export(given, out, to=to, folder=True)
    with pytest.raises(fb.InputError, match=r"class 'a\\nb' is not allowed in labels.txt"):
        Contents(("a\nb",), {})
    assert {path.name for path in tmp_path.iterdir()} == {"m.safetensors", "plain.safetensors"}


@pytest.mark.slow
def test_the_command_line_says_where_the_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = saved(tmp_path / "m.safetensors", fb.Preprocess.usual(32, 3))
    for name, options in (("tables", ()), ("values", ("--json",))):
        call = ["featherbone", "export", str(source), "--out", str(tmp_path / name), "--folder", *options]
        monkeypatch.setattr(sys, "argv", call)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None)
        out = capsys.readouterr().out
        assert (tmp_path / name / "run.py").exists()
        if options:
            values = json.loads(out)
            assert values["folder"] == str(tmp_path / name)
            assert values["path"] == str(tmp_path / name / "model.onnx")
            assert values["report"] is None
        else:
            assert f"{tmp_path / name}: README.md says how to use it" in out
            assert "batch size free" in out
