"""Arrays for compiled code.

``np.empty``, ``reshape`` and slices are functions of numba's own, which it types and compiles again
for most callers. These emit only what is needed.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed, impl_ret_new_ref
from numba.extending import intrinsic

from kmeans_xp.kernels.for_numba.emitted.vectors import LINE

__all__ = ["emit_new", "matrix_in", "new_matrix", "new_numbers", "new_stack", "numbers_in"]

_I64 = ir.IntType(64)


@intrinsic
def new_numbers(_context: Any, n_numbers: Any, like: Any) -> Any:
    """Return uninitialised numbers that begin on a cache line.

    Their dtype is that of ``like``, an array or a dtype.
    """
    kind = types.Array(like.dtype, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return emit_new(context, builder, kind, values[:1])

    return kind(types.int64, like), generate


@intrinsic
def new_matrix(_context: Any, n_rows: Any, n_columns: Any, like: Any) -> Any:
    """Return an uninitialised matrix; ``like`` as in ``new_numbers``."""
    kind = types.Array(like.dtype, 2, "C")

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return emit_new(context, builder, kind, values[:2])

    return kind(types.int64, types.int64, like), generate


@intrinsic
def new_stack(_context: Any, n_matrices: Any, n_rows: Any, n_columns: Any, like: Any) -> Any:
    """Return a stack of uninitialised matrices; ``like`` as in ``new_numbers``."""
    kind = types.Array(like.dtype, 3, "C")

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return emit_new(context, builder, kind, values[:3])

    return kind(types.int64, types.int64, types.int64, like), generate


@intrinsic
def numbers_in(_context: Any, array: Any, first: Any, n_numbers: Any) -> Any:
    """Return numbers of a contiguous array, counted as they lie in memory, without a copy."""
    return _part_of(array, 1)


@intrinsic
def matrix_in(_context: Any, array: Any, first: Any, n_rows: Any, n_columns: Any) -> Any:
    """Return numbers of a contiguous array as a matrix, from the ``first`` in memory."""
    return _part_of(array, 2)


def _part_of(array: Any, n_dims: int) -> Any:
    assert array.layout == "C", "numbers are counted as they lie in memory"
    kind = types.Array(array.dtype, n_dims, "C", readonly=not array.mutable)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        whole = context.make_array(array)(context, builder, values[0])
        data = builder.gep(whole.data, [values[1]])
        made = _array(context, builder, kind, values[2:], data, whole.meminfo)
        return impl_ret_borrowed(context, builder, kind, made)

    return kind(array, *(types.int64,) * (1 + n_dims)), generate


def emit_new(context: Any, builder: Any, kind: Any, shape: Any) -> Any:
    """Emit the allocation of a contiguous array; the function raises if there is no memory."""
    n_bytes = _itemsize(kind)
    for length in shape:
        n_bytes = builder.mul(n_bytes, length)
    room = context.nrt.meminfo_alloc_aligned(builder, size=n_bytes, align=LINE)
    pointer = context.get_value_type(kind.dtype).as_pointer()
    data = builder.bitcast(context.nrt.meminfo_data(builder, room), pointer)
    made = _array(context, builder, kind, shape, data, room)
    return impl_ret_new_ref(context, builder, kind, made)


def _array(context: Any, builder: Any, kind: Any, shape: Any, data: Any, meminfo: Any) -> Any:
    """Emit a contiguous array in the memory of ``meminfo``."""
    strides = [_itemsize(kind)]
    for length in reversed(shape):
        strides.insert(0, builder.mul(strides[0], length))
    made = context.make_array(kind)(context, builder)
    made.parent = ir.Constant(made.parent.type, None)  # only arrays that Python gets need one
    made.meminfo, made.data, made.itemsize = meminfo, data, strides[-1]
    made.nitems = builder.udiv(strides[0], strides[-1])
    made.shape = cgutils.pack_array(builder, shape)
    made.strides = cgutils.pack_array(builder, strides[1:])
    return made._getvalue()


def _itemsize(kind: Any) -> Any:
    return _I64(kind.dtype.bitwidth // 8)
