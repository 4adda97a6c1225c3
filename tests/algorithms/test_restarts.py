"""Restarts in one batch have the same results as separate restarts."""

import threading
from itertools import pairwise
from typing import Any

import array_api_compat.numpy as np_compat
import numpy as np
import pytest
from scipy import sparse

from conftest import Library
from kmeans_xp import KMeans, config_context
from kmeans_xp.algorithms import LloydResult, best_of, lloyd, restarts, runs_from
from kmeans_xp.algorithms.lloyd import UPDATES
from kmeans_xp.algorithms.restarts import lloyd_restarts, whole_runs
from kmeans_xp.blocks import PerRow, measured_and_on_sphere
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.devices import csr_parts, namespace_of, why_numba_is_unusable
from kmeans_xp.kernels import (
    DenseRows,
    SparseRows,
    Steps,
    are_steps_short,
    lloyd_step_batched,
    runs_at_once,
    takes_whole_runs,
)
from kmeans_xp.kernels.threads import n_threads_here
from tests.datasets import nearly_equal

pytestmark = pytest.mark.sampled(1, cupy=2)


def blocks_and_starts(library: Library, n_starts: int = 4) -> tuple[InMemory, list[Any]]:
    rng = np.random.default_rng(5)
    host = rng.normal(size=(400, 3))
    blocks = InMemory(DenseRows(library.asarray(host, "float32")), xp=library.xp)
    starts = [host[rng.choice(400, 7, replace=False)] for _ in range(n_starts)]
    starts[1][3:] = 50.0  # four clusters without rows, which are then given some
    return blocks, [library.asarray(start, "float32") for start in starts]


def taken_together(rows: Any, reduce: Any, tol: float, *, xp: Any) -> Steps:
    """Stand for ``batched_steps_of`` of a library that takes small steps together."""
    return Steps(reduce, lloyd_step_batched, xp=xp)


def taken_in_turn(rows: Any, reduce: Any, tol: float, *, xp: Any) -> None:
    """Stand for ``batched_steps_of`` of a library that does not."""


def never(*_: Any, **__: Any) -> bool:
    """Stand for what asks whether steps are short, of a library that takes long ones."""
    return False


def assert_same_result(ours: LloydResult, theirs: LloydResult, library: Library) -> None:
    assert ours.iterations == theirs.iterations
    assert ours.inertia == theirs.inertia
    for one, other in ((ours.centroids, theirs.centroids), (whole(ours), whole(theirs))):
        np.testing.assert_array_equal(library.to_host(one), library.to_host(other))


def whole(result: LloydResult) -> Any:
    return result.labels.whole()


@pytest.mark.parametrize(("tol", "max_iter"), [(0.0, 300), (0.0, 12), (0.05, 300), (0.0, 1)])
def test_each_run_is_what_it_is_alone(tol: float, max_iter: int, library: Library) -> None:
    blocks, starts = blocks_and_starts(library)
    steps = taken_together(blocks.whole, blocks.reduce, 0.0, xp=library.xp)
    together = lloyd_restarts(blocks, starts, steps, max_iter=max_iter, tol=tol)
    assert len({len(result.iterations) for result in together}) > 1 or max_iter < 20
    for start, result in zip(starts, together, strict=True):
        assert_same_result(result, lloyd(blocks, start, max_iter=max_iter, tol=tol), library)


def test_runs_that_go_round_in_a_circle_end_as_alone(library: Library) -> None:
    host = nearly_equal("float32")
    blocks = InMemory(DenseRows(library.asarray(host)), xp=library.xp)
    starts = [library.asarray(host[first : first + 11]) for first in range(0, 25, 5)]
    steps = taken_together(blocks.whole, blocks.reduce, 0.0, xp=library.xp)
    together = lloyd_restarts(blocks, starts, steps)
    for start, result in zip(starts, together, strict=True):
        assert_same_result(result, lloyd(blocks, start), library)
        assert len(result.iterations) < 300


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("seed", [432, 583])
def test_a_circle_of_some_forty_steps_ends(seed: int) -> None:
    host = nearly_equal("float32", seed=seed)
    kmeans = KMeans(11, init="random", n_init=1, random_state=seed, tol=0.0, max_iter=1000)
    assert kmeans.fit(host).n_iter_ < 150


def test_runs_whose_gain_is_less_than_rounding_shows_go_on_until_they_settle() -> None:
    xp, host = namespace_of(np.empty(0)), np.arange(60)[:, None] / 1024
    host[:30] -= 5e4
    host[30:] += 5e4
    blocks = InMemory(DenseRows(host), xp=xp)
    start = host[[0, 1, 2, 3, 4, 5, 59]]
    steps = taken_together(blocks.whole, blocks.reduce, 0.0, xp=xp)
    for result in (lloyd(blocks, start), *lloyd_restarts(blocks, [start, start], steps)):
        numbers = [iteration[1:] for iteration in result.iterations]
        assert any(first == second for first, second in pairwise(numbers))
        assert result.iterations[-1].sq_shift == 0.0


def test_a_circle_may_have_more_steps_than_its_numbers_show() -> None:
    host = np.arange(80)[:, None] / 1024
    host[:40] -= 5e5
    host[40:] += 5e5
    blocks = InMemory(DenseRows(host), xp=namespace_of(host))
    circles = []
    for n_near in range(2, 8):  # which starts end in such a circle depends on how kernels round
        result = lloyd(blocks, host[[*range(n_near), 79]])
        assert len(result.iterations) < 50
        after = [lloyd(blocks, result.centroids, max_iter=number) for number in range(1, 5)]
        back = (each for each in after if np.array_equal(each.centroids, result.centroids))
        if (circle := next(back, None)) is not None:
            circles.append([iteration[1:] for iteration in circle.iterations])
    assert any(len(set(numbers)) == 1 < len(numbers) for numbers in circles)


@pytest.mark.parametrize(("tol", "max_iter"), [(0.0, 300), (0.05, 300), (0.0, 1)])
def test_runs_are_those_of_their_starts_however_a_library_takes_steps(
    tol: float, max_iter: int, library: Library
) -> None:
    blocks, starts = blocks_and_starts(library)
    runs = list(runs_from(blocks, iter(starts), max_iter=max_iter, tol=tol))
    for start, result in zip(starts, runs, strict=True):
        assert_same_result(result, lloyd(blocks, start, max_iter=max_iter, tol=tol), library)


@pytest.mark.parametrize("n_starts", [1, 3])
def test_runs_are_taken_together_where_there_are_several(
    n_starts: int, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, starts = blocks_and_starts(library, 3)
    n_together: list[int] = []

    def counted(blocks: Any, starts: Any, steps: Any, **options: Any) -> list[LloydResult]:
        n_together.append(len(starts))
        return lloyd_restarts(blocks, starts, steps, **options)

    monkeypatch.setattr(restarts, "lloyd_restarts", counted)
    monkeypatch.setattr(restarts, "takes_whole_runs", never)
    for steps_of, expected in ((taken_in_turn, []), (taken_together, [3] if n_starts > 1 else [])):
        monkeypatch.setattr(restarts, "batched_steps_of", steps_of)
        assert len(list(runs_from(blocks, starts[:n_starts], max_iter=2))) == n_starts
        assert n_together == expected


def test_runs_in_turn_are_started_when_they_are_asked_for(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "batched_steps_of", taken_in_turn)
    monkeypatch.setattr(restarts, "takes_whole_runs", never)
    monkeypatch.setattr(restarts, "are_steps_short", never)
    blocks, starts = blocks_and_starts(library)
    given = iter(starts)
    runs = iter(runs_from(blocks, given, max_iter=2))
    next(runs)
    assert len(list(given)) == len(starts) - 1


def test_small_fits_keep_the_best_run_as_large_ones_do(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = np.random.default_rng(1).normal(size=(300, 2))
    points = library.asarray(host, "float64" if library.name != "jax" else "float32")
    fits = []
    for steps_of in (taken_in_turn, taken_together):
        monkeypatch.setattr(restarts, "batched_steps_of", steps_of)
        fits.append(KMeans(8, init="random", n_init=6, random_state=2).fit(points))
    in_turn, together = fits
    assert in_turn.inertia_ == together.inertia_
    assert in_turn.n_iter_ == together.n_iter_
    np.testing.assert_array_equal(
        library.to_host(in_turn.labels_), library.to_host(together.labels_)
    )


def results_of(*inertias: float) -> list[LloydResult]:
    labels: PerRow = None  # type: ignore[assignment]
    return [LloydResult(None, labels, inertia, ()) for inertia in inertias]


@pytest.mark.parametrize(
    ("inertias", "best"),
    [
        ((3.0, 1.0, 2.0), 1),
        ((1.0, 1.0 - 1e-7, 1.0), 0),  # they differ by rounding
        ((1.0, 1.0 - 1e-5), 1),
        ((0.0, 0.0), 0),
        ((5.0,), 0),
    ],
    ids=str,
)
def test_the_first_of_the_runs_of_least_inertia_is_the_best(
    inertias: tuple[float, ...], best: int
) -> None:
    results = results_of(*inertias)
    assert best_of(iter(results)) is results[best]


def test_of_no_runs_none_is_the_best() -> None:
    assert best_of([]) is None


@pytest.mark.sampled(1, numpy=2)
@pytest.mark.skipif(why_numba_is_unusable() is not None, reason="only numba takes whole runs")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize(
    ("tol", "max_iter"), [(0.0, 2000), (0.0, 12), (0.01, 300), (0.0, 1), (-1.0, 600)]
)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_whole_runs_are_those_of_single_steps(
    metric: str, tol: float, max_iter: int, is_sparse: bool, is_weighted: bool, dtype: str
) -> None:
    rng, xp = np.random.default_rng(3), namespace_of(np.empty(0))
    points = rng.normal(size=(700, 5)).astype(dtype)
    weights = rng.integers(0, 3, 700).astype(dtype) if is_weighted else None
    origin = points.mean(axis=0)
    rows: Any = DenseRows(points, weights, origin)
    if is_sparse:
        points[rng.random(points.shape) < 0.5] = 0.0
        points[:, 0] = 1.0  # no row is zero
        rows = SparseRows(csr_parts(sparse.csr_array(points)), weights, origin)
    blocks = InMemory(rows, xp=xp)
    if metric == "cosine":
        blocks, _ = measured_and_on_sphere(InMemory(rows.seen_from(None), xp=xp))
        points = blocks.take(np.arange(700)).points
    starts = [points[rng.choice(700, 9, replace=False)] for _ in range(5)]
    starts[2][4:] = 50.0  # five clusters without rows, which are then given some
    assert takes_whole_runs(blocks.whole, 9, xp=xp)
    runs = runs_at_once(blocks.whole, np.stack(starts), max_iter, tol, UPDATES[metric], xp=xp)
    assert runs is not None
    assert runs.n_iter[2] == 0
    assert (np.delete(runs.n_iter, 2) > 0).all() or tol < 0.0
    options: dict[str, Any] = {"max_iter": max_iter, "tol": tol, "metric": metric}
    together = whole_runs(blocks, starts, **options)
    for start, result in zip(starts, together, strict=True):
        alone = lloyd(blocks, start, **options)
        assert result.iterations == alone.iterations
        assert result.inertia == alone.inertia
        np.testing.assert_array_equal(result.centroids, alone.centroids)
        np.testing.assert_array_equal(whole(result), whole(alone))


@pytest.mark.skipif(why_numba_is_unusable() is not None, reason="only numba takes whole runs")
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_fit_takes_its_runs_at_once(
    metric: str, is_sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one after another, which would have the same results."""
    options: dict[str, Any] = {"n_init": 3, "random_state": 0, "metric": metric}
    points: Any = np.random.default_rng(4).normal(size=(300, 4))
    if is_sparse:
        points[:, 0] = np.abs(points[:, 0])  # no row is empty
        points = sparse.csr_array(np.where(points > 0.0, points, 0.0))
    monkeypatch.setattr(restarts, "lloyd", None)
    for algorithm in ("auto", "lloyd"):
        model = KMeans(5, algorithm=algorithm, **options).fit(points)
        assert model.labels_.base is None  # of one run alone
    monkeypatch.undo()
    watched = KMeans(5, verbose=1, **options).fit(points)
    assert watched.inertia_ == model.inertia_
    np.testing.assert_array_equal(watched.labels_, model.labels_)


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_runs_in_threads_are_those_of_one_thread(
    metric: str, is_sparse: bool, is_weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.random.default_rng(6).normal(size=(4_000, 24))
    if is_sparse:
        points = sparse.csr_array(np.where(points > -0.5, points, 0.0))  # no row is empty
    weights = np.random.default_rng(7).integers(0, 3, 4_000) if is_weighted else None
    monkeypatch.setattr(restarts, "takes_whole_runs", never)
    monkeypatch.setattr(restarts, "are_steps_short", lambda *_, **__: True)
    threads: list[int] = []
    both: threading.Barrier

    def noted(*given: Any, **options: Any) -> LloydResult:
        threads.append(threading.get_ident())
        if n_threads > 1 and len(threads) <= 2:
            both.wait()  # for the other one of the first two runs
        return lloyd(*given, **options)

    monkeypatch.setattr(restarts, "lloyd", noted)
    fits = []
    for n_threads in (1, 2, 3):
        threads.clear()
        both = threading.Barrier(2, timeout=60.0)
        with config_context(n_threads=n_threads):
            model = KMeans(9, init="random", n_init=8, metric=metric, random_state=0)
            fits.append(model.fit(points, sample_weight=weights))
        assert len(set(threads)) in ((1,) if n_threads == 1 else (2, 3))
    alone, *others = fits
    for other in others:
        assert (other.inertia_, other.n_iter_) == (alone.inertia_, alone.n_iter_)
        np.testing.assert_array_equal(other.labels_, alone.labels_)
        np.testing.assert_array_equal(other.cluster_centers_, alone.cluster_centers_)


def test_runs_in_threads_hold_few_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "_HELD_BYTES", (4 * 50 + 8 * 3 * 2) * 8)  # of 8 runs
    points = np.random.default_rng(0).random((50, 2))
    blocks, given = InMemory(DenseRows(points), xp=np_compat), iter([points[:3]] * 100)
    with config_context(n_threads=2):
        runs = restarts.runs_in_threads(blocks, given, max_iter=2)
        next(runs)
        assert len(list(given)) == 100 - 8


@pytest.mark.parametrize("n_threads", [1, 2, 8])
def test_few_runs_use_all_threads(n_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).random((50, 2))
    blocks = InMemory(DenseRows(points), xp=np_compat)
    usable: list[int] = []

    def noted(*given: Any, **options: Any) -> LloydResult:
        usable.append(n_threads_here())
        return lloyd(*given, **options)

    monkeypatch.setattr(restarts, "lloyd", noted)
    with config_context(n_threads=n_threads):
        list(restarts.runs_in_threads(blocks, [points[:3]] * 3, max_iter=2))
    assert usable == [8 if n_threads == 8 else 1] * 3


def test_an_error_ends_the_runs_of_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).random((2_000, 4))
    blocks = InMemory(DenseRows(points), xp=np_compat)
    both, n_steps = threading.Barrier(2, timeout=60.0), []

    def noted(*given: Any, **options: Any) -> LloydResult:
        is_failing = both.wait() == 0
        if is_failing:
            raise KeyboardInterrupt
        result = lloyd(*given, **options)
        n_steps.append(len(result.iterations))
        return result

    monkeypatch.setattr(restarts, "lloyd", noted)
    with config_context(n_threads=2), pytest.raises(KeyboardInterrupt):
        list(restarts.runs_in_threads(blocks, [points[:5]] * 2, max_iter=10**6, tol=-1.0))
    assert n_steps[0] < 10**6


def test_an_error_in_a_thread_ends_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> LloydResult:
        raise MemoryError

    monkeypatch.setattr(restarts, "takes_whole_runs", never)
    monkeypatch.setattr(restarts, "are_steps_short", lambda *_, **__: True)
    monkeypatch.setattr(restarts, "lloyd", failing)
    with pytest.raises(MemoryError):
        KMeans(3, n_init=4, random_state=0).fit(np.random.default_rng(0).random((50, 2)))


@pytest.mark.skipif(why_numba_is_unusable() is not None, reason="only numba has short steps")
def test_steps_that_take_milliseconds_are_not_short() -> None:
    xp = namespace_of(np.empty(0))
    for n_points, expected in ((10_000, True), (1_000_000, False)):
        rows = DenseRows(np.zeros((n_points, 16), np.float32))
        assert are_steps_short(rows, 10, xp=xp) == expected


@pytest.mark.skipif(why_numba_is_unusable() is not None, reason="only numba has short steps")
def test_steps_on_few_sparse_rows_are_left_to_python() -> None:
    xp = namespace_of(np.empty(0))
    for n_points, expected in ((300, False), (5_000, True), (1_000_000, False)):
        rows = SparseRows(csr_parts(sparse.eye_array(n_points, 200, format="csr")), n_stored=20)
        assert are_steps_short(rows, 10, xp=xp) == expected
