"""The functions that run in tasks: visit some neighbouring chunks where they are.

Nothing here depends on Dask. All functions are pure: if a worker is lost, another one runs its
tasks again, with bit-identical results.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.blocks.in_memory import rows_of, within_memory
from kmeans_xp.config import config_context, default_n_threads
from kmeans_xp.devices import (
    Array,
    Device,
    DeviceUnavailableError,
    Namespace,
    Placement,
    adopted,
    as_csr,
    bring,
    choose,
    computing_dtype,
    device_of,
    from_host,
    is_array,
    is_of_kind,
    is_sparse,
    n_threads,
    namespace_of,
    to_host,
    working_device,
)
from kmeans_xp.kernels import DenseRows, Rows, added, merged_in_tree

__all__ = [
    "Given",
    "Job",
    "Place",
    "Settings",
    "as_points",
    "delivered",
    "example",
    "head_of",
    "held",
    "mapped",
    "merged",
    "names_a_chunk",
    "naming",
    "of_its_kind",
    "of_parts",
    "part_of",
    "parts_on_host",
    "reduced",
    "sizes_of",
    "taken",
    "whereabouts",
]

Merge = Callable[[Any, Any], Any]
Host = NDArray[Any]
#: a result, or None, for each chunk of a task
PerChunk = Sequence[Any]


@dataclass(frozen=True)
class Settings:
    """How to visit rows in a process whose settings may differ from those of this one.

    Parameters
    ----------
    dtype : str
        Name of the dtype in which functions get the rows.
    n_features : int
    device : str or None
        As in the estimators; None for the chunk's device.
    precision : {"float32", "tf32"}
    n_threads : int or None
        Threads of a task; None for the setting of its process, or its share of the processors.
    n_at_once : int or None
        Tasks that run in the process at a time; None if only the process knows.
    """

    dtype: str
    n_features: int
    device: str | None = None
    precision: str = "float32"
    n_threads: int | None = None
    n_at_once: int | None = None

    def in_force(self) -> AbstractContextManager[None]:
        """Return a context in which kernels run with these settings."""
        return config_context(precision=self.precision, n_threads=self._threads())

    def _threads(self) -> int | None:
        # If each task used every processor, tasks would slow each other down.
        if self.n_threads is not None or default_n_threads() is not None:
            return self.n_threads
        return max(1, n_threads() // (self.n_at_once or _n_at_once()))


def _n_at_once() -> int:
    """Return the number of tasks that this worker runs at a time."""
    worker = sys.modules["distributed"].get_worker()
    return int(worker.state.nthreads)


@dataclass(frozen=True)
class Job:
    """What a pass does with each chunk; the same for all its tasks.

    Parameters
    ----------
    function : callable
        As in ``Blocks.reduce`` and ``Blocks.map_rows``.
    operands : tuple
        Operands on the host.
    settings : Settings
    origin : ndarray or None
        Point to subtract from rows.
    merge : callable
        Merges partial results.
    is_first : bool
        Whether to check that the numbers of each chunk are finite.
    """

    function: Callable[..., Any]
    operands: tuple[Any, ...]
    settings: Settings
    origin: NDArray[Any] | None = None
    merge: Merge = added
    is_first: bool = False


@dataclass(frozen=True)
class Place:
    """The place of neighbouring chunks among all, for messages.

    Parameters
    ----------
    number : int
        Index of the first of them.
    n_chunks : int
    start : int
        Index of its first row, if sizes are known.
    sizes : tuple of int, or None
        Number of rows of each, if known.
    what : str
        Name of the collection.
    """

    number: int
    n_chunks: int
    start: int = 0
    sizes: tuple[int, ...] | None = None
    what: str = "X"

    def name(self, position: int) -> str:
        """Return a name for the chunk at this position."""
        name = f"chunk {self.number + position} of {self.what}"
        if self.sizes is None:
            return name
        start = self.start + sum(self.sizes[:position])
        return f"{name} (rows {start} to {start + self.sizes[position] - 1})"

    def names(self) -> str:
        """Return a name for all of them."""
        last = self.number + self.n_chunks - 1
        if self.n_chunks == 1:
            return self.name(0)
        return f"chunks {self.number} to {last} of {self.what}"

    def __dask_tokenize__(self) -> int:
        """Return an identity within a graph; the graph's keys are new in every pass."""
        return self.number

    def lacks(self, position: int, n_rows: int) -> bool:
        """Return whether a chunk has another number of rows than the collection says."""
        return self.sizes is not None and self.sizes[position] != n_rows


class Given:
    """A function that returns a value: a graph cannot mistake it for keys or tasks."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __dask_tokenize__(self) -> int:
        """Return an identity within this process: by default Dask would hash the value."""
        return id(self)

    def __call__(self) -> Any:
        """Return the value."""
        return self.value


def held(chunks: Sequence[Any], place: Place, dtype: str) -> list[Any]:
    """Return the chunks themselves, converted for many visits."""
    return [as_points(_computed(chunks, place, number), dtype) for number in range(len(chunks))]


def sizes_of(chunks: Sequence[Any], place: Place) -> list[int]:
    """Return the number of rows of each chunk."""
    return [int(_computed(chunks, place, number).shape[0]) for number in range(len(chunks))]


def reduced(
    job: Job, chunks: Sequence[Any], place: Place, weights: PerChunk | None, *per_row: PerChunk
) -> Any:
    """Return the partial results of the chunks merged, on the host; None if there are no rows."""
    with job.settings.in_force():
        results = _Visits(job, chunks, place, weights).results(job.function, per_row)
        return _on_host(merged(results, job.merge))


def mapped(
    job: Job, chunks: Sequence[Any], place: Place, weights: PerChunk | None, *per_row: PerChunk
) -> list[Any]:
    """Return the result of the function for each chunk; None for a chunk without rows."""
    with job.settings.in_force():
        return list(_Visits(job, chunks, place, weights).results(job.function, per_row))


def taken(
    job: Job,
    chunks: Sequence[Any],
    place: Place,
    weights: PerChunk | None,
    wanted: Mapping[int, Host],
) -> list[DenseRows]:
    """Return rows of some of the chunks, by their places in them, on the host."""
    with job.settings.in_force():
        visits = _Visits(job, chunks, place, weights)
        rows = (visits.result(_some, position, (places,)) for position, places in wanted.items())
        return [_on_host(each) for each in rows]


def of_parts(job: Job, parts: PerChunk, *per_row: PerChunk) -> Any:
    """Return merged partial results of mapped values, without a visit of the rows."""

    def partials() -> Iterator[Any]:
        for part, *others in zip(parts, *per_row, strict=True):
            if part is None:
                yield None
                continue
            xp, device = whereabouts(part)
            yield job.function(part, *_placed((*others, *job.operands), xp, device), xp=xp)

    with job.settings.in_force():
        return _on_host(merged(partials(), job.merge))


def merged(partials: Iterable[Any], merge: Merge) -> Any:
    """Merge partial results in a tree over all chunks, including the None of empty ones."""

    def either(left: Any, right: Any) -> Any:
        if left is None or right is None:
            return right if left is None else left
        return merge(left, right)

    return merged_in_tree(partials, either)


def as_points(part: Any, dtype: str) -> Array:
    """Return a chunk or a partition as an array of floating numbers."""
    if type(part) is np.ndarray and part.dtype.kind == "f":
        return part  # the checks below take longer than to sum some rows
    if is_sparse(part):
        matrix = as_csr(part)
        return matrix if matrix.dtype.kind == "f" else matrix.astype(np.float64)
    part = adopted(part)
    if hasattr(part, "to_numpy"):
        return part.to_numpy(dtype=dtype, na_value=np.nan)
    if not is_array(part):
        part = np.asarray(part)
    if str(part.dtype) == "object":
        part = part.astype(dtype)
    if is_of_kind(part, ("bool", "integral")):
        part = namespace_of(part).astype(part, namespace_of(part).float64)
    return part


def part_of(parts: PerChunk, position: int) -> Any:
    """Return the mapped values of one chunk, on the host."""
    return _on_host(parts[position])


def head_of(parts: PerChunk, position: int) -> Any:
    """Return the mapped values of zero rows of one chunk, on the host."""
    part = parts[position]
    if isinstance(part, tuple):
        return _like(part, (to_host(each[:0]) for each in part))
    return to_host(part[:0])


def example(job: Job) -> Any:
    """Return the function's result for zero rows, on the host, without a chunk."""
    row = np.ones(
        (1, job.settings.n_features), dtype=job.settings.dtype
    )  # not zero, so it has a direction
    here = replace(job, is_first=False, settings=replace(job.settings, device="cpu", n_threads=1))
    return head_of(mapped(here, [row], Place(0, 1), None), 0)


def parts_on_host(parts: PerChunk) -> list[Any]:
    """Return the mapped values of each chunk, on the host."""
    return [_on_host(part) for part in parts]


def delivered(parts: PerChunk, position: int, empty: Array, field: int | None) -> Array:
    """Return the mapped values of one chunk for the user: an array like ``empty``."""
    part = parts[position]
    if part is None:
        return empty
    part = part if field is None else part[field]
    xp, device = whereabouts(empty)
    return part if namespace_of(part) is xp else from_host(to_host(part), xp=xp, device=device)


class _Visits:
    """Calls functions with the rows of the chunks of a task."""

    def __init__(
        self, job: Job, chunks: Sequence[Any], place: Place, weights: PerChunk | None
    ) -> None:
        self.job = job
        self.chunks = chunks
        self.place = place
        self.weights = weights
        self._operands: dict[str, tuple[Any, ...]] = {}

    def results(self, function: Callable[..., Any], per_row: tuple[PerChunk, ...]) -> Iterator[Any]:
        """Yield the function's result for each chunk, or None."""
        for position in range(len(self.chunks)):
            yield self.result(function, position, tuple(each[position] for each in per_row))

    def result(self, function: Callable[..., Any], position: int, given: tuple[Any, ...]) -> Any:
        """Return the function's result for one chunk; an error names the chunk."""
        part = _computed(self.chunks, self.place, position)
        if int(part.shape[0]) == 0:
            return None
        try:
            return self._called(function, part, position, given)
        except Exception as error:
            raise of_its_kind(error, f"In {self.place.name(position)}") from error

    def _called(
        self, function: Callable[..., Any], part: Any, position: int, given: tuple[Any, ...]
    ) -> Any:
        points = self._points(part, position)
        placement = choose(points, self.job.settings.device)
        xp, device = placement.xp, placement.device
        with working_device(xp, device):
            rows = self._rows(points, position, placement)
            placed = _placed(given, xp, device)
            return within_memory(function, rows, *placed, *self._operands_on(placement), xp=xp)

    def _points(self, part: Any, position: int) -> Array:
        points = as_points(part, self.job.settings.dtype)
        shape = tuple(int(size) for size in points.shape)
        if shape[1:] != (self.job.settings.n_features,) or self.place.lacks(position, shape[0]):
            raise ValueError(f"its shape is {shape}, which differs from what the collection says.")
        if self.job.is_first and not _are_finite(points):
            raise ValueError("Input X contains NaN or infinity. Impute or drop those rows first.")
        return points

    def _rows(self, points: Array, position: int, placement: Placement) -> Rows:
        dtype = getattr(placement.xp, self.job.settings.dtype)
        points = bring(points, placement)
        if computing_dtype(points.dtype, xp=placement.xp) != dtype:
            # The collection declares another dtype.
            is_matrix = is_sparse(points)
            points = points.astype(dtype) if is_matrix else placement.xp.astype(points, dtype)
        weights = None if self.weights is None else self.weights[position]
        if weights is not None:
            if weights.shape != points.shape[:1]:
                raise ValueError(f"it has {points.shape[0]} rows, but {weights.shape[0]} weights.")
            weights = bring(weights, placement, dtype=dtype)
        origin = self.job.origin
        origin = None if origin is None else bring(origin, placement)
        return rows_of(points, weights).seen_from(origin)

    def _operands_on(self, placement: Placement) -> tuple[Any, ...]:
        # Copied once for each task, not for each chunk.
        device = str(placement.device)
        if device not in self._operands:
            self._operands[device] = _placed(self.job.operands, placement.xp, placement.device)
        return self._operands[device]


def _computed(chunks: Sequence[Any], place: Place, position: int) -> Any:
    try:
        return chunks[position]
    except Exception as error:
        raise of_its_kind(error, f"{place.name(position)} could not be computed") from error


def of_its_kind(error: Exception, what: str) -> Exception:
    """Return an error of the same class, so that handlers catch it, which also says where."""
    what = what[0].upper() + what[1:]
    for kind in (MemoryError, TypeError, ValueError, DeviceUnavailableError):
        if isinstance(error, kind):
            return naming(kind(f"{what}: {error}"))
    return naming(RuntimeError(f"{what}: {type(error).__name__}: {error}"))


def naming(error: Any) -> Exception:
    """Mark an error as one that names its chunk."""
    error.kmeans_xp_names_a_chunk = True
    named: Exception = error
    return named


def names_a_chunk(error: Exception) -> bool:
    """Return whether an error, maybe from another process, names its chunk."""
    return hasattr(error, "kmeans_xp_names_a_chunk")


def _are_finite(points: Array) -> bool:
    points = points.data if is_sparse(points) else points
    xp = namespace_of(points)
    with np.errstate(all="ignore"):
        points = xp.astype(points, computing_dtype(points.dtype, xp=xp), copy=False)
        # The sum of finite numbers is finite unless it overflows: try it first, without an array
        # of flags.
        return bool(xp.isfinite(xp.sum(points))) or bool(xp.all(xp.isfinite(points)))


def _some(rows: Rows, places: Array, *, xp: Namespace) -> DenseRows:  # noqa: ARG001
    return rows.take(places)


def whereabouts(value: Any) -> tuple[Namespace, Device]:
    """Return library and device of an array, or of the first one of a NamedTuple."""
    while isinstance(value, tuple):
        value = value[0]
    return namespace_of(value), device_of(value)


def _placed(value: Any, xp: Namespace, device: Device) -> Any:
    """Copy arrays to the device, also those inside tuples; return other values as they are."""
    if isinstance(value, tuple):
        return _like(value, (_placed(each, xp, device) for each in value))
    if not is_array(value):
        return value
    if namespace_of(value) is xp and str(device_of(value)) == str(device):
        return value
    return from_host(to_host(value), xp=xp, device=device)


def _on_host(value: Any) -> Any:
    """Convert arrays to NumPy, also those inside tuples; return other values as they are."""
    if isinstance(value, tuple):
        return _like(value, (_on_host(each) for each in value))
    return to_host(value) if is_array(value) else value


def _like(value: tuple[Any, ...], parts: Iterable[Any]) -> tuple[Any, ...]:
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
