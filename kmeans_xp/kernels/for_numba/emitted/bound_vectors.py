"""Vector instructions for bounds: a vector holds a bound of neighbouring rows."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from kmeans_xp.kernels.for_numba.emitted.vectors import (
    _I32,
    _I64,
    _Array,
    _Code,
    _every,
    _vector_code,
)

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
    "turn_into_bounds",
]

# The numbers of a step for each centroid are columns of a table: a row reads all four of its own.
NORM, DRIFT, DRIFT_OF_OTHERS, GAP, N_COLUMNS = range(5)

# Factors that round bounds, in the dtype of the rows: literals of numba are float64.
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
    numbers = _numbers(code, constants)

    def move(index: Any, counts: list[Any]) -> list[Any]:
        place = builder.add(row, index)
        norm, drift, others, gap = _columns(code, code.load(labels.at(place), code.indices), table)
        high = code.product(builder.fadd(code.load(upper.at(place)), drift), numbers[UP])
        low = code.product(builder.fsub(code.load(lower.at(place)), others), numbers[DOWN])
        low = code.greatest(low, _zero(code))
        code.store(high, upper.at(place))
        code.store(low, lower.at(place))
        bound = code.greatest(low, builder.fsub(gap, high))
        slack, is_in_range = _slack(code, builder.fadd(high, norm), numbers)
        needed = builder.fadd(code.product(high, high, numbers[UP]), slack)
        is_apart = code.greater(code.product(bound, bound, numbers[DOWN]), needed)
        mask = builder.not_(builder.and_(is_apart, is_in_range))
        mask = builder.zext(builder.bitcast(mask, ir.IntType(lanes)), _I64)
        builder.store(mask, masks.at(builder.sdiv(index, _I64(lanes))))
        return [builder.add(counts[0], _n_bits(code, mask))]

    return code.loop(_I64(0), n_rows, lanes, [_I64(0)], move)[0]


def _numbers(code: _Code, constants: _Array) -> list[Any]:
    return [code.splat(code.builder.load(constants.at(i))) for i in range(N_CONSTANTS)]


def _zero(code: _Code) -> Any:
    return ir.Constant(code.vector, None)


def _slack(code: _Code, reach: Any, numbers: list[Any]) -> tuple[Any, Any]:
    """Return the maximum error of scores of rows with this reach, and which do not overflow."""
    builder = code.builder
    scale = builder.fadd(reach, code.least(numbers[BIGGEST], code.product(numbers[FAR], reach)))
    slack = builder.fadd(code.product(numbers[ROUNDING], scale, scale), numbers[LEAST])
    most = builder.fadd(reach, numbers[BIGGEST])
    return slack, code.greater(numbers[LIMIT], code.product(most, most))


def _of_rows(
    code: _Code, sq_norms: _Array, norms: _Array, place: Any, numbers: list[Any]
) -> tuple[Any, Any, Any, Any]:
    """Return squared norms of rows, slack of their scores, which count, and the most to claim."""
    builder = code.builder
    sq_norm = code.load(sq_norms.at(place))
    length = code.root(builder.fadd(code.product(sq_norm, numbers[MEASURED]), numbers[LEAST]))
    reach = builder.fadd(code.product(length, numbers[UP]), code.load(norms.at(place)))
    # A centroid that is farther away rounds by more, but is no rival.
    most = builder.fsub(code.product(numbers[FAR], reach, numbers[DOWN]), reach)
    return sq_norm, *_slack(code, reach, numbers), most


def _distance(code: _Code, sq_norm: Any, score: Any, slack: Any) -> Any:
    """|x - c|^2 = |x|^2 - 2 (x.c - |c|^2 / 2), except for rounding."""
    builder = code.builder
    squared = builder.fadd(builder.fsub(builder.fsub(sq_norm, score), score), slack)
    return code.root(code.greatest(squared, _zero(code)))


def _turn_into_bounds(
    code: _Code,
    best: _Array,
    second: _Array,
    n_rows: Any,
    sq_norms: _Array,
    norms: _Array,
    constants: _Array,
) -> None:
    """Replace the two best scores of whole vectors of rows by an upper and a lower bound."""
    builder, numbers = code.builder, _numbers(code, constants)
    infinite = code.splat(ir.Constant(code.scalar, float("inf")))

    def turn(place: Any, _: list[Any]) -> list[Any]:
        sq_norm, slack, counts, most = _of_rows(code, sq_norms, norms, place, numbers)
        high = _distance(code, sq_norm, code.load(best.at(place)), slack)
        high = builder.select(counts, code.product(high, numbers[UP]), infinite)
        low = _distance(code, sq_norm, code.load(second.at(place)), builder.fneg(slack))
        low = code.least(code.product(low, numbers[DOWN]), most)
        code.store(high, best.at(place))
        code.store(builder.select(counts, low, _zero(code)), second.at(place))
        return []

    code.loop(_I64(0), n_rows, code.n_lanes, [], turn)


def _n_bits(code: _Code, mask: Any) -> Any:
    kind = ir.FunctionType(_I64, [_I64])
    count = cgutils.get_or_insert_function(code.builder.module, kind, "llvm.ctpop.i64")
    return code.builder.call(count, [mask])


move_bounds = _vector_code(_move_bounds, result=types.int64)
turn_into_bounds = _vector_code(_turn_into_bounds)
