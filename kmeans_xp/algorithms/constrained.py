"""Steps of Lloyd's algorithm with clusters of bounded size."""

import numpy as np

from kmeans_xp.algorithms.transport import SizeBounds, cheapest_labels
from kmeans_xp.devices import Array, Namespace, from_host, to_host
from kmeans_xp.kernels import ClusterTotals, Rows, cluster_sums, sq_distances

__all__ = ["ConstrainedStep"]


class ConstrainedStep:
    """Does what ``lloyd_step`` does, with labels that keep to bounds of the clusters' sizes.

    The rows' device computes the distances. The host finds the labels within the bounds that make
    the sum of squared distances smallest.

    Parameters
    ----------
    bounds : SizeBounds
        Bounds of each cluster's number of rows. At least one, so that no cluster is empty.

    References
    ----------
    .. [1] P. S. Bradley, K. P. Bennett and A. Demiriz, "Constrained k-means clustering",
       Microsoft Research MSR-TR-2000-65 (2000).
    """

    def __init__(self, bounds: SizeBounds) -> None:
        self.bounds = bounds

    def __call__(self, rows: Rows, centroids: Array, *, xp: Namespace) -> ClusterTotals:
        """Return the totals of the rows of each cluster."""
        labels = self.labels(rows, centroids, xp=xp)
        return cluster_sums(rows, labels, int(centroids.shape[0]), xp=xp)

    def labels(self, rows: Rows, centroids: Array, *, xp: Namespace) -> Array:
        """Return the label of each row, on the rows' device."""
        measured = to_host(sq_distances(rows, centroids, xp=xp))
        costs = np.ascontiguousarray(measured.T, dtype=np.float64)
        return from_host(cheapest_labels(costs, self.bounds), xp=xp, device=rows.device)
