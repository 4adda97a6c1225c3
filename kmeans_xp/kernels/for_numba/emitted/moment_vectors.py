"""Vector instructions for the moments of scaled rows, and for copies of these rows."""

from typing import Any

from llvmlite import ir

from kmeans_xp.kernels.for_numba.emitted.vectors import (
    _BYTES,
    _I64,
    _Array,
    _Code,
    _vector_code,
)

__all__ = ["add_moments_of_row", "moments_width", "scale_row"]

_LANES = _BYTES // 8


def moments_width(n_features: int) -> int:
    """Return the amount of sums for the features, padded to whole vectors."""
    return -(-n_features // _LANES) * _LANES


@_vector_code
def add_moments_of_row(
    code: _Code,
    points: _Array,
    row: Any,
    factor: Any,
    weight: Any,
    n_features: Any,
    sums: _Array,
    squares: _Array,
) -> None:
    """Add weight * factor * points[row] to sums, and its numbers' squares, in float64."""
    builder, point = code.builder, points.row(row)
    numbers, wide = ir.VectorType(code.scalar, _LANES), ir.VectorType(ir.DoubleType(), _LANES)
    factors, weights = code.splat(factor, numbers), code.splat(weight, wide)

    def add(given: Any, index: Any) -> None:
        value = builder.fmul(given, factors)  # rounded as kernels round it that read the row
        value = value if value.type == wide else builder.fpext(value, wide)
        weighted, total, square = builder.fmul(value, weights), sums.at(index), squares.at(index)
        code.store(builder.fadd(code.load(total, wide), weighted), total)
        code.store(code.multiply_add(weighted, value, code.load(square, wide)), square)

    def add_whole(index: Any, _: list[Any]) -> list[Any]:
        add(code.load(code.shifted(point, index), numbers), index)
        return []

    whole = builder.and_(n_features, _I64(-_LANES))
    code.loop(_I64(0), whole, _LANES, [], add_whole)
    left = builder.sub(n_features, whole)
    with builder.if_then(builder.icmp_signed(">", left, _I64(0))):
        add(code.load_first(code.shifted(point, whole), left, numbers), whole)


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
