"""What NumPy or Python's interpreter does in the first fits has the bits of compiled code."""

import warnings
from typing import Any

import hypothesis.extra.numpy as drawn_arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from kmeans_xp import BisectingKMeans, KMeans

pytest.importorskip("numba", reason="about what it compiles")

from kmeans_xp.kernels.for_numba import assignment, measuring, seeding, tiling, updating
from kmeans_xp.kernels.for_numba.compiled import Compiled
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL
from kmeans_xp.kernels.for_numba.uncompiled import (
    added_moments,
    directions_of,
    means_of,
    rows_found,
    write_groups,
)

DTYPES = st.sampled_from(["float32", "float64"])
BLOCK, PARTS = seeding.DRAWN_BLOCK, seeding.N_PARTS


@given(DTYPES, st.integers(1, 3000), st.integers(1, 40), st.booleans(), st.integers(0, 2**31))
def test_moments(dtype: Any, n_points: int, n_features: int, is_weighted: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = (10.0 ** rng.integers(-5, 5) * rng.normal(size=(n_points, n_features))).astype(dtype)
    weights = rng.random(n_points if is_weighted else 0).astype(dtype)
    origin, panel = points[0], PANEL[points.dtype]
    tile = tiling.tile_rows(n_points, n_features, points.dtype)
    added = np.zeros((2, n_features * panel))
    nothing = tiling.nothing(points.dtype)
    measuring.add_moments[points.dtype](
        points, 0, n_points, tile, 0, nothing, origin, weights, *added
    )
    sums = np.empty(2 * n_features)
    tiling.sum_lanes[points.dtype](added.ravel(), panel, sums)
    assert_array_equal(added_moments(points, origin, weights, panel).ravel(), sums)


@given(
    DTYPES,
    st.sampled_from([1, 31, 32, 33, 1000, BLOCK, BLOCK + 1, 3 * BLOCK - 5, 3 * BLOCK]),
    st.booleans(),
    st.sampled_from(["left", "right"]),
    st.sampled_from([0.0, 0.5, 0.999]),
    st.integers(0, 2**31),
)
def test_draws(
    dtype: Any, n_points: int, is_weighted: bool, side: str, share_of_zeros: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(n_points) < share_of_zeros, 0.0, rng.random(n_points))
    values, weights = values.astype(dtype), rng.random(n_points if is_weighted else 0).astype(dtype)
    if rng.random() < 0.3:
        values[BLOCK:] = 0.0  # blocks without mass
    uniforms = np.r_[0.0, rng.random(20), 1.0 - 2.0**-53, 1.0]
    totals, found = np.empty(-(-n_points // BLOCK)), np.empty(len(uniforms), np.int64)
    seeding.add_blocks[values.dtype](values, weights, 0, len(totals), totals)
    seeding.find[values.dtype](values, weights, totals, uniforms, side == "left", found)
    assert_array_equal(rows_found(values, weights, uniforms, side, BLOCK, PARTS), found)


@given(drawn_arrays.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1e300)), DTYPES)
def test_the_first_least(potentials: Any, dtype: Any) -> None:
    function = seeding.first_least
    assert function._interpreted(potentials, 1e-6) == function[np.dtype(dtype)](potentials, 1e-6)


@given(DTYPES, st.integers(1, 30), st.integers(1, 20), st.integers(0, 2**31))
def test_sums_means_and_spread(dtype: Any, n_clusters: int, n_features: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sums, squares = rng.normal(size=(n_clusters, n_features)), rng.random((2, n_features))
    sums[:1] *= 1e-30  # rows that cancel out
    mass = rng.integers(0, 3, n_clusters).astype(np.float64)
    old = rng.normal(size=(n_clusters, n_features)).astype(dtype)
    packed, groups = (assignment.Groups.empty(*old.shape, old.dtype) for _ in range(2))
    for numbers in (*packed, *groups):
        numbers.fill(7.0)
    assignment.pack_groups[old.dtype](old, *packed)
    write_groups(old, *groups)
    for ours, theirs in zip(groups, packed, strict=True):
        assert_array_equal(ours, theirs)
    assert_same(tiling.sum_lanes, dtype, sums.ravel(), n_features, np.empty(n_clusters))
    for on_sphere, of_numpy in ((False, means_of), (True, directions_of)):
        new, signals = np.empty_like(old), np.empty(3)
        updating.update_clusters[old.dtype](sums, mass, old, on_sphere, new, signals)
        for ours, theirs in zip(of_numpy(sums, mass, old), (new, signals), strict=True):
            assert_array_equal(ours, theirs)
    parts = (7.0, sums[0], squares[0], 2.5, sums[-1], squares[1], old[0])
    assert_same(measuring.measure_spread, dtype, *parts, np.empty_like(old[0]), np.empty(3))


def assert_same(function: Compiled, dtype: Any, *arguments: Any) -> None:
    """Call it in both ways, and compare all arrays."""
    others = [each.copy() if isinstance(each, np.ndarray) else each for each in arguments]
    function[np.dtype(dtype)](*arguments)
    function._interpreted(*others)
    for ours, theirs in zip(arguments, others, strict=True):
        assert_array_equal(ours, theirs)


@pytest.mark.parametrize("estimator", [KMeans, BisectingKMeans], ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    ("dtype", "spread", "weight"),
    [
        *[("float32", 1.0, None), ("float64", 1.0, 1.0), ("float32", 1e15, 1e12)],
        *[("float64", 1e-120, 1.0), ("float64", 1.0, 1e-310), ("float64", 1e146, 1e-3)],
    ],
)
def test_fits_that_compile_little_are_those_that_compile_all(
    estimator: Any, dtype: Any, spread: float, weight: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    points = (spread * rng.normal(size=(500, 20))).astype(dtype)
    weights = None if weight is None else weight * rng.random(500)

    def fitted() -> Any:
        with np.errstate(all="raise"), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit = estimator(5, random_state=0).fit(points, sample_weight=weights)
        return fit, [str(each.message) for each in caught]

    compiled, told = fitted()
    monkeypatch.setattr(Compiled, "pays", lambda *_: False)
    interpreted, told_too = fitted()
    assert told == told_too
    assert_array_equal(interpreted.labels_, compiled.labels_)
    assert_array_equal(interpreted.cluster_centers_, compiled.cluster_centers_)
    assert interpreted.inertia_ == compiled.inertia_
