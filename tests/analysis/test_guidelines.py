"""ShuffleNet V2's guideline experiments: equal operations, and the whole path once."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import featherbone as fb
from featherbone.analysis.guidelines import BLOCKS, EXPERIMENTS, SIDE
from featherbone.cli.app import app


@pytest.mark.parametrize("number", range(4))
def test_the_lines_of_a_table_have_as_many_operations(number: int) -> None:
    """As near as whole channels allow; G4's lines differ in what is not a multiply-accumulate."""
    experiment = EXPERIMENTS[number]
    assert len(experiment.paper) == len(experiment.lines)
    for column in range(len(experiment.columns)):
        assert all(len(line) == len(experiment.columns) for line in experiment.paper)
        macs = []
        for line in range(len(experiment.lines)):
            with torch.device("meta"):
                network = experiment.build(line, column)
                macs.append(fb.cost(network, SIDE).macs)
        assert max(macs) < 1.07 * min(macs), (experiment.guideline, column, macs)


def test_the_first_lines_are_what_the_paper_says() -> None:
    with torch.device("meta"):
        costs = [fb.cost(experiment.build(0, 0), SIDE).macs for experiment in EXPERIMENTS]
    area = SIDE * SIDE
    assert costs[0] == BLOCKS * area * 2 * 32 * 32
    assert costs[1] == costs[2] == BLOCKS * area * 64 * 64
    assert costs[3] == BLOCKS * area * (2 * 32 * 8 + 9 * 8 * 8)


def test_a_picture_of_no_known_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(fb.InputError, match="path=.*g.xyz is not allowed"):
        fb.draw_guidelines([("t", ["a"], ["b"], [[1.0]], [[1.0]])], tmp_path / "g.xyz")


def test_analyse_guidelines_on_the_command_line(tmp_path: Path) -> None:
    picture = tmp_path / "g.png"
    command = ["analyze", "guidelines", "--only", "G4", "--rounds", "2"]
    done = CliRunner().invoke(app, [*command, "--out", str(picture)])
    assert done.exit_code == 0, done.output
    assert "rank agreement with the paper" in done.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    (result,) = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)["results"]
    assert result["paper"][3] == [66.3, 20.2, 5.4]
    assert all(speed > 0 for line in result["images_per_s"] for speed in line)
    assert all(-1 <= rank <= 1 for rank in result["agreement"])
    wrong = CliRunner().invoke(app, ["analyze", "guidelines", "--only", "G5"])
    assert isinstance(wrong.exception, fb.InputError)
