"""A pass over the chunks, and its results for each row, which stay on the workers."""

from collections.abc import Callable, Hashable, Sequence
from importlib import import_module
from typing import Any
from uuid import uuid4

import array_api_compat.numpy
import numpy as np

from kmeans_xp.blocks.cut import joined
from kmeans_xp.blocks.on_dask import tasks
from kmeans_xp.blocks.on_dask.store import Store
from kmeans_xp.blocks.on_dask.tasks import Given, Job, Merge
from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.devices import Array, Placement, from_host
from kmeans_xp.kernels import added

__all__ = ["Kept", "Pass", "label_of"]

#: Number of parts that one task merges: a power of two, so that each is a branch of the tree. It
#: is the number of groups of a thread, so that their parts do not leave its worker.
_MERGED_AT_ONCE = 4

Key = Hashable


class Pass:
    """Tasks that Dask computes together.

    Parameters
    ----------
    store : Store
    label : str
        Name of the tasks in Dask's dashboard.
    """

    def __init__(self, store: Store, label: str) -> None:
        self.store = store
        self.label = label
        self.graph: dict[Key, Any] = {}
        self._homes: dict[Key, str | None] = {}
        self._kept: dict[Kept, list[Key]] = {}

    def given(self, value: Any) -> Key:
        """Return the key of a value, which is sent once for all tasks."""
        return self._add("given", [(Given(value),)])[0]

    def tasks(self, function: Callable[..., Any], *columns: Sequence[Any]) -> list[Key]:
        """Return the keys of tasks, one for each group, that take the columns' values for it."""
        return self._add(self.label, [(function, *row) for row in zip(*columns, strict=True)])

    def visits(
        self,
        function: Callable[..., Any],
        job: Job,
        weights: "Kept | None",
        per_row: Sequence[Any] = (),
    ) -> list[Key]:
        """Return the keys of tasks that run a job on the rows of each group."""
        chunks = self.store.chunks
        self.graph.update(chunks.graph)
        jobs = [self.given(job)] * chunks.n_groups
        given = [None] * chunks.n_groups if weights is None else weights.entries(self)
        columns = (each.entries(self) for each in per_row)
        keys = self.tasks(function, jobs, chunks.entries, self.store.places(), given, *columns)
        if chunks.homes is not None:
            self._homes.update(zip(keys, chunks.homes, strict=True))
        return keys

    def merged(self, keys: Sequence[Key], merge: Merge) -> Key:
        """Return the key of the parts, merged in a tree over their order."""
        while len(keys) > 1:
            groups = range(0, len(keys), _MERGED_AT_ONCE)
            parts = [list(keys[start : start + _MERGED_AT_ONCE]) for start in groups]
            keys = self._add("merged", [(tasks.merged, part, merge) for part in parts])
        return keys[0]

    def keeping(self, kept: "Kept", make: Callable[["Pass"], list[Key]]) -> list[Key]:
        """Return the keys of results that stay on the workers that compute them."""
        if kept not in self._kept:
            self._kept[kept] = make(self)
        return self._kept[kept]

    def values(self, wanted: Sequence[Key]) -> list[Any]:
        """Compute the pass, and return the values of these keys."""
        kept_keys = [key for keys in self._kept.values() for key in keys]
        try:
            computed = self.store.scheduler.compute(self.graph, wanted, kept_keys, self._homes)
        except Exception as error:
            self.store.name_what_fails(error)
            raise
        values, handles = computed
        remaining = iter(handles)
        for kept, keys in self._kept.items():
            kept.handles = [next(remaining) for _ in keys]
        return values

    def _add(self, label: str, calls: Sequence[Any]) -> list[Key]:
        name = f"kmeans_xp-{label}-{uuid4().hex}"
        made = {(name, number): call for number, call in enumerate(calls)}
        self.graph.update(made)
        return list(made)


class Kept:
    """Results for each row, computed in the first pass that needs them, and then kept.

    Dask keeps their graph: if a worker is lost, it computes them again.

    Parameters
    ----------
    store : Store
        Store of the rows.
    make : callable
        Adds tasks to a pass that give a list for each group, and returns their keys.
    """

    def __init__(self, store: Store, make: Callable[[Pass], list[Key]]) -> None:
        self.store = store
        self.handles: list[Any] | None = None
        self._make = make

    def entries(self, reading: Pass) -> list[Any]:
        """Return the entries of a pass's graph that give each group's results."""
        if self.handles is None:
            return reading.keeping(self, self._make)
        return [self.store.scheduler.entry(handle) for handle in self.handles]

    def whole(self) -> Any:
        """Return the results of all rows in their order."""
        reading = Pass(self.store, "parts")
        groups = reading.values(reading.tasks(tasks.parts_on_host, self.entries(reading)))
        parts = [part for group in groups for part in group if part is not None]
        return joined(parts, xp=array_api_compat.numpy)

    def block(self, number: int) -> Any:
        """Return the results of one block's rows."""
        return self._read(tasks.part_of, number)

    def reduce(
        self,
        partial: Callable[..., Any],
        *operands: Any,
        per_row: tuple[PerRow, ...] = (),
        merge: Merge = added,
    ) -> Any:
        """Return the partial results of all blocks, merged in order."""
        reading = Pass(self.store, label_of(partial))
        job = reading.given(Job(partial, operands, self.store.settings, merge=merge))
        columns = [each.entries(reading) for each in (self, *per_row)]  # type: ignore[attr-defined]
        keys = reading.tasks(tasks.of_parts, [job] * len(columns[0]), *columns)
        (total,) = reading.values([reading.merged(keys, merge)])
        return total

    def delivered(self, placement: Placement) -> Any:
        """Return a lazy dask array in row order, or a NamedTuple of these."""
        if self.handles is None:
            computing = Pass(self.store, "kept")
            self.entries(computing)
            computing.values([])
        name = f"kmeans_xp-kept-{uuid4().hex}"
        entries = self.entries(Pass(self.store, "kept"))
        graph: dict[Key, Any] = {(name, group): entry for group, entry in enumerate(entries)}
        places = (self.store.chunks.group_of(n) for n in range(self.store.n_chunks))
        sources = [((name, group), position) for group, position in places]
        example = self._read(tasks.head_of, 0)
        return arrays_of(self.store, graph, sources, example, placement)

    def _read(self, function: Callable[..., Any], number: int) -> Any:
        group, position = self.store.chunks.group_of(self.store.with_rows[number])
        reading = Pass(self.store, "part")
        entry = self.entries(reading)[group]
        (value,) = reading.values(reading.tasks(function, [entry], [position]))
        return value


class Mapped(Kept):
    """Results of a function for each row; a dask array of them stays lazy.

    Parameters
    ----------
    store : Store
    job : Job
    weights : Kept or None
    per_row : tuple of Kept
    """

    def __init__(
        self, store: Store, job: Job, weights: Kept | None, per_row: tuple[Any, ...]
    ) -> None:
        super().__init__(store, lambda reading: reading.visits(tasks.mapped, job, weights, per_row))
        self._job = job
        self._is_of_rows_alone = weights is None and not per_row

    def delivered(self, placement: Placement) -> Any:
        """Return a lazy dask array in row order, or a NamedTuple of these."""
        if self.handles is not None or not self._is_of_rows_alone:
            return super().delivered(placement)
        name = f"kmeans_xp-{label_of(self._job.function)}-{uuid4().hex}"
        graph: dict[Key, Any] = {f"{name}-given": (Given(self._job),)}
        keys = import_module("dask.core").flatten(self.store.collection.__dask_keys__())
        for number, (key, place) in enumerate(zip(keys, self.store.place_of_each(), strict=True)):
            graph[name, number] = (tasks.mapped, f"{name}-given", [key], place, None)
        sources = [((name, number), 0) for number in range(self.store.n_chunks)]
        return arrays_of(self.store, graph, sources, tasks.example(self._job), placement)


def arrays_of(
    store: Store,
    graph: dict[Key, Any],
    sources: Sequence[tuple[Key, int]],
    example: Any,
    placement: Placement,
) -> Any:
    """Return results as dask arrays with the same chunks as the rows.

    Parameters
    ----------
    store : Store
        Store of the rows.
    graph : dict
        Graph that gives lists of results.
    sources : sequence of (key, position)
        The list of each chunk, and its position in the list.
    example : ndarray or NamedTuple of ndarrays
        Results for zero rows.
    placement : Placement
        Has the library and device of the user's results.

    Returns
    -------
    dask array, or NamedTuple of these
    """
    if isinstance(example, tuple):
        fields = (
            _array_of(store, graph, sources, part, number, placement)
            for number, part in enumerate(example)
        )
        return type(example)(*fields)
    return _array_of(store, graph, sources, example, None, placement)


def _array_of(
    store: Store,
    graph: dict[Key, Any],
    sources: Sequence[tuple[Key, int]],
    example: np.ndarray[Any, Any],
    field: int | None,
    placement: Placement,
) -> Any:
    empty: Array = from_host(example, xp=placement.home_xp, device=placement.home_device)
    name = f"kmeans_xp-{uuid4().hex}"
    columns = (0,) * (example.ndim - 1)
    made: dict[Key, Any] = {
        (name, number, *columns): (tasks.delivered, key, position, empty, field)
        for number, (key, position) in enumerate(sources)
    }
    layered = import_module("dask.highlevelgraph").HighLevelGraph.from_collections(
        name, {**graph, **made}, dependencies=[store.collection]
    )
    sizes = store.known_sizes or store.collection.chunks[0]
    chunks = (tuple(sizes), *((size,) for size in example.shape[1:]))
    return import_module("dask.array").Array(layered, name, chunks, meta=empty)


def label_of(function: Callable[..., Any]) -> str:
    """Return the function's name for Dask's dashboard."""
    return getattr(function, "__name__", "partial").strip("_").replace("_", "-")
