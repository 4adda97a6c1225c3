"""Vector instructions for sparse rows: centroids in the lanes of vectors.

A panel holds centroids feature by feature, so that a stored number of a row meets its feature of
several centroids in one instruction. Products are added in float64, whatever the numbers are, in
an order that depends on how many numbers the row has, and on nothing around it. Only
``keep_certain`` adds in float32, and says which labels that leaves in doubt.
"""

import itertools
from typing import Any

from llvmlite import ir
from numba import types

from kmeans_xp.kernels.for_numba.emitted.vectors import (
    _BYTES,
    _I1,
    _I8,
    _I32,
    _I64,
    _Array,
    _Code,
    _of_sizes,
    _vector_code,
)

__all__ = [
    "LANES",
    "MOST_UNITS",
    "UNIT",
    "add_numbers",
    "add_products",
    "first_greatest",
    "fold_scores",
    "keep_certain",
    "keep_greatest",
    "pack_unit",
    "write_sq_distances",
]

#: float64 numbers in a vector
LANES = _BYTES // 8
#: panels hold a multiple of this number of centroids: a group's last vector may be half full
UNIT = LANES // 2
#: number of units of scores in registers at a time
MOST_UNITS = 16
_SIZES = tuple(range(1, MOST_UNITS + 1))
_DOUBLE = ir.DoubleType()
_WIDE = ir.VectorType(_DOUBLE, LANES)


def _chains(n_vectors: int) -> int:
    """Return the number of sums of each score, added side by side: a single sum would wait."""
    return {1: 4, 2: 2}.get(n_vectors, 1)


@_vector_code
def pack_unit(
    code: _Code,
    centroids: _Array,
    member: Any,
    n_members: Any,
    feature: Any,
    origin: _Array,
    numbers: _Array,
    place: Any,
    width: Any,
    norms: _Array,
) -> None:
    """Write a vector of features of the ``UNIT`` centroids from ``member`` on, feature by feature.

    They begin at ``numbers[place]``, ``width`` apart, in their dtype or rounded to float32. Add
    what they have of |c|^2 / 2 + c . origin to ``norms[member]`` and on. Only the first
    ``n_members`` are read, whose rows are contiguous; the others count as zero.
    """
    builder, wide = code.builder, ir.VectorType(_DOUBLE, UNIT)
    kind = ir.VectorType(code.context.get_value_type(numbers.kind.dtype), UNIT)
    turned = []
    for number in range(UNIT):
        is_there = builder.icmp_signed("<", _I64(number), n_members)
        index = builder.add(member, builder.select(is_there, _I64(number), _I64(0)))
        row = code.load(code.shifted(centroids.row(index), feature))
        turned.append(builder.select(is_there, row, ir.Constant(row.type, None)))
    n_side_by_side = 1
    while len(turned) > 1:
        lanes = [
            half * turned[0].type.count + lane * n_side_by_side + each
            for lane in range(code.n_lanes)
            for half in range(2)
            for each in range(n_side_by_side)
        ]
        turned = [
            code.shuffle(*pair, lanes) for pair in zip(turned[::2], turned[1::2], strict=True)
        ]
        n_side_by_side *= 2
    total, undefined = code.load(norms.at(member), wide), ir.Constant(turned[0].type, ir.Undefined)
    for lane in range(code.n_lanes):
        given = code.shuffle(turned[0], undefined, [lane * UNIT + each for each in range(UNIT)])
        about = builder.load(origin.at(builder.add(feature, _I64(lane))))
        here = numbers.at(builder.add(place, builder.mul(width, _I64(lane))))
        code.store(given if kind == given.type else builder.fptrunc(given, kind), here)
        if code.itemsize == 4:
            given, about = builder.fpext(given, wide), builder.fpext(about, _DOUBLE)
        half = builder.fmul(ir.Constant(wide, [0.5] * UNIT), given)
        total = builder.fadd(
            total, builder.fmul(given, builder.fadd(half, code.splat(about, wide)))
        )
    code.store(total, norms.at(member))


@_of_sizes(_SIZES)
def add_products(
    code: _Code,
    panel: _Array,
    n_units: int,
    at: Any,
    numbers: _Array,
    columns: _Array,
    start: Any,
    stop: Any,
    biases: _Array,
    first: Any,
    scores: _Array,
    place: Any,
) -> None:
    """Write ``bias + x . c`` to ``scores[place]`` and on, for the ``n_units`` of a group.

    The row's numbers are ``numbers[start:stop]``, and there are some, of whatever row; the group's
    begin at ``panel[at]``, its biases at ``first``. What fills the last vector of scores is -inf.
    """
    for number, vector in enumerate(
        _scores(code, panel, n_units, at, numbers, columns, start, stop, biases, first)
    ):
        code.store(vector, scores.at(code.builder.add(place, _I64(number * LANES))))


def _scores(
    code: _Code,
    panel: _Array,
    n_units: int,
    at: Any,
    numbers: _Array,
    columns: _Array,
    start: Any,
    stop: Any,
    biases: _Array,
    first: Any,
) -> list[Any]:
    """Return ``bias + x . c`` for a group, as vectors; -inf for what fills the last one."""
    width = n_units * UNIT
    places = list(range(0, width, LANES))
    kinds = [ir.VectorType(_DOUBLE, min(LANES, width - each)) for each in places]
    totals = _totals(code, panel, width, kinds, at, numbers, columns, start, stop)
    return _biased(code, totals, biases, first)


def _biased(code: _Code, totals: list[Any], biases: _Array, first: Any) -> list[Any]:
    """Return totals of float64 with their biases; -inf for what fills the last vector."""
    scores, offset = [], 0
    for total in totals:
        place = biases.at(code.builder.add(first, _I64(offset)))
        scores.append(code.builder.fadd(total, code.load(place, total.type)))
        offset += total.type.count
    last = scores[-1]
    if last.type != _WIDE:
        lowest = code.splat(ir.Constant(_DOUBLE, float("-inf")), last.type)
        scores[-1] = code.shuffle(last, lowest, list(range(LANES)))
    return scores


def _totals(
    code: _Code,
    panel: _Array,
    width: int,
    kinds: list[Any],
    at: Any,
    numbers: _Array,
    columns: _Array,
    start: Any,
    stop: Any,
) -> list[Any]:
    """Return ``x . c`` for a group, in vectors of these kinds, in whose numbers it is added."""
    builder, scalar = code.builder, kinds[0].element
    places = list(itertools.accumulate((kind.count for kind in kinds[:-1]), initial=0))
    n_chains, group = _chains(len(places)), panel.at(at)

    def turned(number: Any, kind: Any) -> Any:
        """Return a stored number, or several, in the numbers that are added."""
        given = getattr(number.type, "element", number.type)
        if given == scalar:
            return number
        turn = builder.fpext if scalar == _DOUBLE else builder.fptrunc
        return turn(number, kind)

    def multiply(index: Any, sums: list[Any], is_there: Any = None) -> list[Any]:
        column = builder.sext(builder.load(columns.at(index)), _I64)
        features = code.shifted(group, builder.mul(column, _I64(width)))
        number = turned(builder.load(numbers.at(index)), scalar)
        if is_there is not None:
            number = builder.select(is_there, number, ir.Constant(scalar, 0.0))
        added = []
        for offset, kind, total in zip(places, kinds, sums, strict=True):
            narrow = ir.VectorType(code.scalar, kind.count)
            factor = turned(code.load(code.shifted(features, offset), narrow), kind)
            added.append(code.multiply_add(code.splat(number, kind), factor, total))
        return added

    def chained(step: Any, sums: list[Any]) -> list[Any]:
        parts = [sums[chain::n_chains] for chain in range(n_chains)]
        added = [step(chain, part) for chain, part in enumerate(parts)]
        return [each for together in zip(*added, strict=True) for each in together]

    def step(index: Any, sums: list[Any]) -> list[Any]:
        return chained(lambda chain, s: multiply(builder.add(index, _I64(chain)), s), sums)

    def rest(chain: int, sums: list[Any]) -> list[Any]:
        # Past the end, read the first number of all and multiply it by zero. A branch would have to
        # be predicted.
        index = builder.add(whole, _I64(chain))
        is_there = builder.icmp_signed("<", index, stop)
        return multiply(builder.select(is_there, index, _I64(0)), sums, is_there)

    sums = [ir.Constant(kind, None) for kind in kinds for _ in range(n_chains)]
    length = builder.sub(stop, start)
    whole = builder.add(start, builder.and_(length, _I64(-n_chains)))
    sums = code.loop(start, whole, n_chains, sums, step)
    if n_chains > 1:
        sums = chained(rest, sums)
    totals = []
    for number in range(len(kinds)):
        total, *others = sums[number * n_chains : (number + 1) * n_chains]
        for other in others:
            total = builder.fadd(total, other)
        totals.append(total)
    return totals


@_vector_code
def add_numbers(
    code: _Code,
    numbers: _Array,
    columns: _Array,
    start: Any,
    stop: Any,
    weight: Any,
    sums: _Array,
    at: Any,
) -> None:
    """Add weight * number to the place of its column after ``sums[at]``, in float64."""
    builder, first = code.builder, sums.at(at)

    def add(index: Any, weight: Any) -> None:
        column = builder.sext(builder.load(columns.at(index)), _I64)
        number = builder.load(numbers.at(index))
        if code.itemsize == 4:
            number = builder.fpext(number, _DOUBLE)
        place = code.shifted(first, column)
        builder.store(builder.fadd(builder.load(place), builder.fmul(weight, number)), place)

    def add_two(index: Any, _: list[Any]) -> list[Any]:
        add(index, weight)
        add(builder.add(index, _I64(1)), weight)
        return []

    # In pairs, like the scores of a few vectors: the processor then predicts the end of this loop
    # from that one. An odd last number needs no branch.
    whole = builder.add(start, builder.and_(builder.sub(stop, start), _I64(-2)))
    code.loop(start, whole, 2, [], add_two)
    is_odd = builder.icmp_signed("<", whole, stop)
    nothing = ir.Constant(_DOUBLE, 0.0)
    add(builder.select(is_odd, whole, _I64(0)), builder.select(is_odd, weight, nothing))


@_of_sizes(_SIZES)
def keep_greatest(
    code: _Code,
    panel: _Array,
    n_units: int,
    at: Any,
    numbers: _Array,
    columns: _Array,
    start: Any,
    stop: Any,
    biases: _Array,
    first: Any,
    best: _Array,
    labels: _Array,
    row: Any,
) -> None:
    """Keep in ``best[row]`` and ``labels[row]`` the greatest score so far, and whose it is.

    A tie stays with the lower index, and so does a score that is not a number.
    """
    builder = code.builder
    scores = _scores(code, panel, n_units, at, numbers, columns, start, stop, biases, first)
    greatest = scores[0]
    for vector in scores[1:]:
        greatest = code.greatest(greatest, vector)
    greatest = _greatest_lane(code, greatest)
    so_far = builder.load(best.at(row))
    with builder.if_then(code.greater(greatest, so_far)):
        builder.store(greatest, best.at(row))
        index = builder.add(first, _place_of(code, scores, greatest))
        builder.store(builder.trunc(index, _I32), labels.at(row))


@_of_sizes(_SIZES)
def keep_certain(
    code: _Code,
    panel: _Array,
    n_units: int,
    at: Any,
    numbers: _Array,
    columns: _Array,
    start: Any,
    stop: Any,
    biases: _Array,
    first: Any,
    margin: Any,
    best: _Array,
    labels: _Array,
    doubts: _Array,
    row: Any,
) -> None:
    """Do what ``keep_greatest`` does from products of float32, and tell which labels are certain.

    ``doubts[row]`` is 0 if all other scores so far are less than the greatest by ``margin``; it
    begins as 1, ``best[row]`` as -inf. Whatever is not a number leaves a doubt.
    """
    builder, width = code.builder, n_units * UNIT
    sizes, left = [], width
    while left:
        # Halves as far as needed: a processor has no vectors of three quarters.
        sizes.append(max(size for size in (2 * LANES, LANES, UNIT) if size <= left))
        left -= sizes[-1]
    kinds = [ir.VectorType(ir.FloatType(), size) for size in sizes]
    totals = []
    for total in _totals(code, panel, width, kinds, at, numbers, columns, start, stop):
        wide = ir.VectorType(_DOUBLE, min(LANES, total.type.count))
        totals += [code.part(total, lane, wide) for lane in range(0, total.type.count, LANES)]
    scores = _biased(code, totals, biases, first)
    greatest = scores[0]
    for vector in scores[1:]:
        greatest = code.greatest(greatest, vector)
    greatest, so_far = _greatest_lane(code, greatest), builder.load(best.at(row))
    is_ahead = code.greater(greatest, builder.fadd(so_far, margin))
    with builder.if_else(is_ahead) as (ahead, not_ahead):
        with ahead:
            near = _lanes_where(code, ">=", scores, builder.fsub(greatest, margin))
            others = builder.and_(near, builder.sub(near, near.type(1)))
            is_doubtful = builder.icmp_signed("!=", others, near.type(0))
            builder.store(builder.zext(is_doubtful, _I8), doubts.at(row))
            builder.store(greatest, best.at(row))
            place = builder.trunc(builder.cttz(near, _I1(0)), _I64)
            builder.store(builder.trunc(builder.add(first, place), _I32), labels.at(row))
        with not_ahead:
            is_behind = builder.fcmp_ordered("<", greatest, builder.fsub(so_far, margin))
            with builder.if_then(builder.not_(is_behind)):
                builder.store(_I8(1), doubts.at(row))
                builder.store(code.greatest(greatest, so_far), best.at(row))


def _greatest_lane(code: _Code, vector: Any) -> Any:
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        undefined = ir.Constant(vector.type, ir.Undefined)
        low = code.shuffle(vector, undefined, list(range(lanes)))
        high = code.shuffle(vector, undefined, list(range(lanes, 2 * lanes)))
        vector = code.greatest(low, high)
    return code.builder.extract_element(vector, _I32(0))


def _place_of(code: _Code, vectors: list[Any], number: Any) -> Any:
    """Return the place of the first number that equals a given one."""
    found = _lanes_where(code, "==", vectors, number)
    return code.builder.trunc(code.builder.cttz(found, _I1(0)), _I64)


def _lanes_where(code: _Code, relation: str, vectors: list[Any], number: Any) -> Any:
    """Return a bit for each number: whether it has the relation to a given one."""
    builder, every = code.builder, code.splat(number, _WIDE)
    found = ir.Constant(ir.IntType(128), 0)
    for place, vector in enumerate(vectors):
        is_so = builder.fcmp_ordered(relation, vector, every)
        bits = builder.zext(builder.bitcast(is_so, ir.IntType(LANES)), found.type)
        found = builder.or_(found, builder.shl(bits, found.type(place * LANES)))
    return found


def _first_greatest(code: _Code, scores: _Array, at: Any, n_scores: Any) -> Any:
    """Return the index of the first of the greatest scores from ``at`` on, which fill vectors.

    0 if none is a number.
    """
    builder = code.builder
    lowest = code.splat(ir.Constant(_DOUBLE, float("-inf")), _WIDE)

    def here(index: Any) -> Any:
        return code.load(scores.at(builder.add(at, index)), _WIDE)

    def keep(index: Any, best: list[Any]) -> list[Any]:
        return [code.greatest(here(index), best[0])]

    (best,) = code.loop(_I64(0), n_scores, LANES, [lowest], keep)
    greatest = _greatest_lane(code, best)

    def find(index: Any, found: list[Any]) -> list[Any]:
        place = _place_of(code, [here(index)], greatest)
        is_first = builder.and_(
            builder.icmp_signed("<", place, _I64(LANES)),
            builder.icmp_signed("<", found[0], _I64(0)),
        )
        return [builder.select(is_first, builder.add(index, place), found[0])]

    (found,) = code.loop(_I64(0), n_scores, LANES, [_I64(-1)], find)
    return builder.select(builder.icmp_signed("<", found, _I64(0)), _I64(0), found)


first_greatest = _vector_code(_first_greatest, result=types.int64)


@_vector_code
def write_sq_distances(
    code: _Code,
    distances: _Array,
    place: Any,
    n_scores: Any,
    scores: _Array,
    at: Any,
    sq_norm: Any,
) -> None:
    """Write |x|^2 - 2 score, at least 0, from ``distances[place]`` on, and nothing after them."""
    builder = code.builder

    def write(index: Any, wide: Any, kind: Any) -> list[Any]:
        two = code.splat(ir.Constant(_DOUBLE, 2.0), wide)
        score = code.load(scores.at(builder.add(at, index)), wide)
        distance = builder.fsub(code.splat(sq_norm, wide), builder.fmul(two, score))
        distance = code.greatest(distance, ir.Constant(wide, None))
        if code.itemsize == 4:
            distance = builder.fptrunc(distance, kind)
        code.store(distance, distances.at(builder.add(place, index)))
        return []

    whole = builder.and_(n_scores, _I64(-LANES))
    one = (ir.VectorType(_DOUBLE, 1), ir.VectorType(code.scalar, 1))
    many = (_WIDE, ir.VectorType(code.scalar, LANES))
    code.loop(_I64(0), whole, LANES, [], lambda index, _: write(index, *many))
    code.loop(whole, n_scores, 1, [], lambda index, _: write(index, *one))


@_vector_code
def fold_scores(
    code: _Code,
    nearer: _Array,
    place: Any,
    is_kept: Any,
    scores: _Array,
    at: Any,
    n_scores: Any,
    norms: _Array,
    sq_norm: Any,
    eps: Any,
    so_far: Any,
    weight: Any,
    sums: _Array,
) -> None:
    """Add the new distance of a row, for each candidate, to ``sums``, and keep it if asked to.

    The distance is |x|^2 - 2 score, or 0 where that is at most ``eps`` times the squares of both;
    there are a multiple of ``UNIT`` scores.
    """
    builder, wide = code.builder, ir.VectorType(_DOUBLE, UNIT)
    own, least, most, mass = (code.splat(each, wide) for each in (sq_norm, eps, so_far, weight))
    two, nothing = code.splat(ir.Constant(_DOUBLE, 2.0), wide), ir.Constant(wide, None)

    def fold(index: Any, _: list[Any]) -> list[Any]:
        score = code.load(scores.at(builder.add(at, index)), wide)
        distance = builder.fsub(own, builder.fmul(two, score))
        both = builder.fadd(own, code.load(norms.at(index), wide))
        is_felt = code.greater(distance, builder.fmul(least, both))
        distance = code.least(builder.select(is_felt, distance, nothing), most)
        total = code.load(sums.at(index), wide)
        code.store(builder.fadd(total, builder.fmul(mass, distance)), sums.at(index))
        with builder.if_then(is_kept):
            if code.itemsize == 4:
                distance = builder.fptrunc(distance, ir.VectorType(code.scalar, UNIT))
            code.store(distance, nearer.at(builder.add(place, index)))
        return []

    code.loop(_I64(0), n_scores, UNIT, [], fold)
