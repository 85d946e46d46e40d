"""The proof of an export: wrong engines of many kinds are refused, honest ones pass, and little proof is said to be."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

import featherbone as fb
from featherbone.deploy.fidelity import Reference, output_names
from featherbone.deploy.formats import FORMATS
from featherbone.deploy.nms import Postprocess
from featherbone.deploy.program import captured, rewritable
from featherbone.deploy.verify import Verified
from featherbone.detect.postprocess import table
from featherbone.verbs.samples import samples_of

Change = Callable[[Tensor, Tensor], Tensor]


class Scaled(nn.Module):
    """A small classifier whose outputs have scales and shifts of their own."""

    def __init__(self, scale: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0), shift: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.last = nn.Linear(8, len(scale))
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(scale))
        self.shift = shift

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.net(images)) * self.scale + self.shift


def one_in_eight(outputs: Tensor, images: Tensor) -> Tensor:
    outputs[7::8] = outputs[:1] + 1
    return outputs


def every_eighth_call() -> Change:
    calls = count(1)
    return lambda outputs, _: outputs.flip(1) if len(outputs) == 1 and next(calls) % 8 == 0 else outputs


def channel(outputs: Tensor, place: int, change: Callable[[Tensor], Tensor]) -> Tensor:
    outputs[:, place] = change(outputs[:, place])
    return outputs


def first_of_all() -> Change:
    kept: list[Tensor] = []

    def stale(outputs: Tensor, images: Tensor) -> Tensor:
        kept.append(outputs[:1])
        return kept[0].expand_as(outputs)

    return stale


OTHER = Scaled()
nn.init.normal_(OTHER.last.weight, generator=torch.Generator().manual_seed(1))
SMALL = (1e5, 1.0, 1.0, 1.0)
WRONG: dict[str, tuple[Scaled, Change]] = {
    "a constant": (Scaled(), lambda outputs, _: torch.zeros_like(outputs)),
    "a constant near 10,000": (Scaled(shift=1e4), lambda outputs, _: torch.full_like(outputs, 1e4)),
    "the mean over the batch": (Scaled(), lambda outputs, _: outputs.mean(0).expand_as(outputs)),
    "zeros for small outputs": (Scaled(SMALL), lambda outputs, _: outputs * torch.tensor([1.0, 0.0, 0.0, 0.0])),
    "small outputs in float16": (Scaled(SMALL), lambda outputs, _: outputs.half().float().nan_to_num(posinf=65504.0)),
    "two swapped": (Scaled(), lambda outputs, _: outputs[:, [1, 0, 2, 3]]),
    "one channel a thousandth off": (Scaled(), lambda outputs, _: channel(outputs, 2, lambda one: one * 1.001)),
    "one channel dead": (Scaled(shift=1e3), lambda outputs, _: channel(outputs, 3, lambda one: one.mean() + 0 * one)),
    "a batch mixed up": (Scaled(), lambda outputs, _: outputs.roll(1, 0)),
    "the last two of a batch exchanged": (Scaled(), lambda outputs, _: torch.cat([outputs[:-2], outputs[-2:].flip(0)])),
    "one image in eight": (Scaled(), one_in_eight),
    "every eighth call": (Scaled(), every_eighth_call()),
    "NaN in one place": (
        Scaled(),
        lambda outputs, _: outputs.index_fill(0, torch.tensor([len(outputs) // 2]), torch.nan),
    ),
    "infinity": (Scaled(), lambda outputs, _: outputs / 0),
    "overflow of float16": (Scaled((1e5,) * 4), lambda outputs, _: outputs.half().float()),
    "rounding of float16": (Scaled(), lambda outputs, _: outputs.half().float()),
    "a shifted bias": (Scaled(), lambda outputs, _: outputs + 1e-3),
    "weights of another network": (Scaled(), lambda _, images: OTHER(images)),
    "the first answer for ever": (Scaled(), first_of_all()),
    "the image turned round": (Scaled(), lambda _, images: Scaled()(images.flip(3))),
    "red and blue exchanged": (Scaled(), lambda _, images: Scaled()(images.flip(1))),
    "probabilities": (Scaled(), lambda outputs, _: outputs.softmax(1)),
    "an output left out": (Scaled(), lambda outputs, _: outputs[:, :3]),
    "clipped": (Scaled(), lambda outputs, _: outputs.clamp(-0.3, 0.3)),
}


def changed(monkeypatch: pytest.MonkeyPatch, change: Change, name: str) -> None:
    """Read files of a format with an engine that is wrong."""
    honest = FORMATS[name]

    def load(path: Path) -> Callable[[Tensor], Any]:
        run = honest.load(path)
        return lambda images: change(run(images).clone(), images).detach()

    monkeypatch.setitem(FORMATS, name, replace(honest, load=load))


@pytest.fixture(scope="module")
def samples() -> Tensor:
    return samples_of(Scaled(), size=32).samples


@cache
def graph_of(scale: tuple[float, ...], shift: float) -> GraphModule:
    return rewritable(captured(Scaled(scale, shift).eval(), torch.zeros(2, 3, 32, 32)))


def prove(network: Scaled, change: Change, graph: GraphModule, samples: Tensor, folder: Path) -> Any:
    """Prove a file whose engine is the network itself with a change."""
    network = network.eval()

    def load(path: Path) -> Callable[[Tensor], Any]:
        return lambda images: change(network(images).detach().clone(), images).detach()

    form = replace(FORMATS["torch"], write=lambda *_: None, load=load)
    reference = Reference(network, graph, samples)
    return Verified(form, folder / "m.pt2", graph, samples, reference, {}).in_floats(1e-4)


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_engine_is_refused(kind: str, samples: Tensor, tmp_path: Path) -> None:
    network, change = WRONG[kind]
    graph = graph_of(tuple(network.scale.tolist()), network.shift)
    with pytest.raises(fb.InputError, match="nothing was written: the torch file is wrong"), torch.no_grad():
        prove(network, change, graph, samples, tmp_path)


@pytest.mark.parametrize("network", [Scaled(), Scaled(SMALL), Scaled(shift=1e4), Scaled((1e-6, 1.0, 1.0, 1e6))])
def test_an_honest_engine_passes_whatever_the_scales(network: nn.Module, tmp_path: Path) -> None:
    result = fb.export(network, tmp_path / "m.pt2", size=32)
    assert result.same_answers == 1.0
    (report,) = result.outputs
    assert (report.name, report.shape, report.channels, report.varying) == ("outputs", (4,), 4, 4)
    assert report.share < 1e-3


def test_wrong_engines_leave_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed(monkeypatch, lambda outputs, _: torch.full_like(outputs, 1e4), "torch")
    with pytest.raises(fb.InputError, match=r"differ from the network's by .* varies by .* over the samples"):
        fb.export(Scaled(shift=1e4), tmp_path / "m.pt2", size=32)
    assert not list(tmp_path.iterdir())


def test_what_the_samples_do_not_tell_apart_is_said(samples: Tensor, tmp_path: Path) -> None:
    network = Scaled().eval()
    with torch.no_grad():
        network.last.weight[1:] = 0
    graph = rewritable(captured(network, samples))
    (report,) = prove(network, lambda outputs, _: outputs, graph, samples, tmp_path)["outputs"]
    assert report.varying == 1
    assert "3 of 4 channels hardly vary: not proven there" in str(report)


def test_samples_are_many_and_different() -> None:
    model = Scaled().eval()
    images = samples_of(model, size=32).samples
    assert len(images) == 16
    assert len({tuple(row) for row in model(images).tolist()}) == 16


class Several(nn.Module):
    """Maps and numbers in the containers that networks return."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.kind = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3, 2), kind

    def forward(self, images: Tensor) -> Any:
        maps = self.first(images).relu()
        pooled = self.second(maps).mean((2, 3))
        if self.kind == "dictionary":
            return {"maps": maps, "pooled": pooled}
        return (maps, pooled) if self.kind == "tuple" else [maps, pooled]


@pytest.mark.parametrize(
    ("kind", "suffix", "names"),
    [
        pytest.param("tuple", "onnx", ("outputs_0", "outputs_1"), marks=pytest.mark.slow),
        ("dictionary", "xml", ("maps", "pooled")),
        ("list", "pt2", ("outputs_0", "outputs_1")),
    ],
)
def test_several_outputs_are_named_and_each_is_proven(
    kind: str, suffix: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = Several(kind)
    result = fb.export(network, tmp_path / f"m.{suffix}", size=16)
    assert tuple(report.name for report in result.outputs) == names
    assert set(names) < set(result.proof)
    images = torch.randn(3, 3, 16, 16)
    honest = FORMATS[result.format]
    found = honest.load(result.path)(images)
    with torch.no_grad():
        wanted = network(images)
    for given, own in zip(found, wanted.values() if kind == "dictionary" else wanted, strict=True):
        assert torch.allclose(given, own, atol=1e-4)
    if suffix == "onnx":
        import onnx

        assert tuple(output.name for output in onnx.load(result.path).graph.output) == names
        return

    def load(path: Path) -> Callable[[Tensor], Any]:
        run = honest.load(path)
        return lambda given: (run(given)[0], run(given)[1] * 1.01)

    monkeypatch.setitem(FORMATS, result.format, replace(honest, load=load))
    with pytest.raises(fb.InputError, match=f"its {names[1]} differ from the network's"):
        fb.export(network, tmp_path / f"other.{suffix}", size=16)


def test_outputs_that_are_no_tensors_of_one_row_an_image_are_named(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self, *, pooled: bool) -> None:
            super().__init__()
            self.layer, self.pooled = nn.Conv2d(3, 4, 3), pooled

        def forward(self, images: Tensor) -> Any:
            maps = self.layer(images)
            return maps.mean() if self.pooled else (maps, None)

    with pytest.raises(fb.InputError, match="the network gives a NoneType: a tensor, or a tuple, list or dictionary"):
        fb.export(Odd(pooled=False), tmp_path / "m.onnx", size=16)
    with pytest.raises(fb.InputError, match="one row each"):
        fb.export(Odd(pooled=True), tmp_path / "m.onnx", size=16)
    assert not list(tmp_path.iterdir())


def test_names_of_outputs() -> None:
    tensor = torch.zeros(1)
    assert output_names(tensor) == ("outputs",)
    assert output_names([tensor, tensor]) == ("outputs_0", "outputs_1")
    assert output_names({"a": tensor, "b": (tensor, tensor)}) == ("a", "b_0", "b_1")


def test_a_network_that_cannot_be_copied_is_refused_in_a_sentence(tmp_path: Path) -> None:
    network = Scaled().eval()
    network.kept = network.last.weight * 2
    for attempt in (
        lambda: fb.export(network, tmp_path / "m.onnx", size=16),
        lambda: fb.cost(network, 16),
        lambda: fb.compare({"it": network}, size=16, rounds=1),
    ):
        with pytest.raises(fb.InputError, match="the network cannot be copied"):
            attempt()


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path: Path) -> None:
    network = Scaled()
    network.last.bias.data[1] = torch.nan
    with pytest.raises(fb.InputError, match=r"the weights of the network hold NaN or infinity \(last.bias\)"):
        fb.export(network, tmp_path / "m.onnx", size=16)
    assert not list(tmp_path.iterdir())


def test_a_file_that_finds_no_box_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    boxes = torch.rand(40, 2) * 20
    output = torch.cat([boxes, boxes + 10, torch.rand(40, 2) * 0.2], 1)

    class Found(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return output + images.mean((1, 2, 3))[:, None, None] * 0.01

    samples = torch.randn(8, 3, 32, 32)
    graph = rewritable(captured(Found(), samples))
    reference = Reference(Found(), graph, samples)
    shop = tmp_path / "shop"
    shop.mkdir()
    changed(monkeypatch, lambda outputs, _: torch.zeros_like(outputs), "onnx")
    made = Verified(FORMATS["onnx"], shop / "m.onnx", graph, samples, reference, {})
    with pytest.raises(fb.InputError, match="nothing was written: the onnx file is wrong.*boxes are missing"):
        made.with_boxes(Postprocess(0.25, 0.6, 10, table), 1e-4)
