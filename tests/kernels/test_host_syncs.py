"""The host waits for the device, and copies from it, only as often as the algorithms need.

Counted by the emulation of CuPy on a CPU: a boolean, a ``float()`` or a mask of device values
shows as a copy to the host and a synchronization, wherever it is hidden.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conftest import Library
from kmeans_xp import KMeans, MiniBatchKMeans, assign
from kmeans_xp.algorithms import (
    draw_by_value,
    inertia_of,
    kmeans_plusplus,
    lloyd,
    minibatch,
    minibatch_start,
    random_rows,
)
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.kernels import DenseRows, both_moments, column_moments, spread
from tests.datasets import cloud, positive_weights

stats = pytest.importorskip(
    "cupy_on_cpu_stats", reason="counts are the emulation's, which is not here"
)

pytestmark = pytest.mark.sampled(1, cupy=2)

#: more bytes than any result of the size of the clusters has here, fewer than any of the rows'
SMALL = 3000
N_POINTS, N_FEATURES, N_CLUSTERS = 2000, 4, 6


@pytest.fixture(autouse=True)
def only_on_cupy(library: Library) -> None:
    if library.name != "cupy":
        pytest.skip("the emulation counts what CuPy does")


def counted(call: Callable[[], Any]) -> dict[str, int]:
    """Return the counts of a second call: the first one compiles and loads kernels."""
    call()
    stats.reset()
    call()
    return stats.read()


def waits(counts: dict[str, int]) -> int:
    return counts["stream_syncs"] + counts["device_syncs"] + counts["event_syncs"]


def assert_silent(counts: dict[str, int]) -> None:
    """The host neither waits for the device nor reads from it."""
    assert waits(counts) == 0
    assert counts["d2h_count"] == counts["d2h_bytes"] == 0


def host_points(n_points: int = N_POINTS) -> np.ndarray:
    return cloud(n_points, N_FEATURES)


def blocks_of(
    library: Library, dtype: str, *, n_points: int = N_POINTS, weighted: bool = False
) -> InMemory:
    host = host_points(n_points)
    weights = library.asarray(positive_weights(n_points), dtype) if weighted else None
    origin = library.asarray(host.mean(axis=0), dtype)
    return InMemory(DenseRows(library.asarray(host, dtype), weights, origin), xp=library.xp)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_points", [N_POINTS, 2 * N_POINTS])
def test_kmeans_plusplus_never_waits(
    n_points: int, weighted: bool, dtype: str, library: Library
) -> None:
    blocks = blocks_of(library, dtype, n_points=n_points, weighted=weighted)
    counts = counted(lambda: kmeans_plusplus(blocks, N_CLUSTERS, np.random.RandomState(0)))
    assert_silent(counts)
    # The uniforms, and numbers of a few bytes each; nothing of the rows' size.
    n_trials = 2 + int(np.log(N_CLUSTERS))
    uniforms = 8 * (1 + (N_CLUSTERS - 1) * n_trials)
    assert counts["h2d_bytes"] <= uniforms + 8 * N_CLUSTERS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_rows_without_weights_never_wait(dtype: str, library: Library) -> None:
    blocks = blocks_of(library, dtype)
    counts = counted(lambda: random_rows(blocks, N_CLUSTERS, np.random.RandomState(0)))
    assert_silent(counts)
    assert counts["h2d_bytes"] <= 8 * N_CLUSTERS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_points", [N_POINTS, 2 * N_POINTS])
def test_lloyd_reads_three_numbers_an_iteration(
    n_points: int, weighted: bool, dtype: str, library: Library
) -> None:
    blocks = blocks_of(library, dtype, n_points=n_points, weighted=weighted)
    centroids = blocks.whole.centred()[:N_CLUSTERS, :]

    def run(max_iter: int) -> Any:
        result = lloyd(blocks, centroids, max_iter=max_iter, tol=0.0)
        assert len(result.iterations) == max_iter
        assert not any(iteration.n_empty for iteration in result.iterations)
        return result

    few, many = (counted(lambda max_iter=n: run(max_iter)) for n in (5, 16))
    assert many["d2h_count"] - few["d2h_count"] <= 11
    assert many["d2h_bytes"] - few["d2h_bytes"] <= 11 * 24
    assert waits(many) - waits(few) <= 11
    assert many["h2d_bytes"] == few["h2d_bytes"]
    # Around the iterations there is the inertia alone.
    assert few["d2h_count"] <= 6
    assert few["h2d_bytes"] <= SMALL


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "kind", ["plain", "weighted", "random", "weighted random", "given", "n_init"]
)
def test_a_fit_copies_no_rows_and_reads_once_an_iteration(
    kind: str, dtype: str, library: Library
) -> None:
    host = host_points()
    points = library.asarray(host, dtype)
    weights = library.asarray(positive_weights(N_POINTS), dtype)
    params: dict[str, Any] = {
        "plain": {},
        "weighted": {},
        "random": {"init": "random", "n_init": 1},
        "weighted random": {"init": "random", "n_init": 1},
        "given": {"init": library.asarray(host[:N_CLUSTERS], dtype)},
        "n_init": {"n_init": 2},
    }[kind]
    sample_weight = weights if "weighted" in kind else None

    def fit(max_iter: int) -> None:
        kmeans = KMeans(N_CLUSTERS, max_iter=max_iter, tol=0.0, random_state=0, **params)
        assert kmeans.fit(points, sample_weight=sample_weight).n_iter_ == max_iter

    few, many = (counted(lambda max_iter=n: fit(max_iter)) for n in (5, 16))
    n_runs = 2 if kind == "n_init" else 1
    assert many["d2h_count"] - few["d2h_count"] <= 11 * n_runs
    assert many["d2h_bytes"] - few["d2h_bytes"] <= 264 * n_runs
    assert waits(many) - waits(few) <= 11 * n_runs
    assert many["h2d_bytes"] == few["h2d_bytes"]
    # Are the weights finite? Mean and spread, which tell it of the rows; and the inertia of each
    # run. Which rows weighted chance drew is looked at too: none is to be drawn twice.
    n_before = {"weighted": 2, "weighted random": 4, "given": 2}.get(kind, 1)
    assert few["d2h_count"] <= (5 + 1) * n_runs + n_before
    assert few["d2h_bytes"] <= SMALL
    assert few["h2d_bytes"] <= SMALL


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_a_fit_reads_does_not_depend_on_the_number_of_rows(
    weighted: bool, estimator_class: type, library: Library
) -> None:
    def counts_of(n_points: int) -> dict[str, int]:
        points = library.asarray(host_points(n_points), "float32")
        weights = library.asarray(positive_weights(n_points), "float32") if weighted else None
        params = {"max_iter": 4, "tol": 0.0, "random_state": 0}
        if estimator_class is MiniBatchKMeans:
            # As many steps for both: the passes are over different numbers of rows.
            params |= {"batch_size": n_points // 4, "max_no_improvement": None}
        return counted(lambda: estimator_class(N_CLUSTERS, **params).fit(points, None, weights))

    few, many = counts_of(N_POINTS), counts_of(2 * N_POINTS)
    for name in ("d2h_count", "d2h_bytes", "stream_syncs", "device_syncs", "event_syncs"):
        assert many[name] == few[name], name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["predict", "transform"])
@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_new_rows_stay_on_the_device(
    estimator_class: type, method: str, dtype: str, library: Library
) -> None:
    points = library.asarray(host_points(), dtype)
    call = getattr(estimator_class(N_CLUSTERS, max_iter=3, random_state=0).fit(points), method)
    counts = counted(lambda: call(points))
    # One number says whether the rows are finite.
    assert counts["d2h_count"] <= 1
    assert counts["d2h_bytes"] <= 8
    assert waits(counts) <= 1
    assert counts["h2d_bytes"] <= SMALL


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_score_and_assign_read_numbers_only(dtype: str, library: Library) -> None:
    points = library.asarray(host_points(), dtype)
    kmeans = KMeans(N_CLUSTERS, max_iter=3, random_state=0).fit(points)
    counts = counted(lambda: kmeans.score(points))
    assert counts["d2h_count"] <= 2
    assert counts["d2h_bytes"] <= 16
    counts = counted(lambda: assign(points, kmeans.cluster_centers_))
    assert counts["d2h_count"] <= 2
    assert counts["d2h_bytes"] <= 16


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_and_inertia_wait_as_often_as_they_return_numbers(
    weighted: bool, library: Library
) -> None:
    blocks = blocks_of(library, "float32", weighted=weighted)
    assert_silent(counted(lambda: blocks.reduce(column_moments)))
    labels = blocks.cut(library.asarray(np.arange(N_POINTS) % N_CLUSTERS, "int32"))
    centroids = blocks.whole.centred()[:N_CLUSTERS, :]
    counts = counted(lambda: inertia_of(blocks, labels, centroids))
    assert (counts["d2h_count"], counts["d2h_bytes"], waits(counts)) == (1, 8, 1)
    assert counts["kernel_launches"] == 2  # distances added up, parts merged


@pytest.mark.parametrize("weighted", [False, True])
def test_a_fits_start_reads_the_rows_once(weighted: bool, library: Library) -> None:
    points = library.asarray(host_points(), "float32")
    weights = library.asarray(positive_weights(N_POINTS), "float32") if weighted else None

    def start() -> None:
        with KMeans(N_CLUSTERS)._prepared(points, weights):
            pass

    counts = counted(start)
    # Mean and spread, which tell too whether the rows are finite; are the weights?
    assert counts["d2h_count"] == waits(counts) == 1 + weighted
    about = points[0, :]
    measured = counted(
        lambda: spread(
            *both_moments(DenseRows(points, weights, about), xp=library.xp), about, xp=library.xp
        )
    )
    of_weights = 5 if weighted else 0  # cast, least, sum, both as one
    assert counts["kernel_launches"] <= measured["kernel_launches"] + of_weights


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_features", [1, 16, 300])
def test_all_moments_take_one_launch_over_the_rows_and_one_to_merge(
    n_features: int, weighted: bool, library: Library
) -> None:
    host = cloud(9000 // n_features, n_features)
    points = library.asarray(host, "float32")
    rows = DenseRows(points, points[:, 0] ** 2 if weighted else None, points[0, :])
    counts = counted(lambda: both_moments(rows, xp=library.xp))
    assert_silent(counts)
    assert (counts["kernel_launches"], counts["memset_count"]) == (2, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_mini_batch_step_reads_once(weighted: bool, dtype: str, library: Library) -> None:
    blocks = blocks_of(library, dtype, weighted=weighted)
    centroids = blocks.whole.centred()[:N_CLUSTERS, :]
    batch_size = 500

    def run(max_iter: int) -> None:
        result = minibatch(
            blocks,
            minibatch_start(blocks, centroids),
            np.random.RandomState(0),
            batch_size=batch_size,
            max_iter=max_iter,
            max_no_improvement=None,
        )
        assert len(result.steps) == max_iter * N_POINTS // batch_size
        assert not any(step.n_reassigned for step in result.steps)

    few, many = (counted(lambda max_iter=n: run(max_iter)) for n in (1, 3))
    n_steps = 2 * N_POINTS // batch_size
    assert many["d2h_count"] - few["d2h_count"] <= n_steps
    # Inertia, shift, and the mass of each cluster.
    assert many["d2h_bytes"] - few["d2h_bytes"] <= n_steps * 8 * (2 + N_CLUSTERS)
    assert waits(many) - waits(few) <= n_steps
    # The draws of the batch go up: as indices, or as uniforms.
    assert many["h2d_bytes"] - few["h2d_bytes"] <= n_steps * (8 * batch_size + 64)


def test_partial_fit_copies_no_rows(library: Library) -> None:
    host = host_points()
    batches = [library.asarray(host[start : start + 1000], "float32") for start in (0, 1000)]
    estimator = MiniBatchKMeans(N_CLUSTERS, random_state=0).partial_fit(batches[0])
    counts = counted(lambda: estimator.partial_fit(batches[1]))
    assert counts["d2h_bytes"] <= SMALL
    assert counts["h2d_bytes"] <= SMALL
    # Finite? Due for reassignment? The step, and the inertia of the labels.
    assert counts["d2h_count"] <= 5


def test_relocation_reads_the_clusters_only(library: Library) -> None:
    blocks = blocks_of(library, "float32")
    init = np.vstack([host_points()[:3], np.full((3, N_FEATURES), 1e3)])
    centroids = library.asarray(init, "float32") - blocks.whole.origin

    def run() -> None:
        result = lloyd(blocks, centroids, max_iter=1)
        assert result.iterations[0].n_empty == 3

    counts = counted(run)
    assert counts["d2h_bytes"] <= SMALL
    assert counts["h2d_bytes"] <= SMALL


def test_callbacks_and_verbose_cost_nothing_when_off(library: Library) -> None:
    points = library.asarray(host_points(), "float32")

    class Silent:
        def setup(self, estimator: Any, context: Any) -> None: ...
        def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...
        def on_fit_task_end(self, estimator: Any, context: Any) -> None: ...
        def teardown(self, estimator: Any, context: Any) -> None: ...

    def fit(*callbacks: Any, verbose: int = 0) -> dict[str, int]:
        kmeans = KMeans(N_CLUSTERS, max_iter=5, tol=0.0, random_state=0, verbose=verbose)
        return counted(lambda: kmeans.set_callbacks(*callbacks).fit(points))

    without, told, printed = fit(), fit(Silent()), fit(verbose=1)
    for name in ("d2h_count", "d2h_bytes", "stream_syncs", "kernel_launches"):
        # What they tell is on the host already.
        assert without[name] == told[name] == printed[name], name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "n_launches"),
    [
        *(((900, 4, 6), 3), ((900, 16, 100), 3), ((500, 128, 30), 4), ((400, 70, 150), 4)),
        ((300, 70, 64), 4),
    ],
    ids=["few features", "many clusters", "many features", "many of both", "tensor cores"],
)
def test_an_iteration_is_at_most_four_launches(
    shape: tuple[int, int, int],
    n_launches: int,
    dtype: str,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_points, n_features, n_clusters = shape
    if n_points == 300:  # by tensor cores in float32, however little there is to do
        monkeypatch.setattr("kmeans_xp.kernels.for_cupy.certified._LEAST_WORK", 0)
    host = cloud(n_points, n_features)
    blocks = InMemory(
        DenseRows(library.asarray(host, dtype), None, library.asarray(host.mean(axis=0), dtype)),
        xp=library.xp,
    )
    centroids = blocks.whole.centred()[:n_clusters, :]

    def run(max_iter: int) -> None:
        iterations = lloyd(blocks, centroids, max_iter=max_iter, tol=0.0).iterations
        assert len(iterations) == max_iter
        assert not any(iteration.n_empty for iteration in iterations)

    # Within the iterations that are not replayed yet, whose launches a graph holds.
    few, many = (counted(lambda max_iter=n: run(max_iter)) for n in (2, 4))
    n_more = many["kernel_launches"] - few["kernel_launches"]
    assert n_more <= 2 * n_launches
    assert many["memset_count"] == few["memset_count"]


def test_neither_taking_nor_drawing_waits_for_the_device(library: Library) -> None:
    blocks = blocks_of(library, "float32", weighted=True)
    values = blocks.cut(library.asarray(np.ones(N_POINTS), "float32"))
    uniforms = library.asarray(np.linspace(0.1, 0.9, 5))
    counts = counted(lambda: blocks.take(draw_by_value(blocks, values, uniforms)))
    assert_silent(counts)
    assert counts["h2d_count"] == 0
