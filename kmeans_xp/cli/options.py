"""What the commands that read a table have in common."""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kmeans_xp.cli import tables

__all__ = [
    "ColumnsOption",
    "DeviceOption",
    "InputFile",
    "LabelledFile",
    "MaxIterOption",
    "Metric",
    "MetricOption",
    "NClustersOption",
    "NInitOption",
    "ScaleOption",
    "SeedOption",
    "check_distinct",
    "check_files",
]


class Metric(StrEnum):
    """Distances between rows."""

    euclidean = "euclidean"
    cosine = "cosine"


InputFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE")]
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
    int, typer.Option(min=1, help="Starts to try; the one of least inertia is kept.")
]
MaxIterOption = Annotated[int, typer.Option(min=1, help="Most iterations of one start.")]
MetricOption = Annotated[
    Metric,
    typer.Option(
        help="Distances: euclidean, or cosine (1 - cos), which compares directions: rows then "
        "count as unit vectors, and none may be zero."
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N",
        envvar="KMEANS_XP_DEVICE",
        help="Where to compute; auto takes CUDA where it is usable and pays.",
    ),
]


def check_files(file: Path, out: Path | None, *others: Path | None) -> None:
    """Raise if FILE or --out is of an unknown format, or two files are the same."""
    _check_format(tables.format_of(file), tables.READABLE, "FILE")
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
