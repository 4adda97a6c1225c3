"""What the commands that read a table have in common."""

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

#: numbers of a step (rows x columns x clusters) of which several fits take a second or so
SMALL = 10_000_000
MANY_STARTS = 10


class Metric(StrEnum):
    """Distances between rows."""

    euclidean = "euclidean"
    cosine = "cosine"


InputFile = Annotated[
    Path,
    typer.Argument(
        # Typer's own check takes the dash for a file; `check_files` asks whether FILE exists.
        dir_okay=False,
        metavar="FILE",
        help="The table; - reads it from the standard input, where all but TSV is known by how it "
        "begins.",
    ),
]
LabelledFile = Annotated[
    Path | None,
    typer.Option(
        help="Write the rows here, in their order, with a column `cluster` after the columns "
        "of FILE (.csv, .tsv, .parquet, .arrow, .feather), or the labels alone (.npy)."
    ),
]
NClustersOption = Annotated[
    int, typer.Option("-k", "--n-clusters", min=1, help="Number of clusters.")
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="A,B,...", help="Columns to cluster; else all that hold numbers."
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
        "Taken are those of at most 20 values, unless --columns names others. The model keeps the "
        "values for `kmeans-xp predict`.",
    ),
]
DelimiterOption = Annotated[
    str | None,
    typer.Option(
        metavar="CHARACTER",
        help="What is between the cells of a text file, or tab or space; else the one character of "
        ", ; | and tab that cuts all rows alike.",
    ),
]
DecimalOption = Annotated[
    str | None,
    typer.Option(
        metavar=".|,", help="What is before decimals in a text file; else as its numbers show."
    ),
]
ThousandsOption = Annotated[
    str | None,
    typer.Option(
        metavar="CHARACTER",
        help="What is between thousands in a text file, such as , or a space; else as its numbers "
        "show.",
    ),
]
EncodingOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Encoding of a text file, such as cp1252 or latin-1; else UTF-8, or UTF-16 if it "
        "looks so.",
    ),
]
MissingOption = Annotated[
    Missing,
    typer.Option(
        help="Rows that lack a number: fail, drop them (their label stays empty), or fill in the "
        "mean or median of the column, which the model keeps for `kmeans-xp predict`."
    ),
]
LabelColumnOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of the column of labels; else cluster, or cluster_1 if FILE has that.",
    ),
]
ScaleOption = Annotated[
    bool,
    typer.Option(
        "--scale",
        help="First bring each column to mean 0 and standard deviation 1. "
        "The model keeps this for `kmeans-xp predict`.",
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Runs of the same seed agree.")]
NInitOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of random starts; the best is kept. By default 10 where a fit takes less than "
        "a second (rows x columns x clusters up to 10 million), else 1.",
    ),
]
MaxIterOption = Annotated[int, typer.Option(min=1, help="Most iterations of one start.")]
MetricOption = Annotated[
    Metric,
    typer.Option(
        help="Distances: euclidean, or cosine (1 - cos), which compares directions: rows then "
        "count as unit vectors, and none may be zero."
    ),
]
SizeMinOption = Annotated[
    int | None, typer.Option("--size-min", min=1, help="Fewest rows of a cluster.")
]
SizeMaxOption = Annotated[
    int | None, typer.Option("--size-max", min=1, help="Most rows of a cluster.")
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
        help="Where to compute; auto takes CUDA where it is usable and pays.",
    ),
]


def n_starts(asked_for: int | None, shape: tuple[int, int], n_clusters: int) -> int:
    """Return the number of random starts, by the size of the rows where none was asked for."""
    if asked_for is not None:
        return asked_for
    return MANY_STARTS if shape[0] * shape[1] * n_clusters <= SMALL else 1


def text_format(
    delimiter: str | None, decimal: str | None, thousands: str | None, encoding: str | None
) -> TextFormat:
    """Return how a text file is written, or raise for what cannot be."""
    if delimiter is not None:
        try:
            delimiter = delimiter_named(delimiter)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--delimiter") from error
    if decimal not in (None, ".", ","):
        raise typer.BadParameter(f"must be . or , not {decimal!r}", param_hint="--decimal")
    if thousands is not None and (len(thousands) > 1 or thousands.isalnum()):
        raise typer.BadParameter(
            f"must be one character that is in no number, not {thousands!r}",
            param_hint="--thousands",
        )
    if thousands and thousands == (decimal or "."):
        raise typer.BadParameter(
            f"{thousands!r} is before decimals; say --decimal too", param_hint="--thousands"
        )
    if encoding is not None:
        try:
            "".encode(encoding)
        except LookupError as error:
            raise typer.BadParameter(str(error), param_hint="--encoding") from error
    return TextFormat(delimiter, decimal, thousands, encoding)


def check_files(file: Path, out: Path | None, *others: Path | None) -> None:
    """Raise if FILE or --out is of an unknown format, or two files are the same."""
    if file != STANDARD_INPUT:
        if not file.exists():
            raise typer.BadParameter(f"file {str(file)!r} does not exist", param_hint="FILE")
        _check_format(format_of(file), tables.READABLE, "FILE")
    if out is not None:
        _check_format(out.suffix.lower(), tables.WRITABLE, "--out")
    check_distinct(file, out, *others)


def check_distinct(*files: Path | None) -> None:
    """Raise if two of the files, where there are files, are the same."""
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
