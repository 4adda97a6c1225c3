"""k-means++ in one compiled call chooses the same rows as its kernels one by one."""

from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from kmeans_xp import kmeans_plusplus
from kmeans_xp.algorithms import more_centroids, seeding
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.kernels import DenseRows, chosen_at_once

pytest.importorskip("kmeans_xp.kernels.for_numba.small_seeding")

LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda points: np.repeat(points, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
@given(
    st.integers(1, 600),
    st.sampled_from([1, 3, 4, 15, 16, 17, 64]),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["none", "some", "zeros"]),
    st.sampled_from([1e-15, 1.0, 1e15]),
)
def test_the_same_rows_are_chosen(
    layout: str,
    dtype: str,
    n_points: int,
    n_features: int,
    n_clusters: int,
    seed: int,
    weighted: str,
    scale: float,
) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers: many rows are equal, or half-way between two others.
    points = LAYOUTS[layout]((rng.integers(0, 5, (n_points, n_features)) * scale).astype(dtype))
    weights = None if weighted == "none" else rng.random(n_points)
    if weights is not None and weighted == "zeros":
        weights[rng.random(n_points) < 0.5] = 0.0
        weights[0] = 1.0
    n_clusters = min(n_clusters, n_points)
    params: dict[str, Any] = {"sample_weight": weights, "random_state": seed % 2**31}
    centroids, indices = kmeans_plusplus(points, n_clusters, **params)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeding, "chosen_at_once", chosen_at_once.portable)
        expected_centroids, expected = kmeans_plusplus(points, n_clusters, **params)
    assert_array_equal(indices, expected)
    assert_array_equal(centroids, expected_centroids)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_features", [3, 17, 64])
def test_rows_are_added_to_given_centroids_in_one_call(
    n_features: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = DenseRows(np.random.default_rng(0).normal(size=(300, n_features)).astype(dtype))
    blocks = InMemory(rows, xp=xp)

    def added() -> Any:
        return more_centroids(blocks, rows.points[5:8] + 0.5, 9, np.random.RandomState(1))

    with monkeypatch.context() as patch:
        patch.setattr(seeding, "chosen_at_once", chosen_at_once.portable)
        expected = added()
    monkeypatch.setattr(seeding, "candidate_potentials", None)
    assert_array_equal(added(), expected)


@pytest.mark.parametrize(("n_points", "n_features"), [(500, 4), (1_797, 64)])
def test_few_rows_take_one_call(
    n_points: int, n_features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeding, "candidate_potentials", None)
    points = np.random.default_rng(0).random((n_points, n_features), dtype=np.float32)
    assert len(set(kmeans_plusplus(points, 10, random_state=0)[1].tolist())) == 10


def test_rows_that_several_tasks_share_are_left_to_the_kernels() -> None:
    rows = DenseRows(np.random.default_rng(0).random((20_000, 12), dtype=np.float32))
    closest, trials = np.full(20_000, np.inf, np.float32), np.full((3, 4), 0.5)
    assert chosen_at_once(rows, closest, rows.points[:1], trials, xp=xp) is None


def test_the_distances_so_far_are_not_written_to() -> None:
    rows = DenseRows(np.random.default_rng(0).random((100, 4)))
    closest, trials = np.full(100, np.inf), np.full((3, 4), 0.5)
    assert chosen_at_once(rows, closest, rows.points[:1], trials, xp=xp) is not None
    assert np.isinf(closest).all()
