"""Inertia: the weighted sum of squared distances of the rows to their centroids."""

from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array
from kmeans_xp.kernels import assigned_inertia

__all__ = ["inertia_of"]


def inertia_of(blocks: Blocks, labels: Array, centroids: Array) -> float:
    """Return the inertia of an assignment, by differences and summed in float64.

    The expanded form |x|^2 - 2 x.c + |c|^2 loses all digits where the rows lie close to their
    centroids; the sum of squared differences does not.

    Parameters
    ----------
    blocks : Blocks
    labels : per-row result of ``nearest_labels``
    centroids : array of shape (n_clusters, n_features)
        Relative to the blocks' origin.

    Returns
    -------
    float
        In squared units of the points.
    """
    return float(blocks.reduce(assigned_inertia, centroids, per_row=(labels,)))
