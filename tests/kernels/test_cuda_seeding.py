"""Greedy k-means++ on CUDA: few launches a centre, none of them waited for, some as graphs."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conftest import Library
from kmeans_xp.algorithms import kmeans_plusplus, more_centroids
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.kernels import DenseRows, chosen_at_once
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
