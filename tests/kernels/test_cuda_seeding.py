"""Greedy k-means++ on CUDA: few launches a centre, none of them waited for, some as graphs."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conftest import Library
from kmeans_xp import KMeans
from kmeans_xp.algorithms import kmeans_plusplus, kmeans_plusplus_starts, more_centroids
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.kernels import DenseRows, chosen_at_once, drawn, starts_at_once
from tests.datasets import cloud, positive_weights

pytestmark = pytest.mark.skip_library(
    *("numpy", "array_api_strict", "torch", "jax", "dpnp"), reason="is of CUDA"
)


def blocks_of(
    library: Library, n_points: int, n_features: int, dtype: str, *, weighted: bool = False
) -> InMemory:
    host = cloud(n_points, n_features)
    weights = library.asarray(positive_weights(n_points), "float32") if weighted else None
    origin = library.asarray(host.mean(axis=0), "float32")
    return InMemory(DenseRows(library.asarray(host, dtype), weights, origin), xp=library.xp)


def chosen(blocks: InMemory, n_clusters: int, library: Library, **params: Any) -> list[int]:
    seeds = kmeans_plusplus(blocks, n_clusters, np.random.RandomState(0), **params)
    indices: list[int] = library.to_host(seeds.indices).tolist()
    return indices


@pytest.fixture
def without_fusing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Choose each row by kernels in turn from now on."""

    def turn_off() -> None:
        from kmeans_xp.algorithms import seeding

        monkeypatch.setattr(seeding, "chosen_at_once", chosen_at_once.portable)

    return turn_off


@pytest.mark.sampled(1, cupy=2)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n_features", "n_trials"), [(1, 1), (3, 3), (33, 5), (70, 16)])
def test_the_rows_are_those_of_kernels_in_turn(
    n_features: int,
    n_trials: int,
    weighted: bool,
    dtype: str,
    library: Library,
    without_fusing: Callable[[], None],
) -> None:
    blocks = blocks_of(library, 1500, n_features, dtype, weighted=weighted)
    found = chosen(blocks, 6, library, n_trials=n_trials)
    given = blocks.whole.centred()[:3, :]
    more = more_centroids(blocks, given, 6, np.random.RandomState(1))
    without_fusing()
    assert found == chosen(blocks, 6, library, n_trials=n_trials)
    others = more_centroids(blocks, given, 6, np.random.RandomState(1))
    assert library.to_host(more).tolist() == library.to_host(others).tolist()


def test_more_trials_than_are_compiled_are_made_by_kernels_in_turn(library: Library) -> None:
    blocks = blocks_of(library, 300, 3, "float32")
    trials = library.asarray(np.full((2, 17), 0.5))
    closest = library.xp.ones(300, dtype=library.xp.float32)
    assert chosen_at_once(blocks.whole, closest, None, trials, xp=library.xp) is None
    assert len(set(chosen(blocks, 4, library, n_trials=17))) == 4


@pytest.mark.parametrize("reason", ["ran out", "too many"])
def test_where_memory_is_short_no_distances_are_kept(
    reason: str, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import seeding

    if reason == "ran out":
        monkeypatch.setattr(seeding, "within_budget", lambda n_bytes: n_bytes // 2)
    else:
        monkeypatch.setattr(seeding, "_MOST_KEPT_BYTES", 300 * 3 * 4 - 1)
    trials = library.asarray(np.full((2, 3), 0.5))
    rows, closest = blocks_of(library, 300, 3, "float32").whole, library.xp.ones(300)
    closest = library.xp.astype(closest, library.xp.float32)
    assert chosen_at_once(rows, closest, None, trials, xp=library.xp) is None


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_replayed_centres_are_the_same_rows(
    order: str, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import seeding

    blocks = blocks_of(library, 900, 5, "float32", weighted=True)
    replayed = chosen(blocks, 24, library)
    monkeypatch.setattr(seeding, "_FEW_NUMBERS", 0)
    monkeypatch.setenv("CUPY_ON_CPU_ORDER", order)
    assert chosen(blocks, 24, library) == replayed


@pytest.mark.sampled(1, cupy=2)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("is_small", [False, True])
def test_a_centre_is_three_launches_and_nothing_is_read(
    is_small: bool, weighted: bool, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs a count of launches")
    from kmeans_xp.kernels.for_cupy import seeding

    if not is_small:
        monkeypatch.setattr(seeding, "_FEW_NUMBERS", 0)
    blocks = blocks_of(library, 2000, 9, "float32", weighted=weighted)

    def counted(n_clusters: int) -> dict[str, int]:
        assert 2 + int(math.log(n_clusters)) == 5  # trials
        kmeans_plusplus(blocks, n_clusters, np.random.RandomState(0))
        stats.reset()
        kmeans_plusplus(blocks, n_clusters, np.random.RandomState(0))
        read: dict[str, int] = stats.read()
        return read

    few, many = counted(25), counted(45)
    assert many["kernel_launches"] - few["kernel_launches"] == 3 * 20
    assert many["graph_launches"] - few["graph_launches"] == (20 if is_small else 0)
    for name in ("library_calls", "memset_count", "d2d_count", "h2d_count"):
        assert many[name] == few[name], name
    for name in ("d2h_count", "stream_syncs", "device_syncs", "event_syncs"):
        assert many[name] == 0, name


def problem_of(kind: str, n_features: int) -> np.ndarray:
    rng = np.random.default_rng(n_features)
    spots = 20.0 * rng.normal(size=(8, n_features))
    host = spots[rng.integers(8, size=1200)] + rng.normal(size=(1200, n_features))
    if kind == "far from zero":
        return host + 1e4
    if kind == "equal rows":
        return np.round(host[rng.integers(60, size=1200)])
    if kind == "tiny":
        return host * 1e-18
    return rng.normal(size=(1200, n_features)) if kind == "one cloud" else host


@pytest.mark.sampled(1, cupy=2)
@pytest.mark.parametrize("kind", ["clusters", "far from zero", "equal rows", "tiny", "one cloud"])
@pytest.mark.parametrize(
    ("n_features", "dtype"), [(3, "float32"), (3, "float64"), (32, "float32"), (77, "float64")]
)
def test_rows_that_are_skipped_change_no_bit(
    n_features: int, kind: str, dtype: str, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import seeding

    host = problem_of(kind, n_features)
    points = library.asarray(host, dtype)
    weights = library.asarray(positive_weights(1200), dtype)
    blocks = InMemory(DenseRows(points, weights, points[0, :]), xp=library.xp)
    monkeypatch.setattr(seeding, "_FEW_NUMBERS", 0)
    measured: list[bytes] = []
    shares: list[float] = []
    measure = seeding._measure

    def noted(*args: Any, **kwargs: Any) -> None:
        measure(*args, **kwargs)
        asked = args[3]
        if asked.state is not seeding.NULL:
            measured.append(library.to_host(asked.partials).tobytes())
            shares.append(float(np.isinf(library.to_host(asked.kept)).mean()))

    monkeypatch.setattr(seeding, "_measure", noted)
    results = []
    for bytes_of_row in (0, 10**6):
        monkeypatch.setattr(seeding, "_WIDE_ROW_BYTES", bytes_of_row)
        more = more_centroids(blocks, blocks.whole.centred()[:2, :], 9, np.random.RandomState(1))
        results.append((chosen(blocks, 12, library), library.to_host(more).tobytes(), [*measured]))
        n_centres = len(measured)
        share = np.mean(shares)
        # Clusters apart are skipped, rows nearest to a centre that was given never.
        if bytes_of_row or kind == "one cloud":
            assert share <= 0.5
        else:
            assert share > 0.3
        if bytes_of_row:
            assert share == 0.0
        measured.clear()
        shares.clear()
    assert n_centres == 18
    assert results[0] == results[1]


def test_a_centre_of_long_rows_is_four_launches(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs a count of launches")
    from kmeans_xp.kernels.for_cupy import seeding

    monkeypatch.setattr(seeding, "_FEW_NUMBERS", 0)
    blocks = blocks_of(library, 500, 40, "float32")

    def counted(n_clusters: int) -> int:
        kmeans_plusplus(blocks, n_clusters, np.random.RandomState(0))
        stats.reset()
        kmeans_plusplus(blocks, n_clusters, np.random.RandomState(0))
        assert stats.read()["d2h_count"] == 0
        return int(stats.read()["kernel_launches"])

    assert counted(13) - counted(10) == 3 * 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_are_drawn_where_a_running_total_says(side: Any, dtype: str, library: Library) -> None:
    # Of 20 blocks of rows; some are all zeros, as are the first rows and the last.
    weights = np.random.default_rng(0).integers(0, 4, 5000).astype(dtype)
    weights[:300] = weights[1000:1600] = weights[4500:] = 0.0
    reached = np.cumsum(weights)
    # Halves, quarters and so on of the whole, on which a total may lie, and all but the whole.
    weights[4400] += 2048 * 4 - reached[-1] % (2048 * 4)
    uniforms = np.concatenate([np.arange(0, 200) / 2048, [0.5, np.nextafter(1.0, 0.0)]])
    values, ones = (library.asarray(each, dtype) for each in (weights, np.ones(5000)))
    for given in ((values, None), (ones, values)):
        placed = library.asarray(uniforms)
        found = drawn(*given, placed, side, xp=library.xp)
        expected = drawn.portable(*given, placed, side, xp=library.xp)
        np.testing.assert_array_equal(library.to_host(found), library.to_host(expected))


def test_a_draw_is_two_launches_and_many_draws_are_a_running_total(library: Library) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs a count of launches")
    values = library.asarray(np.ones(5000), "float32")
    for n_drawn, is_few in ((256, True), (257, False)):
        uniforms = library.asarray(np.linspace(0.0, 0.9, n_drawn))
        drawn(values, None, uniforms, "left", xp=library.xp)
        stats.reset()
        drawn(values, None, uniforms, "left", xp=library.xp)
        assert (stats.read()["kernel_launches"] == 2) == is_few


@pytest.mark.parametrize("weighted", [False, True])
def test_the_rows_of_many_starts_take_the_launches_of_two(weighted: bool, library: Library) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs a count of launches")
    blocks = blocks_of(library, 500, 4, "float32", weighted=weighted)

    def counted(n_starts: int) -> dict[str, int]:
        for _ in range(2):  # compiles
            stats.reset()
            state = np.random.RandomState(0)
            assert len(list(kmeans_plusplus_starts(blocks, 20, state, n_starts))) == n_starts
        read: dict[str, int] = stats.read()
        return read

    two, ten = counted(2), counted(10)
    assert two["kernel_launches"] > 0
    for name in ("kernel_launches", "graph_launches", "library_calls", "memset_count"):
        assert ten[name] == two[name], name
    assert (ten["h2d_count"], ten["d2h_count"]) == (two["h2d_count"], 0)


def test_a_fit_of_ten_starts_launches_as_often_as_one_of_two(library: Library) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs a count of launches")
    points = library.asarray(cloud(500, 4), "float32")

    def counted(n_init: int) -> int:
        model = KMeans(8, n_init=n_init, random_state=0, max_iter=8, tol=0.0)
        for _ in range(2):  # compiles
            stats.reset()
            model.fit(points)
        return int(stats.read()["kernel_launches"])

    # Each start has its labels and its inertia computed alone, and its centroids copied.
    assert counted(10) - counted(2) <= 8 * 6


def test_starts_of_many_rows_are_chosen_one_by_one(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import seeding

    blocks = blocks_of(library, 300, 3, "float32")
    uniforms = np.random.RandomState(0).random_sample((2, 1 + 3 * 3))
    assert starts_at_once(blocks.whole, uniforms, 4, xp=library.xp) is not None
    monkeypatch.setattr(seeding, "_FEW_NUMBERS", 899)
    assert starts_at_once(blocks.whole, uniforms, 4, xp=library.xp) is None
