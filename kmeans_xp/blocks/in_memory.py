"""Rows that lie in one array on one device."""

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from kmeans_xp.blocks.replay import Replay
from kmeans_xp.devices import (
    Array,
    Device,
    DType,
    Namespace,
    device_of,
    from_host,
    is_out_of_memory,
    library_name,
    shrink_tiles,
)
from kmeans_xp.kernels import Rows, added, drawn

__all__ = ["InMemory"]

T = TypeVar("T")

#: numbers that a GPU reads in less time than its host takes to launch a few kernels
_FEW_NUMBERS = 2**22


class InMemory:
    """All rows as one block, which the kernels tile themselves.

    Parameters
    ----------
    rows : Rows
        On one device.
    xp : namespace
    """

    def __init__(self, rows: Rows, *, xp: Namespace) -> None:
        self.rows = rows
        self.xp = xp

    @property
    def n_points(self) -> int:
        """Number of rows."""
        return self.rows.n_points

    @property
    def device(self) -> Device:
        """Device of the rows."""
        return device_of(self.rows.points)

    @property
    def dtype(self) -> DType:
        """Dtype that the rows are computed in."""
        return self.rows.dtype(xp=self.xp)

    @property
    def is_asynchronous(self) -> bool:
        """Whether work is queued on the device while the host goes on."""
        return library_name(self.xp) == "cupy"

    @property
    def is_whole(self) -> bool:
        """Whether a kernel sees all rows at once, and the host does not run ahead of it."""
        return not self.is_asynchronous

    @property
    def is_small(self) -> bool:
        """Whether the device has more to do with launching kernels than with running them."""
        return self.is_asynchronous and self.rows.points.size <= _FEW_NUMBERS

    def reduce(
        self,
        partial: Callable[..., Any],
        *operands: Any,
        per_row: tuple[Any, ...] = (),
        merge: Callable[[Any, Any], Any] = added,
    ) -> Any:
        """Return the partial result of the one block; there is nothing to merge."""
        return self._run(partial, per_row, operands)

    def map_rows(
        self, function: Callable[..., Any], *operands: Any, per_row: tuple[Any, ...] = ()
    ) -> Any:
        """Return what ``function`` gives for each row."""
        return self._run(function, per_row, operands)

    def take(self, indices: Array) -> Rows:
        """Return some rows with their weights, already relative to the origin."""
        xp, rows = self.xp, self.rows
        points = Rows(xp.take(rows.points, indices, axis=0), None, rows.origin).centred(xp=xp)
        return Rows(points, None if rows.weights is None else xp.take(rows.weights, indices))

    def draw(
        self, uniforms: np.ndarray[Any, Any], *, without: np.ndarray[Any, Any] | None = None
    ) -> Array:
        """Return indices of rows drawn in proportion to their weights."""
        weights = self.rows.weights
        if weights is None:
            # On the host: float32, all that some devices have, cannot tell 2**24 rows apart.
            indices = np.minimum(uniforms * self.n_points, self.n_points - 1)
            return from_host(indices.astype(np.int64), xp=self.xp, device=self.device)
        if without is not None:
            weights = self._without(weights, without)
        on_device = from_host(uniforms, xp=self.xp, device=self.device)
        return drawn(weights, None, on_device, "right", xp=self.xp)

    def draw_by(self, values: Any, uniforms: Array) -> Array:
        """Return indices of rows drawn in proportion to weight times value."""
        return drawn(values, self.rows.weights, uniforms, "left", xp=self.xp)

    def repeated(self, step: Callable[[Array], T]) -> Callable[[Array], T]:
        """Return ``step``, made cheap to call many times with arrays of one shape."""
        if not self.is_small:
            return step
        for_cupy = importlib.import_module("kmeans_xp.kernels.for_cupy")
        return Replay(step, lambda centroids: for_cupy.reads_rows_once(self.rows, centroids))

    def n_weighted(self) -> int | None:
        """Return the number of rows of positive weight; None if every weight is 1."""
        weights = self.rows.weights
        return None if weights is None else int(self.xp.count_nonzero(weights))

    def _without(self, weights: Array, indices: np.ndarray[Any, Any]) -> Array:
        """Return the weights with zeros at some places, in Array API functions alone."""
        xp = self.xp
        ordered = from_host(np.sort(indices), xp=xp, device=self.device)
        rows = xp.arange(self.n_points, dtype=ordered.dtype, device=self.device)
        at = xp.searchsorted(ordered, rows)
        last = xp.asarray(len(indices) - 1, dtype=at.dtype, device=self.device)
        is_one = xp.take(ordered, xp.minimum(at, last)) == rows
        return xp.where(is_one, xp.zeros_like(weights), weights)

    def _run(
        self, function: Callable[..., Any], per_row: tuple[Any, ...], operands: tuple[Any, ...]
    ) -> Any:
        while True:
            try:
                return function(self.rows, *per_row, *operands, xp=self.xp)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if not shrink_tiles():
                    raise MemoryError(self._what_would_fit()) from error

    def _what_would_fit(self) -> str:
        n_points, n_features = self.rows.points.shape
        return (
            f"Out of memory on {self.device} even with the smallest tiles. The data take "
            f"{n_points} x {n_features} numbers, and a fit needs room for them, the labels "
            "(4 bytes a row), about 24 bytes a row while seeding by k-means++, and the centroids. "
            "Use fewer rows or float32, or fit MiniBatchKMeans with partial_fit on parts."
        )
