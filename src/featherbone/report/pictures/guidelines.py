"""The guideline experiments as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from featherbone.errors import check_type, needs
from featherbone.files import PICTURES, check_output
from featherbone.report.pictures.figure import save_figure

Table = tuple[str, Sequence[str], Sequence[str], Sequence[Sequence[float]], Sequence[Sequence[float]]]


def draw_guidelines(tables: Sequence[Table], path: Path, *, overwrite: bool = False) -> None:
    """Draw for every table how fast each line is beside the first, here and in the paper.

    Args:
        tables: title, lines, columns, our speeds and the paper's, by line and column.
        path: the picture to write.
        overwrite: replace a file that featherbone did not make.

    Raises:
        InputError: if the plotting library is missing or the file cannot be written.
    """
    check_output("path", path, PICTURES, overwrite=overwrite)
    for table in tables:
        check_type("tables", table, tuple, "titles, lines, columns, our speeds and the paper's of every table")
    with needs("train", "drawing"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(11, 2.9 * len(tables)), layout="constrained")
    grid = figure.subplots(len(tables), 1, squeeze=False)
    for (title, lines, columns, ours, theirs), axes in zip(tables, grid[:, 0], strict=True):
        width = 0.8 / (2 * len(columns))
        for c, column in enumerate(columns):
            for k, (whose, speeds) in enumerate((("here", ours), ("paper", theirs))):
                places = [i + (2 * c + k - len(columns) + 0.5) * width for i in range(len(lines))]
                heights = [line[c] / speeds[0][c] for line in speeds]
                axes.bar(places, heights, width * 0.92, color=f"C{c}", alpha=1.0 if k == 0 else 0.4,
                         label=f"{column}, {whose}")  # fmt: skip
        axes.axhline(1, color="0.5", linewidth=0.8)
        axes.set_xticks(range(len(lines)), lines)
        axes.set_ylabel("speed beside the first")
        axes.set_title(title, loc="left")
        axes.legend(ncols=len(columns), fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_figure(figure, path, dpi=110)
