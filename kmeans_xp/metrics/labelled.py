"""Points with labels, checked and placed, for the metrics of a clustering."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d

from kmeans_xp.blocks import Blocks, PerRow, computed, place
from kmeans_xp.devices import (
    Array,
    Namespace,
    Placement,
    accumulation_dtype,
    adopted,
    from_host,
    tile_shape,
    to_host,
)
from kmeans_xp.estimators.preparation import GREATEST_VARIANCE, prepared, refuse_overflow
from kmeans_xp.estimators.validation import checked_points
from kmeans_xp.kernels import ClusterTotals, Rows, cluster_sums, merged_in_tree

__all__ = ["Coded", "Labelled", "coded", "host_labels", "labelled", "points_and_labels"]

#: integer labels are counted, not sorted, if their range is at most this or the number of rows
_FEW = 2**16
#: distances are squared in float64, those of float32 rows too
_LIMITS = dict.fromkeys(GREATEST_VARIANCE, max(GREATEST_VARIANCE.values()))


class Coded(NamedTuple):
    """Labels as indices of clusters.

    Parameters
    ----------
    codes : ndarray of int32, shape (n_points,)
        0 for the least label, and so on; every code has rows.
    counts : ndarray of int64, shape (n_labels,)
        Number of rows with each code.
    """

    codes: NDArray[np.int32]
    counts: NDArray[np.int64]


class Labelled(NamedTuple):
    """Points on the device that computes, and the cluster of each.

    Parameters
    ----------
    blocks : Blocks
        The points, with their mean subtracted.
    labels : PerRow of int32
        Codes of the labels, on the points' device.
    origin : array of shape (n_features,)
        The blocks' origin.
    coded : Coded
        The labels on the host.
    placement : Placement
    """

    blocks: Blocks
    labels: PerRow
    origin: Array
    coded: Coded
    placement: Placement

    @property
    def n_clusters(self) -> int:
        """Number of different labels."""
        return len(self.coded.counts)

    def total(
        self, partial: Callable[..., Any], *operands: Any, per_row: tuple[PerRow, ...] = ()
    ) -> Any:
        """Return the sum of what ``partial`` gives for tiles of the rows.

        Parameters
        ----------
        partial : callable
            Called as ``partial(tile, labels, *per_row, *operands, xp=xp)``. The tile's points
            are in the accumulation dtype; a tile may hold a number for each row and cluster.
        *operands : any
            The same for every tile.
        per_row : tuple of PerRow
            Cut as the rows are.

        Returns
        -------
        array or NamedTuple of arrays
            The parts, added in a fixed order.
        """
        # Another machine may get what the function holds: so these numbers, and not all of self.
        n_arrays, n_clusters = 1 + len(per_row), self.n_clusters

        def of_rows(rows: Rows, *given: Any, xp: Namespace) -> Any:
            size, width = tile_shape(rows, n_clusters, xp=xp, n_numbers=rows.n_stored)
            tiles = rows.tiles(max(1, size * width // n_clusters))
            return merged_in_tree(
                partial(
                    tile.computed_in(accumulation_dtype(tile.device, xp=xp)),
                    *(array[place] for array in given[:n_arrays]),
                    *given[n_arrays:],
                    xp=xp,
                )
                for place, tile in tiles
            )

        return self.blocks.reduce(of_rows, *operands, per_row=(self.labels, *per_row))

    def totals(self) -> ClusterTotals:
        """Return the sum of each cluster's rows, relative to the mean, and their number."""
        totals: ClusterTotals = self.total(cluster_sums, self.n_clusters)
        return totals

    def is_alone(self) -> PerRow:
        """Return for each row whether it is the only one of its cluster."""
        is_single = (self.coded.counts == 1)[self.coded.codes]
        xp, device = self.placement.xp, self.placement.device
        return self.blocks.cut(from_host(is_single, xp=xp, device=device))


def points_and_labels(X: Any, labels: Any, *, anywhere: bool = False) -> tuple[Any, NDArray[Any]]:
    """Check X and the labels; return X where it is, and the labels on the host."""
    points = checked_points(X, anywhere=anywhere)
    on_host = host_labels(labels)
    check_consistent_length(np.empty(int(points.shape[0])), on_host)
    return points, on_host


def host_labels(labels: Any) -> NDArray[Any]:
    """Return labels of any kind and library as a 1-D array on the host."""
    # Compute lazy labels first: NumPy may not be able to convert their chunks.
    on_host: NDArray[Any] = column_or_1d(to_host(adopted(computed(labels))), warn=True)
    if on_host.dtype.kind in "fcO":
        assert_all_finite(on_host, input_name="labels")
    return on_host


def coded(labels: NDArray[Any]) -> Coded:
    """Return the labels as indices; ValueError unless 2 to n_points - 1 differ."""
    found = _counted(labels) if labels.dtype.kind in "iu" and labels.size else None
    if found is None:
        _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        found = Coded(codes.astype(np.int32), counts)
    n_labels, n_points = len(found.counts), len(labels)
    if not 1 < n_labels < n_points:
        raise ValueError(
            f"Number of labels is {n_labels}. Valid values are 2 to n_samples - 1 (inclusive)"
        )
    return found


@contextmanager
def labelled(
    points: Any, labels: NDArray[Any], device: str | None, metric: str = "euclidean"
) -> Iterator[Labelled]:
    """Place checked points and their labels; the ``with`` body works on their device."""
    found = coded(labels)
    placement = place(points, device)
    with placement.working():
        data = prepared(points, None, placement, metric)
        refuse_overflow(data, _LIMITS)
        codes = from_host(found.codes, xp=placement.xp, device=placement.device)
        yield Labelled(data.blocks, data.blocks.cut(codes), data.origin, found, placement)


def _counted(labels: NDArray[Any]) -> Coded | None:
    """Return integer labels as indices without sorting them; None if their range is large."""
    least, greatest = int(labels.min()), int(labels.max())
    if greatest - least >= max(len(labels), _FEW):
        return None
    # The comparison above is of Python integers: a difference of int8 labels may overflow.
    places = labels.astype(np.int64) - least if labels.dtype != np.uint64 else labels - least
    places = places.astype(np.int64)
    counts = np.bincount(places, minlength=greatest - least + 1)
    ranks = np.cumsum(counts > 0) - 1
    return Coded(ranks[places].astype(np.int32), counts[counts > 0])
