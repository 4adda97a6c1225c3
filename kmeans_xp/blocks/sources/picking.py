"""Join blocks of rows, and pick rows by index."""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["SourceBlock", "Wanted", "joined", "picked"]

Indices = np.ndarray[Any, np.dtype[np.int64]]


class SourceBlock(NamedTuple):
    """Some rows of a source.

    Parameters
    ----------
    points : array of shape (n_points, n_features), or CSR matrix
        Float32 or float64; arrays are C-contiguous.
    weights : array of shape (n_points,), or None
        In the dtype of the points; None if every weight is 1.
    """

    points: Any
    weights: np.ndarray[Any, Any] | None = None


def picked(block: SourceBlock, rows: Any) -> SourceBlock:
    """Return some rows of a block."""
    return SourceBlock(block.points[rows], None if block.weights is None else block.weights[rows])


def joined(blocks: list[SourceBlock]) -> SourceBlock:
    """Return all rows of some blocks as one block."""
    if len(blocks) == 1:
        return blocks[0]
    weights = None
    if blocks[0].weights is not None:
        weights = np.concatenate([block.weights for block in blocks])
    return SourceBlock(_stacked([block.points for block in blocks]), weights)


def _stacked(points: list[Any]) -> Any:
    if isinstance(points[0], np.ndarray):
        return np.concatenate(points)
    from scipy import sparse

    return sparse.vstack(points, format="csr")


class Wanted:
    """Rows that are wanted by index; each is read once.

    Parameters
    ----------
    indices : array of int
        Indices in any order, with repeats.
    n_rows : int
        Number of all rows.
    name : str
        Name of the source.
    """

    def __init__(self, indices: Any, n_rows: int, name: str) -> None:
        indices = np.asarray(indices)
        if indices.ndim != 1 or indices.size == 0 or indices.dtype.kind not in "iu":
            raise IndexError(f"To take rows of {name}, pass a 1-D array of one or more integers.")
        self.rows, self._back = np.unique(indices.astype(np.int64), return_inverse=True)
        if self.rows[0] < 0 or self.last >= n_rows:
            bad = self.rows[0] if self.rows[0] < 0 else self.last
            raise IndexError(f"{name} has rows 0 to {n_rows - 1:,}, not {bad:,}.")

    @property
    def last(self) -> int:
        """The largest index."""
        return int(self.rows[-1])

    def between(self, start: int, stop: int) -> Indices:
        """Return the wanted rows from ``start`` up to ``stop``, relative to ``start``."""
        first, last = np.searchsorted(self.rows, (start, stop))
        here: Indices = self.rows[first:last] - start
        return here

    def among(self, block: SourceBlock, start: int) -> SourceBlock:
        """Return the wanted rows of a block whose first row is ``start``."""
        return picked(block, self.between(start, start + int(block.points.shape[0])))

    def in_order(self, found: list[SourceBlock]) -> SourceBlock:
        """Return a row for each index, from the rows that were found block by block."""
        return picked(joined(found), self._back)
