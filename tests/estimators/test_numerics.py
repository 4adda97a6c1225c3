"""Results are bit-identical every time, and as precise as the data allow."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from conftest import Library
from kmeans_xp import (
    BisectingKMeans,
    KMeans,
    MiniBatchKMeans,
    assign,
    config_context,
    inertia,
    k_means,
    k_means_batched,
    kmeans_parallel,
    kmeans_plusplus,
    lloyd,
    open_rows,
)
from kmeans_xp.selection import choose_n_clusters
from tests import oracle
from tests.assertions import PRECISIONS, assert_identical
from tests.datasets import blobs, cloud, positive_weights

pytestmark = pytest.mark.sampled(1, cupy=2)


@contextmanager
def threads(n_threads: int, *, also_blas: bool) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(config_context(n_threads=n_threads))
        if also_blas:
            stack.enter_context(threadpoolctl.threadpool_limits(n_threads))
        yield


@pytest.mark.sampled(1, numpy=2)
@pytest.mark.parametrize("also_blas", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("n_points", "n_features", "n_clusters"), [(30_000, 16, 24), (40_001, 2, 5), (9_000, 40, 130)]
)
def test_results_do_not_depend_on_the_number_of_threads(
    n_points: int, n_features: int, n_clusters: int, weighted: bool, dtype: type, also_blas: bool
) -> None:
    points = cloud(n_points, n_features).astype(dtype)
    # Thirds are rounded, so that the order of a sum shows.
    weights = (positive_weights(n_points) / 3.0).astype(dtype) if weighted else None
    fitted = []
    for n_threads in (1, 2, 4):
        with threads(n_threads, also_blas=also_blas):
            kmeans = KMeans(n_clusters, random_state=0, max_iter=3, tol=0.0)
            fitted.append(kmeans.fit(points, sample_weight=weights))
    one, *others = fitted
    for other in others:
        assert one.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
        assert one.labels_.tobytes() == other.labels_.tobytes()
        assert one.inertia_ == other.inertia_
        for name in ("inertia", "shift"):
            assert one.history_[name].tobytes() == other.history_[name].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_follows_a_fit_does_not_depend_on_the_number_of_threads(dtype: type) -> None:
    points = cloud(30_000, 16).astype(dtype)
    kmeans = KMeans(24, random_state=0, max_iter=2).fit(points)
    found = []
    for n_threads in (1, 2, 4):
        with threads(n_threads, also_blas=True):
            batches = MiniBatchKMeans(24, random_state=0, batch_size=4096, max_iter=2).fit(points)
            _, seeds = kmeans_plusplus(points, 24, random_state=1)
            parts = (kmeans.predict(points), kmeans.transform(points), seeds)
            found.append(
                [part.tobytes() for part in (*parts, batches.cluster_centers_, batches.labels_)]
                + [kmeans.score(points), batches.inertia_]
            )
    assert found[0] == found[1] == found[2]


@pytest.mark.sampled(1, cupy=2)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_a_second_run_has_the_same_bits(
    estimator_class: type, dtype: str, library: Library
) -> None:
    points = library.asarray(cloud(3000, 6), dtype)
    weights = library.asarray(positive_weights(3000) / 3.0, dtype)
    one, other = (
        estimator_class(10, random_state=0, n_init=2, max_iter=6).fit(points, None, weights)
        for _ in range(2)
    )
    assert_identical(one.cluster_centers_, other.cluster_centers_, library)
    assert_identical(one.labels_, other.labels_, library)
    assert_identical(one.transform(points), other.transform(points), library)
    assert one.inertia_ == other.inertia_
    for name in ("inertia", "shift"):
        assert one.history_[name].tobytes() == other.history_[name].tobytes()


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("at", [0.0, 1.0, 1000.0])
def test_the_inertia_of_tight_clusters_keeps_its_digits(
    at: float, dtype: str, library: Library
) -> None:
    # |x|^2 - 2 x.c + |c|^2 gives 0.0 here in float32.
    host = np.array([[1.0], [1.0002], [-1.0], [-1.0002]]) + at
    host = host.astype(dtype).astype(np.float64)
    kmeans = KMeans(2, random_state=0).fit(library.asarray(host, dtype))
    means = np.array([host[:2].mean(), host[2:].mean()])
    expected = ((host[:2] - means[0]) ** 2).sum() + ((host[2:] - means[1]) ** 2).sum()
    assert expected > 0.0
    # The centroids are rounded to a share of the clusters' distance from the origin.
    rtol = 1e-3 if dtype == "float32" else 1e-10
    assert kmeans.inertia_ == pytest.approx(expected, rel=rtol)
    assert kmeans.score(library.asarray(host, dtype)) == -kmeans.inertia_


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_the_inertia_function_is_exact_for_points_close_to_their_centroids(
    dtype: str, library: Library
) -> None:
    centroids = np.array([[1.0, 3.0], [-2.0, 1.0]])
    host = np.repeat(centroids, 50, axis=0)
    host[:, 0] += 2.0**-20  # exact in float32, and so is its square
    found = inertia(library.asarray(host, dtype), library.asarray(centroids, dtype))
    assert found == 100 * 2.0**-40
    nearest = assign(library.asarray(host, dtype), library.asarray(centroids, dtype))
    assert set(library.to_host(nearest.sq_distances).tolist()) == {2.0**-40}


@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_float32_clusters_far_from_zero_are_those_of_float64(
    offset: float, library: Library
) -> None:
    host = (blobs(2000, 4, 6)[0] + offset).astype(np.float32)
    single = KMeans(6, random_state=0, n_init=3).fit(library.asarray(host))
    double = KMeans(6, random_state=0, n_init=3).fit(host.astype(np.float64))
    np.testing.assert_array_equal(library.to_host(single.labels_), double.labels_)
    assert single.inertia_ == pytest.approx(double.inertia_, rel=1e-6)
    assert single.n_iter_ == double.n_iter_
    np.testing.assert_allclose(single.history_["inertia"], double.history_["inertia"], rtol=1e-5)
    spacing = float(np.spacing(np.float32(offset)))
    np.testing.assert_allclose(
        library.to_host(single.cluster_centers_), double.cluster_centers_, atol=spacing, rtol=0
    )


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_unit_of_the_data_does_not_count(scale: float, dtype: str, library: Library) -> None:
    host, _ = blobs()
    scale = 2.0 ** np.round(np.log2(scale))  # a power of two scales without rounding
    plain = KMeans(5, random_state=0).fit(library.asarray(host, dtype))
    scaled = KMeans(5, random_state=0).fit(library.asarray(host * scale, dtype))
    np.testing.assert_array_equal(library.to_host(scaled.labels_), library.to_host(plain.labels_))
    assert scaled.n_iter_ == plain.n_iter_
    assert scaled.inertia_ == pytest.approx(plain.inertia_ * scale**2, rel=1e-6)


@pytest.mark.needs("float64")
def test_float32_sums_are_accumulated_in_float64(library: Library) -> None:
    # Far more rows than float32 can add: a running float32 sum ends 1e-4 off.
    host = (np.random.default_rng(0).uniform(size=(200_000, 1)) + 1.0).astype(np.float32)
    mean = host.astype(np.float64).mean()
    kmeans = KMeans(1).fit(library.asarray(host))
    found = float(library.to_host(kmeans.cluster_centers_)[0, 0])
    assert abs(found - mean) <= np.spacing(np.float32(mean))
    expected = ((host.astype(np.float64) - mean) ** 2).sum()
    assert kmeans.inertia_ == pytest.approx(expected, rel=1e-6)


@pytest.mark.needs("float64")
def test_a_mass_beyond_two_to_the_24_is_still_counted(library: Library) -> None:
    # float32 ends at 16777216 when ones are added to it.
    host = np.vstack([np.zeros((1, 1)), np.ones((4096, 1))]).astype(np.float32)
    weights = np.ones(4097)
    weights[0] = 2.0**24
    kmeans = KMeans(1).fit(library.asarray(host), sample_weight=weights)
    mean = 4096 / (2.0**24 + 4096)
    found = float(library.to_host(kmeans.cluster_centers_)[0, 0])
    assert found == pytest.approx(mean, rel=1e-3)
    assert kmeans.inertia_ == pytest.approx(4096 * (1 - mean) ** 2 + 2**24 * mean**2, rel=1e-5)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_features_of_very_different_size_are_both_seen(dtype: str, library: Library) -> None:
    rng = np.random.default_rng(0)
    small = np.repeat([0.0, 1.0], 100) + rng.normal(scale=0.05, size=200)
    large = np.full(200, 3e5) + rng.normal(scale=0.05, size=200)
    host = np.stack([small, large], axis=1).astype(np.float32)
    labels = library.to_host(KMeans(2, random_state=0).fit_predict(library.asarray(host, dtype)))
    expected = oracle.nearest_labels(host - [0.0, 3e5], np.array([[0.0, 0.0], [1.0, 0.0]]))
    assert (labels == expected).all() or (labels == 1 - expected).all()


FITS: dict[str, Callable[[Any], object]] = {
    "KMeans": lambda points: KMeans(2, random_state=0, max_iter=2).fit(points),
    "MiniBatchKMeans": lambda points: MiniBatchKMeans(2, random_state=0, max_iter=2).fit(points),
    "BisectingKMeans": lambda points: BisectingKMeans(2, random_state=0, max_iter=2).fit(points),
    "k_means": lambda points: k_means(points, 2, random_state=0, max_iter=2),
    "k_means_batched": lambda points: k_means_batched(points[None, :, :], 2, random_state=0),
    "lloyd": lambda points: lloyd(points, points[:2, :], max_iter=2),
    "choose_n_clusters": lambda points: choose_n_clusters(points, [2, 3], random_state=0),
}
SEEDINGS: dict[str, Callable[[Any], object]] = {
    "kmeans_plusplus": lambda points: kmeans_plusplus(points, 2, random_state=0),
    "kmeans_parallel": lambda points: kmeans_parallel(points, 2, random_state=0),
}
FITS_AND_SEEDINGS = FITS | SEEDINGS


@pytest.mark.parametrize("name", ["KMeans", "MiniBatchKMeans", "lloyd", "choose_n_clusters"])
@pytest.mark.parametrize(
    ("scale", "dtype", "is_told"),
    [
        (1e-20, "float32", True),
        (1e-13, "float32", False),
        (1.0, "float32", False),
        (1e15, "float32", False),
        pytest.param(1e-20, "float64", False, marks=pytest.mark.needs("float64")),
        pytest.param(1e-149, "float64", True, marks=pytest.mark.needs("float64")),
    ],
)
def test_rows_whose_squares_are_too_small_are_told_of(
    name: str, scale: float, dtype: str, is_told: bool, library: Library
) -> None:
    points = library.asarray(cloud(100, 3) * scale, dtype)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FITS[name](points)
    told = [each for each in caught if "labels may be wrong" in str(each.message)]
    assert len(told) == is_told
    for each in told:
        assert "Multiply X by a power of two" in str(each.message)
        assert each.filename == __file__


@pytest.mark.filterwarnings("ignore:.*encountered in")  # also by scikit-learn's own check
@pytest.mark.parametrize(
    ("scale", "dtype", "names"),
    [
        (1e19, "float32", FITS),
        (4e18, "float32", FITS_AND_SEEDINGS),
        (6e37, "float32", FITS_AND_SEEDINGS),
        pytest.param(1e152, "float64", FITS, marks=pytest.mark.needs("float64")),
        pytest.param(1e155, "float64", FITS_AND_SEEDINGS, marks=pytest.mark.needs("float64")),
    ],
)
def test_rows_whose_squares_are_too_large_are_refused(
    scale: float, dtype: str, names: Iterable[str], library: Library
) -> None:
    points = library.asarray(cloud(100, 3) * scale, dtype)
    for name in names:
        with pytest.raises(ValueError, match=r"too large for float\d\d\. Multiply X"):
            FITS_AND_SEEDINGS[name](points)


@pytest.mark.filterwarnings("ignore:.*encountered in")
@pytest.mark.needs("float64")
@pytest.mark.parametrize("make", [KMeans, BisectingKMeans])
def test_an_inertia_that_overflows_is_refused(make: Any, library: Library) -> None:
    near, far = (library.asarray(cloud(100, 3) * scale, "float64") for scale in (1.0, 1e160))
    with pytest.raises(ValueError, match=r"overflows.* Multiply both by a power of two"):
        inertia(far, near[:2, :])
    with pytest.raises(ValueError, match=r"overflows.* Multiply both by a power of two"):
        make(2, random_state=0).fit(near).score(far)


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize("name", ["KMeans", "kmeans_plusplus"])
@pytest.mark.parametrize(("exponent", "size"), [(12, "large"), (-25, "small"), (2, "")])
def test_weights_whose_products_with_squares_draws_cannot_compare_are_told_of(
    exponent: int, size: str, name: str, library: Library
) -> None:
    scale = 1e-10 if size == "small" else 1e15
    points = library.asarray(cloud(100, 3) * scale, "float32")
    weights = library.asarray(np.full(100, 10.0**exponent), "float32")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        if name == "KMeans":
            KMeans(2, random_state=0).fit(points, None, weights)
        else:
            kmeans_plusplus(points, 2, sample_weight=weights, random_state=0)
    told = [each for each in caught if "drawn badly" in str(each.message)]
    assert len(told) == bool(size)
    for each in told:
        assert f"too {size} for float32" in str(each.message)
        assert each.filename == __file__


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.needs("float64")
@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("exponent", [-295, -280, 280, 300])
def test_weights_whose_products_with_squares_have_no_room_are_told_of(
    make: type[KMeans | MiniBatchKMeans], exponent: int, library: Library
) -> None:
    points = library.asarray(cloud(100, 3), "float64")
    weights = library.asarray(np.full(100, 10.0**exponent))
    kmeans = make(2, random_state=0, max_iter=2)
    if exponent == 300:
        with pytest.raises(ValueError, match=r"weights, 1.0e\+302, .* too large for float64"):
            kmeans.fit(points, None, weights)
    elif exponent == -295:
        with pytest.warns(RuntimeWarning, match="too small for float64: the result may") as caught:
            kmeans.fit(points, None, weights)
        assert {each.filename for each in caught} == {__file__}
    else:
        plain = make(2, random_state=0, max_iter=2).fit(points)
        assert kmeans.fit(points, None, weights).inertia_ == pytest.approx(
            plain.inertia_ * 10.0**exponent
        )


@pytest.mark.parametrize("are_some_larger", [False, True])
@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans])
def test_weights_that_a_device_takes_for_zero_are_told_of(
    make: type[KMeans | MiniBatchKMeans], are_some_larger: bool, library: Library
) -> None:
    weights = np.full(100, 4e-39)  # below the smallest normal number of float32
    weights[:50] *= 10.0 if are_some_larger else 1.0
    fit = make(2, random_state=0, max_iter=2, n_init=1).fit
    given = library.asarray(cloud(100, 3), "float32"), None, library.asarray(weights, "float32")
    if library.name not in ("cupy", "jax"):
        assert 0.0 < float(fit(*given).inertia_) < 1e-30
    elif are_some_larger:
        with pytest.warns(RuntimeWarning, match=r"of weights, 2.0e-36, is too small for float32"):
            fit(*given)
    else:
        with pytest.raises(ValueError, match=r"non-zero number\. .* takes .* below 1.2e-38"):
            fit(*given)


def seeded(points: Any, weights: Any) -> Any:
    return kmeans_plusplus(points, 2, sample_weight=weights, random_state=0)


def seeded_in_rounds(points: Any, weights: Any) -> Any:
    return kmeans_parallel(points, 2, sample_weight=weights, random_state=0)


def scored(points: Any, weights: Any) -> Any:
    kmeans = KMeans(2, random_state=0, n_init=1, max_iter=2).fit(points)
    return kmeans.score(points, sample_weight=weights)


@pytest.mark.needs("float64")
@pytest.mark.parametrize("call", [seeded, seeded_in_rounds, scored])
def test_seeding_and_scores_tell_of_small_weights(
    call: Callable[[Any, Any], Any], library: Library
) -> None:
    points = library.asarray(cloud(100, 3), "float64")
    call(points, library.asarray(np.full(100, 1e-280)))  # warnings are errors
    with pytest.warns(RuntimeWarning, match="too small for float64: the result may") as caught:
        call(points, library.asarray(np.full(100, 1e-295)))
    assert {each.filename for each in caught} == {__file__}


@pytest.mark.parametrize("call", [seeded, seeded_in_rounds, scored])
def test_seeding_and_scores_tell_of_weights_that_a_device_takes_for_zero(
    call: Callable[[Any, Any], Any], library: Library
) -> None:
    weights = np.full(100, 4e-39)  # below the smallest normal number of float32
    weights[:50] *= 10.0
    given = library.asarray(cloud(100, 3), "float32"), library.asarray(weights, "float32")
    if library.name not in ("cupy", "jax"):
        call(*given)
        return
    with pytest.warns(RuntimeWarning, match=r"of weights, 2.0e-36, is too small for float32"):
        call(*given)


@pytest.mark.needs("float64")
@pytest.mark.parametrize("call", [seeded, seeded_in_rounds])
def test_seeding_takes_weighted_rows_that_a_fit_refuses(
    call: Callable[[Any, Any], Any], library: Library
) -> None:
    points, weights = library.asarray(cloud(100, 3) * 1e149), library.asarray(np.ones(100))
    with pytest.raises(ValueError, match="times the squared spread of the rows is too large"):
        KMeans(2).fit(points, sample_weight=weights)
    _, rows = call(points, weights)
    assert len(set(library.to_host(rows).tolist())) == 2


def test_scores_of_blocks_tell_of_small_weights() -> None:
    points = cloud(100, 3)
    kmeans = KMeans(2, random_state=0, n_init=1, max_iter=2).fit(points)
    rows = open_rows(points, block_rows=30)
    assert kmeans.score(rows) == pytest.approx(kmeans.score(points))
    with pytest.warns(RuntimeWarning, match=r"of weights, 1.0e-293, is too small for float64"):
        kmeans.score(rows, sample_weight=np.full(100, 1e-295))
    with pytest.raises(ValueError, match="at least one non-zero number"):
        kmeans.score(rows, sample_weight=np.zeros(100))
