"""The options that several commands share."""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kmeans_xp.cli import tables
from kmeans_xp.cli.asked import Missing
from kmeans_xp.cli.paths import format_of
from kmeans_xp.cli.standard_input import STANDARD_INPUT
from kmeans_xp.cli.text_format import TextFormat, delimiter_named

__all__ = [
    "ColumnsOption",
    "DecimalOption",
    "DelimiterOption",
    "DeviceOption",
    "EncodeOption",
    "EncodingOption",
    "ExcludeOption",
    "InputFile",
    "LabelColumnOption",
    "LabelledFile",
    "MaxIterOption",
    "Metric",
    "MetricOption",
    "MissingOption",
    "NClustersOption",
    "NInitOption",
    "ScaleOption",
    "SeedOption",
    "SizeMaxOption",
    "SizeMinOption",
    "ThousandsOption",
    "check_distinct",
    "check_files",
    "n_starts",
    "text_format",
]

#: maximum of rows x columns x clusters for which several fits take about a second
SMALL = 10_000_000
MANY_STARTS = 10


class Metric(StrEnum):
    """Distances between rows."""

    euclidean = "euclidean"
    cosine = "cosine"


InputFile = Annotated[
    Path,
    typer.Argument(
        # Typer's own check would treat "-" as a file; `check_files` checks that FILE exists.
        dir_okay=False,
        metavar="FILE",
        help="The table; - reads the standard input, and recognises every format except TSV from "
        "its first bytes.",
    ),
]
LabelledFile = Annotated[
    Path | None,
    typer.Option(
        help="Write the rows to this file, in their order, with a further column `cluster` "
        "(.csv, .tsv, .parquet, .arrow, .feather), or only the labels (.npy)."
    ),
]
NClustersOption = Annotated[
    int, typer.Option("-k", "--n-clusters", min=1, help="Number of clusters.")
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="A,B,...",
        help="Columns to cluster; by default all columns of numbers.",
    ),
]
ExcludeOption = Annotated[
    str | None,
    typer.Option("--exclude", metavar="A,B,...", help="Columns not to cluster, such as an id."),
]
EncodeOption = Annotated[
    bool,
    typer.Option(
        "--encode",
        help="Cluster columns of text, too: each value becomes a column of 0 and 1 (one-hot). "
        "Without --columns, this uses text columns of at most 20 values. The model keeps the "
        "values for `kmeans-xp predict`.",
    ),
]
DelimiterOption = Annotated[
    str | None,
    typer.Option(
        metavar="CHARACTER",
        help="Delimiter between the cells of a text file, or the word tab or space. By default the "
        "one of , ; | and tab that gives all rows the same number of cells.",
    ),
]
DecimalOption = Annotated[
    str | None,
    typer.Option(
        metavar=".|,",
        help="Decimal separator of a text file; by default detected from its numbers.",
    ),
]
ThousandsOption = Annotated[
    str | None,
    typer.Option(
        metavar="CHARACTER",
        help="Thousands separator of a text file, such as , or a space; by default detected from "
        "its numbers.",
    ),
]
EncodingOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Encoding of a text file, such as cp1252 or latin-1; by default UTF-8, or UTF-16 if "
        "detected.",
    ),
]
MissingOption = Annotated[
    Missing,
    typer.Option(
        help="What to do with missing values: fail, drop the rows (their label stays empty), or "
        "fill in the column's mean or median. The model keeps these for `kmeans-xp predict`."
    ),
]
LabelColumnOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of the column of labels; by default cluster, or cluster_1 if FILE has that.",
    ),
]
ScaleOption = Annotated[
    bool,
    typer.Option(
        "--scale",
        help="First scale each column to mean 0 and standard deviation 1. "
        "The model keeps the scales for `kmeans-xp predict`.",
    ),
]
SeedOption = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Runs with the same seed agree.")
]
NInitOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of random starts; the best is kept. By default 10 if a fit takes less than "
        "a second (rows x columns x clusters up to 10 million), otherwise 1.",
    ),
]
MaxIterOption = Annotated[
    int, typer.Option(min=1, help="Maximum number of iterations of each start.")
]
MetricOption = Annotated[
    Metric,
    typer.Option(
        help="Distance: euclidean, or cosine (1 - cos). Cosine scales rows to unit length; no row "
        "may be zero."
    ),
]
SizeMinOption = Annotated[
    int | None, typer.Option("--size-min", min=1, help="Minimum number of rows of a cluster.")
]
SizeMaxOption = Annotated[
    int | None, typer.Option("--size-max", min=1, help="Maximum number of rows of a cluster.")
]


def _checked_device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        advice = ": a GPU is cuda" if device.lower() in ("gpu", "nvidia") else ""
        raise typer.BadParameter(
            f"device {device!r} is not known; known are auto, cpu, cuda and cuda:N{advice}"
        )
    return device


DeviceOption = Annotated[
    str,
    typer.Option(
        callback=_checked_device,
        metavar="auto|cpu|cuda|cuda:N",
        envvar="KMEANS_XP_DEVICE",
        help="Where to compute; auto uses CUDA if it is usable and likely to be faster.",
    ),
]


def n_starts(asked_for: int | None, shape: tuple[int, int], n_clusters: int) -> int:
    """Return the number of random starts; the default depends on the size of the data."""
    if asked_for is not None:
        return asked_for
    return MANY_STARTS if shape[0] * shape[1] * n_clusters <= SMALL else 1


def text_format(
    delimiter: str | None, decimal: str | None, thousands: str | None, encoding: str | None
) -> TextFormat:
    """Return the format of a text file, or raise if it is invalid."""
    if delimiter is not None:
        try:
            delimiter = delimiter_named(delimiter)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--delimiter") from error
    if decimal not in (None, ".", ","):
        raise typer.BadParameter(f"must be . or , not {decimal!r}", param_hint="--decimal")
    if thousands is not None and (len(thousands) > 1 or thousands.isalnum()):
        raise typer.BadParameter(
            f"must be one character that numbers do not contain, not {thousands!r}",
            param_hint="--thousands",
        )
    if thousands and thousands == (decimal or "."):
        raise typer.BadParameter(
            f"{thousands!r} is the decimal separator; set --decimal too", param_hint="--thousands"
        )
    if encoding is not None:
        try:
            "".encode(encoding)
        except LookupError as error:
            raise typer.BadParameter(str(error), param_hint="--encoding") from error
    return TextFormat(delimiter, decimal, thousands, encoding)


def check_files(file: Path, out: Path | None, *others: Path | None) -> None:
    """Raise if the format of FILE or --out is unknown, or two files are the same."""
    if file != STANDARD_INPUT:
        if not file.exists():
            raise typer.BadParameter(f"file {str(file)!r} does not exist", param_hint="FILE")
        _check_format(format_of(file), tables.READABLE, "FILE")
    if out is not None:
        _check_format(out.suffix.lower(), tables.WRITABLE, "--out")
    check_distinct(file, out, *others)


def check_distinct(*files: Path | None) -> None:
    """Raise if two of the files that are not None are the same."""
    paths = [os.path.realpath(path) for path in files if path is not None]
    for i, path in enumerate(paths):
        if path in paths[:i]:
            raise typer.BadParameter(f"{path} would be overwritten: each file needs its own name")


def _check_format(suffix: str, known: Mapping[str, object], hint: str) -> None:
    if suffix not in known:
        raise typer.BadParameter(
            f"the extension {suffix!r} is not known; known are {', '.join(known)}",
            param_hint=hint,
        )
