"""Detectors in files: boxes come out of one call, they are the network's, and what differs is not written."""

import inspect
import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.families import slow_but, tiny
from helpers.reference import randomize
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

import featherbone as fb
from featherbone.cli.app import app
from featherbone.data.sources.scikit_learn import photographs
from featherbone.deploy import search
from featherbone.deploy.engines import onnxruntime as onnxruntime_engine
from featherbone.deploy.engines import openvino as openvino_engine
from featherbone.deploy.engines.openvino import core, run_model
from featherbone.deploy.export import METADATA_KEY, Exported
from featherbone.deploy.formats import FORMATS
from featherbone.deploy.nms import Postprocess, box_scale, compared
from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.rewrites import rewrite
from featherbone.deploy.search import Search, Subject
from featherbone.detect.postprocess import IOU_THRESHOLD, MAX_DETECTIONS, SCORE_THRESHOLD, table
from featherbone.evaluation import detection as detections

SIDE = 96
CLASSES = ("cell", "plate", "über")
ROWS = {
    "free": fb.DetectorSpec(
        backbone=fb.spec("shufflenet_v2_x0_5"),
        neck=fb.NeckSpec(kind="fpn", widths=(16, 16)),
        head="free",
        num_classes=3,
    ),
    "anchors": fb.DetectorSpec(
        backbone=fb.spec("shufflenet_v2_x0_5"),
        neck=fb.NeckSpec(kind="efm", widths=(16, 16), maxout=2),
        head="anchors",
        num_classes=3,
        anchors=(((12, 20), (25, 16)), ((50, 50), (30, 70))),
    ),
}
BY = pytest.mark.parametrize("engine", ["onnx", "openvino"])
ENDING = Postprocess(0.25, 0.6, 100, table)


def planted(name: str) -> fb.Detector:
    """Return a detector that is sure of many boxes of usual sizes, no two of them alike."""
    torch.manual_seed(1)
    model = randomize(ROWS[name].build())
    last = [part for part in model.head.modules() if isinstance(part, nn.Conv2d) and part.bias is not None]
    hooks = [part.register_forward_hook(spread) for part in last]
    with torch.no_grad():
        model(torch.randn(2, 3, SIDE, SIDE))
    for hook in hooks:
        hook.remove()
    return model


def spread(part: nn.Conv2d, _: object, outputs: Tensor) -> None:
    """Let a last layer give numbers of usual means and deviations."""
    deviations = torch.ones(part.out_channels)
    if part.out_channels == 4:  # without anchors: the sides of boxes, or scores
        deviations[:] = 0.3
    elif part.out_channels > 4:
        deviations.view(2, 8)[:, 2:4] = 0.3
    assert part.bias is not None
    means = torch.full_like(deviations, -1.0 if part.out_channels == 3 else 0.0)
    part.weight *= (deviations / outputs.std((0, 2, 3)))[:, None, None, None]
    part.bias = nn.Parameter(
        means - (outputs - part.bias[:, None, None]).mean((0, 2, 3)) * deviations / outputs.std((0, 2, 3))
    )


def saved(path: Path, name: str, preprocess: fb.Preprocess | None = None) -> Path:
    fb.save(
        planted(name), path, classes=CLASSES, preprocess=preprocess or fb.Preprocess.usual(SIDE, 3, fit="letterbox")
    )
    return path


# the other two are shipped as folders, below
@pytest.fixture(scope="module", params=slow_but(("free openvino", "anchors onnx"), ()))
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[fb.Detector, Exported]:
    """A detector and what was written of it; at most 12 boxes."""
    name, form = request.param.split()
    place = tmp_path_factory.mktemp("shipped")
    source = saved(place / "m.safetensors", name)
    return planted(name), fb.export(
        source, place / f"model{FORMATS[form].suffix}", score=0.3, iou=0.5, max_detections=12
    )


def output_of(images: int, places: int, classes: int, sure: float, seed: int = 0) -> Tensor:
    """Return what a detector could say: the share ``sure`` of its probabilities is not small."""
    some = torch.Generator().manual_seed(seed)
    middles = torch.rand(images, places, 2, generator=some) * 400
    halves = torch.rand(images, places, 2, generator=some) * 40 + 2
    low = torch.rand(images, places, classes, generator=some) * 0.2
    high = torch.rand(images, places, classes, generator=some)
    chosen = torch.rand(images, places, classes, generator=some) < sure
    return torch.cat((middles - halves, middles + halves, torch.where(chosen, high, low)), -1)


def finish(engine: str, output: Tensor, postprocess: Postprocess) -> Tensor:
    """Let an engine's own suppression, behind a network that changes nothing, make a table of one image's output."""
    shape = list(output.shape)
    if engine == "openvino":
        import openvino
        from openvino import opset13 as ops

        images = ops.parameter(shape, np.float32, name="images")
        network = openvino.Model([ops.multiply(images, np.float32(1))], [images], "same")
        behind = openvino_engine.with_boxes(network, postprocess.above, postprocess.iou, postprocess.max_detections)
        return run_model(behind, "f32", 1)(output)
    import onnx
    import onnxruntime
    from onnx import helper

    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("images", "outputs")]
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["outputs"])], "same", ends[:1], ends[1:])
    network = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    model = onnxruntime_engine.with_boxes(network, postprocess.above, postprocess.iou, postprocess.max_detections)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": output.numpy()})[0])


# what engines add


@BY
@pytest.mark.parametrize(
    ("places", "sure", "score", "iou", "max_detections"),
    [
        (50, 0.0, 0.25, 0.6, 100),  # nothing
        (50, 0.2, 0.25, 0.6, 100),
        (50, 0.2, 0.25, 0.6, 7),  # more than are asked for
        (1, 1.0, 0.0, 0.6, 3),
        (1000, 0.9, 0.25, 0.5, 100),
        (300, 0.5, 0.0, 0.6, 100),
        (300, 0.5, 0.25, 0.0, 50),
        (300, 0.5, 0.25, 1.0, 50),
        (50, 0.5, 1.0, 0.6, 10),
    ],
)
def test_engines_suppress_as_postprocess_does(
    engine: str, places: int, sure: float, score: float, iou: float, max_detections: int
) -> None:
    postprocess = Postprocess(score, iou, max_detections, table)
    for seed in range(3):
        output = output_of(1, places, 3, sure, seed)
        given = finish(engine, output, postprocess)
        assert given.shape == (1, max_detections, 6)
        assert torch.equal(given, postprocess.of(output))
        report = compared(given, output, postprocess, 1e-4)
        assert (report.same, report.edge_error, report.score_error) == (1.0, 0.0, 0.0)
        assert report.boxes == len(fb.postprocess(output, score=score, iou=iou, max_detections=max_detections)[0])


@BY
@pytest.mark.parametrize("limit", [0.0, 0.5, 1.0])
def test_an_overlap_at_its_limit_is_allowed(engine: str, limit: float) -> None:
    output = torch.zeros(1, 3, 5)
    beside = {0.0: [100.0, 0, 200, 100], 0.5: [0.0, 0, 100, 50], 1.0: [0.0, 0, 100, 100]}[limit]
    output[0] = torch.tensor([[0.0, 0, 100, 100, 0.9], [*beside, 0.8], [50, 50, 150, 150, 0.1]])
    for iou, count in ((limit, 2), (limit - 1e-3, 1 if limit else 2)):
        postprocess = Postprocess(0.25, max(0.0, iou), 5, table)
        assert torch.equal(finish(engine, output, postprocess), postprocess.of(output))
        assert int(postprocess.of(output).any(2).sum()) == count


@BY
def test_a_score_that_is_the_threshold_counts(engine: str) -> None:
    output = output_of(1, 4, 2, 0.0)
    output[0, :2, 4] = torch.tensor([0.25, np.nextafter(np.float32(0.25), np.float32(0))])
    postprocess = Postprocess(0.25, 0.6, 5, table)
    assert torch.equal(finish(engine, output, postprocess), postprocess.of(output))
    assert postprocess.of(output)[0, :, 4].tolist() == [0.25, 0, 0, 0, 0]
    output[0, :, 4:] = 0
    assert torch.equal(finish(engine, output, replace(postprocess, score=0.0))[..., 4], torch.zeros(1, 5))


def test_the_table_is_what_answers_says() -> None:
    output = output_of(2, 60, 3, 0.3)
    output[1, :, 4:] = 0
    first, second = table(output, score=0.25, iou=0.6, max_detections=10)
    wanted = fb.postprocess(output, score=0.25, iou=0.6, max_detections=10)[0]
    assert torch.equal(first[:, :4], wanted.boxes)
    assert torch.equal(first[:, 4], wanted.scores)
    assert torch.equal(first[:, 5], wanted.labels.float())
    assert not second.any()


def test_what_is_written_by_default_is_what_people_are_shown() -> None:
    shown = inspect.signature(detections.detect_images).parameters
    defaults = [shown[name].default for name in ("score", "iou", "max_detections")]
    assert defaults == [SCORE_THRESHOLD, IOU_THRESHOLD, MAX_DETECTIONS]
    assert inspect.signature(fb.predict).parameters["score"].default == SCORE_THRESHOLD


# when lists are equally right


def wrongs(right: Tensor) -> dict[str, Tensor]:
    """Return lists that are not right, by what is to be said of them."""
    made = {}
    for said in (
        "of its size, or its score, away",
        "boxes are missing",
        "a row of zeros",
        "class that the network does not know",
        "best do not come first",
        "under the threshold",
        "overlap too much",
        "no number",
    ):
        made[said] = right.clone()
    made["of its size, or its score, away"][0, 0, 0] += 0.05
    made["boxes are missing"][0] = torch.cat((right[0, 1:], right[0, -1:] * 0))
    made["a row of zeros"][0, 1] = 0
    made["class that the network does not know"][0, 0, 5] = 3
    made["best do not come first"][0, :2] = right[0, :2].flip(0)
    made["overlap too much"][0, 1] = right[0, 0]
    made["no number"][0, 0, 2] = torch.nan
    return made


def test_a_list_that_is_not_the_networks_is_refused() -> None:
    output = output_of(1, 40, 3, 0.1)
    right = ENDING.of(output)
    assert 3 < int(right.any(2).sum()) < 40
    lists = wrongs(right)
    # one that the network has, but is not sure enough of
    place, label = (output[0, :, 4:] < 0.2).nonzero()[0].tolist()
    last = int(right.any(2).sum())
    lists["under the threshold"][0, last] = torch.cat(
        (output[0, place, :4], output[0, place, 4 + label, None], torch.tensor([float(label)]))
    )
    for said, wrong in lists.items():
        with pytest.raises(fb.InputError, match=f"on image 1 of 1 .*{said}"):
            compared(wrong, output, ENDING, 1e-4)
    output[0, 0, 0] = torch.nan
    with pytest.raises(fb.InputError, match="the network's own outputs hold values that are no numbers"):
        compared(right, output, ENDING, 1e-4)


def test_what_rounding_decides_may_be_decided_otherwise() -> None:
    """Two boxes of one score, an overlap at its limit with what it would suppress, and a score at the threshold."""
    output = torch.zeros(1, 6, 5)
    lefts = torch.tensor([0.0, 5, 200, 230, 255, 600])
    output[0, :, :4] = torch.stack((lefts, lefts * 0, lefts + 90, lefts * 0 + 90), 1)
    output[0, :, 4] = torch.tensor([0.8, 0.8, 0.7, 0.6, 0.55, 0.5])
    # the third and the fourth overlap by a half, and if the fourth is there, the fifth is not
    edge = Postprocess(0.5, 0.5, 5, table)
    moved = output.clone()
    moved[0, 1, 4] += 1e-5
    moved[0, 3, :4] += torch.tensor([-1e-3, 0, -1e-3, 0])
    moved[0, 5, 4] -= 1e-5
    one, other = edge.of(output), edge.of(moved)
    assert one[0, :, 0].tolist() == [0, 200, 230, 600, 0]
    assert other[0, :, 0].tolist() == [5, 200, 255, 0, 0]
    assert compared(one, output, edge, 1e-4).same == 1.0
    report = compared(other, output, edge, 1e-4)
    assert report.same == 0.0
    assert 0 < report.score_error <= 2e-5
    assert compared(one, moved, edge, 1e-4).boxes == 4


def test_errors_are_judged_by_a_boxs_own_size_and_by_one() -> None:
    output = torch.tensor([[[10.0, 10, 11, 13, 0.001], [100, 100, 500, 200, 0.9]]])
    assert torch.equal(box_scale(output), torch.tensor([[[10.0] * 4 + [1]], [[400.0] * 4 + [1]]]).transpose(0, 1))


# files


def test_a_files_boxes_are_the_networks(shipped: tuple[fb.Detector, Exported]) -> None:
    model, result = shipped
    assert result.batch == 1
    assert result.boxes
    assert (result.boxes.score, result.boxes.iou, result.boxes.max_detections) == (0.3, 0.5, 12)
    assert result.samples == 16  # four random ones, two photographs, parts of these
    assert result.boxes.boxes >= 12 * result.samples  # any box was let through, too
    assert result.boxes.edge_error <= 1e-3
    assert result.boxes.score_error <= 1e-4
    assert result.same_answers == result.boxes.same == 1.0
    assert not result.boxes.alike
    assert result.rewrites["batch norm folded into a convolution"] > 30
    run = FORMATS[result.format].load(result.path)
    images = torch.randn(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    postprocess = Postprocess(0.3, 0.5, 12, table)
    with torch.no_grad():
        wanted = model(images)
    given = torch.cat([run(image[None]) for image in images])
    assert given.shape == (6, 12, 6)
    assert compared(given, wanted, postprocess, 1e-4).boxes >= 6
    assert (given - postprocess.of(wanted)).abs().max() <= 1e-3
    for one, rows in zip(fb.postprocess(wanted, score=0.3, iou=0.5, max_detections=12), given, strict=True):
        assert int(rows.any(1).sum()) == len(one)


def test_a_file_says_what_it_answers_with(shipped: tuple[fb.Detector, Exported]) -> None:
    _, result = shipped
    if result.format == "onnx":
        import onnx

        model = onnx.load(result.path)
        onnx.checker.check_model(model, full_check=True)
        header = json.loads({p.key: p.value for p in model.metadata_props}[METADATA_KEY])
        ends = {
            end.name: [side.dim_value for side in end.type.tensor_type.shape.dim]
            for end in (*model.graph.input, *model.graph.output)
        }
        assert ends == {"images": [1, 3, SIDE, SIDE], "boxes": [1, 12, 6]}
    else:
        file = core().read_model(result.path)
        header = json.loads(file.get_rt_info(METADATA_KEY).astype(str))
        assert file.input(0).names == {"images"}
        assert file.output(0).names == {"boxes"}
        assert list(file.output(0).shape) == [1, 12, 6]
    assert header["boxes"] == {"score": 0.3, "iou": 0.5, "max_detections": 12}
    assert header["spec"]["family"] == "detector"
    assert header["classes"] == list(CLASSES)
    assert header["preprocess"]["fit"] == "letterbox"
    values = json.loads(json.dumps(result.to_dict()))
    assert values["boxes"]["boxes"] == result.boxes.boxes  # type: ignore[union-attr]
    assert "at most 12 boxes, score 0.3 or more" in result.proof["postprocessing"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_rewrites_are_exact_for_detectors(name: str) -> None:
    model = planted(name).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    graph, applied = rewrite(rewritable(captured(model, images)))
    assert not graph.graph.find_nodes(op="call_function", target=torch.ops.aten.arange.default)  # places are constants
    assert not graph.graph.find_nodes(op="call_function", target=torch.ops.aten.batch_norm.default)
    assert applied["channels moved by weights"] > 0
    with torch.no_grad():
        wanted, given = model(images), graph(images)
    assert ((given - wanted).abs() / box_scale(wanted)).max() <= 1e-6  # cells and anchors are stored in float32


@pytest.mark.slow
def test_nothing_is_written_if_the_boxes_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = FORMATS["openvino"].load

    def moved(path: Path):  # type: ignore[no-untyped-def]
        run = load(path)
        return lambda images: run(images) + torch.tensor([0.5, 0, 0, 0, 0, 0]) * run(images).any(2, keepdim=True)

    monkeypatch.setitem(FORMATS, "openvino", replace(FORMATS["openvino"], load=moved))
    with pytest.raises(fb.InputError, match="nothing was written: the openvino file is wrong: its boxes are not"):
        fb.export(planted("free"), tmp_path / "m.xml", size=64)
    assert list(tmp_path.iterdir()) == []


def test_what_detectors_and_others_refuse(tmp_path: Path) -> None:
    detector, classifier = planted("free"), tiny(num_classes=2)
    images = torch.zeros(2, 3, 64, 64)
    for model, options, said in (
        (
            classifier,
            {"score": 0.3, "max_detections": 3},
            "score and max_detections go with a detector: this network finds no boxes",
        ),
        (detector, {"score": 1.5}, "score=1.5 is not allowed: from 0 to 1"),
        (detector, {"iou": -0.1}, "iou=-0.1 is not allowed: from 0 to 1"),
        (detector, {"max_detections": 0}, "max_detections=0 is not allowed: 1 or more boxes"),
        (detector, {"size": 100}, "size=100 is not allowed for this detector: a multiple of 32 pixels"),
        (detector, {"to": "torch"}, r"torch files are not allowed for a detector: .*; onnx .\.onnx., openvino"),
        (detector, {"to": "executorch"}, "executorch files are not allowed for a detector"),
        (
            detector,
            {"to": "openvino", "precision": "int8", "calibration": images},
            "precision='int8' is not allowed for a detector",
        ),
        (detector, {"to": "onnx", "folder": True}, "a module does not say its classes"),
    ):
        with pytest.raises(fb.InputError, match=said):
            fb.export(model, tmp_path / "m", **({"to": "onnx", "size": 64} | options))  # type: ignore[arg-type]
    with pytest.raises(fb.InputError, match="precision='int8' is not allowed for a detector"):
        fb.optimize(detector, 64, precision="int8", calibration=images)
    assert list(tmp_path.iterdir()) == []


# the fastest form


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache", "no_waiting")
def test_the_fastest_form_of_a_detector_gives_its_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "further", lambda form, graph: iter(()))
    model = planted("anchors")
    fast = fb.optimize(model, 64, engine="eager", precision="f32")
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        wanted = model(images)
    given = fast(images)
    assert given.shape == wanted.shape
    assert ((given - wanted).abs() / box_scale(wanted)).max() <= 1e-4
    assert [len(one) for one in fb.postprocess(given)] == [len(one) for one in fb.postprocess(wanted)]
    assert fast.report.applied["batch norm folded into a convolution"] > 30


@pytest.mark.slow
def test_a_way_whose_probabilities_are_wrong_is_not_taken() -> None:
    """Among edges of hundreds of pixels, they would be far below a share of the largest output."""
    model = planted("free")
    subject = Subject(model, torch.randn(2, 3, 64, 64), scale=box_scale)
    search = Search(subject, 1, 1)
    way = ("eager", "f32", subject.variants[0])
    assert search.build(way)
    (wanted,) = subject.reference.plain
    subject.reference.plain = (wanted + torch.tensor([0, 0, 0, 0, 1e-3, 0, 0]),)
    again = Search(subject, 1, 1)
    assert not again.build(way)
    assert "its outputs differ by 0.001 of their size, 0.0001 allowed" in again.candidates[way].problem


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache", "no_waiting")
def test_the_form_that_is_written_may_be_the_fastest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "further", lambda form, graph: iter(()))  # there are many of them
    result = fb.export(planted("free"), tmp_path / "m.xml", size=64, optimize=True)
    assert result.report
    assert {(way.engine, way.precision) for way in result.report.candidates} == {("openvino", "f32")}
    assert result.rewrites == result.report.applied
    assert result.boxes
    assert result.boxes.boxes > 100


# a folder that is ready

ISOLATED = """
import runpy, sys
ABSENT = {"featherbone", "torch", "torchvision", "onnx", "onnxscript", "sklearn", "scipy", "lightning"}
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in ABSENT else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def pictures(folder: Path) -> list[Path]:
    """Write real images, wide and tall, one turned by its header, one grey, and one in which nothing is found."""
    folder.mkdir()
    first, second = (Image.fromarray(photo) for photo in photographs())
    turned = Image.Exif()
    turned[0x0112] = 6
    first.crop((0, 0, 500, 200)).save(folder / "wide.png")
    second.resize((97, 233)).save(folder / "turned.jpg", exif=turned)
    first.crop((100, 0, 250, 400)).convert("L").save(folder / "tall.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    ("form", "name", "preprocess"),
    [
        pytest.param("onnx", "free", fb.Preprocess.usual(SIDE, 3, fit="letterbox"), marks=pytest.mark.slow),
        pytest.param(
            "openvino",
            "anchors",
            fb.Preprocess(size=64, mean=(0.4, 0.45, 0.5), std=(0.2, 0.25, 0.3), bgr=True, fit="letterbox"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["onnx", "openvino, blue first"],
)
def test_the_folder_finds_the_boxes_of_predict(form: str, name: str, preprocess: fb.Preprocess, tmp_path: Path) -> None:
    """And names an image alone in which nothing is found: the threshold is such that there is one."""
    source = saved(tmp_path / "m.safetensors", name, preprocess)
    images = pictures(tmp_path / "images")
    wanted: list[Any] = fb.predict(source, images, quiet=True)[0]
    empty = min(wanted, key=lambda one: one.found.scores[0])
    score = float(empty.found.scores[0]) + 0.01
    folder = fb.export(source, tmp_path / "ready", to=form, folder=True, score=score).folder
    assert folder
    call = [sys.executable, "-I", "-c", ISOLATED, *map(str, (folder / "run.py", *images))]
    done = subprocess.run(call, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    given: dict[str, list[list[str]]] = {str(path): [] for path in images}
    for line in done.stdout.splitlines():
        path, *rest = line.split("\t")
        given[path] += [rest] if rest else []
    assert empty.image in done.stdout.splitlines()
    sure: list[Any] = fb.predict(source, images, score=score, quiet=True)[0]
    assert sum(len(one.found.scores) for one in sure) >= 2
    for one in sure:
        rows = given[one.image]
        assert [row[0] for row in rows] == [one.classes[label] for label in one.found.labels]
        assert [float(row[1]) for row in rows] == pytest.approx(one.found.scores.tolist(), abs=1e-3)
        edges = np.array([[float(edge) for edge in row[2:]] for row in rows]).reshape(-1, 4)
        assert np.abs(edges - one.found.boxes).max(initial=0) <= 1
        assert (edges <= np.array(one.size * 2)).all()
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert f"`images` (1, 3, {preprocess.size}, {preprocess.size}) to `boxes` (1, 100, 6): x1, y1, x2, y2" in readme
    assert json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))["fill"] == 114


# costs, and side by side


def test_costs_of_a_detector() -> None:
    counted = fb.cost(planted("anchors"), size=416)
    assert not counted.unknown
    assert counted.params == sum(p.numel() for p in planted("anchors").parameters())
    by_stage = {row.name: row.macs for row in counted.by("stage")}
    assert sum(by_stage.values()) == counted.macs
    assert any(name.startswith("neck") for name in by_stage)
    assert any(name.startswith("head") for name in by_stage)


@pytest.mark.slow
def test_detectors_are_compared(tmp_path: Path) -> None:
    files = [str(saved(tmp_path / f"{name}.safetensors", name)) for name in ROWS]
    group = fb.compare(files, size=64, rounds=2, threads=1).groups[0]
    assert {entry.name for entry in group.entries} == set(files)
    for entry in group.entries:
        detector = planted(Path(entry.name).stem)
        counted = fb.cost(detector, 64)
        assert (entry.macs, entry.params, entry.traffic_bytes) == (counted.macs, counted.params, counted.traffic_bytes)
        assert entry.peak_bytes > 0
        assert entry.timing.median_ms > 0
    fb.comparison_page(fb.compare({"a": planted("free")}, size=64, rounds=1, threads=1), tmp_path / "page.html")
    assert (tmp_path / "page.html").exists()


@pytest.mark.slow
def test_the_command_line_knows_detectors(tmp_path: Path) -> None:
    file = str(saved(tmp_path / "m.safetensors", "free"))
    ask = partial(CliRunner().invoke, app, catch_exceptions=False)
    shown = ask(["cost", file, "--json"])
    assert json.loads(shown.stdout)["params"] == sum(p.numel() for p in planted("free").parameters())
    compared_here = ask(["compare", file, "--rounds", "1", "--threads", "1", "--json"])
    assert json.loads(compared_here.stdout)["groups"][0]["setting"]["size"] == [416, 416]
    out = ask(["export", file, "--out", str(tmp_path / "m.xml"), "--score", "0.5", "--max-detections", "9"])
    assert "at most 9 boxes, score 0.5 or more" in " ".join(out.stdout.split())
    assert (tmp_path / "m.xml").exists()
