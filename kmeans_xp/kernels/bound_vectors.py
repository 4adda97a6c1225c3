"""Vector instructions for bounds: a vector holds a bound of neighbouring rows."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from kmeans_xp.kernels.vectors import _I32, _I64, _Array, _Code, _every, _vector_code

__all__ = [
    "BIGGEST",
    "DOWN",
    "DRIFT",
    "DRIFT_OF_OTHERS",
    "FAR",
    "GAP",
    "LEAST",
    "LIMIT",
    "MEASURED",
    "NORM",
    "N_COLUMNS",
    "N_CONSTANTS",
    "ROUNDING",
    "UP",
    "move_bounds",
]

# What a step knows of each centroid: columns of a table, since a row reads all four of its own.
NORM, DRIFT, DRIFT_OF_OTHERS, GAP, N_COLUMNS = range(5)

# What bounds are rounded with, in the dtype of the rows: numba has its literals in float64.
UP, DOWN, ROUNDING, LEAST, BIGGEST, LIMIT, FAR, MEASURED, N_CONSTANTS = range(9)


def _columns(code: _Code, labels: Any, table: _Array) -> list[Any]:
    """Return the table's numbers for each of the labels, a vector for each column."""
    builder, n_lanes = code.builder, code.n_lanes
    width = min(N_COLUMNS, n_lanes)
    part = ir.VectorType(code.scalar, width)
    parts = []
    for lane in range(n_lanes):
        label = builder.sext(builder.extract_element(labels, _I32(lane)), _I64)
        row = table.at(builder.mul(label, _I64(N_COLUMNS)))
        parts += [code.load(code.shifted(row, at), part) for at in range(0, N_COLUMNS, width)]
    while width < n_lanes:
        width *= 2
        parts = [
            code.shuffle(left, right, list(range(width)))
            for left, right in zip(parts[::2], parts[1::2], strict=True)
        ]
    return [_every(code, parts, column) for column in range(N_COLUMNS)]


def _move_bounds(
    code: _Code,
    upper: _Array,
    lower: _Array,
    labels: _Array,
    row: Any,
    n_rows: Any,
    table: _Array,
    constants: _Array,
    masks: _Array,
) -> Any:
    """Do as ``_mark_doubtful`` with whole vectors of rows; return how many are marked."""
    builder, lanes = code.builder, code.n_lanes
    numbers = [code.splat(builder.load(constants.at(i))) for i in range(N_CONSTANTS)]
    zero = ir.Constant(code.vector, None)

    def least(left: Any, right: Any) -> Any:
        return builder.select(code.greater(left, right), right, left)

    def times(first: Any, *others: Any) -> Any:
        for other in others:
            first = builder.fmul(first, other)
        return first

    def move(index: Any, counts: list[Any]) -> list[Any]:
        place = builder.add(row, index)
        norm, drift, others, gap = _columns(code, code.load(labels.at(place), code.indices), table)
        high = times(builder.fadd(code.load(upper.at(place)), drift), numbers[UP])
        low = times(builder.fsub(code.load(lower.at(place)), others), numbers[DOWN])
        low = code.greatest(low, zero)
        code.store(high, upper.at(place))
        code.store(low, lower.at(place))
        bound = code.greatest(low, builder.fsub(gap, high))
        reach = builder.fadd(high, norm)
        scale = builder.fadd(reach, least(numbers[BIGGEST], times(numbers[FAR], reach)))
        slack = builder.fadd(times(numbers[ROUNDING], scale, scale), numbers[LEAST])
        needed = builder.fadd(times(high, high, numbers[UP]), slack)
        most = builder.fadd(reach, numbers[BIGGEST])
        is_apart = code.greater(times(bound, bound, numbers[DOWN]), needed)
        is_sure = builder.and_(is_apart, code.greater(numbers[LIMIT], times(most, most)))
        mask = builder.bitcast(builder.not_(is_sure), ir.IntType(lanes))
        mask = builder.zext(mask, _I64)
        builder.store(mask, masks.at(builder.sdiv(index, _I64(lanes))))
        return [builder.add(counts[0], _n_bits(code, mask))]

    return code.loop(_I64(0), n_rows, lanes, [_I64(0)], move)[0]


def _n_bits(code: _Code, mask: Any) -> Any:
    kind = ir.FunctionType(_I64, [_I64])
    count = cgutils.get_or_insert_function(code.builder.module, kind, "llvm.ctpop.i64")
    return code.builder.call(count, [mask])


move_bounds = _vector_code(_move_bounds, result=types.int64)
