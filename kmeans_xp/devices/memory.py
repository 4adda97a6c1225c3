"""One memory budget: how much of an n_points x n_clusters matrix exists at a time."""

import contextlib
import threading
from typing import Protocol

from kmeans_xp.devices.arrays import Device, Namespace
from kmeans_xp.devices.libraries import library_of

__all__ = [
    "available_memory",
    "free_memory",
    "is_out_of_memory",
    "shrink_tiles",
    "tile_shape",
    "within_budget",
]

# Tiles follow from the shapes alone, not from the memory that happens to be free: the order
# of rounding would change from one call to the next, and predict(X) with it.
_CPU_TILE_BYTES = 8 * 2**20
_ACCELERATOR_TILE_BYTES = 64 * 2**20

#: with fewer rows than this a matrix product does not reach its speed
_WANTED_ROWS = 1024
_SMALLEST_TILE_BYTES = 64 * 2**10

_CGROUP = "/sys/fs/cgroup/memory."

_lock = threading.Lock()
_n_halvings = 0


class _Sized(Protocol):
    """Rows, for what a tile of them takes."""

    @property
    def n_points(self) -> int: ...

    @property
    def n_features(self) -> int: ...

    @property
    def device(self) -> Device: ...


def tile_shape(
    rows: _Sized,
    n_columns: int,
    *,
    xp: Namespace,
    itemsize: int = 8,
    n_numbers: int | None = None,
) -> tuple[int, int]:
    """Return rows and columns of a tile of an (n_points, n_columns) matrix within the budget."""
    # A tile holds so many numbers of each row too: its features, if nothing else is said.
    budget = within_budget(_tile_bytes(rows, xp=xp))
    # Columns are split only where a tile could not hold _WANTED_ROWS rows of all of them.
    columns = max(1, min(n_columns, budget // (_WANTED_ROWS * itemsize)))
    widest = max(columns, rows.n_features if n_numbers is None else n_numbers)
    n_rows = max(1, min(rows.n_points, budget // (widest * itemsize)))
    return n_rows, columns


def within_budget(n_bytes: int) -> int:
    """Return a size that a kernel has set for itself, halved as often as the tiles were."""
    return max(n_bytes >> _n_halvings, _SMALLEST_TILE_BYTES)


def shrink_tiles() -> bool:
    """Halve the budget for the rest of the process; False when it is at its smallest."""
    global _n_halvings
    with _lock:
        if _ACCELERATOR_TILE_BYTES >> _n_halvings <= _SMALLEST_TILE_BYTES:
            return False
        _n_halvings += 1
        return True


def available_memory() -> int | None:
    """Return the bytes of the host that a process may still use, or None if that is not known."""
    found = [_of_the_system(), _of_the_container()]
    return min((each for each in found if each is not None), default=None)


def free_memory(xp: Namespace, device: Device) -> int | None:
    """Return the bytes that are free on the device, or None where that is not known."""
    return library_of(xp).free_memory(device)


def is_out_of_memory(error: BaseException, *, xp: Namespace) -> bool:
    """Return whether the error is a library's way to say that memory ran out."""
    if isinstance(error, MemoryError):  # NumPy's and CuPy's are subclasses
        return True
    said = f"{type(error).__name__}: {error}"
    return any(words in said for words in library_of(xp).out_of_memory)


def _of_the_system() -> int | None:
    """Return what Linux says is available: free, or held by pages that can be dropped."""
    with contextlib.suppress(OSError, ValueError, StopIteration), open("/proc/meminfo") as lines:
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    return None


def _of_the_container() -> int | None:
    """Return what the limit of a control group leaves."""
    numbers = []
    for name in ("max", "current"):
        with contextlib.suppress(OSError, ValueError), open(_CGROUP + name) as file:
            numbers.append(int(file.read()))
    return numbers[0] - numbers[1] if len(numbers) == 2 else None


def _tile_bytes(rows: _Sized, *, xp: Namespace) -> int:
    library = library_of(xp)
    is_accelerator = library.on_accelerator
    if is_accelerator is None:
        is_accelerator = library.is_accelerator(rows.device)
    return _ACCELERATOR_TILE_BYTES if is_accelerator else _CPU_TILE_BYTES
