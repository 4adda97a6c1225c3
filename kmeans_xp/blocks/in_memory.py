"""Rows in one array on one device."""

from collections.abc import Callable
from typing import Any, NamedTuple

from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.devices import (
    Array,
    Device,
    DType,
    Namespace,
    Placement,
    csr_parts,
    is_out_of_memory,
    is_sparse,
    send,
    shrink_tiles,
)
from kmeans_xp.kernels import DenseRows, Rows, SparseRows, added

__all__ = ["InMemory", "Whole", "rows_of", "within_memory"]


class Whole(NamedTuple):
    """Results for all rows, in one array like the rows."""

    value: Any
    xp: Namespace

    def whole(self) -> Any:
        """Return the results of all rows."""
        return self.value

    def delivered(self, placement: Placement) -> Any:
        """Return the results of all rows in the library, and on the device, of the input."""
        return send(self.value, placement)

    def block(self, number: int) -> Any:
        """Return the results of the only block."""
        return (self.value,)[number]

    def reduce(
        self,
        partial: Callable[..., Any],
        *operands: Any,
        per_row: tuple[PerRow, ...] = (),
        merge: Callable[[Any, Any], Any] = added,
    ) -> Any:
        """Return the result of ``partial`` for all rows."""
        others = (each.whole() for each in per_row)
        return partial(self.value, *others, *operands, xp=self.xp)


class InMemory:
    """All rows as one block; kernels split it into tiles themselves.

    Parameters
    ----------
    rows : Rows
        Rows on one device.
    xp : namespace
    """

    def __init__(self, rows: Rows, *, xp: Namespace) -> None:
        self.whole = rows
        self.xp = xp

    @property
    def n_points(self) -> int:
        """Number of rows."""
        return self.whole.n_points

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.whole.n_features

    @property
    def device(self) -> Device:
        """Device of the rows."""
        return self.whole.device

    @property
    def dtype(self) -> DType:
        """Dtype in which functions get the rows."""
        return self.whole.dtype

    @property
    def is_weighted(self) -> bool:
        """Whether rows have weights."""
        return self.whole.weights is not None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of rows of the only block."""
        return (self.whole.n_points,)

    @property
    def starts(self) -> Whole:
        """Index of the first row."""
        return Whole(0, self.xp)

    def reduce(
        self,
        partial: Callable[..., Any],
        *operands: Any,
        per_row: tuple[PerRow, ...] = (),
        merge: Callable[[Any, Any], Any] = added,
    ) -> Any:
        """Return the partial result of the only block."""
        given = [each.whole() for each in per_row]
        return within_memory(partial, self.whole, *given, *operands, xp=self.xp)

    def map_rows(
        self, function: Callable[..., Any], *operands: Any, per_row: tuple[PerRow, ...] = ()
    ) -> Whole:
        """Return the results of ``function`` for each row."""
        given = [each.whole() for each in per_row]
        result = within_memory(function, self.whole, *given, *operands, xp=self.xp)
        return Whole(result, self.xp)

    def cut(self, values: Array) -> Whole:
        """Return the array as it is."""
        return Whole(values, self.xp)

    def take(self, indices: Array) -> DenseRows:
        """Return some rows with their weights, already relative to the origin."""
        return self.whole.take(indices)

    def gathered(self, indices: Array) -> Rows:
        """Return some rows with their weights; sparse rows stay sparse."""
        return self.whole.gathered(indices)

    def seen_from(self, origin: Array | None) -> "InMemory":
        """Return the same rows, relative to another origin."""
        return InMemory(self.whole.seen_from(origin), xp=self.xp)


def rows_of(points: Array, weights: Array | None) -> Rows:
    """Return rows from points on a device: an array, or a CSR matrix."""
    if is_sparse(points):
        return SparseRows(csr_parts(points), weights)
    return DenseRows(points, weights)


def within_memory(function: Callable[..., Any], rows: Rows, *operands: Any, xp: Namespace) -> Any:
    """Call a function of rows; while memory runs out, retry with smaller tiles."""
    while True:
        try:
            return function(rows, *operands, xp=xp)
        except Exception as error:
            if not is_out_of_memory(error, xp=xp):
                raise
            if not shrink_tiles():
                raise MemoryError(_what_would_fit(rows)) from error


def _what_would_fit(rows: Rows) -> str:
    return (
        f"Out of memory on {rows.device} even with the smallest tiles. The data have "
        f"{rows.n_points} x {rows.n_features} numbers, and a fit needs room for them, the labels "
        "(4 bytes a row), about 24 bytes or a quarter of a row while seeding by k-means++, and the "
        "centroids. "
        "Use fewer rows or float32, or fit MiniBatchKMeans with partial_fit on parts."
    )
