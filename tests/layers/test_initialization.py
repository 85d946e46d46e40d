"""Fresh weights are drawn as the families' authors draw them; PyTorch's own layers are the other way."""

import math
from collections.abc import Callable

import pytest
import torch
from helpers.families import FAMILIES, SMALL, slow_but, thin
from torch import nn

import featherbone as fb
from featherbone.layers import as_pytorch
from featherbone.runs.start import build
from featherbone.spec import Backbone
from featherbone.weights import row_to_dict

# the standard deviation of a convolution's weights
DEVIATIONS: dict[str, Callable[[nn.Conv2d], float]] = {
    "fan-in": lambda layer: math.sqrt(2 / layer.weight[0].numel()),
    "fan-out": lambda layer: math.sqrt(2 / (math.prod(layer.kernel_size) * layer.out_channels)),
    "darknet": lambda layer: math.sqrt(2 / 3 / layer.weight[0].numel()),
    "inverse": lambda layer: 1 / layer.weight.shape[1],
    "torch": lambda layer: math.sqrt(1 / 3 / layer.weight[0].numel()),
}
WAYS = {
    "densenet": "fan-out",
    "peleenet": "fan-out",
    "cspresnet": "darknet",
    "cspdarknet": "darknet",
    "vovnet": "fan-in",
    "vovnet_v2": "fan-in",
    "shufflenet_v1": "inverse",
    "shufflenet_v2": "inverse",
    "rdnet": "fan-in",
    "cspdarknet_yolox": "torch",
    "cs3darknet": "fan-out",
    "cspnext": "torch",
    "resnet": "fan-out",
    "resnext50.darknet": "darknet",
}


def deviations(network: nn.Module, way: str) -> torch.Tensor:
    """Return the standard deviation of every convolution of 500 weights and more, over that which it should have."""
    layers = [part for part in network.modules() if isinstance(part, nn.Conv2d) and part.weight.numel() >= 500]
    assert layers
    return torch.tensor([layer.weight.std().item() / DEVIATIONS[way](layer) for layer in layers])


@pytest.mark.parametrize("name", slow_but(FAMILIES, SMALL))
def test_a_family_begins_as_its_authors_let_it(name: str) -> None:
    torch.manual_seed(0)
    network = fb.create_model(thin(name))
    way = WAYS.get(name, WAYS[network.spec.family])
    if way == "inverse":  # of the stem, below
        network.stem = nn.Identity()
    assert (deviations(network, way) - 1).abs().max() < 0.15
    if way == "inverse":
        norms = [part for part in network.stages.modules() if isinstance(part, nn.BatchNorm2d)]
        assert {bias for norm in norms for bias in norm.bias.tolist()} == {torch.tensor(1e-4).item()}


def test_shufflenets_stem_and_classifier_begin_small() -> None:
    torch.manual_seed(0)
    for name in ("shufflenet_v1_g3_x0_5", "shufflenet_v2_x0_5"):
        network = fb.create_model(name)
        (first,) = [part for part in network.stem.modules() if isinstance(part, nn.Conv2d)]
        assert first.weight.std().item() == pytest.approx(0.01, rel=0.15)
        classifier = next(part for part in network.head.modules() if isinstance(part, nn.Linear))
        assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_timms_residual_paths_begin_at_zero() -> None:
    """Then every block gives back what it reads."""
    torch.manual_seed(0)
    network = thin("cs3se_edgenet_x.timm").build().eval()
    blocks = [part for part in network.modules() if isinstance(part, fb.Residual)]
    assert len(blocks) == 5
    for block in blocks:
        x = torch.randn(2, next(iter(block.parameters())).shape[1], 8, 8)
        assert torch.equal(block(x), x)


@pytest.mark.parametrize("name", ["cs3se_edgenet_x.timm", "cspnext_tiny.timm"])
def test_gates_and_classifiers_begin_without_biases_where_the_authors_let_them(name: str) -> None:
    torch.manual_seed(0)
    network = thin(name).build()
    gates = [part for part in network.modules() if isinstance(part, fb.Gate)]
    biases = [bias for gate in gates for key, bias in gate.named_parameters() if key.endswith("bias")]
    assert len(biases) >= len(gates) > 3
    assert not any(bias.any() for bias in biases)
    (classifier,) = [part for part in network.head.modules() if isinstance(part, nn.Linear)]
    assert not classifier.bias.any()
    assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("name", slow_but(FAMILIES, SMALL))
def test_pytorchs_own_weights_are_those_of_its_layers(name: str) -> None:
    torch.manual_seed(0)
    network = thin(name).build()
    as_pytorch(network)
    assert (deviations(network, "torch") - 1).abs().max() < 0.1
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert all(norm.weight.eq(1).all() and norm.bias.eq(0).all() for norm in norms)


def test_a_recipe_chooses_the_beginning() -> None:
    row = row_to_dict(fb.spec("shufflenet_v2_x0_5"))
    recipe = fb.Recipe(model=row, size=64, seed=3)
    authors, theirs = build(recipe), build(recipe.changed({"init": "torch"}))
    assert isinstance(authors, Backbone)
    assert isinstance(theirs, Backbone)
    assert (deviations(authors.stages, "inverse") - 1).abs().max() < 0.2
    assert (deviations(theirs, "torch") - 1).abs().max() < 0.1
    with pytest.raises(fb.InputError, match="init='he' is not allowed: authors or torch"):
        recipe.changed({"init": "he"})
