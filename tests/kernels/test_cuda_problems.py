"""Many small problems on CUDA: one grid for all, bit-identical to single fits."""

from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from conftest import Library
from kmeans_xp import KMeans, k_means_batched
from kmeans_xp.algorithms import SAME_INERTIA
from kmeans_xp.devices import choose
from kmeans_xp.estimators.preparation import prepared
from kmeans_xp.kernels import ProblemOptions, solved_at_once
from kmeans_xp.selection.fits import Search
from kmeans_xp.selection.gap import reference_rows
from kmeans_xp.selection.references import inertias_at_once
from tests.estimators.test_batched import assert_each_is_its_own, problems

pytestmark = pytest.mark.skip_library(
    *("numpy", "array_api_strict", "torch", "jax", "dpnp"), reason="is of CUDA"
)


@pytest.fixture
def counters() -> Any:
    return pytest.importorskip("cupy_on_cpu_stats", reason="needs a count of launches")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a problem is fitted by itself."""
    monkeypatch.setattr("kmeans_xp.estimators.batched._Problems._fit", None)


def weights_of(shape: tuple[int, ...], dtype: str) -> Any:
    weights = np.random.default_rng(1).integers(0, 3, shape)
    weights[0, -20:] = 0  # a problem of fewer rows
    return weights.astype("float32" if dtype == "float16" else dtype)


@pytest.mark.sampled(1, cupy=2)
# Tiles are of 256 and 512 rows: one tile and more, full and not; padded features and not.
@pytest.mark.parametrize(
    ("shape", "n_clusters", "dtype", "n_init"),
    [
        ((3, 511, 2), 3, "float32", 1),
        ((2, 1025, 3), 5, "float16", 2),
        ((5, 257, 16), 4, "float64", 1),
        ((3, 300, 17), 20, "float32", 2),
        ((2, 40, 64), 6, "float32", 1),
        ((4, 33, 1), 1, "float64", 2),
    ],
)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_each_problem_has_the_bits_of_its_own_fit(
    shape: tuple[int, int, int],
    n_clusters: int,
    dtype: str,
    n_init: int,
    is_weighted: bool,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X = library.asarray(problems(shape, dtype))
    weights = library.asarray(weights_of(shape[:2], dtype)) if is_weighted else None
    options: dict[str, Any] = {"n_clusters": n_clusters, "n_init": n_init, "random_state": 5}
    with monkeypatch.context() as patch:
        patch.setattr("kmeans_xp.estimators.batched._Problems._fit", None)
        found = k_means_batched(X, sample_weight=weights, tol=0.0, **options)
    assert_each_is_its_own(found, X, library, weights, tol=0.0, **options)


@pytest.mark.parametrize("options", [{"max_iter": 1}, {"max_iter": 9}, {"tol": 0.5}], ids=str)
def test_runs_end_as_they_do_alone(options: dict[str, Any], library: Library) -> None:
    X = library.asarray(problems((3, 300, 3), "float32"))
    given = {"n_clusters": 6, "random_state": 0, "tol": 0.0, **options}
    assert_each_is_its_own(k_means_batched(X, **given), X, library, **given)


@pytest.mark.parametrize(
    ("shape", "n_clusters", "dtype", "n_init"),
    [
        ((3, 300, 70), 20, "float16", 1),
        ((2, 200, 150), 17, "float32", 2),
        ((2, 200, 20), 170, "float32", 1),
        ((2, 150, 70), 5, "float64", 2),
    ],
)
def test_problems_that_are_sorted_by_label_have_the_bits_of_their_own_fits(
    shape: tuple[int, int, int],
    n_clusters: int,
    dtype: str,
    n_init: int,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kmeans_xp.kernels.for_cupy.certified._LEAST_WORK", 0)
    X = library.asarray(problems(shape, dtype))
    weights = library.asarray(weights_of(shape[:2], dtype)) if n_init == 2 else None
    options: dict[str, Any] = {"n_clusters": n_clusters, "n_init": n_init, "random_state": 5}
    with monkeypatch.context() as patch:
        patch.setattr("kmeans_xp.estimators.batched._Problems._fit", None)
        found = k_means_batched(X, sample_weight=weights, tol=0.0, **options)
    assert_each_is_its_own(found, X, library, weights, tol=0.0, **options)


def test_groups_have_the_bits_of_all_at_once(
    at_once: None, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import problems as grid

    X = library.asarray(problems((5, 60, 3), "float32"))
    together = k_means_batched(X, 3, random_state=0, n_init=2)
    groups = []
    solve = grid._solved

    def counted(points: Any, *others: Any) -> Any:
        groups.append(len(points))
        return solve(points, *others)

    monkeypatch.setattr(grid, "_solved", counted)
    monkeypatch.setattr(grid, "MOST_RUNS", 5)
    apart = k_means_batched(X, 3, random_state=0, n_init=2)
    assert groups == [2, 2, 1]
    for one, other in zip(together, apart, strict=True):
        assert library.to_host(one).tobytes() == library.to_host(other).tobytes()


def counts_of(
    library: Library,
    counters: Any,
    n_problems: int,
    max_iter: int,
    n_clusters: int = 6,
    shape: tuple[int, int] = (2000, 3),
) -> Any:
    rows = np.random.default_rng(0).normal(size=(1, *shape))
    X = library.asarray(np.repeat(rows, n_problems, axis=0), "float32")  # runs of one length

    def solve() -> None:
        found = k_means_batched(X, n_clusters, random_state=0, tol=0.0, max_iter=max_iter)
        assert (library.to_host(found.n_iter) == max_iter).all()

    solve()  # compiles
    counters.reset()
    solve()
    return counters.read()


def test_a_step_of_all_problems_is_three_launches_and_a_read(
    at_once: None, library: Library, counters: Any
) -> None:
    few, many = (counts_of(library, counters, 7, max_iter) for max_iter in (3, 6))
    assert many["kernel_launches"] - few["kernel_launches"] == 3 * 3
    assert many["d2h_count"] - few["d2h_count"] == 3
    assert many["memset_count"] == few["memset_count"]
    assert many["d2h_bytes"] - few["d2h_bytes"] == 3 * 7 * 24


@pytest.mark.parametrize("shape", [(150, 70), (150, 140)])
def test_a_step_by_tensor_cores_of_all_problems_is_four_launches_and_a_read(
    shape: tuple[int, int],
    at_once: None,
    library: Library,
    counters: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kmeans_xp.kernels.for_cupy.certified._LEAST_WORK", 0)
    few, many = (counts_of(library, counters, 3, max_iter, 16, shape) for max_iter in (1, 3))
    assert many["kernel_launches"] - few["kernel_launches"] == 2 * 4
    assert many["d2h_count"] - few["d2h_count"] == 2
    assert many["memset_count"] == few["memset_count"]
    assert many["d2h_bytes"] - few["d2h_bytes"] == 2 * 3 * 24


def test_eight_steps_of_all_problems_are_a_graph_and_a_read(
    at_once: None, library: Library, counters: Any
) -> None:
    few, many = (counts_of(library, counters, 3, max_iter, 12) for max_iter in (16, 24))
    assert (few["graph_launches"], many["graph_launches"]) == (1, 2)
    assert many["d2h_count"] - few["d2h_count"] == 1
    assert many["d2h_bytes"] - few["d2h_bytes"] == 8 * 3 * 24


def test_what_is_launched_and_read_does_not_depend_on_the_number_of_problems(
    at_once: None, library: Library, counters: Any
) -> None:
    few, many = (counts_of(library, counters, n, 5, shape=(600, 3)) for n in (2, 30))
    for name in ("kernel_launches", "d2h_count", "stream_syncs", "event_syncs", "h2d_count"):
        assert many[name] == few[name], name


def test_a_centre_of_all_problems_is_three_launches(
    at_once: None, library: Library, counters: Any
) -> None:
    few, many = (counts_of(library, counters, 4, 2, n_clusters) for n_clusters in (5, 8))
    # From 8 clusters on there are 4 trials, as for 5 there are 3.
    assert many["kernel_launches"] - few["kernel_launches"] == 3 * 3
    assert many["d2h_count"] == few["d2h_count"]


def test_references_of_the_gap_statistic_take_the_launches_of_one(
    library: Library, counters: Any
) -> None:
    points = library.asarray(problems((1, 300, 3), "float32")[0])
    data = prepared(points, None, choose(points))

    def counts(n_references: int) -> Any:
        seeds, drawn, search = list(range(n_references)), reference_rows(data), Search(3, 2)
        counters.reset()
        found = list(inertias_at_once(data, drawn, [1, 4, 6], seeds, search))
        assert None not in found
        return counters.read()

    counts(2)  # compiles
    few, many = counts(2), counts(7)
    for name in ("kernel_launches", "d2h_count", "stream_syncs", "event_syncs", "h2d_count"):
        assert many[name] == few[name], name


def test_runs_that_have_ended_are_left_out_when_they_are_half(
    at_once: None, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import problems as grid

    n_runs = []
    steps_over = grid._steps_over

    def counted(rows: Any, tol: Any) -> Any:
        n_runs.append(len(rows.problems))
        return steps_over(rows, tol)

    monkeypatch.setattr(grid, "_steps_over", counted)
    host = problems((6, 200, 2), "float32")
    host[:4] = np.repeat(host[:4, :4], 50, axis=1)  # which end at once
    found = k_means_batched(library.asarray(host), 4, random_state=0, tol=0.0)
    n_iter = library.to_host(found.n_iter)
    assert (n_iter[:4] == 1).all()
    assert (n_iter[4:] > 1).all()
    assert n_runs[:2] == [6, 2]


def options_of(n_clusters: int) -> ProblemOptions:
    return ProblemOptions(n_clusters, 300, 1e-4, 1e-30, 1e36, 1e-290, 1e300, 0.0, SAME_INERTIA)


def test_what_needs_more_than_a_grid_is_fitted_by_itself(library: Library) -> None:
    host = problems((5, 40, 3), "float32")
    host[1] = 7.0  # clusters that stay empty
    host[2] *= np.float32(1e-17)  # squares that are too small
    host[4] *= np.float32(1e25)  # and too large
    X = library.asarray(host)
    uniforms = np.random.RandomState(0).random_sample((5, 1, 1 + 3 * 3))
    options = options_of(4)._replace(tol=0.0)
    solved = solved_at_once(X, None, uniforms, None, options, xp=library.xp)
    assert (library.to_host(solved.n_iter) > 0).tolist() == [True, False, False, True, False]
    with pytest.raises(ValueError, match="In problem 1: The rows spread"):
        k_means_batched(X[3:, ...], 4, random_state=0)
    X = X[:4, ...]
    with pytest.warns(ConvergenceWarning), pytest.warns(RuntimeWarning, match="too small"):
        found = k_means_batched(X, 4, random_state=0)
    assert (library.to_host(found.n_iter) > 0).all()
    others = X[library.asarray([0, 3]), ...]
    alone = k_means_batched(others, 4, random_state=0)
    for number, place in enumerate((0, 3)):
        assert bool(library.xp.all(found.centroids[place, ...] == alone.centroids[number, ...]))


@pytest.mark.parametrize(
    ("shape", "n_clusters", "n_bytes"), [((1, 2**21, 3), 2, 2**30), ((2, 300, 70), 200, 0)]
)
def test_larger_problems_are_left_to_fits(
    shape: tuple[int, int, int],
    n_clusters: int,
    n_bytes: int,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kmeans_xp.kernels.for_cupy.labels._RUNS_BYTES", n_bytes)
    X = library.xp.zeros(shape, dtype=library.xp.float32)
    n_trials = 2 + int(np.log(n_clusters))
    uniforms = np.zeros((len(X), 1, 1 + (n_clusters - 1) * n_trials))
    options = options_of(n_clusters)
    assert solved_at_once(X, None, uniforms, None, options, xp=library.xp) is None


def test_problems_are_solved_in_turn_where_memory_runs_out(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import problems as grid

    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(grid, "_walked", full)
    X = library.asarray(problems((2, 50, 3), "float32"))
    found = k_means_batched(X, 3, random_state=0)
    model = KMeans(3, random_state=0).fit(X[1, ...])
    assert float(found.inertia[1]) == model.inertia_
