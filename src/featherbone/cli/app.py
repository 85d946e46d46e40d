"""The program and its verbs."""

from __future__ import annotations

from typing import Annotated

import typer

import featherbone as fb
from featherbone.cli import (
    analyze,
    compare,
    cost,
    data,
    evaluate,
    export,
    import_weights,
    models,
    optimize,
    predict,
    train,
)
from featherbone.cli.output import say

app = typer.Typer(
    name="featherbone",
    help="CNN backbones built on feature reuse: build, measure, train and ship them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"featherbone {fb.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """CNN backbones built on feature reuse: build, measure, train and ship them."""


for verb in (
    models.list_,
    models.show,
    cost.cost,
    compare.compare,
    analyze.analyze,
    train.train,
    evaluate.evaluate,
    predict.predict,
    optimize.optimize,
    export.export,
    import_weights.import_,
):
    app.command(name=verb.__name__.rstrip("_"))(verb)
app.add_typer(data.app, name="data")
