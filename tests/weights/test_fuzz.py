"""Damaged files are read or refused in a sentence; ``benchmarks/fuzz.py`` tries thousands of them."""

import importlib.util
import sys

import pytest
from helpers.paths import ROOT


@pytest.mark.slow
def test_nothing_but_a_sentence_comes_of_damaged_files() -> None:
    spec = importlib.util.spec_from_file_location("fuzz", ROOT / "benchmarks" / "fuzz.py")
    assert spec
    assert spec.loader
    module = sys.modules["fuzz"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.fuzz(200, 0)
    assert sum(found.values()) == 200
    assert {result for _, result in found} <= {"read", "a sentence"}, found
