"""Pictures of what a command found."""

from pathlib import Path
from typing import Any

from kmeans_xp import plotting
from kmeans_xp.blocks import RowSource
from kmeans_xp.cli import streaming
from kmeans_xp.cli.fitting import Fit
from kmeans_xp.cli.inputs import Inputs

__all__ = ["clusters_picture"]


def clusters_picture(file: Path, data: Inputs, result: Fit) -> Any:
    """Return a figure of the rows in their clusters."""
    # A plane of two columns reads best in their own units; components have none.
    plain = len(data.names) <= 2
    points, found = data.values if plain else data.points, result.labels
    if isinstance(points, RowSource):
        points, found = streaming.sample(points, found)
    ax = plotting.clusters(
        points,
        found,
        result.centres if plain else result.centroids,
        feature_names=data.names,
    )
    ax.set_title(f"{file.name}: {ax.get_title()}", parse_math=False)
    return ax.figure
