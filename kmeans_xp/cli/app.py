"""The commands, put together."""

from typing import Annotated

import typer

from kmeans_xp import __version__
from kmeans_xp.cli.choose_k import choose_k
from kmeans_xp.cli.cluster import cluster
from kmeans_xp.cli.compress_image import compress_image
from kmeans_xp.cli.devices import devices
from kmeans_xp.cli.predict import predict
from kmeans_xp.cli.report import report

__all__ = ["app"]

app = typer.Typer(
    name="kmeans-xp",
    help="K-Means for tables of numbers, on a CPU or a CUDA device.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(cluster)
app.command("choose-k")(choose_k)
app.command()(predict)
app.command()(report)
app.command()(compress_image)
app.command()(devices)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kmeans_xp {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass
