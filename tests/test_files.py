"""Reading text and JSON as people's editors and programs write them; writing what replaces nobody's files."""

import hashlib
import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from featherbone.errors import InputError
from featherbone.files import (
    check_output,
    check_replaceable,
    digest,
    parse_json,
    read_json,
    read_text,
    replacing,
    to_json,
    typed,
    write_text,
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_read_however_an_editor_wrote_it(encoding: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(f"Käse{end}{end}Brot{end}".encode(encoding))
    assert read_text(tmp_path / "list.txt") == "Käse\n\nBrot\n"


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, word in ((tmp_path / "pipe", "a pipe"), (tmp_path, "a folder"), (Path("/dev/zero"), "a device")):
        with pytest.raises(InputError, match=f"{word}, not a file"):
            read_text(path)
        with pytest.raises(InputError, match=f"{word}, not a file"):
            digest(path)
    for path in (tmp_path / ("x" * 5000), tmp_path / "nul\0", tmp_path / "missing"):
        with pytest.raises(InputError, match="cannot be read"):
            read_text(path)


def test_files_with_the_same_bytes_have_the_same_digest(tmp_path: Path) -> None:
    for name, content in (("a", b"x" * 100_000), ("b", b"x" * 100_000), ("c", b"x" * 99_999 + b"y")):
        (tmp_path / name).write_bytes(content)
    one, same, other = (digest(tmp_path / name) for name in "abc")
    assert one == same != other
    assert one == hashlib.blake2b(b"x" * 100_000).hexdigest()[:32]


@pytest.mark.parametrize("content", ["[" * 200_000, "{", '{"a": NaN}', '{"a": Infinity}', "\ud800"])
def test_json_that_is_none_ends_in_a_sentence(content: str) -> None:
    with pytest.raises(InputError, match=r"x\.json cannot be read as JSON"):
        parse_json(content, "x.json")


def test_json_of_the_wrong_kind_says_where(tmp_path: Path) -> None:
    @dataclass
    class Row:
        epochs: int
        lr: float = 0.1

    (tmp_path / "row.json").write_text('{"epochs": "3"}')
    with pytest.raises(InputError, match=r"row\.json .*Expected `int`, got `str` - at `\$\.epochs`"):
        typed(read_json(tmp_path / "row.json"), Row, tmp_path / "row.json")
    assert typed({"epochs": 3}, Row, "") == Row(3)
    (tmp_path / "row.json").write_text(r'{"epochs": 3, "\udcff": 1}')  # half a character
    with pytest.raises(InputError, match=r"row\.json is not as it should be"):
        typed(read_json(tmp_path / "row.json"), Row, tmp_path / "row.json")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_mode_that_the_umask_says(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.txt", "a")
        save_file({"a": torch.zeros(1)}, tmp_path / "theirs.safetensors")
        with replacing(tmp_path / "ours.safetensors") as temporary:
            save_file({"a": torch.zeros(1)}, temporary)
    finally:
        os.umask(before)
    for name in ("a.txt", "ours.safetensors"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_never_holds_what_json_has_not(value: Any) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(to_json(value), parse_constant=refuse)


def test_figures_that_are_no_numbers_are_null() -> None:
    assert to_json({"a": [1.5, math.nan], "b": (math.inf, 2)}, indent=None) == '{"a": [1.5, null], "b": [null, 2]}'


@pytest.mark.parametrize("name", ["theirs.png", "theirs.html", "theirs.csv"])
def test_a_file_of_somebody_else_is_replaced_only_when_asked(name: str, tmp_path: Path) -> None:
    target = tmp_path / name
    check_output("--out", target, [target.suffix])
    target.touch()
    check_output("--out", target, [target.suffix])  # an empty one loses nothing
    target.write_bytes(b"\x89 what I made")
    with pytest.raises(InputError, match=f"--out=.*{name} exists and was not made by featherbone: .*--overwrite"):
        check_output("--out", target, [target.suffix])
    check_output("--out", target, [target.suffix], overwrite=True)
    target.write_bytes(b"\x89 ... made by featherbone ...")
    check_output("--out", target, [target.suffix])
    with pytest.raises(InputError, match="exists"):
        check_replaceable("--csv", target, mark=None)


def test_devices_and_pipes_are_no_place_for_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((Path("/dev/null"), "a device"), (tmp_path / "pipe", "a pipe")):
        with pytest.raises(InputError, match=f"is {kind}: name a file"):
            check_replaceable("out", path, overwrite=True)
    check_replaceable("out", tmp_path / ("x" * 5000))
