"""The page of several seeds: the range of what they reached, and the way to the page of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from featherbone.files import to_json

_HERE = Path(__file__).parent


def seeds_html(values: Mapping[str, Any]) -> str:
    """Return the page of a recipe with several seeds: one file that works offline.

    Args:
        values: plain values, as ``runs.page_seeds`` gathers them. Names may be hostile.
    """
    page = Template((_HERE / "seeds.html").read_text(encoding="utf-8"))
    style, script = (
        "".join((_HERE / name).read_text(encoding="utf-8") for name in names)
        for names in (("base.css", "run.css"), ("charts.js", "seeds.js"))
    )
    # without "<" nothing in it can end the script it stands in, or nest one
    return page.substitute(style=style, script=script, data=to_json(values, indent=None).replace("<", "\\u003c"))
