"""Where a network computes."""

from pathlib import Path

import pytest
import torch

import featherbone as fb
from featherbone.device import device_named


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "", "meta", "CPU"])
def test_a_device_that_is_not_there_is_a_sentence_that_names_those_that_are(name: str) -> None:
    with pytest.raises(fb.InputError, match=r"device=.* is not allowed: this machine has cpu"):
        device_named(name)


def test_the_processor_is_always_there() -> None:
    assert device_named("cpu") == device_named(None) == torch.device("cpu")


def test_verbs_refuse_a_device_before_they_begin(finished: fb.Run, colours: Path, tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match="this machine has"):
        fb.predict(finished.folder, [colours], device="cuda:99")
    with pytest.raises(fb.InputError, match="this machine has"):
        fb.evaluate(finished.folder, device="cuda:99")
    with pytest.raises(fb.InputError, match="this machine has"):
        fb.train(colours, out=tmp_path / "run", device="cuda:99")
    with pytest.raises(fb.InputError, match="each has its own"):
        fb.train(colours, out=tmp_path / "run", device="cpu", devices=2)
    assert not (tmp_path / "run").exists()
    assert fb.evaluate(finished.folder, device="cpu").to_dict() == fb.evaluate(finished.folder).to_dict()
