"""MiniBatchKMeans takes scikit-learn's steps on every library."""

from typing import Any

import numpy as np
import pytest
import sklearn.cluster

from conftest import Library
from kmeans_xp import MiniBatchKMeans
from tests import oracle
from tests.assertions import INERTIA_RTOL, PRECISIONS, assert_at_home, assert_same_partition
from tests.datasets import blobs, cloud, positive_weights

pytestmark = pytest.mark.sampled(1, cupy=2)


def assert_same_centroids(ours: Any, theirs: Any, library: Library, dtype: str) -> None:
    tolerance = 1e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(
        library.to_host(ours.cluster_centers_),
        theirs.cluster_centers_,
        rtol=tolerance,
        atol=tolerance,
    )


def crowded() -> np.ndarray:
    """Return rows nearly all of which lie close together: few are left for most centroids."""
    return np.vstack([cloud(400, 2) * 0.1, cloud(60, 2, seed=1) * 10.0])


def test_initial_centroids_are_not_written_as_text_for_nobody() -> None:
    def refused(number: float) -> str:
        raise AssertionError(f"{number} was written")

    host = crowded()
    with np.printoptions(formatter={"float_kind": refused}):
        MiniBatchKMeans(3, init=host[:3], n_init=1).fit(host)


@pytest.mark.sampled(3)
@pytest.mark.since_sklearn("1.9")  # which draws by weight
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"init": "random", "n_init": 3}, id="random"),
        pytest.param({"init_size": 60, "max_no_improvement": None, "max_iter": 3}, id="init_size"),
        pytest.param({"tol": 1e-2}, id="tol"),
        pytest.param({"max_no_improvement": 2}, id="impatient"),
        pytest.param({"reassignment_ratio": 0.0}, id="no reassignment"),
    ],
)
def test_same_seed_takes_scikit_learns_steps(
    params: dict[str, Any], dtype: str, library: Library
) -> None:
    host, _ = blobs()
    params = {"batch_size": 50, "random_state": 3, **params}
    theirs = sklearn.cluster.MiniBatchKMeans(5, **params).fit(host)
    ours = MiniBatchKMeans(5, **params).fit(library.asarray(host, dtype))
    assert_same_centroids(ours, theirs, library, dtype)
    np.testing.assert_array_equal(library.to_host(ours.labels_), theirs.labels_)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-4)
    assert ours.n_steps_ == theirs.n_steps_
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.since_sklearn("1.9")  # which draws by weight
@pytest.mark.needs("float64")
def test_reassignment_moves_the_same_centroids_as_scikit_learn(library: Library) -> None:
    host = crowded()
    params: dict[str, Any] = {
        "batch_size": 40,
        "init": "random",
        "n_init": 1,
        "random_state": 0,
        "max_iter": 5,
        "max_no_improvement": None,
        "reassignment_ratio": 0.1,
    }
    theirs = sklearn.cluster.MiniBatchKMeans(12, **params).fit(host)
    ours = MiniBatchKMeans(12, **params).fit(library.asarray(host))
    assert_same_centroids(ours, theirs, library, "float64")
    without = MiniBatchKMeans(12, **{**params, "reassignment_ratio": 0.0})
    without.fit(library.asarray(host))
    assert ours.inertia_ < 0.9 * without.inertia_


def test_verbose_tells_of_steps_and_reassignment(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    host = crowded()
    estimator = MiniBatchKMeans(12, init="random", batch_size=40, random_state=0, verbose=1)
    estimator.set_params(reassignment_ratio=0.1, n_init=2).fit(library.asarray(host, "float32"))
    printed = capsys.readouterr().out
    assert "Init 2/2 with method random" in printed
    assert printed.count("Minibatch step") == estimator.n_steps_
    assert "[MiniBatchKMeans] Reassigning" in printed
    assert "Converged (lack of improvement in inertia) at step" in printed


@pytest.mark.sampled(1, cupy=2)
@pytest.mark.since_sklearn("1.9")  # which draws by weight
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_weights_are_the_chance_to_be_drawn_as_in_scikit_learn(
    dtype: str, library: Library
) -> None:
    host, _ = blobs(seed=2)
    weights = positive_weights()
    weights[::7] = 0.0
    params: dict[str, Any] = {"batch_size": 50, "random_state": 3}
    theirs = sklearn.cluster.MiniBatchKMeans(5, **params).fit(host, sample_weight=weights)
    for given in (weights, library.asarray(weights, dtype)):
        ours = MiniBatchKMeans(5, **params).fit(library.asarray(host, dtype), sample_weight=given)
        assert_same_centroids(ours, theirs, library, dtype)
        assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-4)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_results_are_of_the_datas_library_on_its_device(dtype: str, library: Library) -> None:
    host, truth = blobs()
    points = library.asarray(host, dtype)
    estimator = MiniBatchKMeans(5, random_state=0, batch_size=64).fit(points)
    assert_at_home(estimator.cluster_centers_, library, dtype, (5, 3))
    assert_at_home(estimator.labels_, library, "int32", (300,))
    assert_at_home(estimator.predict(points), library, "int32", (300,))
    assert_at_home(estimator.transform(points), library, dtype, (300, 5))
    assert_at_home(estimator.fit_transform(points), library, dtype, (300, 5))
    labels = estimator.fit_predict(points)
    assert_at_home(labels, library, "int32", (300,))
    assert_same_partition(library.to_host(labels), truth)
    assert type(estimator.inertia_) is float
    assert type(estimator.score(points)) is float


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_predict_equals_labels_wherever_the_data_lie(
    offset: float, dtype: str, library: Library
) -> None:
    points = library.asarray(cloud(500) + offset, dtype)
    estimator = MiniBatchKMeans(6, random_state=0, batch_size=100).fit(points)
    labels = library.to_host(estimator.labels_)
    np.testing.assert_array_equal(library.to_host(estimator.predict(points)), labels)
    assert len(np.unique(labels)) == 6
    estimator.partial_fit(points[:200, :])
    np.testing.assert_array_equal(
        library.to_host(estimator.predict(points[:200, :])), library.to_host(estimator.labels_)
    )


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_inertia_is_that_of_the_labels_and_centroids(dtype: str, library: Library) -> None:
    host, weights = cloud(), positive_weights(400)
    estimator = MiniBatchKMeans(6, random_state=0, batch_size=100)
    estimator.fit(library.asarray(host, dtype), sample_weight=weights)
    centroids = library.to_host(estimator.cluster_centers_).astype(np.float64)
    labels = library.to_host(estimator.labels_)
    np.testing.assert_array_equal(labels, oracle.nearest_labels(host, centroids))
    expected = oracle.inertia(host, weights, centroids, labels)
    assert estimator.inertia_ == pytest.approx(expected, rel=INERTIA_RTOL[dtype])


@pytest.mark.since_sklearn("1.9")  # which draws by weight
def test_without_labels_inertia_is_scikit_learns_estimate(library: Library) -> None:
    host, _ = blobs()
    params: dict[str, Any] = {"batch_size": 50, "random_state": 3, "compute_labels": False}
    theirs = sklearn.cluster.MiniBatchKMeans(5, **params).fit(host)
    ours = MiniBatchKMeans(5, **params).fit(library.asarray(host, "float32"))
    assert not hasattr(ours, "labels_")
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-4)


def test_history_tells_of_each_step(library: Library) -> None:
    estimator = MiniBatchKMeans(6, random_state=0, batch_size=100)
    estimator.fit(library.asarray(cloud(), "float32"))
    inertia, shift = estimator.history_["inertia"], estimator.history_["shift"]
    assert len(inertia) == len(shift) == estimator.n_steps_ > 10
    assert (inertia > 0.0).all()
    assert (shift > 0.0).all()
    assert inertia[-5:].mean() < inertia[0]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_partial_fit_takes_scikit_learns_steps(
    weighted: bool, dtype: str, library: Library
) -> None:
    host, _ = blobs()
    weights = positive_weights()
    params: dict[str, Any] = {"random_state": 1}
    theirs = sklearn.cluster.MiniBatchKMeans(5, **params)
    ours = MiniBatchKMeans(5, **params)
    for start in range(0, 300, 60):
        part = slice(start, start + 60)
        batch_weights = weights[part] if weighted else None
        theirs.partial_fit(host[part], sample_weight=batch_weights)
        ours.partial_fit(library.asarray(host[part], dtype), sample_weight=batch_weights)
        assert_same_centroids(ours, theirs, library, dtype)
        assert_at_home(ours.labels_, library, "int32", (60,))
        np.testing.assert_array_equal(library.to_host(ours.labels_), theirs.labels_)
        assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-4)
        assert ours.n_steps_ == theirs.n_steps_
    assert_at_home(ours.cluster_centers_, library, dtype, (5, 3))


def test_partial_fit_from_given_centroids_is_a_running_mean(library: Library) -> None:
    host, init = np.array([[1.0], [3.0], [10.0], [14.0]]), np.array([[0.0], [11.0]])
    estimator = MiniBatchKMeans(2, init=init, reassignment_ratio=0.0)
    estimator.partial_fit(library.asarray(host[:3], "float32"))
    np.testing.assert_allclose(library.to_host(estimator.cluster_centers_), [[2.0], [10.0]])
    estimator.partial_fit(library.asarray(host[3:], "float32"))
    np.testing.assert_allclose(library.to_host(estimator.cluster_centers_), [[2.0], [12.0]])
    # A batch far from the first: the first batch's origin is subtracted from its rows.
    estimator.partial_fit(library.asarray([[1002.0], [12.0]], "float32"))
    np.testing.assert_allclose(library.to_host(estimator.cluster_centers_), [[2.0], [259.5]])


def test_partial_fit_goes_on_after_fit(library: Library) -> None:
    host, truth = blobs()
    estimator = MiniBatchKMeans(5, random_state=0, batch_size=64)
    estimator.fit(library.asarray(host, "float32"))
    n_steps = estimator.n_steps_
    estimator.partial_fit(library.asarray(host[:100], "float32"))
    assert estimator.n_steps_ == n_steps + 1
    labels = estimator.predict(library.asarray(host, "float32"))
    assert_same_partition(library.to_host(labels), truth)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_partial_fit_takes_batches_of_other_kinds(dtype: str, library: Library) -> None:
    host, _ = blobs()
    alike, mixed = (MiniBatchKMeans(5, random_state=1) for _ in range(2))
    for start in range(0, 300, 100):
        alike.partial_fit(library.asarray(host[start : start + 100], dtype))
    mixed.partial_fit(library.asarray(host[:100], dtype))
    mixed.partial_fit(host[100:200].astype(dtype))
    mixed.partial_fit(library.asarray(host[200:], dtype))
    assert_at_home(mixed.cluster_centers_, library, dtype, (5, 3))
    np.testing.assert_allclose(
        library.to_host(mixed.cluster_centers_),
        library.to_host(alike.cluster_centers_),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.needs("float16")
def test_float16_is_computed_in_float32(library: Library) -> None:
    host = blobs()[0].astype(np.float16)
    half = MiniBatchKMeans(5, random_state=0, batch_size=50).fit(library.asarray(host))
    single = MiniBatchKMeans(5, random_state=0, batch_size=50)
    single.fit(library.asarray(host, "float32"))
    assert_at_home(half.cluster_centers_, library, "float32", (5, 3))
    np.testing.assert_array_equal(
        library.to_host(half.cluster_centers_), library.to_host(single.cluster_centers_)
    )


def test_small_init_size_warns(library: Library) -> None:
    points = library.asarray(blobs()[0], "float32")
    with pytest.warns(RuntimeWarning, match="init_size=3 should be larger than n_clusters=5"):
        MiniBatchKMeans(5, init_size=3, random_state=0).fit(points)


@pytest.mark.since_sklearn("1.9")  # which draws by weight
def test_callable_and_array_init_are_used(library: Library) -> None:
    host, _ = blobs()
    points = library.asarray(host, "float32")
    params: dict[str, Any] = {"batch_size": 50, "random_state": 0, "max_iter": 2}
    given = MiniBatchKMeans(5, init=host[:5], **params).fit(points)
    theirs = sklearn.cluster.MiniBatchKMeans(5, init=host[:5], **params).fit(host)
    assert_same_centroids(given, theirs, library, "float32")

    def first_rows(X: Any, n_clusters: int, random_state: Any) -> np.ndarray:
        return host[:n_clusters].copy()  # scikit-learn writes to what it is given

    called = MiniBatchKMeans(5, init=first_rows, n_init=1, **params).fit(points)
    theirs = sklearn.cluster.MiniBatchKMeans(5, init=first_rows, n_init=1, **params).fit(host)
    assert_same_centroids(called, theirs, library, "float32")


def test_more_rows_a_batch_than_there_are_is_a_full_pass(library: Library) -> None:
    host, truth = blobs(60)
    estimator = MiniBatchKMeans(5, random_state=0, batch_size=10_000)
    labels = estimator.fit_predict(library.asarray(host, "float32"))
    assert_same_partition(library.to_host(labels), truth)
    assert estimator.n_iter_ == estimator.n_steps_


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_equal_rows_leave_no_inertia(dtype: str, library: Library) -> None:
    points = library.asarray(np.full((30, 2), 7.25), dtype)
    estimator = MiniBatchKMeans(3, random_state=0).fit(points)
    assert estimator.inertia_ == 0.0
    np.testing.assert_array_equal(library.to_host(estimator.cluster_centers_), [[7.25, 7.25]] * 3)
    assert not library.to_host(estimator.labels_).any()


def test_to_sklearn_predicts_the_same_and_goes_on(library: Library) -> None:
    host = blobs()[0].astype(np.float32)
    ours = MiniBatchKMeans(5, random_state=0, batch_size=50).fit(library.asarray(host))
    theirs = ours.to_sklearn()
    assert type(theirs) is sklearn.cluster.MiniBatchKMeans
    np.testing.assert_array_equal(theirs.predict(host), library.to_host(ours.labels_))
    assert theirs.n_steps_ == ours.n_steps_


@pytest.mark.sampled(1, cupy=2)
@pytest.mark.parametrize("init", ["random", "k-means++"])
def test_rows_with_weight_may_be_rare(init: str, library: Library) -> None:
    host = cloud(20_000, 3).astype(np.float32)
    weights = np.zeros(20_000, np.float32)
    weights[::100] = 1.0
    model = MiniBatchKMeans(50, init=init, random_state=0, max_iter=1)
    model.fit(library.asarray(host), sample_weight=library.asarray(weights))
    assert model.cluster_centers_.shape == (50, 3)
    assert len(np.unique(library.to_host(model.cluster_centers_), axis=0)) == 50
