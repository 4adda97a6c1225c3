"""Mean distances of sparse rows to clusters; a row is measured to rows that share its features.

Rows are taken in the order of their clusters, and their numbers column by column. What a row has in
common with all others is then a sum over the columns that it has numbers of. Each pair of rows is
measured once, and added to the sums of both.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import within_budget
from kmeans_xp.kernels.for_numba.compiled import (
    COLUMNS,
    COUNT,
    FLAG,
    INDICES,
    LABEL_RESULTS,
    NUMBERS,
    NUMBERS_64,
    RESULTS,
    STARTS,
    SUMS,
    TOTALS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.sparse_measuring import sq_norms_of
from kmeans_xp.kernels.for_numba.sparse_panels import arrays_of, in_ranges, override
from kmeans_xp.kernels.for_numba.tiling import Floats, Labels
from kmeans_xp.kernels.portable.silhouette import SilhouetteDistances, silhouette_distances
from kmeans_xp.kernels.sparse_rows import SparseRows
from kmeans_xp.kernels.threads import in_threads

__all__: list[str] = []

#: bytes of the sums of all rows to all clusters, up to which pairs are measured once
_MOST_SUMS = 2**26
#: tasks where each row is measured to all others
_MOST_TASKS = 64


@compiled(NUMBERS, COLUMNS, STARTS, STARTS, INDICES, LABEL_RESULTS, RESULTS)
def _by_columns(numbers, columns, starts, order, column_starts, places, values):
    """Write the rows' places in the order, and their numbers, column after column."""
    column_starts[:] = 0
    for place in range(len(order)):
        row = order[place]
        for at in range(starts[row], starts[row + 1]):
            column_starts[columns[at] + 1] += 1
    for column in range(len(column_starts) - 1):
        column_starts[column + 1] += column_starts[column]
    for place in range(len(order)):
        row = order[place]
        for at in range(starts[row], starts[row + 1]):
            here = column_starts[columns[at]]
            places[here], values[here] = place, numbers[at]
            column_starts[columns[at]] = here + 1
    for column in range(len(column_starts) - 1, 0, -1):
        column_starts[column] = column_starts[column - 1]
    column_starts[0] = 0


@inline
def first_from(places, start, stop, least):
    """Return where the first place that is not before ``least`` stands."""
    while start < stop:
        middle = (start + stop) // 2
        if places[middle] < least:
            start = middle + 1
        else:
            stop = middle
    return start


@compiled(
    NUMBERS,
    COLUMNS,
    STARTS,
    STARTS,
    STARTS,
    COLUMNS,
    NUMBERS,
    STARTS,
    NUMBERS_64,
    COUNT,
    COUNT,
    COUNT,
    FLAG,
    TOTALS,
)
def _measure(
    numbers,
    columns,
    starts,
    order,
    column_starts,
    places,
    values,
    bounds,
    sq_norms,
    first,
    last,
    cluster,
    is_once,
    sums,
):
    """Add the distances of rows at some places of a cluster to all others', or all after them.

    ``sums`` are those of each cluster to each place; if every pair is not met just once, those of
    the rows at these places alone, from the first on.
    """
    n_points = len(order)
    shared = np.zeros(n_points)
    for place in range(first, last):
        row, begin = order[place], place + 1 if is_once else 0
        for at in range(starts[row], starts[row + 1]):
            number, column = np.float64(numbers[at]), columns[at]
            start, stop = column_starts[column], column_starts[column + 1]
            for other in range(first_from(places, start, stop, begin), stop):
                shared[places[other]] += number * np.float64(values[other])
        norm, eps = sq_norms[place], (0.5 * (starts[row + 1] - starts[row]) + 4.0) * 2.0**-52
        for other in range(begin, n_points):
            both = norm + sq_norms[other]
            squared = both - 2.0 * shared[other]
            # Equal rows are at distance 0, without rounding error.
            shared[other] = np.sqrt(squared if squared > eps * both else 0.0)
        if is_once:
            for other in range(begin, n_points):
                sums[cluster, other] += shared[other]
        # Earlier tasks measure the pairs with earlier rows, and add them to both rows.
        for other_cluster in range(cluster if is_once else 0, len(bounds) - 1):
            total = 0.0
            for other in range(max(bounds[other_cluster], begin), bounds[other_cluster + 1]):
                total += shared[other]
            sums[other_cluster, place if is_once else place - first] += total
        for other in range(begin, n_points):
            shared[other] = 0.0


@compiled(NUMBERS_64, STARTS, STARTS, COUNT, COUNT, COUNT, SUMS, SUMS)
def _means(sums, order, bounds, first, last, n_columns, within, nearest):
    """Write the means of rows at some places, whose sums have ``n_columns`` columns."""
    own = 0
    for place in range(first, last):
        while bounds[own + 1] <= place:
            own += 1
        row, at = order[place], place - first
        nearest[row] = np.inf
        for cluster in range(len(bounds) - 1):
            n_rows = bounds[cluster + 1] - bounds[cluster]
            total = sums[cluster * n_columns + at]
            if cluster == own:
                within[row] = total / max(n_rows - 1, 1)
            elif n_rows > 0:
                nearest[row] = min(nearest[row], total / n_rows)


class _Sorted(NamedTuple):
    """Rows and their numbers in the order of the clusters.

    Parameters
    ----------
    rows : tuple of arrays
        Numbers, columns, and where rows begin.
    order : array of int64
    column_starts, places, values : arrays
        The places of the rows that have numbers of a column, ascending, and those numbers.
    bounds : array of int64
        Where clusters begin and end.
    sq_norms : array of float64
        Of the row at each place.
    """

    rows: tuple[Any, ...]
    order: NDArray[np.int64]
    column_starts: NDArray[np.int64]
    places: NDArray[np.int32]
    values: Floats
    bounds: NDArray[np.int64]
    sq_norms: Floats

    @classmethod
    def of(cls, rows: SparseRows, order: Any, bounds: Sequence[int]) -> "_Sorted":
        """Return the rows in this order."""
        arrays, dtype = arrays_of(rows), rows.csr.data.dtype
        order, ends = (np.ascontiguousarray(each, np.int64) for each in (order, bounds))
        n_numbers = int(rows.csr.indptr[-1] - rows.csr.indptr[0])
        starts, places = np.empty(rows.n_features + 1, np.int64), np.empty(n_numbers, np.int32)
        values = np.empty(n_numbers, dtype)
        _by_columns[dtype](*arrays, order, starts, places, values)
        # Distances do not depend on the origin; from zero they are of the stored numbers alone.
        sq_norms = sq_norms_of(rows.seen_from(None))[order]
        return cls(arrays, order, starts, places, values, ends, sq_norms)

    def measure(self, first: int, last: int, cluster: int, sums: Floats, *, is_once: bool) -> None:
        """Add distances of the rows at some places to ``sums``."""
        rows, *others = self
        given = (first, last, cluster, is_once, sums)
        _measure[self.values.dtype](*rows, *others, *given)

    def means(self, first: int, last: int, sums: Floats, found: SilhouetteDistances) -> None:
        """Write the mean distances of the rows at some places."""
        given = (first, last, sums.shape[1], *found)
        _means[self.values.dtype](sums.reshape(-1), self.order, self.bounds, *given)


@override(silhouette_distances)
def met_by_shared_features(
    rows: SparseRows,
    labels: Labels,
    order: NDArray[np.int64],
    bounds: Sequence[int],
) -> SilhouetteDistances:
    """Measure each pair once, or one of a pair at a time where the sums would be large."""
    n_points, n_clusters = rows.n_points, len(bounds) - 1
    ordered = _Sorted.of(rows, order, bounds)
    found = SilhouetteDistances(np.empty(n_points), np.empty(n_points))
    if 8 * n_points * n_clusters <= within_budget(_MOST_SUMS):
        sums = np.zeros((n_clusters, n_points))

        def measure_cluster(cluster: int) -> None:
            # All rows of a cluster in one task: it alone writes what they and others add.
            first, last = bounds[cluster], bounds[cluster + 1]
            ordered.measure(first, last, cluster, sums, is_once=True)

        in_threads(measure_cluster, n_clusters)
        ordered.means(0, n_points, sums, found)
        return found

    def measure(first: int, last: int) -> None:
        own = np.zeros((n_clusters, last - first))
        ordered.measure(first, last, 0, own, is_once=False)
        ordered.means(first, last, own, found)

    in_ranges(measure, n_points, max(_MOST_TASKS, 8 * n_points * n_clusters // _MOST_SUMS))
    return found
