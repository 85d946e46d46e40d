"""NOTICE names the licence of everything that the extras bring."""

import os
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.paths import ROOT

from featherbone.errors import InputError, needs

TOOL = ROOT / "tools" / "notice.py"


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="NOTICE is of Linux on x86-64")
def test_the_notice_is_up_to_date_with_what_is_installed() -> None:
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_package_whose_licence_is_not_known_is_an_error(tmp_path: Path) -> None:
    """It stands in for one of the packages that are installed, and says nothing of its licence."""
    info = tmp_path / "pyyaml-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pyyaml\nVersion: 9\n")
    done = subprocess.run(
        [sys.executable, TOOL, "--check"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "licence not known: pyyaml" in done.stderr


def test_what_carries_the_gpl_is_asked_for_by_name_alone() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "video" not in extras["all"][0].partition("[")[2].rstrip("]").split(",")
    carriers = [
        line for line in (ROOT / "NOTICE").read_text().splitlines() if "; carries" in line and "(GPL-2.0" in line
    ]
    assert [line.split()[0] for line in carriers] == ["av"]
    assert carriers[0].endswith("[video]")


def test_who_is_told_to_install_it_is_told_of_the_licence() -> None:
    def absent() -> None:
        raise ModuleNotFoundError("No module named 'av'", name="av")

    with (
        pytest.raises(InputError, match=r"'featherbone\[video\]' \(PyAV, .*GPL-2.0-or-later"),
        needs("video", "reading"),
    ):
        absent()
