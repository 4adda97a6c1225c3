"""The estimators work like scikit-learn's: with its checks, tools and containers."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import sklearn.cluster
from sklearn.base import clone
from sklearn.metrics import silhouette_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from kmeans_xp import KMeans, MiniBatchKMeans, ProgressLine
from kmeans_xp.estimators.callback_support import HAS_CALLBACKS
from tests.datasets import blobs, positive_weights

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

ESTIMATORS = [KMeans, MiniBatchKMeans]
HOST, TRUTH = blobs()
NAMES = ["width", "height", "depth"]

#: as scikit-learn declares for its own two estimators
EXPECTED_TO_FAIL = {
    "check_sample_weight_equivalence_on_dense_data": (
        "sample_weight is not equivalent to removing/repeating samples."
    ),
    "check_sample_weight_equivalence_on_sparse_data": (
        "sample_weight is not equivalent to removing/repeating samples."
    ),
}


@parametrize_with_checks(
    [
        KMeans(),
        KMeans(n_clusters=2, n_init=2, max_iter=5),
        MiniBatchKMeans(),
        MiniBatchKMeans(n_clusters=2, n_init=2, max_iter=5, batch_size=10),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_TO_FAIL,
)
@pytest.mark.filterwarnings("default")  # many of the checks cluster data that warn
def test_scikit_learns_checks_pass(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_no_more_checks_fail_than_for_scikit_learns_own(estimator_class: type) -> None:
    results = check_estimator(
        estimator_class(), expected_failed_checks=EXPECTED_TO_FAIL, on_fail=None, on_skip=None
    )
    not_passed = {result["check_name"] for result in results if result["status"] != "passed"}
    assert not_passed - set(EXPECTED_TO_FAIL) <= SKIPPED
    assert len(results) > 40


#: run only where SciPy's environment variable lets it take other arrays; see
#: test_array_api_dispatch.py
SKIPPED = {
    "check_array_api_input",
    "check_array_api_mixed_inputs",
    "check_array_api_same_namespace",
}


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_parameters_and_their_defaults_are_scikit_learns(estimator_class: type) -> None:
    theirs = getattr(sklearn.cluster, estimator_class.__name__)().get_params()
    ours = estimator_class().get_params()
    if "algorithm" in theirs:  # all of them have the same result
        assert (ours["algorithm"], theirs.pop("algorithm")) == ("auto", "lloyd")
        assert estimator_class().fit(HOST).to_sklearn().algorithm == "lloyd"
    # "auto" is theirs for rows that lie in memory, as all rows of theirs do.
    assert (ours.pop("init"), theirs.pop("init")) == ("auto", "k-means++")
    assert estimator_class().fit(HOST).to_sklearn().init == "k-means++"
    assert {name: ours[name] for name in theirs} == theirs
    of_sizes = {"size_min", "size_max"} if estimator_class is KMeans else set()
    assert set(ours) - set(theirs) - {"algorithm"} == {"device", "metric"} | of_sizes


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_fitted_attributes_are_scikit_learns(estimator_class: type) -> None:
    theirs = getattr(sklearn.cluster, estimator_class.__name__)(3, random_state=0).fit(HOST)
    ours = estimator_class(3, random_state=0).fit(HOST)

    def public(estimator: Any) -> set[str]:
        names = vars(estimator)
        return {name for name in names if name.endswith("_") and not name.startswith("_")}

    assert public(ours) - public(theirs) == {"device_reason_", "history_"}
    assert public(theirs) <= public(ours)
    for name in public(theirs):
        assert np.shape(getattr(ours, name)) == np.shape(getattr(theirs, name))
        assert np.asarray(getattr(ours, name)).dtype == np.asarray(getattr(theirs, name)).dtype


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_clone_has_the_parameters_and_no_fit(estimator_class: type) -> None:
    init = HOST[:5].copy()
    estimator = estimator_class(5, init=init, tol=0.5, device="cpu").fit(HOST)
    cloned = clone(estimator)
    assert not hasattr(cloned, "cluster_centers_")
    ours, theirs = cloned.get_params(), estimator.get_params()
    np.testing.assert_array_equal(ours.pop("init"), theirs.pop("init"))
    assert ours == theirs


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
@pytest.mark.parametrize(
    "copied",
    [lambda estimator: pickle.loads(pickle.dumps(estimator)), copy.deepcopy],
    ids=["pickle", "deepcopy"],
)
def test_copies_predict_the_same_and_are_apart(estimator_class: type, copied: Any) -> None:
    points = (HOST + 1e4).astype(np.float32)
    estimator = estimator_class(5, random_state=0).fit(points)
    other = copied(estimator)
    np.testing.assert_array_equal(other.predict(points), estimator.labels_)
    assert other.score(points) == estimator.score(points)
    other.cluster_centers_[:] = 0.0
    np.testing.assert_array_equal(estimator.predict(points), estimator.labels_)


def test_partial_fit_goes_on_after_a_pickle() -> None:
    estimator = MiniBatchKMeans(5, random_state=0).partial_fit(HOST[:100])
    other = pickle.loads(pickle.dumps(estimator))
    for one in (estimator, other):
        one.partial_fit(HOST[100:200])
    assert estimator.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
    assert other.n_steps_ == 2


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_names_of_outputs_are_scikit_learns(estimator_class: type) -> None:
    estimator = estimator_class(3, random_state=0).fit(HOST)
    expected = [f"{estimator_class.__name__.lower()}{i}" for i in range(3)]
    assert estimator.get_feature_names_out().tolist() == expected
    frame = estimator.set_output(transform="pandas").transform(
        pd.DataFrame(HOST, index=range(7, 307))
    )
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == expected
    assert frame.index.tolist() == list(range(7, 307))
    table = estimator.set_output(transform="polars").transform(HOST)
    assert isinstance(table, pl.DataFrame)
    assert table.columns == expected


CONTAINERS = {
    "pandas": lambda rows: pd.DataFrame(rows, columns=NAMES),
    "polars": lambda rows: pl.DataFrame(rows, schema=NAMES),
    "arrow": lambda rows: pa.table(dict(zip(NAMES, rows.T, strict=True))),
    "lists": lambda rows: rows.tolist(),
    "tuples": lambda rows: tuple(map(tuple, rows.tolist())),
    "nested arrays": list,
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_tables_and_lists_give_numpy(estimator_class: type, container: str) -> None:
    data = CONTAINERS[container](HOST)
    estimator = estimator_class(5, random_state=0).fit(data)
    expected = estimator_class(5, random_state=0).fit(HOST)
    assert type(estimator.labels_) is np.ndarray
    assert estimator.cluster_centers_.dtype == np.float64
    np.testing.assert_array_equal(estimator.labels_, expected.labels_)
    np.testing.assert_array_equal(estimator.predict(data), expected.labels_)
    np.testing.assert_array_equal(estimator.transform(data), expected.transform(HOST))
    assert estimator.score(data) == expected.score(HOST)


@pytest.mark.parametrize("container", ["pandas", "polars"])
@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_names_of_columns_are_kept_and_checked(estimator_class: type, container: str) -> None:
    data = CONTAINERS[container](HOST)
    estimator = estimator_class(5, random_state=0).fit(data)
    assert estimator.feature_names_in_.tolist() == NAMES
    with pytest.raises(ValueError, match="feature names should match those that were passed"):
        estimator.predict(data[NAMES[::-1]])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        estimator.predict(HOST)
    assert not hasattr(estimator.fit(HOST), "feature_names_in_")


def test_a_frame_of_mixed_dtypes_is_computed_in_float64() -> None:
    frame = pd.DataFrame(HOST, columns=NAMES)
    frame["width"] = frame["width"].astype(np.float32)
    frame["height"] = frame["height"].astype(int)
    estimator = KMeans(5, random_state=0).fit(frame)
    assert estimator.cluster_centers_.dtype == np.float64
    np.testing.assert_array_equal(
        estimator.labels_, KMeans(5, random_state=0).fit(frame.to_numpy()).labels_
    )


@pytest.mark.parametrize("make", [list, np.asarray, pd.Series, pl.Series, pa.array])
def test_weights_may_be_of_any_container(make: Any) -> None:
    weights = positive_weights()
    expected = KMeans(5, random_state=0).fit(HOST, sample_weight=weights)
    estimator = KMeans(5, random_state=0).fit(HOST, sample_weight=make(weights))
    assert estimator.inertia_ == expected.inertia_


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_a_pipeline_clusters_and_is_searched(estimator_class: type) -> None:
    pipeline = make_pipeline(StandardScaler(), estimator_class(5, random_state=0, n_init=3))
    labels = pipeline.fit_predict(HOST)
    assert silhouette_score(HOST, labels) > 0.7
    assert pipeline.transform(HOST).shape == (300, 5)
    np.testing.assert_array_equal(pipeline.predict(HOST), labels)
    key = f"{estimator_class.__name__.lower()}__n_clusters"
    search = GridSearchCV(pipeline, {key: [2, 3, 5]}, cv=3).fit(HOST)
    assert search.best_params_ == {key: 5}
    assert (np.diff(search.cv_results_["mean_test_score"]) > 0.0).all()


def test_a_search_in_worker_processes_gives_the_same() -> None:
    search = {"estimator": KMeans(random_state=0), "param_grid": {"n_clusters": [2, 5]}, "cv": 2}
    one, two = (GridSearchCV(**search, n_jobs=n_jobs).fit(HOST) for n_jobs in (1, 2))
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )


def test_weights_are_routed_through_a_pipeline() -> None:
    weights = positive_weights()
    pipeline = make_pipeline(StandardScaler(with_std=False), KMeans(5, random_state=0))
    pipeline.fit(HOST, kmeans__sample_weight=weights)
    alone = KMeans(5, random_state=0).fit(HOST - HOST.mean(axis=0), sample_weight=weights)
    assert pipeline[-1].inertia_ == pytest.approx(alone.inertia_, rel=1e-12)


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_to_sklearn_goes_on_in_scikit_learn(estimator_class: type, dtype: type) -> None:
    points = HOST.astype(dtype)
    ours = estimator_class(5, random_state=0, init=points[:5], n_init=1, tol=1e-3).fit(points)
    theirs = ours.to_sklearn()
    np.testing.assert_array_equal(theirs.predict(points), ours.predict(points))
    np.testing.assert_allclose(theirs.transform(points), ours.transform(points), rtol=1e-3)
    assert theirs.score(points) == pytest.approx(ours.score(points), rel=1e-3)
    assert theirs.get_feature_names_out().tolist() == ours.get_feature_names_out().tolist()
    refitted = clone(theirs).fit(points)
    # Other versions of scikit-learn draw other batches.
    assert refitted.inertia_ == pytest.approx(ours.inertia_, rel=1e-2)
    if estimator_class is MiniBatchKMeans:
        assert theirs.partial_fit(points[:50]).n_steps_ == ours.n_steps_ + 1


def test_to_sklearn_shares_no_memory_that_it_writes() -> None:
    ours = MiniBatchKMeans(5, random_state=0).fit(HOST)
    centroids, labels = ours.cluster_centers_.copy(), ours.predict(HOST)
    ours.to_sklearn().partial_fit(HOST[:50])
    np.testing.assert_array_equal(ours.cluster_centers_, centroids)
    np.testing.assert_array_equal(ours.predict(HOST), labels)


@pytest.mark.skipif(HAS_CALLBACKS, reason="scikit-learn has callbacks")
def test_callbacks_of_an_older_scikit_learn_are_an_error_that_says_so() -> None:
    assert KMeans().set_callbacks().get_params() == KMeans().get_params()
    with pytest.raises(
        ImportError, match=r"Callbacks need scikit-learn 1\.9 or later, and this is"
    ):
        KMeans().set_callbacks(ProgressLine())


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_to_device_cpu_is_a_fitted_copy(estimator_class: type) -> None:
    estimator = estimator_class(5, random_state=0).fit(HOST)
    moved = estimator.to_device("cpu")
    assert moved is not estimator
    assert (moved.device, estimator.device) == ("cpu", None)
    np.testing.assert_array_equal(moved.predict(HOST), estimator.labels_)
    assert type(moved) is estimator_class
