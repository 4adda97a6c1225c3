"""Steps of Lloyd's algorithm that skip rows whose nearest centroid cannot have changed."""

from typing import NamedTuple

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels import (
    Bounds,
    ClusterTotals,
    Rows,
    bounded_step,
    keeps_bounds,
    lloyd_step,
    nearest_labels,
    rules_out_scores,
)

__all__ = ["ALGORITHMS", "BoundedStep", "bounds_for"]

#: names that ``lloyd`` knows
ALGORITHMS = ("auto", "lloyd", "hamerly", "elkan")

#: With less work for each row than this, bounds cost about as much as the scores they save.
_FEWEST_CLUSTERS = 20
_FEWEST_PRODUCTS = 1024
#: rows for each cluster: distances between centroids are to cost little beside those of rows
_FEWEST_ROWS_A_CLUSTER = 100
#: work for all rows beside which it costs nothing to prepare a step: some milliseconds
_FEWEST_PRODUCTS_IN_ALL = 2**27
#: work for each row beside which bounds cost next to nothing
_MANY_PRODUCTS = 8192


class Patience(NamedTuple):
    """When to go on with plain steps: bounds cost time where rows are visited all the same.

    Parameters
    ----------
    n_plain : int
        Steps before the first that keeps bounds.
    pause : int
        Plain steps after the first step that visited too many rows; twice as many each time, so
        that data on which bounds never pay are hardly slower.
    share : float
        Of the rows, that a step may visit before it is dearer than a plain one.
    """

    n_plain: int = 0
    pause: int = 1
    share: float = 1.0


#: "hamerly" does as it is told
_ENDLESS = Patience()
_LONG = Patience(pause=1, share=0.85)
_SHORT = Patience(n_plain=6, pause=8, share=0.4)
#: where plain steps leave out most scores of a row, and a step with bounds none
_RARE = Patience(n_plain=10, pause=16, share=0.25)


class BoundedStep:
    """Does what the kernel ``lloyd_step`` does, to the same bits, and remembers the rows.

    Since the results are the same, when to keep bounds is a matter of time alone.

    Parameters
    ----------
    patience : Patience
        By default there is no end of it.

    References
    ----------
    .. [1] G. Hamerly, "Making k-means even faster", SDM 2010.
    """

    def __init__(self, patience: Patience = _ENDLESS) -> None:
        self.bounds = Bounds()
        self.patience = patience
        #: rows visited by each step so far
        self.n_visited: list[int] = []
        self._n_plain, self._pause = patience.n_plain, patience.pause

    def __call__(self, rows: Rows, centroids: Array, *, xp: Namespace) -> ClusterTotals:
        """Return the totals of the rows nearest to each of the centroids."""
        if self._n_plain > 0:
            self._n_plain -= 1
            self.n_visited.append(rows.n_points)
            return lloyd_step(rows, centroids, xp=xp)
        is_first = self.bounds.labels is None
        totals = bounded_step(rows, centroids, self.bounds, xp=xp)
        self.n_visited.append(self.bounds.n_visited)
        # The first step from nowhere visits all rows, which says nothing about the second.
        is_dear = self.bounds.n_visited > self.patience.share * rows.n_points
        if is_dear and not is_first:
            self.bounds.forget()
            self._n_plain, self._pause = self._pause, 2 * self._pause
        return totals

    def labels(self, rows: Rows, centroids: Array, *, xp: Namespace) -> Array:
        """Return the labels of ``nearest_labels``, and forget the rows."""
        if self.bounds.labels is None:
            return nearest_labels(rows, centroids, xp=xp)
        bounded_step(rows, centroids, self.bounds, xp=xp)
        labels = self.bounds.labels
        self.bounds.forget()
        return labels


def bounds_for(rows: Rows, n_clusters: int, algorithm: str, *, xp: Namespace) -> BoundedStep | None:
    """Return what does the steps of one run with bounds, or None if plain steps are as fast.

    Parameters
    ----------
    rows : Rows
        All rows: what is kept of each is of use only if the next step finds it.
    n_clusters : int
        Number of centroids.
    algorithm : {"auto", "lloyd", "hamerly", "elkan"}
        "auto" keeps Hamerly's bounds where they are likely to pay, "hamerly" always. So does
        "elkan", scikit-learn's name for bounds of each row and cluster, which were never faster.
    xp : namespace

    Returns
    -------
    BoundedStep or None
        For this run alone.
    """
    if algorithm == "lloyd" or not keeps_bounds(rows, xp=xp):
        return None
    if algorithm != "auto":
        return BoundedStep()
    if not _is_worth_bounds(rows, n_clusters):
        return None
    if n_clusters * rows.n_features < _MANY_PRODUCTS:
        return BoundedStep(_SHORT)
    return BoundedStep(_RARE if rules_out_scores(rows, n_clusters, xp=xp) else _LONG)


def _is_worth_bounds(rows: Rows, n_clusters: int) -> bool:
    n_products = n_clusters * rows.n_features
    return (
        n_clusters >= _FEWEST_CLUSTERS
        and n_products >= _FEWEST_PRODUCTS
        and rows.n_points >= _FEWEST_ROWS_A_CLUSTER * n_clusters
        and rows.n_points * n_products >= _FEWEST_PRODUCTS_IN_ALL
    )
