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
far ours is from it. CSPPeleeNet and CSPDenseNet are reconstructions, as their configurations were never released:
[decision 5](decisions/0005-one-thing-for-all-families.md) says which readings were tried.

| network | form | params | published | source | size | M macs | published | source |
|---|---|---:|---:|---|---:|---:|---:|---|
"""

CSP_HEADER = """
## What CSPNet's wiring saves

Each network that has it, beside its plain partner at the same size: parameters, macs, CIO (the elements that
convolutions and pools read and write) and traffic (the bytes that all operations do). "Paper" is what CSPNet (arXiv
1911.11929) prints of the operations. CSPDarknet-53 is as released: it saves operations and costs more traffic, because
its two shares are made by two convolutions that both read the whole map. `featherbone compare NAME PLAIN` shows them
side by side.

| network | plain | size | params | macs | paper | CIO | traffic |
|---|---|---:|---:|---:|---:|---:|---:|
"""
# operations of the network and of its plain partner, in billions, as CSPNet's Tables 1 and 3 and its repository print
CSP_PRINTED = {
    "csppeleenet": (0.888, 1.017),
    "csppeleenet_first": (0.755, 1.017),
    "csppeleenet_last": (0.804, 1.017),
    "cspresnet50": (8.97, 9.74),
    "cspresnext50": (7.93, 10.11),
    "cspdarknet53": (13.07, 18.57),
}


def main() -> int:
    """Write or compare the page."""
    with (DOCS / "published.csv").open(encoding="utf-8") as file:
        published = {row["name"]: row for row in csv.DictReader(file)}
    text = HEADER + "".join(_line(name, published.get(name, {})) for name in fb.list_models())
    text += CSP_HEADER + "".join(_csp_line(name, plain) for name, plain in csp_pairs())
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


def csp_pairs() -> list[tuple[str, str]]:
    """Return the networks with CSPNet's wiring that have a plain partner, and that partner."""
    names = fb.list_models()
    pairs = []
    for name in names:
        plain = name.removeprefix("csp").removesuffix("_first").removesuffix("_last")
        if name != plain:
            pairs += [(name, other) for other in (f"{plain}.darknet", plain) if other in names][:1]
    return pairs


def _csp_line(name: str, plain: str) -> str:
    size = fb.spec(name).usual_size
    with torch.device("meta"):
        ours, theirs = (fb.cost(fb.create_model(one), size) for one in (name, plain))
    printed = CSP_PRINTED.get(name)
    cells = (
        f"`{name}`",
        f"`{plain}`",
        size,
        f"{ours.params / theirs.params - 1:+.1%}",
        f"{ours.macs / theirs.macs - 1:+.1%}",
        f"{printed[0] / printed[1] - 1:+.1%}" if printed else "",
        f"{ours.cio / theirs.cio - 1:+.1%}",
        f"{ours.traffic_bytes / theirs.traffic_bytes - 1:+.1%}",
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
