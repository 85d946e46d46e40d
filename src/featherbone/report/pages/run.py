"""The page of a run: one small file that works offline.

Its plots are drawn by a few hundred lines of our own script, not by a plotting library: every run leaves a page behind,
and a library inside would make each of them 5 MB. The page may not load anything: its own policy forbids it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from featherbone.files import to_json

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class PageSection:
    """What the page of a run shows of one task: files beside this one, or elsewhere by their whole path.

    Attributes:
        html: its parts of the page; by default it has what all runs have: scores, curves and recipe.
        script: what draws them, and begins.
        style: what only it needs.
    """

    html: tuple[str, ...] = ()
    script: tuple[str, ...] = ("run_plain.js",)
    style: tuple[str, ...] = ()


CLASSIFICATION_SECTION = PageSection(
    ("run_confusion.html", "run_classification.html"), ("matrix.js", "run_classification.js")
)
DETECTION_SECTION = PageSection(
    ("run_confusion.html", "run_detection.html"), ("matrix.js", "run_detection.js"), ("run_detection.css",)
)


def run_html(values: Mapping[str, Any], section: PageSection = CLASSIFICATION_SECTION) -> str:
    """Return the page of a run.

    Args:
        values: plain values, as ``runs.page`` gathers them. Names of classes and files may be hostile.
        section: the part of the task that was learned.
    """
    page = Template(_files("run.html"))
    return page.substitute(
        parts=_files(*section.html),
        style=_files("base.css", "run.css", *section.style),
        script=_files("charts.js", "run.js", *section.script),
        data=_script_json(values),
    )


def _files(*names: str) -> str:
    return "".join((_HERE / name).read_text(encoding="utf-8") for name in names)


def _script_json(values: Any) -> str:
    """Return JSON that may stand in a script element: without ``<`` nothing in it can end or nest one."""
    return to_json(values, indent=None).replace("<", "\\u003c")
