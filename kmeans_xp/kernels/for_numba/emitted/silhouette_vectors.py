"""Vector instructions for distances between the rows of a panel and a few other rows."""

from typing import Any

from llvmlite import ir

from kmeans_xp.kernels.for_numba.emitted.vectors import (
    _I64,
    _VECTORS,
    GROUPS,
    _Array,
    _Code,
    _totals,
    _vector_code,
)

__all__ = ["MEMBERS", "add_both_ways", "add_one_way"]

#: rows compared with a panel at a time; the number of rows of a panel is a multiple of it
MEMBERS = GROUPS[1]


def _add_to_panel(
    code: _Code, roots: list[Any], weights: _Array, member: Any, sums: _Array, at: Any
) -> None:
    """Add the distances to all members to the sums of the panel's rows."""
    builder = code.builder
    there = [
        code.splat(builder.load(weights.at(builder.add(member, _I64(j))))) for j in range(MEMBERS)
    ]
    for v in range(_VECTORS):
        left = [code.product(root, w) for root, w in zip(roots[v::_VECTORS], there, strict=True)]
        # In pairs, so that a number is rounded at most three times in the dtype of the rows.
        while len(left) > 1:
            left = [builder.fadd(a, b) for a, b in zip(left[::2], left[1::2], strict=True)]
        _add_wide(code, left[0], sums, builder.add(at, _I64(v * code.n_lanes)))


def _add_to_members(
    code: _Code, roots: list[Any], weights: _Array, row: Any, sums: _Array, at: Any
) -> None:
    """Add the distances to the panel's rows to the sums of the members."""
    builder = code.builder
    here = [
        code.load(weights.at(builder.add(row, _I64(v * code.n_lanes)))) for v in range(_VECTORS)
    ]
    lanes = []
    for j in range(MEMBERS):
        of_member = roots[j * _VECTORS : (j + 1) * _VECTORS]
        total = code.product(of_member[0], here[0])
        for root, weight in zip(of_member[1:], here[1:], strict=True):
            total = code.multiply_add(root, weight, total)
        lanes.append(total)
    _add_wide(code, _totals(code, lanes), sums, at)


def _add_wide(code: _Code, values: Any, sums: _Array, at: Any) -> None:
    """Add a vector to sums in float64."""
    n_lanes = values.type.count
    width = min(n_lanes, code.n_lanes * code.itemsize // 8)
    wide = ir.VectorType(ir.DoubleType(), width)
    for first in range(0, n_lanes, width):
        place = sums.at(code.builder.add(at, _I64(first)))
        if n_lanes == width and values.type.element == wide.element:
            part = values
        else:
            part = code.part(values, first, wide)
        code.store(code.builder.fadd(code.load(place, wide), part), place)


def _roots(code: _Code, panels: _Array, at: Any, members: Any, n_features: Any) -> list[Any]:
    """Return the distances of a panel's rows to the members, ``_VECTORS`` vectors for each."""
    sums = _distances_in_panels(code, panels.at(at), panels.at(members), n_features)
    return [code.root(total) for total in sums]


def _distances_in_panels(code: _Code, panel: Any, members: Any, n_features: Any) -> list[Any]:
    """Do as ``_sq_distances`` where the members are rows of a panel too."""
    builder = code.builder

    def add_squares(index: Any, sums: list[Any]) -> list[Any]:
        step = builder.mul(index, _I64(code.n_rows))
        here = [
            code.load(code.shifted(code.shifted(panel, step), v * code.n_lanes))
            for v in range(_VECTORS)
        ]
        there = code.shifted(members, step)
        numbers = [code.splat(builder.load(code.shifted(there, j))) for j in range(MEMBERS)]
        apart = [builder.fsub(x, c) for c in numbers for x in here]
        return [code.multiply_add(a, a, total) for a, total in zip(apart, sums, strict=True)]

    zeros = [ir.Constant(code.vector, None)] * (MEMBERS * _VECTORS)
    return code.loop(_I64(0), n_features, 1, zeros, add_squares)


def _add_one_way(
    code: _Code,
    panels: _Array,
    at: Any,
    members: Any,
    n_features: Any,
    weights: _Array,
    member: Any,
    sums: _Array,
    sums_at: Any,
) -> None:
    """Add the distances between a panel's rows and members to ``sums[sums_at]`` and on.

    Of the rows that begin at ``panels[at]`` to those that begin at ``panels[members]``, the
    row ``member`` and on; a member's weight is 1, or 0 if there is none.
    """
    roots = _roots(code, panels, at, members, n_features)
    _add_to_panel(code, roots, weights, member, sums, sums_at)


def _add_both_ways(
    code: _Code,
    panels: _Array,
    at: Any,
    members: Any,
    n_features: Any,
    weights: _Array,
    row: Any,
    member: Any,
    sums: _Array,
    sums_at: Any,
    members_at: Any,
) -> None:
    """Do as ``add_one_way``, and add the same distances to ``sums[members_at]`` and on."""
    roots = _roots(code, panels, at, members, n_features)
    _add_to_panel(code, roots, weights, member, sums, sums_at)
    _add_to_members(code, roots, weights, row, sums, members_at)


add_one_way = _vector_code(_add_one_way)
add_both_ways = _vector_code(_add_both_ways)
