"""One memory budget: how much of an n_points x n_clusters matrix exists at a time."""

import threading

from kmeans_xp.devices.libraries import Array, Namespace, device_of, library_name

__all__ = ["is_out_of_memory", "shrink_tiles", "tile_shape", "within_budget"]

# Tiles follow from the shapes alone, not from the memory that happens to be free: the order
# of rounding would change from one call to the next, and predict(X) with it.
_CPU_TILE_BYTES = 8 * 2**20
_ACCELERATOR_TILE_BYTES = 64 * 2**20

#: with fewer rows than this a matrix product does not reach its speed
_WANTED_ROWS = 1024
_SMALLEST_TILE_BYTES = 64 * 2**10

_lock = threading.Lock()
_n_halvings = 0


def tile_shape(
    points: Array, n_columns: int, *, xp: Namespace, itemsize: int = 8
) -> tuple[int, int]:
    """Return rows and columns of a tile of an (n_points, n_columns) matrix within the budget."""
    budget = within_budget(_tile_bytes(points, xp=xp))
    # Columns are split only where a tile could not hold _WANTED_ROWS rows of all of them.
    columns = max(1, min(n_columns, budget // (_WANTED_ROWS * itemsize)))
    widest = max(columns, int(points.shape[1]))
    rows = max(1, min(int(points.shape[0]), budget // (widest * itemsize)))
    return rows, columns


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


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the error is a library's way to say that memory ran out."""
    if isinstance(error, MemoryError):  # NumPy's and CuPy's are subclasses
        return True
    if type(error).__name__ in {"OutOfMemoryError", "USMAllocationError"}:  # torch, dpnp
        return True
    # JAX, and torch on a CPU, have no class of their own for it.
    return any(words in str(error) for words in ("RESOURCE_EXHAUSTED", "can't allocate memory"))


def _tile_bytes(points: Array, *, xp: Namespace) -> int:
    library = library_name(xp)
    if library in ("numpy", "cupy"):  # known without a look at the device
        return _CPU_TILE_BYTES if library == "numpy" else _ACCELERATOR_TILE_BYTES
    on_accelerator = any(word in str(device_of(points)) for word in ("cuda", "gpu", "mps", "xpu"))
    return _ACCELERATOR_TILE_BYTES if on_accelerator else _CPU_TILE_BYTES
