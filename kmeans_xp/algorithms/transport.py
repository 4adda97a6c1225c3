"""Assign rows to clusters of bounded size at the smallest total cost.

This is the transport problem. The host solves it by shortest paths between the few clusters,
instead of a network with a node for each row. No cost is rounded to an integer.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["SizeBounds", "cheapest_labels"]

#: First solve the problem for every fourth row, while clusters keep enough rows: with the prices
#: found there, few rows have to move.
_THINNING = 4
_ROWS_A_CLUSTER = 16
#: a price up to this share of the greatest cost counts as 0
_ROUNDING = 1e-12

Costs = NDArray[np.float64]
Labels = NDArray[np.int32]


class SizeBounds(NamedTuple):
    """How many rows a cluster may have.

    Parameters
    ----------
    least : int
        At most n_rows / n_clusters.
    most : int
        At least n_rows / n_clusters.
    """

    least: int
    most: int


def cheapest_labels(costs: Costs, bounds: SizeBounds) -> Labels:
    """Return the labels with the smallest total cost that keep to the bounds.

    Parameters
    ----------
    costs : float64 array of shape (n_clusters, n_rows)
        Cost of each row in each cluster.
    bounds : SizeBounds
        Bounds of each cluster's number of rows.

    Returns
    -------
    int32 array of shape (n_rows,)
        The total cost is smallest up to rounding in float64. Equal costs give equal labels.

    Notes
    -----
    Successive shortest paths [1]_. Each cluster has a price that its rows pay. Each row is in the
    cluster where its cost plus the price is smallest: no other labels with the same sizes cost
    less. While a cluster has too many rows, rows move along the path of clusters that adds least
    to the costs, and prices follow. A path takes O(n_clusters^2) operations for each of its steps,
    and one pass over the rows of its clusters.

    References
    ----------
    .. [1] R. K. Ahuja, T. L. Magnanti and J. B. Orlin, "Network Flows", Prentice Hall (1993),
       section 9.7.
    """
    return _Residual(costs, bounds, _first_prices(costs, bounds)).solved().labels


def _first_prices(costs: Costs, bounds: SizeBounds) -> Costs:
    """Return the prices of a problem of some of the rows, or zeros where they are few."""
    n_clusters, n_rows = costs.shape
    if n_rows <= _ROWS_A_CLUSTER * n_clusters:
        return np.zeros(n_clusters)
    some = np.ascontiguousarray(costs[:, ::_THINNING])
    n_some = some.shape[1]
    theirs = SizeBounds(bounds.least * n_some // n_rows, -(-bounds.most * n_some // n_rows))
    prices = _Residual(some, theirs, _first_prices(some, theirs)).solved().prices
    # A price that is 0 up to rounding would mean that its cluster is full.
    prices[np.abs(prices) <= _ROUNDING * np.max(np.abs(some))] = 0.0
    return prices


class _Residual:
    """The graph of possible changes: its nodes are the clusters and, last, the market.

    An edge from cluster to cluster moves a row there. Each cluster owes the market a number of
    rows within the bounds, ``due``. An edge to the market raises it by one, and an edge from the
    market lowers it by one, both at no cost. The labels are found when each cluster has the rows
    that are due.

    Parameters
    ----------
    costs : float64 array of shape (n_clusters, n_rows)
    bounds : SizeBounds
    prices : float64 array of shape (n_clusters,)
        Initial prices. Any will do; good ones save paths.
    """

    def __init__(self, costs: Costs, bounds: SizeBounds, prices: Costs) -> None:
        self.costs, self.bounds = costs, bounds
        n_clusters = len(costs)
        self.market = n_clusters
        self._prices = np.append(prices, 0.0)
        self.labels: Labels = np.argmin(costs + prices[:, None], axis=0).astype(np.int32)
        self.sizes = np.bincount(self.labels, minlength=n_clusters)
        # A price above 0 means that the cluster is full; below 0, that it has the fewest allowed.
        due = np.clip(self.sizes, *bounds)
        self.due = np.where(prices > 0.0, bounds.most, np.where(prices < 0.0, bounds.least, due))
        #: what each edge adds to the costs; a lower bound where its row is unknown (-1)
        self.lengths = np.full((n_clusters + 1, n_clusters + 1), np.inf)
        self.rows = np.full((n_clusters + 1, n_clusters + 1), -1)
        self._measure_clusters()
        self._measure_market()

    @property
    def prices(self) -> Costs:
        """Prices of the clusters, relative to the market's."""
        relative: Costs = self._prices[:-1] - self._prices[-1]
        return relative

    def solved(self) -> "_Residual":
        """Move rows until each cluster has the number that is due."""
        while (excess := self._excess()).any():
            path, raised = self._shortest_path(excess)
            are_measured = [self._is_measured(*edge) for edge in pairwise(path)]
            # Where a length was too small, another path may be the shortest.
            if all(are_measured):
                self._prices += raised
                self._move_along(path)
        return self

    def _excess(self) -> NDArray[np.int64]:
        """Return how many rows each node has above the number due."""
        of_clusters = self.sizes - self.due
        return np.append(of_clusters, -of_clusters.sum())

    def _shortest_path(self, excess: NDArray[np.int64]) -> tuple[list[int], Costs]:
        """Return the shortest path from a node with too many rows to one with too few.

        Also return how much each price rises. This is the algorithm of Bellman and Ford.
        """
        # What each edge adds to costs and prices: at least 0, up to rounding.
        reduced = self.lengths + self._prices[None, :] - self._prices[:, None]
        towards = np.ascontiguousarray(np.maximum(reduced, 0.0).T)
        far = np.where(excess > 0, 0.0, np.inf)
        before, nodes = np.full(len(far), -1), np.arange(len(far))
        while True:
            through = towards + far
            last = np.argmin(through, axis=1)
            is_nearer = through[nodes, last] < far
            if not is_nearer.any():
                break
            before[is_nearer] = last[is_nearer]
            far[is_nearer] = through[nodes, last][is_nearer]
        end = int(np.argmin(np.where(excess < 0, far, np.inf)))
        path = [end]
        while before[path[-1]] >= 0:
            path.append(int(before[path[-1]]))
        return path[::-1], np.maximum(far[end] - far, 0.0)

    def _is_measured(self, start: int, end: int) -> bool:
        """Return whether an edge's length is right; measure it if its row is unknown."""
        if self.market in (start, end) or self.rows[start, end] >= 0:
            return True
        members = np.flatnonzero(self.labels == start)
        added = self.costs[end, members] - self.costs[start, members]
        place = int(np.argmin(added))
        before = self.lengths[start, end]
        self.lengths[start, end], self.rows[start, end] = added[place], members[place]
        return bool(added[place] <= before)

    def _move_along(self, path: list[int]) -> None:
        edges = list(pairwise(path))
        # Choose all rows before any moves: a row that arrives on this path does not move again.
        moves = [(*edge, int(self.rows[edge])) for edge in edges if self.market not in edge]
        for start, end in edges:
            if end == self.market:
                self.due[start] += 1
            elif start == self.market:
                self.due[end] -= 1
        for start, end, row in moves:
            self.labels[row] = end
            self.sizes[start] -= 1
            self.sizes[end] += 1
            self.rows[start, self.rows[start] == row] = -1
            if self.sizes[start] == 0:
                self.lengths[start, : self.market] = np.inf
        for _, end, row in moves:
            self._measure_arrival(end, row)
        self._measure_market()

    def _measure_clusters(self) -> None:
        """Measure all edges between clusters, without their rows."""
        (present,) = np.nonzero(self.sizes)
        order = np.argsort(self.labels, kind="stable")
        starts = (np.cumsum(self.sizes) - self.sizes)[present]
        own = self.costs[self.labels[order], order]
        for end in range(self.market):
            added = self.costs[end, order] - own
            self.lengths[present, end] = np.minimum.reduceat(added, starts)
        np.fill_diagonal(self.lengths, np.inf)

    def _measure_arrival(self, cluster: int, row: int) -> None:
        """Update the edges of a cluster that its new row makes shorter."""
        added = self.costs[:, row] - self.costs[cluster, row]
        added[cluster] = np.inf
        (ends,) = np.nonzero(added < self.lengths[cluster, : self.market])
        self.lengths[cluster, ends], self.rows[cluster, ends] = added[ends], row

    def _measure_market(self) -> None:
        self.lengths[:-1, -1] = np.where(self.due < self.bounds.most, 0.0, np.inf)
        self.lengths[-1, :-1] = np.where(self.due > self.bounds.least, 0.0, np.inf)
