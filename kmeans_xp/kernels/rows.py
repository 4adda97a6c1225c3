"""The rows that a kernel works on: points, their weights, and the origin to measure from."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, Self

from kmeans_xp.devices import Array, Device, DType, computing_dtype, device_of, namespace_of, taken

__all__ = ["DenseRows", "Rows"]


class Rows(Protocol):
    """Points on one device, however they are stored, read relative to an origin.

    Where points lie far from zero, distances are small differences of large numbers. So every
    kernel gets ``points - origin``. It is subtracted tile by tile: a centred copy of the data
    would double the memory.
    """

    @property
    def n_points(self) -> int:
        """Number of rows."""

    @property
    def n_features(self) -> int:
        """Number of columns."""

    @property
    def n_stored(self) -> int:
        """Mean number of stored values of a row, at least 1."""

    @property
    def dtype(self) -> DType:
        """Dtype to compute the rows in: float64 or float32."""

    @property
    def device(self) -> Device:
        """Device of the points, in their library's terms."""

    @property
    def weights(self) -> Array | None:
        """Non-negative, of shape (n_points,), in ``dtype``; None means that every weight is 1."""

    @property
    def origin(self) -> Array | None:
        """Point to measure from, of shape (n_features,), in ``dtype``; None means zero."""

    def centred(self, dtype: DType | None = None) -> Array:
        """Return points - origin as one dense array, computed in ``dtype``; call it on a tile."""

    def part(self, start: int, stop: int) -> Self:
        """Return the rows from ``start`` up to ``stop``."""

    def tiles(self, size: int) -> Iterator[tuple[slice, Self]]:
        """Yield consecutive tiles of at most ``size`` rows, each with its place."""

    def take(self, indices: Array) -> "DenseRows":
        """Return some rows as dense rows without an origin, already relative to this one."""

    def gathered(self, indices: Array) -> "Rows":
        """Return some rows, also many, as they are stored and measured from the same point."""

    def seen_from(self, origin: Array | None) -> Self:
        """Return the same rows, measured from another origin."""

    def unweighted(self) -> Self:
        """Return the same rows without weights."""

    def weighted(self, weights: Array) -> Self:
        """Return the same rows with these weights instead of their own."""

    def computed_in(self, dtype: DType) -> "Rows":
        """Return the same rows, measured from the same point and computed in ``dtype``."""

    def as_given(self, about: Array) -> Any:
        """Return the user's rows; rows without an origin had ``about`` subtracted: add it back."""


class DenseRows(NamedTuple):
    """Rows of one dense array.

    Parameters
    ----------
    points : array of shape (n_points, n_features)
        Real floating; kernels compute float16 and bfloat16 in float32.
    weights : array of shape (n_points,), or None
        As in ``Rows``.
    origin : array of shape (n_features,), or None
        As in ``Rows``.
    """

    points: Array
    weights: Array | None = None
    origin: Array | None = None

    @property
    def n_points(self) -> int:
        """Number of rows."""
        return self.points.shape[0]  # type: ignore[no-any-return]

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.points.shape[1]  # type: ignore[no-any-return]

    @property
    def n_stored(self) -> int:
        """Number of values in a row."""
        return max(1, self.n_features)

    @property
    def dtype(self) -> DType:
        """Dtype to compute the rows in."""
        return computing_dtype(self.points.dtype, xp=namespace_of(self.points))

    @property
    def device(self) -> Device:
        """Device of the points."""
        return device_of(self.points)

    def centred(self, dtype: DType | None = None) -> Array:
        """Return points - origin as one array."""
        xp = namespace_of(self.points)
        dtype = computing_dtype(self.points.dtype, xp=xp) if dtype is None else dtype
        points = xp.astype(self.points, dtype, copy=False)
        return points if self.origin is None else points - xp.astype(self.origin, dtype, copy=False)

    def part(self, start: int, stop: int) -> "DenseRows":
        """Return the rows from ``start`` up to ``stop``, without a copy."""
        weights = None if self.weights is None else self.weights[start:stop]
        return DenseRows(self.points[start:stop, :], weights, self.origin)

    def tiles(self, size: int) -> Iterator[tuple[slice, "DenseRows"]]:
        """Yield consecutive tiles of at most ``size`` rows, each with its place."""
        return in_tiles(self, size)

    def take(self, indices: Array) -> "DenseRows":
        """Return some rows, already relative to the origin."""
        xp = namespace_of(self.points)
        points = taken(self.points, indices)
        points = xp.astype(points, computing_dtype(points.dtype, xp=xp), copy=False)
        if self.origin is not None:
            points -= xp.astype(
                self.origin, points.dtype, copy=False
            )  # in place: it is our own array
        return DenseRows(points, None if self.weights is None else xp.take(self.weights, indices))

    def gathered(self, indices: Array) -> "DenseRows":
        """Return some rows, already relative to the origin."""
        return self.take(indices)

    def seen_from(self, origin: Array | None) -> "DenseRows":
        """Return the same rows, measured from another origin."""
        return DenseRows(self.points, self.weights, origin)

    def unweighted(self) -> "DenseRows":
        """Return the same rows without weights."""
        return DenseRows(self.points, None, self.origin)

    def weighted(self, weights: Array) -> "DenseRows":
        """Return the same rows with these weights instead of their own."""
        return DenseRows(self.points, weights, self.origin)

    def computed_in(self, dtype: DType) -> "DenseRows":
        """Return the same rows, relative to the origin; cast before it is subtracted."""
        xp, weights = namespace_of(self.points), self.weights
        if weights is not None:
            weights = xp.astype(weights, dtype, copy=False)
        return DenseRows(self.centred(dtype), weights)

    def as_given(self, about: Array) -> Array:
        """Return the rows measured from zero."""
        if self.origin is None:
            return self.centred() + about
        return self.seen_from(None).centred()


def in_tiles(rows: Any, size: int) -> Iterator[tuple[slice, Any]]:
    """Yield consecutive parts of at most ``size`` rows, each with its place."""
    for start in range(0, rows.n_points, size):
        stop = min(start + size, rows.n_points)
        yield slice(start, stop), rows.part(start, stop)
