"""metric="cosine": spherical k-means, against rows that are normalised and looped over."""

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics.pairwise import cosine_distances

from conftest import Library
from kmeans_xp import (
    BisectingKMeans,
    KMeans,
    MiniBatchKMeans,
    assign,
    inertia,
    k_means,
    kmeans_parallel,
    kmeans_plusplus,
    lloyd,
    open_rows,
)
from kmeans_xp.devices import why_numba_is_unusable
from tests import oracle

pytestmark = pytest.mark.sampled(1, cupy=2)

Host = NDArray[Any]
N_CLUSTERS = 4

ESTIMATORS = [KMeans, MiniBatchKMeans, BisectingKMeans]


class Truth(NamedTuple):
    labels: NDArray[np.intp]
    centroids: Host
    inertia: float


def normalised(points: Host) -> Host:
    return np.array(
        [row / np.sqrt(sum(float(x) ** 2 for x in row)) for row in points.astype(float)]
    )


def spherical(points: Host, weights: Host, start: Host, max_iter: int = 300) -> Truth:
    """Run spherical k-means on normalised rows, one number at a time."""
    units, centroids = normalised(points), normalised(start)
    labels = oracle.nearest_labels(units, centroids)
    for _ in range(max_iter):
        sums, _ = oracle.cluster_sums(units, weights, labels, len(centroids))
        centroids = normalised(sums)
        before, labels = labels, oracle.nearest_labels(units, centroids)
        if (before == labels).all():
            break
    cosines = [
        sum(float(a) * float(b) for a, b in zip(unit, centroids[label], strict=True))
        for unit, label in zip(units, labels, strict=True)
    ]
    total = sum(float(w) * (1.0 - cosine) for w, cosine in zip(weights, cosines, strict=True))
    return Truth(labels, centroids, total)


def bundles(
    n_points: int = 120, n_features: int = 5, dtype: str = "float64", seed: int = 0
) -> tuple[Host, Host]:
    """Return rows about four directions, of lengths from 1e-8 to 1e8, and a start for each."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0][:N_CLUSTERS]
    which = np.arange(n_points) % N_CLUSTERS
    rows = directions[which] + 0.1 * rng.normal(size=(n_points, n_features))
    rows *= 10.0 ** rng.uniform(-8, 8, size=(n_points, 1))
    return rows.astype(dtype), rows[:N_CLUSTERS].astype(dtype)


@pytest.mark.parametrize(
    "dtype", ["float32", pytest.param("float64", marks=pytest.mark.needs("float64"))]
)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_fit_is_spherical_k_means(dtype: str, is_weighted: bool, library: Library) -> None:
    rows, start = bundles(dtype=dtype)
    weights = np.random.default_rng(1).integers(0, 4, len(rows)).astype(dtype)
    weights = weights if is_weighted else np.ones_like(weights)
    truth = spherical(rows, weights, start)
    X, init = library.asarray(rows), library.asarray(start)
    given = library.asarray(weights) if is_weighted else None
    model = KMeans(N_CLUSTERS, init=init, tol=0.0, metric="cosine").fit(X, sample_weight=given)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_array_equal(library.to_host(model.labels_), truth.labels)
    centers = library.to_host(model.cluster_centers_)
    np.testing.assert_allclose(centers, truth.centroids, atol=tolerance)
    assert centers.dtype == dtype
    assert model.inertia_ == pytest.approx(truth.inertia, rel=tolerance)
    np.testing.assert_array_equal(library.to_host(model.predict(X)), truth.labels)
    assert model.score(X, sample_weight=given) == pytest.approx(-truth.inertia, rel=tolerance)
    distances = library.to_host(model.transform(X))
    np.testing.assert_allclose(
        distances, cosine_distances(normalised(rows), centers), atol=tolerance
    )


@pytest.mark.parametrize("kind", ["csr", "streamed", "streamed sparse", "dask"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_rows_may_lie_anywhere(kind: str, estimator: Any) -> None:
    rows, _ = bundles()
    weights = np.random.default_rng(1).integers(1, 4, len(rows)).astype(float)
    sparser = sparse.csr_array(np.where(np.abs(normalised(rows)) < 0.2, 0.0, rows))
    is_sparse = kind in ("csr", "streamed sparse")
    dense = sparser.toarray() if is_sparse else rows
    where = {
        "csr": lambda: sparser,
        "streamed": lambda: open_rows(rows, block_rows=17),
        "streamed sparse": lambda: open_rows(sparser, block_rows=17),
        "dask": lambda: pytest.importorskip("dask.array").from_array(rows, chunks=(17, 5)),
    }
    given = where[kind]()
    options: dict[str, Any] = {"metric": "cosine", "random_state": 0, "tol": 0.0}
    options["init"] = "k-means++" if estimator is BisectingKMeans else dense[:N_CLUSTERS]
    here = estimator(N_CLUSTERS, **options).fit(dense, sample_weight=weights)
    there = estimator(N_CLUSTERS, **options).fit(given, sample_weight=weights)
    np.testing.assert_array_equal(np.asarray(there.labels_), here.labels_)
    np.testing.assert_allclose(np.asarray(there.cluster_centers_), here.cluster_centers_, atol=1e-9)
    assert there.inertia_ == pytest.approx(here.inertia_)
    np.testing.assert_array_equal(np.asarray(there.predict(given)), here.labels_)
    np.testing.assert_allclose(np.asarray(there.transform(given)), here.transform(dense), atol=1e-9)
    truth = spherical(dense, weights, here.cluster_centers_)
    if estimator is KMeans:
        np.testing.assert_array_equal(here.labels_, truth.labels)
        assert here.inertia_ == pytest.approx(truth.inertia)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_centroids_are_unit_vectors_and_models_are_whole(
    estimator: Any, library: Library, tmp_path: Path
) -> None:
    rows, _ = bundles(dtype="float32")
    X = library.asarray(rows)
    model = estimator(N_CLUSTERS, random_state=0, metric="cosine").fit(X)
    centers = library.to_host(model.cluster_centers_)
    np.testing.assert_allclose(np.linalg.norm(centers, axis=1), 1.0, rtol=1e-6)
    labels = library.to_host(model.labels_)
    np.testing.assert_array_equal(library.to_host(model.predict(X)), labels)
    cosines = (normalised(rows) * centers[labels]).sum(axis=1)
    assert model.inertia_ == pytest.approx((1.0 - cosines).sum(), rel=1e-4)
    model.save(tmp_path / "model")
    loaded = estimator.load(tmp_path / "model")
    assert loaded.metric == "cosine"
    np.testing.assert_array_equal(loaded.predict(rows), labels)
    np.testing.assert_allclose(
        library.to_host(model.transform(X)).min(axis=1), 1.0 - cosines, atol=1e-5
    )
    with pytest.raises(ValueError, match="scikit-learn has no metric='cosine'"):
        model.to_sklearn()


@pytest.mark.needs("float64")
@pytest.mark.skip_library("jax", reason="takes subnormal numbers for 0")
@pytest.mark.filterwarnings("ignore:Number of distinct")
def test_a_cluster_of_subnormal_weights_has_a_direction(library: Library) -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(np.eye(3, 5), 40, axis=0) + 0.05 * rng.standard_normal((120, 5))
    weights = np.ones(120)
    weights[80:] = 1e-310
    model = KMeans(3, init=rows[[0, 40, 80]], metric="cosine")
    model.fit(library.asarray(rows), sample_weight=library.asarray(weights))
    assert np.bincount(library.to_host(model.labels_)).tolist() == [40, 40, 40]
    assert np.isfinite(library.to_host(model.cluster_centers_)).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_one_cluster_of_rows_that_cancel_has_a_direction(
    is_weighted: bool, estimator: Any, library: Library
) -> None:
    X = library.asarray(np.array([[0.0, -3.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    weights = library.asarray(np.array([0.0, 2.0, 2.0, 0.0])) if is_weighted else None
    model = estimator(1, random_state=0, metric="cosine").fit(X, sample_weight=weights)
    centers = library.to_host(model.cluster_centers_)
    assert np.linalg.norm(centers) == pytest.approx(1.0)
    assert model.inertia_ == pytest.approx(4.0)
    assert model.score(X, sample_weight=weights) == pytest.approx(-4.0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_length_of_rows_does_not_count(estimator: Any, library: Library) -> None:
    rows, _ = bundles(dtype="float32")
    lengths = 2.0 ** np.random.default_rng(3).integers(-30, 30, size=(len(rows), 1))
    options = {"random_state": 0, "metric": "cosine"}
    one = estimator(N_CLUSTERS, **options).fit(library.asarray(rows))
    other = estimator(N_CLUSTERS, **options).fit(library.asarray((rows * lengths).astype("f4")))
    np.testing.assert_array_equal(library.to_host(one.labels_), library.to_host(other.labels_))
    np.testing.assert_allclose(
        library.to_host(one.cluster_centers_), library.to_host(other.cluster_centers_), atol=1e-6
    )


def test_squares_of_float64_may_vanish_or_overflow() -> None:
    rows, start = bundles()
    truth = KMeans(N_CLUSTERS, init=start, metric="cosine").fit(rows)
    for scale in (1e-200, 1e200):
        model = KMeans(N_CLUSTERS, init=start, metric="cosine").fit(rows * scale)
        np.testing.assert_allclose(model.cluster_centers_, truth.cluster_centers_, atol=1e-12)
        sparser = KMeans(N_CLUSTERS, init=start, metric="cosine").fit(
            sparse.csr_array(rows * scale)
        )
        np.testing.assert_allclose(sparser.cluster_centers_, truth.cluster_centers_, atol=1e-12)


@pytest.mark.parametrize("layout", ["Fortran", "columns", "reversed"])
def test_rows_may_lie_in_any_layout(layout: str) -> None:
    rows, start = bundles()
    laid = {
        "Fortran": np.asfortranarray(rows),
        "columns": np.repeat(rows, 2, axis=1)[:, ::2],
        "reversed": rows[::-1].copy()[::-1],
    }[layout]
    one, other = (KMeans(N_CLUSTERS, init=start, metric="cosine").fit(X) for X in (rows, laid))
    np.testing.assert_array_equal(one.labels_, other.labels_)
    np.testing.assert_allclose(one.cluster_centers_, other.cluster_centers_, atol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "csr", "streamed", "dask"])
def test_zero_rows_are_named(kind: str) -> None:
    rows, start = bundles()
    model = KMeans(N_CLUSTERS, init=start, metric="cosine").fit(rows)
    rows[[20, 70]] = 0.0
    given, named = {
        "dense": (rows, "row 20, 70"),
        "csr": (sparse.csr_array(rows), "row 20, 70"),
        "streamed": (open_rows(rows, block_rows=17), "row 20, 70"),
        "dask": (
            pytest.importorskip("dask.array").from_array(rows, chunks=(17, 5)),
            r"chunk [14] of X.* row [23]\.",
        ),
    }[kind]
    before = dict(model.__dict__)
    with pytest.raises(ValueError, match=named):
        model.fit(given)
    assert model.__dict__ == before
    with pytest.raises(ValueError, match=named):
        np.asarray(model.predict(given))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("kind", ["dense", "sparse", "read block by block"])
def test_zero_rows_of_weight_zero_count_for_nothing(kind: str, estimator: Any) -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(150, 4))
    weights = rng.uniform(0.5, 2.0, 150)
    points[40:70], weights[40:70] = 0.0, 0.0
    X: Any = {
        "dense": lambda: points,
        "sparse": lambda: sparse.csr_array(points),
        "read block by block": lambda: open_rows(points, block_rows=20),
    }[kind]()
    model = estimator(N_CLUSTERS, metric="cosine", random_state=0).fit(X, sample_weight=weights)
    np.testing.assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1.0)
    distances = cosine_distances(points, model.cluster_centers_)[np.arange(150), model.labels_]
    np.testing.assert_allclose(model.inertia_, (weights * distances)[weights > 0].sum())
    alone = model.score(points[weights > 0], sample_weight=weights[weights > 0])
    np.testing.assert_allclose(model.score(X, sample_weight=weights), alone)
    again = estimator(N_CLUSTERS, metric="cosine", random_state=0).fit(X, sample_weight=weights)
    np.testing.assert_array_equal(model.labels_, again.labels_)
    weights[:] = 1.0
    weights[40:60] = 0.0
    with pytest.raises(ValueError, match="row 60, 61, 62, 63, 64 and 5 more"):
        model.fit(X, sample_weight=weights)


def test_zero_rows_of_weight_zero_are_taken_on_every_library(library: Library) -> None:
    host = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    host[::4] = 0.0
    weights = library.asarray((host[:, 0] != 0.0).astype(np.float32))
    start = library.asarray(host[[1, 2, 3]])
    model = KMeans(3, metric="cosine", init=start, tol=0.0)
    alone = model.fit(library.asarray(host[np.arange(60) % 4 != 0])).inertia_
    padded = model.fit(library.asarray(host), sample_weight=weights)
    np.testing.assert_allclose(padded.inertia_, alone, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("seed", range(6))
def test_no_centroid_is_a_zero_row_where_few_rows_have_weight(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    points = np.zeros((60, 3))
    points[20:40] = np.repeat(rng.normal(size=(2, 3)), 10, axis=0)
    weights = (points[:, 0] != 0.0).astype(float)
    X: Any = points if kind == "dense" else sparse.csr_array(points)
    for n_init in (1, 3):
        model = KMeans(5, metric="cosine", n_init=n_init, random_state=seed)
        model.fit(X, sample_weight=weights)
        np.testing.assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1.0)


def test_no_centroid_moves_to_a_zero_row_of_a_batch() -> None:
    model = MiniBatchKMeans(8, metric="cosine", random_state=0, reassignment_ratio=0.5)
    rng = np.random.default_rng(0)
    for _ in range(6):
        points, weights = rng.normal(size=(40, 4)), np.ones(40)
        points[rng.random(40) < 0.6] = 0.0
        weights[points[:, 0] == 0.0] = 0.0
        model.partial_fit(points, sample_weight=weights)
        np.testing.assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1.0)


def test_zero_centroids_are_refused() -> None:
    rows, start = bundles()
    with pytest.raises(ValueError, match="init is zero"):
        KMeans(N_CLUSTERS, init=start * [[0], [1], [1], [1]], metric="cosine").fit(rows)
    model = KMeans(N_CLUSTERS, init=start, metric="cosine").fit(rows)
    model.cluster_centers_ = model.cluster_centers_ * [[0], [1], [1], [1]]
    with pytest.raises(ValueError, match="cluster_centers_ is zero"):
        model.predict(rows)


def test_centroids_that_users_set_count() -> None:
    rows, start = bundles()
    model = KMeans(N_CLUSTERS, init=start, metric="cosine").fit(rows)
    labels = model.labels_
    model.cluster_centers_ = 7.0 * model.cluster_centers_[::-1]
    np.testing.assert_array_equal(model.predict(rows), N_CLUSTERS - 1 - labels)


def test_opposite_rows_have_no_mean_direction() -> None:
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    model = KMeans(1, init=rows[:1], metric="cosine").fit(rows[:2])
    np.testing.assert_array_equal(model.cluster_centers_, rows[:1])
    assert model.inertia_ == pytest.approx(2.0)


def test_empty_clusters_take_the_farthest_row() -> None:
    rows = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 2.0], [-3.0, 0.1]])
    init = np.array([[1.0, 0.0], [1.0, 0.05], [0.0, -1.0]])
    model = KMeans(3, init=init, metric="cosine").fit(rows)
    assert len(np.unique(model.labels_)) == 3


def test_functions_know_cosine(library: Library) -> None:
    rows, start = bundles()
    truth = spherical(rows, np.ones(len(rows)), start)
    X, init = library.asarray(rows), library.asarray(start)
    clustering = lloyd(X, init, metric="cosine")
    np.testing.assert_array_equal(library.to_host(clustering.labels), truth.labels)
    np.testing.assert_allclose(library.to_host(clustering.centroids), truth.centroids, atol=1e-6)
    assert clustering.inertia == pytest.approx(truth.inertia, rel=1e-4)
    centroids, labels, total = k_means(X, N_CLUSTERS, init=init, metric="cosine", tol=0.0)
    np.testing.assert_array_equal(library.to_host(labels), truth.labels)
    assert total == pytest.approx(truth.inertia, rel=1e-4)
    labels, distances = assign(X, centroids, metric="cosine")
    np.testing.assert_array_equal(library.to_host(labels), truth.labels)
    assert library.to_host(distances).sum() == pytest.approx(truth.inertia, rel=1e-4)
    assert inertia(X, centroids, metric="cosine") == pytest.approx(truth.inertia, rel=1e-4)
    for seeds in (kmeans_plusplus, kmeans_parallel):
        chosen, indices = seeds(X, N_CLUSTERS, random_state=0, metric="cosine")
        host, places = library.to_host(chosen), library.to_host(indices)
        np.testing.assert_array_equal(host, rows[places].astype(host.dtype))
        assert len(np.unique(places % N_CLUSTERS)) == N_CLUSTERS  # one of each bundle
    with pytest.raises(ValueError, match="metric must be one of"):
        lloyd(X, init, metric="manhattan")


@given(
    n_features=st.integers(2, 70),
    n_points=st.integers(N_CLUSTERS, 90),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**31),
)
def test_steps_are_those_of_normalised_rows(
    n_features: int, n_points: int, dtype: str, seed: int
) -> None:
    """A step on rows as they are has the labels and sums of one on rows that were scaled."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_points, n_features)).astype(dtype) + np.asarray(0.1, dtype)
    start = rows[rng.permutation(n_points)[:N_CLUSTERS]]
    units, weights = normalised(rows), rng.integers(0, 3, n_points).astype(float)
    weights[0] = 1.0
    model = KMeans(N_CLUSTERS, init=start, max_iter=1, metric="cosine")
    model.fit(rows, sample_weight=weights)
    distances = oracle.sq_distances(units, normalised(model.cluster_centers_)) / 2.0
    slack = 1e-5 if dtype == "float32" else 1e-11
    own = distances[np.arange(n_points), model.labels_]
    assert (own <= distances.min(axis=1) + slack).all()
    assert model.inertia_ == pytest.approx((weights * own).sum(), rel=1e-4, abs=slack * n_points)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_features", [1, 3])
def test_rows_in_one_direction_converge(n_features: int) -> None:
    """Their variance about the centre of the sphere is rounding, which may be below zero."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        rows = rng.uniform(1.0, 9.0, size=(60, 1)) * rng.uniform(0.1, 1.0, size=n_features)
        model = KMeans(3, init=rows[:3], metric="cosine").fit(rows)
        assert model.n_iter_ < 10, seed
        assert model.inertia_ == pytest.approx(0.0, abs=1e-12)


def test_callable_init_is_given_unit_vectors() -> None:
    rows, start = bundles()
    seen = []

    def init(X: Any, n_clusters: int, random_state: Any) -> Any:
        seen.append(X)
        return start

    KMeans(N_CLUSTERS, init=init, n_init=1, metric="cosine").fit(rows)
    np.testing.assert_allclose(seen[0], normalised(rows), rtol=1e-12)


def test_partial_fit_goes_on_from_unit_vectors() -> None:
    rows, start = bundles(n_points=400)
    model = MiniBatchKMeans(N_CLUSTERS, init=start, metric="cosine", random_state=0)
    for first in range(0, 400, 100):
        model.partial_fit(rows[first : first + 100])
    truth = KMeans(N_CLUSTERS, init=start, metric="cosine").fit(rows)
    np.testing.assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1.0)
    np.testing.assert_allclose(model.cluster_centers_, truth.cluster_centers_, atol=0.05)


@pytest.mark.skipif(why_numba_is_unusable() is not None, reason="about what it compiles")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_copied_rows_give_the_bits_of_rows_that_are_scaled_as_they_are_read(
    estimator: Any, is_weighted: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directions = importlib.import_module("kmeans_xp.kernels.for_numba.directions")
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(3000, 9)) * 10.0 ** rng.uniform(-3, 3, (3000, 1))).astype(dtype)
    weights = rng.integers(0, 3, 3000).astype(dtype) if is_weighted else None
    fits = []
    for most in (directions._COPIED, 0):
        monkeypatch.setattr(directions, "_COPIED", most)
        model = estimator(7, random_state=0, n_init=3, metric="cosine")
        fits.append(model.fit(rows, sample_weight=weights))
        np.testing.assert_array_equal(model.predict(rows), model.labels_)
    one, other = fits
    np.testing.assert_array_equal(one.cluster_centers_, other.cluster_centers_)
    np.testing.assert_array_equal(one.labels_, other.labels_)
    assert one.inertia_ == other.inertia_
    if estimator is KMeans:
        np.testing.assert_array_equal(one.history_["inertia"], other.history_["inertia"])
