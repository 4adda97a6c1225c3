"""Vector instructions for new centroids: several features of one in the lanes of vectors."""

from typing import Any

from llvmlite import ir

from kmeans_xp.kernels.for_numba.emitted.vectors import (
    _BYTES,
    _I64,
    _Array,
    _Code,
    _vector_code,
)

__all__ = ["UPDATED", "write_mean"]

#: number of features to write side by side, each with its own sums of signals
UPDATED = 64
_LANES = _BYTES // 8
_DOUBLE = ir.DoubleType()


@_vector_code
def write_mean(
    code: _Code,
    new: _Array,
    first: Any,
    n_features: Any,
    sums: _Array,
    at: Any,
    old: _Array,
    mass: Any,
    inverse: Any,
    is_empty: Any,
    shifts: _Array,
    parts: _Array,
) -> None:
    """Write ``sums / mass`` to ``new[first]`` and on; the old centroid, if ``is_empty``.

    The cluster's sums begin at ``at``, its old centroid at ``first``. Add what each feature moves,
    squared, to one of ``UPDATED`` ``shifts``, and what it explains to one of as many ``parts``.
    float32 is multiplied by ``inverse``: that adds a rounding of float64, which it does not show.
    """
    builder = code.builder

    def write(start: Any, lane: Any, width: int) -> list[Any]:
        wide, kind = ir.VectorType(_DOUBLE, width), ir.VectorType(code.scalar, width)
        index = builder.add(start, lane)
        total = code.load(sums.at(builder.add(at, index)), wide)
        given = code.load(old.at(builder.add(first, index)), kind)
        if code.itemsize == 8:
            before, mean = given, builder.fdiv(total, code.splat(mass, wide))
        else:
            before = builder.fpext(given, wide)
            mean = builder.fptrunc(builder.fmul(total, code.splat(inverse, wide)), kind)
        mean = builder.select(is_empty, given, mean)
        code.store(mean, new.at(builder.add(first, index)))
        moved = builder.fsub(mean if code.itemsize == 8 else builder.fpext(mean, wide), before)
        twice = builder.fmul(code.splat(ir.Constant(_DOUBLE, 2.0), wide), total)
        less = builder.fmul(code.splat(mass, wide), before)
        explained = builder.fmul(before, builder.fsub(twice, less))
        for place, added in (
            (shifts.at(lane), builder.fmul(moved, moved)),
            (parts.at(lane), explained),
        ):
            code.store(builder.fadd(code.load(place, wide), added), place)
        return []

    def write_some(start: Any, _: list[Any]) -> list[Any]:
        left = builder.sub(n_features, start)
        is_last = builder.icmp_signed("<", left, _I64(UPDATED))
        stop = builder.select(is_last, left, _I64(UPDATED))
        whole = builder.and_(stop, _I64(-_LANES))
        code.loop(_I64(0), whole, _LANES, [], lambda lane, _: write(start, lane, _LANES))
        code.loop(whole, stop, 1, [], lambda lane, _: write(start, lane, 1))
        return []

    code.loop(_I64(0), n_features, UPDATED, [], write_some)
