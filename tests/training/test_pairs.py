"""Columns of a recipe that are right alone are right together; ``benchmarks/pairs.py`` tries every pair."""

from pathlib import Path

import pytest
from pairs import search


@pytest.mark.slow
def test_what_a_recipe_allows_learns_what_can_be_learned(tmp_path: Path) -> None:
    found = search(tmp_path / "pairs.jsonl", 6, 1)
    assert len(found) == 6
    assert all("refused" in one or max(one["top1"]) == 1.0 for one in found), found
