"""Vector instructions for two centroids: lanes of vectors hold the features of a row."""

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from kmeans_xp.kernels.for_numba.emitted.vectors import (
    _BYTES,
    _I32,
    _I64,
    _NARROW,
    _VECTORS,
    GROUPS,
    LINE,
    _Array,
    _Code,
    _totals,
    _vector_code,
)

__all__ = [
    "ROWS_AT_A_TIME",
    "add_chosen",
    "add_marked",
    "fetch_row",
    "is_second_nearer",
    "measure_chosen",
    "measure_pair",
    "second_lanes",
]

#: rows whose products hide each other's waits; they share what is read of the centroids
ROWS_AT_A_TIME = 4
#: rows between those that are measured and those that are fetched from memory. Processors foresee
#: one stream of reads, not one for each row: with 100,000 x 128 float32, labels took twice the time
_ROWS_AHEAD = 32
#: vectors of totals that stay in registers while rows are added, the most first
_VECTORS_OF_TOTALS = (4, 1)


@_vector_code
def measure_pair(
    code: _Code,
    points: _Array,
    first: Any,
    factors: _Array,
    factor_at: Any,
    origin: _Array,
    apart: _Array,
    n_features: Any,
    products: _Array,
    squares: _Array,
    at: Any,
) -> None:
    """Write ``x . apart`` and ``x . x`` of some rows, in the order of lanes, from ``at`` on.

    x is factor * row - origin. The rows' factors begin at ``factors[factor_at]``; all are 1 if
    there are none.
    """
    builder, numbers = code.builder, range(ROWS_AT_A_TIME)
    rows = [points.row(builder.add(first, _I64(number))) for number in numbers]

    def measure(scales: list[Any] | None) -> None:
        found = _measured(code, points, rows, scales, origin, apart, n_features)
        for half, target in enumerate((products, squares)):
            lanes = [half * ROWS_AT_A_TIME + number for number in numbers]
            code.store(code.shuffle(found, found, lanes), target.at(at))

    _scaled_or_not(
        code, factors, [builder.add(factor_at, _I64(number)) for number in numbers], measure
    )


def _scaled_or_not(
    code: _Code, factors: _Array, places: list[Any], measure: Callable[[list[Any] | None], None]
) -> None:
    """Emit both ways to measure: with the factors at these places, or with none."""
    builder = code.builder
    is_scaled = builder.icmp_signed(">", factors.length, _I64(0))
    with builder.if_else(is_scaled) as (scaled, plain):
        with scaled:
            measure([code.splat(builder.load(factors.at(place))) for place in places])
        with plain:
            measure(None)


@_vector_code
def measure_chosen(
    code: _Code,
    points: _Array,
    chosen: _Array,
    first: Any,
    factors: _Array,
    origin: _Array,
    apart: _Array,
    n_features: Any,
    found: _Array,
) -> None:
    """Write products and then squares of rows ``chosen[first]`` and on, as ``measure_pair``.

    There is a factor for each row of the points, or none.
    """
    builder, numbers = code.builder, range(ROWS_AT_A_TIME)
    places = [chosen.at(builder.add(first, _I64(number))) for number in numbers]
    chosen_rows = [builder.load(place) for place in places]
    rows = [points.row(row) for row in chosen_rows]

    def measure(scales: list[Any] | None) -> None:
        measured = _measured(code, points, rows, scales, origin, apart, n_features, False)
        code.store(measured, found.at(_I64(0)))

    _scaled_or_not(code, factors, chosen_rows, measure)


@_vector_code
def fetch_row(code: _Code, points: _Array, row: Any, n_features: Any) -> None:
    """Begin to read a row into the second-level cache; it may lie outside the array."""
    start = points.row(row)

    def fetch(index: Any, _: list[Any]) -> list[Any]:
        _fetch(code, code.shifted(start, index), level=2)
        return []

    code.loop(_I64(0), n_features, LINE // code.itemsize, [], fetch)


def _fetch(code: _Code, pointer: Any, level: int = 1) -> None:
    """Begin to read a line of memory into a cache; it may lie outside the array."""
    pointer = code.builder.bitcast(pointer, ir.IntType(8).as_pointer())
    i32 = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
    fetch = cgutils.get_or_insert_function(code.builder.module, kind, "llvm.prefetch.p0")
    code.builder.call(fetch, [pointer, i32(0), i32(4 - level), i32(1)])


def _measured(
    code: _Code,
    points: _Array,
    rows: list[Any],
    factors: list[Any] | None,
    origin: _Array,
    apart: _Array,
    n_features: Any,
    are_neighbours: bool = True,
) -> Any:
    """Return ``x . apart`` of the rows, and then their ``x . x``, in one vector."""
    builder, n_rows = code.builder, len(rows)
    ahead = builder.mul(points.row_numbers, _I64(_ROWS_AHEAD))

    def add(index: Any, sums: list[Any], read: Any) -> list[Any]:
        for row in rows if are_neighbours else []:
            _fetch(code, code.shifted(row, builder.add(index, ahead)))
        about, difference = read(origin.at(index)), read(apart.at(index))
        here = [read(code.shifted(row, index)) for row in rows]
        if factors is not None:
            here = [builder.fmul(x, factor) for x, factor in zip(here, factors, strict=True)]
        here = [builder.fsub(x, about) for x in here]
        products = zip(here, [difference] * n_rows, sums[:n_rows], strict=True)
        squares = zip(here, here, sums[n_rows:], strict=True)
        return [code.multiply_add(*each) for each in (*products, *squares)]

    whole = builder.and_(n_features, _I64(-code.n_lanes))
    left = builder.sub(n_features, whole)
    sums = [ir.Constant(code.vector, None)] * (2 * n_rows)
    sums = code.loop(_I64(0), whole, code.n_lanes, sums, lambda i, s: add(i, s, code.load))
    sums = code.loop(
        whole,
        n_features,
        code.n_lanes,
        sums,
        lambda i, s: add(i, s, lambda pointer: code.load_first(pointer, left)),
    )
    return _totals(code, sums)


@functools.partial(_vector_code, result=types.boolean)
def is_second_nearer(
    code: _Code,
    points: _Array,
    row: Any,
    factor: Any,
    origin: _Array,
    groups: _Array,
    biases: _Array,
    n_features: Any,
) -> Any:
    """Return whether the second of two centroids has the better score, as ``score_group`` does."""
    builder, point = code.builder, points.row(row)
    pair = ir.VectorType(code.scalar, 2)

    def multiply(index: Any, scores: list[Any]) -> list[Any]:
        number = builder.load(code.shifted(point, index))
        here = builder.fsub(builder.fmul(number, factor), builder.load(origin.at(index)))
        centroids = code.load(groups.at(builder.mul(index, _I64(GROUPS[-1]))), pair)
        return [code.multiply_add(code.splat(here, pair), centroids, scores[0])]

    (scores,) = code.loop(_I64(0), n_features, 1, [code.load(biases.at(_I64(0)), pair)], multiply)
    first, second = (builder.extract_element(scores, _I32(number)) for number in (0, 1))
    return code.greater(second, first)


@functools.partial(_vector_code, result=types.int64)
def second_lanes(
    code: _Code, panels: _Array, at: Any, n_features: Any, groups: _Array, biases: _Array
) -> Any:
    """Return a bit for each row of two panels: whether the second of two centroids is nearer.

    As ``score_group`` has it. Two panels hide each other's waits, and their bits fill an integer.
    """
    builder, pair = code.builder, range(2)
    size = builder.mul(n_features, _I64(code.n_rows))
    starts = [panels.at(builder.add(at, builder.mul(size, _I64(panel)))) for panel in range(2)]

    def multiply(index: Any, scores: list[Any]) -> list[Any]:
        first = builder.mul(index, _I64(code.n_rows))
        vectors = [
            code.load(code.shifted(start, builder.add(first, _I64(vector * code.n_lanes))))
            for start in starts
            for vector in range(_VECTORS)
        ]
        numbers = groups.at(builder.mul(index, _I64(GROUPS[-1])))
        factors = [code.splat(builder.load(code.shifted(numbers, member))) for member in pair]
        products = ((here, factor) for here in vectors for factor in factors)
        return [code.multiply_add(*each, s) for each, s in zip(products, scores, strict=True)]

    initial = [code.splat(builder.load(biases.at(_I64(member)))) for member in pair]
    scores = code.loop(_I64(0), n_features, 1, initial * (2 * _VECTORS), multiply)
    bits = _I64(0)
    for vector, (left, right) in enumerate(zip(scores[::2], scores[1::2], strict=True)):
        lanes = builder.bitcast(code.greater(right, left), ir.IntType(code.n_lanes))
        place = _I64(vector * code.n_lanes)
        bits = builder.or_(bits, builder.shl(builder.zext(lanes, _I64), place))
    return bits


@_vector_code
def add_chosen(
    code: _Code,
    points: _Array,
    chosen: _Array,
    n_rows: Any,
    origin: _Array,
    n_features: Any,
    totals: _Array,
    cluster: Any,
) -> None:
    """Add the first ``n_rows`` rows of ``chosen`` as ``add_row`` does, each with weight 1.

    Totals of some features stay in registers until all rows are added, which then read no totals.
    """
    builder, width = code.builder, _BYTES // 8
    numbers, wide = ir.VectorType(code.scalar, width), ir.VectorType(ir.DoubleType(), width)
    total = totals.row(cluster)

    def add(index: Any, n_vectors: int, read: Callable[[Any, Any], Any]) -> None:
        indices = [builder.add(index, _I64(width * number)) for number in range(n_vectors)]
        places = [code.shifted(total, each) for each in indices]

        def add_row(number: Any, sums: list[Any]) -> list[Any]:
            row = points.row(builder.load(chosen.at(number)))
            here = [read(code.shifted(row, each), origin.at(each)) for each in indices]
            here = [x if x.type == wide else builder.fpext(x, wide) for x in here]
            return [builder.fadd(x, before) for x, before in zip(here, sums, strict=True)]

        sums = [code.load(place, wide) for place in places]
        for place, after in zip(places, code.loop(_I64(0), n_rows, 1, sums, add_row), strict=True):
            code.store(after, place)

    def whole_vector(place: Any, about: Any) -> Any:
        return builder.fsub(code.load(place, numbers), code.load(about, numbers))

    whole, start = builder.and_(n_features, _I64(-width)), _I64(0)
    for n_vectors in _VECTORS_OF_TOTALS:
        some = builder.and_(builder.sub(whole, start), _I64(-width * n_vectors))
        stop = builder.add(start, some)

        def add_whole(index: Any, _: list[Any], n_vectors: int = n_vectors) -> list[Any]:
            add(index, n_vectors, whole_vector)
            return []

        code.loop(start, stop, n_vectors * width, [], add_whole)
        start = stop
    left = builder.sub(n_features, whole)
    with builder.if_else(builder.icmp_signed("==", left, _I64(0))) as (mass_alone, rest_and_mass):
        with mass_alone:
            # Whole numbers: their sum is that of as many ones.
            place = code.shifted(total, whole)
            mass = builder.sitofp(n_rows, ir.DoubleType())
            builder.store(builder.fadd(builder.load(place), mass), place)
        with rest_and_mass:
            lanes = ir.Constant(ir.VectorType(_I64, width), list(range(width)))
            is_mass = builder.icmp_signed("==", lanes, code.splat(left, lanes.type))
            one = ir.Constant(numbers, [1.0] * width)

            def rest(place: Any, about: Any) -> Any:
                here, there = (code.load_first(each, left, numbers) for each in (place, about))
                return builder.select(is_mass, one, builder.fsub(here, there))

            add(whole, 1, rest)


@_vector_code
def add_marked(
    code: _Code,
    points: _Array,
    first: Any,
    n_rows: Any,
    marks: Any,
    factors: _Array,
    origin: _Array,
    n_features: Any,
    totals: _Array,
) -> None:
    """Add rows from ``first`` on in turn, those whose bit is set to the second of two clusters.

    As ``add_row`` does, each with weight 1; a bit for each row. Totals stay in registers. A row of
    each cluster is added at a time, so that their sums hide each other's waits.
    """
    builder = code.builder
    all_rows = builder.lshr(_I64(-1), builder.sub(_I64(64), n_rows))
    chosen = [builder.and_(all_rows, builder.not_(marks)), marks]
    n_chosen = [builder.ctpop(each) for each in chosen]
    is_less = builder.icmp_signed("<", *n_chosen)
    n_both = builder.select(is_less, *n_chosen)
    clusters = [totals.row(_I64(cluster)) for cluster in range(2)]
    # Read before sums of whole vectors, which may write NaN there if a factor is infinite.
    mass_places = [code.shifted(total, n_features) for total in clusters]
    masses = [builder.load(place) for place in mass_places]

    def add(
        index: Any, width: int, n_vectors: int, read: Callable[[Any, Any], Any], is_scaled: bool
    ) -> None:
        numbers, wide = ir.VectorType(code.scalar, width), ir.VectorType(ir.DoubleType(), width)
        indices = [builder.add(index, _I64(width * number)) for number in range(n_vectors)]
        about = [read(origin.at(each), numbers) for each in indices]

        def add_next(left: Any, sums: list[Any]) -> list[Any]:
            place = builder.add(first, builder.cttz(left, ir.Constant(ir.IntType(1), 1)))
            row = points.row(place)
            here = [read(code.shifted(row, each), numbers) for each in indices]
            if is_scaled:
                factor = code.splat(builder.load(factors.at(place)), numbers)
                here = [builder.fmul(x, factor) for x in here]
            here = [builder.fsub(x, there) for x, there in zip(here, about, strict=True)]
            here = [x if x.type == wide else builder.fpext(x, wide) for x in here]
            here = [builder.fadd(x, before) for x, before in zip(here, sums, strict=True)]
            return [builder.and_(left, builder.sub(left, _I64(1))), *here]

        def add_both(_: Any, values: list[Any]) -> list[Any]:
            n = 1 + n_vectors
            return [*add_next(values[0], values[1:n]), *add_next(values[n], values[n + 1 :])]

        places = [[code.shifted(total, each) for each in indices] for total in clusters]
        values: list[Any] = []
        for bits, theirs in zip(chosen, places, strict=True):
            values += [bits, *(code.load(place, wide) for place in theirs)]
        values = code.loop(_I64(0), n_both, 1, values, add_both)
        for cluster, theirs in enumerate(places):
            some = values[cluster * (1 + n_vectors) :][: 1 + n_vectors]
            _, *after = code.loop(
                n_both, n_chosen[cluster], 1, some, lambda _, v: add_next(v[0], v[1:])
            )
            for place, total in zip(theirs, after, strict=True):
                code.store(total, place)

    def add_vectors(width: int, steps: tuple[int, ...], is_scaled: bool) -> None:
        whole, start = builder.and_(n_features, _I64(-width)), _I64(0)
        for n_vectors in steps:
            some = builder.and_(builder.sub(whole, start), _I64(-width * n_vectors))
            stop = builder.add(start, some)

            def add_whole(index: Any, _: list[Any], n_vectors: int = n_vectors) -> list[Any]:
                add(index, width, n_vectors, code.load, is_scaled)
                return []

            code.loop(start, stop, n_vectors * width, [], add_whole)
            start = stop
        left = builder.sub(n_features, whole)
        with builder.if_then(builder.icmp_signed(">", left, _I64(0))):
            add(whole, width, 1, lambda place, kind: code.load_first(place, left, kind), is_scaled)

    def add_all(is_scaled: bool) -> None:
        # As wide as rows of totals, which other threads may write beyond.
        is_narrow = builder.icmp_signed("<", n_features, _I64(_NARROW))
        with builder.if_else(is_narrow) as (narrow, wide):
            with narrow:
                add_vectors(_NARROW, (), is_scaled)
            with wide:
                add_vectors(_BYTES // 8, (2, 1), is_scaled)

    with builder.if_else(builder.icmp_signed(">", factors.length, _I64(0))) as (scaled, plain):
        for is_scaled, branch in ((True, scaled), (False, plain)):
            with branch:
                add_all(is_scaled)
    # Whole numbers: their sums are those of as many ones.
    for place, mass, more in zip(mass_places, masses, n_chosen, strict=True):
        builder.store(builder.fadd(mass, builder.sitofp(more, ir.DoubleType())), place)
