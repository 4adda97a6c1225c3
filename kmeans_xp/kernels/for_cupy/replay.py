"""The steps of a loop as CUDA graphs: one launch for each step instead of several."""

import importlib
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from kmeans_xp.devices import Array

__all__ = ["Replay", "replayed"]

T = TypeVar("T")

#: The second call after a result overwrites it. Lloyd reads only the last steps, and the centroids
#: from which they began.
_RECORDS = 2


class Replay(Generic[T]):
    """A function from one CuPy array to arrays, recorded twice and then replayed.

    The second call after a result overwrites it.

    Parameters
    ----------
    function : callable
        From an array to an array, or to nested tuples of arrays; the same work for every array.
        The work may only launch kernels: CuPy cannot record cuBLAS.
    """

    def __init__(self, function: Callable[[Array], T]) -> None:
        self.function = function
        self.n_calls = 0
        self.records: list[_Record] = []

    def __call__(self, array: Array) -> T:
        """Return ``function(array)``."""
        turn = self.n_calls % _RECORDS
        self.n_calls += 1
        if turn == len(self.records):
            self.records.append(_recorded(self.function, array))
        record = self.records[turn]
        record.argument[...] = array
        record.graph.launch(stream=record.cuda.get_current_stream())
        result: T = record.result
        return result


def replayed(function: Callable[[], None], n_times: int) -> None:
    """Do the work of a function several times; the host launches a graph for each.

    Parameters
    ----------
    function : callable
        Launches kernels that were launched before, and allocates no memory.
    n_times : int
    """
    cuda = importlib.import_module("cupy").cuda
    with cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        function()
        graph = stream.end_capture()
    for _ in range(n_times):
        graph.launch(stream=cuda.get_current_stream())


class _Record(NamedTuple):
    cuda: Any
    argument: Array
    result: Any
    graph: Any
    malloc: Any  # of a pool to whose memory the graph writes, so nothing else may use it


def _recorded(function: Callable[[Array], Any], array: Array) -> _Record:
    cuda = importlib.import_module("cupy").cuda
    malloc, stream = _pool_that_arrays_keep(cuda), cuda.Stream(non_blocking=True)
    given = cuda.get_current_stream().record()
    with cuda.using_allocator(malloc), stream:
        stream.wait_event(given)
        argument = array.copy()
        # Run once without recording: the pool then has most of the memory for the recording. What
        # it takes from CUDA while recording is allowed in this mode.
        function(argument)
        stream.begin_capture()
        result = function(argument)
        graph = stream.end_capture()
        ready = stream.record()
    cuda.get_current_stream().wait_event(ready)
    return _Record(cuda, argument, result, graph, malloc)


def _pool_that_arrays_keep(cuda: Any) -> Callable[[int], Any]:
    """Return the allocator of a new pool, which lives as long as any array of its memory.

    Before CuPy 14, a pool that is deleted gives back the memory of arrays that are still in use.
    """
    pool, device = cuda.MemoryPool(), cuda.runtime.getDevice()

    def malloc(n_bytes: int) -> Any:
        memory = pool.malloc(n_bytes)
        owner = (pool, memory)  # the memory goes first
        kept = cuda.UnownedMemory(memory.ptr, n_bytes, owner, device)
        return cuda.MemoryPointer(kept, 0)

    return malloc
