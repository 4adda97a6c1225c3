"""Labels of two clusters by one product for each row are those of the dense kernel."""

from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from numpy.typing import NDArray

from kmeans_xp.kernels import DenseRows, SphereRows, lloyd_step, nearest_labels, sphere_factors
from tests.certified_problems import KINDS, problem_of
from tests.chain import chain_labels, of_tenths

numba = pytest.importorskip("numba", reason="about kernels that numba compiles")

from kmeans_xp.kernels.for_numba import assignment, tiling, two_clusters  # noqa: E402
from kmeans_xp.kernels.for_numba.assignment import Groups  # noqa: E402
from kmeans_xp.kernels.for_numba.emitted.vectors import MULTIPLY_ADD  # noqa: E402
from kmeans_xp.kernels.for_numba.tiling import nothing  # noqa: E402

Host = NDArray[Any]

DTYPES = ("float32", "float64")
N_ROUNDS = 12


def by_panels(rows: Any, pair: Host) -> Host:
    """Return the labels of the dense kernel: a third centroid like the second is never the best."""
    return assignment.scored(rows, np.concatenate([pair, pair[1:]]))


def n_labelled(points: Host, pair: Host) -> int:
    """Return how many rows get labels before too many are in doubt."""
    dtype, n_features = points.dtype, points.shape[1]
    apart, numbers = np.empty(n_features, dtype), np.empty(two_clusters.N_NUMBERS)
    labels, totals = np.empty(len(points), np.int32), np.empty((0, 0))
    groups = Groups.of(pair)
    given = (points, 0, len(points), nothing(dtype), 0, np.zeros(n_features, dtype), nothing(dtype))
    two_clusters.label_pairs[dtype](
        *(*given, *groups, True, True, False, apart, numbers, labels, totals)
    )
    return int(numbers[two_clusters.N_DONE])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_labels_are_those_of_the_dense_kernel(kind: str, dtype: str) -> None:
    first = KINDS.index(kind)
    for seed in range(first, first + N_ROUNDS * len(KINDS), len(KINDS)):
        problem = problem_of(seed, 200, is_wide=seed % 2 == 1)
        points = problem.points.astype(dtype)
        origin = None if problem.origin is None else problem.origin.astype(dtype)
        centroids = problem.centroids.astype(dtype)
        pair = np.ascontiguousarray(centroids[[0, -1]])
        rows = DenseRows(points, None, origin)
        np.testing.assert_array_equal(assignment.scored(rows, pair), by_panels(rows, pair))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [32, 33, 130])
def test_ties_that_only_the_order_of_adding_breaks(n_features: int, dtype: str) -> None:
    points, origin, pair = of_tenths(400, (n_features, 2), dtype, 0)
    labels = nearest_labels(DenseRows(points, None, origin), pair, xp=xp)
    expected = chain_labels(points, origin, pair, is_fused=MULTIPLY_ADD == "fma")
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_any_length_and_layout(dtype: str) -> None:
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((1001, 80)).astype(dtype)
    weights = rng.random(1001).astype(dtype)
    lengths = 10.0 ** rng.uniform(-3, 3, (1001, 1))
    points = (wide[:, :40] * lengths).astype(dtype)
    scaled = SphereRows(points, weights)
    for rows in (
        DenseRows(np.asfortranarray(wide[:, :40]), weights),
        DenseRows(wide[:, :80:2], weights, wide[0, :40].copy()),
        DenseRows(wide[:3, :40].copy()),
        scaled,
        scaled._replace(factors=sphere_factors(DenseRows(points), xp=xp)),
    ):
        pair = np.ascontiguousarray(rows.centred()[:2])
        labels = by_panels(rows, pair)
        np.testing.assert_array_equal(nearest_labels(rows, pair, xp=xp), labels)
        step, added = lloyd_step(rows, pair, xp=xp), assignment.added_row_by_row(rows, labels, 2)
        np.testing.assert_allclose(step.sums, added.sums, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("of_pair", "of_rows"), [(1e-165, 1.0), (1e-170, 1e-100), (1e-200, 1e100)])
def test_lengths_of_centroids_that_vanish_prove_nothing(of_pair: float, of_rows: float) -> None:
    rng = np.random.default_rng(0)
    rows = DenseRows(rng.standard_normal((4_000, 64)) * of_rows)
    pair = rng.standard_normal((2, 64)) * of_pair
    pair[1] = pair[0] * (1.0 + 1e-15)
    np.testing.assert_array_equal(nearest_labels(rows, pair, xp=xp), by_panels(rows, pair))


@pytest.mark.parametrize("dtype", DTYPES)
def test_few_rows_are_in_doubt(dtype: str) -> None:
    points = np.random.default_rng(0).standard_normal((4_000, 128)).astype(dtype)
    assert n_labelled(points, points[:2]) == 4_000


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_centroids_leave_all_rows_in_doubt(dtype: str) -> None:
    points = np.random.default_rng(0).standard_normal((100, 128)).astype(dtype)
    assert n_labelled(points, points[[5, 5]]) == 0


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("n_features", [32, 37, 64, 130, 200])
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_are_added_in_their_order(dtype: str, n_features: int, is_weighted: bool) -> None:
    """Also where rows in doubt begin in the middle of a tile, and other ways label the rest."""
    rng = np.random.default_rng(n_features)
    points = rng.lognormal(0.0, 3.0, (1_003, n_features)).astype(dtype)
    weights = rng.random(1_003).astype(dtype) if is_weighted else None
    origin, pair = points.mean(axis=0), points[:2] - points[2]
    halfway, n_block = points.copy(), tiling.rows_of_a_block.py_func(n_features, points.itemsize)
    halfway[500:] = (origin + pair.mean(axis=0)).astype(dtype)
    for some in (points, halfway, points[:3], points[:5]):
        some_weights = None if weights is None else weights[: len(some)]
        rows = DenseRows(some, some_weights, origin)
        labels, step = nearest_labels(rows, pair, xp=xp), lloyd_step(rows, pair, xp=xp)
        np.testing.assert_array_equal(labels, by_panels(rows, pair))
        expected, block = np.zeros((2, 2, n_features + 1))
        mass = np.ones(len(some), dtype) if weights is None else some_weights
        for number, row in enumerate(rows.centred()):
            label, weight = labels[number], np.float64(mass[number])
            # As fused multiply-adds do: the product of float64 numbers is not rounded alone.
            block[label, :-1] += weight * row.astype(np.float64)
            block[label, -1] += weight
            if number % n_block == n_block - 1 or number == len(some) - 1:
                expected += block
                block[:] = 0.0
        np.testing.assert_array_equal(step.mass, expected[:, -1])
        if is_weighted and dtype == "float64":
            np.testing.assert_allclose(step.sums, expected[:, :-1], rtol=1e-12)
        else:
            assert step.sums.tobytes() == expected[:, :-1].tobytes()
