"""A block in somebody's own network goes through tracing, torch.export and ONNX with equal outputs."""

from collections.abc import Callable
from typing import Any

import onnxruntime
import pytest
import torch
from helpers.reference import randomize
from torch import nn

from featherbone import blocks

BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "dense_layer": lambda: blocks.dense_layer(12, 4, dilation=2),
    "dense_block": lambda: blocks.dense_block(12, 2, 4, dropout=0.1),
    "transition": lambda: blocks.transition(12, 6),
    "csp_dense_block": lambda: blocks.csp_dense_block(12, 2, 4),
    "osa_module": lambda: blocks.osa_module(12, 6, 12, layers=2, residual=True, gated=True),
    "osa_module depthwise": lambda: blocks.osa_module(12, 6, 8, layers=2, depthwise=True, dilation=3),
    "shufflenet_v1_unit": lambda: blocks.shufflenet_v1_unit(12, 12, groups=3),
    "shufflenet_v1_unit strided": lambda: blocks.shufflenet_v1_unit(12, 24, groups=3, stride=2),
    "shufflenet_v1_unit dilated": lambda: blocks.shufflenet_v1_unit(12, 24, groups=3, dilation=2),
    "shufflenet_v2_unit": lambda: blocks.shufflenet_v2_unit(12, 12, residual=True, gated=True),
    "shufflenet_v2_unit strided": lambda: blocks.shufflenet_v2_unit(12, 24, stride=2),
    "shufflenet_v2_unit dilated": lambda: blocks.shufflenet_v2_unit(12, 24, dilation=2),
}
ROUNDS = 1e-5  # float32: another order of sums


class Network(nn.Module):
    """Somebody's: a convolution, the block, a mean of everything."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.block = block

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.block(self.stem(images)).square().mean(1)


def network(name: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model, images = randomize(Network(BLOCKS[name]())), torch.randn(2, 3, 13, 17)
    with torch.no_grad():
        return model, images, model(images)


def near(given: Any, wanted: torch.Tensor) -> bool:
    return bool((torch.as_tensor(given) - wanted).abs().max() <= ROUNDS * wanted.abs().max())


@pytest.mark.filterwarnings("ignore:.*torch.jit:")  # deprecated, and still used
@pytest.mark.filterwarnings("ignore:Converting a tensor")  # a shortcut asks for channels, which no image changes
@pytest.mark.parametrize("name", BLOCKS)
def test_a_trace_answers_alike_at_other_sizes_too(name: str) -> None:
    model, images, wanted = network(name)
    traced = torch.jit.trace(model, images)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        assert torch.equal(traced(images), wanted)
        others = torch.randn(3, 3, 16, 11)
        assert torch.equal(traced(others), model(others))


@pytest.mark.parametrize("name", BLOCKS)
def test_an_exported_program_answers_alike(name: str) -> None:
    model, images, wanted = network(name)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: batch},)).module()
    with torch.no_grad():
        assert near(program(images), wanted)
        others = torch.randn(5, 3, 13, 17)
        assert near(program(others), model(others))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
@pytest.mark.parametrize("name", BLOCKS)
def test_an_onnx_file_answers_alike(name: str) -> None:
    model, images, wanted = network(name)
    written = torch.onnx.export(model, (images,), dynamo=True, verbose=False)
    assert written is not None
    session = onnxruntime.InferenceSession(written.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert near(answer, wanted)
