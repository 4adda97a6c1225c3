"""What kernels do at each tile of rows, emitted where they do it.

A function of numba's own takes 20 to 40 ms to compile, and is then linked into each of its callers.
A first fit would wait for six of them.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic

from kmeans_xp.kernels.for_numba.calls import emit_call, signature_of
from kmeans_xp.kernels.for_numba.compiled import COUNT, MATRIX, ROWS
from kmeans_xp.kernels.for_numba.emitted.memory import emit_new
from kmeans_xp.kernels.for_numba.emitted.vectors import GROUPS

__all__ = ["FILLED", "factor_of", "group_size", "scratch_for", "smaller", "tile_of"]

_I64 = ir.IntType(64)

#: parameters of a function that writes rows to scratch: points, the first row, how many, scratch
FILLED = (ROWS, COUNT, COUNT, MATRIX)


@intrinsic
def smaller(_context: Any, left: Any, right: Any) -> Any:
    """Return the smaller of two integers."""

    def generate(_: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.select(builder.icmp_signed("<", *values), *values)

    return types.int64(types.int64, types.int64), generate


@intrinsic
def group_size(_context: Any, n_left: Any) -> Any:
    """Return the number of centroids in the next group, from the number that is left."""

    def generate(_: Any, builder: Any, _signature: Any, values: Any) -> Any:
        size = _I64(GROUPS[0])
        for smaller_size in GROUPS[1:]:
            fits = builder.icmp_signed("<=", values[0], _I64(smaller_size))
            size = builder.select(fits, _I64(smaller_size), size)
        return size

    return types.int64(types.int64), generate


@intrinsic
def factor_of(_context: Any, factors: Any, row: Any) -> Any:
    """Return what a row is multiplied by as it is read: 1 if there are no factors."""

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        array = context.make_array(factors)(context, builder, values[0])
        one = context.get_constant(factors.dtype, 1.0)
        factor = cgutils.alloca_once_value(builder, one)
        with builder.if_then(cgutils.is_not_null(builder, array.nitems)):
            builder.store(builder.load(builder.gep(array.data, [values[1]])), factor)
        return builder.load(factor)

    return factors.dtype(factors, types.int64), generate


@intrinsic
def tile_of(_context: Any, points: Any, first: Any, n_rows: Any, filler: Any, scratch: Any) -> Any:
    """Return contiguous rows, and the index of the tile's first row.

    ``filler`` is the address of the function that writes them to scratch, or 0.
    """
    filled = signature_of(FILLED, types.void, np.dtype(str(points.dtype)))
    kind = types.Tuple((filled.args[0], types.int64))

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        rows, start, count, address, room = values
        found, at = (cgutils.alloca_once_value(builder, each) for each in (rows, start))
        with builder.if_then(cgutils.is_not_null(builder, address)):
            called = context.call_conv.get_function_type(filled.return_type, filled.args)
            fill = builder.inttoptr(address, called.as_pointer())
            emit_call(context, builder, filled, fill, (rows, start, count, room))
            builder.store(room, found)
            builder.store(_I64(0), at)
        made = context.make_tuple(builder, kind, [builder.load(found), builder.load(at)])
        return impl_ret_borrowed(context, builder, kind, made)

    return kind(*filled.args[:3], types.int64, filled.args[3]), generate


@intrinsic
def scratch_for(_context: Any, points: Any, tile: Any, filler: Any) -> Any:
    """Return scratch for a tile of rows that cannot be read in place."""
    kind = types.Array(points.dtype, 2, "C")

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        array = context.make_array(points)(context, builder, values[0])
        is_filled = cgutils.is_not_null(builder, values[2])
        n_rows = builder.select(is_filled, values[1], _I64(0))
        n_features = builder.extract_value(array.shape, 1)
        return emit_new(context, builder, kind, (n_rows, n_features))

    return kind(points, types.int64, types.int64), generate
