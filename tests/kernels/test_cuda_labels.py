"""One arithmetic for labels on CuPy: the chain, whichever kernel gives them."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Library
from kmeans_xp.kernels import DenseRows, lloyd_step, lloyd_step_batched, nearest_labels
from tests.chain import Problem, chain_labels, fused, of_tenths

with_cupy_alone = pytest.mark.skip_library(
    *("numpy", "array_api_strict", "torch", "jax", "dpnp"), reason="is of CUDA"
)

DTYPES = ("float16", "bfloat16", "float32", "float64")

#: features and clusters on both sides of every bound between kernels
BANDS = [
    *((features, clusters) for features in (1, 3, 8, 16) for clusters in (2, 100, 900)),
    *((features, clusters) for features in (17, 33, 64) for clusters in (3, 60, 500)),
    *((features, clusters) for features in (65, 128, 130) for clusters in (5, 64, 300)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_reference_rounds_once(dtype: str) -> None:
    rng = np.random.default_rng(0)
    a, b, noise = (rng.standard_normal(2000).astype(dtype) for _ in range(3))
    # Half of them cancel, and every third product ends in a half of the sum's last place.
    c = np.where(np.arange(2000) % 2 == 0, -a * b, noise).astype(dtype)
    c[::3] = (1 + noise[::3] * np.finfo(dtype).eps).astype(dtype)
    a[::3] = np.ldexp(np.round(a[::3] * 8) / 8, -26).astype(dtype)
    b[::3] = np.ldexp(np.round(b[::3] * 8) / 8, 2).astype(dtype)
    exact = [
        Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        for x, y, z in zip(a, b, c, strict=True)
    ]
    np.testing.assert_array_equal(fused(a, b, c), [_rounded(each, dtype) for each in exact])


def _rounded(exact: Fraction, dtype: str) -> float:
    """Return the nearest number, to even at a tie."""
    guess = np.dtype(dtype).type(float(exact))
    near = [np.nextafter(guess, np.dtype(dtype).type(-np.inf)), guess]
    near += [np.nextafter(guess, np.dtype(dtype).type(np.inf))]
    return min(near, key=lambda each: (abs(Fraction(float(each)) - exact), _last_bit(each)))


def _last_bit(number: Any) -> int:
    return int(np.atleast_1d(number).view(f"u{number.itemsize}")[0] & 1)


@with_cupy_alone
@settings(max_examples=6)
@given(
    band=st.sampled_from(BANDS),
    dtype=st.sampled_from(DTYPES),
    n_points=st.sampled_from([1, 40, 150]),
    by_tensor_cores=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_every_kernel_gives_the_labels_of_the_chain(
    band: tuple[int, int],
    dtype: str,
    n_points: int,
    by_tensor_cores: bool,
    seed: int,
    library: Library,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if by_tensor_cores:
            take_tensor_cores(patch)
        check_all_kernels(of_tenths(n_points, band, dtype, seed), seed, library)


def take_tensor_cores(patch: pytest.MonkeyPatch) -> None:
    from kmeans_xp.kernels.for_cupy import certified, labels

    for bound in ("_LEAST_FEATURES", "_LEAST_CLUSTERS", "_LEAST_WORK"):
        patch.setattr(certified, bound, 1)
    patch.setattr(labels, "_LEAST_SORTED", (1, 1, 1))
    patch.setattr(labels, "_MOST_BATCHED", 0)


def check_all_kernels(problem: Problem, seed: int, library: Library) -> None:
    points, origin, first = problem
    n_clusters = len(first)
    shuffled = np.random.default_rng(seed).permutation(n_clusters)
    both = np.stack([first, first[shuffled] / 2])
    rows = DenseRows(library.xp.asarray(points), None, library.xp.asarray(origin))
    centroids = library.xp.asarray(both)
    batched = lloyd_step_batched(rows, centroids, xp=library.xp)
    for run in range(2):
        expected = chain_labels(points, origin, both[run])
        labels = nearest_labels(rows, centroids[run, ...], xp=library.xp)
        np.testing.assert_array_equal(library.to_host(labels), expected)
        step = lloyd_step(rows, centroids[run, ...], xp=library.xp)
        masses = np.bincount(expected, minlength=n_clusters)
        wide = points.astype(both.dtype) - origin
        sums = np.zeros(both.shape[1:])
        np.add.at(sums, expected, wide.astype(np.float64))
        for totals in (step, type(step)(batched.sums[run, ...], batched.mass[run, ...])):
            np.testing.assert_array_equal(library.to_host(totals.mass), masses)
            np.testing.assert_allclose(library.to_host(totals.sums), sums, atol=1e-9)


@with_cupy_alone
@pytest.mark.parametrize("band", [(16, 900), (70, 9)])
def test_a_label_depends_on_its_row_alone(band: tuple[int, int], library: Library) -> None:
    points, origin, centroids = of_tenths(300, band, "float32", 0)
    given = library.xp.asarray(centroids)
    expected = chain_labels(points, origin, centroids)
    for start, stop in ((0, 300), (7, 8), (100, 233)):
        rows = DenseRows(library.xp.asarray(points[start:stop]), None, library.xp.asarray(origin))
        labels = library.to_host(nearest_labels(rows, given, xp=library.xp))
        np.testing.assert_array_equal(labels, expected[start:stop])


@with_cupy_alone
@pytest.mark.parametrize("band", [(5, 20), (16, 900), (70, 9)])
def test_scores_below_the_least_normal_number_count(
    band: tuple[int, int], library: Library
) -> None:
    rng = np.random.default_rng(0)
    points = (rng.standard_normal((200, band[0])) * 1e-21).astype(np.float32)
    centroids = (rng.standard_normal((band[1], band[0])) * 1e-21).astype(np.float32)
    nothing = np.zeros(band[0], np.float32)
    expected = chain_labels(points, nothing, centroids)
    assert len(np.unique(expected)) > 1
    rows = DenseRows(library.xp.asarray(points), None, None)
    labels = nearest_labels(rows, library.xp.asarray(centroids), xp=library.xp)
    np.testing.assert_array_equal(library.to_host(labels), expected)
