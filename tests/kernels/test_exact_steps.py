"""Steps of two clusters that add only rows that move have the bits of single steps."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from kmeans_xp.kernels import (
    DenseRows,
    StepsInOneCall,
    lloyd_steps,
    means_on_sphere,
    update_centroids,
)

pytest.importorskip("numba", reason="about what it compiles")

from kmeans_xp.kernels.for_numba import exact_steps, stepping
from tests.kernels.single_steps import assert_bits_of_single_steps, noted

Host = NDArray[Any]
SINGLE = np.dtype(np.float32)


@pytest.fixture(params=[1, 2, 4])
def numbers_of_steps(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[int]]:
    """Note how many steps each call takes, also where threads have no processor of their own."""
    monkeypatch.setattr(exact_steps, "_ROWS_OF_A_PART", 150)
    monkeypatch.setattr(exact_steps.share_exact_steps, "pays", lambda *_: True)
    with noted(monkeypatch, exact_steps, "exact_steps_in_threads", request.param) as taken:
        yield taken


def compare(rows: DenseRows, pair: Host, tol: float = 0.0) -> int:
    """Compare steps in a call with single ones, and return their number."""
    taken = stepping.steps_in_a_call(rows, pair, 20, tol, update_centroids)
    return assert_bits_of_single_steps(taken, rows, pair)


@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 5, 8, 13, 16, 31])
@pytest.mark.parametrize("n_points", [2, 63, 64, 65, 1000, 20_000])
def test_steps_have_the_bits_of_single_ones(
    n_points: int, n_features: int, numbers_of_steps: list[int]
) -> None:
    points = np.random.default_rng(n_points).random((n_points, n_features)).astype(SINGLE)
    rows = DenseRows(points, None, points.mean(axis=0))
    n_taken = compare(rows, points[:2] - rows.origin)
    is_short = stepping.pairs_for(2, n_features, SINGLE) == 0
    assert numbers_of_steps == ([n_taken] if is_short else [])


def test_of_equal_scores_the_first_wins(numbers_of_steps: list[int]) -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(-2, 3, (900, 3)).astype(SINGLE)
    n_taken = compare(DenseRows(points), np.asarray([[-1, 0, 0], [1, 0, 0]], SINGLE))
    assert numbers_of_steps == [n_taken]


def test_means_on_a_sphere_are_not_plain_ones(numbers_of_steps: list[int]) -> None:
    points = np.random.default_rng(0).standard_normal((500, 4)).astype(SINGLE)
    points /= np.sqrt(2 * np.square(points).sum(axis=1, keepdims=True))
    taken = stepping.steps_in_a_call(DenseRows(points), points[:2].copy(), 3, 0.0, means_on_sphere)
    assert numbers_of_steps == []
    lengths = np.square(taken.update.centroids).sum(axis=2)
    np.testing.assert_allclose(lengths, 0.5, rtol=1e-6)


def test_a_step_that_leaves_a_cluster_empty_is_the_last(numbers_of_steps: list[int]) -> None:
    points = np.random.default_rng(0).random((500, 4)).astype(SINGLE)
    compare(DenseRows(points), np.stack([points[0], points[0] + 100]))
    assert numbers_of_steps == [1]


@pytest.mark.parametrize("case", ["fine", "not a number", "infinite"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_sums_that_are_not_exact_are_left_to_plain_steps(
    case: str, numbers_of_steps: list[int]
) -> None:
    points = np.random.default_rng(0).random((500, 4)).astype(SINGLE)
    points[321, 2] = {"fine": 1e-20 / 3.0, "not a number": np.nan, "infinite": np.inf}[case]
    rows, pair = DenseRows(points), points[:2].copy()
    taken = stepping.steps_in_a_call(rows, pair, 3, 0.0, update_centroids)
    assert numbers_of_steps == [0]
    single = lloyd_steps.portable(rows, pair, 1, 0.0, update_centroids, xp=np)
    assert_array_equal(taken.totals.sums[0], single.totals.sums[0])


def test_sums_that_outgrow_the_first_rows_are_left_to_plain_steps(
    numbers_of_steps: list[int],
) -> None:
    rng = np.random.default_rng(0)
    points = rng.random((4000, 4))
    points[:, 0] *= 1e-4
    points[32:, 0] *= np.where(rng.random(3968) < 0.5, 1.0, 1e9)
    points[:, 1:] = rng.random((4000, 3))
    pair = np.asarray([[1e3, 0.0, 0.5, 0.5], [1e3, 0.1, 0.5, 0.5]], SINGLE)
    compare(DenseRows(points.astype(SINGLE)), pair)
    assert numbers_of_steps == [0]


@pytest.mark.parametrize("case", ["weights", "float64", "another order", "three clusters"])
def test_other_rows_take_plain_steps(case: str, numbers_of_steps: list[int]) -> None:
    points = np.random.default_rng(0).random((500, 4)).astype(SINGLE)
    weights = np.ones(500, SINGLE) if case == "weights" else None
    points = points.astype(np.float64) if case == "float64" else points
    points = np.asfortranarray(points) if case == "another order" else points
    n_clusters = 3 if case == "three clusters" else 2
    compare(DenseRows(points, weights), np.ascontiguousarray(points[:n_clusters]))
    assert numbers_of_steps == []


def test_a_call_takes_more_steps_than_others_do(numbers_of_steps: list[int]) -> None:
    """What it prepares serves all of them."""
    points = np.random.default_rng(0).random((20_000, 8)).astype(SINGLE)
    rows = DenseRows(points, None, points.mean(axis=0))
    pair = points[:2] - rows.origin

    def reduce(steps: Any, *given: Any) -> Any:
        return steps(rows, *given, xp=np)

    steps = StepsInOneCall(reduce, 0.0, update_centroids, xp=np)
    for n_left, n_most in ((20, 20), (300, 64)):
        steps.take(pair.copy(), n_left=n_left)
        assert 16 < numbers_of_steps[-1] <= n_most
