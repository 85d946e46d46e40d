"""Write docs/networks.md: every network beside what is published of it. ``--check`` only compares."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import torch

import featherbone as fb

DOCS = Path(__file__).parents[1] / "docs"
HEADER = """# Every network, beside what is published of it

Written by `just networks` from `docs/published.csv`, which holds the published figures and where they stand; a test
fails when this page is stale. Parameters include the norms' weights; macs are multiply-accumulates of one image
(darknet's BFLOPs are twice as many). "=" means equal to the last digit that was printed; otherwise the share says how
far ours is from it. CSPPeleeNet and CSPDenseNet are reconstructions, as their configurations were never released: see
the files of both families.

| network | form | params | published | source | size | M macs | published | source |
|---|---|---:|---:|---|---:|---:|---:|---|
"""


def main() -> int:
    """Write or compare the page."""
    with (DOCS / "published.csv").open(encoding="utf-8") as file:
        published = {row["name"]: row for row in csv.DictReader(file)}
    text = HEADER + "".join(_line(name, published.get(name, {})) for name in fb.list_models())
    target = DOCS / "networks.md"
    if "--check" in sys.argv:
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            print(f"{target.name} is stale: just networks")
            return 1
        return 0
    target.write_text(text, encoding="utf-8")
    return 0


def _line(name: str, row: dict[str, str]) -> str:
    size = int(row.get("size") or fb.spec(name).usual_size)
    with torch.device("meta"):
        cost = fb.cost(fb.create_model(name), size)
    params = row.get("params", "")
    millions = cost.macs / 1e6
    cells = (
        f"`{name}`",
        fb.form(name),
        f"{cost.params:,}",
        f"{int(params):,} {'=' if int(params) == cost.params else 'DIFFERS'}" if params else "",
        row.get("params_source", ""),
        size,
        f"{millions:,.1f}",
        _compared(millions, row.get("macs_millions", "")),
        row.get("macs_source", ""),
    )
    return "| " + " | ".join(map(str, cells)) + " |\n"


def _compared(ours: float, printed: str) -> str:
    if not printed:
        return ""
    digits = len(printed.partition(".")[2])
    same = round(ours, digits) == float(printed)
    return f"{float(printed):,.{digits}f} {'=' if same else f'({ours / float(printed) - 1:+.1%})'}"


if __name__ == "__main__":
    sys.exit(main())
