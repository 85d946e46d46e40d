"""What is counted of a network that is named in other ways than as a module."""

from pathlib import Path

import pytest
import torch

import featherbone as fb


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "vovnet27_slim", "densenet121"])
def test_counts_of_a_name_a_row_a_file_and_a_module_are_equal(name: str, tmp_path: Path) -> None:
    model = fb.create_model(name, num_classes=7)
    fb.save(model, tmp_path / "m.safetensors")
    counted = [fb.cost(source, 64).to_dict() for source in (model, model.spec, tmp_path / "m.safetensors")]
    assert counted[0] == counted[1] == counted[2]
    assert fb.cost(name, 64).params == fb.count_parameters(name) == fb.count_parameters(fb.create_model(name))


def test_a_network_is_counted_without_being_made() -> None:
    row = fb.spec("densenet121")
    state = torch.get_rng_state()
    assert fb.count_parameters(row) == 7978856
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(fb.InputError, match=r"size=0, batch=1 is not allowed"):
        fb.cost("densenet121", 0)
