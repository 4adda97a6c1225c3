"""The command line application with all commands."""

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
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _example(line: str) -> str:
    return f"Example: `{line}`"


app.command(
    epilog=_example("kmeans-xp cluster shops.csv -k 4 --scale --out labelled.csv --plot shops.png")
)(cluster)
app.command("choose-k", epilog=_example("kmeans-xp choose-k shops.csv --to 12 --scale"))(choose_k)
app.command(epilog=_example("kmeans-xp predict shops.safetensors new.csv --out labelled.csv"))(
    predict
)
app.command(epilog=_example("kmeans-xp report shops.csv -k 4 --scale --out report.html"))(report)
app.command(epilog=_example("kmeans-xp compress-image photo.png -k 16 --out small.png"))(
    compress_image
)
app.command(epilog=_example("kmeans-xp devices --compile"))(devices)


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
