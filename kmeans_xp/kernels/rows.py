"""The rows that a kernel works on: points, their weights, and the origin to measure from."""

from collections.abc import Iterator
from typing import NamedTuple

from kmeans_xp.devices import Array, DType, Namespace, computing_dtype

__all__ = ["Rows"]


class Rows(NamedTuple):
    """Points with their weights, read relative to an origin.

    Distances are small differences of large numbers when the points lie far from zero, so
    every kernel sees ``points - origin``. The subtraction is done a tile at a time: a
    centred copy of the data would double the memory.

    Parameters
    ----------
    points : array of shape (n_points, n_features)
        Real floating; float16 and bfloat16 are computed in float32.
    weights : array of shape (n_points,), or None
        Non-negative; None says that every weight is 1.
    origin : array of shape (n_features,), or None
        In the dtype of the computation; None says zero.
    """

    points: Array
    weights: Array | None = None
    origin: Array | None = None

    @property
    def n_points(self) -> int:
        """Number of rows."""
        return int(self.points.shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.points.shape[1])

    def dtype(self, *, xp: Namespace) -> DType:
        """Return the dtype that these rows are computed in."""
        return computing_dtype(self.points.dtype, xp=xp)

    def centred(self, *, xp: Namespace) -> Array:
        """Return points - origin as one array, in the dtype of the computation."""
        points = xp.astype(self.points, self.dtype(xp=xp), copy=False)
        return points if self.origin is None else points - self.origin

    def part(self, start: int, stop: int) -> "Rows":
        """Return the rows from ``start`` up to ``stop``, without a copy."""
        weights = None if self.weights is None else self.weights[start:stop]
        return Rows(self.points[start:stop, :], weights, self.origin)

    def tiles(self, size: int) -> Iterator[tuple[slice, "Rows"]]:
        """Yield consecutive tiles of at most ``size`` rows, each with its place."""
        for start in range(0, self.n_points, size):
            stop = min(start + size, self.n_points)
            yield slice(start, stop), self.part(start, stop)
