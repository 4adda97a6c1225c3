"""How steps are queued on CuPy: ahead of the host's check, and small ones eight in a CUDA graph."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from conftest import Library
from kmeans_xp.algorithms import lloyd
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.kernels import (
    DenseRows,
    Steps,
    batched_steps_of,
    lloyd_step,
    lloyd_step_batched,
    steps_of,
    update_centroids,
)

pytestmark = pytest.mark.skip_library(
    *("numpy", "array_api_strict", "torch", "jax", "dpnp"), reason="is of CUDA"
)

N_CLUSTERS = 6


def rows_of(library: Library, n_points: int = 400, n_features: int = 3) -> DenseRows:
    rng = np.random.default_rng(0)
    points, weights = rng.normal(size=(n_points, n_features)), rng.uniform(0.5, 2.0, n_points)
    placed = (library.asarray(each, "float32") for each in (points, weights))
    return DenseRows(*placed, library.asarray(points.mean(axis=0), "float32"))


def starts_of(rows: DenseRows, n_starts: int) -> list[Any]:
    return [rows.centred()[start : start + N_CLUSTERS, :] for start in range(n_starts)]


def bytes_of(arrays: Any, library: Library) -> list[bytes]:
    return [library.to_host(array).tobytes() for array in arrays]


def test_steps_that_take_other_work_are_not_recorded(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import labels
    from kmeans_xp.kernels.for_cupy.labels import is_kernels_alone

    rows = rows_of(library, n_features=70)
    centroids = library.xp.stack(starts_of(rows, 2))
    assert is_kernels_alone(rows, centroids)
    assert not is_kernels_alone(rows, library.xp.astype(centroids[0, ...], library.xp.float64))
    # Without memory for all, one by one.
    monkeypatch.setattr(labels, "_RUNS_BYTES", 2**15)
    assert not is_kernels_alone(rows, centroids)
    assert is_kernels_alone(rows, centroids[0, ...])


@pytest.fixture(params=[True, False], ids=["small", "large"])
def is_small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    from kmeans_xp.kernels.for_cupy import stepping

    monkeypatch.setattr(stepping, "_is_small", lambda rows: request.param)
    return bool(request.param)


@pytest.fixture
def counters() -> Any:
    return pytest.importorskip("cupy_on_cpu_stats", reason="needs a count of launches")


def steps_over(rows: DenseRows, library: Library, tol: float = 0.0) -> Steps:
    blocks = InMemory(rows, xp=library.xp)
    return steps_of(rows, blocks.reduce, tol, update_centroids, xp=library.xp)


@pytest.mark.sampled(1, cupy=2)
@pytest.mark.parametrize("n_features", [3, 70, 140])
@pytest.mark.parametrize("is_certified", [False, True])
def test_a_replayed_step_gives_what_the_step_gives(
    n_features: int, is_certified: bool, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import certified
    from kmeans_xp.kernels.for_cupy.labels import is_kernels_alone
    from kmeans_xp.kernels.for_cupy.replay import Replay

    if is_certified:
        for bound in ("_LEAST_FEATURES", "_LEAST_CLUSTERS", "_LEAST_WORK"):
            monkeypatch.setattr(certified, bound, 1)
    rows = rows_of(library, n_features=n_features)

    def step(centroids: Any) -> Any:
        totals = lloyd_step(rows, centroids, xp=library.xp)
        return (*totals, *update_centroids(totals, centroids, xp=library.xp))

    starts = starts_of(rows, 6)
    expected = [bytes_of(step(start), library) for start in starts]
    assert is_kernels_alone(rows, starts[0])
    repeated, results = Replay(step), []
    for number, start in enumerate(starts, start=1):
        results.append(repeated(start))
        # A result stays as it is until the second call after it.
        kept = slice(max(0, number - 2), number)
        assert [bytes_of(result, library) for result in results[kept]] == expected[kept]


def test_results_outlive_what_made_them(library: Library) -> None:
    import cupy

    from kmeans_xp.kernels.for_cupy.replay import Replay

    pools = []

    class Noted(cupy.cuda.MemoryPool):
        def __init__(self) -> None:
            super().__init__()
            pools.append(weakref.ref(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cupy.cuda, "MemoryPool", Noted)
        result = Replay(lambda array: 2 * array)(cupy.arange(5.0))
    gc.collect()
    # Before CuPy 14 the memory of living arrays went with its pool.
    assert pools[0]() is not None
    assert result.get().tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    del result
    gc.collect()
    assert pools[0]() is None


def test_work_that_cannot_be_recorded_is_never_replayed(
    library: Library, counters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import labels
    from kmeans_xp.kernels.for_cupy.stepping import StepsInGraphs

    monkeypatch.setattr(labels, "_RUNS_BYTES", 0)
    rows = rows_of(library, n_features=70)  # whose restarts are taken one by one
    blocks = InMemory(rows, xp=library.xp)
    steps = StepsInGraphs(rows, blocks.reduce, -1.0, xp=library.xp)  # no step ends the run
    before = counters.read()
    centroids = library.xp.stack(starts_of(rows, 2))
    for number in range(12):
        centroids = steps.take(centroids, n_left=12 - number).update.centroids
    read = counters.read()
    assert read["graph_launches"] == before["graph_launches"]
    assert read["d2h_count"] - before["d2h_count"] == 12


def check_walk(steps: Steps, rows: DenseRows, n_steps: int, library: Library) -> None:
    """Hold steps from one start against those of the kernels."""
    (centroids,) = starts_of(rows, 1)
    for number in range(n_steps):
        step = steps.take(centroids, n_left=n_steps - number)
        totals = lloyd_step(rows, centroids, xp=library.xp)
        update = update_centroids(totals, centroids, xp=library.xp)
        found = (step.before, *step.totals, *step.update, step.signals)
        expected = (centroids, *totals, *update, update.signals)
        assert bytes_of(found, library) == bytes_of(expected, library)
        centroids = step.update.centroids


@pytest.mark.parametrize("n_features", [3, 70])
def test_eight_steps_are_a_graph_and_a_read_where_rows_are_few(
    n_features: int, is_small: bool, library: Library, counters: Any
) -> None:
    rows = rows_of(library, n_features=n_features)
    steps = steps_over(rows, library, tol=-1.0)  # no step ends the run
    check_walk(steps, rows, 8, library)
    before = counters.read()
    (start,) = starts_of(rows, 1)
    for number in range(20):
        step = steps.take(start, n_left=20 - number)
        start = step.update.centroids
    read = counters.read()
    assert read["graph_launches"] - before["graph_launches"] == (3 if is_small else 0)
    assert read["d2h_count"] - before["d2h_count"] == (3 if is_small else 20)
    assert read["d2h_bytes"] - before["d2h_bytes"] == 24 * (24 if is_small else 20)


def test_steps_from_graphs_have_the_bits_of_the_plain_loop(
    is_small: bool, library: Library
) -> None:
    rows = rows_of(library)
    steps = steps_over(rows, library)
    check_walk(steps, rows, 20, library)
    # From other centroids than those that were offered: what is ahead is dropped.
    check_walk(steps, rows, 3, library)
    check_walk(steps, rows, 11, library)


@pytest.mark.parametrize("free", [10_000, 10**9])
def test_steps_are_recorded_where_the_records_fit(
    free: int, library: Library, counters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import stepping

    monkeypatch.setattr(stepping, "free_memory", lambda *_: free)
    rows = rows_of(library, n_features=70)
    before = counters.read()["graph_launches"]
    check_walk(steps_over(rows, library, tol=-1.0), rows, 20, library)
    assert (counters.read()["graph_launches"] > before) == (free == 10**9)


def test_more_runs_than_a_grid_has_places_are_not_taken_together(library: Library) -> None:
    from kmeans_xp.kernels.for_cupy.labels import is_kernels_alone
    from kmeans_xp.kernels.for_cupy.launching import MOST_RUNS

    rows = rows_of(library, 4, 2)
    for n_runs in (MOST_RUNS, MOST_RUNS + 1):
        centroids = library.xp.zeros((n_runs, 1, 2), dtype=library.xp.float32)
        assert is_kernels_alone(rows, centroids) == (n_runs == MOST_RUNS)


def test_runs_that_end_inside_a_graph_have_the_results_of_plain_ones(
    is_small: bool, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import stepping

    rows = rows_of(library, 900)
    blocks, (start,) = InMemory(rows, xp=library.xp), starts_of(rows, 1)
    # A centroid far away is left empty and takes a row; a run of its own length for each.
    start = library.xp.concat([start[1:, :], start[:1, :] + 50])
    results = []
    for n_plain in (0, 3, 10**6):
        monkeypatch.setattr(stepping, "_PLAIN_STEPS", n_plain)
        found = lloyd(blocks, start, max_iter=60)
        results.append((bytes_of([found.centroids], library), found.iterations, found.inertia))
    assert results[0] == results[1] == results[2]
    assert 10 < len(results[0][1]) < 60
    assert results[0][1][0].n_empty == 1


@pytest.mark.parametrize(("n_features", "is_certified"), [(3, False), (70, False), (140, True)])
@pytest.mark.parametrize(
    ("last", "stops"),
    [((0.25, 0.0, 7.0), True), ((0.5, 1.0, 7.0), True), ((0.5, 0.0, 7.0), False)],
    ids=["converged", "empty", "goes on"],
)
def test_a_step_after_the_last_one_passes_its_signals_on_and_does_nothing(
    last: tuple[float, float, float],
    stops: bool,
    n_features: int,
    is_certified: bool,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import cupy

    from kmeans_xp.kernels.for_cupy import certified
    from kmeans_xp.kernels.for_cupy.launching import NEVER, Stop
    from kmeans_xp.kernels.for_cupy.stepping import stopping_step
    from kmeans_xp.kernels.for_cupy.sums import Zeros

    if is_certified:
        for bound in ("_LEAST_FEATURES", "_LEAST_CLUSTERS", "_LEAST_WORK"):
            monkeypatch.setattr(certified, bound, 1)
    rows, zeros, made = rows_of(library, n_features=n_features), Zeros(), []
    (start,) = starts_of(rows, 1)

    def filled(shape: Any, dtype: Any = np.float64) -> Any:
        made.append(cupy.full(shape, 77, dtype=dtype))
        return made[-1]

    def taken(stop: Stop) -> list[Any]:
        signals = cupy.empty(3)
        totals, update = stopping_step(rows, start, zeros, signals, stop, xp=library.xp)
        return [*totals, *update]

    plain = taken(NEVER)
    with monkeypatch.context() as patched:
        patched.setattr(cupy, "empty", filled)
        found = taken(Stop(cupy.asarray(last), cupy.asarray(0.25)))
    if not stops:
        assert bytes_of(found, library) == bytes_of(plain, library)
        return
    *_, centroids, signals = found
    assert signals.tolist() == list(last)
    assert (centroids == start).all()
    others = [array for array in made if array is not signals and array is not centroids]
    untouched = [array for array in others if (array == 77).all()]
    assert len(untouched) > 2
    assert len(others) - len(untouched) == is_certified  # counters, which tiles are taken by
    # The next step finds the zeros that it needs.
    assert bytes_of(taken(NEVER), library) == bytes_of(plain, library)


def test_a_run_that_has_ended_keeps_its_centroids_while_others_go_on(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import stepping

    monkeypatch.setattr(stepping, "_PLAIN_STEPS", 0)
    rows = rows_of(library)
    (start,) = starts_of(rows, 1)
    ended, alone = start, steps_over(rows, library)
    for _ in range(60):
        ended = alone.take(ended, n_left=2).update.centroids
    blocks = InMemory(rows, xp=library.xp)
    steps = batched_steps_of(rows, blocks.reduce, 0.0, xp=library.xp)
    both = library.xp.stack([ended, starts_of(rows, 2)[1]])
    for number in range(8):
        step = steps.take(both, n_left=8 - number)
        both = step.update.centroids
        assert bytes_of([both[0, ...]], library) == bytes_of([ended], library)
        assert step.signals[0, 0] == 0.0
        assert step.signals[1, 0] > 0.0


@pytest.mark.parametrize("n_features", [3, 70])
def test_restarts_are_taken_together_where_rows_are_few(
    n_features: int, is_small: bool, library: Library, counters: Any
) -> None:
    rows = rows_of(library, n_features=n_features)
    blocks = InMemory(rows, xp=library.xp)
    steps = batched_steps_of(rows, blocks.reduce, -1.0, xp=library.xp)  # no run ends
    if not is_small:
        assert steps is None
        return
    assert steps is not None
    centroids = library.xp.stack(starts_of(rows, 3))
    alone = steps_over(rows, library, tol=-1.0)
    (start,) = starts_of(rows, 1)
    assert launches_of(lambda: alone.take(start, n_left=1), counters) == launches_of(
        lambda: steps.take(centroids, n_left=1), counters
    )
    for number in range(20):
        step = steps.take(centroids, n_left=20 - number)
        totals = lloyd_step_batched(rows, centroids, xp=library.xp)
        update = update_centroids(totals, centroids, xp=library.xp)
        expected = (*totals, *update)
        assert bytes_of((*step.totals, *step.update), library) == bytes_of(expected, library)
        centroids = step.update.centroids


@pytest.mark.parametrize("n_numbers", [2**22, 2**22 + 1])
def test_few_rows_are_told_by_their_numbers(n_numbers: int, library: Library) -> None:
    from kmeans_xp.kernels.for_cupy import stepping

    rows = DenseRows(library.xp.empty((n_numbers, 1), dtype=library.xp.float16))
    assert stepping._is_small(rows) == (n_numbers == 2**22)


def launches_of(take: Any, counters: Any) -> int:
    before = counters.read()["kernel_launches"]
    take()
    return int(counters.read()["kernel_launches"] - before)


def test_the_next_step_is_queued_before_the_last_is_read(
    library: Library, counters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import stepping

    monkeypatch.setattr(stepping, "_is_small", lambda rows: False)
    rows = rows_of(library)
    steps, (centroids,) = steps_over(rows, library), starts_of(rows, 1)
    update_centroids(lloyd_step(rows, centroids, xp=library.xp), centroids, xp=library.xp)
    taken: list[Any] = []

    def take(n_left: int, source: Any = None) -> int:
        given = taken[-1].update.centroids if source is None else source
        return launches_of(lambda: taken.append(steps.take(given, n_left=n_left)), counters)

    first = take(4, centroids)
    of_a_step = first // 2
    assert first == 2 * of_a_step + 1 > 1  # this one, the tolerance, and the next
    assert take(3) == of_a_step
    assert take(2, centroids) == 2 * of_a_step  # what was queued was for nothing
    assert take(1) == 0  # nothing follows the last


@pytest.mark.parametrize("n_features", [3, 70])
def test_the_step_that_is_queued_after_the_last_does_nothing(
    n_features: int, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import stepping

    rows = rows_of(library, n_features=n_features)
    blocks, (start,) = InMemory(rows, xp=library.xp), starts_of(rows, 1)
    expected = lloyd(blocks, start)
    taken: list[Any] = []
    stopping_step = stepping.stopping_step

    def noted(rows: Any, centroids: Any, *given: Any, **options: Any) -> Any:
        both = stopping_step(rows, centroids, *given, **options)
        taken.append((centroids, both[1]))
        return both

    monkeypatch.setattr(stepping, "_is_small", lambda rows: False)
    monkeypatch.setattr(stepping, "stopping_step", noted)
    found = lloyd(blocks, start)
    assert found.iterations == expected.iterations
    assert bytes_of([found.centroids], library) == bytes_of([expected.centroids], library)
    assert len(taken) == len(found.iterations) + 1 > 3
    (_, before), (centroids, dropped) = taken[-2:]
    # It passed the signals on; those of a step that shifts nothing are others.
    assert bytes_of(dropped, library) == bytes_of([centroids, before.signals], library)
    # If the run goes on nevertheless, the step is taken.
    steps = steps_over(rows, library, tol=1e9)
    check_walk(steps, rows, 3, library)


def test_a_run_of_one_step_queues_no_other(library: Library, counters: Any) -> None:
    rows = rows_of(library)
    blocks, (centroids,) = InMemory(rows, xp=library.xp), starts_of(rows, 1)
    lloyd(blocks, centroids, max_iter=1)
    one, two = (
        launches_of(lambda n=n: lloyd(blocks, centroids, max_iter=n), counters) for n in (1, 2)
    )
    step = launches_of(lambda: steps_over(rows, library).take(centroids, n_left=1), counters)
    assert two - one == step
