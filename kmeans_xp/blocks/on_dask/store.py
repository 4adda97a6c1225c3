"""The chunks of a collection, and what is known about them."""

from functools import cached_property
from typing import Any

from kmeans_xp.blocks.on_dask import tasks
from kmeans_xp.blocks.on_dask.chunks import Chunks, computed_each_pass, held, places_of
from kmeans_xp.blocks.on_dask.schedulers import Cluster, scheduler_of
from kmeans_xp.blocks.on_dask.tasks import Place, Settings

__all__ = ["Store"]


class Store:
    """The chunks of a collection, and what is known about them; all views of the rows share it.

    Parameters
    ----------
    collection : dask.array.Array
        A collection split only along rows.
    settings : Settings
    """

    def __init__(self, collection: Any, settings: Settings) -> None:
        self.collection = collection
        self.settings = settings
        #: whether a pass has checked that all numbers are finite
        self.is_checked = False
        self.scheduler = scheduler_of(collection)
        self._chunks: Chunks | None = None

    @property
    def n_chunks(self) -> int:
        """Number of chunks, including those without rows."""
        return len(self.collection.chunks[0])

    @property
    def chunks(self) -> Chunks:
        """How tasks get the chunks."""
        if self._chunks is None:
            self._chunks = computed_each_pass(self.collection, self.scheduler)
        return self._chunks

    def hold(self) -> None:
        """Let workers, if there are any, hold the chunks before the first pass."""
        if self._chunks is None and isinstance(self.scheduler, Cluster):
            self._chunks = held(self.collection, self.scheduler, self.settings.dtype)

    @property
    def known_sizes(self) -> tuple[int, ...] | None:
        """Number of rows of each chunk, or None if they have not been counted."""
        if "sizes" in self.__dict__:
            return self.sizes
        given = self.collection.chunks[0]
        is_known = all(size == size for size in given)  # NaN is not
        return tuple(map(int, given)) if is_known else None

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of rows of each chunk; takes a pass if the collection does not know it."""
        known = self.known_sizes
        if known is None:
            counted, _ = self.scheduler.compute(*self._counting(), [])
            known = tuple(size for sizes in counted for size in sizes)
        return known

    def _counting(self) -> tuple[dict[Any, Any], list[Any]]:
        columns = zip(self.chunks.entries, self.places(), strict=True)
        name = "kmeans_xp-sizes"
        graph = {(name, n): (tasks.sizes_of, *row) for n, row in enumerate(columns)}
        return {**self.chunks.graph, **graph}, list(graph)

    @cached_property
    def with_rows(self) -> tuple[int, ...]:
        """Indices of the chunks that have rows: these are the blocks."""
        return tuple(number for number, size in enumerate(self.sizes) if size > 0)

    def places(self) -> list[Place]:
        """Return the place of each group."""
        return self.chunks.places(self.known_sizes)

    def place_of_each(self) -> list[Place]:
        """Return the place of each chunk."""
        return places_of(range(self.n_chunks + 1), self.known_sizes)

    def name_what_fails(self, error: Exception) -> None:
        """Raise an error that names the chunk, if Dask failed to compute one."""
        if tasks.names_a_chunk(error):
            return
        for number, (key, graph) in enumerate(self.chunks.keys()):
            try:
                self.scheduler.compute(graph, [key], [])
            except Exception as failure:
                what = f"chunk {number} of X could not be computed"
                raise tasks.of_its_kind(failure, what) from failure
