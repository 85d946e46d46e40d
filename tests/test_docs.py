"""What the README shows is true: its Python runs, its table names every network, its command tests what CI tests."""

import re
from pathlib import Path

import pytest
from helpers.paths import ROOT

import featherbone as fb

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache", "no_waiting")
def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("featherbone.deploy.search.Search.refined", lambda _, way: way)  # has tests of its own
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - our own page
    printed = capsys.readouterr().out
    assert "total" in printed
    assert "<- chosen" in printed
    assert (tmp_path / "thin.onnx").stat().st_size > 1_000_000
    assert isinstance(names["run"], fb.Run)


def test_every_network_in_its_table_exists() -> None:
    row = next(line for line in README.splitlines() if line.startswith("| Networks"))
    names = fb.list_models()
    for group in re.findall(r"`(\w[^`]+)`", row):
        first, *others = group.split("/")
        assert first in names
        for other in others:  # densenet121/169, shufflenet_v2_x0_5/x1_0
            assert any(name.endswith(other) and name[:5] == first[:5] for name in names), other


def test_ci_runs_the_readmes_own_test_command() -> None:
    command = next(line[2:] for line in README.splitlines() if line.startswith("$ uv run pytest"))
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_every_command_in_the_figures_exists() -> None:
    for script in re.findall(r"python (benchmarks/\w+\.py)", README):
        assert (ROOT / script).is_file()
