"""What its users use beside scikit-learn's k-means takes these estimators too.

``nox -s interop`` installs all these packages, and fails if one is missing.
"""

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.cluster
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from conftest import Library
from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans, accelerate
from tests.assertions import assert_at_home
from tests.datasets import blobs, positive_weights

ESTIMATORS = [KMeans, MiniBatchKMeans, BisectingKMeans]
HOST, TRUTH = blobs()


def needed(name: str) -> Any:
    """Return a package; a test without it is skipped, but not where all are to be there."""
    if os.environ.get("KMEANS_XP_TEST_INTEROP") == "all":
        return importlib.import_module(name)
    return pytest.importorskip(name)


def far(dtype: type, offset: float) -> np.ndarray:
    """Rows without clusters, of which many are near a border."""
    return (np.random.default_rng(0).normal(size=(2000, 8)) + offset).astype(dtype)


def test_weights_are_routed() -> None:
    weights = positive_weights()
    with sklearn.config_context(enable_metadata_routing=True):
        asking = KMeans(5, random_state=0).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(
            StandardScaler(with_std=False).set_fit_request(sample_weight=False), asking
        ).fit(HOST, sample_weight=weights)
        scoring = asking.set_score_request(sample_weight=True)
        search = GridSearchCV(scoring, {"n_clusters": [2, 5]}, cv=2)
        search.fit(HOST, sample_weight=weights)
    alone = KMeans(5, random_state=0).fit(HOST, sample_weight=weights)
    assert pipeline[-1].inertia_ == pytest.approx(alone.inertia_, rel=1e-9)
    assert search.best_estimator_.inertia_ == alone.inertia_


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_skops_needs_to_trust_the_estimators_class_alone(
    estimator_class: Any, tmp_path: Path
) -> None:
    skops_io = needed("skops.io")
    model = estimator_class(5, random_state=0).fit(HOST)
    skops_io.dump(model, tmp_path / "model.skops")
    untrusted = skops_io.get_untrusted_types(file=tmp_path / "model.skops")
    assert untrusted == [f"{estimator_class.__module__}.{estimator_class.__name__}"]
    loaded = skops_io.load(tmp_path / "model.skops", trusted=untrusted)
    np.testing.assert_array_equal(loaded.predict(HOST), model.labels_)


@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_skops_brings_arrays_back_to_their_library(estimator_class: Any, library: Library) -> None:
    skops_io = needed("skops.io")
    points = library.asarray(HOST, "float32")
    model = estimator_class(5, random_state=0).fit(points)
    data = skops_io.dumps(model)
    untrusted = skops_io.get_untrusted_types(data=data)
    assert untrusted == [f"{estimator_class.__module__}.{estimator_class.__name__}"]
    loaded = skops_io.loads(data, trusted=untrusted)
    assert_at_home(loaded.cluster_centers_, library, "float32", (5, 3))
    labels = library.to_host(loaded.predict(points))
    np.testing.assert_array_equal(labels, library.to_host(model.labels_))


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_skops_trusts_scikit_learns_form(estimator_class: Any) -> None:
    skops_io = needed("skops.io")
    model = estimator_class(5, random_state=0).fit(HOST)
    data = skops_io.dumps(model.to_sklearn(centred=True))
    assert skops_io.get_untrusted_types(data=data) == []
    np.testing.assert_array_equal(skops_io.loads(data).predict(HOST), model.labels_)


@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the converter
def test_onnx_gives_the_labels_of_every_row(
    estimator_class: Any, dtype: type, offset: float
) -> None:
    to_onnx, onnxruntime = needed("skl2onnx").to_onnx, needed("onnxruntime")
    points = far(dtype, offset)
    model = estimator_class(20, random_state=0).fit(points)
    graph = to_onnx(model.to_sklearn(centred=True), points[:1]).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    labels, distances = session.run(None, {"X": points})
    np.testing.assert_array_equal(labels, model.labels_)
    assert distances.dtype == dtype
    if offset == 0.0:  # far away, those to cluster_centers_ are to rounded centroids
        np.testing.assert_allclose(distances, model.transform(points), rtol=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the converter
def test_onnx_takes_no_tree_but_a_model_fitted_from_its_centroids() -> None:
    skl2onnx, onnxruntime = needed("skl2onnx"), needed("onnxruntime")
    points = far(np.float32, 0.0)
    tree = BisectingKMeans(20, random_state=0).fit(points)
    with pytest.raises(RuntimeError, match="BisectingKMeans"):
        skl2onnx.to_onnx(tree.to_sklearn(), points[:1])
    flat = KMeans(20, init=tree.cluster_centers_).fit(points)
    graph = skl2onnx.to_onnx(flat.to_sklearn(centred=True), points[:1]).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    labels, _ = session.run(None, {"X": points})
    np.testing.assert_array_equal(labels, flat.labels_)


@pytest.mark.filterwarnings("ignore")  # imbalanced-learn's, of its own parameters
def test_imbalanced_learn_takes_the_estimators() -> None:
    under, over = needed("imblearn.under_sampling"), needed("imblearn.over_sampling")
    classes = (TRUTH == 0).astype(int)
    n_rare = int(classes.sum())
    sampler = under.ClusterCentroids(estimator=KMeans(random_state=0), random_state=0)
    points, _ = sampler.fit_resample(HOST, classes)
    assert points.shape == (2 * n_rare, 3)
    assert type(sampler.estimator_) is KMeans
    smote = over.KMeansSMOTE(
        kmeans_estimator=MiniBatchKMeans(5, random_state=0),
        cluster_balance_threshold=0.1,
        random_state=0,
    )
    points, _ = smote.fit_resample(HOST, classes)
    assert points.shape == (2 * (len(HOST) - n_rare), 3)
    with accelerate():  # its own default is scikit-learn's
        sampler = under.ClusterCentroids(random_state=0)
        sampler.fit_resample(HOST, classes)
    assert isinstance(sampler.estimator_, KMeans)


@pytest.mark.filterwarnings("ignore")  # yellowbrick's, of what it calls
def test_yellowbrick_draws_them() -> None:
    # yellowbrick 1.5 asks for an attribute that scikit-learn's estimators have lost too.
    cluster, matplotlib = needed("yellowbrick.cluster"), needed("matplotlib")
    with matplotlib.rc_context({"backend": "agg"}):
        ours, theirs = (
            cluster.KElbowVisualizer(each(random_state=0), k=(2, 9), force_model=True).fit(HOST)
            for each in (KMeans, sklearn.cluster.KMeans)
        )
        assert ours.elbow_value_ == theirs.elbow_value_
        np.testing.assert_allclose(ours.k_scores_, theirs.k_scores_, rtol=0.02)
        model = KMeans(5, random_state=0)
        distances = cluster.InterclusterDistance(model, force_model=True).fit(HOST)
        assert distances.scores_.sum() == len(HOST)
        matplotlib.pyplot.close("all")


def test_faiss_searches_the_centroids() -> None:
    faiss = needed("faiss")
    points = HOST.astype(np.float32)
    model = KMeans(5, random_state=0).fit(points)
    coarse = faiss.IndexFlatL2(3)
    coarse.add(model.cluster_centers_)
    np.testing.assert_array_equal(coarse.search(points, 1)[1][:, 0], model.labels_)
    index = faiss.IndexIVFFlat(coarse, 3, 5)
    assert index.is_trained
    index.add(points)
    np.testing.assert_array_equal(index.search(points, 1)[1][:, 0], np.arange(len(points)))
    sizes = [index.invlists.list_size(label) for label in range(5)]
    assert sizes == np.bincount(model.labels_).tolist()


@pytest.mark.filterwarnings("ignore")  # mlflow's, of packages that it asks for their versions
def test_mlflow_logs_and_loads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = needed("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    model = KMeans(5, random_state=0).fit(HOST)
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            serialization_format="skops",
            skops_trusted_types=["kmeans_xp.estimators.kmeans.KMeans"],
            pip_requirements=["kmeans_xp"],
        )
    loaded = mlflow.sklearn.load_model(logged.model_uri)
    np.testing.assert_array_equal(loaded.predict(HOST), model.labels_)


@pytest.mark.filterwarnings("ignore")  # mlflow's, of versions that it was not tested with
def test_mlflow_logs_pipelines_and_searches_of_them_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = needed("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    mlflow.sklearn.autolog(log_models=False, silent=True)
    try:
        KMeans(5, random_state=0).fit(HOST)
        assert mlflow.search_runs(output_format="list") == []
        make_pipeline(StandardScaler(), KMeans(5, random_state=0)).fit(HOST)
        (pipeline,) = mlflow.search_runs(output_format="list")
        assert pipeline.data.params["kmeans__n_clusters"] == "5"
        GridSearchCV(KMeans(random_state=0), {"n_clusters": [2, 5]}, cv=2).fit(HOST)
    finally:
        mlflow.sklearn.autolog(disable=True, silent=True)
    runs = mlflow.search_runs(output_format="list")
    tried = [run for run in runs if "mean_test_score" in run.data.metrics]
    assert {run.data.params["n_clusters"] for run in tried} == {"2", "5"}
    (search,) = (run for run in runs if "best_cv_score" in run.data.metrics)
    assert search.data.params["best_n_clusters"] == "5"
