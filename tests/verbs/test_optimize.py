"""The search for the fastest equal form: what it proves, remembers and refuses. Nothing here is timed for its speed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.families import slow_but
from torch import Tensor, nn

import featherbone as fb
from featherbone.deploy import optimize, optimize_report, search
from featherbone.deploy.engines import ENGINES, QUICK, Engine
from featherbone.deploy.optimize import optimize_network
from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.variants import PLAIN, Variant, further

pytestmark = pytest.mark.usefixtures("own_cache", "no_waiting")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Return a network of two shuffled units: what there is to rewrite, and little else."""
    torch.manual_seed(0)
    body = nn.Sequential(fb.conv(8, 8, 1), fb.depthwise(8), fb.conv(8, 8, 1))
    units = [layer for _ in range(2) for layer in (fb.Split(8, copy.deepcopy(body)), fb.Shuffle(2))]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 7))
    return nn.Sequential(fb.conv(3, 16, 3, stride=2), *units, *head).eval()


def samples(count: int = 3, side: int = 64) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("engine", slow_but(QUICK, ("eager", "onnxruntime")))
def test_every_engine_gives_the_networks_answers(engine: str, network: nn.Module) -> None:
    fast = optimize_network(network, samples(), batch=2, engines=(engine,), precisions=("f32",), threads=1)
    images = samples(5)  # not a multiple of the batch
    with torch.no_grad():
        torch.testing.assert_close(fast(images), network(images), rtol=1e-5, atol=1e-4)
    assert fast.report.chosen.engine == engine
    assert fast.report.chosen.error is not None
    assert fast.report.chosen.error < 1e-3  # of the variation over three images of noise, which is small
    assert {candidates.variant.rewritten for candidates in fast.report.candidates} == {True, False}


def test_fb_optimize_takes_any_module_and_reports(network: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fast = fb.optimize(network, 64, engine="eager", precision="f32", threads=1)
    assert "<- chosen" in str(fast.report)
    assert fast.report.threads == 1
    assert json.loads(json.dumps(fast.report.to_dict()))["chosen"]["engine"] == "eager"
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(fb.InputError, match=r"images=\(1, 3, 32, 32\) is not allowed: \(N, 3, 64, 64\)"):
        fast(samples(1, side=32))
    with pytest.raises(fb.InputError, match=r"images=\(1, 1, 64, 64\) is not allowed"):
        fast(samples(1)[:, :1])


@pytest.mark.slow
def test_the_choice_is_remembered_and_proven_again(network: nn.Module, own_cache: Path) -> None:
    said: list[str] = []
    first = optimize_network(network, samples(), engines=("eager",), threads=1, log=said.append)
    assert any("timing" in line for line in said)
    said.clear()
    again = optimize_network(network, samples(), engines=("eager",), threads=1, log=said.append)
    assert again.report.remembered
    assert again.report.chosen.way == first.report.chosen.way
    assert again.report.machine == first.report.machine
    assert said == [first.report.chosen.name]
    # another number of threads is another question, and so is a file that cannot be read
    assert not optimize_network(network, samples(), engines=("eager",), threads=2).report.remembered
    for file in own_cache.rglob("*.json"):
        file.write_text("{")
    with pytest.warns(UserWarning, match=r"cannot be read as JSON.*; this is measured again"):
        assert not optimize_network(network, samples(), engines=("eager",), threads=1).report.remembered


def test_a_cache_that_cannot_be_written_loses_nothing(network: nn.Module, own_cache: Path) -> None:
    own_cache.write_text("a file where the folder should be")
    said: list[str] = []
    fast = optimize_network(network, samples(), engines=("eager",), threads=1, log=said.append)
    assert fast(samples(1)).shape == (1, 7)
    assert any("could not be kept" in line for line in said)


def broken(engine: Engine, run: Callable[[Tensor], Tensor]) -> Engine:
    return Engine(engine.name, lambda: ("f32",), engine.translate, lambda *_: run)


@pytest.mark.slow
def test_a_way_with_other_outputs_is_never_chosen(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = broken(ENGINES["openvino"], lambda images: torch.zeros(len(images), 7))
    nan = broken(ENGINES["onnxruntime"], lambda images: torch.full((len(images), 7), torch.nan))
    monkeypatch.setattr(search, "ENGINES", {**ENGINES, "openvino": wrong, "onnxruntime": nan})
    fast = optimize_network(network, samples(), engines=QUICK, precisions=("f32",), threads=1)
    assert fast.report.chosen.engine == "eager"
    problems = {
        candidates.engine: candidates.problem for candidates in fast.report.candidates if candidates.timing is None
    }
    assert set(problems) == {"openvino", "onnxruntime"}
    assert all("differ" in problem for problem in problems.values())
    with pytest.raises(fb.InputError, match="nothing gives the network's outputs here"):
        optimize_network(network, samples(), engines=("openvino",), precisions=("f32",), threads=1)


def test_plain_is_kept_where_no_rule_fits() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 2)).eval()
    report = optimize_network(plain, samples(2, side=32), engines=("eager",), precisions=("f32",), threads=1).report
    assert report.chosen.variant == PLAIN
    assert "no rewritten form is faster here" in report.verdict


def test_engines_that_are_not_installed_are_left_out(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> tuple[str, ...]:
        raise fb.InputError("running with OpenVINO needs the package 'openvino': pip install 'featherbone[export]'")

    missing = Engine("openvino", absent, ENGINES["openvino"].translate, ENGINES["openvino"].start)
    monkeypatch.setattr(optimize, "ENGINES", {**ENGINES, "openvino": missing})
    fast = optimize_network(network, samples(), engines=("openvino", "eager"), precisions=("f32",), threads=1)
    assert {candidates.engine for candidates in fast.report.candidates} == {"eager"}
    with pytest.raises(fb.InputError, match=r"pip install 'featherbone\[export\]'"):
        optimize_network(network, samples(), engines=("openvino",), threads=1)


@pytest.mark.slow
def test_grouped_convolutions_are_tried_dense() -> None:
    torch.manual_seed(0)
    model = fb.create_model("shufflenet_v1_g3_x0_5", num_classes=5).eval()
    graph = rewritable(captured(model, samples()))
    steps = further(Variant(), graph)
    seen = [next(steps)]
    while True:
        try:
            seen.append(steps.send(True))  # noqa: FBT003 - the protocol of a generator
        except StopIteration:
            break
    dense = [variant for variant in seen if variant.dense]
    assert dense
    images = samples(2)
    with torch.no_grad():
        for variant in (dense[0], dense[-1]):
            torch.testing.assert_close(variant.of(graph)[0](images), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"engine": "openvin"}, r"engine='openvin' is not allowed \(did you mean 'openvino'\?\)"),
        ({"precision": "f8"}, r"precision='f8' is not allowed"),
        ({"threads": 0}, r"threads=0 is not allowed"),
        ({"batch": 0}, r"batch=0"),
        ({"size": 0}, r"size=0 is not allowed"),
        ({"engine": "onnxruntime", "precision": "bf16"}, "no engine of onnxruntime computes in bf16 here"),
    ],
)
def test_wrong_arguments_get_a_sentence(arguments: dict[str, object], sentence: str, network: nn.Module) -> None:
    with pytest.raises(fb.InputError, match=sentence):
        fb.optimize(network, **({"size": 64} | arguments))  # type: ignore[arg-type]


def test_what_is_kept_reads_back_as_it_was(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    report = optimize_network(network, samples(), engines=("eager",), precisions=("f32",), threads=1).report
    assert optimize_report.remember("question", report)
    assert optimize_report.recall("question") == report
    assert optimize_report.recall("another question") is None
    monkeypatch.setattr(optimize_report, "version", lambda package: f"{package} of tomorrow")
    assert optimize_report.recall("question") is None


@pytest.mark.parametrize(
    "content",
    slow_but(
        [b"", b"[" * 200_000, b"[]", b'{"size": 3}', b"\xff", b'{"version": Infinity}', None], (b"[" * 200_000, None)
    ),
)
def test_a_damaged_choice_is_passed_over_and_said(network: nn.Module, own_cache: Path, content: bytes | None) -> None:
    report = optimize_network(network, samples(), engines=("eager",), precisions=("f32",), threads=1).report
    assert optimize_report.remember("question", report)
    path = optimize_report._file("question")
    values = {**json.loads(path.read_text()), "chosen": {"engine": 3}}
    path.write_bytes(json.dumps(values).encode() if content is None else content)
    with pytest.warns(UserWarning, match="this is measured again"):
        assert optimize_report.recall("question") is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_module_on_a_gpu_runs_as_a_cuda_graph(network: nn.Module) -> None:
    fast = fb.optimize(copy.deepcopy(network).cuda(), 64, precision="f32")
    assert fast.report.chosen.engine == "cuda-graphs"
    with torch.no_grad():
        torch.testing.assert_close(fast(samples(3)), network(samples(3)), rtol=1e-3, atol=1e-3)


def test_without_a_gpu_its_engine_says_so(network: nn.Module) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(fb.InputError, match="needs an NVIDIA GPU"):
        fb.optimize(network, 64, engine="cuda-graphs")


def test_a_network_in_training_mode_is_taken_as_in_evaluation(network: nn.Module) -> None:
    learning = copy.deepcopy(network).train()
    fast = optimize_network(learning, samples(), engines=("eager",), precisions=("f32",), threads=1)
    assert learning.training
    with torch.no_grad():
        torch.testing.assert_close(fast(samples()), network(samples()), rtol=1e-5, atol=1e-4)
