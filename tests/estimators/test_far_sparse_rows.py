"""Sparse rows are measured from zero: squares from there that overflow give an error."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from kmeans_xp import (
    BisectingKMeans,
    KMeans,
    MiniBatchKMeans,
    kmeans_parallel,
    kmeans_plusplus,
    open_rows,
)
from kmeans_xp.selection import choose_n_clusters
from tests.datasets import cloud


def on_dask(matrix: Any) -> Any:
    da = pytest.importorskip("dask.array")
    return da.from_array(matrix.toarray(), chunks=(40, 3)).map_blocks(scipy.sparse.csr_matrix)


KINDS: dict[str, Callable[[Any], Any]] = {
    "in one piece": lambda matrix: matrix,
    "block by block": lambda matrix: open_rows(matrix, block_rows=40),
    "on Dask": on_dask,
}


def far_rows(distance: float) -> Any:
    """Return rows near one another, since their first feature is large and the same in all."""
    points = cloud(100, 3)
    points[:, 0] = distance
    return scipy.sparse.csr_array(points)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans, BisectingKMeans])
def test_rows_whose_squares_from_zero_overflow_are_refused(make: Any, kind: str) -> None:
    kmeans = make(2, random_state=0, max_iter=2)
    with pytest.raises(ValueError, match=r"lies 1.0e\+160 from zero.* dense rows"):
        kmeans.fit(KINDS[kind](far_rows(1e160)))
    assert not hasattr(kmeans, "inertia_")
    kmeans.fit(far_rows(1e160).toarray())
    assert kmeans.inertia_ < 1e3


@pytest.mark.parametrize("kind", KINDS)
def test_seedings_and_functions_refuse_them_too(kind: str) -> None:
    X = KINDS[kind](far_rows(1e160))
    with pytest.raises(ValueError, match=r"lies 1.0e\+160 from zero.* dense rows"):
        kmeans_plusplus(X, 2, random_state=0)
    with pytest.raises(ValueError, match=r"lies 1.0e\+160 from zero.* dense rows"):
        kmeans_parallel(X, 2, random_state=0)
    with pytest.raises(ValueError, match=r"lies 1.0e\+160 from zero.* dense rows"):
        choose_n_clusters(X, [2, 3], random_state=0)


@pytest.mark.parametrize("kind", KINDS)
def test_so_are_rows_whose_weights_make_them_overflow(kind: str) -> None:
    X, weights = far_rows(1e130), np.full(100, 1e60)
    kmeans = KMeans(1)  # rounded to nothing at that distance, the rows have no two clusters
    with pytest.raises(ValueError, match=r"times the sum of weights, 1.0e\+62, is too large"):
        kmeans.fit(KINDS[kind](X), sample_weight=weighted(X, weights, kind))
    assert np.isfinite(kmeans.fit(KINDS[kind](X)).inertia_)


def weighted(X: Any, weights: Any, kind: str) -> Any:
    if kind != "on Dask":
        return weights
    return pytest.importorskip("dask.array").from_array(weights, chunks=40)


def test_a_spread_that_overflows_is_an_error_without_a_warning_of_numpy() -> None:
    matrix = scipy.sparse.csr_array(np.where(cloud(100, 3) > 0.0, cloud(100, 3), 0.0) * 1e160)
    with pytest.raises(ValueError, match="too large for float64"):
        KMeans(2, random_state=0).fit(matrix)
