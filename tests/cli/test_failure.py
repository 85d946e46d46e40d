"""Whatever goes wrong ends in one sentence; whatever others wrote reaches the terminal as text."""

import errno
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.cli import Cli
from helpers.paths import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

import featherbone as fb
from featherbone.cli.output import command_line
from featherbone.errors import MissingPackageError
from featherbone.text import printable

HOSTILE = "a\x1b]0;PWNED\x07\x1b[31m\u202e\n"


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(fb, "list_models", fail)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "closed/w.safetensors"),
            "closed/w.safetensors: Permission",
        ),
        (OSError(errno.EROFS, "Read-only file system", "runs"), "runs: Read-only file system"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 5000), "aaa...: File name too long"),
        (OSError(errno.ENOENT, "No such file", "x", None, "y"), "x and y: No such file"),
        (OSError(errno.ENOSPC, "No space left on device"), "cannot write: No space left on device"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "the output was closed before all of it was written"),
        (UnicodeEncodeError("utf-8", "n\udcff", 1, 2, "surrogates not allowed"), r"no UTF-8 cannot be used.*n\\xff"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "not enough memory"),
        (fb.InputError(f"{HOSTILE} is not allowed"), r"a\\x1b\]0;PWNED\\x07\\x1b\[31m\\u202e\\n is not allowed"),
    ],
)
def test_what_the_caller_or_the_machine_lacks_is_one_sentence(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
) -> None:
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # this process still needs its output
    failing(monkeypatch, error)
    code, out, err = cli("list")
    assert code == 2
    assert re.fullmatch(f"featherbone: .*{said}.*\n", err), err
    assert not out


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("one\ntwo"), ValueError(HOSTILE), AssertionError()])
def test_a_fault_of_ours_is_a_short_paragraph_and_a_file(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing(monkeypatch, error)
    code, _, err = cli("list")
    assert code == 1
    assert err.startswith(f"featherbone: this is a fault of featherbone, not yours: {type(error).__name__}: ")
    assert err.count("\n") == 1
    (written,) = tmp_path.iterdir()
    assert str(written) in err
    assert "Traceback (most recent call last)" in written.read_text()
    code, _, err = cli("list", "--debug")
    assert code == 1
    assert "Traceback (most recent call last)" in err


def test_one_sentence_names_all_extras_that_a_verb_lacks(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featherbone.cli.failure.find_spec", lambda name: None)
    monkeypatch.setattr(fb, "train", lambda *_, **__: fail())
    monkeypatch.setattr(fb, "open_network", lambda *_, **__: fail())

    def fail() -> None:
        raise MissingPackageError("reading images", "PIL", "train")

    assert "pip install 'featherbone[cli,train]'" in cli("train", "digits")[2]
    assert "pip install 'featherbone[cli,export]'" in cli("export", "vovnet39", "--out", "v.onnx")[2]


@pytest.mark.filterwarnings("default")
def test_nothing_that_others_wrote_reaches_the_terminal_raw(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [("train", HOSTILE), ("train", "--epochs", HOSTILE), (HOSTILE,), ("list", HOSTILE), ("cost", HOSTILE)]
    for call in (*calls, ("train", "--set", f"{HOSTILE}=1"), ("data", "check", HOSTILE)):
        code, out, err = cli(*call)
        assert code == 2
        assert err
        assert not [c for c in out + err if not c.isprintable() and c != "\n"], call

    def warned(*_: object) -> tuple[str, ...]:
        warnings.warn(HOSTILE, stacklevel=1)
        return ("vovnet39",)

    monkeypatch.setattr(fb, "list_models", warned)
    code, out, err = cli("list")
    assert code == 0
    assert "warning: a\\x1b]0;PWNED" in err
    assert err.count("\n") == 1


@settings(max_examples=40)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.just("\udcff'\\$x"), max_size=5))
def test_commands_to_copy_are_what_a_shell_reads(words: list[str]) -> None:
    line = command_line("printf '%s\\0'", ["", *words])
    assert line == printable(line)
    read = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout  # noqa: S607
    assert read.split(b"\0")[1:-1] == [os.fsencode(word) for word in words]
    if all(word == printable(word) for word in words):
        assert shlex.split(line)[3:] == words


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_of_few_letters_shows_the_others_escaped(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding, write_through=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        assert cli("show", "ü\u4e2d\udcff")[0] == 2
    assert b"\\u4e2d" in written.getvalue()


def test_version(cli: Cli) -> None:
    assert cli("--version") == (0, f"featherbone {fb.__version__}\n", "")


@pytest.fixture
def heard() -> Iterator[None]:
    """Under nohup, SIGHUP is not heard, and programs that are started do not hear it either."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_while_packages_are_imported_is_one_line(number: signal.Signals, tmp_path: Path) -> None:
    """Here the import of torch takes for ever."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("import time; print('torch', flush=True); time.sleep(60)")
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    call = [sys.executable, "-m", "featherbone", "list"]
    with subprocess.Popen(
        call, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        assert running.stdout.readline() == "torch\n"
        running.send_signal(number)
        _, err = running.communicate(timeout=100)
    assert (running.returncode, err) == (128 + number, "featherbone: stopped\n")


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_is_a_stop_whatever_a_library_makes_of_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def swallowed(*_: object) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(1)
        except KeyboardInterrupt:
            raise AttributeError("half imported") from None

    before = signal.getsignal(number)
    monkeypatch.setattr(fb, "list_models", swallowed)
    assert cli("list") == (128 + number, "", "featherbone: stopped\n")
    assert signal.getsignal(number) is before
