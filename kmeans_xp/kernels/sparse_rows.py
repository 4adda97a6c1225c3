"""Rows of a sparse matrix; at most one tile of them is dense at a time."""

from collections.abc import Iterator
from typing import Any

from kmeans_xp.devices import (
    Array,
    Csr,
    Device,
    DType,
    SparseMatrix,
    dense_rows,
    device_of,
    gathered_parts,
    namespace_of,
    own_parts,
    sparse_matrix,
)
from kmeans_xp.kernels.rows import DenseRows, in_tiles

__all__ = ["SparseRows"]


class SparseRows:
    """Rows of a sparse matrix, whose zeros are not stored.

    Kernels that read only the stored numbers compute in float64, on numbers that are not centred.
    So float64 rows far from zero lose more digits than dense rows, which are centred first.
    float32 rows do not.

    Parameters
    ----------
    csr : Csr
        Numbers of float32 or float64, which is also the dtype to compute in.
    weights : array of shape (n_points,), or None
        As in ``Rows``.
    origin : array of shape (n_features,), or None
        As in ``Rows``.
    n_stored : int, optional
        Mean number of stored values of a row, where the arrays do not tell it.
    """

    def __init__(
        self,
        csr: Csr,
        weights: Array | None = None,
        origin: Array | None = None,
        n_stored: int | None = None,
    ) -> None:
        self.csr = csr
        self.weights = weights
        self.origin = origin
        self._n_stored = n_stored
        #: what kernels have computed about these rows and need again, by name
        self.kept: dict[str, Any] = {}

    @property
    def n_points(self) -> int:
        """Number of rows."""
        return int(self.csr.indptr.shape[0]) - 1

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.csr.n_features

    @property
    def n_stored(self) -> int:
        """Mean number of stored values of a row, at least 1."""
        if self._n_stored is None:
            self._n_stored = max(1, -(-int(self.csr.data.shape[0]) // max(1, self.n_points)))
        return self._n_stored

    @property
    def dtype(self) -> DType:
        """Dtype to compute the rows in."""
        return self.csr.data.dtype

    @property
    def device(self) -> Device:
        """Device of the rows."""
        return device_of(self.csr.data)

    def centred(self, dtype: DType | None = None) -> Array:
        """Return points - origin as one dense array."""
        return self._relative(dense_rows(self.csr), self.dtype if dtype is None else dtype)

    def part(self, start: int, stop: int) -> "SparseRows":
        """Return the rows from ``start`` up to ``stop``, without a copy."""
        weights = None if self.weights is None else self.weights[start:stop]
        csr = self.csr._replace(indptr=self.csr.indptr[start : stop + 1])
        return SparseRows(csr, weights, self.origin, self.n_stored)

    def tiles(self, size: int) -> Iterator[tuple[slice, "SparseRows"]]:
        """Yield consecutive tiles of at most ``size`` rows, each with its place."""
        return in_tiles(self, size)

    def take(self, indices: Array) -> DenseRows:
        """Return a few rows as dense ones, already relative to the origin."""
        weights = None if self.weights is None else self.weights[indices]
        return DenseRows(self._relative(dense_rows(self.csr, indices), self.dtype), weights)

    def gathered(self, indices: Array) -> "SparseRows":
        """Return some rows as sparse ones, measured from the same origin."""
        weights = None if self.weights is None else self.weights[indices]
        return SparseRows(gathered_parts(self.csr, indices), weights, self.origin)

    def seen_from(self, origin: Array | None) -> "SparseRows":
        """Return the same rows, measured from another origin."""
        return SparseRows(self.csr, self.weights, origin, self._n_stored)

    def unweighted(self) -> "SparseRows":
        """Return the same rows without weights."""
        return SparseRows(self.csr, None, self.origin, self._n_stored)

    def weighted(self, weights: Array) -> "SparseRows":
        """Return the same rows with these weights instead of their own."""
        return SparseRows(self.csr, weights, self.origin, self._n_stored)

    def computed_in(self, dtype: DType) -> "SparseRows":
        """Return the same rows, computed in another dtype."""
        if dtype == self.dtype:
            return self
        csr, xp = own_parts(self.csr), namespace_of(self.csr.data)
        weights, origin = (
            None if each is None else xp.astype(each, dtype) for each in (self.weights, self.origin)
        )
        numbers = xp.astype(csr.data, dtype)
        return SparseRows(csr._replace(data=numbers), weights, origin, self._n_stored)

    def as_given(self, about: Array) -> SparseMatrix:
        """Return the rows measured from zero, as a sparse matrix."""
        return sparse_matrix(self.csr)

    def _relative(self, points: Array, dtype: DType) -> Array:
        xp = namespace_of(points)
        points = xp.astype(points, dtype, copy=False)
        if self.origin is not None:
            points -= xp.astype(self.origin, dtype, copy=False)  # in place: it is our own array
        return points
