"""Calls of compiled functions by name or by address.

By default numba links a compiled function into each of its callers, and compiles it there again.
A fit would wait for each copy. With these calls there is only one copy.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

__all__ = [
    "Call",
    "Parameter",
    "address_at",
    "call_at",
    "call_by_name",
    "emit_call",
    "parameters_of",
    "signature_of",
]

_I64 = ir.IntType(64)


class Parameter(NamedTuple):
    """A parameter of a compiled function; NumPy arrays are converted to it without a copy.

    Parameters
    ----------
    n_dims : int
        0 for a number.
    dtype : type of numba, or None
        None for the dtype of the computation.
    layout : {"A", "C"}
        "A" for any strides, "C" for contiguous arrays.
    is_result : bool
        Whether the function writes to it.
    """

    n_dims: int
    dtype: Any = None
    layout: str = "A"
    is_result: bool = False

    def kind(self, computing: Any) -> Any:
        """Return the type for computations in the dtype ``computing``."""
        dtype = computing if self.dtype is None else self.dtype
        if self.n_dims == 0:
            return dtype
        return types.Array(dtype, self.n_dims, self.layout, readonly=not self.is_result)


#: the type of calls
Call: Any = type(intrinsic(lambda _context: None))


def signature_of(parameters: tuple[Parameter, ...], returns: Any, dtype: np.dtype[Any]) -> Any:
    """Return the signature of a function that computes in a dtype."""
    computing = numba.from_dtype(dtype)
    return returns(*(parameter.kind(computing) for parameter in parameters))


def call_by_name(
    function: Callable[..., Any],
    parameters: tuple[Parameter, ...],
    returns: Any,
    symbol: Callable[[np.dtype[Any]], str],
) -> Any:
    """Return a call of a function by its symbol; it has one for each dtype of computation."""

    def typed(_context: Any, *kinds: Any) -> Any:
        dtype = _computing(parameters, kinds)
        name = symbol(dtype)
        if (
            llvm.address_of_symbol(name) is None
        ):  # then it would also be missing when code is loaded
            raise TypingError(
                f"{function.__name__} is called neither by a global name nor from a closure"
            )

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kind = context.call_conv.get_function_type(signature.return_type, signature.args)
            called = cgutils.get_or_insert_function(builder.module, kind, name)
            return emit_call(context, builder, signature, called, values)

        return signature_of(parameters, returns, dtype), generate

    return _with_arguments(typed, list(inspect.signature(function).parameters))


def call_at(*parameters: Parameter) -> Any:
    """Return a call of a function with these parameters, after its address as first argument."""

    def typed(_context: Any, _address: Any, *kinds: Any) -> Any:
        own = signature_of(parameters, types.void, _computing(parameters, kinds))

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kind = context.call_conv.get_function_type(own.return_type, own.args)
            called = builder.inttoptr(values[0], kind.as_pointer())
            return emit_call(context, builder, own, called, values[1:])

        return own.return_type(types.int64, *own.args), generate

    names = [f"argument_{number}" for number in range(len(parameters))]
    call = _with_arguments(typed, ["address", *names])
    _parameters[call] = parameters
    return call


def address_at(symbol: Callable[[np.dtype[Any]], str]) -> Any:
    """Return a function that reads an address at a symbol; it has one for each dtype of arrays."""

    @intrinsic
    def address(_context: Any, like: Any) -> Any:
        name = symbol(np.dtype(str(like.dtype)))

        def generate(_: Any, builder: Any, _signature: Any, _values: Any) -> Any:
            known = builder.module.globals.get(name)
            place = known or cgutils.add_global_variable(builder.module, _I64, name)
            return builder.load(place)

        return types.int64(like), generate

    return address


_parameters: dict[Any, tuple[Parameter, ...]] = {}


def parameters_of(call: Any) -> tuple[Parameter, ...] | None:
    """Return the parameters of a call from ``call_at``; None for other calls."""
    return _parameters.get(call)


def _computing(parameters: tuple[Parameter, ...], kinds: tuple[Any, ...]) -> np.dtype[Any]:
    """Return the dtype of the computation; float64 if it does not matter."""
    for parameter, kind in zip(parameters, kinds, strict=True):
        if parameter.n_dims and parameter.dtype is None:
            return np.dtype(str(kind.dtype))
    return np.dtype(np.float64)


def emit_call(context: Any, builder: Any, signature: Any, called: Any, values: Any) -> Any:
    """Emit a call of a compiled function; what it raises goes on to the caller's caller."""
    convention, kinds = context.call_conv, (signature.return_type, signature.args)
    status, result = convention.call_function(builder, called, *kinds, values)
    with cgutils.if_unlikely(builder, status.is_error):  # memory has run out
        convention.return_status_propagate(builder, status)
    return result


def _with_arguments(typed: Callable[..., Any], names: list[str]) -> Any:
    """Set the signature of a function, because numba checks its number of arguments."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("_context", *names)]
    typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return intrinsic(typed)
