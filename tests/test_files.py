"""Reading text and JSON as people's editors and programs write them."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from featherbone.errors import InputError
from featherbone.files import digest, parse_json, read_json, read_text, typed


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
