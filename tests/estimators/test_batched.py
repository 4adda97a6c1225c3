"""k_means_batched is bit-identical to k_means for each problem."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from conftest import Library
from kmeans_xp import config_context, k_means, k_means_batched
from kmeans_xp.algorithms import best_of, more_centroids, runs_from, uniforms_of_more
from kmeans_xp.devices import choose, why_numba_is_unusable
from kmeans_xp.estimators.batched import problem_options
from kmeans_xp.estimators.preparation import prepared
from kmeans_xp.kernels import solved_at_once
from tests.assertions import PRECISIONS, assert_at_home
from tests.datasets import nearly_equal

pytestmark = pytest.mark.sampled(1, cupy=2)

Host = NDArray[Any]


#: the squares of the second problem's rows are too large for float32
FAR_APART = (np.eye(50)[None, :, :3] * np.array([1.0, 1e25])[:, None, None]).astype(np.float32)


def problems(shape: tuple[int, int, int], dtype: str, seed: int = 0) -> Host:
    """Return rows of clusters that touch each other, in each problem about another place."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(shape[0], 1, shape[2])) * 20.0
    groups = rng.integers(0, 3, (*shape[:2], 1)) * 2.0
    return (rng.normal(size=shape) + places + groups).astype(dtype)


def assert_each_is_its_own(
    found: Any, X: Any, library: Library, weights: Any = None, **options: Any
) -> None:
    """Compare to fits of the problems one after another, bit by bit."""
    for number in range(int(X.shape[0])):
        given = None if weights is None else weights[number, ...]
        centroids, labels, inertia, n_iter = k_means(
            X[number, ...], sample_weight=given, return_n_iter=True, **options
        )
        for one, other in ((found.centroids, centroids), (found.labels, labels)):
            np.testing.assert_array_equal(
                library.to_host(one)[number], library.to_host(other), err_msg=str(number)
            )
        assert library.to_host(found.inertia)[number] == inertia
        assert library.to_host(found.n_iter)[number] == n_iter


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_problems_that_go_round_in_a_circle_end_as_alone(dtype: str, library: Library) -> None:
    X = library.asarray(np.stack([nearly_equal(dtype, seed=seed) for seed in (0, 1, 5)]))
    options: dict[str, Any] = {"n_clusters": 11, "tol": 0.0, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = k_means_batched(X, **options)
        assert_each_is_its_own(found, X, library, **options)
    assert library.to_host(found.n_iter).max() < 300


@pytest.mark.needs("float64")
@pytest.mark.skip_library("jax", reason="takes subnormal numbers for 0")
def test_weights_out_of_range_are_told_of_as_of_a_fit(library: Library) -> None:
    X = library.asarray(problems((2, 30, 3), "float64") * 1e10)
    weights = np.ones((2, 30))
    weights[1] = 1e285
    with pytest.raises(ValueError, match=r"weights, .* too large for float64"):
        k_means_batched(X, 3, sample_weight=library.asarray(weights))
    weights[1] = 1e-315
    with pytest.warns(RuntimeWarning, match=r"weights, .* too small for float64"):
        k_means_batched(X, 3, sample_weight=library.asarray(weights))


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # by portable bodies
@pytest.mark.skip_library("jax", reason="takes subnormal numbers for 0")
def test_weights_that_draws_cannot_compare_are_told_of_as_of_a_fit(library: Library) -> None:
    X = library.asarray(problems((3, 30, 3), "float32"))
    weights = np.ones((3, 30), dtype=np.float32)
    weights[1] = 1e37
    with pytest.warns(RuntimeWarning, match=r"The largest weight, .* too large for float32"):
        k_means_batched(X, 3, sample_weight=library.asarray(weights))
    if library.name == "cupy":  # which takes smaller numbers for 0
        weights[1] = 1e-33
        with pytest.warns(RuntimeWarning, match=r"The sum of weights, .* too small for float32"):
            k_means_batched(X, 3, sample_weight=library.asarray(weights))


@pytest.mark.skip_library("array_api_strict", reason="has no float16")
@pytest.mark.parametrize("options", [{}, {"metric": "cosine"}, {"init": "k-means||"}], ids=str)
def test_half_precision_is_computed_as_in_a_fit(options: dict[str, Any], library: Library) -> None:
    host = np.random.default_rng(0).normal(size=(2, 200, 8))
    X = library.asarray(host, "float16")
    given = {"n_clusters": 4, "random_state": 0, **options}
    with config_context(compute="fastest"):  # by lent arrays too
        found = k_means_batched(X, **given)
        assert_each_is_its_own(found, X, library, **given)
    assert_at_home(found.centroids, library, "float32", (2, 4, 8))


def test_an_unsolved_problem_has_numbers() -> None:
    X = problems((4, 30, 3), "float32")
    X[2] *= np.float32(1e-19)
    with pytest.warns(RuntimeWarning, match="too small for float32") as told:
        k_means_batched(X, 3, random_state=0)
    assert len(told) == 1
    options = problem_options(X, 3, 300, 1e-4, xp=np)
    solved = solved_at_once(X, None, np.full((4, 1, 7), 0.5), None, options, xp=np)
    if solved is not None:
        assert (solved.n_iter == 0).tolist() == [False, False, True, False]
        assert (solved.centroids[2] == 0.0).all()


@pytest.mark.sampled(1, cupy=4)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("n_init", [1, 3])
def test_each_problem_has_the_bits_of_its_own_fit(
    dtype: str, is_weighted: bool, n_init: int, library: Library
) -> None:
    host = problems((3, 60, 4), dtype)
    X, weights = library.asarray(host), None
    if is_weighted:
        host_weights = np.random.default_rng(1).integers(0, 3, host.shape[:2])
        host_weights[0, 40:] = host_weights[2, :9] = 0  # problems of fewer rows
        weights = library.asarray(host_weights, dtype)
    options: dict[str, Any] = {"n_clusters": 5, "random_state": 3, "n_init": n_init}
    found = k_means_batched(X, sample_weight=weights, **options)
    assert_at_home(found.centroids, library, dtype, (3, 5, 4))
    assert_at_home(found.labels, library, "int32", (3, 60))
    assert_each_is_its_own(found, X, library, weights, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"init": "random", "n_init": 2},
        {"metric": "cosine"},
        {"max_iter": 1},
        {"max_iter": 17, "tol": 0.0},
        {"tol": 0.5},
        {"n_clusters": 1},
    ],
    ids=str,
)
def test_options_are_those_of_k_means(options: dict[str, Any], library: Library) -> None:
    X = library.asarray(problems((2, 50, 3), "float32"))
    given = {"n_clusters": 4, "random_state": 0, **options}
    assert_each_is_its_own(k_means_batched(X, **given), X, library, **given)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("shape", [(3, 60, 4), (2, 300, 17), (2, 33, 40)])
def test_runs_from_given_centroids_and_more_are_those_of_single_runs(
    shape: tuple[int, int, int], is_weighted: bool, dtype: str, library: Library
) -> None:
    xp, max_iter, n_init, numbers = library.xp, 20, 2, (3, 5)
    X = library.asarray(problems(shape, dtype))
    weights = library.asarray(np.random.default_rng(1).integers(1, 4, shape[:2]), dtype)
    seeds = [[7 * problem + run for run in range(n_init)] for problem in range(shape[0])]
    uniforms = [
        [uniforms_of_more(*numbers, np.random.RandomState(seed)).reshape(-1) for seed in own]
        for own in seeds
    ]
    own_weights = [weights[i, ...] if is_weighted else None for i in range(shape[0])]
    data = [prepared(X[i, ...], own, choose(X), "euclidean") for i, own in enumerate(own_weights)]
    given = xp.stack([each.blocks.take(library.asarray([1, 7, 20])).points for each in data])
    options = problem_options(X, numbers[1], max_iter, 1e-4, xp=xp)
    solved = solved_at_once(
        X, weights if is_weighted else None, np.asarray(uniforms), given, options, xp=xp
    )
    if solved is None:
        pytest.skip("solves problems one after another")
    for i, each in enumerate(data):
        starts = [
            more_centroids(each.blocks, given[i, ...], numbers[1], np.random.RandomState(seed))
            for seed in seeds[i]
        ]
        tol = 1e-4 * each.mean_variance
        best = best_of(runs_from(each.blocks, starts, max_iter=max_iter, tol=tol))
        assert best is not None
        for one, other in (
            (solved.centroids, best.centroids),
            (solved.labels, best.labels.whole()),
            (solved.origins, each.origin),
        ):
            np.testing.assert_array_equal(library.to_host(one)[i], library.to_host(other))
        assert float(solved.inertia[i]) == best.inertia
        assert int(solved.n_iter[i]) == len(best.iterations)


@given(
    n_points=st.sampled_from([6, 31, 32, 33, 70, 300]),
    n_features=st.sampled_from([1, 2, 8, 9, 15, 16, 17, 40]),
    n_clusters=st.sampled_from([1, 2, 5, 6]),
    is_weighted=st.booleans(),
    n_init=st.integers(1, 2),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**31 - 1),
)
def test_problems_of_any_shape(
    n_points: int,
    n_features: int,
    n_clusters: int,
    is_weighted: bool,
    n_init: int,
    dtype: str,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    X = problems((2, n_points, n_features), dtype, seed)
    X[1] = X[1].round()  # some rows are equal
    weights = rng.integers(0, 3, X.shape[:2]).astype(dtype) if is_weighted else None
    if weights is not None:
        weights[:, :6] = 1.0
    options: dict[str, Any] = {"n_clusters": n_clusters, "random_state": seed, "n_init": n_init}
    library = Library("numpy", "numpy", np, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # rows may be too few that differ
        found = k_means_batched(X, sample_weight=weights, **options)
        assert_each_is_its_own(found, X, library, weights, **options)


def test_a_problem_of_equal_rows_is_like_any_other() -> None:
    X = problems((3, 40, 2), "float64")
    X[1] = 7.0
    with pytest.warns(ConvergenceWarning, match="Number of distinct clusters"):
        found = k_means_batched(X, 3, random_state=0)
    assert found.inertia[1] == 0.0
    assert (found.n_iter > 0).all()
    alone = k_means_batched(X[[0, 2]], 3, random_state=0)
    np.testing.assert_array_equal(found.labels[[0, 2]], alone.labels)


def test_larger_problems_are_solved_in_turn() -> None:
    X = problems((2, 30_000, 3), "float32")
    options: dict[str, Any] = {"n_clusters": 4, "random_state": 0, "max_iter": 3}
    found = k_means_batched(X, **options)
    assert_each_is_its_own(found, X, Library("numpy", "numpy", np, None), **options)


def test_results_do_not_depend_on_layout_or_number_of_problems() -> None:
    X = problems((70, 40, 5), "float32")
    found = k_means_batched(X, 3, random_state=0)
    for laid_out in (np.asfortranarray(X), np.repeat(X, 2, axis=2)[:, :, ::2], X.tolist()):
        again = k_means_batched(np.asarray(laid_out, dtype=np.float32), 3, random_state=0)
        np.testing.assert_array_equal(again.labels, found.labels)
        np.testing.assert_array_equal(again.centroids, found.centroids)
    first = k_means_batched(X[:1], 3, random_state=0)
    np.testing.assert_array_equal(first.centroids[0], found.centroids[0])


def test_a_source_of_random_numbers_gives_one_int() -> None:
    X = problems((2, 40, 3), "float64")
    seed = np.random.RandomState(5).randint(2**31 - 1)
    found = k_means_batched(X, 3, random_state=np.random.RandomState(5))
    expected = k_means_batched(X, 3, random_state=seed)
    np.testing.assert_array_equal(found.centroids, expected.centroids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((4, 3))}, "n_problems, n_samples, n_features"),
        ({"X": np.zeros((2, 0, 3))}, "without zeros"),
        ({"X": np.full((2, 9, 3), np.nan)}, "NaN"),
        ({"n_clusters": 60}, "n_samples=50 should be >= n_clusters=60"),
        ({"n_clusters": 0}, "n_clusters"),
        ({"init": "nearest"}, "init"),
        ({"metric": "manhattan"}, "metric"),
        ({"sample_weight": np.ones((2, 49))}, "sample_weight.shape"),
        (
            {"sample_weight": np.stack([np.ones(50), np.zeros(50)])},
            "all are zero in 1 problems, such as 1",
        ),
        ({"sample_weight": -np.ones((2, 50))}, "Negative values"),
        ({"X": FAR_APART}, "In problem 1: The rows"),
    ],
    ids=lambda each: "" if isinstance(each, str) else next(iter(each)),
)
def test_what_cannot_be_used_is_refused(change: dict[str, Any], message: str) -> None:
    given = {"X": problems((2, 50, 3), "float64"), "n_clusters": 3, **change}
    with pytest.raises(ValueError, match=message):
        k_means_batched(given.pop("X"), random_state=0, **given)


@pytest.mark.skipif(why_numba_is_unusable() is not None, reason="only numba solves them at once")
def test_numbers_that_cannot_be_used_are_named_with_their_problem(library: Library) -> None:
    host = problems((4, 20, 3), "float32")
    weights = np.ones(host.shape[:2], dtype=np.float32)
    for place in (np.nan, np.inf):
        rows = host.copy()
        rows[2, 3, 1] = place
        with pytest.raises(ValueError, match=r"^In problem 2: Input X contains"):
            k_means_batched(library.asarray(rows), 3)
        wrong = weights.copy()
        wrong[1, 4] = place
        with pytest.raises(ValueError, match=r"^In problem 1: Input sample_weight contains"):
            k_means_batched(library.asarray(host), 3, sample_weight=library.asarray(wrong))
    wrong = weights.copy()
    wrong[2:, 4] = -1.0
    with pytest.raises(ValueError, match=r"^In problem 2: Negative values in data"):
        k_means_batched(library.asarray(host), 3, sample_weight=library.asarray(wrong))
    with pytest.raises(ValueError, match=r"many problems, got an object of type ndarray\.$"):
        k_means_batched(library.asarray(host), 3, init=host[:, :3])  # type: ignore[arg-type]


def test_problems_padded_by_zeros_are_solved_with_cosine_distances() -> None:
    rng = np.random.default_rng(5)
    X, weights = rng.normal(size=(6, 40, 3)), np.ones((6, 40))
    for number in range(6):
        X[number, 40 - number :], weights[number, 40 - number :] = 0.0, 0.0
    options: dict[str, Any] = {"random_state": 0, "metric": "cosine"}
    found = k_means_batched(X, 3, sample_weight=weights, **options)
    for number in range(6):
        centroids, labels, inertia = k_means(X[number], 3, sample_weight=weights[number], **options)
        np.testing.assert_array_equal(found.centroids[number], centroids)
        np.testing.assert_array_equal(found.labels[number], labels)
        assert found.inertia[number] == inertia
        assert np.isfinite(centroids).all()
    weights[4] = 1.0
    with pytest.raises(ValueError, match=r"In problem 4: metric='cosine' .* row 36, 37, 38, 39\."):
        k_means_batched(X, 3, sample_weight=weights, **options)


def test_numba_solves_small_problems_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one after another, which would have the same results."""
    X = problems((5, 50, 3), "float32")
    monkeypatch.setattr("kmeans_xp.estimators.batched.KMeans.fit", None)
    assert (k_means_batched(X, 3, random_state=0).n_iter > 0).all()
    assert len(solved_at_once.overrides("numpy", np.ndarray)) == 1
