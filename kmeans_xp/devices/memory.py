"""The memory budget: how much of an n_points x n_clusters matrix exists at a time."""

import contextlib
import threading
from typing import Protocol

from kmeans_xp.devices.arrays import Device, Namespace
from kmeans_xp.devices.libraries import library_of

__all__ = [
    "available_memory",
    "free_memory",
    "is_out_of_memory",
    "readable_size",
    "shrink_tiles",
    "tile_shape",
    "within_budget",
]

# Tiles depend only on shapes, not on free memory. Otherwise the order of rounding could change
# from one call to the next, and predict(X) with it.
_CPU_TILE_BYTES = 8 * 2**20
_ACCELERATOR_TILE_BYTES = 64 * 2**20

#: with fewer rows, a matrix product does not reach full speed
_WANTED_ROWS = 1024
_SMALLEST_TILE_BYTES = 64 * 2**10

_CGROUP = "/sys/fs/cgroup/memory."

_lock = threading.Lock()
_n_halvings = 0


class _Sized(Protocol):
    """What ``tile_shape`` needs to know about rows."""

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
    """Return the rows and columns of a tile of an (n_points, n_columns) matrix in the budget."""
    # A tile must also have room for ``n_numbers`` of each row, by default its features.
    budget = within_budget(_tile_bytes(rows, xp=xp))
    # Split columns only if the budget does not hold _WANTED_ROWS rows of all columns.
    columns = max(1, min(n_columns, budget // (_WANTED_ROWS * itemsize)))
    widest = max(columns, rows.n_features if n_numbers is None else n_numbers)
    n_rows = max(1, min(rows.n_points, budget // (widest * itemsize)))
    return n_rows, columns


def within_budget(n_bytes: int) -> int:
    """Return a kernel's own limit in bytes, halved as often as the budget was."""
    return max(n_bytes >> _n_halvings, _SMALLEST_TILE_BYTES)


def shrink_tiles() -> bool:
    """Halve the budget for the rest of the process; return False if it is at its smallest."""
    global _n_halvings
    with _lock:
        if _ACCELERATOR_TILE_BYTES >> _n_halvings <= _SMALLEST_TILE_BYTES:
            return False
        _n_halvings += 1
        return True


def available_memory() -> int | None:
    """Return the number of bytes that this process may still use on the host; None if unknown."""
    found = [_of_the_system(), _of_the_container()]
    return min((each for each in found if each is not None), default=None)


def free_memory(xp: Namespace, device: Device) -> int | None:
    """Return the number of free bytes on the device; None if unknown."""
    return library_of(xp).free_memory(device)


def readable_size(n_bytes: int) -> str:
    """Return a size in the largest unit of which it has at least one.

    Parameters
    ----------
    n_bytes : int
        The size in bytes, at least 0.

    Returns
    -------
    str
        With one decimal, except for bytes.

    Examples
    --------
    >>> readable_size(900), readable_size(3 * 2**20)
    ('900 bytes', '3.0 MiB')
    """
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if n_bytes >= unit:
            return f"{n_bytes / unit:,.1f} {name}"
    return f"{n_bytes} bytes"


def is_out_of_memory(error: BaseException, *, xp: Namespace) -> bool:
    """Return whether the error means that memory ran out."""
    if isinstance(error, MemoryError):  # NumPy's and CuPy's are subclasses
        return True
    said = f"{type(error).__name__}: {error}"
    return any(words in said for words in library_of(xp).out_of_memory)


def _of_the_system() -> int | None:
    """Return Linux's "available" memory: free, or in pages that it can drop."""
    with contextlib.suppress(OSError, ValueError, StopIteration), open("/proc/meminfo") as lines:
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    return None


def _of_the_container() -> int | None:
    """Return the rest of the control group's limit."""
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
