"""Vector instructions for rows of one length: what scales each, their moments, copies."""

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from kmeans_xp.kernels.for_numba.emitted.vectors import (
    _BYTES,
    _I32,
    _I64,
    _Array,
    _Code,
    _totals,
    _vector_code,
)
from kmeans_xp.kernels.sphere_rows import RADIUS

__all__ = ["FACTORS", "add_moments_of_rows", "moments_width", "scale_row", "write_factors"]

_LANES = _BYTES // 8
#: rows whose factors are computed together, in the lanes of a vector
FACTORS = _LANES
#: range of float64 sums of squares in which no square has vanished or overflowed
_SQUARES = (1e-280, 1e300)


@functools.partial(_vector_code, result=types.boolean)
def write_factors(
    code: _Code,
    points: _Array,
    first: Any,
    n_rows: Any,
    n_features: Any,
    factors: _Array,
    at: Any,
) -> Any:
    """Write what scales each of up to ``FACTORS`` rows to length ``RADIUS``.

    It is 0 where a factor, or the square of the length, leaves the range of numbers. Return whether
    none is. Numbers of a row lie side by side. Squares are added in float64.
    """
    builder = code.builder
    last, lanes = builder.sub(n_rows, _I64(1)), range(FACTORS)
    is_there = [builder.icmp_signed("<", _I64(lane), last) for lane in lanes]
    numbers = [builder.select(is_there[lane], _I64(lane), last) for lane in lanes]
    rows = [points.row(builder.add(first, number)) for number in numbers]
    squares = _totals(code, _sq_lengths(code, rows, n_features))
    wide, zero = squares.type, ir.Constant(squares.type, None)
    least, greatest, radius = (
        ir.Constant(wide, [number] * FACTORS) for number in (*_SQUARES, RADIUS)
    )
    is_sure = builder.and_(code.greater(squares, least), code.greater(greatest, squares))
    quotients = builder.fdiv(radius, code.root(squares))
    found = builder.select(is_sure, quotients, zero)
    kind = ir.VectorType(code.scalar, FACTORS)
    found = found if kind == wide else builder.fptrunc(found, kind)
    # Of float32 rows below normal numbers it may overflow.
    infinite, none = (ir.Constant(kind, [number] * FACTORS) for number in (float("inf"), 0.0))
    found = builder.select(code.greater(infinite, found), found, none)

    def write(lane: Any, _: list[Any]) -> list[Any]:
        number = builder.extract_element(found, builder.trunc(lane, _I32))
        builder.store(number, factors.at(builder.add(at, lane)))
        return []

    is_whole = builder.icmp_signed("==", n_rows, _I64(FACTORS))
    with builder.if_else(is_whole) as (whole, part):
        with whole:
            code.store(found, factors.at(at))
        with part:
            code.loop(_I64(0), n_rows, 1, [], write)
    bits = builder.bitcast(code.greater(found, none), ir.IntType(FACTORS))
    return builder.icmp_signed("==", bits, ir.IntType(FACTORS)(-1))


def _sq_lengths(code: _Code, rows: list[Any], n_features: Any) -> list[Any]:
    """Return for each pointer to a row the lanes whose sum is its squared length, in float64."""
    builder = code.builder
    wide = ir.VectorType(ir.DoubleType(), min(code.n_lanes, _BYTES // 8))
    parts = range(0, code.n_lanes, wide.count)

    def add(index: Any, sums: list[Any], read: Callable[[Any], Any]) -> list[Any]:
        numbers = [read(code.shifted(row, index)) for row in rows]
        values = [code.part(each, part, wide) for each in numbers for part in parts]
        return [code.multiply_add(v, v, sum_) for v, sum_ in zip(values, sums, strict=True)]

    whole = builder.and_(n_features, _I64(-code.n_lanes))
    left = builder.sub(n_features, whole)
    sums = [ir.Constant(wide, None)] * (len(rows) * len(parts))
    sums = code.loop(_I64(0), whole, code.n_lanes, sums, lambda i, s: add(i, s, code.load))
    rest = functools.partial(code.load_first, n=left)
    sums = code.loop(whole, n_features, code.n_lanes, sums, lambda i, s: add(i, s, rest))
    return [
        functools.reduce(builder.fadd, sums[first : first + len(parts)])
        for first in range(0, len(sums), len(parts))
    ]


def moments_width(n_features: int) -> int:
    """Return the amount of sums for the features, padded to whole vectors."""
    return -(-n_features // _LANES) * _LANES


@_vector_code
def add_moments_of_rows(
    code: _Code,
    points: _Array,
    first: Any,
    stop: Any,
    factors: _Array,
    weights: _Array,
    n_features: Any,
    moments: _Array,
    at: Any,
    width: Any,
) -> None:
    """Add weight * factor * row to ``moments[at]`` and on, in float64, for some rows.

    The numbers' squares are added ``width`` further on. Weights begin with that of row ``first``.
    Sums stay in registers meanwhile: in memory, each would wait for the last one to be written.
    """
    builder = code.builder
    numbers, wide = ir.VectorType(code.scalar, _LANES), ir.VectorType(ir.DoubleType(), _LANES)

    def add(index: Any, read: Callable[[Any], Any]) -> None:
        def add_row(row: Any, added: list[Any]) -> list[Any]:
            factor = code.splat(builder.load(factors.at(row)), numbers)
            weight = code.splat(builder.load(weights.at(builder.sub(row, first))), wide)
            given = read(code.shifted(points.row(row), index))
            value = builder.fmul(given, factor)  # rounded as kernels round it that read the row
            value = value if value.type == wide else builder.fpext(value, wide)
            weighted = builder.fmul(value, weight)
            return [builder.fadd(added[0], weighted), code.multiply_add(weighted, value, added[1])]

        starts = (at, builder.add(at, width))
        places = [moments.at(builder.add(start, index)) for start in starts]
        before = [code.load(place, wide) for place in places]
        for place, after in zip(places, code.loop(first, stop, 1, before, add_row), strict=True):
            code.store(after, place)

    def add_whole(index: Any, _: list[Any]) -> list[Any]:
        add(index, lambda pointer: code.load(pointer, numbers))
        return []

    whole = builder.and_(n_features, _I64(-_LANES))
    code.loop(_I64(0), whole, _LANES, [], add_whole)
    left = builder.sub(n_features, whole)
    with builder.if_then(builder.icmp_signed(">", left, _I64(0))):
        add(whole, lambda pointer: code.load_first(pointer, left, numbers))


@_vector_code
def scale_row(
    code: _Code, points: _Array, row: Any, factor: Any, n_features: Any, scaled: _Array
) -> None:
    """Write factor * points[row] to ``scaled[row]``."""
    builder, point, place = code.builder, points.row(row), scaled.row(row)

    def write(index: Any, n_lanes: int) -> list[Any]:
        vector = ir.VectorType(code.scalar, n_lanes)
        given = code.load(code.shifted(point, index), vector)
        code.store(builder.fmul(given, code.splat(factor, vector)), code.shifted(place, index))
        return []

    whole = builder.and_(n_features, _I64(-code.n_lanes))
    code.loop(_I64(0), whole, code.n_lanes, [], lambda index, _: write(index, code.n_lanes))
    code.loop(whole, n_features, 1, [], lambda index, _: write(index, 1))
