"""What the README shows is true: its Python runs, its table names every network, its command tests what CI tests."""

import re
from pathlib import Path

import pytest

import featherbone as fb

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - our own page
    assert "total" in capsys.readouterr().out
    assert (tmp_path / "thin.onnx").stat().st_size > 1_000_000
    assert isinstance(names["run"], fb.Run)


def test_its_table_names_every_network() -> None:
    row = next(line for line in README.splitlines() if line.startswith("| Networks"))
    named = set()
    for group in re.findall(r"`([^`]+)`", row):
        first, *others = group.split("/")
        named.add(first)
        for other in others:
            # densenet121/169, vovnet27_slim/39, shufflenet_v2_x0_5/x1_0
            stem = first[: first.index("_x") + 1] if other.startswith("x") else re.match(r"[a-z]+", first)[0]  # type: ignore[index]
            named.add(stem + other)
    plain = {name for name in fb.list_models() if not name.endswith(".tv")}
    assert named - {".tv"} == plain


def test_ci_runs_the_readmes_own_test_command() -> None:
    command = next(line[2:] for line in README.splitlines() if line.startswith("$ uv run pytest"))
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_every_command_in_the_figures_exists() -> None:
    for script in re.findall(r"python (benchmarks/\w+\.py)", README):
        assert (ROOT / script).is_file()
