"""``kmeans-xp predict``: the clusters of new rows by a saved model."""

from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer

from kmeans_xp import KMeans, MiniBatchKMeans, persistence
from kmeans_xp.cli import columns, inputs, labels, summary, tables
from kmeans_xp.cli.console import reported, results
from kmeans_xp.cli.options import DeviceOption, InputFile, LabelledFile, check_files
from kmeans_xp.cli.outputs import print_written
from kmeans_xp.cli.progress import progress
from kmeans_xp.cli.scaling import Scaling
from kmeans_xp.devices import to_host

__all__ = ["predict"]


def predict(
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="MODEL")],
    file: InputFile,
    device: DeviceOption = "auto",
    out: LabelledFile = None,
) -> None:
    """Find the nearest cluster of MODEL for each row of FILE.

    Columns are matched by name, in any order; a model fitted without names takes the
    columns of numbers in their order. Rows are scaled as the model's were.
    """
    check_files(file, out, model)
    with reported(), persistence.staged(*filter(None, [out])) as staged:
        estimator, arrays = persistence.load(model, expected=(KMeans, MiniBatchKMeans))
        if not hasattr(estimator, "cluster_centers_"):
            raise ValueError(f"{model} holds a {type(estimator).__name__} that was not fitted.")
        with progress(f"Reading {file.name}"):
            table = tables.read(file)
            names = _names(estimator, table, model, file)
            values = columns.matrix(table, names, file)
        for temporary in staged:
            labels.check_writable(table, temporary)
        centroids = to_host(estimator.cluster_centers_)
        scaling = Scaling.from_arrays(arrays)
        points = (scaling.apply(values) if scaling else values).astype(centroids.dtype, copy=False)
        with progress(f"Predicting {len(points):,} rows"):
            found = to_host(estimator.set_params(device=device).predict(points))
        for temporary in staged:
            labels.write_labelled(file, table, found, temporary)
        centres = scaling.undo(centroids) if scaling else centroids
        clusters = summary.summarize(points, found, centroids, centres, names)
    console = results()
    console.print(f"\n{file.name}: {len(points):,} rows, nearest of {len(centroids)} clusters")
    summary.print_summary(console, clusters)
    console.print(
        f"Mean distance: to the cluster's centre, in {inputs.unit(scaling)} of the columns"
    )
    print_written(out)


def _names(estimator: Any, table: pa.Table, model: Path, file: Path) -> list[str]:
    """Return the columns of `table` that the model was fitted on."""
    # Taken off the estimator, which gets a matrix in its order and would warn of no names.
    fitted_on = vars(estimator).pop("feature_names_in_", None)
    if fitted_on is not None:
        return columns.named(table, fitted_on.tolist(), file)
    names = columns.choose(table, file).names
    if len(names) != estimator.n_features_in_:
        raise ValueError(
            f"{model} was fitted on {estimator.n_features_in_} columns without names; "
            f"{file} has {len(names)} columns of numbers: {', '.join(names)}."
        )
    return names
