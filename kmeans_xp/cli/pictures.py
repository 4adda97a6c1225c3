"""Pictures of the results of a command."""

from pathlib import Path
from typing import Any

import numpy as np

from kmeans_xp import plotting
from kmeans_xp.blocks import RowSource
from kmeans_xp.cli import streaming
from kmeans_xp.cli.fitting import Fit
from kmeans_xp.cli.inputs import Inputs

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
    ax = plotting.clusters(points, found, centres, feature_names=data.names)
    ax.set_title(f"{file.name}: {ax.get_title()}", parse_math=False)
    return ax.figure


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
