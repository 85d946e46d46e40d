"""Names and shapes of weights do not change: what an older version stored still fits.

``tests/fixtures/state_dicts.csv`` has a line for each network of November 2026: its name, and ``digest`` of it.
"""

import csv
import hashlib

import pytest
import torch
from helpers.families import BRIEF, slow_but
from helpers.paths import FIXTURES

import featherbone as fb

with (FIXTURES / "state_dicts.csv").open(encoding="utf-8", newline="") as file:
    DIGESTS = dict(csv.reader(file))
QUICK = (*BRIEF, "densenet_bc40_k36_cifar", "cspdensenet121_first", "vovnet39", "shufflenet_v2_x0_5.tv")


def digest(name: str) -> str:
    """Return the SHA-256 of a line for each tensor, in their order: name, type, shape."""
    with torch.device("meta"):
        state = fb.spec(name).assemble().state_dict()
    lines = [f"{key} {value.dtype} {tuple(value.shape)}\n" for key, value in state.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("name", slow_but(DIGESTS, QUICK))
def test_names_and_shapes_of_weights_are_as_they_were(name: str) -> None:
    assert digest(name) == DIGESTS[name]
