"""What docs/blocks.md shows is true: its example runs, and its table has every block with its arguments."""

import inspect
import re

import pytest
from helpers.paths import ROOT

from featherbone import blocks
from featherbone.layers import relu

PAGE = (ROOT / "docs" / "blocks.md").read_text(encoding="utf-8")


def test_its_example_runs_and_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "blocks.md", "exec"), {})  # noqa: S102 - our own page
    (said,) = re.findall(r"print\(shapes\)  # (.*)", code)
    assert capsys.readouterr().out.strip() == said


def test_its_table_has_every_block_and_every_argument() -> None:
    rows = dict(re.findall(r"^\| `((?:\w+))\((.*)$", PAGE, re.MULTILINE))
    public = {name: value for name, value in vars(blocks).items() if inspect.isfunction(value)}
    assert rows.keys() == public.keys()
    for name, function in public.items():
        called, _, arguments, *_ = rows[name].split(" | ")
        for argument in inspect.signature(function).parameters.values():
            if argument.default is inspect.Parameter.empty:
                assert re.search(rf"\b{argument.name}\b", called), (name, argument)
            else:
                shown = "relu" if argument.default is relu else repr(argument.default).replace("'", '"')
                assert f"{argument.name}={shown}" in arguments, (name, argument)
