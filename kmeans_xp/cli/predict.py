"""``kmeans-xp predict``: the clusters of new rows by a saved model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer

from kmeans_xp import KMeans, MiniBatchKMeans, persistence
from kmeans_xp.cli import columns, inputs, labels, streaming, summary, tables
from kmeans_xp.cli.asked import Missing
from kmeans_xp.cli.console import note, reported, results
from kmeans_xp.cli.encoding import Encoding
from kmeans_xp.cli.inputs import Inputs
from kmeans_xp.cli.missing import Fill, filled, made_whole
from kmeans_xp.cli.options import (
    DecimalOption,
    DelimiterOption,
    DeviceOption,
    EncodingOption,
    InputFile,
    LabelColumnOption,
    LabelledFile,
    ThousandsOption,
    check_files,
    text_format,
)
from kmeans_xp.cli.outputs import print_written
from kmeans_xp.cli.progress import progress
from kmeans_xp.cli.scaling import Scaling
from kmeans_xp.cli.text_format import TextFormat
from kmeans_xp.devices import to_host

__all__ = ["predict"]

_ADVICE = (
    "Fill in or delete these rows, say --drop-missing, or fit the model with --missing mean or "
    "median, which it keeps"
)

Choose = Callable[[pa.Table], pa.Table]


def predict(
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="MODEL")],
    file: InputFile,
    drop_missing: Annotated[
        bool,
        typer.Option(
            "--drop-missing", help="Leave out rows that lack a number: their label stays empty."
        ),
    ] = False,
    delimiter: DelimiterOption = None,
    decimal: DecimalOption = None,
    thousands: ThousandsOption = None,
    encoding: EncodingOption = None,
    device: DeviceOption = "auto",
    out: LabelledFile = None,
    label_column: LabelColumnOption = None,
) -> None:
    """Find the nearest cluster of MODEL for each row of FILE.

    Columns are matched by name, in any order; a model fitted without names takes the
    columns of numbers in their order. Rows are scaled, and missing values filled in, as the
    model's were.
    """
    text = text_format(delimiter, decimal, thousands, encoding)
    check_files(file, out, model)
    with reported(), persistence.staged(*filter(None, [out])) as staged:
        estimator, arrays = persistence.load(model, expected=(KMeans, MiniBatchKMeans))
        if not hasattr(estimator, "cluster_centers_"):
            raise ValueError(f"{model} holds a {type(estimator).__name__} that was not fitted.")
        scaling, fill = Scaling.from_arrays(arrays), Fill.from_arrays(arrays)
        features = Encoding.from_arrays(arrays)
        missing = Missing.drop if drop_missing else Missing.fail
        centroids = to_host(estimator.cluster_centers_)
        choose = partial(_features, estimator, model, file, features)
        if streaming.is_needed(file):
            streaming.refuse_missing(file, missing, "--drop-missing")
            streaming.refuse_style(file, text)
            if features:
                streaming.refuse_encoding(file, f"{model} with its columns of text")
            data = _opened(file, choose, scaling)
        else:
            data = _read(file, text, choose, scaling, fill, missing)
            if features and (unknown := features.note_of_unknown(data.table)):
                data.notes.append(unknown)
        points, names = data.points, data.names
        if isinstance(points, np.ndarray):
            points = points.astype(centroids.dtype, copy=False)
        for told in data.notes:
            note(told)
        for temporary in staged:
            labels.check_writable(data.table, temporary)
        column = labels.label_column(data.table, label_column, is_written=out is not None)
        n_rows = points.shape[0]
        with progress(f"Predicting {n_rows:,} rows"):
            found = to_host(estimator.set_params(device=device).predict(points))
        for temporary in staged:
            streaming.write_labelled(file, data, found, temporary, column)
        centres = scaling.undo(centroids) if scaling else centroids
        clusters = summary.summarize(points, found, centroids, centres, names, estimator.metric)
    console = results()
    console.print(f"\n{file.name}: {n_rows:,} rows, nearest of {len(centroids)} clusters")
    summary.print_summary(console, clusters)
    unit = inputs.unit(scaling)
    console.print(summary.what_mean_distances_are(estimator.metric, unit))
    print_written(out)


def _read(
    file: Path,
    text: TextFormat,
    choose: Choose,
    scaling: Scaling | None,
    fill: Fill | None,
    missing: Missing,
) -> Inputs:
    with progress(f"Reading {file.name}"):
        table = tables.read(file, text)
        features = choose(table)
        names = features.column_names
        values = columns.matrix(features, names, file)
        if fill is None or missing is Missing.drop:
            whole = made_whole(values, names, file, missing, _ADVICE)
        else:
            whole = filled(values, names, fill, "what the model was fitted with")
    points = scaling.apply(whole.values) if scaling else whole.values
    notes = [whole.note] if whole.note else []
    return Inputs(table, names, {}, whole.values, points, scaling, notes, whole.is_kept, text=text)


def _opened(file: Path, choose: Choose, scaling: Scaling | None) -> Inputs:
    table = streaming.table_without_rows(file)
    names = choose(table).column_names
    rows = streaming.open_columns(file, table, names)
    points = streaming.scaled(rows, scaling) if scaling else rows
    return Inputs(table, names, {}, rows, points, scaling, [streaming.why(file)])


def _features(
    estimator: Any, model: Path, file: Path, encoding: Encoding | None, table: pa.Table
) -> pa.Table:
    """Return the features of `table` that the model was fitted on."""
    # Taken off the estimator, which gets a matrix in its order and would warn of no names.
    fitted_on = vars(estimator).pop("feature_names_in_", None)
    if encoding is not None:
        columns.check_there(table, encoding.texts, file)
        columns.named(table, encoding.numbers, file)
        return encoding.apply(table)
    if fitted_on is not None:
        return table.select(columns.named(table, fitted_on.tolist(), file))
    names = columns.choose(table, file).names
    if len(names) != estimator.n_features_in_:
        raise ValueError(
            f"{model} was fitted on {estimator.n_features_in_} columns without names; "
            f"{file} has {len(names)} columns of numbers: {', '.join(names)}."
        )
    return table.select(names)
