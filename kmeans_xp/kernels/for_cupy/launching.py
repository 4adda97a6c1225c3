"""Launch kernels: compile them by NVRTC at first use, make arguments, divide the rows.

Each kernel gives bit-identical results in every call: the shapes alone decide the order of sums.
Nothing here waits for the device or copies from it.
"""

import functools
import importlib.resources
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import cupy
import numpy as np

from kmeans_xp.devices import Array
from kmeans_xp.kernels.rows import DenseRows

__all__ = [
    "C_TYPES",
    "MOST_BLOCKS",
    "MOST_RUNS",
    "NEVER",
    "NULL",
    "N_THREADS",
    "SHARED_BYTES",
    "ManyRows",
    "Stop",
    "are_plain",
    "compiled",
    "launch",
    "row_arguments",
    "runs_over",
    "source_text",
    "split",
    "types_of",
]

N_THREADS = 256  # in a block, as in the sources

#: shared memory that a block gets on every device without a request; with compute capability 9.0,
#: four of these blocks run at a time
SHARED_BYTES = 48 * 2**10

#: number of blocks of a pass over all rows: enough to fill any device, few enough to merge fast
MOST_BLOCKS = 1024

#: maximum size of the second and the third dimension of a grid
MOST_RUNS = 2**16 - 1

C_TYPES = {
    "float16": ("Half", "float"),
    "bfloat16": ("Bfloat16", "float"),
    "float32": ("float", "float"),
    "float64": ("double", "double"),
}

NULL = np.intp(0)


class Stop(NamedTuple):
    """When the kernels of a step do nothing: the step before was the last of its run.

    Parameters
    ----------
    before : array of float64, shape (..., 3)
        Signals of the step before; null if the step never stops.
    most_shift : array of float64, shape (...)
        A run ends after a step that moves the centroids by at most this (sum of squares), or that
        leaves a cluster without rows.
    """

    before: Any
    most_shift: Any


NEVER = Stop(NULL, NULL)

#: the template parameters of a kernel, if it has any, and its name
_KERNEL = re.compile(
    r"(?:template\s*<([^>]*)>\s*|extern \"C\"\s+)__global__\s+void\s+"
    r"(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\("
)

_INCLUDE = re.compile(r'^#include "(\w+\.cu)"\n', re.MULTILINE)


class ManyRows(NamedTuple):
    """The rows of many problems of one shape, and the runs over them.

    Parameters
    ----------
    points : array of shape (n_problems, n_points, n_features)
    weights : array of shape (n_problems, n_points), or None
    origin : array of shape (n_problems, n_features)
    problems : array of int32, shape (n_runs,)
        The problem whose rows each run uses.
    """

    points: Array
    weights: Array | None
    origin: Array
    problems: Array

    @property
    def n_points(self) -> int:
        """Number of rows of a problem."""
        return int(self.points.shape[1])

    @property
    def n_features(self) -> int:
        """Number of columns of each row."""
        return int(self.points.shape[2])

    def tiles(self, size: int) -> Iterator[tuple[slice, "ManyRows"]]:
        """Yield all rows at once, as ``DenseRows`` of at most ``size`` rows do."""
        assert self.n_points <= size
        yield slice(0, self.n_points), self


def runs_over(rows: DenseRows | ManyRows) -> tuple[Any, int]:
    """Return the problem of each run, null for a single problem, and the number of runs."""
    return (rows.problems, len(rows.problems)) if isinstance(rows, ManyRows) else (NULL, 1)


def types_of(rows: DenseRows | ManyRows, *arrays: Array) -> tuple[str, str] | None:
    """Return the C types of the points and of the computation; None to decline."""
    if rows.n_points == 0:  # a launch of no blocks is an error
        return None
    types: tuple[str, str] | None = C_TYPES.get(rows.points.dtype.name)
    given = [array for array in (rows.weights, rows.origin, *arrays) if array is not None]
    if types is None or not are_plain(rows.points, *given):
        return None
    wanted = "float64" if types[1] == "double" else "float32"
    return types if all(array.dtype.name == wanted for array in given) else None


def are_plain(*arrays: Array) -> bool:
    """Return whether each array is C-contiguous."""
    return all(array.flags.c_contiguous for array in arrays)


def row_arguments(rows: DenseRows | ManyRows, *, with_weights: bool = False) -> Iterator[Any]:
    """Return the points, the weights if wanted, and the origin; null for missing ones."""
    optional = (rows.weights, rows.origin) if with_weights else (rows.origin,)
    yield rows.points
    yield from (NULL if array is None else array for array in optional)


def split(n_rows: int, most_blocks: int, tile_rows: int = N_THREADS) -> tuple[int, int]:
    """Return the rows of a block, in whole tiles of ``tile_rows``, and the number of blocks."""
    n_tiles = -(-n_rows // tile_rows)
    rows_per_block = -(-n_tiles // most_blocks) * tile_rows
    return rows_per_block, -(-n_rows // rows_per_block)


def launch(
    name: str,
    source: str,
    blocks: int | tuple[int, ...],
    arguments: tuple[Any, ...],
    *,
    n_threads: int = N_THREADS,
    shared_bytes: int = 0,
) -> None:
    """Launch a kernel, given by a name expression, of a source in this folder."""
    grid = blocks if isinstance(blocks, tuple) else (blocks,)
    function = compiled(name, source)
    if shared_bytes > SHARED_BYTES:
        function.max_dynamic_shared_size_bytes = shared_bytes
    function(grid, (n_threads,), arguments, shared_mem=shared_bytes)


@functools.cache
def compiled(name: str, source: str) -> Any:
    """Return a kernel of a source; those with the same template arguments compile together."""
    template, _, arguments = name.partition("<")
    templates = _templates(source)
    alike = [each for each in templates if templates[each] == templates[template]]
    names = tuple(f"{each}<{arguments}" for each in alike) if arguments else None
    return _module(source, names).get_function(name)


@functools.cache
def _module(source: str, names: tuple[str, ...] | None) -> Any:
    """Return a source compiled by one run of NVRTC, which has an overhead of a tenth of a second.

    It has no kernels of other widths: each takes a few tenths, and a fit needs one or two.
    """
    text = source_text(source)
    return cupy.RawModule(code=text, options=("-std=c++17",), name_expressions=names)


@functools.cache
def _templates(source: str) -> dict[str, str]:
    """Return the template parameters of each kernel of a source, "" for none."""
    return {name: parameters for parameters, name in _KERNEL.findall(source_text(source))}


def source_text(source: str) -> str:
    """Return a source of this folder with the files that it includes, each once.

    NVRTC could include files itself, but CuPy uses the text of the source as key of its cache.
    """
    folder, seen = importlib.resources.files(__package__), {source}

    def text_of(name: str) -> str:
        return _INCLUDE.sub(included, folder.joinpath(name).read_text())

    def included(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen:
            return ""
        seen.add(name)
        return text_of(name)

    return text_of(source)
