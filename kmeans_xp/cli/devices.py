"""``kmeans-xp devices``: what can compute here."""

from rich import box
from rich.table import Table
from rich.text import Text

from kmeans_xp import devices as computing_devices
from kmeans_xp.cli.console import reported, results

__all__ = ["devices"]


def devices() -> None:
    """Show the array libraries and devices that are usable here, and why the rest is not."""
    with reported():
        table = Table("library", "device", "usable", "detail", box=box.SIMPLE_HEAD, pad_edge=False)
        for report in computing_devices.available():
            usable = Text("yes", "green") if report.usable else Text("no", "red")
            table.add_row(report.library, report.device, usable, report.detail)
        results().print(table)
