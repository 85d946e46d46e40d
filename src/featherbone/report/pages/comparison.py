"""The page of a comparison: one file that works offline."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from featherbone.errors import needs
from featherbone.files import to_json

_HERE = Path(__file__).parent


def comparison_html(comparison: Mapping[str, Any], *, caption: str = "") -> str:
    """Return the page of ``Comparison.to_dict()``: plots, table, provenance.

    Args:
        comparison: plain values.
        caption: a line below the title, for example the command that made the page.

    Raises:
        InputError: if the plotting library is not installed.
    """
    with needs("report", "the page of a comparison"):
        from plotly.offline import get_plotlyjs
    # without "<" nothing in it can end the script it stands in, or nest one; all but ASCII is escaped
    data = to_json(comparison, indent=None).replace("<", "\\u003c")
    page = Template((_HERE / "comparison.html").read_text(encoding="utf-8"))
    return page.substitute(
        plotly=get_plotlyjs(),
        script=(_HERE / "comparison.js").read_text(encoding="utf-8"),
        style=(_HERE / "base.css").read_text(encoding="utf-8"),
        data=data,
        caption=html.escape(caption),
    )
