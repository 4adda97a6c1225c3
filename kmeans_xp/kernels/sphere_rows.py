"""Rows scaled to one length, so that only their direction counts; dense ones tile by tile."""

from collections.abc import Iterator
from typing import NamedTuple

from kmeans_xp.devices import (
    Array,
    Device,
    DType,
    Namespace,
    computing_dtype,
    namespace_of,
    scaled_data,
    taken,
)
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.rows import DenseRows, Rows, in_tiles
from kmeans_xp.kernels.sparse_rows import SparseRows

__all__ = ["RADIUS", "SphereRows", "on_sphere", "rows_on_sphere"]

#: Length of the scaled rows. For unit vectors, |u - v|^2 = 2 (1 - cos). So at this length the
#: squared distance of two rows is their cosine distance, and inertia needs no factor.
RADIUS = 0.5**0.5


class SphereRows(NamedTuple):
    """Rows of one dense array, each scaled to length ``RADIUS`` when it is read.

    Parameters
    ----------
    points : array of shape (n_points, n_features)
        As in ``DenseRows``, not scaled. A row of zeros stays a row of zeros.
    weights : array of shape (n_points,), or None
        As in ``Rows``.
    origin : array of shape (n_features,), or None
        As in ``Rows``; subtracted from the scaled rows.
    factors : array of shape (n_points,), or None
        As from the kernel ``sphere_factors``.
    """

    points: Array
    weights: Array | None = None
    origin: Array | None = None
    factors: Array | None = None

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
        return DenseRows(self.points).dtype

    @property
    def device(self) -> Device:
        """Device of the points."""
        return DenseRows(self.points).device

    def centred(self, dtype: DType | None = None) -> Array:
        """Return the scaled points - origin as one array."""
        return self.scaled(dtype).centred(dtype)

    def scaled(self, dtype: DType | None = None) -> DenseRows:
        """Return the same rows as a scaled copy: for one tile."""
        points = _scaled(self.points, dtype, xp=namespace_of(self.points))
        return DenseRows(points, self.weights, self.origin)

    def part(self, start: int, stop: int) -> "SphereRows":
        """Return the rows from ``start`` up to ``stop``, without a copy."""
        weights = None if self.weights is None else self.weights[start:stop]
        factors = None if self.factors is None else self.factors[start:stop]
        return SphereRows(self.points[start:stop, :], weights, self.origin, factors)

    def tiles(self, size: int) -> Iterator[tuple[slice, "SphereRows"]]:
        """Yield consecutive tiles of at most ``size`` rows, each with its place."""
        return in_tiles(self, size)

    def take(self, indices: Array) -> DenseRows:
        """Return some rows, scaled and relative to the origin."""
        xp = namespace_of(self.points)
        points = taken(self.points, indices)
        if self.factors is None:
            points = _scaled(points, xp=xp)
        else:  # a row's factor does not depend on others, so the bits are those of `_scaled`
            points *= xp.take(self.factors, indices)[:, None]  # in place: it is our own array
        if self.origin is not None:
            points = points - xp.astype(self.origin, points.dtype, copy=False)
        return DenseRows(points, None if self.weights is None else xp.take(self.weights, indices))

    def gathered(self, indices: Array) -> DenseRows:
        """Return some rows, scaled and relative to the origin."""
        return self.take(indices)

    def seen_from(self, origin: Array | None) -> "SphereRows":
        """Return the same rows, measured from another origin."""
        return self._replace(origin=origin)

    def unweighted(self) -> "SphereRows":
        """Return the same rows without weights."""
        return self._replace(weights=None)

    def weighted(self, weights: Array) -> "SphereRows":
        """Return the same rows with these weights instead of their own."""
        return self._replace(weights=weights)

    def computed_in(self, dtype: DType) -> DenseRows:
        """Return the same rows, scaled in ``dtype`` and relative to the origin."""
        return self.scaled(dtype).computed_in(dtype)

    def as_given(self, about: Array) -> Array:
        """Return the scaled rows measured from zero."""
        return self.seen_from(None).centred()


def _scaled(points: Array, dtype: DType | None = None, *, xp: Namespace) -> Array:
    """Return points scaled to length ``RADIUS``."""
    dtype = computing_dtype(points.dtype, xp=xp) if dtype is None else dtype
    return on_sphere(xp.astype(points, dtype, copy=False), xp=xp)


@kernel(vectors="kd")
def on_sphere(vectors: Array, *, xp: Namespace) -> Array:
    """Return vectors scaled to length ``RADIUS``; zeros stay zeros.

    Parameters
    ----------
    vectors : array of shape (n_vectors, n_features)
        Real floating, of any length: squares cannot overflow, since numbers are scaled to 1 first.
    xp : namespace

    Returns
    -------
    array of shape (n_vectors, n_features)
    """
    greatest = xp.max(xp.abs(vectors), axis=1, keepdims=True)
    vectors = vectors / xp.where(greatest > 0.0, greatest, xp.ones_like(greatest))
    lengths = xp.sqrt(xp.vecdot(vectors, vectors))[:, None]
    return vectors * (RADIUS / xp.where(lengths > 0.0, lengths, xp.ones_like(lengths)))


def rows_on_sphere(rows: Rows, factors: Array | None = None) -> Rows:
    """Return the same rows, each scaled to length ``RADIUS``; sparse rows' numbers are copied.

    Parameters
    ----------
    rows : DenseRows or SparseRows
        Without an origin.
    factors : array of shape (n_points,), or None
        Of dense rows, as of the kernel ``sphere_factors``.

    Returns
    -------
    SphereRows or SparseRows
    """
    if isinstance(rows, SparseRows):
        csr = rows.csr._replace(data=scaled_data(rows.csr, RADIUS))
        return SparseRows(csr, rows.weights, n_stored=rows.n_stored)
    assert isinstance(rows, DenseRows)
    return SphereRows(rows.points, rows.weights, factors=factors)
