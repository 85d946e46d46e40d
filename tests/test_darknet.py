"""Darknet's files: what darknet computes comes out, and of damaged ones a sentence."""

from pathlib import Path

import darknet
import pytest
import torch
from reference import differs, randomise

import featherbone as fb


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cspresnet50", darknet.cspresnet50()),
        ("cspresnext50", darknet.cspresnet50(groups=32)),
        ("cspdarknet53", darknet.cspdarknet53()),
        ("darknet53", darknet.darknet53()),
    ],
)
def test_darknets_files_give_what_darknet_computes(tmp_path: Path, name: str, text: str) -> None:
    torch.manual_seed(0)
    theirs = randomise(darknet.Darknet(text))
    (tmp_path / "m.cfg").write_text(text)
    theirs.write(tmp_path / "m.weights")
    model, report = fb.import_weights(name, tmp_path / "m.weights")
    assert differs(model, theirs) < 1e-5
    assert (report.source, report.missing, report.left_over) == ("darknet", (), ())
    assert model.spec.num_classes == 10


def test_darknets_files_must_belong_together(tmp_path: Path) -> None:
    net = darknet.Darknet(darknet.darknet53())
    weights, config = tmp_path / "m.weights", tmp_path / "other.cfg"
    net.write(weights)
    for text, said in (
        (darknet.cspdarknet53(), "left over"),
        (darknet.darknet53() + darknet.convolution(8), "too early"),
        ("[net]\nchannels=3\n[rnn]\n", r"section \[rnn\]"),
        ("nothing", "darknet configuration"),
    ):
        config.write_text(text)
        with pytest.raises(fb.InputError, match=said):
            fb.import_weights("darknet53", weights, config=config)
    with pytest.raises(fb.InputError, match="config must name"):
        fb.import_weights("darknet53", weights)
    weights.write_bytes(b"short")
    config.write_text(darknet.darknet53())
    with pytest.raises(fb.InputError, match="too short"):
        fb.import_weights("darknet53", weights, config=config)
