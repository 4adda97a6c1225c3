"""Functions that emit vector code for pairs, for silhouettes and for bounds have plain loops' bits.

Sums are exact, as in ``test_emitted.py``; bounds are rounded, each as NumPy rounds it.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("numba", reason="about what it compiles")

from kmeans_xp.kernels.for_numba.emitted import (
    bound_vectors,
    pair_vectors,
    silhouette_vectors,
    vectors,
)
from tests.emitted import (
    DTYPES,
    NOISE,
    WIDTHS,
    Array,
    called,
    eighths,
    panels_of,
    sq_distances,
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", WIDTHS)
def test_products_of_a_few_rows(n_features: int, dtype: str) -> None:
    rng, n_rows = np.random.default_rng(0), pair_vectors.ROWS_AT_A_TIME
    points = eighths(rng, (n_rows + 5, n_features), dtype)
    origin, apart = eighths(rng, (2, n_features), dtype)
    factors = (2.0 ** rng.integers(-1, 2, n_rows + 1)).astype(dtype)
    for some, scales in ((factors[:0], 1), (factors, factors[1:, None])):
        products, squares = np.full((2, n_rows + 2), NOISE, dtype)
        called(pair_vectors.measure_pair)(
            *(points, 3, some, 1, origin, apart, n_features, products, squares, 1)
        )
        rows = points[3 : 3 + n_rows] * scales - origin
        assert_array_equal(products[1:-1], rows @ apart)
        assert_array_equal(squares[1:-1], np.square(rows).sum(axis=1))
        assert (products[[0, -1]] == NOISE).all()
        assert (squares[[0, -1]] == NOISE).all()
    chosen, found = rng.permutation(len(points)), np.empty(2 * n_rows, dtype)
    factors = (2.0 ** rng.integers(-1, 2, len(points))).astype(dtype)
    here = chosen[2 : 2 + n_rows]
    for some, scales in ((factors[:0], 1), (factors, factors[here, None])):
        called(pair_vectors.measure_chosen)(
            points, chosen, 2, some, origin, apart, n_features, found
        )
        rows = points[here] * scales - origin
        assert_array_equal(found, np.concatenate([rows @ apart, np.square(rows).sum(axis=1)]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 5, 16])
def test_the_nearer_one_of_two(n_features: int, dtype: str) -> None:
    rng, n_rows = np.random.default_rng(1), 2 * vectors.PANEL[np.dtype(dtype)]
    points = eighths(rng, (n_rows, n_features), dtype)
    origin, half = eighths(rng, n_features, dtype), points.dtype.type(0.5)
    groups = np.full((n_features, vectors.GROUPS[-1]), NOISE, dtype)
    groups[:, :2] = eighths(rng, (n_features, 2), dtype)
    biases = np.full(vectors.GROUPS[-1], 0.25, dtype)
    rows = points * half - origin
    left, right = (rows @ groups[:, :2]).T
    biases[1] += np.sort(left - right)[n_rows // 2]  # a tie, which stays with the first
    is_second = right + biases[1] > left + biases[0]
    assert 0 < is_second.sum() < n_rows - 1
    found = [
        called(pair_vectors.is_second_nearer)(
            points, row, half, origin, groups.ravel(), biases, n_features
        )
        for row in range(n_rows)
    ]
    assert found == is_second.tolist()
    panels = np.concatenate([np.full(3, NOISE, dtype), panels_of(rows)])
    bits = called(pair_vectors.second_lanes)(panels, 3, n_features, groups.ravel(), biases)
    assert bits % 2**64 == sum(1 << int(row) for row in np.flatnonzero(is_second))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", WIDTHS)
def test_chosen_rows_are_added(n_features: int, dtype: str) -> None:
    rng = np.random.default_rng(2)
    points, origin = eighths(rng, (9, n_features), dtype), eighths(rng, n_features, dtype)
    chosen = rng.permutation(9)
    totals = rng.integers(0, 9, (2, vectors.total_width(n_features))) / 8.0
    expected = totals.copy()
    expected[1, :n_features] += (points[chosen[:5]] - origin).sum(axis=0, dtype=np.float64)
    expected[1, n_features] += 5
    called(pair_vectors.add_chosen)(points, chosen, 5, origin, n_features, totals, 1)
    assert_array_equal(totals, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", WIDTHS)
def test_marked_rows_are_added_to_the_second_of_two(n_features: int, dtype: str) -> None:
    rng = np.random.default_rng(5)
    points, origin = eighths(rng, (66, n_features), dtype), eighths(rng, n_features, dtype)
    factors = (2.0 ** rng.integers(-1, 2, 66)).astype(dtype)
    for n_rows, share in ((64, 0.5), (64, 0.0), (64, 1.0), (1, 0.5), (9, 0.2)):
        is_second = rng.random(n_rows) < share
        marks = sum(1 << int(row) for row in np.flatnonzero(is_second))
        signed = marks - 2**64 if marks >= 2**63 else marks
        for some, scales in ((factors[:0], 1), (factors, factors[2 : 2 + n_rows, None])):
            totals = rng.integers(0, 9, (2, vectors.total_width(n_features))) / 8.0
            expected, rows = totals.copy(), points[2 : 2 + n_rows] * scales - origin
            for cluster, theirs in enumerate((rows[~is_second], rows[is_second])):
                expected[cluster, :n_features] += theirs.sum(axis=0, dtype=np.float64)
                expected[cluster, n_features] += len(theirs)
            called(pair_vectors.add_marked)(
                points, 2, n_rows, signed, some, origin, n_features, totals
            )
            assert_array_equal(totals, expected)
    factors[...] = np.inf  # the mass is a number nevertheless
    totals = np.zeros((2, vectors.total_width(n_features)))
    called(pair_vectors.add_marked)(points, 0, 9, 0b11, factors, origin, n_features, totals)
    assert totals[:, n_features].tolist() == [7.0, 2.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 4, 25])
def test_sums_of_distances(n_features: int, dtype: str) -> None:
    """Rows lie on a diagonal of as many features as a square: their distances are whole numbers."""
    rng, n_members = np.random.default_rng(3), silhouette_vectors.MEMBERS
    n_rows = vectors.PANEL[np.dtype(dtype)]
    diagonal = rng.choice([-1.0, 1.0], n_features)
    rows = (rng.integers(0, 30, (2 * n_rows, 1)) * diagonal).astype(dtype)
    weights = (rng.integers(0, 3, 2 * n_rows) / 2).astype(dtype)
    row, member = 0, 2 * n_rows - n_members
    panels = panels_of(rows)
    members = n_rows * n_features + n_rows - n_members  # the last ones of the second panel
    here, there = slice(row, row + n_rows), slice(member, member + n_members)
    distances = np.sqrt(sq_distances(rows[here], rows[there])).astype(np.float64)
    to_rows, to_members = distances @ weights[there], weights[here] @ distances
    given = rng.integers(0, 9, n_rows + n_members + 2) / 4.0
    one_way, both_ways = given.copy(), given.copy()
    called(silhouette_vectors.add_one_way)(
        *(panels, 0, members, n_features, weights, member, one_way, 1)
    )
    given[1 : 1 + n_rows] += to_rows
    assert_array_equal(one_way, given)
    called(silhouette_vectors.add_both_ways)(
        *(panels, 0, members, n_features, weights, row, member, both_ways, 1, 1 + n_rows)
    )
    given[1 + n_rows : -1] += to_members
    assert_array_equal(both_ways, given)


def constants_of(dtype: str) -> Array:
    """Return factors that round much, so that each of them shows."""
    constants = np.empty(bound_vectors.N_CONSTANTS, dtype)
    constants[bound_vectors.UP], constants[bound_vectors.DOWN] = 1.01, 0.99
    constants[bound_vectors.ROUNDING], constants[bound_vectors.LEAST] = 1e-3, 1e-5
    constants[bound_vectors.BIGGEST], constants[bound_vectors.LIMIT] = 3.0, 1e4
    constants[bound_vectors.FAR], constants[bound_vectors.MEASURED] = 2.0, 1.02
    return constants


def slack_of(reach: Array, constants: Array) -> tuple[Array, Array]:
    scale = reach + np.minimum(
        constants[bound_vectors.BIGGEST], constants[bound_vectors.FAR] * reach
    )
    slack = constants[bound_vectors.ROUNDING] * scale * scale + constants[bound_vectors.LEAST]
    most = reach + constants[bound_vectors.BIGGEST]
    return slack, constants[bound_vectors.LIMIT] > most * most


@pytest.mark.parametrize("dtype", DTYPES)
def test_bounds_move(dtype: str) -> None:
    rng, n_lanes = np.random.default_rng(4), vectors.PANEL[np.dtype(dtype)] // 2
    n_rows, first, constants = 4 * n_lanes, 3, constants_of(dtype)
    up, down = constants[bound_vectors.UP], constants[bound_vectors.DOWN]
    upper, lower = rng.random((2, n_rows + 5)).astype(dtype)
    lower *= 3
    labels = rng.integers(0, 6, n_rows + 5).astype(np.int32)
    table = (rng.random((6, bound_vectors.N_COLUMNS)) / 2).astype(dtype)
    table[5, bound_vectors.NORM] = 1e3  # out of range
    masks, rows = np.zeros(4, np.int64), slice(first, first + n_rows)
    own = table[labels[rows]]
    expected_upper, expected_lower = upper.copy(), lower.copy()
    high = (upper[rows] + own[:, bound_vectors.DRIFT]) * up
    low = np.maximum((lower[rows] - own[:, bound_vectors.DRIFT_OF_OTHERS]) * down, 0)
    expected_upper[rows], expected_lower[rows] = high, low
    bound = np.maximum(low, own[:, bound_vectors.GAP] - high)
    slack, is_in_range = slack_of(high + own[:, bound_vectors.NORM], constants)
    is_doubtful = ~((bound * bound * down > high * high * up + slack) & is_in_range)
    n_doubtful = called(bound_vectors.move_bounds)(
        *(upper, lower, labels, first, n_rows, table.ravel(), constants, masks)
    )
    assert_array_equal(upper, expected_upper)
    assert_array_equal(lower, expected_lower)
    assert 0 < n_doubtful == is_doubtful.sum() < n_rows
    lanes = is_doubtful.reshape(4, n_lanes)
    assert masks.tolist() == [sum(1 << int(lane) for lane in np.flatnonzero(e)) for e in lanes]


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_become_bounds(dtype: str) -> None:
    rng, n_rows = np.random.default_rng(5), 2 * vectors.PANEL[np.dtype(dtype)]
    constants = constants_of(dtype)
    up, down = constants[bound_vectors.UP], constants[bound_vectors.DOWN]
    sq_norms, norms, best, second = rng.random((4, n_rows)).astype(dtype)
    second -= 1
    best[0] = 5.0  # a squared distance below zero, by rounding
    second[1] = -1e3  # farther away than a bound may claim
    norms[2] = 1e3  # out of range
    length = np.sqrt(sq_norms * constants[bound_vectors.MEASURED] + constants[bound_vectors.LEAST])
    reach = length * up + norms
    slack, counts = slack_of(reach, constants)
    high = np.sqrt(np.maximum(sq_norms - best - best + slack, 0)) * up
    low = np.sqrt(np.maximum(sq_norms - second - second - slack, 0)) * down
    low = np.minimum(low, constants[bound_vectors.FAR] * reach * down - reach)
    called(bound_vectors.turn_into_bounds)(best, second, n_rows, sq_norms, norms, constants)
    assert_array_equal(best, np.where(counts, high, np.inf))
    assert_array_equal(second, np.where(counts, low, 0))
    assert not counts[2]
