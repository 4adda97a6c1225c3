"""Lloyd's algorithm: assign each row to its nearest centroid, move centroids to the means."""

from collections.abc import Callable
from typing import NamedTuple

from kmeans_xp.algorithms.inertia import inertia_of
from kmeans_xp.algorithms.relocation import relocated
from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, to_host
from kmeans_xp.kernels import ClusterTotals, lloyd_step, nearest_labels, update_centroids

__all__ = ["Iteration", "LloydResult", "lloyd"]


class Iteration(NamedTuple):
    """What one iteration did, as numbers on the host.

    Parameters
    ----------
    number : int
        From 1.
    explained : float
        What the centroids at the iteration's begin take off the sum of squares about the
        origin: the inertia is that sum less this.
    sq_shift : float
        Sum of the squared distances that the centroids moved.
    n_empty : int
        Clusters that lost all their rows, before rows were given to them.
    """

    number: int
    explained: float
    sq_shift: float
    n_empty: int


class LloydResult(NamedTuple):
    """Where Lloyd's algorithm stopped.

    Parameters
    ----------
    centroids : array of shape (n_clusters, n_features)
        Relative to the blocks' origin.
    labels : array of int32, shape (n_points,)
        Nearest of these centroids, for each row.
    inertia : float
        Of these labels and centroids.
    iterations : tuple of Iteration
    """

    centroids: Array
    labels: Array
    inertia: float
    iterations: tuple[Iteration, ...]


def lloyd(
    blocks: Blocks,
    centroids: Array,
    *,
    max_iter: int = 300,
    tol: float = 0.0,
    on_iteration: Callable[[Iteration, Array], bool | None] | None = None,
) -> LloydResult:
    """Run Lloyd's algorithm from the given centroids.

    Nothing is kept per row: sums are added in a fixed order, so labels that did not change
    give centroids that did not move, and a shift of zero is strict convergence.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    centroids : array of shape (n_clusters, n_features)
        To begin with; relative to the blocks' origin.
    max_iter : int
        At least 1.
    tol : float
        Stop when the sum of squared centroid shifts is at most this (squared units).
    on_iteration : callable, optional
        Told of each iteration and its centroids; returning True stops.

    Returns
    -------
    LloydResult
        O(n_points * n_clusters * n_features) time an iteration.

    References
    ----------
    .. [1] S. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information
       Theory 28 (1982).
    """
    iterations: list[Iteration] = []
    for number in range(1, max_iter + 1):
        totals = blocks.reduce(lloyd_step, centroids)
        centroids, iteration = _moved(blocks, totals, centroids, number)
        iterations.append(iteration)
        stop = on_iteration is not None and on_iteration(iteration, centroids)
        if iteration.sq_shift <= tol or stop:
            break
    labels = blocks.map_rows(nearest_labels, centroids)
    return LloydResult(centroids, labels, inertia_of(blocks, labels, centroids), tuple(iterations))


def _moved(
    blocks: Blocks, totals: ClusterTotals, centroids: Array, number: int
) -> tuple[Array, Iteration]:
    """Return the means of the new clusters, or of those that empty ones were given rows of."""
    update = update_centroids(totals, centroids, xp=blocks.xp)
    # The iteration's only wait for the device: three numbers in one copy.
    sq_shift, n_empty, explained = (float(signal) for signal in to_host(update.signals))
    if n_empty > 0.0:
        totals = relocated(blocks, totals, centroids)
        update = update_centroids(totals, centroids, xp=blocks.xp)
        sq_shift = float(update.signals[0])
    return update.centroids, Iteration(number, explained, sq_shift, int(n_empty))
