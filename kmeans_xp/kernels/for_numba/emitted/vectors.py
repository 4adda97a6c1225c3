"""Vector instructions for kernels that numba compiles.

A compiler vectorises innermost loops. The loops here run over rows in the lanes of vectors, and
hold the scores of several centroids in registers: no compiler makes that of plain Python
loops. They are written as LLVM's portable vector code, so any processor that LLVM knows
runs them: only the sizes below follow from the one that is there.

Rows are held as *panels*: ``PANEL[dtype]`` rows, feature by feature, so that a vector holds one
feature of neighbouring rows. Centroids are held as *groups* of up to ``GROUPS[0]``, feature by
feature too. What is computed for a row depends on neither size.
"""

import functools
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic

__all__ = [
    "FEW_FEATURES",
    "GROUPS",
    "LINE",
    "PANEL",
    "ROW_CANDIDATES",
    "add_any_row",
    "add_closest",
    "add_row",
    "add_scaled_row",
    "as_rows",
    "fold_group",
    "fold_row",
    "keep_nearer",
    "pack_chosen",
    "pack_panel",
    "pack_panel_of_few",
    "pack_scaled_panel",
    "panel_rows",
    "score_group",
    "score_group_and_next",
    "sq_distance",
    "total_width",
]


def _has(feature: str) -> bool:
    """Return whether numba compiles for processors with this feature."""
    chosen = numba.config.CPU_FEATURES  # NUMBA_CPU_FEATURES, as "+avx,-avx512f"
    if chosen is not None:
        return f"+{feature}" in chosen.split(",")
    return bool(llvm.get_host_cpu_features().get(feature))


#: whether the processor is one of Arm's of 64 bits
_IS_ARM = llvm.get_process_triple().startswith(("aarch64", "arm64"))
#: bytes of a vector register
_BYTES = 64 if _has("avx512f") else 32 if _has("avx") else 16
_HAS_32_REGISTERS = _BYTES == 64 or _IS_ARM
#: Where the processor rounds once, each loop must do so: the other one may be taken apart in some.
MULTIPLY_ADD = "fma" if _has("fma") or _IS_ARM else "fmuladd"
#: bytes of a cache line: vectors that cross one cost twice, and more where they were just written
LINE = 64
#: vectors of rows in a panel: two of them times the largest group, and what is read, fill the
#: 32 or 16 registers
_VECTORS = 2
#: centroids scored at a time, the largest group first
GROUPS = (12, 8, 4) if _HAS_32_REGISTERS else (6, 4, 2)
#: candidates compared with a row at a time, its features in the lanes: many or few
ROW_CANDIDATES = (8, 4)
#: rows of a panel
PANEL = {np.dtype(kind): _VECTORS * _BYTES // np.dtype(kind).itemsize for kind in "fd"}
#: features, with the mass as one more, that a short vector of float64 holds
_NARROW = 4
#: features of rows side by side up to which a panel is made by shuffling whole vectors
FEW_FEATURES = 8

_I1, _I8, _I32, _I64 = (ir.IntType(n_bits) for n_bits in (1, 8, 32, 64))
_VOID_POINTER = _I8.as_pointer()


def total_width(n_features: int) -> int:
    """Return the distance between rows of totals: features, mass, and padding to whole vectors."""
    width: int = _NARROW if n_features < _NARROW else _BYTES // 8
    return n_features - n_features % width + width


class _Code:
    """Emits code for vectors of one floating dtype."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self.context, self.builder = context, builder
        self.scalar = context.get_value_type(dtype)
        self.itemsize: int = dtype.bitwidth // 8
        self.n_lanes: int = _BYTES // self.itemsize
        self.vector = ir.VectorType(self.scalar, self.n_lanes)
        self.indices = ir.VectorType(_I32, self.n_lanes)

    @property
    def n_rows(self) -> int:
        """Rows of a panel."""
        return _VECTORS * self.n_lanes

    def shifted(self, pointer: Any, index: Any) -> Any:
        index = _I64(index) if isinstance(index, int) else index
        return self.builder.gep(pointer, [index])

    def load(self, pointer: Any, vector: Any = None) -> Any:
        vector = vector or self.vector
        pointer = self.builder.bitcast(pointer, vector.as_pointer())
        # The arrays are aligned to their numbers, not to vectors.
        return self.builder.load(pointer, align=_width(vector.element))

    def store(self, value: Any, pointer: Any) -> None:
        pointer = self.builder.bitcast(pointer, value.type.as_pointer())
        self.builder.store(value, pointer, align=_width(value.type.element))

    def first_lanes(self, n: Any, vector: Any) -> Any:
        """Return the mask of the first ``n`` lanes."""
        lanes = ir.Constant(ir.VectorType(_I64, vector.count), list(range(vector.count)))
        return self.builder.icmp_signed("<", lanes, self.splat(n, lanes.type))

    def load_first(self, pointer: Any, n: Any, vector: Any = None, other: float = 0.0) -> Any:
        """Load the first ``n`` lanes, with the others given, and touch no memory after them."""
        vector = vector or self.vector
        mask = self.first_lanes(n, vector)
        pointer = self.builder.bitcast(pointer, vector.as_pointer())
        kind = ir.FunctionType(vector, [pointer.type, _I32, mask.type, vector])
        name = f"llvm.masked.load.{_name(vector)}.p0"
        load = cgutils.get_or_insert_function(self.builder.module, kind, name)
        align, others = _I32(_width(vector.element)), ir.Constant(vector, [other] * vector.count)
        return self.builder.call(load, [pointer, align, mask, others])

    def splat(self, number: Any, vector: Any = None) -> Any:
        vector = vector or self.vector
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, number, _I32(0))
        return self.shuffle(first, undefined, [0] * vector.count)

    def shuffle(self, left: Any, right: Any, lanes: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(_I32, len(lanes)), lanes)
        return self.builder.shuffle_vector(left, right, mask)

    def part(self, vector: Any, first: int, wide: Any) -> Any:
        """Return lanes from ``first`` on in double precision."""
        if vector.type == wide:
            return vector
        undefined = ir.Constant(vector.type, ir.Undefined)
        lanes = self.shuffle(vector, undefined, list(range(first, first + wide.count)))
        return self.builder.fpext(lanes, wide)

    def multiply_add(self, left: Any, right: Any, added: Any) -> Any:
        """Return left * right + added, rounded once where the processor can."""
        kind = ir.FunctionType(left.type, [left.type] * 3)
        name = f"llvm.{MULTIPLY_ADD}.{_name(left.type)}"
        fma = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(fma, [left, right, added])

    def greater(self, left: Any, right: Any) -> Any:
        return self.builder.fcmp_ordered(">", left, right)

    def greatest(self, left: Any, right: Any) -> Any:
        return self.builder.select(self.greater(left, right), left, right)

    def least(self, left: Any, right: Any) -> Any:
        return self.builder.select(self.greater(left, right), right, left)

    def product(self, first: Any, *others: Any) -> Any:
        for other in others:
            first = self.builder.fmul(first, other)
        return first

    def root(self, vector: Any) -> Any:
        kind = ir.FunctionType(vector.type, [vector.type])
        name = f"llvm.sqrt.{_name(vector.type)}"
        root = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(root, [vector])

    def total(self, vector: Any) -> Any:
        """Return the sum of the lanes, added pairwise."""
        while vector.type.count > 1:
            half = vector.type.count // 2
            undefined = ir.Constant(vector.type, ir.Undefined)
            low = self.shuffle(vector, undefined, list(range(half)))
            high = self.shuffle(vector, undefined, list(range(half, 2 * half)))
            vector = self.builder.fadd(low, high)
        return self.builder.extract_element(vector, _I32(0))

    def loop(self, start: Any, stop: Any, step: int, values: list[Any], body: Any) -> list[Any]:
        """Emit ``for i in range(start, stop, step): values = body(i, values)``."""
        builder = self.builder
        before = builder.block
        head, inside, after = (builder.append_basic_block(name) for name in ("head", "in", "out"))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(_I64)
        index.add_incoming(start, before)
        carried = [builder.phi(value.type) for value in values]
        for phi, value in zip(carried, values, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", index, stop), inside, after)
        builder.position_at_end(inside)
        new = body(index, carried)
        index.add_incoming(builder.add(index, _I64(step)), builder.block)
        for phi, value in zip(carried, new, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return carried


def _width(element: Any) -> int:
    return {_I32: 4, ir.FloatType(): 4, ir.DoubleType(): 8}[element]


def _name(vector: Any) -> str:
    return f"v{vector.count}f{8 * _width(vector.element)}"


class _Array:
    """An array that compiled code is given; numbers are counted from its first in memory."""

    def __init__(self, code: _Code, kind: Any, value: Any) -> None:
        self.code, self.kind = code, kind
        self.struct = code.context.make_array(kind)(code.context, code.builder, value)

    def at(self, index: Any) -> Any:
        """Return a pointer to a number of a contiguous array."""
        return self.code.shifted(self.struct.data, index)

    @property
    def length(self) -> Any:
        """Number of numbers."""
        return self.struct.nitems

    @property
    def _row_bytes(self) -> Any:
        return cgutils.unpack_tuple(self.code.builder, self.struct.strides)[0]

    @property
    def row_numbers(self) -> Any:
        """Distance of two rows, in numbers."""
        return self.code.builder.sdiv(self._row_bytes, _I64(self.code.itemsize))

    def row(self, index: Any) -> Any:
        """Return a pointer to the first number of a row, whatever lies between rows."""
        builder, stride = self.code.builder, self._row_bytes
        start = builder.bitcast(self.struct.data, _VOID_POINTER)
        row = builder.gep(start, [builder.mul(index, stride)])
        return builder.bitcast(row, self.struct.data.type)


def _vector_code(emit: Callable[..., Any], result: Any = types.void) -> Any:
    """Make a function for numba of one that emits its code, given the code and its arguments.

    The first argument is an array, whose dtype is the code's; integers are int64. ``result`` is
    None for a number of that dtype.
    """

    def typed(_context: Any, *kinds: Any) -> Any:
        kinds = tuple(types.int64 if isinstance(k, types.Integer) else k for k in kinds)
        return (kinds[0].dtype if result is None else result)(*kinds), generate

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = _Code(context, builder, signature.args[0].dtype)
        arguments = [
            _Array(code, kind, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, values, strict=True)
        ]
        made = emit(code, *arguments)
        return context.get_dummy_value() if made is None else made

    functools.update_wrapper(typed, emit)
    return intrinsic(typed)


def _of_sizes(sizes: tuple[int, ...]) -> Callable[[Callable[..., Any]], Any]:
    """Make a function for numba that does its work for one of some sizes, its second argument.

    What emits the code is given each of them as an int: all are compiled, and one is chosen.
    """

    def decorate(emit: Callable[..., None]) -> Any:
        @functools.wraps(emit)
        def choose(code: _Code, array: _Array, size: Any, *others: Any) -> None:
            builder = code.builder
            after = builder.append_basic_block("done")
            choice = builder.switch(size, after)
            for each in sizes:
                block = builder.append_basic_block(f"size_{each}")
                choice.add_case(_I64(each), block)
                builder.position_at_end(block)
                emit(code, array, each, *others)
                builder.branch(after)
            builder.position_at_end(after)

        return _vector_code(choose)

    return decorate


@intrinsic
def panel_rows(_context: Any, array: Any) -> Any:
    """Return how many rows a panel of the array's dtype has."""

    def generate(*_: Any) -> Any:
        return _I64(_VECTORS * _BYTES * 8 // array.dtype.bitwidth)

    return types.int64(array), generate


@intrinsic
def as_rows(_context: Any, array: Any) -> Any:
    """Return a matrix as one of any layout, not to be written to: the type of points."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return impl_ret_borrowed(context, builder, signature.return_type, values[0])

    return types.Array(array.dtype, 2, "A", readonly=True)(array), generate


@_vector_code
def add_row(
    code: _Code,
    points: _Array,
    row: Any,
    factor: Any,
    origin: _Array,
    weight: Any,
    n_features: Any,
    totals: _Array,
    cluster: Any,
) -> None:
    """Add weight * (factor * points[row] - origin), and the weight, to ``totals[cluster]``.

    In float64; rows of totals are ``total_width`` numbers wide.
    """
    _add_row(code, points.row(row), factor, origin, weight, n_features, totals.row(cluster))


@_vector_code
def add_scaled_row(
    code: _Code,
    points: _Array,
    row: Any,
    factor: Any,
    weight: Any,
    n_features: Any,
    totals: _Array,
    cluster: Any,
) -> None:
    """Do as ``add_row`` with an origin of zeros."""
    _add_row(code, points.row(row), factor, None, weight, n_features, totals.row(cluster))


@_vector_code
def add_any_row(
    code: _Code,
    points: _Array,
    row: Any,
    factors: _Array,
    origin: _Array,
    weight: Any,
    n_features: Any,
    totals: _Array,
    cluster: Any,
) -> None:
    """Do as ``add_scaled_row`` if there are factors, and otherwise as ``add_row`` with 1."""
    builder, point, total = code.builder, points.row(row), totals.row(cluster)
    is_scaled = builder.icmp_signed(">", factors.length, _I64(0))
    with builder.if_else(is_scaled) as (scaled, plain):
        with scaled:
            factor = builder.load(factors.at(row))
            _add_row(code, point, factor, None, weight, n_features, total)
        with plain:
            one = ir.Constant(code.scalar, 1.0)
            _add_row(code, point, one, origin, weight, n_features, total)


def _add_row(
    code: _Code,
    point: Any,
    factor: Any,
    origin: _Array | None,
    weight: Any,
    n_features: Any,
    total: Any,
) -> None:
    is_narrow = code.builder.icmp_signed("<", n_features, _I64(_NARROW))
    with code.builder.if_else(is_narrow) as (narrow, wide):
        for width, branch in ((_NARROW, narrow), (_BYTES // 8, wide)):
            with branch:
                _add_in_vectors(code, width, point, factor, origin, weight, n_features, total)


def _add_in_vectors(
    code: _Code,
    width: int,
    point: Any,
    factor: Any,
    origin: _Array | None,
    weight: Any,
    n_features: Any,
    total: Any,
) -> None:
    builder = code.builder
    numbers, wide = ir.VectorType(code.scalar, width), ir.VectorType(ir.DoubleType(), width)
    factors, weights = code.splat(factor, numbers), code.splat(weight, wide)

    def centred(index: Any, read: Callable[[Any], Any]) -> Any:
        here = builder.fmul(read(code.shifted(point, index)), factors)
        return here if origin is None else builder.fsub(here, read(origin.at(index)))

    def add(value: Any, index: Any) -> None:
        place = code.shifted(total, index)
        value = value if value.type == wide else builder.fpext(value, wide)
        code.store(code.multiply_add(value, weights, code.load(place, wide)), place)

    def add_whole(index: Any, _: list[Any]) -> list[Any]:
        add(centred(index, lambda pointer: code.load(pointer, numbers)), index)
        return []

    whole = builder.and_(n_features, _I64(-width))
    code.loop(_I64(0), whole, width, [], add_whole)
    left = builder.sub(n_features, whole)
    with builder.if_else(builder.icmp_signed("==", left, _I64(0))) as (mass_alone, rest_and_mass):
        with mass_alone:
            place = code.shifted(total, whole)
            builder.store(builder.fadd(builder.load(place), weight), place)
        with rest_and_mass:
            rest = centred(whole, lambda pointer: code.load_first(pointer, left, numbers))
            lanes = ir.Constant(ir.VectorType(_I64, width), list(range(width)))
            is_mass = builder.icmp_signed("==", lanes, code.splat(left, lanes.type))
            one = ir.Constant(numbers, [1.0] * width)
            add(builder.select(is_mass, one, rest), whole)


@_vector_code
def pack_panel(
    code: _Code,
    points: _Array,
    first: Any,
    n_rows: Any,
    origin: _Array,
    n_features: Any,
    panel: _Array,
    at: Any,
) -> None:
    """Write rows less the origin to ``panel[at]`` and on, feature by feature.

    Numbers of a row lie side by side. Where fewer rows are left than a panel has, the last one is
    repeated: those lanes count for nothing.
    """
    row = _read_ahead(code, points, first, n_rows, n_features)
    _pack_transposed(code, row, None, origin, n_features, panel.at(at))


@_vector_code
def pack_scaled_panel(
    code: _Code,
    points: _Array,
    first: Any,
    n_rows: Any,
    factors: _Array,
    factor_at: Any,
    n_features: Any,
    panel: _Array,
    at: Any,
) -> None:
    """Do as ``pack_panel`` with each row times its factor; these begin at ``factors[factor_at]``.

    The origin is zero. The last row is not scaled where it is repeated.
    """
    row = _read_ahead(code, points, first, n_rows, n_features)
    here = _factors_from(code, factors, factor_at, n_rows)
    _pack_transposed(code, row, here, None, n_features, panel.at(at))


@_vector_code
def pack_panel_of_few(
    code: _Code,
    points: _Array,
    first: Any,
    origin: _Array,
    n_features: Any,
    panel: _Array,
    at: Any,
) -> None:
    """Do as ``pack_panel`` with a whole panel of rows, which lie side by side.

    They have at most ``FEW_FEATURES`` features.
    """
    _pack_few(code, points.row(first), origin, n_features, panel.at(at))


def _read_ahead(
    code: _Code, points: _Array, first: Any, n_rows: Any, n_features: Any
) -> Callable[[Any], Any]:
    """Read a panel's rows in memory order; return what gives a pointer to each."""
    builder = code.builder
    last = builder.sub(n_rows, _I64(1))

    def row(number: Any) -> Any:
        is_there = builder.icmp_signed("<", number, n_rows)
        return points.row(builder.add(first, builder.select(is_there, number, last)))

    _touch(code, row(_I64(0)), row(_I64(code.n_rows - 1)), n_features)
    return row


def _factors_from(code: _Code, factors: _Array, at: Any, n_rows: Any) -> Callable[[Any], Any]:
    """Return what loads the factors of a vector of a panel's rows, given the first of these."""

    def load(start: Any) -> Any:
        place = factors.at(code.builder.add(at, start))
        return code.load_first(place, code.builder.sub(n_rows, start), other=1.0)

    return load


def _pack_few(code: _Code, rows: Any, origin: _Array, n_features: Any, panel: Any) -> None:
    builder = code.builder
    after = builder.append_basic_block("packed")
    choice = builder.switch(n_features, after)
    for count in range(1, FEW_FEATURES + 1):
        block = builder.append_basic_block(f"pack_{count}")
        choice.add_case(_I64(count), block)
        builder.position_at_end(block)
        origins = [code.splat(builder.load(origin.at(f))) for f in range(count)]
        for part in range(_VECTORS):
            start = part * code.n_lanes * count
            read = [code.load(code.shifted(rows, start + code.n_lanes * i)) for i in range(count)]
            for feature in range(count):
                column = builder.fsub(_every(code, read, feature), origins[feature])
                place = feature * code.n_rows + part * code.n_lanes
                code.store(column, code.shifted(panel, place))
        builder.branch(after)
    builder.position_at_end(after)


def _every(code: _Code, vectors: list[Any], first: int) -> Any:
    """Return every ``len(vectors)``th number of the vectors, from ``first`` on."""
    n_lanes, count = code.n_lanes, len(vectors)
    places = [divmod(lane * count + first, n_lanes) for lane in range(n_lanes)]
    # Lane by lane from the vector that has the number; what other vectors gave stays.
    result = code.shuffle(vectors[0], vectors[0], [lane for _, lane in places])
    for number, vector in enumerate(vectors[1:], start=1):
        lanes = [
            n_lanes + lane if source == number else own for own, (source, lane) in enumerate(places)
        ]
        result = code.shuffle(result, vector, lanes)
    return result


@_vector_code
def pack_chosen(
    code: _Code,
    points: _Array,
    chosen: _Array,
    first: Any,
    n_rows: Any,
    factors: _Array,
    origin: _Array,
    n_features: Any,
    panel: _Array,
    at: Any,
) -> None:
    """Do as ``pack_panel`` with the rows ``chosen[first]`` and on.

    Factors begin there too. There may be none; if there are, the origin is taken for zero.
    """
    builder = code.builder
    last = builder.sub(n_rows, _I64(1))

    def row(number: Any) -> Any:
        is_there = builder.icmp_signed("<", number, n_rows)
        place = builder.add(first, builder.select(is_there, number, last))
        return points.row(builder.load(chosen.at(place)))

    is_scaled = builder.icmp_signed(">", factors.length, _I64(0))
    with builder.if_else(is_scaled) as (scaled, plain):
        with scaled:
            here = _factors_from(code, factors, first, n_rows)
            _pack_transposed(code, row, here, None, n_features, panel.at(at))
        with plain:  # a tenth less time for few clusters than factors of 1 would take
            _pack_transposed(code, row, None, origin, n_features, panel.at(at))


def _pack_transposed(
    code: _Code,
    row: Callable[[Any], Any],
    factors_from: Callable[[Any], Any] | None,
    origin: _Array | None,
    n_features: Any,
    panel: Any,
) -> None:
    """Write the rows that ``row`` points to, less an origin or scaled by vectors of factors."""
    builder, n_lanes = code.builder, code.n_lanes

    def columns(index: Any, start: Any, read: Callable[[Any], Any]) -> list[Any]:
        starts = [row(builder.add(start, _I64(i))) for i in range(n_lanes)]
        rows = [read(code.shifted(each, index)) for each in starts]
        if origin is not None:
            here = read(origin.at(index))
            rows = [builder.fsub(each, here) for each in rows]
        return _transposed(code, rows)

    def write(column: Any, first: Any, feature: int, start: Any, factors: Any) -> None:
        index = builder.add(first, _I64(feature))
        if factors is not None:  # one for each lane of a column
            column = builder.fmul(column, factors)
        place = code.shifted(panel, builder.mul(index, _I64(code.n_rows)))
        code.store(column, code.shifted(place, start))

    # Loaded once: the compiler cannot know that writing a panel changes no factor.
    starts = range(0, code.n_rows, n_lanes)
    factors = [factors_from and factors_from(_I64(start)) for start in starts]

    def pack(index: Any, _: list[Any]) -> list[Any]:
        for start, here in zip(starts, factors, strict=True):
            for feature, column in enumerate(columns(index, _I64(start), code.load)):
                write(column, index, feature, _I64(start), here)
        return []

    whole = builder.and_(n_features, _I64(-n_lanes))
    code.loop(_I64(0), whole, n_lanes, [], pack)
    left = builder.sub(n_features, whole)

    def pack_rest(start: Any, _: list[Any]) -> list[Any]:
        rest = columns(whole, start, lambda pointer: code.load_first(pointer, left))
        here = factors_from and factors_from(start)
        for feature, column in enumerate(rest[:-1]):
            with builder.if_then(builder.icmp_signed("<", _I64(feature), left)):
                write(column, whole, feature, start, here)
        return []

    # Unlike the loop above, this one has the code of one vector of rows, not of each.
    with builder.if_then(builder.icmp_signed(">", left, _I64(0))):
        code.loop(_I64(0), _I64(code.n_rows), n_lanes, [], pack_rest)


def _touch(code: _Code, first: Any, last: Any, n_features: Any) -> None:
    """Read one number of each cache line from the first row to the last, in memory order.

    Squares of the matrix are read in an order that processors do not foresee; this one they do.
    """
    builder = code.builder
    start, end = (builder.ptrtoint(row, _I64) for row in (first, last))
    stop = builder.add(end, builder.mul(n_features, _I64(code.itemsize)))

    def read(address: Any, seen: list[Any]) -> list[Any]:
        number = builder.load(builder.inttoptr(address, _I32.as_pointer()), align=4)
        return [builder.xor(seen[0], number)]

    (seen,) = code.loop(start, stop, LINE, [_I32(0)], read)
    # An empty instruction that uses the result; otherwise the compiler would drop the reads.
    wanted = ir.FunctionType(ir.VoidType(), [_I32])
    builder.asm(wanted, "", "r", [seen], side_effect=True)


def _transposed(code: _Code, rows: list[Any]) -> list[Any]:
    """Return the columns of a square of as many rows as lanes."""
    n_lanes = half = len(rows)
    half //= 2
    pairs = [number for lane in range(n_lanes) for number in (lane, n_lanes + lane)]
    step = 1
    while step < n_lanes:
        # Interleave each row with the row half of them further on. Each round moves one bit of the
        # index, until the square is transposed.
        rows = [
            code.shuffle(rows[i], rows[i + half], pairs[part : part + n_lanes])
            for i in range(half)
            for part in (0, n_lanes)
        ]
        step *= 2
    return rows


def _scores(
    code: _Code,
    panel: Any,
    n_features: Any,
    groups: _Array,
    biases: _Array,
    first: Any,
    size: int,
) -> list[Any]:
    """Return ``x . c + bias`` of a panel's rows, for each of a group's centroids in turn."""
    builder = code.builder
    group = groups.at(builder.mul(first, n_features))
    bias = [code.splat(builder.load(biases.at(builder.add(first, _I64(j))))) for j in range(size)]

    def multiply(index: Any, scores: list[Any]) -> list[Any]:
        features = code.shifted(panel, builder.mul(index, _I64(code.n_rows)))
        here = [code.load(code.shifted(features, v * code.n_lanes)) for v in range(_VECTORS)]
        numbers = code.shifted(group, builder.mul(index, _I64(size)))
        factors = [code.splat(builder.load(code.shifted(numbers, j))) for j in range(size)]
        return [
            code.multiply_add(here[v], factors[j], scores[j * _VECTORS + v])
            for j in range(size)
            for v in range(_VECTORS)
        ]

    initial = [bias[j] for j in range(size) for _ in range(_VECTORS)]
    return code.loop(_I64(0), n_features, 1, initial, multiply)


@_of_sizes(GROUPS)
def score_group(
    code: _Code,
    panel: _Array,
    size: int,
    at: Any,
    n_features: Any,
    groups: _Array,
    biases: _Array,
    first: Any,
    best: _Array,
    labels: _Array,
    row: Any,
) -> None:
    """Keep the best of ``x . c + bias`` over a panel's rows and a group's centroids.

    A tie stays with the lower index, and so does a score that is not a number.
    """
    builder = code.builder
    scores = _scores(code, panel.at(at), n_features, groups, biases, first, size)
    number = code.splat(builder.trunc(first, _I32), code.indices)
    for v in range(_VECTORS):
        value, index = _greatest(code, scores[v::_VECTORS])
        index = builder.add(index, number)
        place = builder.add(row, _I64(v * code.n_lanes))
        so_far, label = code.load(best.at(place)), code.load(labels.at(place), code.indices)
        is_better = code.greater(value, so_far)
        code.store(builder.select(is_better, value, so_far), best.at(place))
        code.store(builder.select(is_better, index, label), labels.at(place))


def _greatest(code: _Code, values: list[Any]) -> tuple[Any, Any]:
    """Return in each lane the greatest of the values, and the index of the first such."""
    builder = code.builder
    left = [(v, ir.Constant(code.indices, [j] * code.n_lanes)) for j, v in enumerate(values)]
    while len(left) > 1:  # in pairs, since each comparison of a chain would wait for the last
        winners = []
        for (value, index), (other, other_index) in zip(left[::2], left[1::2], strict=False):
            is_greater = code.greater(other, value)
            winners.append(
                (
                    builder.select(is_greater, other, value),
                    builder.select(is_greater, other_index, index),
                )
            )
        left = winners + (left[-1:] if len(left) % 2 else [])
    return left[0]


@_of_sizes(GROUPS)
def score_group_and_next(
    code: _Code,
    panel: _Array,
    size: int,
    at: Any,
    n_features: Any,
    groups: _Array,
    biases: _Array,
    first: Any,
    best: _Array,
    second: _Array,
    labels: _Array,
    row: Any,
) -> None:
    """Do as ``score_group``, and keep the best score of the other centroids as well."""
    builder = code.builder
    scores = _scores(code, panel.at(at), n_features, groups, biases, first, size)
    number = code.splat(builder.trunc(first, _I32), code.indices)
    for v in range(_VECTORS):
        value, index, next_value = _two_greatest(code, scores[v::_VECTORS])
        index = builder.add(index, number)
        place = builder.add(row, _I64(v * code.n_lanes))
        so_far, label = code.load(best.at(place)), code.load(labels.at(place), code.indices)
        is_better = code.greater(value, so_far)
        code.store(builder.select(is_better, value, so_far), best.at(place))
        code.store(builder.select(is_better, index, label), labels.at(place))
        loser = builder.select(is_better, so_far, value)
        next_value = code.greatest(next_value, code.load(second.at(place)))
        code.store(code.greatest(loser, next_value), second.at(place))


def _two_greatest(code: _Code, values: list[Any]) -> tuple[Any, Any, Any]:
    """Return what ``_greatest`` does, and the greatest of the other values."""
    builder = code.builder
    best, index = _greatest(code, values)
    lowest = code.splat(ir.Constant(code.scalar, float("-inf")))
    left = [(value, lowest) for value in values]
    while len(left) > 1:
        winners = []
        for (value, second), (other, other_second) in zip(left[::2], left[1::2], strict=False):
            is_greater = code.greater(other, value)
            loser = builder.select(is_greater, value, other)
            others = code.greatest(second, other_second)
            winners.append((builder.select(is_greater, other, value), code.greatest(loser, others)))
        left = winners + (left[-1:] if len(left) % 2 else [])
    return best, index, left[0][1]


def _sq_distances(code: _Code, panel: Any, n_features: Any, group: Any, size: int) -> list[Any]:
    """Return the squared distances of a panel's rows to a group's candidates."""
    builder = code.builder

    def add_squares(index: Any, sums: list[Any]) -> list[Any]:
        features = code.shifted(panel, builder.mul(index, _I64(code.n_rows)))
        here = [code.load(code.shifted(features, v * code.n_lanes)) for v in range(_VECTORS)]
        numbers = code.shifted(group, builder.mul(index, _I64(size)))
        there = [code.splat(builder.load(code.shifted(numbers, j))) for j in range(size)]
        apart = [builder.fsub(x, c) for c in there for x in here]
        return [code.multiply_add(a, a, sum_) for a, sum_ in zip(apart, sums, strict=True)]

    zeros = [ir.Constant(code.vector, None)] * (size * _VECTORS)
    return code.loop(_I64(0), n_features, 1, zeros, add_squares)


@_of_sizes(GROUPS)
def fold_group(
    code: _Code,
    panel: _Array,
    size: int,
    at: Any,
    n_features: Any,
    groups: _Array,
    first: Any,
    closest: _Array,
    weights: _Array,
    row: Any,
    sums: _Array,
) -> None:
    """Add weight * min(closest, squared distance) to each candidate's float64 lanes."""
    builder = code.builder
    group = groups.at(builder.mul(first, n_features))
    distances = _sq_distances(code, panel.at(at), n_features, group, size)
    half = code.n_lanes * code.itemsize // 8
    wide = ir.VectorType(ir.DoubleType(), half)
    lanes = builder.mul(first, _I64(code.n_rows))
    for v in range(_VECTORS):
        so_far = code.load(closest.at(builder.add(row, _I64(v * code.n_lanes))))
        for j in range(size):
            distance = distances[j * _VECTORS + v]
            is_nearer = code.greater(so_far, distance)
            nearer = builder.select(is_nearer, distance, so_far)
            for part in range(0, code.n_lanes, half):
                offset = v * code.n_lanes + part
                value = code.part(nearer, part, wide)
                weight = code.load(weights.at(builder.add(row, _I64(offset))), wide)
                place = sums.at(builder.add(lanes, _I64(j * code.n_rows + offset)))
                code.store(code.multiply_add(value, weight, code.load(place, wide)), place)


@_vector_code
def keep_nearer(
    code: _Code,
    panel: _Array,
    at: Any,
    n_features: Any,
    candidate: _Array,
    closest: _Array,
    row: Any,
) -> None:
    """Replace ``closest[row]`` and on by the squared distance to the candidate where it is less."""
    builder = code.builder
    distances = _sq_distances(code, panel.at(at), n_features, candidate.at(_I64(0)), 1)
    for v, distance in enumerate(distances):
        place = closest.at(builder.add(row, _I64(v * code.n_lanes)))
        so_far = code.load(place)
        is_nearer = code.greater(so_far, distance)
        code.store(builder.select(is_nearer, distance, so_far), place)


def _squares(
    code: _Code,
    points: _Array,
    row: Any,
    factor: Any,
    origin: _Array,
    centroids: list[Any],
    n_features: Any,
) -> list[Any]:
    """Return for each centroid the lanes whose sum is a row's squared distance to it."""
    builder, point, factors = code.builder, points.row(row), code.splat(factor)

    def add(index: Any, sums: list[Any], read: Callable[[Any], Any]) -> list[Any]:
        here = builder.fmul(read(code.shifted(point, index)), factors)
        centred = builder.fsub(here, read(origin.at(index)))
        apart = [builder.fsub(centred, read(code.shifted(c, index))) for c in centroids]
        return [code.multiply_add(a, a, sum_) for a, sum_ in zip(apart, sums, strict=True)]

    whole = builder.and_(n_features, _I64(-code.n_lanes))
    left = builder.sub(n_features, whole)
    sums = [ir.Constant(code.vector, None) for _ in centroids]
    sums = code.loop(_I64(0), whole, code.n_lanes, sums, lambda i, s: add(i, s, code.load))
    rest = functools.partial(code.load_first, n=left)
    return code.loop(whole, n_features, code.n_lanes, sums, lambda i, s: add(i, s, rest))


def _sq_distance(
    code: _Code,
    points: _Array,
    row: Any,
    factor: Any,
    origin: _Array,
    centroids: _Array,
    at: Any,
    n_features: Any,
) -> Any:
    """Return the squared distance of factor * points[row] - origin to the centroid at ``at``."""
    squares = _squares(code, points, row, factor, origin, [centroids.at(at)], n_features)
    return code.total(squares[0])


sq_distance = _vector_code(_sq_distance, result=None)


def _totals(code: _Code, vectors: list[Any]) -> Any:
    """Return a vector of the totals of the vectors, added in the order of ``_Code.total``."""
    length = vectors[0].type.count  # lanes that are still to be added up to one total
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [_halved(code, left, right, length) for left, right in pairs]
        length = max(length // 2, 1)
    (joined,) = vectors
    while length > 1:
        joined = _halved(code, joined, None, length)
        length //= 2
    return joined


def _halved(code: _Code, left: Any, right: Any, length: int) -> Any:
    """Return both vectors in one: of each ``length`` lanes, one half is added to the other."""
    lanes = list(range(left.type.count * (1 if right is None else 2)))
    right = left if right is None else right
    if length == 1:
        return code.shuffle(left, right, lanes)
    half = length // 2
    low = [lane for lane in lanes if lane % length < half]
    high = [lane + half for lane in low]
    is_whole = isinstance(left.type.element, ir.IntType)
    add = code.builder.add if is_whole else code.builder.fadd
    return add(code.shuffle(left, right, low), code.shuffle(left, right, high))


@_of_sizes(ROW_CANDIDATES)
def add_closest(
    code: _Code, like: _Array, size: int, closest: Any, weight: Any, sums: _Array, first: Any
) -> None:
    """Do as ``fold_row`` where no candidate is nearer than ``closest``, which is as ``like``."""
    wide = ir.VectorType(ir.DoubleType(), size)
    value = code.part(code.splat(closest, ir.VectorType(code.scalar, size)), 0, wide)
    place = sums.at(first)
    code.store(code.multiply_add(value, code.splat(weight, wide), code.load(place, wide)), place)


@_of_sizes(ROW_CANDIDATES)
def fold_row(
    code: _Code,
    points: _Array,
    size: int,
    row: Any,
    factor: Any,
    origin: _Array,
    candidates: _Array,
    first: Any,
    n_features: Any,
    closest: Any,
    weight: Any,
    sums: _Array,
    nearer: _Array,
    place: Any,
) -> None:
    """Add weight * min(closest, squared distance) to the sums of ``size`` candidates.

    Distances are those of ``sq_distance``, to the bit; the candidates lie row after row. The
    minima are written to ``nearer``, from ``place`` on.
    """
    builder = code.builder
    start = candidates.at(builder.mul(first, n_features))
    places = [code.shifted(start, builder.mul(_I64(j), n_features)) for j in range(size)]
    distances = _totals(code, _squares(code, points, row, factor, origin, places, n_features))
    so_far = code.splat(closest, distances.type)
    least = builder.select(code.greater(so_far, distances), distances, so_far)
    code.store(least, nearer.at(place))
    wide = ir.VectorType(ir.DoubleType(), size)
    total, value = sums.at(first), code.part(least, 0, wide)
    code.store(code.multiply_add(value, code.splat(weight, wide), code.load(total, wide)), total)
