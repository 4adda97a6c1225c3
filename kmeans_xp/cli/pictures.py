"""Pictures of the results of a command."""

from pathlib import Path
from typing import Any

import numpy as np

from kmeans_xp.blocks import RowSource
from kmeans_xp.cli import streaming
from kmeans_xp.cli.fitting import Fit
from kmeans_xp.cli.inputs import Inputs
from kmeans_xp.plotting import ClustersDisplay

__all__ = ["clusters_picture"]


def clusters_picture(file: Path, data: Inputs, result: Fit) -> Any:
    """Return a figure of the rows in their clusters."""
    # Draw two columns in their own units; principal components have no units.
    plain = len(data.names) <= 2
    points, found = data.values if plain else data.points, result.labels
    if isinstance(points, RowSource):
        points, found = streaming.sample(points, found)
    centres = result.centres if plain else result.centroids
    if result.estimator.metric == "cosine":
        centroids = _among_their_rows(data.points, result)
        centres = data.in_own_units(centroids) if plain else centroids
    display = ClustersDisplay.from_predictions(
        points, found, centroids=centres, feature_names=data.names
    )
    display.ax_.set_title(f"{file.name}: {display.ax_.get_title()}", parse_math=False)
    return display.figure_


def _among_their_rows(points: Any, result: Fit) -> Any:
    """Scale centroids, which are directions, to the mean length of their rows."""
    centroids, labels = result.centroids, result.labels
    if isinstance(points, RowSource):
        points, labels = streaming.sample(points, labels)
    along = (points * centroids[labels]).sum(axis=1)
    n_clusters = len(centroids)
    sizes = np.bincount(labels, minlength=n_clusters)
    sums = np.bincount(labels, along, minlength=n_clusters)
    lengths = np.where(sizes > 0, sums / np.maximum(sizes, 1), 1.0)
    return centroids * lengths[:, None]
