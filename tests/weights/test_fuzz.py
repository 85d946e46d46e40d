"""Damaged files are read or refused in a sentence; ``benchmarks/fuzz.py`` tries thousands of them."""

import pytest
from fuzz import fuzz


@pytest.mark.slow
def test_nothing_but_a_sentence_comes_of_damaged_files() -> None:
    found = fuzz(1000, 0)
    assert sum(found.values()) == 1000
    assert {result for _, result in found} <= {"read", "a sentence"}, found
