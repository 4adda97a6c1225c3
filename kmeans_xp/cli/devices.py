"""``kmeans-xp devices``: show the libraries and devices that can be used."""

import time
from typing import Annotated

import typer
from rich import box
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from kmeans_xp import devices as computing_devices
from kmeans_xp.cli.console import messages, reported, results
from kmeans_xp.kernels import compile_ahead

__all__ = ["devices"]


def devices(
    compile_: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile all kernels for NumPy arrays now, which takes a minute.",
        ),
    ] = False,
) -> None:
    """Show the array libraries and devices that can be used here, and why others cannot."""
    with reported(tells_of_compiling=not compile_):
        if compile_:
            _compile()
        table = Table("library", "device", "usable", "detail", box=box.SIMPLE_HEAD, pad_edge=False)
        for report in computing_devices.available():
            usable = Text("yes", "green") if report.usable else Text("no", "red")
            table.add_row(report.library, report.device, usable, report.detail)
        results().print(table)


def _compile() -> None:
    started = time.perf_counter()
    with Progress(console=messages(), transient=True) as progress:
        task = progress.add_task("Compiling")
        number = compile_ahead(lambda n, total: progress.update(task, completed=n, total=total))
    seconds = time.perf_counter() - started
    messages().print(f"{number} functions are compiled ({seconds:.0f} s).")
