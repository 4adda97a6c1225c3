"""Functions that emit vector code have the bits of plain loops.

Numbers are multiples of an eighth, and so small that every product and every sum is exact: then no
order of additions matters. The order has tests of its own, by whole kernels.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.chain import fused

numba = pytest.importorskip("numba", reason="about what it compiles")

from kmeans_xp.kernels.for_numba.compiled import call_at, compiled  # noqa: E402
from kmeans_xp.kernels.for_numba.emitted import (  # noqa: E402
    code_vectors,
    head_vectors,
    mean_vectors,
    sparse_vectors,
    sphere_vectors,
    tiles,
    vectors,
)
from kmeans_xp.kernels.sphere_rows import RADIUS  # noqa: E402
from tests.emitted import (  # noqa: E402
    DTYPES,
    NOISE,
    WIDTHS,
    called,
    eighths,
    panels_of,
    sq_distances,
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", WIDTHS)
def test_add_row(n_features: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    points, origin = eighths(rng, (3, n_features), dtype), eighths(rng, n_features, dtype)
    totals = np.zeros((2, vectors.total_width(n_features)))
    half = points.dtype.type(0.5)
    called(vectors.add_row)(points, 1, half, origin, 0.25, n_features, totals, 1)
    assert_array_equal(totals[1, :n_features], 0.25 * (points[1] / 2 - origin).astype(np.float64))
    assert totals[1, n_features] == 0.25
    assert not totals[0].any()
    called(vectors.add_scaled_row)(points, 2, half, 0.5, n_features, totals, 0)
    assert_array_equal(totals[0, :n_features], points[2].astype(np.float64) / 4)
    assert totals[0, n_features] == 0.5
    factors, expected = np.array([1, half, half], dtype), totals.copy()
    totals[...] = 0.0
    add = called(vectors.add_any_row)
    add(points, 1, factors[:0], origin, 0.25, n_features, totals, 1)
    assert_array_equal(totals[1, :n_features], 0.25 * (points[1] - origin).astype(np.float64))
    add(points, 2, factors, origin, 0.5, n_features, totals, 0)
    assert_array_equal(totals[0], expected[0])


def test_what_is_done_at_each_tile() -> None:
    for left, right in ((2, 3), (3, 2), (-1, 0), (2**40, 2**40 + 1)):
        assert called(tiles.smaller)(left, right) == min(left, right)
    large, middle, small = vectors.GROUPS
    for n_left, size in ((1, small), (small, small), (small + 1, middle), (middle, middle)):
        assert called(tiles.group_size)(n_left) == size
    assert called(tiles.group_size)(middle + 1) == called(tiles.group_size)(10**6) == large


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_read_where_they_lie_or_from_scratch(dtype: str) -> None:
    points = np.arange(24, dtype=dtype).reshape(6, 4)
    double = compiled(*tiles.FILLED)(_write_doubles)
    address = double.address(points.dtype, call_at(*tiles.FILLED))
    for filler, at, factor in ((0, 2, 1), (address, 0, 2)):
        read = numba.njit(_read_tile)(points, 2, 3, filler)
        assert read[1:] == (at, 3 if filler else 0)
        assert_array_equal(read[0][at : at + 3], points[2:5] * factor)
        assert not filler or not np.shares_memory(read[0], points)
    factors = points[0] + 3
    assert called(tiles.factor_of)(factors, 2) == 5.0
    assert called(tiles.factor_of)(factors[:0], 2) == 1.0


def _write_doubles(points, first, n_rows, scratch):
    for row in range(n_rows):
        for feature in range(points.shape[1]):
            scratch[row, feature] = 2 * points[first + row, feature]


def _read_tile(points, first, n_rows, filler):
    scratch = tiles.scratch_for(points, n_rows, filler)
    rows, at = tiles.tile_of(vectors.as_rows(points), first, n_rows, filler, scratch)
    return rows.copy(), at, scratch.shape[0]


@pytest.mark.parametrize("is_scaled", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", WIDTHS)
def test_panels(n_features: int, dtype: str, is_scaled: bool) -> None:
    rng = np.random.default_rng(0)
    n_lanes = vectors.PANEL[np.dtype(dtype)]
    points = eighths(rng, (n_lanes + 5, n_features), dtype)
    origin = eighths(rng, n_features, dtype)
    panel = np.full(n_lanes * n_features + 1, NOISE, dtype)
    for n_rows in (1, n_lanes - 1, n_lanes, n_lanes + 3):
        last = np.minimum(np.arange(n_lanes), n_rows - 1)  # the last row is repeated
        factors = 2.0 ** rng.integers(-1, 2, n_rows + 3 if is_scaled else 0).astype(dtype)
        order = rng.integers(0, len(points), n_rows)
        ways = [
            (vectors.pack_chosen, order[last], (order, 0, n_rows, factors, origin), 0),
            (vectors.pack_scaled_panel, 2 + last, (2, n_rows, factors, 3), 3)
            if is_scaled
            else (vectors.pack_panel, 2 + last, (2, n_rows, origin), 0),
        ]
        if not is_scaled and n_rows >= n_lanes and n_features <= vectors.FEW_FEATURES:
            ways.append((vectors.pack_panel_of_few, 2 + last, (2, origin), 0))
        for emitted, chosen, rows, start in ways:
            called(emitted)(points, *rows, n_features, panel, 1)
            scales = np.ones(n_lanes, dtype)
            if is_scaled:
                scales[:n_rows] = factors[start : start + n_rows][:n_lanes]
            expected = scales[:, None] * points[chosen] - (0 if is_scaled else origin)
            assert_array_equal(panel[1:].reshape(-1, n_lanes).T[:n_rows], expected[:n_rows])
            assert np.isfinite(panel[1:]).all()
            if not is_scaled:
                assert_array_equal(panel[1:], expected.T.ravel())
    assert panel[0] == NOISE


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", vectors.GROUPS)
@pytest.mark.parametrize("n_features", [1, 5, 16])
def test_scores_and_folds_of_a_group(n_features: int, size: int, dtype: str) -> None:
    rng = np.random.default_rng(1)
    n_lanes = vectors.PANEL[np.dtype(dtype)]
    rows, centroids = (eighths(rng, (n, n_features), dtype) for n in (n_lanes, size))
    panel, group = panels_of(rows), centroids.T.ravel().copy()
    biases = eighths(rng, size, dtype)
    scores = rows @ centroids.T + biases
    best, second = eighths(rng, n_lanes, dtype), np.full(n_lanes, -np.inf, dtype)
    before, is_better = best.copy(), scores.max(axis=1) > best
    for emitted, more in ((vectors.score_group, ()), (vectors.score_group_and_next, (second,))):
        best, labels = before.copy(), np.full(n_lanes, 99, np.int32)
        called(emitted)(panel, size, 0, n_features, group, biases, 0, best, *more, labels, 0)
        assert_array_equal(best, np.maximum(before, scores.max(axis=1)))
        assert_array_equal(labels, np.where(is_better, scores.argmax(axis=1), 99))
    ordered = np.sort(np.column_stack([before, scores]), axis=1)
    assert_array_equal(second, ordered[:, -2])

    distances = sq_distances(rows, centroids)
    closest, weights = np.abs(before) * 8, eighths(rng, n_lanes, np.float64)
    lanes = np.zeros(size * n_lanes)
    called(vectors.fold_group)(*(panel, size, 0, n_features, group, 0, closest, weights, 0, lanes))
    nearer = np.minimum(closest[:, None], distances)
    assert_array_equal(lanes, (weights[:, None] * nearer).T.ravel())
    called(vectors.keep_nearer)(panel, 0, n_features, centroids[0].copy(), closest, 0)
    assert_array_equal(closest, nearer[:, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", WIDTHS)
def test_rows_alone(n_features: int, dtype: str) -> None:
    rng = np.random.default_rng(2)
    points, origin = eighths(rng, (2, n_features), dtype), eighths(rng, n_features, dtype)
    candidates = eighths(rng, (8, n_features), dtype)
    half = points.dtype.type(0.5)
    centred, flat = points[1] * half - origin, candidates.ravel()
    distances = sq_distances(centred[None], candidates)[0]
    found = called(vectors.sq_distance)(points, 1, half, origin, flat, 2 * n_features, n_features)
    assert found == distances[2]
    closest = distances.dtype.type(np.median(distances))
    for size in vectors.ROW_CANDIDATES:
        sums, nearer = np.ones(8), np.full(11, NOISE, dtype)
        called(vectors.fold_row)(
            *(points, size, 1, half, origin, flat, 0, n_features, closest, 0.25, sums, nearer, 2)
        )
        expected = np.minimum(closest, distances[:size])
        assert_array_equal(nearer[2 : 2 + size], expected)
        assert_array_equal(np.delete(nearer, np.s_[2 : 2 + size]), NOISE)
        assert_array_equal(sums[:size], 1.0 + 0.25 * expected)
        assert_array_equal(sums[size:], 1.0)
        called(vectors.add_closest)(points, size, closest, 0.25, sums, 0)
        folded = 1.0 + 0.25 * (np.minimum(closest, distances[:size]) + np.float64(closest))
        assert_array_equal(sums[:size], folded)


needs_products = pytest.mark.skipif(
    not code_vectors.HAS_PRODUCTS, reason="the processor multiplies no bytes"
)


@needs_products
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_candidates", [1, 8, 21])
def test_each_step_of_a_chain_is_rounded_once(n_candidates: int, dtype: str) -> None:
    rng, n_features = np.random.default_rng(8), 67
    centred = rng.standard_normal(n_features).astype(dtype)
    centroids = rng.standard_normal((30, n_features)).astype(dtype)
    biases = rng.standard_normal(30).astype(dtype)
    chosen = rng.permutation(30)[:n_candidates].astype(np.int32)
    scores = np.zeros(32, dtype)
    called(code_vectors.chain_scores)(
        *(centred, 0, n_features, centroids.ravel(), biases, chosen, 0, n_candidates, scores)
    )
    expected = biases[chosen]
    for feature in range(n_features):
        here = np.full(n_candidates, centred[feature])
        expected = fused(here, centroids[chosen, feature], expected)
    assert_array_equal(scores[:n_candidates], expected)


@needs_products
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", WIDTHS)
def test_rows_that_are_coded(n_features: int, dtype: str) -> None:
    rng = np.random.default_rng(3)
    points, origin = eighths(rng, (2, n_features), dtype), eighths(rng, n_features, dtype)
    centred, row = np.full(128, NOISE, dtype), 2 * points[1] - origin
    two = points.dtype.type(2)
    most = called(code_vectors.centre_row)(points, 1, two, origin, n_features, centred, 0)
    assert most == np.abs(row).max()
    assert_array_equal(centred[:n_features], row)
    n_lanes = vectors.PANEL[np.dtype(dtype)] // 2
    assert not centred[n_features : -(-n_features // n_lanes) * n_lanes].any()
    step, kind = 0.5, np.dtype(dtype).type
    codes, sums = np.zeros(128, np.int8), np.zeros(3, dtype)
    called(code_vectors.code_row)(
        *(centred, 0, n_features, kind(step), kind(1 / step), kind(3)),
        *(codes, 0, sums),
    )
    expected = np.clip(np.rint(row / step), -3, 3)  # rint: half to even
    assert_array_equal(codes[:n_features], expected)
    left = row - step * expected
    assert sums.tolist() == [np.square(left).sum(), np.square(expected).sum(), expected.sum()]

    centroids, biases = eighths(rng, (11, n_features), dtype), eighths(rng, 11, dtype)
    flat, chosen, scores = centroids.ravel(), np.arange(10, -1, -1, dtype=np.int32), np.empty(11)
    scores = scores.astype(dtype)
    product = called(code_vectors.score_row)(centred, 0, n_features, flat, 3 * n_features)
    assert product == row @ centroids[3]
    called(code_vectors.chain_scores)(
        *(centred, 0, n_features, flat, biases, chosen, 0, 11, scores)
    )
    assert_array_equal(scores, (centroids @ row + biases)[::-1])
    for n_chosen in (1, 3, 4):
        few = np.empty(code_vectors.FEW, dtype)
        called(code_vectors.score_few)(centred, 0, n_features, flat, chosen, 2, n_chosen, few)
        assert_array_equal(few[:n_chosen], (centroids @ row)[::-1][2 : 2 + n_chosen])
        assert_array_equal(few[n_chosen:], few[n_chosen - 1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_least_number(dtype: str) -> None:
    numbers = np.zeros(64, dtype)
    least = called(code_vectors.least_number)
    assert least(numbers, 64) == np.inf
    numbers[[3, 40, 63]] = [5.0, -2.5, 1e-30]
    assert [least(numbers, n_numbers) for n_numbers in (64, 48, 32)] == [numbers[63], 2.5, 5.0]


@needs_products
def test_lanes() -> None:
    numbers = np.random.default_rng(4).permutation(64).astype(np.float32)
    lanes = slice(5, 5 + code_vectors.LANES)
    assert called(code_vectors.greatest_lane)(numbers, 5) == numbers[lanes].max()
    above = called(code_vectors.lanes_above)(numbers, 5, np.float32(30))
    assert above == sum(1 << at for at, number in enumerate(numbers[lanes]) if number >= 30)
    assert [called(code_vectors.lowest_bit)(mask) for mask in (1, 8, 40)] == [0, 3, 3]


@needs_products
@pytest.mark.parametrize("n_quads", [1, 5, 16])
def test_scores_of_codes(n_quads: int) -> None:
    rng = np.random.default_rng(5)
    n_rows, n_columns, most = code_vectors.CODED_ROWS, code_vectors.CODED_BLOCK, 3
    rows = rng.integers(-most, most + 1, (n_rows, 4 * n_quads)).astype(np.int8)
    there = rng.integers(-most, most + 1, (n_columns, 4 * n_quads))
    unsigned = (there + code_vectors.CENTRE).astype(np.uint8).reshape(n_columns, n_quads, 4)
    blocks = np.ascontiguousarray(unsigned.transpose(1, 0, 2)).view(np.int32).ravel()
    starts = (-code_vectors.CENTRE * rows.sum(axis=1, dtype=np.int64)).astype(np.int32)
    scales, biases = (eighths(rng, n_columns, np.float32) for _ in range(2))
    of_rows, of_block = eighths(rng, (n_rows, 3), np.float32), eighths(rng, 3, np.float32)
    scores = np.empty(n_rows * n_columns, np.float32)
    tops = np.empty(n_rows * code_vectors.LANES, np.float32)
    lows = np.full(n_rows * code_vectors.LANES, -np.inf, np.float32)
    called(code_vectors.score_codes)(
        *(scores, rows.ravel(), 4 * n_quads, n_quads, 0, starts, of_rows.ravel(), blocks, 0),
        *(scales, biases, of_block, 0, n_columns, tops, lows),
    )
    expected = (rows.astype(int) @ there.T) * scales + biases * of_rows[:, :1]
    assert_array_equal(scores.reshape(n_rows, n_columns), expected)
    greatest = expected.reshape(n_rows, -1, code_vectors.LANES).max(axis=1)
    error = (of_rows * of_block).sum(axis=1, keepdims=True)
    assert_array_equal(tops.reshape(n_rows, -1), greatest + error)
    assert_array_equal(lows.reshape(n_rows, -1), greatest - error)


@needs_products
@pytest.mark.parametrize("width", [64, 128])
def test_candidates_that_may_be_nearer(width: int) -> None:
    rng = np.random.default_rng(6)
    near, most = code_vectors.NEAR, 3
    rows = rng.integers(-most, most + 1, (5, width)).astype(np.int8)
    there = rng.integers(-most, most + 1, (2 * near, width))
    unsigned = (there + code_vectors.CENTRE).astype(np.uint8).view(np.int8)
    of_rows, numbers = (eighths(rng, shape, np.float32) for shape in ((5, 4), (2, 4, near)))
    numbers[0, 3, 2], numbers[1, 0, 5] = np.inf, np.nan
    scale, lengths, lost, limits = numbers[1]
    start = -code_vectors.CENTRE * int(rows[3].sum(dtype=np.int64))
    mask = called(code_vectors.may_be_nearer)(
        *(of_rows.ravel(), 3, np.float32(0.5), rows.ravel(), width, start),
        *(unsigned.ravel(), numbers.ravel(), 1),
    )
    upper = (there[near:] @ rows[3].astype(int)) * of_rows[3, 0] * scale
    upper = upper + of_rows[3, 1] * lengths + of_rows[3, 2] * lost
    assert mask == sum(1 << at for at in range(near) if not upper[at] <= 0.5 + limits[at])
    assert mask >> 5 & 1  # NaN proves nothing


@needs_products
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 64, 67, 512])
def test_products_of_codes_and_two_planes(n_features: int, dtype: str) -> None:
    rng = np.random.default_rng(7)
    n_rows, width = 3 * code_vectors.PLANE_ROWS, -(-n_features // 64) * 64
    most, plane = 2 * code_vectors.CENTRE**2 - 1, 2 * code_vectors.CENTRE
    rows = rng.integers(-127, 128, (n_rows, width)).astype(np.int8)  # with whatever fills them
    rows[:2, :n_features] = [[127], [-127]]
    there = rng.integers(-most, most + 1, n_features)
    there[: n_features // 2] = most
    planes = np.zeros((2, width), np.uint8)
    planes[:, :n_features] = np.divmod(there + most + 1, plane)
    scales = (2.0 ** rng.integers(-4, 5, n_rows)).astype(dtype)
    here = rows[:, :n_features].astype(np.int64)
    products, sums = np.empty(n_rows, dtype), here.sum(axis=1).astype(np.int32)
    for row in range(0, n_rows, code_vectors.PLANE_ROWS):
        called(code_vectors.measure_planes)(
            products, rows.ravel(), row, width, scales, sums, planes.ravel()
        )
    assert_array_equal(products, (here @ there * scales.astype(np.float64)).astype(dtype))


@needs_products
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", WIDTHS)
def test_rows_on_axes_and_what_is_left(n_features: int, dtype: str) -> None:
    rng = np.random.default_rng(6)
    n_rows, width, n_axes, n_columns = 2 * head_vectors.PROJECTED, 128, 5, 16
    rows, axes = np.zeros((n_rows, width), dtype), np.zeros((n_axes, width), dtype)
    rows[:, :n_features] = eighths(rng, (n_rows, n_features), dtype)
    axes[:, :n_features] = rng.integers(-1, 2, (n_axes, n_features))
    columns = np.zeros((n_features, n_columns), dtype)
    columns[:, :n_axes] = axes[:, :n_features].T
    projected, squares = np.empty((n_rows, n_columns), dtype), np.empty(n_rows, dtype)
    for first in range(0, n_rows, head_vectors.PROJECTED):
        called(head_vectors.project_rows)(
            *(rows.ravel(), first, width, n_features, columns.ravel(), n_columns),
            projected.ravel(),
        )
    assert_array_equal(projected[:, :n_axes], rows @ axes.T)
    assert not projected[:, n_axes:].any()
    products = (rng.integers(-8, 9, projected.shape) / 8).astype(dtype)
    for first in range(0, n_rows, head_vectors.PROJECTED):
        called(head_vectors.add_rests)(
            *(rows.ravel(), first, width, n_features, axes.ravel(), n_axes, products.ravel()),
            *(n_columns, squares),
        )
    assert_array_equal(squares, np.square(rows - products[:, :n_axes] @ axes).sum(axis=1))


@needs_products
@pytest.mark.parametrize("width", [2, 10, 34])
def test_scores_of_heads(width: int) -> None:
    rng = np.random.default_rng(7)
    n_rows, n_columns = code_vectors.CODED_ROWS, code_vectors.CODED_BLOCK
    rows, there = (rng.integers(-30, 31, (n, width), np.int16) for n in (2 * n_rows, 2 * n_columns))
    rows[0], there[0] = -23170 // np.sqrt(width), 23170 // np.sqrt(width)
    words = there.view(np.int32)
    blocks = np.concatenate([words[:n_columns].T.ravel(), words[n_columns:].T.ravel()])
    mine = eighths(rng, (2 * n_rows, 3), np.float32)
    theirs = eighths(rng, (2 * n_columns, head_vectors.N_BLOCK_NUMBERS), np.float32)
    numbers = np.concatenate([theirs[:n_columns].T.ravel(), theirs[n_columns:].T.ravel()])
    scores = np.empty((2 * n_rows, 2 * n_columns), np.float32)
    tops = np.empty((2 * n_rows, 2 * code_vectors.LANES), np.float32)
    for first in (0, n_rows):
        for block in (0, 1):
            called(head_vectors.score_heads)(
                *(scores.ravel(), rows.ravel(), width, first, mine.ravel(), blocks, numbers),
                *(block, block, 2 * n_columns, tops.ravel()),
            )
    products = rows.astype(np.int64) @ there.T.astype(np.int64)
    expected = (products * theirs[:, 0] + mine @ theirs[:, 1:].T).astype(np.float32)
    assert_array_equal(scores[1:, 1:], expected[1:, 1:])
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1.0)  # some need 30 bits
    greatest = scores.reshape(2 * n_rows, 2, -1, code_vectors.LANES).max(axis=2)
    assert_array_equal(tops, greatest.reshape(2 * n_rows, -1))
    top = called(head_vectors.greatest_of)(tops.ravel(), 0, 2 * code_vectors.LANES)
    assert top == scores[0].max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_empty", [False, True])
@pytest.mark.parametrize("n_features", [*WIDTHS, 200])
def test_write_mean(n_features: int, is_empty: bool, dtype: str) -> None:
    rng, mass = np.random.default_rng(0), 3.0
    sums, old = rng.random(n_features + 2), rng.random(n_features + 5).astype(dtype)
    new, shifts, parts = np.full_like(old, NOISE), *rng.random((2, mean_vectors.UPDATED))
    found_shifts, found_parts = shifts.copy(), parts.copy()
    called(mean_vectors.write_mean)(
        *(new, 4, n_features, sums, 1, old, mass, 1.0 / mass, is_empty),
        *(found_shifts, found_parts),
    )
    total, given = sums[1:-1], old[4:-1]
    mean = (total / mass if dtype == "float64" else total * (1.0 / mass)).astype(dtype)
    mean = given if is_empty else mean
    assert_array_equal(new[4:-1], mean)
    assert (new[[0, 1, 2, 3, -1]] == NOISE).all()
    before = given.astype(np.float64)
    moved, explained = mean - before, before * (2.0 * total - mass * before)
    for feature in range(n_features):
        shifts[feature % mean_vectors.UPDATED] += moved[feature] * moved[feature]
        parts[feature % mean_vectors.UPDATED] += explained[feature]
    assert_array_equal(found_shifts, shifts)
    assert_array_equal(found_parts, parts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", WIDTHS)
def test_moments_and_copies_of_scaled_rows(n_features: int, dtype: str) -> None:
    rng, width = np.random.default_rng(0), sphere_vectors.moments_width(n_features)
    points = eighths(rng, (5, n_features), dtype)
    factors, weights = 2.0 ** rng.integers(-1, 2, 5).astype(dtype), np.array([0.25, 2.0, 1.0])
    given = rng.integers(0, 9, (2, 2, width)) / 8.0
    moments, scaled = given.copy(), np.full((5, n_features), NOISE, dtype)
    called(sphere_vectors.add_moments_of_rows)(
        *(points, 1, 4, factors, weights, n_features, moments, 2 * width, width)
    )
    rows = (points * factors[:, None]).astype(np.float64)
    for found, before, numbers in zip(moments[1], given[1], (rows, rows * rows), strict=True):
        added = before[:n_features] + weights @ numbers[1:4]
        assert_array_equal(found, np.append(added, before[n_features:]))
    assert_array_equal(moments[0], given[0])
    called(sphere_vectors.scale_row)(points, 1, factors[1], n_features, scaled)
    assert_array_equal(scaled[1], rows[1])
    assert (scaled[[0, 2, 3, 4]] == NOISE).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", WIDTHS)
def test_factors_of_rows(n_features: int, dtype: str) -> None:
    rng, most = np.random.default_rng(0), sphere_vectors.FACTORS
    points = eighths(rng, (most + 3, n_features), dtype)
    points[:, 0] = 1.0  # no row is zero
    lengths = np.sqrt(np.square(points, dtype=np.float64).sum(axis=1))
    for n_rows in (1, most - 1, most):
        factors = np.full(most + 2, NOISE, dtype)
        assert called(sphere_vectors.write_factors)(points, 2, n_rows, n_features, factors, 1)
        expected = (RADIUS / lengths[2 : 2 + n_rows]).astype(dtype)
        assert_array_equal(factors[1 : 1 + n_rows], expected)
        assert factors[0] == NOISE
        assert (factors[1 + n_rows :] == NOISE).all()
    least = np.finfo(dtype).smallest_subnormal
    for number in (0.0, least, np.inf, np.nan):
        points[3] = number
        assert not called(sphere_vectors.write_factors)(points, 2, most, n_features, factors, 1)
        assert factors[2] == 0.0
        assert_array_equal(np.delete(factors[1 : 1 + most], 1), np.delete(expected, 1))


@pytest.mark.parametrize(
    ("panel_dtype", "dtype"),
    [("float32", "float32"), ("float64", "float64"), ("float32", "float64")],
)
@pytest.mark.parametrize("n_members", range(1, sparse_vectors.UNIT + 1))
def test_pack_unit(n_members: int, panel_dtype: str, dtype: str) -> None:
    rng, unit = np.random.default_rng(0), sparse_vectors.UNIT
    n_lanes, width = 8 * sparse_vectors.LANES // np.dtype(dtype).itemsize, 3 * unit
    centroids = np.full((1 + n_members, n_lanes + 5), NOISE, dtype)
    centroids[1:, 3 : 3 + n_lanes] = rng.random((n_members, n_lanes))
    origin = rng.random(n_lanes + 5).astype(dtype)
    panel, norms = np.full(2 + n_lanes * width, NOISE, panel_dtype), rng.random(1 + unit)
    found = norms.copy()
    called(sparse_vectors.pack_unit)(
        *(centroids, 1, n_members, 3, origin, panel, 2, width, found),
    )
    given = np.zeros((n_lanes, unit))
    given[:, :n_members] = centroids[1:, 3 : 3 + n_lanes].T
    laid_out = panel[2:].reshape(n_lanes, width)
    assert_array_equal(laid_out[:, :unit], given.astype(panel_dtype))
    assert (laid_out[:, unit:] == NOISE).all()
    assert (panel[:2] == NOISE).all()
    for numbers, about in zip(given, origin[3 : 3 + n_lanes].astype(np.float64), strict=True):
        norms[1:] += numbers * (0.5 * numbers + about)
    assert_array_equal(found, norms)
