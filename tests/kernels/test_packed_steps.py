"""Steps of two clusters whose rows are packed once have the bits of single steps."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kmeans_xp.kernels import (
    DenseRows,
    SphereRows,
    means_on_sphere,
    sphere_factors,
    update_centroids,
)

pytest.importorskip("numba", reason="about what it compiles")

from kmeans_xp.kernels.for_numba import exact_steps, packed_steps, stepping, tiling
from tests.kernels.single_steps import assert_bits_of_single_steps, noted

Host = NDArray[Any]


@pytest.fixture(params=[1, 2, 4])
def numbers_of_steps(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[int]]:
    """Note how many steps each call takes, also where threads have no processor of their own."""
    monkeypatch.setattr(packed_steps.share_packed_steps, "pays", lambda *_: True)
    monkeypatch.setattr(tiling, "_WORTH_A_CELL", 0)
    monkeypatch.setattr(tiling, "_WORTH_A_TASK", 1000)  # several tasks
    with noted(monkeypatch, packed_steps, "packed_steps_in_threads", request.param) as taken:
        yield taken


def on_sphere(points: Host) -> SphereRows:
    """Return rows with their factors."""
    return SphereRows(points, factors=sphere_factors(DenseRows(points), xp=np))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_features", [1, 2, 3, 7, 8, 9, 16, 17, 31])
@pytest.mark.parametrize("n_points", [2, 15, 63, 64, 65, 1000, 20_000])
def test_steps_have_the_bits_of_single_ones(
    n_points: int, n_features: int, dtype: str, numbers_of_steps: list[int]
) -> None:
    points = np.random.default_rng(n_points).standard_normal((n_points, n_features)).astype(dtype)
    rows, update = on_sphere(points), means_on_sphere
    is_short = stepping.pairs_for(2, n_features, points.dtype) == 0
    taken = stepping.steps_in_a_call(rows, rows.take(np.arange(2)).points, 20, 0.0, update)
    n_taken = assert_bits_of_single_steps(taken, rows, rows.take(np.arange(2)).points, update)
    assert numbers_of_steps == ([n_taken] if is_short else [])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["side by side", "every other row"])
def test_plain_rows_are_measured_from_their_origin(
    layout: str, dtype: str, numbers_of_steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "may_step_exactly", lambda *_: False)
    points = np.random.default_rng(0).lognormal(0.0, 9.0, (2_000, 5)).astype(dtype)
    points = points[::2] if layout == "every other row" else points
    rows = DenseRows(points, None, points.mean(axis=0))
    pair = points[:2] - rows.origin
    taken = stepping.steps_in_a_call(rows, pair, 20, 0.0, update_centroids)
    n_taken = assert_bits_of_single_steps(taken, rows, pair)
    assert numbers_of_steps == [n_taken]


@pytest.mark.parametrize("label", [0, 1])
def test_a_step_that_leaves_a_cluster_empty_is_the_last(
    label: int, numbers_of_steps: list[int]
) -> None:
    rows = on_sphere(np.random.default_rng(0).random((700, 4)))
    pair = np.full((2, 4), -0.35)
    pair[label] = 0.35
    taken = stepping.steps_in_a_call(rows, pair, 20, 0.0, means_on_sphere)
    assert_bits_of_single_steps(taken, rows, pair, means_on_sphere)
    assert numbers_of_steps == [1]
    assert taken.totals.mass[0].tolist() == [700 * (1 - label), 700 * label]


@pytest.mark.parametrize("case", ["weights", "a row of zeros", "three clusters", "more features"])
def test_other_rows_take_other_steps(case: str, numbers_of_steps: list[int]) -> None:
    points = np.random.default_rng(0).random((500, 32 if case == "more features" else 4))
    points[7] = 0.0 if case == "a row of zeros" else points[7]
    rows, n_clusters = on_sphere(points), 3 if case == "three clusters" else 2
    rows = rows.weighted(np.ones(500)) if case == "weights" else rows
    pair = rows.take(np.arange(n_clusters)).points
    taken = stepping.steps_in_a_call(rows, pair, 3, 0.0, means_on_sphere)
    assert_bits_of_single_steps(taken, rows, pair, means_on_sphere)
    assert numbers_of_steps == []


def test_rows_that_are_a_large_copy_take_other_steps(
    numbers_of_steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = on_sphere(np.random.default_rng(0).random((500, 4)))
    pair = rows.take(np.arange(2)).points
    for room, n_calls in ((500 * 32 - 1, 0), (500 * 32, 1)):
        monkeypatch.setattr(exact_steps, "_PACKED_BYTES", room)
        stepping.steps_in_a_call(rows, pair, 3, 0.0, means_on_sphere)
        assert len(numbers_of_steps) == n_calls
