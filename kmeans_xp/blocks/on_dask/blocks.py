"""Rows in the chunks of a dask array or dataframe."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import array_api_compat.numpy
import numpy as np

from kmeans_xp.blocks.cut import joined, places_in_blocks
from kmeans_xp.blocks.on_dask import tasks
from kmeans_xp.blocks.on_dask.passes import Kept, Mapped, Pass, label_of
from kmeans_xp.blocks.on_dask.store import Store
from kmeans_xp.blocks.on_dask.tasks import Given, Job, Merge
from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.devices import Array, DType, to_host
from kmeans_xp.kernels import DenseRows, added

__all__ = ["OnDask"]


class OnDask:
    """Rows in the chunks of a dask array; the blocks are the chunks that have rows.

    Operands and results are NumPy arrays in this process, which needs no device of the workers.
    Functions run where a chunk is; operands are sent there. Results for each row stay there.
    Partial results are merged on the way back, in a tree over the order of the chunks.

    Parameters
    ----------
    store : Store
    weights : Kept or None
        Weights of the rows.
    origin : ndarray or None
        Point to subtract from rows.
    """

    xp = array_api_compat.numpy
    device = "cpu"
    #: rows in chunks are not in one array
    whole = None

    def __init__(self, store: Store, weights: Kept | None, origin: Any = None) -> None:
        self._store = store
        self._weights = weights
        self._origin = origin

    @property
    def n_points(self) -> int:
        """Number of rows."""
        return sum(self._store.sizes)

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self._store.settings.n_features

    @property
    def dtype(self) -> DType:
        """Dtype in which functions get the rows."""
        return np.dtype(self._store.settings.dtype)

    @property
    def is_weighted(self) -> bool:
        """Whether rows have weights."""
        return self._weights is not None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of rows of each block."""
        return tuple(self._store.sizes[chunk] for chunk in self._store.with_rows)

    @property
    def starts(self) -> Kept:
        """Index of the first row of each block."""
        return self._cut(self._starts[:-1].tolist())

    @cached_property
    def _starts(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.cumsum([0, *self._store.sizes])

    def reduce(
        self,
        partial: Callable[..., Any],
        *operands: Any,
        per_row: tuple[PerRow, ...] = (),
        merge: Merge = added,
    ) -> Any:
        """Return the partial results of all blocks, merged in a fixed tree over their order."""
        visiting = Pass(self._store, label_of(partial))
        job = self._job(partial, operands, merge)
        keys = visiting.visits(tasks.reduced, job, self._weights, per_row)
        (total,) = visiting.values([visiting.merged(keys, merge)])
        if total is None:
            raise ValueError("X has no rows.")
        self._store.is_checked = True
        return total

    def map_rows(
        self, function: Callable[..., Any], *operands: Any, per_row: tuple[PerRow, ...] = ()
    ) -> Mapped:
        """Return the results of ``function`` for each row, computed when they are needed."""
        return Mapped(self._store, self._job(function, operands), self._weights, per_row)

    def cut(self, values: Array) -> Kept:
        """Split an array with an entry for each row into the same blocks as the rows."""
        bounds = zip(self._starts[:-1], self._starts[1:], strict=True)
        return self._cut([values[start:stop] for start, stop in bounds])

    def take(self, indices: Array) -> DenseRows:
        """Return rows by their index among all, with their weights, relative to the origin."""
        places, back = places_in_blocks(to_host(indices), self._starts[1:])
        groups: dict[int, dict[int, Any]] = {}
        for chunk, wanted in places.items():
            group, position = self._store.chunks.group_of(chunk)
            groups.setdefault(group, {})[position] = wanted
        taken = [rows for part in self._taken(groups) for rows in part]
        points = joined([rows.points for rows in taken], xp=self.xp)[back, :]
        if not self.is_weighted:
            return DenseRows(points)
        return DenseRows(points, joined([rows.weights for rows in taken], xp=self.xp)[back])

    def gathered(self, indices: Array) -> DenseRows:
        """Return rows by their index among all, with their weights, relative to the origin."""
        return self.take(indices)

    def seen_from(self, origin: Array | None) -> "OnDask":
        """Return the same rows, relative to another origin."""
        return OnDask(self._store, self._weights, origin)

    def _job(self, function: Any, operands: tuple[Any, ...], merge: Merge = added) -> Job:
        store = self._store
        return Job(function, operands, store.settings, self._origin, merge, not store.is_checked)

    def _cut(self, of_chunks: list[Any]) -> Kept:
        groups = self._store.chunks.cut(of_chunks)
        return Kept(self._store, lambda reading: [reading.given(group) for group in groups])

    def _taken(self, groups: dict[int, dict[int, Any]]) -> list[list[DenseRows]]:
        store, taking = self._store, Pass(self._store, "take")
        taking.graph.update(store.chunks.graph)
        job = taking.given(self._job(None, ()))
        weights = None if self._weights is None else self._weights.entries(taking)
        keys = []
        for group, wanted in groups.items():
            chunks, place = store.chunks.entries[group], store.places()[group]
            given = None if weights is None else weights[group]
            keys += taking.tasks(tasks.taken, [job], [chunks], [place], [given], [(Given(wanted),)])
        return taking.values(keys)
