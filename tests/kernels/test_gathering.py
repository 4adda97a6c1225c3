"""Rows gathered by threads: those that NumPy takes, in memory that is used again."""

import numpy as np
import pytest

from kmeans_xp import config_context
from kmeans_xp.kernels import DenseRows, Room, SphereRows, gathered_rows
from kmeans_xp.kernels.for_numpy import gathering


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [1, 3, 16, 130])
@pytest.mark.parametrize("on_sphere", [False, True])
def test_gathers_what_numpy_takes(
    on_sphere: bool, n_features: int, dtype: type, n_threads: int
) -> None:
    """The rows and weights have the bits of NumPy's, for any number of them in one room."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(80_000 // n_features + 7, n_features)).astype(dtype)
    weights, origin = rng.random(len(points)).astype(dtype), points[0] * dtype(0.1)
    rows: DenseRows | SphereRows = DenseRows(points, weights, origin)
    if on_sphere:
        factors = (rng.random(len(points)) + 0.5).astype(dtype)
        rows = SphereRows(points, weights, origin, factors)
    room, memory = Room(), set()
    for share in (0.6, 0.7, 0.5, 0.9, 0.45):
        places = np.flatnonzero(rng.random(len(points)) < share)
        with config_context(n_threads=n_threads):
            found = gathering.gathered_in_threads(rows, places, room, xp=np)
        expected = rows.take(places)
        assert found.points.tobytes() == expected.points.tobytes()
        np.testing.assert_array_equal(found.weights, expected.weights)
        assert found.origin is None
        memory.add(found.points.__array_interface__["data"][0])
    assert len(memory) < 5


def test_declines_what_numpy_would_copy_whole() -> None:
    """Other layouts and few rows get the portable body, with the same rows."""
    points = np.arange(400_000.0).reshape(4, -1).T
    places = np.arange(0, len(points), 2)
    all_rows = (
        DenseRows(points),
        DenseRows(points[:100].copy()),
        SphereRows(points.copy() + 1.0),  # without factors, rows need more care
    )
    for rows in all_rows:
        some = places[: len(rows.points) // 2]
        found = gathering.gathered_in_threads(rows, some, Room(), xp=np)
        assert found is NotImplemented
        gathered = gathered_rows(rows, some, Room(), xp=np)
        assert gathered.points.tobytes() == rows.take(some).points.tobytes()
