"""``kmeans-xp cluster``: cluster a table, and write labels, a model and a picture."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from kmeans_xp import Checkpoint, KMeans, MiniBatchKMeans, persistence, plotting
from kmeans_xp.cli import inputs, labels, streaming, summary
from kmeans_xp.cli.asked import Asked, Missing
from kmeans_xp.cli.console import note, reported, results
from kmeans_xp.cli.fitting import Fit, fit
from kmeans_xp.cli.inputs import Inputs
from kmeans_xp.cli.labelled import write_labelled
from kmeans_xp.cli.options import (
    ColumnsOption,
    DecimalOption,
    DelimiterOption,
    DeviceOption,
    EncodeOption,
    EncodingOption,
    ExcludeOption,
    InputFile,
    LabelColumnOption,
    LabelledFile,
    MaxIterOption,
    Metric,
    MetricOption,
    MissingOption,
    NClustersOption,
    NInitOption,
    ScaleOption,
    SeedOption,
    SizeMaxOption,
    SizeMinOption,
    ThousandsOption,
    check_files,
    n_starts,
    text_format,
)
from kmeans_xp.cli.outputs import print_written, staged
from kmeans_xp.cli.pictures import clusters_picture
from kmeans_xp.cli.progress import progress
from kmeans_xp.cli.standard_input import readable
from kmeans_xp.plotting.numerals import formatted

__all__ = ["cluster"]

#: time between two checkpoints; a small one takes some milliseconds to write
SECONDS_A_CHECKPOINT = 1.0


class _Outputs(NamedTuple):
    """The files to write; None for files that the user does not want."""

    labelled: Path | None
    model: Path | None
    picture: Path | None


def cluster(
    file: InputFile,
    n_clusters: NClustersOption,
    column_names: ColumnsOption = None,
    exclude: ExcludeOption = None,
    encode: EncodeOption = False,
    missing: MissingOption = Missing.fail,
    scale: ScaleOption = False,
    seed: SeedOption = 0,
    n_init: NInitOption = None,
    max_iter: MaxIterOption = 300,
    mini_batch: Annotated[
        bool, typer.Option("--mini-batch", help="Learn from small batches: faster, less exact.")
    ] = False,
    metric: MetricOption = Metric.euclidean,
    delimiter: DelimiterOption = None,
    decimal: DecimalOption = None,
    thousands: ThousandsOption = None,
    encoding: EncodingOption = None,
    size_min: SizeMinOption = None,
    size_max: SizeMaxOption = None,
    device: DeviceOption = "auto",
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Save the state of the fit to this file from time to time. If the command is "
            "killed, the same command continues from there. At the end the file is removed."
        ),
    ] = None,
    out: LabelledFile = None,
    label_column: LabelColumnOption = None,
    model: Annotated[
        Path | None, typer.Option(help="Write the fitted model to this safetensors file.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the clusters to this file (.png, .svg, .pdf). More than two columns are "
            "drawn in the plane of their first two principal components."
        ),
    ] = None,
) -> None:
    """Cluster the rows of FILE, a table in CSV, TSV, Parquet, Arrow, Feather, NPY or NPZ.

    Without --columns, it clusters all columns of numbers. It writes all files together at
    the end, or none of them.
    """
    started = time.perf_counter()
    outputs = _Outputs(out, model, plot)
    text = text_format(delimiter, decimal, thousands, encoding)
    check_files(file, *outputs, checkpoint)
    asked_for = {"size_min": size_min, "size_max": size_max}
    sizes: dict[str, Any] = {name: size for name, size in asked_for.items() if size is not None}
    if sizes and mini_batch:
        raise typer.BadParameter("--mini-batch cannot be used with --size-min or --size-max")
    with reported(kept=checkpoint), staged(outputs) as temporary, readable(file) as path:
        if temporary.picture:
            plotting.check_format(temporary.picture)
        source = streaming if streaming.is_needed(path) else inputs
        data = source.read(path, Asked(column_names, exclude, missing, scale, encode, text))
        if temporary.labelled:
            labels.check_writable(data.schema, temporary.labelled)
        column = labels.label_column(data.schema.names, label_column, is_written=out is not None)
        data = data.without_left_out()
        # Mini-batches compare initial centroids on a sample, and fit once.
        starts = (n_init or 1) if mini_batch else n_starts(n_init, data.points.shape, n_clusters)
        estimator = (MiniBatchKMeans if mini_batch else KMeans)(
            n_clusters,
            n_init=starts,
            max_iter=max_iter,
            random_state=seed,
            metric=metric.value,
            device=device,
            **sizes,
        )
        with _naming_options():
            result = _fit(estimator, data, checkpoint)
        clusters = summary.summarize(
            data.points,
            result.labels,
            result.centroids,
            result.centres,
            data.names,
            metric.value,
        )
        heading = data.heading(path)
        with progress("Writing"):
            if temporary.model:
                persistence.save(result.estimator, temporary.model, data.arrays())
            if temporary.picture:
                clusters_picture(path, data, result).savefig(temporary.picture)
            if temporary.labelled:
                data = data.without_numbers()
                write_labelled(path, data, result.labels, temporary.labelled, column)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    _print(heading, data.unit, result, clusters)
    seconds = time.perf_counter() - started
    console = results()
    console.print(f"Time: {result.seconds:.2f} s to fit, {seconds:.2f} s in all")
    print_written(*outputs)


@contextmanager
def _naming_options() -> Iterator[None]:
    """Let errors of bounds of sizes name the options instead of the parameters."""
    try:
        yield
    except ValueError as error:
        message = re.sub(r"\bsize_(min|max)\b(=?)", _as_option, str(error))
        if message == str(error):
            raise
        raise ValueError(message) from error


def _as_option(name: re.Match[str]) -> str:
    return f"--size-{name[1]}" + (" " if name[2] else "")


def _fit(estimator: Any, data: Inputs, path: Path | None) -> Fit:
    if path is None:
        return fit(estimator, data)
    # Keep the checkpoint until all files are written: a write may fail.
    checkpoint = Checkpoint(path, seconds=SECONDS_A_CHECKPOINT, keep=True)
    result = fit(estimator, data, checkpoint)
    if checkpoint.resumed:
        note(f"continued from {path}, {checkpoint.resumed}")
    return result


def _print(heading: str, unit: str, result: Fit, clusters: summary.Summary) -> None:
    console = results()
    console.print(f"\n{heading}")
    summary.print_summary(console, clusters)
    metric = result.estimator.metric
    console.print(summary.what_mean_distances_are(metric, unit))
    (inertia,) = formatted(np.asarray([result.estimator.inertia_]), n_digits=6)
    summed = "sum of 1 - cos" if metric == Metric.cosine else f"squared {unit}"
    console.print(f"Inertia: {inertia} ({summed})")
    n_init = result.estimator.n_init
    starts = f" (the best of {n_init} starts)" if n_init > 1 else ""
    console.print(f"Iterations: {result.estimator.n_iter_}{starts}")
    console.print(f"Device: {result.estimator.device_reason_}")
