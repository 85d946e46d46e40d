"""What lies in a checkpoint: averages, wrapped names, tensors beside the weights, tensors that are no usual numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from helpers.reference import differs, randomize
from torch import Tensor, nn

import featherbone as fb
from featherbone.weights.importers.checkpoint import read_checkpoint

NAME = "shufflenet_v2_x0_5.tv"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    torch.manual_seed(0)
    return randomize(torchvision.models.shufflenet_v2_x0_5(num_classes=3))


@pytest.fixture
def average(theirs: nn.Module) -> State:
    return theirs.state_dict()


@pytest.fixture
def raw(average: State) -> State:
    return {name: tensor + 1 for name, tensor in average.items()}


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def load(content: Any, tmp_path: Path, **options: Any) -> tuple[fb.Backbone, fb.Imported]:
    torch.save(content, tmp_path / "m.pth")
    return fb.import_weights(NAME, tmp_path / "m.pth", **options)


def test_of_a_checkpoint_the_average_is_taken_and_said(
    theirs: nn.Module, average: State, raw: State, tmp_path: Path
) -> None:
    swa = {"n_averaged": torch.tensor(3), **under("module.", average)}
    lightning = {"averaging_state": {"n_averaged": torch.tensor(3)}, "current_model_state": under("net.", raw)}
    contents: dict[str, dict[str, Any]] = {
        "state_dict_ema": {"state_dict": raw, "state_dict_ema": average},
        "model_ema": {"model": raw, "model_ema": swa},
        "ema": {"model": raw, "ema": average},
        "params_ema": {"params": raw, "params_ema": average},
        "ema.module": {"model": raw, "ema": {"module": average, "decay": 0.99}},
        "avg_model": {"state_dict": under("model.", raw) | under("avg_model.", average)},
        "SWA_state": {"net": raw, "SWA_state": swa},
        "mmengine": {"meta": {"mmengine_version": "0.10"}, "state_dict": average, "ema_state_dict": raw},
        "lightning": {"state_dict": under("net.", average), **lightning},
        "alone": swa,
    }  # fmt: skip
    for what, content in contents.items():
        model, report = load(content, tmp_path)
        assert differs(model, theirs) < 1e-6, what
        assert any("averaged weights were taken" in note for note in report.notes), what
        assert not report.missing, what
        assert not report.left_over, what


def test_other_weights_in_the_file_are_named_and_can_be_asked_for(
    theirs: nn.Module, average: State, raw: State, tmp_path: Path
) -> None:
    content = {"state_dict": average, "state_dict_ema": raw, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}}
    assert differs(load(content, tmp_path)[0], theirs) > 0.1
    model, report = load(content, tmp_path, part="state_dict")
    assert differs(model, theirs) == 0
    assert report.part == "state_dict"
    assert report.others == ("state_dict_ema", "optimizer")
    with pytest.raises(fb.InputError, match=r"part='x' is not allowed: .* under state_dict, state_dict_ema"):
        load(content, tmp_path, part="x")


def test_where_nothing_says_which_of_two_weights_are_meant_it_is_asked(
    average: State, raw: State, theirs: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(fb.InputError, match="under student, teacher: say which with part=NAME"):
        load({"student": average, "teacher": raw}, tmp_path)
    assert differs(load({"student": average, "teacher": raw}, tmp_path, part="student")[0], theirs) == 0
    assert differs(load({"last": average, "best": average}, tmp_path)[0], theirs) == 0  # the same twice


def test_an_average_of_parameters_alone_takes_the_statistics_beside_it(
    theirs: nn.Module, average: State, tmp_path: Path
) -> None:
    parameters = dict(theirs.named_parameters())
    raw = {name: tensor + 1 if name in parameters else tensor for name, tensor in average.items()}
    model, report = load({"state_dict": raw, "ema": {name: average[name] for name in parameters}}, tmp_path)
    assert differs(model, theirs) == 0
    assert any("statistics of norms are the raw weights'" in note for note in report.notes)


def test_an_average_that_does_not_fit_is_not_passed_over_in_silence(average: State, tmp_path: Path) -> None:
    content = {"model": average, "ema": {k: v for k, v in average.items() if not k.startswith("stage3.1.branch2.0")}}
    with pytest.raises(fb.InputError, match=r"averaged weights under ema, which do not fit .*others under model"):
        load(content, tmp_path)
    assert load(content, tmp_path, part="model")[1].part == "model"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: f"module._orig_mod.model.backbone.{name}",
        lambda name: name.replace("stage2.", "stage2._orig_mod."),
        lambda name: name.replace("branch2.", "branch2.module.").replace("conv5.", "conv5._checkpoint_wrapped_module."),
        lambda name: f"_forward_module.net.{name}".replace("stage3.1.", "stage3.1._fsdp_wrapped_module."),
    ],
)
def test_what_wraps_a_module_is_taken_out_of_names(
    wrap: Any, theirs: nn.Module, average: State, tmp_path: Path
) -> None:
    model, report = load({"epoch": 3, "state_dict": {wrap(name): t for name, t in average.items()}}, tmp_path)
    assert differs(model, theirs) == 0
    assert not report.missing
    assert not report.left_over


def test_tensors_beside_the_weights_hide_nothing(theirs: nn.Module, average: State, tmp_path: Path) -> None:
    beside = {"best_acc1": torch.tensor(71.2), "history": [torch.zeros(3)], "optimizer": {"lr": torch.tensor(0.1)}}
    for key in ("state_dict", "weights", "checkpoint"):
        model, report = load({**beside, key: average}, tmp_path)
        assert differs(model, theirs) == 0
        assert set(report.others) == set(beside)
    circle: dict[str, Any] = {"state_dict": average}
    circle["self"] = circle
    assert len(read_checkpoint(circle).tensors) > len(average)
    more = {**average, "extra.weight": torch.zeros(2)}
    assert load({"state_dict": under("module.", more)}, tmp_path)[1].left_over == ("module.extra.weight",)


def huge_sparse() -> Tensor:
    return torch.sparse_coo_tensor(torch.zeros(2, 1).long(), torch.ones(1), (10**6, 10**6), check_invariants=True)


def changed(state: State, name: str, tensor: Tensor) -> State:
    assert name in state
    return {**state, name: tensor}


def test_tensors_are_converted_where_that_is_exact_and_said(theirs: nn.Module, average: State, tmp_path: Path) -> None:
    weight = average["fc.weight"]
    exact = weight.bfloat16().float()
    float8 = weight.to(torch.float8_e4m3fn)
    kinds = {
        "bfloat16 made float32, exactly": (weight.bfloat16(), exact),
        "float16 made float32, exactly": (weight.half(), weight.half().float()),
        "float8_e4m3fn made float32, exactly": (float8, float8.float()),
        "made dense": (weight.to_sparse(), weight),
        "made real": (weight.to(torch.complex64), weight),
        "int16 made float32, exactly": ((weight * 100).to(torch.int16), (weight * 100).to(torch.int16).float()),
        "rounded to float32": (weight.double() * (1 + 1e-12), weight),
    }
    for said, (given, wanted) in kinds.items():
        model, report = load(changed(average, "fc.weight", given), tmp_path)
        assert any(said in note for note in report.notes), (said, report.notes)
        assert torch.allclose(model.state_dict()["head.1.classifier.weight"], wanted, rtol=1e-6, atol=0)
    assert load(average, tmp_path)[1].notes == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w * float("nan"), "fc.weight has 3,072 values of 3,072 that are NaN or infinite"),
        (lambda w: w.index_fill(0, torch.tensor([1]), float("inf")), "1,024 values of 3,072"),
        (lambda w: w.to(torch.complex64) * 1j, "fc.weight holds complex numbers"),
        (lambda w: torch.full_like(w, 2**53 + 1, dtype=torch.int64), "too large for float32"),
        (lambda w: w.double() * 1e300, "too large for float32"),
        (lambda w: w.to("meta"), "fc.weight has no values"),
        (lambda w: w[0, 0], "does not fit"),
        (lambda w: w[:1, :1].expand(10**6, 10**6), "more values than its"),
        (lambda _: huge_sparse(), "more values"),
    ],
)
def test_tensors_that_are_no_weights_are_named_and_nothing_is_changed(
    change: Any, said: str, average: State, tmp_path: Path
) -> None:
    state = changed(average, "fc.weight", change(average["fc.weight"]))
    with pytest.raises(fb.InputError, match=said):
        load(state, tmp_path)
    torch.save(state, tmp_path / "m.pth")
    ours = fb.create_model(NAME, num_classes=3)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    with pytest.raises(fb.InputError):
        fb.load_weights(ours, tmp_path / "m.pth")
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize(
    ("name", "stem"), [("shufflenet_v2_x0_5", 4), ("densenet_bc100_k12_cifar", 1), ("peleenet", 1)]
)
def test_what_torch_save_made_of_a_network_of_ours_is_read(name: str, stem: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = randomize(fb.create_model(name, num_classes=2, in_chans=1, stem_stride=stem))
    torch.save({"model": under("module.", theirs.state_dict())}, tmp_path / "m.pth")
    model, report = fb.import_weights(name, tmp_path / "m.pth")
    assert report.source == "featherbone"
    assert model.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(tensor, theirs.state_dict()[key]) for key, tensor in model.state_dict().items())
    if name == "shufflenet_v2_x0_5":  # whose stem has the same tensors at every stride
        assert "stem_stride=4, as published: the tensors do not tell it" in report.notes
