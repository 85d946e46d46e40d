"""The faster way to compute is measured, and measuring changes nothing."""

import pytest
import torch

import featherbone as fb
from featherbone.data.sources.scikit_learn import digits
from featherbone.training import autotune as compute

CPU = torch.device("cpu")


def test_the_faster_way_to_compute_is_measured_and_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {("f32", True): 3.0, ("f32", False): 2.0, ("bf16", True): 1.0}
    monkeypatch.setattr(compute, "step_seconds", lambda model, shape, candidate: seconds[candidate])
    model = fb.create_model("shufflenet_v2_x0_5")
    recipe, data = fb.Recipe(size=32), digits()
    found = compute.resolve(recipe, model, data, CPU)
    assert (found.precision, found.channels_last) == ("bf16", True)
    found = compute.resolve(recipe.changed({"precision": "f32"}), model, data, CPU)
    assert (found.precision, found.channels_last) == ("f32", False)
    found = compute.resolve(recipe.changed({"channels_last": False, "precision": "bf16"}), model, data, CPU)
    assert (found.precision, found.channels_last) == ("bf16", False)


def test_measuring_leaves_model_and_generator_as_they_were() -> None:
    model = fb.create_model("shufflenet_v2_x0_5").eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    chosen = compute.fastest(model, (2, 3, 32, 32), compute.CANDIDATES, torch.device("cpu"))
    assert chosen in compute.CANDIDATES
    assert not model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
