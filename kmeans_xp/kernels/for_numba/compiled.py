"""Functions that numba compiles once a dtype and a machine, whatever the memory layout."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.core.compiler_lock import global_compiler_lock

from kmeans_xp.kernels.for_numba.kept_code import KeptCode

__all__ = [
    "COLUMN",
    "COLUMNS",
    "COLUMN_64",
    "COUNT",
    "FLAG",
    "FLAGS",
    "INDICES",
    "LABELS",
    "LABEL_RESULTS",
    "MATRIX",
    "NUMBER",
    "NUMBERS",
    "NUMBERS_32",
    "NUMBERS_64",
    "RESULTS",
    "RESULTS_32",
    "ROWS",
    "ROWS_64",
    "STACK",
    "STACKED_TOTALS",
    "STARTS",
    "SUMS",
    "TOTALS",
    "Compiled",
    "compiled",
    "every_function",
    "inline",
]

_compiling = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A child has no thread that would ever release what another thread held at the fork: wait
    # until nothing is being compiled. Those that are registered last are taken first.
    for _lock in (global_compiler_lock._lock, _compiling):
        os.register_at_fork(
            before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
        )
_OPTIONS = {"nogil": True, "error_model": "numpy"}

#: for functions that other compiled functions call; float() of a float32 is a float32 in there,
#: np.float64() is what widens
inline = numba.njit(**_OPTIONS)


class Parameter(NamedTuple):
    """What a compiled function takes: NumPy's arrays are converted to it without a copy.

    Parameters
    ----------
    n_dims : int
        0 for a number.
    dtype : type of numba, or None
        None for the dtype that is computed in.
    layout : {"A", "C"}
        Of any strides, or dense.
    is_result : bool
        Whether it is written to.
    """

    n_dims: int
    dtype: Any = None
    layout: str = "A"
    is_result: bool = False

    def kind(self, computing: Any) -> Any:
        """Return the type where numbers are computed in ``computing``."""
        dtype = computing if self.dtype is None else self.dtype
        if self.n_dims == 0:
            return dtype
        return types.Array(dtype, self.n_dims, self.layout, readonly=not self.is_result)


ROWS, COLUMN = Parameter(2), Parameter(1)
ROWS_64, COLUMN_64 = Parameter(2, types.float64), Parameter(1, types.float64)
LABELS = Parameter(1, types.int32)
NUMBERS, NUMBERS_64 = Parameter(1, None, "C"), Parameter(1, types.float64, "C")
COUNT, NUMBER, FLAG = (Parameter(0, kind) for kind in (types.int64, types.float64, types.boolean))

RESULTS, MATRIX, STACK = (Parameter(n_dims, None, "C", True) for n_dims in (1, 2, 3))
NUMBERS_32 = Parameter(1, types.float32, "C")
RESULTS_32 = Parameter(1, types.float32, "C", True)
SUMS, TOTALS, STACKED_TOTALS = (Parameter(n_dims, types.float64, "C", True) for n_dims in (1, 2, 3))
LABEL_RESULTS = Parameter(1, types.int32, "C", True)
INDICES = Parameter(1, types.int64, "C", True)
FLAGS = Parameter(1, types.uint8, "C", True)

#: of sparse rows: the column of each stored number, and where rows begin
COLUMNS, STARTS = Parameter(1, types.int32, "C"), Parameter(1, types.int64, "C")


class Compiled:
    """A function that is compiled for a floating dtype when that dtype is first met.

    Compiled code is kept on disk, in numba's folder beside the source or in the user's.

    Parameters
    ----------
    function : callable
    parameters : tuple of Parameter
        One signature a dtype: otherwise each memory layout would be compiled on its own.
    returns : type of numba
    """

    def __init__(
        self, function: Callable[..., Any], parameters: tuple[Parameter, ...], returns: Any
    ) -> None:
        # numba compiles anew when the function's own file changes; the functions that it calls
        # stand in other files, and the name is what tells versions of those apart.
        function.__qualname__ += f"_{_DIGEST}"
        self.function, self.parameters, self.returns = function, parameters, returns
        self.of_dtype: dict[np.dtype[Any], Any] = {}
        #: the function as other compiled code calls it
        self.inline = inline(function)

    def __getitem__(self, dtype: np.dtype[Any]) -> Any:
        """Return the function for arrays of this dtype."""
        made = self.of_dtype.get(dtype)
        if made is not None:
            return made
        with _compiling:  # the threads of a first call would each compile
            if dtype not in self.of_dtype:
                self.of_dtype[dtype] = self._made(numba.from_dtype(dtype))
            return self.of_dtype[dtype]

    def _made(self, computing: Any) -> Any:
        signature = self.returns(*(parameter.kind(computing) for parameter in self.parameters))
        made = numba.njit(**_OPTIONS)(self.function)
        # Without a folder that may be written to, each process compiles for itself.
        with contextlib.suppress(RuntimeError):
            made._cache = KeptCode(self.function)
        made.compile(signature)
        made.disable_compile()
        return made


#: all that were declared
every_function: list[Compiled] = []


def compiled(
    *parameters: Parameter, returns: Any = types.void
) -> Callable[[Callable[..., Any]], Compiled]:
    """Return a decorator that makes a function of these parameters ``Compiled``."""

    def made_of(function: Callable[..., Any]) -> Compiled:
        made = Compiled(function, parameters, returns)
        every_function.append(made)
        return made

    return made_of


def _digest() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(map(Path.read_bytes, sources))).hexdigest()[:12]


_DIGEST = _digest()
