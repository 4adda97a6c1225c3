"""``kmeans-xp predict``: find the clusters of new rows with a saved model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import typer

from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans, persistence
from kmeans_xp.cli import columns, inputs, labels, streaming, summary, tables
from kmeans_xp.cli.asked import Missing
from kmeans_xp.cli.console import note, reported, results
from kmeans_xp.cli.encoding import Encoding
from kmeans_xp.cli.inputs import Inputs
from kmeans_xp.cli.labelled import write_labelled
from kmeans_xp.cli.listing import listed
from kmeans_xp.cli.lists import lengths_of, sources_of
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
from kmeans_xp.cli.paths import DELIMITERS, format_of
from kmeans_xp.cli.progress import progress
from kmeans_xp.cli.scaling import Scaling
from kmeans_xp.cli.standard_input import readable
from kmeans_xp.cli.text_format import TextFormat
from kmeans_xp.devices import to_host

__all__ = ["predict"]

_MODELS = (KMeans, MiniBatchKMeans, BisectingKMeans)
_ADVICE = (
    "Fill in or delete these rows, use --drop-missing, or fit the model with --missing mean or "
    "median, which the model keeps"
)
_BY_MODEL = "the values in the model"


def predict(
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="MODEL")],
    file: InputFile,
    drop_missing: Annotated[
        bool,
        typer.Option(
            "--drop-missing", help="Leave out rows with missing values: their label stays empty."
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

    Columns are matched by name, in any order. A model without column names uses the columns
    of numbers in their order. Rows are scaled, and missing values filled in, in the same way
    as for the fit. A text file has the format of the file of the fit, unless it shows
    another one.
    """
    text = text_format(delimiter, decimal, thousands, encoding)
    check_files(file, out, model)
    with reported(), persistence.staged(*filter(None, [out])) as staged, readable(file) as path:
        estimator, arrays = persistence.load(model, expected=_MODELS)
        if not hasattr(estimator, "cluster_centers_"):
            raise ValueError(f"{model} holds a {type(estimator).__name__} that was not fitted.")
        scaling, fill = Scaling.from_arrays(arrays), Fill.from_arrays(arrays)
        usual = TextFormat.from_arrays(arrays)
        wanted = _Wanted.of(model, estimator, arrays)
        missing = Missing.drop if drop_missing else Missing.fail
        centroids = to_host(estimator.cluster_centers_)
        if streaming.is_needed(path):
            streaming.refuse_missing(path, missing, "--drop-missing")
            data = _opened(path, text, usual, wanted, scaling, fill)
        else:
            data = _read(path, text, usual, wanted, scaling, fill, missing)
        points, names = data.points, data.names
        if isinstance(points, np.ndarray):
            points = points.astype(centroids.dtype, copy=False)
        for told in data.notes:
            note(told)
        for temporary in staged:
            labels.check_writable(data.schema, temporary)
        column = labels.label_column(data.schema.names, label_column, is_written=out is not None)
        n_rows = points.shape[0]
        with progress(f"Predicting {n_rows:,} rows"):
            found = to_host(estimator.set_params(device=device).predict(points))
        for temporary in staged:
            write_labelled(path, data, found, temporary, column)
        centres = scaling.undo(centroids) if scaling else centroids
        clusters = summary.summarize(points, found, centroids, centres, names, estimator.metric)
    console = results()
    console.print(f"\n{path.name}: {n_rows:,} rows, nearest of {len(centroids)} clusters")
    summary.print_summary(console, clusters)
    unit = inputs.unit(scaling)
    console.print(summary.what_mean_distances_are(estimator.metric, unit))
    print_written(out)


class _Wanted(NamedTuple):
    """The columns of a table that a model needs.

    Parameters
    ----------
    model : Path
    n_features : int
    names : list of str, or None
        Names of the features of the fit, if they had names.
    encoding : Encoding or None
        How features are made from columns of text.
    """

    model: Path
    n_features: int
    names: list[str] | None
    encoding: Encoding | None

    @classmethod
    def of(cls, model: Path, estimator: Any, arrays: Mapping[str, Any]) -> Self:
        """Remove the names from the estimator: it gets a matrix, and would warn without names."""
        names = vars(estimator).pop("feature_names_in_", None)
        listed = None if names is None else names.tolist()
        return cls(model, estimator.n_features_in_, listed, Encoding.from_arrays(arrays))

    def columns(self, table: pa.Table, file: Path) -> list[str]:
        """Return the columns of a table from which the features are made."""
        if self.encoding is not None:
            columns.check_there(table, self.encoding.texts, file)
            columns.named(table, sources_of(self.encoding.numbers, table), file)
            return sources_of(dict.fromkeys(self.encoding.columns), table)
        if self.names is not None:
            return columns.named(table, sources_of(self.names, table), file)
        return columns.choose(table, file).names

    def rows(self, table: pa.Table, file: Path) -> inputs.Rows:
        """Return the rows of a table, with the columns from which the features are made."""
        names = self.columns(table, file)
        rows = inputs.Rows(table.select(names), lengths_of(table, names, file), self.encoding)
        self.check(rows.names, file)
        return rows

    def check(self, names: Sequence[str], file: Path) -> None:
        """Raise unless these are the features, in the same order."""
        if self.names is not None and list(names) != self.names:
            raise ValueError(
                f"{self.model} was fitted on {len(self.names):,} features, but {file} gives "
                f"{len(names):,}: are its lists of another length?"
            )
        if len(names) != self.n_features:
            raise ValueError(
                f"{self.model} was fitted on {self.n_features} columns without names; "
                f"{file} has {len(names)} columns of numbers: {listed(names)}."
            )


def _read(
    file: Path,
    text: TextFormat,
    usual: TextFormat,
    wanted: _Wanted,
    scaling: Scaling | None,
    fill: Fill | None,
    missing: Missing,
) -> Inputs:
    with progress(f"Reading {file.name}"):
        table = tables.read(file, text, usual)
        text = text.of(file, usual) if format_of(file) in DELIMITERS else text
        rows, schema = wanted.rows(table, file), table.schema
        unknown = wanted.encoding.note_of_unknown(table) if wanted.encoding else None
        del table  # `values` frees it part by part
        names, values = rows.names, rows.values(file)
        if fill is None or missing is Missing.drop:
            whole = made_whole(values, names, file, missing, _ADVICE)
        else:
            whole = filled(values, names, fill, _BY_MODEL)
    points = scaling.apply(whole.values) if scaling else whole.values
    notes = [told for told in (whole.note, unknown) if told]
    return Inputs(schema, names, {}, whole.values, points, scaling, notes, whole.is_kept, text=text)


def _opened(
    file: Path,
    text: TextFormat,
    usual: TextFormat,
    wanted: _Wanted,
    scaling: Scaling | None,
    fill: Fill | None,
) -> Inputs:
    streaming.refuse_style(file, text, usual)
    if wanted.encoding is not None:
        streaming.refuse_encoding(file, f"{wanted.model} with its columns of text")
    table, notes = streaming.table_without_rows(file), [streaming.why(file)]
    columns_to_read = wanted.columns(table, file)
    if fill is None:
        rows = streaming.open_columns(file, table, columns_to_read)
        names = list(rows.feature_names or columns_to_read)
    else:
        rows = streaming.filled(file, columns_to_read, fill)
        names = wanted.names or columns_to_read
        notes.append(f"missing values, if there are any, are replaced by {_BY_MODEL}")
    wanted.check(names, file)
    points = streaming.scaled(rows, scaling) if scaling else rows
    text = text.of(file, usual) if format_of(file) in DELIMITERS else text
    return Inputs(table.schema, names, {}, rows, points, scaling, notes, text=text)
