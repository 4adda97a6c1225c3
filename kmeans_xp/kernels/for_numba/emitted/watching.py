"""Numbers in memory that one thread writes while others look at them, or write them too."""

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["look_at", "publish", "take_next"]

_BYTES_OF_INT64 = 8

#: instructions that tell a processor that a thread only waits: LLVM's name, and its operands
_PAUSES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "x86_64": ("llvm.x86.sse2.pause", ()),
    "AMD64": ("llvm.x86.sse2.pause", ()),
    "aarch64": ("llvm.aarch64.hint", (ir.Constant(ir.IntType(32), 1),)),
    "arm64": ("llvm.aarch64.hint", (ir.Constant(ir.IntType(32), 1),)),
}


@intrinsic
def look_at(_context: Any, numbers: Any) -> Any:
    """Return the first number as it is in memory now, after a short pause."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        if (pause := _PAUSES.get(platform.machine())) is not None:
            name, operands = pause
            kind = ir.FunctionType(ir.VoidType(), [each.type for each in operands])
            builder.call(builder.module.declare_intrinsic(name, (), kind), operands)
        return builder.load_atomic(array.data, "acquire", _BYTES_OF_INT64)

    return types.int64(numbers), generate


@intrinsic
def publish(_context: Any, numbers: Any, value: Any) -> Any:
    """Write the first number, after all that this thread has written before."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        builder.store_atomic(values[1], array.data, "release", _BYTES_OF_INT64)
        return context.get_dummy_value()

    return types.void(numbers, types.int64), generate


@intrinsic
def take_next(_context: Any, numbers: Any) -> Any:
    """Return the first number, and add 1 to it: no other thread gets the same.

    What threads wrote before they took earlier numbers is seen after it.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(numbers), generate
