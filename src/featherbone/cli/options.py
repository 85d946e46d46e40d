"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
NumClasses = Annotated[int | None, typer.Option(help="Outputs of a named network; default 1000.")]
InChans = Annotated[int | None, typer.Option(help="Channels of a named network's input; default 3.")]
Size = Annotated[int | None, typer.Option(help="Side of the input, in pixels; default: as trained or published.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or a weight file.")]
NetworkArgument = Annotated[
    str,
    typer.Argument(metavar="RUN|NAME", help="A run's folder, a weight file, or a network's name (random weights)."),
]
Device = Annotated[
    str | None, typer.Option(help="Where it computes: cpu, or an accelerator that is there, such as cuda:1.")
]
Calibration = Annotated[Path | None, typer.Option(help="For int8: a folder of images as the network gets them in use.")]
MaxDrop = Annotated[
    float, typer.Option(help="For int8: the share of the calibration images that may get another first class.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files of these names that featherbone did not make.")
]
