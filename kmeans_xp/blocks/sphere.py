"""Rows that are scaled to one length: in each visit, or few of them in a copy."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.blocks.over import OverBlocks
from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.devices import Array, Namespace, tile_shape, to_host
from kmeans_xp.kernels import (
    BothMoments,
    DenseRows,
    Rows,
    SparseRows,
    SphereRows,
    added,
    both_moments,
    measured_on_sphere,
    rows_on_sphere,
    sphere_factors,
    without_direction,
)

__all__ = ["measured_and_on_sphere", "on_sphere"]

#: maximum number of zero rows that an error message names
_MOST_NAMED = 5


def on_sphere(given: Blocks) -> Blocks:
    """Return the same rows, each scaled to length ``RADIUS``.

    Parameters
    ----------
    given : Blocks
        Rows relative to zero.

    Returns
    -------
    Blocks
        Every visit checks rows that are read block by block: they may have changed.

    Raises
    ------
    ValueError
        If a row with weight is zero, and so has no direction. Other rows than those in memory are
        checked only when they are visited.
    """
    if given.whole is None:
        return OnSphere(given)
    rows = _scaled(given.whole, xp=given.xp)
    if rows is None:
        raise ValueError(_without_direction(given))
    return InMemory(rows, xp=given.xp)


def measured_and_on_sphere(given: Blocks) -> tuple[Blocks, BothMoments]:
    """Return the rows of ``on_sphere``, for several visits, and their moments.

    Parameters
    ----------
    given : Blocks
        Rows relative to zero.

    Returns
    -------
    Blocks
    BothMoments
        Of the scaled rows, about zero.

    Raises
    ------
    ValueError
        If a row is zero.
    """
    if given.whole is not None:
        measured = given.reduce(measured_on_sphere)
        if measured is not None:
            return InMemory(measured.rows, xp=given.xp), measured.moments
    blocks = on_sphere(given)
    return blocks, blocks.reduce(both_moments)


class _WithoutDirectionError(ValueError):
    """A row of a block has a weight, but is zero."""


class OnSphere(OverBlocks):
    """Blocks whose rows are scaled in each visit; nothing else copies rows.

    Parameters
    ----------
    given : Blocks
        Rows relative to zero.
    origin : array of shape (n_features,), or None
        Point to subtract from scaled rows.
    """

    def __init__(self, given: Blocks, origin: Array | None = None) -> None:
        super().__init__(given)
        self._origin = origin

    @property
    def is_weighted(self) -> bool:
        """Whether rows have weights."""
        return self._given.is_weighted

    def reduce(
        self,
        function: Callable[..., Any],
        *operands: Any,
        per_row: tuple[PerRow, ...] = (),
        merge: Callable[[Any, Any], Any] = added,
    ) -> Any:
        """Return the partial results of all blocks, merged in a fixed tree over their order."""
        scaling = partial(_with_scaled, function, self._origin)
        try:
            return self._given.reduce(scaling, *operands, per_row=per_row, merge=merge)
        except _WithoutDirectionError:
            # One more visit finds the indices among all rows, to name them in the error.
            raise ValueError(_without_direction(self._given)) from None

    def map_rows(
        self, function: Callable[..., Any], *operands: Any, per_row: tuple[PerRow, ...] = ()
    ) -> PerRow:
        """Return the results of ``function`` for each row."""
        scaling = partial(_with_scaled, function, self._origin)
        try:
            return self._given.map_rows(scaling, *operands, per_row=per_row)
        except _WithoutDirectionError:
            raise ValueError(_without_direction(self._given)) from None

    def take(self, indices: Array) -> DenseRows:
        """Return rows by their index among all, with their weights, relative to the origin."""
        points, weights, _ = self._given.take(indices)
        return DenseRows(SphereRows(points, origin=self._origin).centred(), weights)

    def gathered(self, indices: Array) -> Rows:
        """Return the same as ``take``, but sparse rows stay sparse."""
        rows = self._given.gathered(indices)
        if isinstance(rows, SparseRows):
            return rows_on_sphere(rows).seen_from(self._origin)
        return self.take(indices)

    def seen_from(self, origin: Array | None) -> "OnSphere":
        """Return the same rows, relative to another origin."""
        return OnSphere(self._given, origin)


def _with_scaled(
    function: Callable[..., Any],
    origin: Array | None,
    rows: Rows,
    *others: Any,
    xp: Namespace,
) -> Any:
    """Call a function with scaled rows; first check them, which is faster than to read them."""
    scaled = _scaled(rows, xp=xp)
    if scaled is None:
        raise _WithoutDirectionError(_without_direction(InMemory(rows, xp=xp)))
    return function(scaled.seen_from(origin), *others, xp=xp)


def _scaled(rows: Rows, *, xp: Namespace) -> Rows | None:
    """Return the rows, each scaled to one length, or None if one that counts has no direction."""
    factors = sphere_factors(rows, xp=xp)
    if factors is None:
        is_zero = without_direction(rows, xp=xp)
        if bool(xp.any(is_zero)):
            if bool(xp.any(_counting(is_zero, rows))):
                return None
            factors = _factors_beside_zeros(rows, is_zero, xp=xp)
    return rows_on_sphere(rows, factors)


def _factors_beside_zeros(rows: Rows, is_zero: Array, *, xp: Namespace) -> Array | None:
    """Return the factors of rows of which some are zeros, whose factors may be any numbers."""
    if not isinstance(rows, DenseRows):
        return None
    parts = []
    for place, tile in rows.tiles(tile_shape(rows, 1, xp=xp)[0]):  # tiles: each is copied
        ones = xp.ones_like(tile.points)
        points = xp.where(is_zero[place][:, None], ones, tile.points)
        parts.append(sphere_factors(DenseRows(points), xp=xp))
        if parts[-1] is None:
            return None
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def _counts_without_direction(rows: Rows, *, xp: Namespace) -> Array:
    """Return for each row whether it has no direction, but counts."""
    return _counting(without_direction(rows, xp=xp), rows)


def _counting(is_zero: Array, rows: Rows) -> Array:
    return is_zero if rows.weights is None else is_zero & (rows.weights != 0.0)


def _without_direction(given: Blocks) -> str:
    """Return an error message that names the rows without a direction."""
    is_zero = given.map_rows(_counts_without_direction).whole()
    (indices,) = np.nonzero(to_host(is_zero))
    named = ", ".join(map(str, indices[:_MOST_NAMED].tolist()))
    more = f" and {len(indices) - _MOST_NAMED:,} more" if len(indices) > _MOST_NAMED else ""
    return (
        "metric='cosine' compares directions, but a row of zeros has no direction: "
        f"row {named}{more}. Drop such rows first, or use metric='euclidean'."
    )
