"""The groups of chunks that tasks visit, and where tasks get them.

The tree of a reduction depends only on the order of the chunks, so its result is bit-identical on
every scheduler. A group is a whole branch of that tree: 1, 2, 4, 8 ... neighbouring chunks, which
one task visits. The number of threads sets the number of groups, but does not change the tree.
"""

import math
from bisect import bisect_right
from collections.abc import Hashable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from kmeans_xp.blocks.on_dask import tasks
from kmeans_xp.blocks.on_dask.recipes import Recipes, is_future, recipes_of
from kmeans_xp.blocks.on_dask.schedulers import Cluster, Scheduler
from kmeans_xp.blocks.on_dask.tasks import Place

__all__ = ["Chunks", "Work", "computed_each_pass", "held", "places_of"]

Key = Hashable

#: groups for each thread: enough to keep threads busy until a pass ends, and few to schedule
_GROUPS_A_THREAD = 4

#: Maximum size of a group that other tasks compute, since it is in memory as a whole. At this size
#: it takes longer to compute than to schedule.
_GROUP_BYTES = 64 * 2**20

#: fraction of the cluster's memory that held rows may take; above 0.6 Dask writes to disk
_HELD_PART = 0.5

#: fraction that rows may take if scattered small chunks are copied together
_COPIED_PART = 0.25


class Chunks(NamedTuple):
    """How tasks get the chunks.

    Parameters
    ----------
    bounds : sequence of int
        Group g holds the chunks from ``bounds[g]`` up to ``bounds[g + 1]``.
    entries : list
        Entries of a graph that give each group as a sequence of chunks.
    graph : mapping
        Computes the keys in the entries.
    homes : sequence of str, or None
        Address of the worker that holds each group, if workers hold them.
    """

    bounds: Sequence[int]
    entries: list[Any]
    graph: Mapping[Key, Any]
    homes: Sequence[str | None] | None = None

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.entries)

    def cut(self, of_chunks: Sequence[Any]) -> list[Any]:
        """Split a sequence with a value for each chunk into a list for each group."""
        return [list(of_chunks[start:stop]) for start, stop in pairwise(self.bounds)]

    def group_of(self, chunk: int) -> tuple[int, int]:
        """Return the group of a chunk, and its position in that group."""
        group = bisect_right(self.bounds, chunk) - 1
        return group, chunk - self.bounds[group]

    def keys(self) -> Iterator[tuple[Key, Mapping[Key, Any]]]:
        """Yield the key of each chunk that Dask computes, and its graph."""
        if self.graph:
            for keys in self.entries:
                yield from ((key, self.graph) for key in keys)

    def places(self, sizes: Sequence[int] | None, what: str = "X") -> list[Place]:
        """Return the place of each group among all chunks."""
        return places_of(self.bounds, sizes, what)


def computed_each_pass(collection: Any, scheduler: Scheduler) -> Chunks:
    """Return chunks that are computed again in every pass."""
    work = Work.of(collection)
    n_groups = _GROUPS_A_THREAD * scheduler.n_threads
    if work.recipes is None:
        n_bytes = collection.nbytes
        n_small = len(work.keys) if math.isnan(n_bytes) else math.ceil(n_bytes / _GROUP_BYTES)
        n_groups = max(n_groups, n_small)
    return work.grouped(_bounds(len(work.keys), n_groups))


def held(collection: Any, cluster: Cluster, dtype: str) -> Chunks:
    """Return chunks that the workers hold, if there is room for them."""
    # If chunks share no work, tasks compute a group at a time, with neighbours on the same worker.
    # Other chunks are computed by Dask, or the workers already hold them, scattered anywhere. If
    # these are too many to schedule fast, and small enough to copy, copy neighbours together.
    memory = cluster.memory
    if collection.nbytes > _HELD_PART * memory:
        return computed_each_pass(collection, cluster)
    work = Work.of(collection)
    bounds = _bounds(len(work.keys), _GROUPS_A_THREAD * cluster.n_threads)
    if work.recipes is None:
        futures = cluster.persisted(collection)
        work = Work({}, futures, None)
        if len(bounds) > len(futures) or collection.nbytes > _COPIED_PART * memory:
            alone = work.grouped(range(len(futures) + 1))
            return alone._replace(homes=cluster.homes(futures))
    given = work.grouped(bounds)
    columns = zip(given.entries, given.places(None), strict=True)
    calls = [(tasks.held, chunks, place, dtype) for chunks, place in columns]
    futures = cluster.held(calls)
    return Chunks(bounds, futures, {}, cluster.homes(futures))


class Work(NamedTuple):
    """The graph that computes chunks.

    Parameters
    ----------
    graph : mapping
        Optimized graph of tasks.
    keys : list
        Keys of the chunks in it, or their futures.
    recipes : Recipes or None
        For tasks that compute chunks themselves, if chunks share no work.
    """

    graph: Mapping[Key, Any]
    keys: list[Any]
    recipes: Recipes | None

    @classmethod
    def of(cls, collection: Any) -> "Work":
        """Return the graph of a collection that has a single column of chunks."""
        (optimized,) = import_module("dask").optimize(collection)
        given = dict(collection.__dask_graph__())
        # Optimization leaves out chunks that are already on a cluster.
        graph = {key: node for key, node in given.items() if is_future(node)}
        graph.update(optimized.__dask_graph__())
        keys = list(import_module("dask.core").flatten(optimized.__dask_keys__()))
        if all(is_future(graph.get(key)) for key in keys):
            return cls({}, [graph[key] for key in keys], None)
        return cls(graph, keys, recipes_of(graph, keys))

    def grouped(self, bounds: Sequence[int]) -> Chunks:
        """Return the chunks in groups."""
        groups = [slice(*pair) for pair in pairwise(bounds)]
        if self.recipes is not None:
            return Chunks(bounds, [self.recipes[group] for group in groups], {})
        return Chunks(bounds, [self.keys[group] for group in groups], self.graph)


def _bounds(n_chunks: int, n_groups: int) -> Sequence[int]:
    """Return the bounds of at least ``n_groups`` groups, each a branch of the tree."""
    size = 1
    while 2 * size * n_groups <= n_chunks:
        size *= 2
    return (*range(0, n_chunks, size), n_chunks)


def places_of(bounds: Sequence[int], sizes: Sequence[int] | None, what: str = "X") -> list[Place]:
    """Return the place of each group among all chunks."""
    if sizes is None:
        return [Place(start, stop - start, what=what) for start, stop in pairwise(bounds)]
    ends = (0, *accumulate(sizes))
    return [
        Place(start, stop - start, ends[start], tuple(sizes[start:stop]), what)
        for start, stop in pairwise(bounds)
    ]
