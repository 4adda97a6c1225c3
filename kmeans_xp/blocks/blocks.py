"""The protocol that every algorithm runs on."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from kmeans_xp.devices import Array, Device, DType, Namespace
from kmeans_xp.kernels import Rows, added

__all__ = ["Blocks"]


class Blocks(Protocol):
    """Rows in one or more blocks, which kernels visit where they are.

    A kernel is called as ``kernel(rows, *per_row, *operands, xp=xp)``: ``per_row`` are
    results of ``map_rows``, cut as the rows are; ``operands`` are the same for every block.
    """

    xp: Namespace

    @property
    def n_points(self) -> int:
        """Number of rows."""

    @property
    def device(self) -> Device:
        """Device that operands must be on, and results are on."""

    @property
    def dtype(self) -> DType:
        """Dtype that the rows are computed in."""

    @property
    def is_asynchronous(self) -> bool:
        """Whether work is queued on the device while the host goes on."""

    @property
    def is_whole(self) -> bool:
        """Whether a kernel sees all rows at once, and the host does not run ahead of it."""

    @property
    def is_small(self) -> bool:
        """Whether the device has more to do with launching kernels than with running them."""

    def reduce(
        self,
        partial: Callable[..., Any],
        *operands: Any,
        per_row: tuple[Any, ...] = (),
        merge: Callable[[Any, Any], Any] = added,
    ) -> Any:
        """Return the partial results of all blocks, merged in a fixed order."""

    def map_rows(
        self, function: Callable[..., Any], *operands: Any, per_row: tuple[Any, ...] = ()
    ) -> Any:
        """Return what ``function`` gives for each row, to be handed back as ``per_row``."""

    def take(self, indices: Array) -> Rows:
        """Return some rows with their weights, already relative to the origin."""

    def draw(
        self, uniforms: np.ndarray[Any, Any], *, without: np.ndarray[Any, Any] | None = None
    ) -> Array:
        """Return indices of rows drawn in proportion to their weights.

        Parameters
        ----------
        uniforms : ndarray
            Numbers in [0, 1), on the host.
        without : ndarray of int, optional
            Rows that are not to be drawn; for rows that have weights.

        Returns
        -------
        integer array
            For each number, where the running total of the weights first exceeds that part
            of the whole.
        """

    def draw_by(self, values: Any, uniforms: Array) -> Array:
        """Return indices of rows drawn in proportion to weight times value, without a wait.

        Parameters
        ----------
        values : result of ``map_rows``
            Non-negative.
        uniforms : array
            Numbers in [0, 1), on the device.

        Returns
        -------
        integer array
            For each number, where the running total first reaches that part of the whole.
        """

    def repeated(self, step: Callable[[Array], Any]) -> Callable[[Array], Any]:
        """Return ``step``, made cheap to call many times with arrays of one shape.

        Parameters
        ----------
        step : callable
            Calls kernels on these rows, and does not wait for the device.

        Returns
        -------
        callable
            The same function; a result may be overwritten by the third call after it.
        """

    def n_weighted(self) -> int | None:
        """Return the number of rows of positive weight; None if every weight is 1."""
