"""In which groups tasks visit chunks, and where they get them.

The tree of a reduction is over the order of the chunks and nothing else, so its result has the
same bits whoever computes it. A group is a whole branch of that tree: 1, 2, 4, 8 ... neighbours,
which one task visits. How many groups there are follows from the number of threads; the tree does
not.
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

#: A group that other tasks compute is in memory as a whole; one of this size costs more to
#: compute than to schedule.
_GROUP_BYTES = 64 * 2**20

#: Part of the cluster's memory that rows may take to be held: Dask writes to disk from 0.6 on.
_HELD_PART = 0.5

#: part of it that rows may take to be copied, where their chunks are too many and scattered
_COPIED_PART = 0.25


class Chunks(NamedTuple):
    """How tasks get at the chunks.

    Parameters
    ----------
    bounds : sequence of int
        Group g holds the chunks from ``bounds[g]`` up to ``bounds[g + 1]``.
    entries : list
        Of a graph, what gives each group as a sequence of chunks.
    graph : mapping
        What computes the keys in the entries.
    homes : sequence of str, or None
        Address of the worker that holds each group, where workers do.
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
        """Return what is given for each chunk as a list for each group."""
        return [list(of_chunks[start:stop]) for start, stop in pairwise(self.bounds)]

    def group_of(self, chunk: int) -> tuple[int, int]:
        """Return the group of a chunk, and its position in that."""
        group = bisect_right(self.bounds, chunk) - 1
        return group, chunk - self.bounds[group]

    def keys(self) -> Iterator[tuple[Key, Mapping[Key, Any]]]:
        """Yield each chunk that Dask computes by itself: its key, and the graph for it."""
        if self.graph:
            for keys in self.entries:
                yield from ((key, self.graph) for key in keys)

    def places(self, sizes: Sequence[int] | None, what: str = "X") -> list[Place]:
        """Return where each group stands among all chunks."""
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
    # Chunks that share no work are computed a group at a time, neighbours on the same worker.
    # Others are computed by Dask, or the user has made the workers hold them: they lie wherever
    # it was. If these are more than can be scheduled fast, and small enough to be copied,
    # neighbours are brought together.
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
    """What computes chunks.

    Parameters
    ----------
    graph : mapping
        Of tasks, optimized.
    keys : list
        Of the chunks in it; or futures of them.
    recipes : Recipes or None
        For tasks that compute chunks themselves, if they share no work.
    """

    graph: Mapping[Key, Any]
    keys: list[Any]
    recipes: Recipes | None

    @classmethod
    def of(cls, collection: Any) -> "Work":
        """Return what computes the chunks of a collection, whose only column of chunks it is."""
        (optimized,) = import_module("dask").optimize(collection)
        given = dict(collection.__dask_graph__())
        # Optimizing leaves out what is on a cluster already.
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
    """Return where at least ``n_groups`` groups begin and end, each a branch of the tree."""
    size = 1
    while 2 * size * n_groups <= n_chunks:
        size *= 2
    return (*range(0, n_chunks, size), n_chunks)


def places_of(bounds: Sequence[int], sizes: Sequence[int] | None, what: str = "X") -> list[Place]:
    """Return where groups of chunks stand among all."""
    if sizes is None:
        return [Place(start, stop - start, what=what) for start, stop in pairwise(bounds)]
    ends = (0, *accumulate(sizes))
    return [
        Place(start, stop - start, ends[start], tuple(sizes[start:stop]), what)
        for start, stop in pairwise(bounds)
    ]
