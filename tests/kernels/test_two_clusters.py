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

from kmeans_xp.kernels.for_numba import assignment, two_clusters  # noqa: E402
from kmeans_xp.kernels.for_numba.assignment import Groups  # noqa: E402
from kmeans_xp.kernels.for_numba.tiling import nothing  # noqa: E402

Host = NDArray[Any]

DTYPES = ("float32", "float64")
N_ROUNDS = 12


def by_panels(rows: Any, pair: Host) -> Host:
    """Return the labels of the dense kernel: a third centroid like the second is never the best."""
    return assignment.scored(rows, np.concatenate([pair, pair[1:]]))


def are_proved(points: Host, pair: Host) -> tuple[bool, int]:
    """Return whether few rows are in doubt, and how many; the number counts only then."""
    dtype, n_features = points.dtype, points.shape[1]
    apart, numbers = np.empty(n_features, dtype), np.empty(two_clusters.N_NUMBERS)
    groups = Groups.of(pair)
    labels, doubtful = np.empty(len(points), np.int32), np.full(len(points), -1)
    two_clusters.label_pairs[dtype](
        *(points, 0, len(points), nothing(dtype), 0, np.zeros(n_features, dtype), *groups),
        *(True, apart, numbers, doubtful, labels),
    )
    return bool(numbers[two_clusters.PROVED]), int((doubtful >= 0).sum())


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
    np.testing.assert_array_equal(labels, chain_labels(points, origin, pair))


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
    rng = np.random.default_rng(0)
    points = rng.standard_normal((4_000, 128)).astype(dtype)
    is_done, n_doubtful = are_proved(points, points[:2])
    assert is_done
    assert n_doubtful < (20 if dtype == "float32" else 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_centroids_leave_all_rows_in_doubt(dtype: str) -> None:
    points = np.random.default_rng(0).standard_normal((100, 128)).astype(dtype)
    assert are_proved(points, points[[5, 5]]) == (False, 100)
