"""``kmeans-xp cluster``: from a table to clusters, a model and a picture."""

import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow as pa
import typer

from kmeans_xp import KMeans, MiniBatchKMeans, persistence, plotting
from kmeans_xp.cli import columns, labels, report, tables
from kmeans_xp.cli.console import note, reported, results
from kmeans_xp.cli.options import DeviceOption, InputFile, LabelledFile, check_files
from kmeans_xp.cli.progress import fit_progress, progress
from kmeans_xp.cli.scaling import Scaling
from kmeans_xp.devices import to_host

__all__ = ["cluster"]

# Above this ratio of spreads, one column decides the distances almost alone.
UNEVEN_SPREAD = 10.0

Matrix = np.ndarray[Any, Any]


class _Outputs(NamedTuple):
    """The files to write; None for each that was not asked for."""

    labelled: Path | None
    model: Path | None
    picture: Path | None


class _Data(NamedTuple):
    """A table, its columns to cluster, and their values as read and as clustered."""

    table: pa.Table
    names: list[str]
    values: Matrix
    points: Matrix
    scaling: Scaling | None


class _Result(NamedTuple):
    """A fitted estimator, with its arrays on the host."""

    estimator: Any
    labels: Matrix
    centroids: Matrix
    centres: Matrix
    seconds: float


def cluster(
    file: InputFile,
    n_clusters: Annotated[
        int, typer.Option("-k", "--n-clusters", min=1, help="Number of clusters.")
    ],
    column_names: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="A,B,...",
            help="Columns to cluster; else all that hold numbers.",
        ),
    ] = None,
    scale: Annotated[
        bool,
        typer.Option(
            "--scale",
            help="First bring each column to mean 0 and standard deviation 1. "
            "The model keeps this for `kmeans-xp predict`.",
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Runs of the same seed agree.")
    ] = 0,
    n_init: Annotated[
        int, typer.Option(min=1, help="Starts to try; the one of least inertia is kept.")
    ] = 1,
    max_iter: Annotated[int, typer.Option(min=1, help="Most iterations of one start.")] = 300,
    mini_batch: Annotated[
        bool, typer.Option("--mini-batch", help="Learn from small batches: faster, less exact.")
    ] = False,
    device: DeviceOption = "auto",
    out: LabelledFile = None,
    model: Annotated[
        Path | None, typer.Option(help="Write the fitted model here, as safetensors.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the clusters here (.png, .svg, .pdf): one or two columns as they are, "
            "more in the plane of their first two principal components."
        ),
    ] = None,
) -> None:
    """Cluster the rows of FILE, a table in CSV, TSV, Parquet, Arrow, Feather, NPY or NPZ.

    The columns of numbers are clustered, unless --columns says which. Files are written
    all together at the end, or not at all.
    """
    started = time.perf_counter()
    outputs = _Outputs(out, model, plot)
    check_files(file, *outputs)
    with reported(), persistence.staged(*filter(None, outputs)) as staged:
        unwritten = iter(staged)
        temporary = _Outputs(*(path and next(unwritten) for path in outputs))
        if temporary.picture:
            plotting.check_format(temporary.picture)
        data = _read(file, column_names, scale=scale)
        if temporary.labelled:
            labels.check_writable(data.table, temporary.labelled)
        estimator = (MiniBatchKMeans if mini_batch else KMeans)(
            n_clusters, n_init=n_init, max_iter=max_iter, random_state=seed, device=device
        )
        result = _fit(estimator, data)
        with progress("Writing"):
            _write(temporary, file, data, result)
        summary = report.summarize(
            data.points, result.labels, result.centroids, result.centres, data.names
        )
    _print(file, data, result, summary)
    seconds = time.perf_counter() - started
    console = results()
    console.print(f"Time: {result.seconds:.2f} s to fit, {seconds:.2f} s in all")
    if staged:
        console.print(f"Wrote: {', '.join(str(path) for path in outputs if path)}", soft_wrap=True)


def _read(file: Path, column_names: str | None, *, scale: bool) -> _Data:
    with progress(f"Reading {file.name}"):
        table = tables.read(file)
        names = _names(table, column_names, file)
        values = columns.matrix(table, names, file)
    if not scale:
        _tell_uneven_spread(values, names)
        return _Data(table, names, values, values, None)
    scaling = Scaling.of(values)
    return _Data(table, names, values, scaling.apply(values), scaling)


def _names(table: pa.Table, column_names: str | None, file: Path) -> list[str]:
    if column_names is not None:
        names = [name.strip() for name in column_names.split(",")]
        return columns.named(table, list(dict.fromkeys(names)), file)
    names, skipped = columns.choose(table, file)
    if skipped:
        told = ", ".join(f"{name} (holds {kind})" for name, kind in skipped.items())
        note(f"columns left out: {told}")
    return names


def _tell_uneven_spread(values: Matrix, names: list[str]) -> None:
    spreads = values.std(axis=0, dtype=np.float64)
    widest, narrowest = spreads.max(), spreads[spreads > 0].min(initial=np.inf)
    if widest > UNEVEN_SPREAD * narrowest:
        note(
            f"column {names[int(spreads.argmax())]} spreads {widest / narrowest:,.0f} times as "
            "wide as the narrowest and weighs more in every distance; --scale makes them equal"
        )


def _fit(estimator: Any, data: _Data) -> _Result:
    n_rows, n_columns = data.points.shape
    started = time.perf_counter()
    with fit_progress(estimator, f"Clustering {n_rows:,} rows x {n_columns} columns"):
        estimator.fit(data.points)
    seconds = time.perf_counter() - started
    if estimator.n_iter_ == estimator.max_iter:
        note(
            f"stopped by --max-iter {estimator.max_iter}; more iterations may improve the clusters"
        )
    # As scikit-learn sets it for a data frame; a data frame would be two more copies.
    estimator.feature_names_in_ = np.asarray(data.names, dtype=object)
    centroids = to_host(estimator.cluster_centers_)
    centres = data.scaling.undo(centroids) if data.scaling else centroids
    return _Result(estimator, to_host(estimator.labels_), centroids, centres, seconds)


def _write(outputs: _Outputs, file: Path, data: _Data, result: _Result) -> None:
    if outputs.labelled:
        labels.write_labelled(file, data.table, result.labels, outputs.labelled)
    if outputs.model:
        arrays = data.scaling.to_arrays() if data.scaling else None
        persistence.save(result.estimator, outputs.model, arrays)
    if outputs.picture:
        # A plane of two columns reads best in their own units; components have none.
        plain = len(data.names) <= 2
        ax = plotting.clusters(
            data.values if plain else data.points,
            result.labels,
            result.centres if plain else result.centroids,
            feature_names=data.names,
        )
        ax.set_title(f"{file.name}: {ax.get_title()}")
        figure: Any = ax.figure
        figure.savefig(outputs.picture)


def _print(file: Path, data: _Data, result: _Result, summary: report.Summary) -> None:
    console = results()
    n_rows, n_columns = data.points.shape
    unit = "standard deviations" if data.scaling else "units"
    scaled = ", scaled to mean 0 and standard deviation 1" if data.scaling else ""
    console.print(f"\n{file.name}: {n_rows:,} rows x {n_columns} columns{scaled}")
    report.print_summary(console, summary)
    console.print(f"Mean distance: to the cluster's centre, in {unit} of the columns")
    (inertia,) = report.formatted(np.asarray([result.estimator.inertia_]), n_digits=6)
    console.print(f"Inertia: {inertia} (squared {unit})")
    console.print(f"Iterations: {result.estimator.n_iter_}")
    console.print(f"Device: {result.estimator.device_reason_}")
