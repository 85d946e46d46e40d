"""Public functions take what their neighbours take, or say what they take."""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.boxes import BOXES_MODEL
from helpers.families import slow_but
from helpers.images import draw_classes
from torch import nn

import featherbone as fb

CLASSES = ("blue", "green", "red")
NAME = "shufflenet_v2_x0_5"


def folder_of(place: Path, model: fb.Backbone | fb.Detector) -> Path:
    """Return a folder as a finished run leaves it, as far as networks are concerned."""
    how = fb.Preprocess.usual(64, 3, fit="letterbox" if isinstance(model, fb.Detector) else "crop")
    fb.save(model, place / "model.safetensors", classes=CLASSES, preprocess=how)
    return place


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("classifier"), fb.create_model(NAME, num_classes=3))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    row = fb.DetectorSpec(backbone=fb.spec(BOXES_MODEL), neck=fb.neck_spec("fpn"), head="free", num_classes=3)
    return folder_of(tmp_path_factory.mktemp("detector"), row.build())


def as_run(folder: Path) -> fb.Run:
    return fb.Run(folder, fb.Recipe(), CLASSES, {}, 0, 0.0, (), ())


def forms(folder: Path) -> Mapping[str, Any]:
    """Return all that stands for the network of a run."""
    model = fb.load(folder)
    files = {"path": folder, "text": str(folder), "file": folder / "model.safetensors", "run": as_run(folder)}
    return {**files, "row": model.spec, "module": model}


def nothing(*_: object, **__: object) -> Any:
    raise AssertionError("must not be reached")


TAKE_NETWORKS: Mapping[str, Callable[[Any], Any]] = {
    "cost": lambda network: fb.cost(network, 64).params,
    "reconcile": lambda network: sum(row.ours for row in fb.reconcile(network, 64)),
    "count_parameters": fb.count_parameters,
    "open_network": lambda network: type(fb.open_network(network)),
    "export": lambda network: type(fb.export(network, "x.onnx", size=64)),
    "optimize": lambda network: type(fb.optimize(network, 64)),
}


# a detector's counts take seconds
@pytest.mark.parametrize("function", slow_but(TAKE_NETWORKS, TAKE_NETWORKS.keys() - {"reconcile"}))
@pytest.mark.parametrize("kind", ["classifier", "detector"])
def test_whatever_stands_for_a_network_is_taken(
    function: str, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for verb in ("export_network", "optimize_network"):
        monkeypatch.setattr(f"featherbone.deploy.{verb}", lambda model, *_, **__: model)
    monkeypatch.setitem(sys.modules, "fvcore.nn", None)  # takes its time
    given = forms(request.getfixturevalue(kind))
    found = {form: TAKE_NETWORKS[function](network) for form, network in given.items()}
    assert len({repr(value) for value in found.values()}) == 1, found
    assert found["run"]


@pytest.mark.parametrize("function", [*TAKE_NETWORKS, "show"])
def test_a_name_stands_for_a_network(
    function: str, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., tuple[int, str, str]]
) -> None:
    for verb in ("export_network", "optimize_network"):
        monkeypatch.setattr(f"featherbone.deploy.{verb}", lambda model, *_, **__: model)
    if function == "show":
        code, out, _ = cli("show", NAME)
        assert code == 0
        assert "as published" in out
    else:
        assert TAKE_NETWORKS[function](NAME)


def test_the_sizes_that_are_counted_at_are_those_of_training_and_publication(classifier: Path) -> None:
    assert fb.cost(classifier).size == (64, 64)
    assert fb.cost("cspdarknet53").size == fb.cost(fb.create_model("cspdarknet53")).size == (256, 256)
    assert fb.cost(nn.Conv2d(3, 4, 1)).size == (224, 224)


def test_a_trained_network_is_shown_with_its_classes(
    classifier: Path, detector: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    for folder in (classifier, detector, classifier / "model.safetensors"):
        code, out, err = cli("show", folder)
        assert code == 0, err
        assert "blue, green, red" in out
        assert "feature maps" in out


def test_load_gives_what_the_file_holds(classifier: Path, detector: Path) -> None:
    assert isinstance(fb.load(classifier), fb.Backbone)
    assert isinstance(fb.load(detector), fb.Detector)
    with pytest.raises(fb.InputError, match="holds a detector, not a classifier"):
        fb.load(detector, fb.Backbone)


@pytest.mark.parametrize("kind", ["classifier", "detector"])
def test_predict_takes_one_image_or_several(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    data = draw_classes(tmp_path / "colours", count=1)
    image = min(data.rglob("*.png"))
    alone = [fb.predict(run, one, quiet=True)[0] for run in (folder, as_run(folder))
             for one in (image, str(image), [image], (str(image),), iter([image]))]  # fmt: skip
    assert len({repr(found) for found in alone}) == 1
    assert len(alone[0]) == 1
    assert len(fb.predict(folder, data, quiet=True)[0]) == len(CLASSES)
    out = tmp_path / "out" if kind == "detector" else None
    assert len(fb.predict_files(folder, str(image), out=out, quiet=True).found) == 1


def test_a_run_is_evaluated_as_its_folder_is(classifier: Path, tmp_path: Path) -> None:
    data = draw_classes(tmp_path / "colours", count=2)
    run = as_run(Path(shutil.copytree(classifier, tmp_path / "run")))
    (run.folder / "recipe.json").write_text("{}")
    found: list[Any] = [fb.evaluate(one, where, quiet=True) for one, where in ((run, data), (run.folder, str(data)))]
    assert found[0].images == found[1].images == 6


def test_first_stages_are_frozen_by_number_or_by_name() -> None:
    model = fb.create_model(NAME, num_classes=3)
    for names, number in (("stem", 0), (("stem",), 0), (["stem", "stages.0"], 1), (("stages.0", "stem"), 1)):
        frozen, wanted = fb.freeze(model, names), fb.freeze(model, number)
        assert frozen.frozen == wanted.frozen == number
        assert [p.requires_grad for p in frozen.parameters()] == [p.requires_grad for p in wanted.parameters()]
    for wrong in ("stages.0", ("stem", "stages.1"), ("stem", "head"), (), None, 1.5, True, ("stem", 1), [["stem"]]):
        with pytest.raises(fb.InputError, match=r"stages=.* is not allowed"):
            fb.freeze(model, wrong)  # type: ignore[arg-type]


def test_one_network_is_compared_with_itself_and_others_need_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []

    def group(modules: Mapping[str, nn.Module], *_: object) -> Any:
        seen.append({*modules})

    monkeypatch.setattr("featherbone.verbs.compare._group", group)
    for networks in (NAME, [NAME], {NAME: fb.spec(NAME)}, {NAME: fb.create_model(NAME)}):
        fb.compare(networks)
    assert seen == [{NAME}] * 4
    with pytest.raises(fb.InputError, match="networks=a Backbone is not allowed: .*give others a name"):
        fb.compare([fb.create_model(NAME)])  # type: ignore[list-item]


MODEL = fb.create_model(NAME, num_classes=3)
# each with one argument left open, by its name
OPEN: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "cost": ("source", fb.cost),
    "reconcile": ("source", fb.reconcile),
    "count_parameters": ("source", fb.count_parameters),
    "open_network": ("source", fb.open_network),
    "roofline": ("counted", fb.roofline),
    "recompute": ("model", fb.recompute),
    "create_model": ("model", fb.create_model),
    "spec": ("model", fb.spec),
    "form": ("model", fb.form),
    "published_weights": ("model", fb.published_weights),
    "list_models": ("pattern", fb.list_models),
    "freeze": ("model", lambda x: fb.freeze(x, 0)),
    "reset_head": ("model", lambda x: fb.reset_head(x, 2)),
    "reset_classes": ("detector", lambda x: fb.reset_classes(x, 2)),
    "with_backbone": ("detector", lambda x: fb.with_backbone(x, MODEL)),
    "neck_spec": ("name", fb.neck_spec),
    "build_neck": ("spec", lambda x: fb.build_neck(x, (8,), (8,))),
    "postprocess": ("output", fb.postprocess),
    "save": ("model", lambda x: fb.save(x, "x.safetensors")),
    "save to": ("path", lambda x: fb.save(MODEL, x)),
    "load": ("path", fb.load),
    "read_header": ("path", fb.read_header),
    "load_weights": ("model", lambda x: fb.load_weights(x, {})),
    "load_weights from": ("source", lambda x: fb.load_weights(MODEL, x)),
    "import_weights": ("network", lambda x: fb.import_weights(x, "x.pth")),
    "import_weights from": ("source", lambda x: fb.import_weights(NAME, x)),
    "import_file": ("network", lambda x: fb.import_file("x.pth", x, "y.safetensors")),
    "push_to_hub": ("model", lambda x: fb.push_to_hub(x, "a/b")),
    "push_to_hub as": ("repository", lambda x: fb.push_to_hub(MODEL, x)),
    "from_pretrained": ("repository", fb.from_pretrained),
    "predict": ("run", lambda x: fb.predict(x, "x.png")),
    "predict_files": ("run", lambda x: fb.predict_files(x, "x.png")),
    "draw_detections": ("found", lambda x: fb.draw_detections(x, "x")),
    "detect_video": ("run", lambda x: fb.detect_video(x, "x.mp4", "y.mp4")),
    "evaluate": ("run", fb.evaluate),
    "evaluation_pictures": ("run", lambda x: fb.evaluation_pictures(x, nothing)),  # type: ignore[arg-type]
    "run_page": ("run", fb.run_page),
    "export": ("source", lambda x: fb.export(x, "x.onnx")),
    "optimize": ("source", fb.optimize),
    "check_data": ("source", fb.check_data),
    "data_page": ("check", lambda x: fb.data_page(x, "x.html")),
    "comparison_page": ("comparison", lambda x: fb.comparison_page(x, "x.html")),
    "draw_guidelines": ("path", lambda x: fb.draw_guidelines([], x)),
    "guidelines": ("only", lambda x: fb.guidelines(only=x)),
    "train on": ("data", fb.train),
    "resume": ("folder", fb.resume),
    "resume_seeds": ("folder", fb.resume_seeds),
}
OPTIONAL: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "compare": ("networks", fb.compare),
    "train": ("model", lambda x: fb.train("digits", x)),
    "train from": ("weights", lambda x: fb.train("digits", weights=x)),
    "train by": ("recipe", lambda x: fb.train("digits", recipe=x)),
    "train with": ("teacher", lambda x: fb.train("digits", teacher=x)),
    "train into": ("out", lambda x: fb.train("digits", out=x)),
}


@pytest.mark.parametrize("function", [*OPEN, *OPTIONAL])
def test_another_type_is_refused_by_the_arguments_name(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, call = {**OPEN, **OPTIONAL}[function]
    wrong = [7, 1.5, b"x", [7], object(), *([None] if function in OPEN else [])]
    for value in wrong:
        with pytest.raises(fb.InputError, match=rf"\b{name}=.* is not allowed: ") as refused:
            call(value)
        assert "\n" not in str(refused.value)
    assert not [*tmp_path.iterdir()]


def test_other_images_data_and_pictures_are_refused_by_name(classifier: Path) -> None:
    pixels = torch.zeros(3, 8, 8)
    calls: Mapping[str, Callable[[Any], Any]] = {
        "images": lambda x: fb.predict(classifier, x),
        "paths": lambda x: fb.predict_files(classifier, x),
        "data": lambda x: fb.evaluate(classifier, x),
        "evaluation": lambda x: fb.evaluation_pictures(classifier, x),
    }
    for name, call in calls.items():
        for value in (7, b"x", [7], pixels, [pixels]):
            with pytest.raises(fb.InputError, match=rf"\b{name}=.* is not allowed: "):
                call(value)


def test_every_public_function_is_in_these_tables() -> None:
    layers = {"conv", "depthwise", "ese", "preconv", "se"}
    functions = {name for name in fb.__all__ if callable(vars(fb)[name]) and not isinstance(vars(fb)[name], type)}
    assert {name.split()[0] for name in (*OPEN, *OPTIONAL)} == functions - layers
