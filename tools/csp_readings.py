"""Print what CSPPeleeNet would cost by each reading of CSPNet's paper, beside the nine figures that it prints.

CSPNet (arXiv 1911.11929), Table 1: PeleeNet at 224 pixels with three fusions and three shares, in billion operations
(2 x macs), and Table 3: the parameters of "both" at a share of a half. Its configuration was never released. The counts
here are worked out from PeleeNet's table alone, without the networks of featherbone, so that readings can be tried that
are not built. docs/decisions/0005-one-thing-for-all-families.md says which was taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import sqrt

SHARES = (0.75, 0.5, 0.25)
PRINTED = {"first": (0.649, 0.755, 0.861), "last": (0.716, 0.804, 0.902), "both": (0.800, 0.888, 0.986)}
PARAMETERS = 2.83  # millions
# PeleeNet's stages: positions, channels in, layers, width of the 1x1 convolutions
STAGES = ((56 * 56, 32, 3, 16), (28 * 28, 128, 4, 32), (14 * 14, 256, 8, 64), (7 * 7, 512, 6, 64))
GROWTH = 32


@dataclass(frozen=True)
class Reading:
    """What the paper leaves open.

    Attributes:
        behind_pool: whether the transition after stands behind the pool.
        plain_widths: whether the 1x1 convolutions are as wide as in the plain network, or capped by the share they
            read.
        closes: whether the last stage, which no pool follows, has a transition after.
        bypass: what stands on the way round: "nothing", or a 1x1 convolution, of the later stages in "all" fusions or
            in "last" alone.
        shares: what makes the two shares: "split", or a 1x1 convolution in "all" fusions, or in "first" alone.
    """

    behind_pool: bool = True
    plain_widths: bool = True
    closes: bool = True
    bypass: str = "nothing"
    shares: str = "split"


def cost(reading: Reading, fusion: str, share: float) -> tuple[float, int]:
    """Return billions of operations, and parameters."""
    macs = 112 * 112 * (27 * 32 + 32 * 16) + 56 * 56 * (16 * 9 * 32 + 64 * 32) + 704 * 1000
    params = 27 * 32 + 64 + 32 * 16 + 32 + 16 * 9 * 32 + 64 + 64 * 32 + 64 + 705 * 1000
    for number, (positions, c_in, layers, wanted) in enumerate(STAGES):
        around = round(share * c_in)
        c_out = c_in + layers * GROWTH
        for layer in range(layers):
            reads = c_in - around + layer * GROWTH
            cap = c_in + layer * GROWTH if reading.plain_widths else reads
            width = wanted if wanted <= cap / 2 else max(cap // 8, 1) * 4
            weights = 2 * reads * width + 2 * width * 16 * 9 + 16 * 16 * 9
            macs += positions * weights
            params += weights + 2 * (2 * width + 3 * 16)
        last = number == len(STAGES) - 1
        for width_of, at in _convolutions(reading, fusion, number):
            if at == "after" and last and not reading.closes:
                continue
            c = {"in": c_in, "around": around, "body": c_out - around, "out": c_out}[width_of]
            macs += c * c * positions // (4 if at == "after" and reading.behind_pool and not last else 1)
            params += c * c + 2 * c
    return 2 * macs / 1e9, params


def _convolutions(reading: Reading, fusion: str, stage: int) -> Iterator[tuple[str, str]]:
    """Yield a stage's 1x1 convolutions, each as wide as what it reads: what that is, and where it stands."""
    if fusion != "first":
        yield "body", "before"
    if fusion != "last":
        yield "out", "after"
    if stage and reading.bypass in ("all", fusion):
        yield "around", "before"
    if reading.shares in ("all", fusion):
        yield "in", "before"


def main() -> None:
    """Print one line a reading, the nearest first."""
    lines = []
    for behind, plain, closes, bypass, shares in product(
        (True, False), (True, False), (True, False), ("nothing", "last", "all"), ("split", "first", "all")
    ):
        reading = Reading(behind, plain, closes, bypass, shares)
        found = {fusion: [cost(reading, fusion, share)[0] for share in SHARES] for fusion in PRINTED}
        off = [found[fusion][i] / printed - 1 for fusion, all_ in PRINTED.items() for i, printed in enumerate(all_)]
        lines.append((sqrt(sum(x * x for x in off) / 9), max(map(abs, off)), reading, found))
    lines.sort(key=lambda line: line[0])
    print("| after | widths | last stage | way round | shares | first | last | both | off: mean, most | M params |")
    print("|---|---|---|---|---|---|---|---|---:|---:|")
    for mean, most, reading, found in lines:
        cells = (
            "behind the pool" if reading.behind_pool else "before it",
            "plain" if reading.plain_widths else "capped",
            "closed" if reading.closes else "open",
            reading.bypass,
            reading.shares,
            *(" ".join(f"{x:.3f}" for x in found[fusion]) for fusion in PRINTED),
            f"{mean:.1%}, {most:.1%}",
            f"{cost(reading, 'both', 0.5)[1] / 1e6:.3f}",
        )
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
