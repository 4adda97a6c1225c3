"""Functions that numba compiles once for each dtype and machine, for all memory layouts."""

import contextlib
import ctypes
import gc
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target

from kmeans_xp.kernels.for_numba.calls import (
    Call,
    Parameter,
    address_at,
    call_at,
    call_by_name,
    parameters_of,
    signature_of,
)
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
    "USES_BEFORE_COMPILING",
    "Compiled",
    "Parameter",
    "call_at",
    "compiled",
    "every_function",
    "inline",
    "shared",
]

_compiling = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A child has no thread that could release a lock of another thread at the fork. So wait until
    # nothing compiles. Handlers that are registered last run first.
    for _lock in (global_compiler_lock._lock, _compiling):
        os.register_at_fork(
            before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
        )
_DOUBLE = np.dtype(np.float64)
_COMPUTING = (np.dtype(np.float32), _DOUBLE)
_OPTIONS = {"nogil": True, "error_model": "numpy"}

#: of functions that only save time: a program that fits now and then does not wait for them
USES_BEFORE_COMPILING = 200

#: of a loop that Python's interpreter runs about as fast as it calls a compiled function
_TURNS_OF_A_USE = 2**7

#: for functions that other compiled functions call; float() of a float32 stays a float32 in there,
#: and np.float64() widens it
inline = numba.njit(**_OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)

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
    """A function that is compiled for a floating dtype at its first use.

    Compiled code is kept on disk, in numba's folder beside the source or in the user's folder.

    Parameters
    ----------
    function : callable
    parameters : tuple of Parameter
        One signature for each dtype; otherwise numba would compile each memory layout separately.
    returns : type of numba
    is_called : bool
        Whether Python calls it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        parameters: tuple[Parameter, ...],
        returns: Any,
        is_called: bool,
    ) -> None:
        # A function is compiled again when its own file changes. The functions that it calls, and
        # constants, are in other files, so a digest of those is part of the name.
        function.__qualname__ += f"_{_DIGEST}"
        self.function, self.parameters, self.returns = function, parameters, returns
        self.of_dtype: dict[np.dtype[Any], Any] = {}
        self._addresses: dict[np.dtype[Any], int] = {}
        self._n_asked: dict[np.dtype[Any], int] = {}
        self._options = _OPTIONS | {"no_cpython_wrapper": not is_called, "no_cfunc_wrapper": True}
        self._computes = any(each.n_dims and each.dtype is None for each in parameters)
        #: the function for calls from other compiled code
        self.shared = call_by_name(function, parameters, returns, self._symbol)
        _of_call[self.shared] = self
        self._found: dict[np.dtype[Any], ctypes.c_int64] = {}

    def __getitem__(self, dtype: np.dtype[Any]) -> Any:
        """Return the function for arrays of this dtype."""
        made = self.of_dtype.get(dtype)
        if made is not None:
            return made
        with _compiling:  # otherwise each thread of a first call would compile
            if dtype not in self.of_dtype:
                made = self[_DOUBLE] if self._is_alike(dtype) else self._made(dtype)
                self.of_dtype[dtype] = made
            return self.of_dtype[dtype]

    def pays(self, dtype: np.dtype[Any], n_uses: int = 1) -> bool:
        """Return whether to use this function where others do the same work, only slower.

        If it is neither compiled nor kept on disk, it has to be asked for many uses first:
        compiling takes longer than some of them save.
        """
        if dtype in self.of_dtype:
            return True
        n_asked = self._n_asked.get(dtype, 0) + n_uses
        if dtype not in self._n_asked and self._is_kept(dtype):
            n_asked = USES_BEFORE_COMPILING + 1  # a caller may ask again before it uses it
        self._n_asked[dtype] = n_asked
        return n_asked > USES_BEFORE_COMPILING

    def for_turns(self, n_turns: int, dtype: np.dtype[Any]) -> Callable[..., Any]:
        """Return the function, or what interprets it while its loops have few turns.

        The bits are the same, because each number has the dtype that numba gives it. For functions
        without anything that only compiled code can use.
        """
        if not self.pays(dtype, 1 + n_turns // _TURNS_OF_A_USE):
            return self._interpreted
        made: Callable[..., Any] = self[dtype]
        return made

    def _interpreted(self, *arguments: Any) -> Any:
        with np.errstate(all="ignore"):  # as compiled code
            return self.function(*arguments)

    def address(self, dtype: np.dtype[Any], at: Any) -> int:
        """Return the address of the code for arrays of this dtype, for the call ``at``.

        This checks the parameters, since compiled code with wrong ones would write anywhere.
        """
        if (self.parameters, self.returns) != (parameters_of(at), types.void):
            raise TypeError(
                f"The parameters of {self.function.__name__} differ from those of this call"
            )
        self[dtype]
        return self._addresses[_DOUBLE if self._is_alike(dtype) else dtype]

    def found_if_made(self) -> Any:
        """Return a function for other compiled code, which returns the address, or 0.

        Its argument is an array of the dtype of computation. Other code is then compiled without
        this function, and uses it once it is there.
        """
        for dtype in _COMPUTING:
            self._found[dtype] = place = ctypes.c_int64(self._addresses.get(dtype, 0))
            llvm.add_symbol(self._symbol_of_address(dtype), ctypes.addressof(place))
        return address_at(self._symbol_of_address)

    def _is_alike(self, dtype: np.dtype[Any]) -> bool:
        return not self._computes and dtype != _DOUBLE

    def _is_kept(self, dtype: np.dtype[Any]) -> bool:
        signature = signature_of(self.parameters, self.returns, dtype)
        try:
            return KeptCode(self.function).has(signature, cpu_target.target_context)
        except RuntimeError:  # there is no writable folder
            return False

    def _symbol(self, dtype: np.dtype[Any]) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}.{dtype}"

    def _symbol_of_address(self, dtype: np.dtype[Any]) -> str:
        return f"{self._symbol(dtype)} address"

    def _made(self, dtype: np.dtype[Any]) -> Any:
        for each in _called_by(self.function):
            each[dtype]  # callers need its symbol when they are compiled or loaded
        made = numba.njit(**self._options)(self.function)
        # Without a writable folder, each process compiles for itself.
        with contextlib.suppress(RuntimeError):
            made._cache = KeptCode(self.function)
        with _uncollected():
            made.compile(signature_of(self.parameters, self.returns, dtype))
        made.disable_compile()
        (code,) = made.overloads.values()
        address = code.library.get_pointer_to_function(code.fndesc.llvm_func_name)
        llvm.add_symbol(self._symbol(dtype), address)
        self._addresses[dtype] = address
        if dtype in self._found:
            self._found[dtype].value = address
        return made


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Pause garbage collection: it takes a tenth of the time, and finds almost nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _called_by(function: Callable[..., Any]) -> Iterator[Compiled]:
    """Yield the compiled functions that a function calls, directly or in inlined functions."""
    names = (function.__globals__.get(name) for name in function.__code__.co_names)
    for called in (*names, *(cell.cell_contents for cell in function.__closure__ or ())):
        if isinstance(called, Dispatcher):
            yield from _called_by(called.py_func)
        elif isinstance(called, Call) and called in _of_call:
            yield _of_call[called]


_of_call: dict[Any, Compiled] = {}


#: all declared functions
every_function: list[Compiled] = []


def compiled(
    *parameters: Parameter, returns: Any = types.void, is_called: bool = True
) -> Callable[[Callable[..., Any]], Compiled]:
    """Return a decorator that makes a function with these parameters ``Compiled``."""

    def made_of(function: Callable[..., Any]) -> Compiled:
        made = Compiled(function, parameters, returns, is_called)
        every_function.append(made)
        return made

    return made_of


def shared(*parameters: Parameter) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator for functions that many compiled functions call; compiled only once."""

    def call_of(function: Callable[..., Any]) -> Any:
        return compiled(*parameters, is_called=False)(function).shared

    return call_of


def _digest() -> str:
    here = Path(__file__).parent
    sources = [*sorted(here.rglob("*.py")), *sorted(here.parent.glob("*.py"))]
    return hashlib.sha256(b"".join(map(Path.read_bytes, sources))).hexdigest()[:12]


_DIGEST = _digest()
