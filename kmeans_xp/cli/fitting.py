"""Fit an estimator to the rows of a table, and copy its arrays to the host."""

import time
from typing import Any, NamedTuple

import numpy as np

from kmeans_xp.cli.console import note
from kmeans_xp.cli.inputs import Inputs
from kmeans_xp.cli.progress import fit_progress
from kmeans_xp.devices import to_host

__all__ = ["Fit", "fit"]

Matrix = np.ndarray[Any, Any]


class Fit(NamedTuple):
    """A fitted estimator; `centres` are its centroids in the table's own units."""

    estimator: Any
    labels: Matrix
    centroids: Matrix
    centres: Matrix
    seconds: float
    notes: list[str]


def fit(estimator: Any, inputs: Inputs, *callbacks: Any) -> Fit:
    """Fit `estimator` to the points, and print notes about the fit."""
    for text in inputs.notes:
        note(text)
    inputs.check_range(estimator.metric)
    n_rows, n_columns = inputs.points.shape
    if n_rows < estimator.n_clusters:
        raise ValueError(f"{n_rows:,} rows are too few for {estimator.n_clusters:,} clusters.")
    started = time.perf_counter()
    text = f"Clustering {n_rows:,} rows x {n_columns} columns"
    with fit_progress(estimator, text, *callbacks):
        estimator.fit(inputs.points)
    seconds = time.perf_counter() - started
    notes = _stopped_early(estimator)
    for text in notes:
        note(text)
    # Set the names as scikit-learn does; to pass a data frame would take two more copies.
    estimator.feature_names_in_ = np.asarray(inputs.names, dtype=object)
    centroids = to_host(estimator.cluster_centers_)
    centres = inputs.in_own_units(centroids)
    return Fit(estimator, to_host(estimator.labels_), centroids, centres, seconds, notes)


def _stopped_early(estimator: Any) -> list[str]:
    if estimator.n_iter_ < estimator.max_iter:
        return []
    return [f"stopped by --max-iter {estimator.max_iter}; more iterations may improve the clusters"]
