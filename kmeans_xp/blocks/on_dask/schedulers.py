"""The schedulers that compute a graph: one in this process, or a cluster, which holds results."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Protocol, cast
from uuid import uuid4

from kmeans_xp.blocks.on_dask.tasks import Given, Place, naming, of_its_kind

__all__ = ["Cluster", "Local", "Scheduler", "scheduler_of"]

Graph = Mapping[Any, Any]
Keys = Sequence[Any]
Homes = Mapping[Any, str | None]
Names = Mapping[Any, str]


class Scheduler(Protocol):
    """Computes graphs."""

    @property
    def n_at_once(self) -> int | None:
        """Number of tasks that each process runs at a time; None if only the process knows."""

    @property
    def n_threads(self) -> int:
        """Number of tasks that all processes run at a time."""

    def compute(
        self, graph: Graph, wanted: Keys, kept: Keys, homes: Homes | None = None
    ) -> tuple[list[Any], list[Any]]:
        """Return the values of some keys, and handles of others, whose values stay on workers."""
        # ``homes`` are the preferred workers of tasks: they hold the tasks' inputs.

    def entry(self, handle: Any) -> Any:
        """Return the graph's entry for a handle."""


class Local:
    """One of the schedulers in this process; a handle is the value.

    Parameters
    ----------
    get : callable
        Computes a graph.
    """

    def __init__(self, get: Any) -> None:
        self._get = get

    @property
    def n_threads(self) -> int:
        """Number of tasks that run at a time."""
        config = import_module("dask").config
        if getattr(self._get, "__name__", "") == "get_sync":
            return 1
        pool = config.get("pool", None)
        n_workers = getattr(pool, "_max_workers", None) or config.get("num_workers", None)
        return int(n_workers or import_module("dask.system").CPU_COUNT)

    n_at_once = n_threads

    def compute(
        self, graph: Graph, wanted: Keys, kept: Keys, homes: Homes | None = None
    ) -> tuple[list[Any], list[Any]]:
        """Return the values of all these keys."""
        values = self._get(dict(graph), [*wanted, *kept])
        return list(values[: len(wanted)]), list(values[len(wanted) :])

    def entry(self, handle: Any) -> Any:
        """Return a task that gives the value."""
        return (Given(handle),)


class Worker(NamedTuple):
    """A worker of a cluster."""

    address: str
    n_threads: int
    memory: int


class Cluster:
    """A cluster, reached by its client; a handle is a future.

    Parameters
    ----------
    client : distributed.Client
    """

    n_at_once = None

    def __init__(self, client: Any) -> None:
        self.client = client
        #: names, for messages, of results that workers hold and recompute if they are lost
        self._names: dict[Any, str] = {}

    def workers(self) -> list[Worker]:
        """Return the current workers, sorted by address."""
        known = self.client.scheduler_info(n_workers=-1)["workers"]
        return [
            Worker(address, int(worker["nthreads"]), int(worker["memory_limit"] or 0))
            for address, worker in sorted(known.items())
        ]

    @property
    def n_threads(self) -> int:
        """Number of tasks that all workers run at a time; 1 while there are no workers."""
        return sum(worker.n_threads for worker in self.workers()) or 1

    @property
    def memory(self) -> float:
        """Memory in bytes that all workers may use; infinity if one has no limit."""
        limits = [worker.memory for worker in self.workers()]
        return sum(limits) if all(limits) else float("inf")

    def compute(
        self, graph: Graph, wanted: Keys, kept: Keys, homes: Homes | None = None
    ) -> tuple[list[Any], list[Any]]:
        """Return the values of some keys, and futures of others."""
        # Operands are sent to the scheduler once for each pass: do not warn if they are large.
        with import_module("dask").config.set({_WARNING: "1 PiB"}):
            futures = self.client.get(_at_home(graph, homes or {}), [*wanted, *kept], sync=False)
        try:
            values = self.client.gather(futures[: len(wanted)])
        except Exception as error:
            _raise_first([error], self._named(error, graph))
            raise
        return values, futures[len(wanted) :]

    def _named(self, error: Exception, graph: Graph) -> Names:
        """Return names for tasks, including the one that Dask has given up."""
        names = self._names | names_in(graph)
        if has_killed(error) and error.task not in names:  # type: ignore[attr-defined]
            # This task has no chunk; it only waited on each worker that died. Name its inputs.
            keys = list(names)

            def blamed(dask_scheduler: Any) -> list[int]:
                found = (dask_scheduler.tasks.get(key) for key in keys)
                return [0 if task is None else task.suspicious for task in found]

            counts = self.client.run_on_scheduler(blamed)
            most = max(counts, default=0)
            pairs = zip(keys, counts, strict=True)
            culprits = dict.fromkeys(names[key] for key, count in pairs if 0 < count == most)
            if culprits:
                names[error.task] = " or ".join(culprits)  # type: ignore[attr-defined]
        return names

    def entry(self, handle: Any) -> Any:
        """Return the future."""
        return handle

    def homes(self, futures: Sequence[Any]) -> list[str | None]:
        """Return the address of a worker that holds each of these."""
        holders = self.client.who_has(futures)
        return [next(iter(holders.get(future.key, ())), None) for future in futures]

    def held(self, calls: Sequence[Any]) -> list[Any]:
        """Return futures of calls, once all are computed."""
        # The same worker computes and holds neighbours while it lives: the lower levels of a tree
        # over them then stay inside that worker.
        name = f"kmeans_xp-held-{uuid4().hex}"
        graph = {(name, number): call for number, call in enumerate(calls)}
        futures: list[Any] = []
        for address, numbers in _shares(len(calls), self.workers()):
            part = {(name, number): calls[number] for number in numbers}
            where = {} if address is None else {"workers": [address], "allow_other_workers": True}
            futures += self.client.get(part, list(part), sync=False, **where)
        names = names_in(graph)
        _raise_first([error for _, error in self._errors(futures)], names)
        self._names.update(names)
        return futures

    def persisted(self, collection: Any) -> list[Any]:
        """Return futures of the chunks of a collection, once all are computed."""
        persisted = self.client.persist(collection)
        keys = import_module("dask.core").flatten(persisted.__dask_keys__())
        graph = dict(persisted.__dask_graph__())
        futures = [graph[key] for key in keys]
        names = {future.key: Place(number, 1).names() for number, future in enumerate(futures)}
        errors = dict(self._errors(futures))
        for number, error in errors.items():
            if not (has_killed(error) or lacks_workers(error)):
                raise of_its_kind(error, f"chunk {number} of X could not be computed") from error
        _raise_first(list(errors.values()), names)
        self._names.update(names)
        return futures

    def _errors(self, futures: list[Any]) -> Iterator[tuple[int, Exception]]:
        import_module("distributed").wait(futures)
        for number, future in enumerate(futures):
            if future.status == "error":
                yield number, future.exception()


_WARNING = "distributed.admin.large-graph-warning-threshold"


def _at_home(graph: Graph, homes: Homes) -> Any:
    """Return the graph with a layer for each preferred worker of tasks.

    Without these, Dask prefers an idle worker to the one that holds the rows, and sends it the
    rows.
    """
    layers: dict[str, dict[Any, Any]] = {}
    for key, task in graph.items():
        layers.setdefault(homes.get(key) or "", {})[key] = task
    highlevelgraph = import_module("dask.highlevelgraph")
    made = {
        name: highlevelgraph.MaterializedLayer(
            tasks, {"workers": [name], "allow_other_workers": True} if name else None
        )
        for name, tasks in layers.items()
    }
    return highlevelgraph.HighLevelGraph(made, {name: set() for name in made})


def names_in(graph: Graph) -> dict[Any, str]:
    """Return names for the tasks of a graph that visit or compute chunks."""
    names: dict[Any, str] = {}
    for key, task in graph.items():
        for chunks, place in pairwise(task if isinstance(task, tuple) else ()):
            if isinstance(place, Place):
                names[key] = place.names()
                of_dask = chunks if isinstance(chunks, list) else []
                names.update((chunk, place.name(number)) for number, chunk in enumerate(of_dask))
    return names


def _raise_first(errors: list[Exception], names: Names) -> None:
    """Raise an error for the user, if there are errors."""
    for error in errors[:1]:
        told = _told(errors, names)
        if told in errors:
            raise told  # it keeps its cause
        raise told from error


def _told(errors: list[Exception], names: Names) -> Exception:
    """Return the first error, or one that says which chunks or workers are to blame."""
    # Tasks that waited for a dead worker fail with it, and so does all that has no worker left: the
    # culprit is one of the others.
    of_workers = [error for error in errors if has_killed(error) or lacks_workers(error)]
    if len(of_workers) < len(errors):
        return next(error for error in errors if error not in of_workers)
    died_of = [error for error in errors if has_killed(error)]
    if not died_of:
        return _told_of_workers(errors[0])
    tasks = dict.fromkeys(getattr(error, "task", None) for error in died_of)
    what = " or ".join(names.get(task) or f"the task {task!r}" for task in tasks)
    return naming(
        RuntimeError(
            f"Workers died one after another while they computed {what}; most likely they ran "
            "out of memory. Use smaller chunks, or give each worker more memory."
        )
    )


def _told_of_workers(error: Any) -> Exception:
    """Return what to say of an error that ``lacks_workers``."""
    restrictions = ("host_restrictions", "worker_restrictions", "resource_restrictions")
    if any(getattr(error, name, None) for name in restrictions):
        return cast(Exception, error)  # there may be workers, but none of those that may compute
    return naming(
        RuntimeError(
            f"The cluster had no worker for {error.timeout:g} seconds, which is Dask's "
            "distributed.scheduler.no-workers-timeout. Start workers and fit again; a "
            "Checkpoint continues from its last iteration."
        )
    )


def has_killed(error: Exception) -> bool:
    """Return whether Dask gave up a task because workers died on it."""
    return type(error).__name__ == "KilledWorker"


def lacks_workers(error: Exception) -> bool:
    """Return whether Dask gave up a task because no worker was there to compute it."""
    # The second, where the last worker left as the task was to begin.
    return type(error).__name__ in ("NoWorkerError", "NoValidWorkerError")


def _shares(n_groups: int, workers: list[Worker]) -> list[tuple[str | None, range]]:
    """Return the groups of each worker: neighbours, in proportion to its threads."""
    n_threads = sum(worker.n_threads for worker in workers)
    if n_threads == 0:
        return [(None, range(n_groups))]
    ends = [n_groups * end // n_threads for end in accumulate(each.n_threads for each in workers)]
    bounds = pairwise((0, *ends))
    return [(worker.address, range(*pair)) for worker, pair in zip(workers, bounds, strict=True)]


def scheduler_of(collection: Any) -> Scheduler:
    """Return the scheduler that computes a collection now."""
    get = import_module("dask.base").get_scheduler(collections=[collection])
    client = getattr(get, "__self__", None)
    return Local(get) if client is None else Cluster(client)
