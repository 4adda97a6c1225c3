"""Rows on which k-means++ that leaves out work must choose the rows of plain passes."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import assume
from numpy.testing import assert_array_equal

from kmeans_xp import kmeans_plusplus
from kmeans_xp.algorithms import seeding
from kmeans_xp.kernels import DenseRows, SphereRows, chosen_at_once, sphere_factors

Rows = np.ndarray[Any, Any]

#: from here on, groups lie apart by their number of features alone
MANY_FEATURES = 16


@contextmanager
def plain() -> Iterator[None]:
    """Make plain passes over all rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeding, "chosen_at_once", chosen_at_once.portable)
        yield


def uniform(n_points: int, n_features: int, rng: np.random.Generator) -> Rows:
    return rng.random((n_points, n_features))


def lattice(n_points: int, n_features: int, rng: np.random.Generator) -> Rows:
    """Few whole numbers: many rows half-way between two others, and many that are equal."""
    most = 9 if n_features < MANY_FEATURES else 3
    return rng.integers(0, most, (n_points, n_features)).astype(float)


def heavy_tails(n_points: int, n_features: int, rng: np.random.Generator) -> Rows:
    return rng.standard_cauchy((n_points, n_features))


def groups(n_points: int, n_features: int, rng: np.random.Generator) -> Rows:
    scale = 20.0 if n_features < MANY_FEATURES else 3.0
    centres = rng.normal(scale=scale, size=(20, n_features))
    return centres[rng.integers(0, 20, n_points)] + rng.normal(size=(n_points, n_features))


def of_all_sizes(n_points: int, n_features: int, rng: np.random.Generator) -> Rows:
    """Return rows from very short to long, and zeros."""
    scales = 10.0 ** rng.integers(-25, 3, (n_points, 1))
    return np.where(rng.random((n_points, 1)) < 0.1, 0.0, scales) * rng.normal(
        size=(n_points, n_features)
    )


KINDS: list[Callable[..., Rows]] = [uniform, lattice, heavy_tails, groups, of_all_sizes]
#: those without a row of zeros, which has no direction
DIRECTIONS: list[Callable[..., Rows]] = [uniform, heavy_tails, groups]


def placed(points: Rows, weighted: bool, metric: str, rng: np.random.Generator) -> Any:
    """Return rows as kernels take them: less their mean, or scaled to a sphere."""
    weights = rng.random(len(points)).astype(points.dtype) if weighted else None
    if metric == "cosine":
        return SphereRows(points, weights, factors=sphere_factors(DenseRows(points), xp=xp))
    return DenseRows(points, weights, points.mean(axis=0))


def check_same_rows(
    from_the_start: Callable[[], AbstractContextManager[None]],
    points: Rows,
    n_clusters: int,
    weighted: str | None,
    seed: int,
    metric: str = "euclidean",
) -> None:
    """Compare the rows that are chosen with those of plain passes, and their bits."""
    if metric == "euclidean":  # heavy tails may have squares without room
        wide = np.asarray(points.todense() if hasattr(points, "todense") else points, np.float64)
        assume(wide.var(axis=0).sum() < np.finfo(points.dtype).max / 64)
    rng = np.random.default_rng(seed)
    weights = None if weighted is None else rng.random(points.shape[0])
    if weights is not None and weighted == "zeros":
        weights[rng.random(points.shape[0]) < 0.5] = 0.0
        weights[0] = 1.0
    params: dict[str, Any] = {"sample_weight": weights, "metric": metric}
    params["random_state"] = seed % 2**31
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The largest weight")  # squares may vanish
        with from_the_start():
            centroids, indices = kmeans_plusplus(points, n_clusters, **params)
        with plain():
            expected_centroids, expected = kmeans_plusplus(points, n_clusters, **params)
    assert_array_equal(indices, expected)
    assert_array_equal(centroids, expected_centroids)


def counted(points: Rows, n_clusters: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return which part of the rows measured a candidate, for each centroid."""
    from kmeans_xp.kernels.for_numba import skipped_seeding

    parts: list[float] = []
    all_of = skipped_seeding._Skipping.all_of

    def counting(chosen: Any, trials: Rows) -> Any:
        result = all_of(chosen, trials)
        parts.extend(chosen.parts)
        return result

    monkeypatch.setattr(skipped_seeding._Skipping, "all_of", counting)
    kmeans_plusplus(points, n_clusters, random_state=0)
    return parts
