"""Checks of a block while it is read, and errors that name the block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from kmeans_xp.blocks.sources.picking import SourceBlock
    from kmeans_xp.blocks.sources.source import Layout

__all__ = ["Place", "check_block", "check_shape", "reading"]

#: attribute of errors that name their place
_NAMES_PLACE = "_names_place"


class Place(NamedTuple):
    """The place of a block in a source, for messages and checks; prints as "rows ... of ...".

    Parameters
    ----------
    name : str
        Name of the source.
    number : int
        Number of the block, from 0.
    start : int
        Index of its first row.
    size : int, or None
        Number of its rows, if known; 0 past the last block.
    """

    name: str
    number: int
    start: int
    size: int | None = None

    def __str__(self) -> str:
        rows = f"rows {self.start:,} to {self.start + self.size - 1:,}" if self.size else ""
        return f"{rows or f'rows from {self.start:,}'} of {self.name} (block {self.number})"

    def of_size(self, size: int) -> Place:
        """Return the place with a size, if it has none yet."""
        return self._replace(size=size) if self.size is None else self


@contextmanager
def reading(place: Place | str) -> Iterator[None]:
    """Chain errors of the body, unless they name a place already, to one that names this place."""
    try:
        yield
    except Exception as error:
        if getattr(error, _NAMES_PLACE, False):
            raise
        # Keep the family of the error, so that handlers of OSError still catch it.
        families = (MemoryError, OSError, ValueError, RuntimeError)
        family = next((each for each in families if isinstance(error, each)), RuntimeError)
        kind = type(error).__name__
        placed = family(f"{place} cannot be read: {kind}: {error}")
        setattr(placed, _NAMES_PLACE, True)
        raise placed from error


def check_block(block: SourceBlock, layout: Layout, place: Place) -> None:
    """Raise if rows differ from those of an earlier pass, or cannot be clustered."""
    check_shape(block, layout, place)
    _check_finite(block.points, layout, place)
    if block.weights is not None:
        _check_weights(block.weights, place)


def check_shape(block: SourceBlock, layout: Layout, place: Place) -> None:
    """Raise if the number of rows or of features differs from that of an earlier pass."""
    _check_size(int(block.points.shape[0]), place)
    if int(block.points.shape[1]) != layout.n_features:
        raise ValueError(
            f"{place}: there are {block.points.shape[1]} features, "
            f"but {layout.n_features} in the first block."
        )


def _check_size(n_rows: int, place: Place) -> None:
    if place.size == 0:
        raise ValueError(
            f"{place}: there are more rows than the {place.start:,} that an earlier pass found."
        )
    if place.size is not None and n_rows != place.size:
        raise ValueError(
            f"{place}: there are {n_rows:,} rows, but an earlier pass found {place.size:,}. "
            "Rows must not change while they are read."
        )


def _check_finite(points: Any, layout: Layout, place: Place) -> None:
    numbers = points.data if layout.is_sparse else points
    if _all_finite(numbers):
        return
    if layout.is_sparse:
        points = points.tocoo()
        at = int(np.argmin(np.isfinite(points.data)))
        row, column, value = points.row[at], points.col[at], points.data[at]
    else:
        row, column = np.argwhere(~np.isfinite(points))[0]
        value = points[row, column]
    names = layout.feature_names
    feature = repr(names[column]) if names else column
    raise ValueError(
        f"{place}: row {place.start + row:,} has {value} in feature {feature}. "
        "The input contains NaN or infinity: impute or drop those rows first."
    )


def _check_weights(weights: np.ndarray[Any, Any], place: Place) -> None:
    if not _all_finite(weights):
        row = place.start + int(np.argmin(np.isfinite(weights)))
        raise ValueError(f"{place}: the weight of row {row:,} is NaN or infinite.")
    if weights.min() < 0:
        row = place.start + int(np.argmax(weights < 0))
        raise ValueError(f"{place}: the weight of row {row:,} is negative.")


def _all_finite(numbers: np.ndarray[Any, Any]) -> bool:
    with np.errstate(all="ignore"):
        # The sum of finite numbers is finite unless it overflows: usually this needs no array of
        # flags.
        return bool(np.isfinite(numbers.sum())) or bool(np.isfinite(numbers).all())
