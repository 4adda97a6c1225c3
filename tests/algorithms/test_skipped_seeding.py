"""k-means++ that skips rows measures few of them, and chooses the same rows as plain passes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from kmeans_xp import config_context, kmeans_plusplus
from kmeans_xp.kernels import (
    candidate_potentials,
    closer_of,
)
from tests.datasets import blobs
from tests.seeding_problems import DIRECTIONS, KINDS, Rows, check_same_rows, counted, groups, placed

pytest.importorskip("numba")
skipped = pytest.importorskip("kmeans_xp.kernels.for_numba.skipped_seeding")
by_cluster = pytest.importorskip("kmeans_xp.kernels.for_numba.rows_by_cluster")


@contextmanager
def held_from_the_start() -> Iterator[None]:
    """Hold the rows by cluster however few they are, and whether it pays or not."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "_FEWEST_CHOSEN": 2,
            "_FEWEST_ROWS": 1,
            "_FIRST_LOOK": 2,
            "_MOST_IN_REACH": 1.0,
            "_MOST_MEASURED": 2.0,
        }.items():
            patch.setattr(skipped, name, value)
        patch.setattr(by_cluster, "_FEW_PANELS", 0)
        yield


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(
    st.integers(60, 700),
    st.sampled_from([1, 2, 3, 5, 8, 15]),
    st.integers(4, 50),
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, "some", "zeros"]),
    st.sampled_from([0.0, 1e4]),
    st.sampled_from([1e-15, 1.0, 1e15]),
)
# Squares that are infinite in float32.
@example(60, 15, 4, 302, None, 0.0, 1e15)
@example(60, 2, 4, 5, None, 0.0, 1e15)
def test_the_same_rows_are_chosen(
    kind: Callable[..., Rows],
    dtype: str,
    n_points: int,
    n_features: int,
    n_clusters: int,
    seed: int,
    weighted: str | None,
    offset: float,
    scale: float,
) -> None:
    rng = np.random.default_rng(seed)
    points = ((kind(n_points, n_features, rng) + offset) * scale).astype(dtype)
    check_same_rows(held_from_the_start, points, n_clusters, weighted, seed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", DIRECTIONS, ids=lambda kind: kind.__name__)
@given(
    st.integers(60, 500),
    st.sampled_from([2, 3, 5, 8, 15]),
    st.integers(4, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, "some", "zeros"]),
    st.sampled_from([1e-15, 1.0, 1e15]),
)
def test_the_same_directions_are_chosen(
    kind: Callable[..., Rows],
    dtype: str,
    n_points: int,
    n_features: int,
    n_clusters: int,
    seed: int,
    weighted: str | None,
    scale: float,
) -> None:
    rng = np.random.default_rng(seed)
    points = (kind(n_points, n_features, rng) * scale).astype(dtype)
    check_same_rows(held_from_the_start, points, n_clusters, weighted, seed, "cosine")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_features", [1, 4, 15])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_distances_have_the_bits_of_plain_passes(
    metric: str, n_features: int, weighted: bool, dtype: str
) -> None:
    rng = np.random.default_rng(0)
    points = groups(3000, n_features, rng).astype(dtype)
    rows = placed(points, weighted, metric, rng)
    centroids = rows.take(rng.choice(3000, 60, replace=False)).points
    closest = np.full(3000, np.inf, dtype)
    for centroid in centroids[:10]:
        closest = closer_of(rows, closest, centroid[None], xp=xp)
    with held_from_the_start():
        held = by_cluster.RowsByCluster(rows, closest.copy(), centroids[:10], 60)
        for centroid in centroids[10:]:
            held.take_in(centroid)
            closest = closer_of(rows, closest, centroid[None], xp=xp)
            assert_array_equal(held.closest, closest)
            candidates = rows.take(rng.choice(3000, 5)).points
            expected = candidate_potentials(rows, closest, candidates, xp=xp)
            assert_allclose(held.potentials(candidates), expected, rtol=1e-12)


@pytest.mark.parametrize("n_features", [2, 10])
def test_few_rows_are_measured(n_features: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points = groups(40_000, n_features, np.random.default_rng(0)).astype(np.float32)
    parts = counted(points, 300, monkeypatch)
    assert len(parts) > 250
    assert np.mean(parts) < 0.1
    assert np.mean(parts[-50:]) < 0.06


def test_rows_that_all_are_in_reach_are_left_to_plain_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = np.random.default_rng(0).random((10_000, 15), dtype=np.float32)
    assert counted(points, 100, monkeypatch) == []


def test_plain_passes_go_on_where_the_estimate_was_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skipped, "_MOST_IN_REACH", 1.0)
    points = np.random.default_rng(0).random((10_000, 15), dtype=np.float32)
    assert 0 < len(counted(points, 100, monkeypatch)) <= skipped._MEASURED_STEPS


def test_rows_are_those_of_any_number_of_threads() -> None:
    points = blobs(30_000, 4, 100)[0].astype(np.float32)
    found = []
    for n_threads in (1, 2, 7):
        with config_context(n_threads=n_threads):
            found.append(kmeans_plusplus(points, 200, random_state=0)[1])
    assert_array_equal(found[1], found[0])
    assert_array_equal(found[2], found[0])
