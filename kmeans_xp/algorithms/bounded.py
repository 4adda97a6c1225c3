"""Steps of Lloyd's algorithm that skip rows whose nearest centroid cannot have changed."""

from collections.abc import Callable
from typing import NamedTuple

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels import (
    Bounds,
    LloydSteps,
    Rows,
    Update,
    bounded_step,
    bounded_steps,
    keeps_bounds,
    lloyd_steps,
    nearest_labels,
    rules_out_scores,
)

__all__ = ["ALGORITHMS", "BoundedStep", "bounds_for"]

#: names that ``lloyd`` knows
ALGORITHMS = ("auto", "lloyd", "hamerly", "elkan")

#: With less work a row than this, bounds cost about as much time as the scores they save.
_FEWEST_CLUSTERS = 20
_FEWEST_PRODUCTS = 1024
#: least rows a cluster: with fewer, distances between centroids take too much of the time
_FEWEST_ROWS_A_CLUSTER = 100
#: work on all rows, some milliseconds, from which the time to prepare a step is negligible
_FEWEST_PRODUCTS_IN_ALL = 2**27
#: features from which two clusters keep bounds: reading a row then takes most of a step
_FEWEST_FEATURES_OF_PAIRS = 32
#: features from which steps add up by features
_MOST_FEATURES_OF_PAIRS = 2**15
#: numbers of rows from which they do: fewer lie in a cache
_FEWEST_NUMBERS_OF_PAIRS = 2**19
#: work a row from which the time for bounds is negligible
_MANY_PRODUCTS = 8192


class Patience(NamedTuple):
    """When to go on with plain steps: bounds only cost time where most rows are visited anyway.

    Parameters
    ----------
    n_plain : int
        Plain steps before the first one that keeps bounds.
    pause : int
        Plain steps after the first step that visited too many rows. It doubles each time, so
        data on which bounds never pay take hardly longer.
    share : float
        Share of the rows that a step may visit before it is slower than a plain one.
    """

    n_plain: int = 0
    pause: int = 1
    share: float = 1.0


#: "hamerly" always keeps bounds
_ENDLESS = Patience()
_LONG = Patience(pause=1, share=0.85)
_SHORT = Patience(n_plain=6, pause=8, share=0.4)
#: for rows of which a plain step skips most scores, while a step with bounds skips no score
_RARE = Patience(n_plain=10, pause=16, share=0.25)


class BoundedStep:
    """Gives bit for bit what the kernel ``lloyd_steps`` gives, and remembers bounds of the rows.

    The results are the same, so bounds change only the time.

    Parameters
    ----------
    patience : Patience
        By default every step keeps bounds.

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

    def steps(
        self,
        rows: Rows,
        centroids: Array,
        n_steps: int,
        tol: float,
        update: Callable[..., Update],
        *,
        xp: Namespace,
    ) -> LloydSteps:
        """Return one step, or several where that is cheaper, as ``lloyd_steps`` does."""
        if self._n_plain > 0:
            self._n_plain -= 1
            self.n_visited.append(rows.n_points)
            return lloyd_steps(rows, centroids, 1, tol, update, xp=xp)
        had_bounds = self.bounds.labels is not None
        most = self.patience.share * rows.n_points
        taken = bounded_steps(rows, centroids, n_steps, tol, update, self.bounds, most, xp=xp)
        self.n_visited += taken.n_visited
        # A first step has no bounds yet and visits all rows: that predicts nothing.
        is_first = not had_bounds and len(taken.n_visited) == 1
        if not is_first and taken.n_visited[-1] > most:
            self.bounds.forget()
            self._n_plain, self._pause = self._pause, 2 * self._pause
        return taken.steps

    def labels(self, rows: Rows, centroids: Array, *, xp: Namespace) -> Array:
        """Return the labels of ``nearest_labels``, and forget the rows."""
        if self.bounds.labels is None:
            return nearest_labels(rows, centroids, xp=xp)
        bounded_step(rows, centroids, self.bounds, xp=xp)
        labels = self.bounds.labels
        self.bounds.forget()
        # A body without bounds may have taken the step.
        return nearest_labels(rows, centroids, xp=xp) if labels is None else labels


def bounds_for(rows: Rows, n_clusters: int, algorithm: str, *, xp: Namespace) -> BoundedStep | None:
    """Return a ``BoundedStep`` for one run, or None if plain steps are as fast.

    Parameters
    ----------
    rows : Rows
        All rows: the next step needs the bounds of each.
    n_clusters : int
        Number of centroids.
    algorithm : {"auto", "lloyd", "hamerly", "elkan"}
        "auto" keeps Hamerly's bounds where they are likely to pay, "hamerly" always. "elkan" is
        the same as "hamerly": Elkan's own bounds, one for each row and cluster, were never faster.
    xp : namespace

    Returns
    -------
    BoundedStep or None
        Use it for one run only.
    """
    if algorithm == "lloyd":
        return None
    if algorithm == "auto":
        is_worth_them = _are_wide(rows) if n_clusters == 2 else _is_worth(rows, n_clusters)
        if not is_worth_them:
            return None
    if not keeps_bounds(rows, n_clusters, xp=xp):
        return None
    if algorithm != "auto":
        return BoundedStep()
    if n_clusters == 2:
        return BoundedStep(_LONG)
    if n_clusters * rows.n_features < _MANY_PRODUCTS:
        return BoundedStep(_SHORT)
    return BoundedStep(_RARE if rules_out_scores(rows, n_clusters, xp=xp) else _LONG)


def _are_wide(rows: Rows) -> bool:
    """Return whether bounds of two clusters pay: where rows have many features."""
    if rows.weights is not None:
        return False
    is_wide = _FEWEST_FEATURES_OF_PAIRS <= rows.n_features <= _MOST_FEATURES_OF_PAIRS
    return is_wide and rows.n_points * rows.n_features >= _FEWEST_NUMBERS_OF_PAIRS


def _is_worth(rows: Rows, n_clusters: int) -> bool:
    n_products = n_clusters * rows.n_features
    return (
        n_clusters >= _FEWEST_CLUSTERS
        and n_products >= _FEWEST_PRODUCTS
        and rows.n_points >= _FEWEST_ROWS_A_CLUSTER * n_clusters
        and rows.n_points * n_products >= _FEWEST_PRODUCTS_IN_ALL
    )
