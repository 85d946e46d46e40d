"""Write a figure of Matplotlib's to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherbone.files import MARK, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: str | os.PathLike[str], **how: Any) -> None:
    """Write a .png, .svg or .pdf that says who made it, whole or not at all.

    Args:
        figure: what is drawn.
        path: the file.
        **how: Matplotlib's further options.

    Raises:
        InputError: if the file cannot be written.
    """
    maker = "Software" if Path(path).suffix.lower() == ".png" else "Creator"
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={maker: MARK}, **how)
