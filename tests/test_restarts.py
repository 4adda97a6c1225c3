"""Restarts that run as one batch end as each of them alone does."""

from typing import Any

import numpy as np
import pytest

from conftest import Library
from kmeans_xp import KMeans
from kmeans_xp.algorithms import lloyd, lloyd_restarts
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.kernels import DenseRows


def blocks_and_starts(library: Library, n_starts: int = 4) -> tuple[InMemory, list[Any]]:
    rng = np.random.default_rng(5)
    host = rng.normal(size=(400, 3))
    blocks = InMemory(DenseRows(library.asarray(host, "float32")), xp=library.xp)
    starts = [host[rng.choice(400, 7, replace=False)] for _ in range(n_starts)]
    starts[1][3:] = 50.0  # four clusters without rows, which are then given some
    return blocks, [library.asarray(start, "float32") for start in starts]


@pytest.mark.parametrize(("tol", "max_iter"), [(0.0, 300), (0.0, 12), (0.05, 300), (0.0, 1)])
def test_each_run_is_what_it_is_alone(tol: float, max_iter: int, library: Library) -> None:
    blocks, starts = blocks_and_starts(library)
    together = lloyd_restarts(blocks, starts, max_iter=max_iter, tol=tol)
    assert len({len(result.iterations) for result in together}) > 1 or max_iter < 20
    for start, result in zip(starts, together, strict=True):
        alone = lloyd(blocks, start, max_iter=max_iter, tol=tol)
        assert result.iterations == alone.iterations
        assert result.inertia == alone.inertia
        for name in ("centroids", "labels"):
            np.testing.assert_array_equal(
                library.to_host(getattr(result, name)), library.to_host(getattr(alone, name))
            )


def test_small_fits_keep_the_best_run_as_large_ones_do(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = np.random.default_rng(1).normal(size=(300, 2))
    points = library.asarray(host, "float64" if library.name != "jax" else "float32")
    fits = []
    for is_small in (False, True):
        monkeypatch.setattr(InMemory, "is_small", property(lambda _, small=is_small: small))
        monkeypatch.setattr(InMemory, "repeated", lambda _, step: step)
        fits.append(KMeans(8, init="random", n_init=6, random_state=2).fit(points))
    in_turn, together = fits
    assert in_turn.inertia_ == together.inertia_
    assert in_turn.n_iter_ == together.n_iter_
    np.testing.assert_array_equal(
        library.to_host(in_turn.labels_), library.to_host(together.labels_)
    )
