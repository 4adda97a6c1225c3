"""k-means++ on sparse rows in one compiled call chooses the same rows as its kernels one by one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from kmeans_xp import kmeans_plusplus
from kmeans_xp.algorithms import seeding
from kmeans_xp.devices import csr_parts
from kmeans_xp.kernels import SparseRows, chosen_at_once
from tests.seeding_problems import check_same_rows

pytest.importorskip("kmeans_xp.kernels.for_numba.small_sparse_seeding")


def whole_numbers(n_points: int, n_features: int, share: float, seed: int, scale: float) -> Any:
    """Return rows of few whole numbers: many are equal, or half-way between two others."""
    rng = np.random.default_rng(seed)
    stored = rng.random((n_points, n_features)) < share
    return stored * rng.integers(0, 5, (n_points, n_features)) * scale


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(
    st.integers(1, 400),
    st.sampled_from([1, 3, 16, 70]),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.1, 0.9]),
    st.integers(0, 2**31 - 1),
    st.sampled_from([None, "some", "zeros"]),
    st.sampled_from([1e-15, 1.0, 1e15]),
)
def test_the_same_rows_are_chosen(
    dtype: str,
    n_points: int,
    n_features: int,
    n_clusters: int,
    share: float,
    seed: int,
    weighted: str | None,
    scale: float,
) -> None:
    points = whole_numbers(n_points, n_features, share, seed, scale).astype(dtype)
    made = scipy.sparse.csr_array(points)
    check_same_rows(in_one_call, made, min(n_clusters, n_points), weighted, seed)


@contextmanager
def in_one_call() -> Iterator[None]:
    """Fail where kernels would measure candidates one step after another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeding, "candidate_potentials", None)
        yield


@pytest.mark.parametrize(("n_points", "n_features"), [(500, 200), (1_189, 6_052)])
def test_few_rows_take_one_call(n_points: int, n_features: int) -> None:
    points = scipy.sparse.random_array((n_points, n_features), density=0.02, rng=0, format="csr")
    with in_one_call():
        assert len(set(kmeans_plusplus(points, 20, random_state=0)[1].tolist())) == 20


def rows_of(n_points: int) -> SparseRows:
    points = scipy.sparse.random_array((n_points, 50), density=0.5, rng=0, format="csr")
    return SparseRows(csr_parts(points))


def test_rows_that_several_tasks_share_are_left_to_the_kernels() -> None:
    rows, closest, trials = rows_of(20_000), np.full(20_000, np.inf), np.full((3, 4), 0.5)
    assert chosen_at_once(rows, closest, rows.part(0, 1).centred(), trials, xp=xp) is None


def test_the_distances_so_far_are_not_written_to() -> None:
    rows, closest, trials = rows_of(100), np.full(100, np.inf), np.full((3, 4), 0.5)
    assert chosen_at_once(rows, closest, rows.part(0, 1).centred(), trials, xp=xp) is not None
    assert np.isinf(closest).all()
