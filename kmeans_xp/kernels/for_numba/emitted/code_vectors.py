"""Vector instructions for codes: rows and centroids as integers of 8 bits, times each other.

Rows are coded as signed bytes, row after row. Centroids are coded as unsigned ones and held as
*blocks* of ``CODED_BLOCK`` in the lanes, four features at a time: a product of four bytes of a row,
read once for all lanes, is one instruction where the processor has it (VNNI), and three elsewhere.
"""

import functools
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kmeans_xp.kernels.for_numba.emitted.vectors import (
    _BYTES,
    _I8,
    _I32,
    _I64,
    MULTIPLY_ADD,
    _Array,
    _Code,
    _has,
    _name,
    _totals,
    _vector_code,
)

__all__ = [
    "CENTRE",
    "CODED_BLOCK",
    "CODED_ROWS",
    "FEW",
    "HAS_PRODUCTS",
    "LANES",
    "MOST_CODE",
    "NEAR",
    "PLANE_ROWS",
    "PRODUCTS_A_MULTIPLY_ADD",
    "centre_row",
    "chain_scores",
    "code_row",
    "greatest_lane",
    "lanes_above",
    "least_number",
    "lowest_bit",
    "may_be_nearer",
    "measure_planes",
    "score_codes",
    "score_few",
    "score_row",
]

_HAS_VNNI = _has("avx512vnni") if _BYTES == 64 else _has("avxvnni")
#: whether the processor multiplies bytes, and floating numbers with one rounding
HAS_PRODUCTS: bool = _has("fma") and _has("avx512bw" if _BYTES == 64 else "avx2")
#: added to the codes of centroids, which makes them unsigned. Without VNNI two products are added
#: in 16 bits: codes of 7 bits keep them from saturating.
CENTRE = 128 if _HAS_VNNI else 64
#: the greatest code of a centroid
MOST_CODE = CENTRE - 1
#: lanes of a vector of sums
LANES = _BYTES // 4
#: number of products of bytes in the time of one multiply-add of the dense kernel
PRODUCTS_A_MULTIPLY_ADD = 4 if _HAS_VNNI else 2
_WORDS = ir.VectorType(ir.IntType(16), _BYTES // 2)
#: vectors of a block of centroids, and rows that are scored at a time: their sums, a block and what
#: is read fill the 32 or 16 registers
_VECTORS, CODED_ROWS = (4, 6) if _BYTES == 64 else (2, 4)
#: centroids of a block
CODED_BLOCK = _VECTORS * LANES
#: candidates of a row whose chains are computed side by side
_CHAINS = 8
#: candidates of a row that are scored side by side in any order of sums
FEW = 4
#: number of candidates to compare with a coded row at a time
NEAR = 8
#: rows that are multiplied by a direction at a time, whose two planes they share
PLANE_ROWS = 4


def _call(code: _Code, name: str, result: Any, *arguments: Any) -> Any:
    kind = ir.FunctionType(result, [each.type for each in arguments])
    function = cgutils.get_or_insert_function(code.builder.module, kind, name)
    return code.builder.call(function, arguments)


def _of_lanes(code: _Code, name: str, vector: Any) -> Any:
    return _call(code, f"llvm.{name}.{_name(vector.type)}", vector.type, vector)


def _greatest_of(code: _Code, vector: Any) -> Any:
    while vector.type.count > 1:
        half = vector.type.count // 2
        low, high = (code.shuffle(vector, vector, list(range(i, i + half))) for i in (0, half))
        vector = code.greatest(low, high)
    return code.builder.extract_element(vector, _I32(0))


@functools.partial(_vector_code, result=None)
def greatest_lane(code: _Code, array: _Array, at: Any) -> Any:
    """Return the greatest number of the vector that begins at ``array[at]``."""
    return _greatest_of(code, code.load(array.at(at)))


@intrinsic
def lowest_bit(_context: Any, mask: Any) -> Any:
    """Return the number of the lowest bit that is set, of a mask that is not zero."""

    def generate(_: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@functools.partial(_vector_code, result=None)
def centre_row(
    code: _Code,
    points: _Array,
    row: Any,
    factor: Any,
    origin: _Array,
    n_features: Any,
    centred: _Array,
    at: Any,
) -> Any:
    """Write factor * row - origin to ``centred[at]`` and on, and zeros up to a whole vector.

    Returns the greatest absolute value of its numbers.
    """
    builder, point, target = code.builder, points.row(row), centred.at(at)
    factors = code.splat(factor)

    def centre(index: Any, most: list[Any], read: Any) -> list[Any]:
        scaled = builder.fmul(read(code.shifted(point, index)), factors)
        here = builder.fsub(scaled, read(origin.at(index)))
        code.store(here, code.shifted(target, index))
        return [code.greatest(_of_lanes(code, "fabs", here), most[0])]

    whole = builder.and_(n_features, _I64(-code.n_lanes))
    left = builder.sub(n_features, whole)
    most = [ir.Constant(code.vector, None)]
    most = code.loop(_I64(0), whole, code.n_lanes, most, lambda i, m: centre(i, m, code.load))
    rest = functools.partial(code.load_first, n=left)
    (most,) = code.loop(whole, n_features, code.n_lanes, most, lambda i, m: centre(i, m, rest))
    return _greatest_of(code, most)


@functools.partial(_vector_code, result=None)
def least_number(code: _Code, numbers: _Array, n_numbers: Any) -> Any:
    """Return the least absolute value of whole vectors of numbers, but 0; infinity for zeros."""
    builder, none = code.builder, ir.Constant(code.vector, [float("-inf")] * code.n_lanes)

    def compare(index: Any, most: list[Any]) -> list[Any]:
        here = code.load(numbers.at(index))
        size = builder.fneg(_of_lanes(code, "fabs", here))
        is_zero = builder.fcmp_ordered("==", here, ir.Constant(code.vector, None))
        return [code.greatest(builder.select(is_zero, none, size), most[0])]

    (most,) = code.loop(_I64(0), n_numbers, code.n_lanes, [none], compare)
    return builder.fneg(_greatest_of(code, most))


@_vector_code
def code_row(
    code: _Code,
    centred: _Array,
    at: Any,
    n_features: Any,
    scale: Any,
    inverse: Any,
    most: Any,
    codes: _Array,
    code_at: Any,
    sums: _Array,
) -> None:
    """Round ``centred[at]`` and on, times ``inverse``, to codes of -most to most, of any size.

    Writes to ``sums`` the squared length of what is left, ``x - scale * code``, that of the codes,
    and the sum of the codes.
    """
    builder = code.builder
    scales, inverses, most = code.splat(scale), code.splat(inverse), code.splat(most)
    wide = ir.VectorType(ir.IntType(codes.kind.dtype.bitwidth), code.n_lanes)

    def add(index: Any, so_far: list[Any]) -> list[Any]:
        lost, length, total = so_far
        here = code.load(centred.at(builder.add(at, index)))
        number = _of_lanes(code, "rint", builder.fmul(here, inverses))
        # With ordered comparisons NaN becomes a number here; the rounding error then shows it.
        number = code.greatest(code.least(most, number), builder.fneg(most))
        left = code.multiply_add(builder.fneg(scales), number, here)
        place = builder.bitcast(codes.at(builder.add(code_at, index)), wide.as_pointer())
        builder.store(builder.fptosi(number, wide), place, align=1)
        return [
            code.multiply_add(left, left, lost),
            code.multiply_add(number, number, length),
            builder.fadd(number, total),
        ]

    zeros = [ir.Constant(code.vector, None)] * 3
    found = code.loop(_I64(0), n_features, code.n_lanes, zeros, add)
    for number, vector in enumerate(found):
        builder.store(code.total(vector), sums.at(_I64(number)))


def _add_products(code: _Code, unsigned: Any, signed: Any, sums: Any) -> Any:
    """Add to each lane the products of four unsigned and four signed bytes, exactly."""
    if _HAS_VNNI:
        # LLVM 22 wants bytes, and takes the types of older versions too.
        name = f"llvm.x86.avx512.vpdpbusd.{8 * _BYTES}"
        return _call(code, name, sums.type, sums, unsigned, signed)
    bytes_ = ir.VectorType(_I8, _BYTES)
    name = "avx512.pmaddubs.w.512" if _BYTES == 64 else "avx2.pmadd.ub.sw"
    factors = (code.builder.bitcast(each, bytes_) for each in (unsigned, signed))
    pairs = _call(code, f"llvm.x86.{name}", _WORDS, *factors)
    return _add_pairs(code, pairs, ir.Constant(_WORDS, [1] * _WORDS.count), sums)


def _add_word_products(code: _Code, left: Any, right: Any, sums: Any) -> Any:
    """Add to each lane the products of two signed numbers of 16 bits and two others."""
    if _HAS_VNNI:
        name = f"llvm.x86.avx512.vpdpwssd.{8 * _BYTES}"
        return _call(code, name, sums.type, sums, left, right)
    left, right = (code.builder.bitcast(each, _WORDS) for each in (left, right))
    return _add_pairs(code, left, right, sums)


def _add_pairs(code: _Code, left: Any, right: Any, sums: Any) -> Any:
    name = "avx512.pmaddw.d.512" if _BYTES == 64 else "avx2.pmadd.wd"
    return code.builder.add(sums, _call(code, f"llvm.x86.{name}", sums.type, left, right))


@_vector_code
def score_codes(
    code: _Code,
    scores: _Array,
    codes: _Array,
    row_bytes: Any,
    n_quads: Any,
    row: Any,
    starts: _Array,
    row_numbers: _Array,
    blocks: _Array,
    block: Any,
    scales: _Array,
    biases: _Array,
    block_numbers: _Array,
    place: Any,
    n_columns: Any,
    tops: _Array,
    lows: _Array,
) -> None:
    """Score ``CODED_ROWS`` rows against a block of centroids, the ``place``th of its columns.

    Writes the scores; of each lane the greatest that a true score may be, to ``tops``; and keeps
    in ``lows`` the greatest of what some score is at least.
    """
    builder = code.builder
    sums = _block_sums(code, codes, row_bytes, n_quads, row, starts, blocks, block)
    column = builder.mul(block, _I64(CODED_BLOCK))
    columns = [builder.add(column, _I64(v * LANES)) for v in range(_VECTORS)]
    scale, bias = ([code.load(each.at(at)) for at in columns] for each in (scales, biases))
    most = _three(code, block_numbers, block)
    n_blocks = builder.sdiv(n_columns, _I64(CODED_BLOCK))
    for r in range(CODED_ROWS):
        number = builder.add(row, _I64(r))
        mine = _three(code, row_numbers, number)
        target = builder.add(builder.mul(number, n_columns), builder.mul(place, _I64(CODED_BLOCK)))
        greatest = None
        for v in range(_VECTORS):
            product = builder.sitofp(sums[r * _VECTORS + v], code.vector)
            score = code.multiply_add(bias[v], mine[0], builder.fmul(product, scale[v]))
            code.store(score, scores.at(builder.add(target, _I64(v * LANES))))
            greatest = score if greatest is None else code.greatest(score, greatest)
        error = builder.fmul(most[0], mine[0])
        error = code.multiply_add(most[1], mine[1], error)
        error = code.multiply_add(most[2], mine[2], error)
        top = builder.mul(builder.add(builder.mul(number, n_blocks), place), _I64(LANES))
        code.store(builder.fadd(greatest, error), tops.at(top))
        low = lows.at(builder.mul(number, _I64(LANES)))
        code.store(code.greatest(builder.fsub(greatest, error), code.load(low)), low)


def _block_sums(
    code: _Code,
    codes: _Array,
    row_codes: Any,
    n_words: Any,
    row: Any,
    starts: _Array | None,
    blocks: _Array,
    block: Any,
) -> list[Any]:
    """Return the products of ``CODED_ROWS`` rows and a block, ``_VECTORS`` vectors a row.

    A word of 32 bits has four codes of 8 bits or two of 16.
    """
    builder, wide = code.builder, ir.VectorType(_I32, LANES)
    rows = [builder.add(row, _I64(r)) for r in range(CODED_ROWS)]
    block_at, n_codes = builder.mul(block, n_words), 32 // codes.kind.dtype.bitwidth
    add = _add_products if n_codes == 4 else _add_word_products

    def multiply(word: Any, sums: list[Any]) -> list[Any]:
        first = builder.mul(builder.add(block_at, word), _I64(CODED_BLOCK))
        there = [
            code.load(blocks.at(builder.add(first, _I64(v * LANES))), wide) for v in range(_VECTORS)
        ]
        new = []
        for r, number in enumerate(rows):
            at = builder.add(builder.mul(number, row_codes), builder.mul(word, _I64(n_codes)))
            one = builder.bitcast(codes.at(at), _I32.as_pointer())
            here = code.splat(builder.load(one, align=4), wide)
            new += [add(code, there[v], here, sums[r * _VECTORS + v]) for v in range(_VECTORS)]
        return new

    initial = []
    for number in rows:
        start = _I32(0) if starts is None else builder.load(starts.at(number))
        initial += [code.splat(start, wide)] * _VECTORS
    return code.loop(_I64(0), n_words, 1, initial, multiply)


def _three(code: _Code, numbers: _Array, index: Any) -> list[Any]:
    """Return the three numbers of a row, or of a block, each in all lanes."""
    builder = code.builder
    first = builder.mul(index, _I64(3))
    places = [numbers.at(builder.add(first, _I64(i))) for i in range(3)]
    return [code.splat(builder.load(place)) for place in places]


@functools.partial(_vector_code, result=types.int64)
def lanes_above(code: _Code, tops: _Array, at: Any, threshold: Any) -> Any:
    """Return a bit for each lane of ``tops[at]`` and on that is not below the threshold."""
    builder = code.builder
    is_above = builder.fcmp_ordered(">=", code.load(tops.at(at)), code.splat(threshold))
    return builder.zext(builder.bitcast(is_above, ir.IntType(LANES)), _I64)


@functools.partial(_vector_code, result=None)
def score_row(
    code: _Code, centred: _Array, at: Any, n_features: Any, centroids: _Array, first: Any
) -> Any:
    """Return ``x . c`` of a centred row and the centroid at ``first``, in the lanes' order."""
    builder = code.builder
    row, centroid = centred.at(at), centroids.at(first)

    def add(index: Any, sums: list[Any], read: Any) -> list[Any]:
        here, there = (read(code.shifted(each, index)) for each in (row, centroid))
        return [code.multiply_add(here, there, sums[0])]

    whole = builder.and_(n_features, _I64(-code.n_lanes))
    left = builder.sub(n_features, whole)
    zeros = [ir.Constant(code.vector, None)]
    sums = code.loop(_I64(0), whole, code.n_lanes, zeros, lambda i, s: add(i, s, code.load))
    rest = functools.partial(code.load_first, n=left)
    sums = code.loop(whole, n_features, code.n_lanes, sums, lambda i, s: add(i, s, rest))
    return code.total(sums[0])


@_vector_code
def score_few(
    code: _Code,
    centred: _Array,
    at: Any,
    n_features: Any,
    centroids: _Array,
    chosen: _Array,
    first: Any,
    n_chosen: Any,
    scores: _Array,
) -> None:
    """Write ``FEW`` numbers to ``scores``, as ``score_row`` has for the chosen centroids.

    There may be fewer centroids, but one at least; the numbers after theirs are the last's.
    """
    builder, row = code.builder, centred.at(at)
    last, starts = builder.sub(n_chosen, _I64(1)), []
    for number in range(FEW):
        place = builder.select(builder.icmp_signed("<", _I64(number), last), _I64(number), last)
        label = builder.sext(builder.load(chosen.at(builder.add(first, place))), _I64)
        starts.append(centroids.at(builder.mul(label, n_features)))

    def add(index: Any, sums: list[Any], read: Any) -> list[Any]:
        here = read(code.shifted(row, index))
        theirs = [read(code.shifted(start, index)) for start in starts]
        return [code.multiply_add(here, c, s) for c, s in zip(theirs, sums, strict=True)]

    whole = builder.and_(n_features, _I64(-code.n_lanes))
    left = builder.sub(n_features, whole)
    sums = [ir.Constant(code.vector, None)] * FEW
    sums = code.loop(_I64(0), whole, code.n_lanes, sums, lambda i, s: add(i, s, code.load))
    rest = functools.partial(code.load_first, n=left)
    sums = code.loop(whole, n_features, code.n_lanes, sums, lambda i, s: add(i, s, rest))
    code.store(_totals(code, sums), scores.at(_I64(0)))


@_vector_code
def chain_scores(
    code: _Code,
    centred: _Array,
    at: Any,
    n_features: Any,
    centroids: _Array,
    biases: _Array,
    chosen: _Array,
    first: Any,
    n_chosen: Any,
    scores: _Array,
) -> None:
    """Write the scores of the chosen centroids, as ``score_group`` computes them, to the bit."""
    builder = code.builder
    last = builder.sub(n_chosen, _I64(1))

    def several(index: Any, _: list[Any]) -> list[Any]:
        places, chains = [], []
        for number in range(_CHAINS):
            place = builder.add(index, _I64(number))
            place = builder.select(builder.icmp_signed("<", place, n_chosen), place, last)
            label = builder.sext(builder.load(chosen.at(builder.add(first, place))), _I64)
            places.append((place, centroids.at(builder.mul(label, n_features))))
            chains.append(builder.load(biases.at(label)))

        def add(feature: Any, so_far: list[Any]) -> list[Any]:
            here = builder.load(centred.at(builder.add(at, feature)))
            name = f"llvm.{MULTIPLY_ADD}.f{8 * code.itemsize}"
            return [
                _call(code, name, code.scalar, here, builder.load(code.shifted(c, feature)), s)
                for (_, c), s in zip(places, so_far, strict=True)
            ]

        chains = code.loop(_I64(0), n_features, 1, chains, add)
        for (place, _), score in zip(places, chains, strict=True):
            builder.store(score, scores.at(place))
        return []

    code.loop(_I64(0), n_chosen, _CHAINS, [], several)


@functools.partial(_vector_code, result=types.int64)
def may_be_nearer(
    code: _Code,
    row_numbers: _Array,
    row: Any,
    limit: Any,
    codes: _Array,
    n_bytes: Any,
    start: Any,
    candidates: _Array,
    numbers: _Array,
    group: Any,
) -> Any:
    """Return a bit for each of ``NEAR`` candidates whose product with a row may be over a limit.

    Numbers of a row are its scale, what its codes lose, their length, and one more; those of a
    group of candidates are ``NEAR`` scales, lengths, losses and limits.
    """
    builder = code.builder
    whole, lanes = ir.VectorType(_I32, LANES), ir.VectorType(code.scalar, NEAR)
    row_at = builder.mul(row, n_bytes)
    first = builder.mul(builder.mul(group, _I64(NEAR)), n_bytes)

    def multiply(index: Any, sums: list[Any]) -> list[Any]:
        here = code.load(codes.at(builder.add(row_at, index)), whole)
        new, at = [], builder.add(first, index)
        for number in range(NEAR):
            place = builder.add(at, builder.mul(_I64(number), n_bytes))
            there = code.load(candidates.at(place), whole)
            new.append(_add_products(code, there, here, sums[number]))
        return new

    zeros = [ir.Constant(whole, None)] * NEAR
    sums = _totals(code, code.loop(_I64(0), n_bytes, _BYTES, zeros, multiply))
    start = builder.trunc(start, _I32)
    products = builder.sitofp(builder.add(sums, code.splat(start, sums.type)), lanes)

    def of_row(number: int) -> Any:
        place = builder.add(builder.mul(row, _I64(4)), _I64(number))
        return code.splat(builder.load(row_numbers.at(place)), lanes)

    def of_group(number: int) -> Any:
        place = builder.add(builder.mul(group, _I64(4 * NEAR)), _I64(number * NEAR))
        return code.load(numbers.at(place), lanes)

    upper = code.product(products, of_row(0), of_group(0))
    upper = code.multiply_add(of_row(1), of_group(1), upper)
    upper = code.multiply_add(of_row(2), of_group(2), upper)
    limits = builder.fadd(code.splat(limit, lanes), of_group(3))
    # NaN proves nothing.
    is_far = builder.fcmp_ordered("<=", upper, limits)
    mask = builder.bitcast(builder.not_(is_far), ir.IntType(NEAR))
    return builder.zext(mask, _I64)


@_vector_code
def measure_planes(
    code: _Code,
    products: _Array,
    codes: _Array,
    row: Any,
    n_bytes: Any,
    scales: _Array,
    sums: _Array,
    planes: _Array,
) -> None:
    """Write the products of ``PLANE_ROWS`` coded rows and a direction to ``products[row]`` and on.

    The direction is whole numbers of 16 bits, or 14 without VNNI, in two planes of unsigned bytes:
    the upper ones, and the lower. ``sums`` are those of the rows' codes. Both planes are 0 where
    a row has only filling.
    """
    builder, whole = code.builder, ir.VectorType(_I32, LANES)
    numbers = [builder.add(row, _I64(number)) for number in range(PLANE_ROWS)]
    rows = [codes.at(builder.mul(number, n_bytes)) for number in numbers]

    def multiply(index: Any, so_far: list[Any]) -> list[Any]:
        starts = (index, builder.add(n_bytes, index))
        here = [code.load(code.shifted(each, index), whole) for each in rows]
        there = [code.load(planes.at(start), whole) for start in starts]
        pairs = ((plane, each) for plane in there for each in here)
        return [_add_products(code, *pair, s) for pair, s in zip(pairs, so_far, strict=True)]

    zeros = [ir.Constant(whole, None)] * (2 * PLANE_ROWS)
    totals = _totals(code, code.loop(_I64(0), n_bytes, _BYTES, zeros, multiply))
    wide = ir.VectorType(ir.DoubleType(), PLANE_ROWS)

    def constant(number: int) -> Any:
        return ir.Constant(wide, [float(number)] * PLANE_ROWS)

    upper, lower = (
        builder.sitofp(code.shuffle(totals, totals, list(range(i, i + PLANE_ROWS))), wide)
        for i in (0, PLANE_ROWS)
    )
    # All of this is exact: whole numbers of less than 53 bits.
    sums_here = code.load(sums.at(row), ir.VectorType(_I32, PLANE_ROWS))
    product = code.multiply_add(upper, constant(2 * CENTRE), lower)
    more = builder.fmul(builder.sitofp(sums_here, wide), constant(2 * CENTRE**2))
    product = builder.fsub(product, more)
    scale = code.load(scales.at(row), ir.VectorType(code.scalar, PLANE_ROWS))
    product = builder.fmul(product, code.part(scale, 0, wide))
    if code.itemsize == 4:
        product = builder.fptrunc(product, scale.type)
    code.store(product, products.at(row))
