"""Conversion to scikit-learn's estimators and back keeps every bit of the fitted state."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.cluster
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from conftest import Library
from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans
from tests.datasets import blobs

ESTIMATORS = [KMeans, MiniBatchKMeans, BisectingKMeans]
DTYPES = [np.float32, np.float64]
HOST, _ = blobs()

parametrized = pytest.mark.parametrize("estimator_class", ESTIMATORS)


def theirs_of(estimator_class: type) -> Any:
    return getattr(sklearn.cluster, estimator_class.__name__)


def far(dtype: type) -> np.ndarray:
    """Rows without clusters, of which many are near a border, and all are far from zero."""
    return (np.random.default_rng(0).normal(size=(2000, 6)) + 1e4).astype(dtype)


@parametrized
@pytest.mark.parametrize("dtype", DTYPES)
def test_scikit_learns_state_comes_here_and_goes_back(estimator_class: Any, dtype: type) -> None:
    points = HOST.astype(dtype)
    theirs = theirs_of(estimator_class)(5, random_state=0, tol=1e-3).fit(points)
    ours = estimator_class.from_sklearn(theirs)
    assert type(ours) is estimator_class
    assert (ours.n_clusters, ours.random_state, ours.tol) == (5, 0, 1e-3)
    assert ours.cluster_centers_.dtype == dtype
    for back in (ours, ours.to_sklearn()):
        for name in ("cluster_centers_", "labels_", "inertia_", "n_features_in_"):
            assert_array_equal(getattr(back, name), getattr(theirs, name))
        assert_array_equal(back.predict(points), theirs.predict(points))
        np.testing.assert_allclose(back.transform(points), theirs.transform(points), rtol=1e-3)
        assert back.score(points) == pytest.approx(theirs.score(points), rel=1e-5)


@parametrized
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_centred_pipeline_is_exact_both_ways(
    estimator_class: Any, dtype: type, offset: float
) -> None:
    points = (far(np.float64) - 1e4 + offset).astype(dtype)
    ours = estimator_class(20, random_state=0).fit(points)
    pipeline = ours.to_sklearn(centred=True)
    assert isinstance(pipeline, Pipeline)
    assert type(pipeline[-1]) is theirs_of(estimator_class)
    assert_array_equal(pipeline.predict(points), ours.labels_)
    again = estimator_class.from_sklearn(pipeline)
    for name in ("cluster_centers_", "_centroids", "_origin"):
        assert getattr(again, name).tobytes() == getattr(ours, name).tobytes(), name
    assert_array_equal(again.predict(points), ours.labels_)
    assert again.score(points) == ours.score(points)


@parametrized
def test_the_plain_form_takes_sparse_rows_and_the_centred_one_does_not(
    estimator_class: Any,
) -> None:
    points = csr_array(np.where(HOST > 30.0, HOST, 0.0))
    ours = estimator_class(5, random_state=0).fit(points)
    assert_array_equal(ours.to_sklearn().predict(points), ours.labels_)
    pipeline = ours.to_sklearn(centred=True)
    assert_array_equal(pipeline.predict(points.toarray()), ours.labels_)
    with pytest.raises(ValueError, match="Cannot center sparse"):
        pipeline.predict(points)


def test_names_of_features_go_both_ways() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(HOST, columns=["a", "b", "c"])
    ours = KMeans(5, random_state=0).fit(frame)
    pipeline = ours.to_sklearn(centred=True)
    assert_array_equal(pipeline.predict(frame), ours.labels_)
    assert pipeline.feature_names_in_.tolist() == ["a", "b", "c"]
    assert KMeans.from_sklearn(ours.to_sklearn()).feature_names_in_.tolist() == ["a", "b", "c"]


def test_mini_batches_go_on() -> None:
    points = HOST.astype(np.float64)
    theirs = sklearn.cluster.MiniBatchKMeans(5, random_state=0).partial_fit(points[:100])
    ours = MiniBatchKMeans.from_sklearn(theirs)
    for each in (ours, theirs):
        each.partial_fit(points[100:200])
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-12)
    assert ours.n_steps_ == theirs.n_steps_ == 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [csr_array, csr_matrix])
def test_a_tree_of_sparse_rows_comes_here(kind: Any, dtype: type) -> None:
    points = kind(np.where(HOST > 30.0, HOST, 0.0).astype(dtype))
    theirs = sklearn.cluster.BisectingKMeans(6, random_state=0).fit(points)
    ours = BisectingKMeans.from_sklearn(theirs)
    assert_array_equal(ours.predict(points), theirs.labels_)
    assert type(ours._node_centroids) is np.ndarray
    assert_array_equal(ours.to_sklearn().predict(points), theirs.labels_)


@parametrized
def test_what_came_here_is_saved(estimator_class: Any, tmp_path: Path) -> None:
    theirs = theirs_of(estimator_class)(5, random_state=0).fit(HOST)
    estimator_class.from_sklearn(theirs).save(tmp_path / "model")
    loaded = estimator_class.load(tmp_path / "model")
    assert_array_equal(loaded.predict(HOST), theirs.predict(HOST))


@parametrized
def test_nothing_is_shared(estimator_class: Any) -> None:
    theirs = theirs_of(estimator_class)(5, random_state=0).fit(HOST)
    ours = estimator_class.from_sklearn(theirs)
    labels = ours.predict(HOST)
    theirs.cluster_centers_[:] = 0.0
    assert_array_equal(ours.predict(HOST), labels)


@pytest.mark.needs("float64")
def test_centroids_that_a_user_has_set_are_taken(library: Library) -> None:
    ours = KMeans(3, random_state=0).fit(library.asarray(HOST))
    ours.cluster_centers_ = library.xp.flip(ours.cluster_centers_, axis=0) + 1.0
    pipeline = ours.to_sklearn(centred=True)
    assert_array_equal(pipeline.predict(HOST), library.to_host(ours.predict(library.asarray(HOST))))


@pytest.mark.parametrize(
    ("fitted", "error", "message"),
    [
        (sklearn.cluster.MiniBatchKMeans(2), TypeError, "takes scikit-learn's KMeans, got a Mini"),
        (KMeans(2), TypeError, "got a KMeans of kmeans_xp"),
        (None, TypeError, "got a NoneType"),
        (sklearn.cluster.KMeans(2), NotFittedError, "not fitted"),
        (make_pipeline(StandardScaler(), sklearn.cluster.KMeans()), TypeError, "the pipeline that"),
        (make_pipeline(sklearn.cluster.KMeans()), TypeError, "the pipeline that"),
        (
            make_pipeline(
                StandardScaler(with_mean=False, with_std=False), sklearn.cluster.KMeans()
            ),
            TypeError,
            "the pipeline that",
        ),
    ],
)
def test_what_is_no_fitted_estimator_is_refused(
    fitted: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        KMeans.from_sklearn(fitted)
