"""Rows for tests of several steps in a call, and the single steps that they must equal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from kmeans_xp import config_context
from kmeans_xp.kernels import (
    DenseRows,
    LloydSteps,
    SphereRows,
    lloyd_steps,
    means_on_sphere,
    sphere_factors,
    update_centroids,
)

__all__ = ["assert_bits_of_single_steps", "noted", "of_each_kind", "rows_of"]


def rows_of(dtype: Any, *, is_weighted: bool = False, order: Any = "C") -> DenseRows:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2000, 5)).astype(dtype, order=order)
    weights = rng.random(2000).astype(dtype) if is_weighted else None
    return DenseRows(points, weights, points.mean(axis=0))


@contextmanager
def noted(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, n_threads: int
) -> Iterator[list[int]]:
    """Note how many steps each call of a function takes, if threads need no processor each."""
    from kmeans_xp.kernels.for_numba import exact_steps, stepping

    taken: list[int] = []
    take = getattr(module, name)

    def noting(*arguments: Any) -> int:
        taken.append(take(*arguments))
        return taken[-1]

    monkeypatch.setattr(stepping, name, noting)
    monkeypatch.setattr(exact_steps, "wait_awake", lambda n_threads: n_threads > 1)
    with config_context(n_threads=n_threads):
        yield taken


def _scaled_as_read(rows: DenseRows) -> SphereRows:
    """Return the rows with the factor of each."""
    return SphereRows(rows.points, rows.weights, factors=sphere_factors(rows, xp=np))


def _scaled_with_care(rows: DenseRows) -> SphereRows:
    """Return the rows with one of zeros, which has no factor."""
    points = rows.points.copy(order="K")
    points[1000] = 0.0
    return SphereRows(points, rows.weights)


#: for a test with the function that moves centroids, and one that makes rows for it
of_each_kind = pytest.mark.parametrize(
    ("updated", "kind"),
    [
        (update_centroids, lambda rows: rows),
        (means_on_sphere, lambda rows: rows),
        (means_on_sphere, _scaled_as_read),
        (means_on_sphere, _scaled_with_care),
    ],
    ids=["means", "directions", "scaled_as_read", "scaled_with_care"],
)


def assert_bits_of_single_steps(
    taken: LloydSteps, rows: Any, centroids: Any, updated: Any = update_centroids
) -> int:
    """Compare steps with single ones, and return their number."""
    n_steps = len(taken.update.signals)
    for number in range(n_steps):
        totals, update = lloyd_steps.portable(rows, centroids, 1, 0.0, updated, xp=np)
        for each, single in zip((*taken[0], *taken[1]), (*totals, *update), strict=True):
            assert each[number].tobytes() == single[0].tobytes()
        centroids = update.centroids[0]
    return n_steps
