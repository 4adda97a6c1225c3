"""Scores of the clusters, with advice on how to read them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kmeans_xp import metrics
from kmeans_xp.cli.fitting import Fit
from kmeans_xp.cli.inputs import Inputs
from kmeans_xp.cli.options import Metric
from kmeans_xp.plotting import SilhouetteDisplay
from kmeans_xp.plotting.numerals import formatted

__all__ = ["Score", "compared_points", "scores", "why_undefined"]

Matrix = np.ndarray[Any, Any]


class Score(NamedTuple):
    """A score, and how to read it."""

    name: str
    value: str
    reading: str


def why_undefined(data: Inputs, result: Fit) -> str | None:
    """Return why scores that compare clusters are undefined; None if they are defined."""
    n_rows, n_found = len(data.points), len(np.unique(result.labels))
    if n_found < 2:
        return "there is only one cluster"
    if n_found == n_rows:
        return "every row is its own cluster"
    return None


def compared_points(data: Inputs, result: Fit) -> Matrix:
    """Return the points to measure distances between: rows of length 1 for cosine distances."""
    points: Matrix = data.points
    if result.estimator.metric == Metric.cosine:
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    return points


def scores(data: Inputs, result: Fit, silhouette: SilhouetteDisplay | None) -> list[Score]:
    """Compute the scores; `silhouette` is None if scores that compare clusters are undefined."""
    (inertia,) = formatted(np.asarray([result.estimator.inertia_]), n_digits=6)
    is_cosine = result.estimator.metric == Metric.cosine
    summed = (
        "1 - cos between each row and its cluster's centre"
        if is_cosine
        else "the squared distances of the rows to their clusters' centres, in squared "
        f"{data.unit} of the columns"
    )
    at_length_1 = " Computed from rows of length 1." if is_cosine else ""
    return [
        Score(
            "Inertia",
            inertia,
            f"Sum of {summed}. More clusters always lower it: compare only fits with the same "
            "number of clusters.",
        ),
        _silhouette_score(silhouette),
        Score(
            "Calinski-Harabasz",
            _measured(metrics.calinski_harabasz_score, ",.1f", data, result),
            "Ratio of the variance between clusters to that within them. Higher is better, for "
            f"fits of the same rows.{at_length_1}",
        ),
        Score(
            "Davies-Bouldin",
            _measured(metrics.davies_bouldin_score, ".3f", data, result),
            "Ratio of the spreads of two clusters to the distance between their centres: for each "
            f"cluster the worst other one, then the mean. Lower is better.{at_length_1}",
        ),
    ]


def _silhouette_score(silhouette: SilhouetteDisplay | None) -> Score:
    reading = (
        "How much nearer a row is to its own cluster than to the next one, from -1 to 1. Near 1 "
        "the row is well inside its cluster, near 0 between two, below 0 nearer to another."
    )
    if silhouette is None:
        return Score("Silhouette", "not defined", reading)
    n_measured = len(silhouette.silhouettes)
    if n_measured < silhouette.n_points:
        reading += f" Mean of a random sample of {n_measured:,} rows."
    return Score("Silhouette", f"{silhouette.mean:.3f}", reading)


def _measured(measure: Callable[..., float], style: str, data: Inputs, result: Fit) -> str:
    if why_undefined(data, result):
        return "not defined"
    points = compared_points(data, result)
    value = measure(points, result.labels, device=result.estimator.device)
    return format(value, style)
