"""Print what our necks cost beside what CSPNet prints of its own (arXiv 1911.11929, Tables 2 and 4).

An anchored head for COCO stands behind every neck. The paper has whole detectors only: its neck and head are taken for
the total less the 3.058 billion operations of its backbone at 416, 0.888 at 224. docs/decisions/0010-necks.md says what
follows from it.
"""

from __future__ import annotations

import torch

import featherbone as fb

ANCHORS = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))
PUBLISHED = {
    "prn": 3.590,
    "prn_3l": 4.586,
    "cem": 4.049,
    "gfm": 4.605,
    "efm": 4.868,
    "efm_sam": 5.068,
    "efm_spp": 4.863,
}  # billion operations at 416
BACKBONE = 3.058
WHOLE = {416: (4.31, 5.07), 512: (4.31, 7.68)}  # EFM (SAM) by input: million parameters, billion operations


def cost(neck: str, backbone: str, size: int) -> tuple[fb.Cost, fb.Cost]:
    """Return what a detector costs, and its backbone alone."""
    row = fb.DetectorSpec(
        backbone=fb.spec(backbone),
        neck=fb.neck_spec(neck),
        head="anchors",
        num_classes=80,
        anchors=ANCHORS[-len(fb.neck_spec(neck).widths) :],
    )
    with torch.device("meta"):
        detector = row.build()
    return fb.cost(detector, size), fb.cost(detector.backbone, size)


def main() -> None:
    """Print both tables."""
    print("Neck and head at 416, billion operations, ours also million parameters\n")
    print("| neck | paper | ours | parameters |\n|---|---:|---:|---:|")
    for neck in fb.NECKS:
        whole, backbone = cost(neck, "csppeleenet", 416)
        paper = f"{PUBLISHED[neck] - BACKBONE:.3f}" if neck in PUBLISHED else "-"
        operations, params = (whole.flops - backbone.flops) / 1e9, (whole.params - backbone.params) / 1e6
        print(f"| {neck} | {paper} | {operations:.3f} | {params:.3f} |")
    print("\nCSPPeleeNet with EFM (SAM)\n")
    print("| backbone | input | paper: M params, billion operations | ours |\n|---|---:|---:|---:|")
    for name in ("csppeleenet", "csppeleenet_first"):
        for size, (params, operations) in WHOLE.items():
            whole, _ = cost("efm_sam", name, size)
            ours = f"{whole.params / 1e6:.3f}, {whole.flops / 1e9:.3f}"
            print(f"| {name} | {size} | {params:.2f}, {operations:.2f} | {ours} |")


if __name__ == "__main__":
    main()
