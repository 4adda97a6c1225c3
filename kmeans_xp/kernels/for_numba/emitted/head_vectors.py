"""Vector instructions for heads: rows and centroids as few integers of 16 bits.

Heads of rows lie row after row. Those of centroids are held as blocks of ``CODED_BLOCK`` in the
lanes, two codes at a time, as bytes are.
"""

import functools
from typing import Any

from llvmlite import ir

from kmeans_xp.kernels.for_numba.emitted.code_vectors import (
    _VECTORS,
    CODED_BLOCK,
    CODED_ROWS,
    LANES,
    _block_sums,
    _greatest_of,
    _three,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import _I64, _Array, _Code, _vector_code

__all__ = [
    "CHAIN",
    "N_BLOCK_NUMBERS",
    "PROJECTED",
    "add_rests",
    "greatest_of",
    "project_rows",
    "score_heads",
]

#: number of rows to project at a time; each has a chain of sums, and they hide each other's latency
PROJECTED = 8
#: number of features whose products are added in a chain: shorter chains round less
CHAIN = 32
#: numbers of a centroid beside its codes: their scale, and factors of the row's three
N_BLOCK_NUMBERS = 4


@_vector_code
def project_rows(
    code: _Code,
    centred: _Array,
    row: Any,
    row_numbers: Any,
    n_features: Any,
    axes: _Array,
    n_axes: Any,
    projected: _Array,
) -> None:
    """Write the products of ``PROJECTED`` rows, ``row_numbers`` apart, with axes.

    ``axes`` has ``n_axes`` numbers for each feature, in whole vectors; ``projected`` for each row.
    Each product is a sum of chains of ``CHAIN`` multiply-adds.
    """
    builder = code.builder
    rows = [builder.add(row, _I64(number)) for number in range(PROJECTED)]
    starts = [centred.at(builder.mul(number, row_numbers)) for number in rows]
    zeros = [ir.Constant(code.vector, None)] * PROJECTED

    def some_axes(first: Any, _: list[Any]) -> list[Any]:
        def add(feature: Any, sums: list[Any]) -> list[Any]:
            there = code.load(axes.at(builder.add(builder.mul(feature, n_axes), first)))
            here = [code.splat(builder.load(code.shifted(start, feature))) for start in starts]
            return [code.multiply_add(x, there, s) for x, s in zip(here, sums, strict=True)]

        def chain(start: Any, sums: list[Any]) -> list[Any]:
            end = builder.add(start, _I64(CHAIN))
            end = builder.select(builder.icmp_signed("<", end, n_features), end, n_features)
            found = code.loop(start, end, 1, zeros, add)
            return [builder.fadd(s, each) for s, each in zip(sums, found, strict=True)]

        sums = code.loop(_I64(0), n_features, CHAIN, zeros, chain)
        for number, found in zip(rows, sums, strict=True):
            place = projected.at(builder.add(builder.mul(number, n_axes), first))
            code.store(found, place)
        return []

    code.loop(_I64(0), n_axes, code.n_lanes, [], some_axes)


@_vector_code
def add_rests(
    code: _Code,
    centred: _Array,
    row: Any,
    row_numbers: Any,
    n_features: Any,
    axes: _Array,
    n_axes: Any,
    projected: _Array,
    n_columns: Any,
    squares: _Array,
) -> None:
    """Write to ``squares[row]`` and on what ``PROJECTED`` rows have outside of the axes, squared.

    ``axes`` has ``row_numbers`` numbers for each axis, with zeros after the features, as rows have
    up to a whole vector.
    """
    builder = code.builder
    rows = [builder.add(row, _I64(number)) for number in range(PROJECTED)]
    starts = [centred.at(builder.mul(number, row_numbers)) for number in rows]
    products = [projected.at(builder.mul(number, n_columns)) for number in rows]

    def add(index: Any, sums: list[Any]) -> list[Any]:
        def less(axis: Any, rests: list[Any]) -> list[Any]:
            there = code.load(axes.at(builder.add(builder.mul(axis, row_numbers), index)))
            there = builder.fneg(there)
            mine = [code.splat(builder.load(code.shifted(each, axis))) for each in products]
            return [code.multiply_add(h, there, r) for h, r in zip(mine, rests, strict=True)]

        rests = [code.load(code.shifted(start, index)) for start in starts]
        rests = code.loop(_I64(0), n_axes, 1, rests, less)
        return [code.multiply_add(r, r, s) for r, s in zip(rests, sums, strict=True)]

    zeros = [ir.Constant(code.vector, None)] * PROJECTED
    found = code.loop(_I64(0), n_features, code.n_lanes, zeros, add)
    for number, each in zip(rows, found, strict=True):
        builder.store(code.total(each), squares.at(number))


@functools.partial(_vector_code, result=None)
def greatest_of(code: _Code, array: _Array, at: Any, n_numbers: Any) -> Any:
    """Return the greatest of ``array[at]`` and on, some whole vectors, and of one at least."""
    place = array.at(at)

    def keep(index: Any, greatest: list[Any]) -> list[Any]:
        return [code.greatest(code.load(code.shifted(place, index)), greatest[0])]

    return _greatest_of(
        code, *code.loop(_I64(code.n_lanes), n_numbers, code.n_lanes, [code.load(place)], keep)
    )


@_vector_code
def score_heads(
    code: _Code,
    scores: _Array,
    heads: _Array,
    width: Any,
    row: Any,
    row_numbers: _Array,
    blocks: _Array,
    numbers: _Array,
    block: Any,
    place: Any,
    n_columns: Any,
    tops: _Array,
) -> None:
    """Score heads of ``CODED_ROWS`` rows against a block of centroids, the ``place``th of columns.

    A head has ``width`` codes, and three numbers: they multiply three of a block's ``numbers`` for
    each centroid, after the scales. Writes the scores, and the greatest of each lane to ``tops``.
    """
    builder = code.builder
    n_words = builder.sdiv(width, _I64(2))
    sums = _block_sums(code, heads, width, n_words, row, None, blocks, block)
    first, theirs = builder.mul(block, _I64(N_BLOCK_NUMBERS * CODED_BLOCK)), []
    for v in range(_VECTORS):
        offsets = (_I64(i * CODED_BLOCK + v * LANES) for i in range(N_BLOCK_NUMBERS))
        theirs.append([code.load(numbers.at(builder.add(first, each))) for each in offsets])
    n_blocks = builder.sdiv(n_columns, _I64(CODED_BLOCK))
    for r in range(CODED_ROWS):
        number = builder.add(row, _I64(r))
        mine = _three(code, row_numbers, number)
        target = builder.add(builder.mul(number, n_columns), builder.mul(place, _I64(CODED_BLOCK)))
        greatest = None
        for v, (scale, *factors) in enumerate(theirs):
            product = builder.sitofp(sums[r * _VECTORS + v], code.vector)
            score = builder.fmul(product, scale)
            for x, c in zip(mine, factors, strict=True):
                score = code.multiply_add(x, c, score)
            code.store(score, scores.at(builder.add(target, _I64(v * LANES))))
            greatest = score if greatest is None else code.greatest(score, greatest)
        top = builder.mul(builder.add(builder.mul(number, n_blocks), place), _I64(LANES))
        code.store(greatest, tops.at(top))
