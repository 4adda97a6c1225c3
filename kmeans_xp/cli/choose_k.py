"""``kmeans-xp choose-k``: find the number of clusters in a table."""

import shlex
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow as pa
import typer
from rich import box
from rich.table import Table

from kmeans_xp import plotting
from kmeans_xp.cli import inputs, streaming, tables
from kmeans_xp.cli.asked import Asked, Missing
from kmeans_xp.cli.console import note, reported, results
from kmeans_xp.cli.inputs import Inputs
from kmeans_xp.cli.options import (
    ColumnsOption,
    DecimalOption,
    DelimiterOption,
    DeviceOption,
    EncodeOption,
    EncodingOption,
    ExcludeOption,
    InputFile,
    Metric,
    MetricOption,
    MissingOption,
    NInitOption,
    SeedOption,
    ThousandsOption,
    check_files,
    n_starts,
    text_format,
)
from kmeans_xp.cli.outputs import print_written, staged
from kmeans_xp.cli.progress import progress
from kmeans_xp.cli.standard_input import readable
from kmeans_xp.plotting.numerals import formatted
from kmeans_xp.selection import Candidate, Selection, choose_n_clusters

__all__ = ["choose_k"]

MOST_MEASURED = 10_000


class Criterion(StrEnum):
    """The criterion that decides."""

    silhouette = "silhouette"
    gap = "gap"
    elbow = "elbow"


class _Outputs(NamedTuple):
    """The files to write; None for files that the user does not want."""

    table: Path | None
    picture: Path | None


def choose_k(
    file: InputFile,
    first: Annotated[int, typer.Option("--from", min=1, help="Minimum number of clusters.")] = 2,
    last: Annotated[int, typer.Option("--to", min=1, help="Maximum number of clusters.")] = 10,
    column_names: ColumnsOption = None,
    exclude: ExcludeOption = None,
    encode: EncodeOption = False,
    missing: MissingOption = Missing.fail,
    scale: Annotated[
        bool,
        typer.Option("--scale", help="First scale each column to mean 0 and standard deviation 1."),
    ] = False,
    seed: SeedOption = 0,
    n_init: NInitOption = None,
    criterion: Annotated[
        Criterion,
        typer.Option(
            help="The criterion: the maximum mean silhouette, the first gap statistic within one "
            "standard error of the next (1 cluster if there is no structure), or the elbow of the "
            "inertia."
        ),
    ] = Criterion.silhouette,
    references: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of random data sets without clusters for the gap statistic; 0 leaves the "
            "gap statistic out and saves most of the time.",
        ),
    ] = 10,
    metric: MetricOption = Metric.euclidean,
    delimiter: DelimiterOption = None,
    decimal: DecimalOption = None,
    thousands: ThousandsOption = None,
    encoding: EncodingOption = None,
    device: DeviceOption = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the table of results to this file (.csv, .tsv, .parquet, .arrow, .feather)."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the curves to this file (.png, .svg, .pdf).")
    ] = None,
) -> None:
    """Find a good number of clusters for the rows of FILE, by fits with several numbers.

    Prints inertia, silhouette and gap statistic for each number of clusters, recommends one
    number, and says why. For more than 10,000 rows, silhouette and gap statistic use a
    random sample of that size.
    """
    started = time.perf_counter()
    outputs = _Outputs(out, plot)
    _check_options(first, last, criterion, references, outputs)
    text = text_format(delimiter, decimal, thousands, encoding)
    check_files(file, *outputs)
    with reported(), staged(outputs) as temporary, readable(file) as path:
        if temporary.picture:
            plotting.check_format(temporary.picture)
        source = streaming if streaming.is_needed(path) else inputs
        asked = Asked(column_names, exclude, missing, scale, encode, text)
        data = source.read(path, asked).without_left_out()
        selection = _chosen(
            data,
            range(first, last + 1),
            criterion=criterion.value,
            n_init=n_starts(n_init, data.points.shape, last),
            n_references=references,
            random_state=seed,
            metric=metric.value,
            device=device,
        )
        with progress("Writing"):
            _write(temporary, path, selection)
    _print(path, data, selection)
    console = results()
    if selection.n_clusters > 1:  # with one cluster there is nothing to look at
        command = _next_command(file, asked, seed, selection)
        console.print(f"Next: {command}", soft_wrap=True)
    console.print(f"Time: {time.perf_counter() - started:.2f} s")
    print_written(*outputs)


def _check_options(
    first: int, last: int, criterion: Criterion, references: int, outputs: _Outputs
) -> None:
    if first > last:
        raise typer.BadParameter(f"{first} is more than --to {last}", param_hint="--from")
    if criterion is Criterion.gap and references == 0:
        raise typer.BadParameter("the gap statistic needs at least 1", param_hint="--references")
    if outputs.table is not None and outputs.table.suffix.lower() == ".npy":
        raise typer.BadParameter("an .npy file cannot hold a table", param_hint="--out")


def _chosen(
    data: Inputs, numbers: range, *, metric: str = "euclidean", **options: Any
) -> Selection:
    for text in data.notes:
        note(text)
    data.check_range(metric)
    n_rows, n_columns = data.points.shape
    if n_rows < numbers[-1]:
        # The maximum may be the default, which the user has not typed: name the option.
        raise ValueError(
            f"{n_rows:,} rows are too few for {numbers[-1]:,} clusters: "
            f"--to must be at most {n_rows:,}."
        )
    text = f"Clustering {n_rows:,} rows x {n_columns} columns"
    with progress(text) as status:

        def tell(n_done: int, n_parts: int) -> None:
            if status is not None:
                status.update(f"{text}: {n_done} of {n_parts} parts")

        return choose_n_clusters(
            data.points,
            numbers,
            sample_size=_sample_size(numbers[-1]),
            metric=metric,
            progress=tell,
            **options,
        )


def _sample_size(most_clusters: int) -> int:
    return max(MOST_MEASURED, most_clusters + 1)


def _write(outputs: _Outputs, file: Path, selection: Selection) -> None:
    if outputs.table:
        columns = zip(*_every(selection), strict=True)
        names = Candidate._fields
        floats = [pa.int64(), *[pa.float64()] * (len(names) - 1)]
        arrays = [pa.array(each, kind) for each, kind in zip(columns, floats, strict=True)]
        tables.write(pa.table(dict(zip(names, arrays, strict=True))), outputs.table)
    if outputs.picture:
        figure = selection.plot()[0].figure
        figure.suptitle(f"{file.name}: {_clusters(selection.n_clusters)}")
        figure.savefig(outputs.picture)


def _every(selection: Selection) -> list[Candidate]:
    """Return all results, including one cluster if the gap statistic considers it."""
    one = selection.one_cluster
    is_first = one is not None and selection.table[0].n_clusters > 1
    return [one, *selection.table] if one is not None and is_first else list(selection.table)


def _print(file: Path, data: Inputs, selection: Selection) -> None:
    console = results()
    console.print(f"\n{data.heading(file)}")
    console.print(_table(selection))
    is_cosine = selection.estimator.metric == Metric.cosine
    unit = "cosine distances" if is_cosine else f"squared {data.unit} of the columns"
    console.print(f"Inertia: in {unit}")
    n_measured = _sample_size(selection.table[-1].n_clusters)
    if n_measured < data.points.shape[0]:
        console.print(f"Silhouette and gap: from a random sample of {n_measured:,} rows")
    console.print(f"Recommended: {_clusters(selection.n_clusters)}")
    console.print(f"Reason: {selection.reason}", soft_wrap=True)
    console.print(f"Device: {selection.estimator.device_reason_}")


def _table(selection: Selection) -> Table:
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(("clusters", "inertia", "silhouette", "gap", "gap error")):
        made.add_column(name, justify="right" if i else "left", no_wrap=True)
    made.add_column("recommended by", no_wrap=True)
    every = _every(selection)
    inertias = formatted(np.asarray([each.inertia for each in every]), n_digits=5)
    for each, inertia in zip(every, inertias, strict=True):
        numbers = (each.silhouette, each.gap, each.gap_error)
        cells = ("-" if number is None else f"{number:.3f}" for number in numbers)
        says = selection.recommendations.items()
        by = ", ".join(name for name, number in says if number == each.n_clusters)
        made.add_row(str(each.n_clusters), inertia, *cells, by)
    return made


def _next_command(file: Path, asked: Asked, seed: int, selection: Selection) -> str:
    """Return the command that clusters the rows into the recommended number."""
    words = ["kmeans-xp", "cluster", str(file), "-k", str(selection.n_clusters)]
    words += asked.words()
    words += ["--seed", str(seed)] if seed else []
    metric = selection.estimator.metric
    words += ["--metric", metric] if metric != Metric.euclidean else []
    return shlex.join([*words, "--n-init", str(selection.estimator.n_init)])


def _clusters(n_clusters: int) -> str:
    return "1 cluster" if n_clusters == 1 else f"{n_clusters} clusters"
