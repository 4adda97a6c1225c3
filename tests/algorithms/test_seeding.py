"""With the same seed, every library chooses the same rows as scikit-learn."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import sklearn.cluster

from conftest import Library
from kmeans_xp import KMeans, MiniBatchKMeans, algorithms, kmeans_plusplus
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.devices import why_numba_is_unusable
from kmeans_xp.kernels import DenseRows
from tests import oracle
from tests.assertions import PRECISIONS
from tests.datasets import blobs, cloud, positive_weights

pytestmark = pytest.mark.sampled(1, cupy=2)


def chosen(library: Library, *args: Any, **kwargs: Any) -> list[int]:
    _, indices = kmeans_plusplus(*args, **kwargs)
    return library.to_host(indices).tolist()


def first_difference(ours: list[int], theirs: list[int]) -> int | None:
    return next(
        (i for i, pair in enumerate(zip(ours, theirs, strict=True)) if len({*pair}) > 1), None
    )


def assert_same_rows(
    ours: list[int],
    theirs: list[int],
    host: np.ndarray,
    weights: np.ndarray | None,
    rtol: float = 1e-9,
) -> None:
    """The rows are equal up to a choice between two that leave the same inertia.

    Two candidates that are each other's nearest neighbours do, in exact arithmetic, and
    rounding decides which of them is the better.
    """
    step = first_difference(ours, theirs)
    if step is None:
        return
    weights = np.ones(len(host)) if weights is None else weights
    potentials = [
        float(weights @ oracle.sq_distances(host, host[rows[: step + 1]]).min(axis=1))
        for rows in (ours, theirs)
    ]
    assert potentials[0] == pytest.approx(potentials[1], rel=rtol), f"row {step} differs"


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_clusters", [1, 2, 19])
def test_starts_of_several_runs_are_those_of_each_in_turn(
    n_clusters: int, weighted: bool, library: Library
) -> None:
    host = cloud(140, 3)
    weights = library.asarray(positive_weights(140), "float32") if weighted else None
    rows = DenseRows(library.asarray(host, "float32"), weights)
    blocks = InMemory(rows, xp=library.xp)
    together, in_turn = np.random.RandomState(0), np.random.RandomState(0)
    found = list(algorithms.kmeans_plusplus_starts(blocks, n_clusters, together, 4))
    assert len(found) == 4
    for start in found:
        alone = algorithms.kmeans_plusplus(blocks, n_clusters, in_turn).centroids
        np.testing.assert_array_equal(library.to_host(start), library.to_host(alone))
    assert together.random_sample() == in_turn.random_sample()


@pytest.mark.sampled(1, cupy=4)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_clusters", [1, 2, 7, 25])
def test_kmeans_plusplus_chooses_scikit_learns_rows(
    n_clusters: int, weighted: bool, dtype: str, library: Library
) -> None:
    weights = positive_weights(150) if weighted else None
    for seed in range(6):
        host = cloud(150, 3, seed=seed)
        params: dict[str, Any] = {"sample_weight": weights, "random_state": seed}
        _, theirs = sklearn.cluster.kmeans_plusplus(host, n_clusters, **params)
        points = library.asarray(host, dtype)
        ours = chosen(library, points, n_clusters, **params)
        rtol = 1e-5 if dtype == "float32" else 1e-9
        assert_same_rows(ours, theirs.tolist(), host, weights, rtol)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_kmeans_plusplus_chooses_the_loop_oracles_rows(dtype: str, library: Library) -> None:
    host, weights = cloud(60, 3), positive_weights(60)
    for seed in range(4):
        uniforms = np.random.RandomState(seed).random_sample(1 + 6 * 3)
        first = int(np.searchsorted(np.cumsum(weights), uniforms[0] * weights.sum(), side="right"))
        expected = oracle.greedy_kmeans_plusplus(host, weights, first, uniforms[1:].reshape(6, 3))
        points = library.asarray(host, dtype)
        params: dict[str, Any] = {"sample_weight": weights, "random_state": seed}
        assert chosen(library, points, 7, n_local_trials=3, **params) == expected


@pytest.mark.parametrize("n_trials", [1, 2, 10])
def test_the_number_of_trials_counts_as_in_scikit_learn(n_trials: int, library: Library) -> None:
    host = cloud(150, 3)
    params: dict[str, Any] = {"n_local_trials": n_trials, "random_state": 4}
    _, theirs = sklearn.cluster.kmeans_plusplus(host, 6, **params)
    assert chosen(library, library.asarray(host, "float32"), 6, **params) == theirs.tolist()


def test_many_seeds_choose_scikit_learns_rows() -> None:
    n_ties = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n_points, n_clusters = int(rng.integers(1, 60)), int(rng.integers(1, 12))
        host = rng.normal(size=(n_points, int(rng.integers(1, 6))))
        n_clusters = min(n_clusters, n_points)
        params: dict[str, Any] = {
            "sample_weight": rng.uniform(0.1, 3.0, n_points) if seed % 2 else None,
            "random_state": seed,
        }
        _, theirs = sklearn.cluster.kmeans_plusplus(host, n_clusters, **params)
        _, ours = kmeans_plusplus(host, n_clusters, **params)
        assert_same_rows(ours.tolist(), theirs.tolist(), host, params["sample_weight"])
        n_ties += ours.tolist() != theirs.tolist()
    assert n_ties < 10


def test_every_library_chooses_numpys_rows_far_from_zero(library: Library) -> None:
    # scikit-learn itself loses its digits here: float64 says which rows are right.
    host = (cloud(300, 8) + 1e4).astype(np.float32)
    for seed in range(5):
        expected = kmeans_plusplus(host.astype(np.float64), 8, random_state=seed)[1].tolist()
        assert chosen(library, library.asarray(host), 8, random_state=seed) == expected


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_of_candidates_that_are_as_good_the_first_is_chosen(dtype: str, library: Library) -> None:
    # The rows lie in pairs. Two candidates of a pair leave the same inertia, so that rounding
    # would choose between them, in another way on every library.
    rng = np.random.default_rng(0)
    pairs = rng.normal(scale=10.0, size=(10, 3)).repeat(2, axis=0)
    host = (pairs + rng.normal(size=(20, 3))).astype(np.float32).astype(np.float64)
    points = library.asarray(host, dtype)
    for seed in range(12):
        expected = kmeans_plusplus(host, 10, random_state=seed)[1].tolist()
        assert chosen(library, points, 10, random_state=seed) == expected


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_rows_without_weight_are_never_chosen(dtype: str, library: Library) -> None:
    host = cloud(60, 2)
    points = library.asarray(host, dtype)
    weights = np.zeros(60)
    allowed = [3, 17, 31, 42, 59]
    weights[allowed] = [1.0, 0.5, 2.0, 1.0, 4.0]
    for seed in range(10):
        params: dict[str, Any] = {"sample_weight": weights, "random_state": seed}
        assert set(chosen(library, points, 5, **params)) <= set(allowed)
        estimator = KMeans(5, init="random", n_init=1, max_iter=1, random_state=seed)
        estimator.fit(points, sample_weight=weights)
        assert estimator.inertia_ == 0.0


def test_a_row_far_from_all_others_is_chosen(library: Library) -> None:
    host = cloud(200, 2)
    host[77] = 1e4
    points = library.asarray(host, "float32")
    for seed in range(5):
        assert 77 in chosen(library, points, 3, random_state=seed)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_separated_blobs_are_each_given_a_seed(dtype: str, library: Library) -> None:
    host, truth = blobs()
    points = library.asarray(host, dtype)
    for seed in range(5):
        rows = chosen(library, points, 5, random_state=seed, n_local_trials=8)
        assert sorted(truth[rows]) == [0, 1, 2, 3, 4]


def started_from(library: Library, host: np.ndarray, n_clusters: int, **params: Any) -> Any:
    """Return the rows that init="random" began with."""
    seen = []

    class Recording(KMeans):
        def _initial_centroids(self, init: Any, blocks: Any, data: Any, *others: Any) -> Any:
            centroids = super()._initial_centroids(init, blocks, data, *others)
            seen.append(library.to_host(centroids + data.origin))
            return centroids

    sample_weight = params.pop("sample_weight", None)
    Recording(n_clusters, init="random", max_iter=1, **params).fit(
        library.asarray(host), sample_weight=sample_weight
    )
    return seen


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n_points", "n_clusters"), [(3, 3), (8, 7), (20, 12), (500, 30)])
def test_random_rows_are_those_of_numpys_choice(
    n_points: int, n_clusters: int, weighted: bool, library: Library
) -> None:
    # With few rows most draws collide, and what is drawn next depends on what was drawn.
    host = np.arange(n_points, dtype=np.float32)[:, None]
    weights = positive_weights(n_points) if weighted else np.ones(n_points)
    for seed in range(8):
        random_state = np.random.RandomState(seed)
        shares = weights / weights.sum()
        expected = [
            random_state.choice(n_points, size=n_clusters, replace=False, p=shares)
            for _ in range(2)
        ]
        begun = started_from(
            library,
            host,
            n_clusters,
            random_state=seed,
            n_init=2,
            sample_weight=weights if weighted else None,
        )
        assert [np.rint(rows[:, 0]).tolist() for rows in begun] == [
            rows.tolist() for rows in expected
        ]


def test_random_rows_are_different_rows(library: Library) -> None:
    host = np.arange(40, dtype=np.float32)[:, None]
    for seed in range(10):
        (begun,) = started_from(library, host, 40, random_state=seed, n_init=1)
        assert sorted(np.rint(begun[:, 0]).tolist()) == list(range(40))


def test_too_few_rows_with_weight_is_one_clear_error(library: Library) -> None:
    weights = np.zeros(30)
    weights[:4] = 1.0
    points = library.asarray(cloud(30), "float32")
    with pytest.raises(
        ValueError, match=r"Only 4 rows have a positive sample_weight.*n_clusters=5"
    ):
        KMeans(5, init="random", random_state=0).fit(points, sample_weight=weights)


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_a_generator_is_advanced(init: str, make: Any, library: Library) -> None:
    points = library.asarray(cloud(), "float32")

    def labels(random_state: Any, estimator: type = KMeans) -> list[int]:
        fitted = estimator(6, init=init, n_init=1, max_iter=1, random_state=random_state)
        return library.to_host(fitted.fit(points).labels_).tolist()

    shared = make(0)
    first, second = labels(shared), labels(shared)
    assert first != second
    again = make(0)
    assert [labels(again), labels(again)] == [first, second]
    assert labels(make(1), MiniBatchKMeans) == labels(make(1), MiniBatchKMeans)


def test_an_int_and_its_random_state_choose_the_same_rows(library: Library) -> None:
    points = library.asarray(cloud(), "float32")
    by_int = chosen(library, points, 6, random_state=7)
    assert chosen(library, points, 6, random_state=np.random.RandomState(7)) == by_int
    assert chosen(library, points, 6, random_state=8) != by_int


def test_no_seed_takes_numpys_own_state(library: Library) -> None:
    points = library.asarray(cloud(), "float32")
    state = np.random.get_state()  # noqa: NPY002 (what random_state=None means in scikit-learn)
    try:
        np.random.seed(11)  # noqa: NPY002
        unseeded = chosen(library, points, 6)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    assert unseeded == chosen(library, points, 6, random_state=11)


@pytest.mark.parametrize("weighted", [False, True])
def test_at_most_two_distances_are_held_for_each_row(weighted: bool) -> None:
    if why_numba_is_unusable():
        pytest.skip("portable draws keep a running total of all rows")
    n_points = 200_000
    points = cloud(n_points, 4)
    weights = positive_weights(n_points) if weighted else None
    kmeans_plusplus(points, 5, sample_weight=weights, random_state=0)  # compiles
    tracemalloc.start()
    try:
        kmeans_plusplus(points, 5, sample_weight=weights, random_state=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.2 * n_points * points.itemsize
