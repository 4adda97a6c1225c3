"""BisectingKMeans splits like scikit-learn's, on every library and for rows anywhere."""

import copy
import importlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.cluster
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from conftest import Library
from kmeans_xp import BisectingKMeans, Checkpoint, ProgressLine, open_rows, persistence
from kmeans_xp.algorithms import bisecting, random_rows
from kmeans_xp.blocks.streamed import Streamed
from tests.assertions import PRECISIONS, assert_at_home
from tests.datasets import blobs, cloud, positive_weights
from tests.estimators.test_checkpoint import Killed, Killing

pytestmark = pytest.mark.sampled(1, cupy=2)

STRATEGIES = ["biggest_inertia", "largest_cluster"]
HOST, TRUTH = blobs()
CLOUD = cloud()


def tree_of(model: Any) -> Any:
    """Return scikit-learn's tree as nested pairs of labels."""

    def nested(node: Any) -> Any:
        return node.label if node.left is None else (nested(node.left), nested(node.right))

    return nested(model._bisecting_tree)


# As scikit-learn's


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"init": "k-means++"}, id="k-means++"),
        pytest.param({"n_init": 3}, id="n_init"),
        pytest.param({"algorithm": "elkan"}, id="elkan"),
        pytest.param({"max_iter": 1}, id="max_iter"),
    ],
)
def test_same_seed_makes_scikit_learns_tree(
    params: dict[str, Any], strategy: str, dtype: str, library: Library
) -> None:
    params = {"random_state": 3, "bisecting_strategy": strategy, **params}
    theirs = sklearn.cluster.BisectingKMeans(5, **params).fit(HOST)
    ours = BisectingKMeans(5, **params).fit(library.asarray(HOST, dtype))
    assert_at_home(ours.labels_, library, "int32", (300,))
    assert_at_home(ours.cluster_centers_, library, dtype, (5, 3))
    assert_array_equal(library.to_host(ours.labels_), theirs.labels_)
    centroids = library.to_host(ours.cluster_centers_)
    assert_allclose(centroids, theirs.cluster_centers_, rtol=1e-4, atol=1e-4)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-4)
    assert tree_of(ours.to_sklearn()) == tree_of(theirs)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("init", ["random", "k-means++"])
@pytest.mark.parametrize("weighted", [False, True])
def test_digits_are_split_as_by_scikit_learn(strategy: str, init: str, weighted: bool) -> None:
    digits = load_digits().data[:900]
    weights = positive_weights(len(digits)) if weighted else None
    params = {"random_state": 0, "init": init, "bisecting_strategy": strategy, "tol": 0.0}
    theirs = sklearn.cluster.BisectingKMeans(10, **params).fit(digits, sample_weight=weights)
    ours = BisectingKMeans(10, **params).fit(digits, sample_weight=weights)
    assert tree_of(ours.to_sklearn()) == tree_of(theirs)
    assert_array_equal(ours.labels_, theirs.labels_)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-9)


def test_the_strategies_differ() -> None:
    # One wide cluster of few rows beside a narrow one of many.
    wide, narrow = cloud(40, 2) * 10.0, cloud(200, 2, seed=1) + 200.0
    rows = np.vstack([wide, narrow])
    counts = {}
    for strategy in STRATEGIES:
        model = BisectingKMeans(3, bisecting_strategy=strategy, random_state=0).fit(rows)
        counts[strategy] = sorted(np.bincount(model.labels_).tolist())
    assert counts["biggest_inertia"][-1] == 200
    assert counts["largest_cluster"][-1] < 200
    assert 40 in counts["largest_cluster"]


@pytest.mark.sampled(2, dpnp=5)
@pytest.mark.parametrize("k", [1, 2, 3, 7, 30])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_predict_equals_labels(k: int, strategy: str, library: Library) -> None:
    points = library.asarray(CLOUD, "float32")
    model = BisectingKMeans(k, bisecting_strategy=strategy, random_state=1).fit(points)
    labels = library.to_host(model.labels_)
    assert_array_equal(library.to_host(model.predict(points)), labels)
    assert sorted(set(labels.tolist())) == list(range(k))
    centroids = library.to_host(model.cluster_centers_)
    inertia = float(((CLOUD - centroids[labels]) ** 2).sum())
    assert model.inertia_ == pytest.approx(inertia, rel=1e-5)
    for label in range(k):
        assert_allclose(CLOUD[labels == label].mean(axis=0), centroids[label], atol=0.3)


def test_predict_walks_the_tree_and_not_to_the_nearest() -> None:
    model = BisectingKMeans(12, random_state=0).fit(CLOUD)
    nearest = model.transform(CLOUD).argmin(axis=1)
    assert (nearest != model.labels_).any()
    assert_array_equal(model.predict(CLOUD), model.labels_)
    assert -model.score(CLOUD) < model.inertia_
    assert_array_equal(model.to_sklearn().predict(CLOUD), model.labels_)


@pytest.mark.parametrize("n_tiles", [1, 7])
def test_tiles_of_rows_walk_alone(n_tiles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = BisectingKMeans(12, random_state=0).fit(CLOUD)
    size = -(-len(CLOUD) // n_tiles) * CLOUD.shape[1] * 8
    module = importlib.import_module("kmeans_xp.algorithms.bisecting")
    monkeypatch.setattr(module, "within_budget", lambda _: size)
    assert_array_equal(model.predict(CLOUD), model.labels_)


def test_far_from_zero_in_float32() -> None:
    points = (HOST + 1e4).astype(np.float32)
    model = BisectingKMeans(5, random_state=0, n_init=3).fit(points)
    assert_array_equal(model.predict(points), model.labels_)
    near = BisectingKMeans(5, random_state=0, n_init=3).fit(points.astype(np.float64) - 1e4)
    assert_array_equal(model.labels_, near.labels_)


def test_a_callable_is_given_two_and_the_rows_of_the_cluster(library: Library) -> None:
    sizes = []

    def first_two(X: Any, n_clusters: int, random_state: Any) -> Any:
        assert n_clusters == 2
        assert isinstance(random_state, np.random.RandomState)
        sizes.append(int(X.shape[0]))
        assert library.to_host(X).min() >= HOST.min() - 1e-4
        return X[:2, :]

    model = BisectingKMeans(4, init=first_two).fit(library.asarray(HOST, "float32"))
    assert sizes[0] == 300
    assert len(sizes) == 3
    assert max(sizes[1:]) < 300
    assert np.isfinite(model.inertia_)


def test_one_feature_and_one_row_a_cluster() -> None:
    rows = np.arange(6.0)[:, None] ** 2
    model = BisectingKMeans(6, random_state=0).fit(rows)
    assert model.inertia_ == 0.0
    assert sorted(model.labels_.tolist()) == list(range(6))
    assert_allclose(np.sort(model.cluster_centers_[:, 0]), rows[:, 0], atol=1e-12)


# Weights


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_without_weight_change_no_centroid(strategy: str, library: Library) -> None:
    weights = np.concatenate([np.ones(300), np.zeros(50)])
    rows = np.vstack([HOST, HOST[:50] + 3.0])
    params = {"random_state": 0, "init": "k-means++", "bisecting_strategy": strategy}
    weighted = BisectingKMeans(5, n_init=3, **params)
    weighted.fit(
        library.asarray(rows, "float32"), sample_weight=library.asarray(weights, "float32")
    )
    alone = BisectingKMeans(5, n_init=3, **params).fit(HOST)
    theirs = library.to_host(weighted.cluster_centers_)
    order, other = np.lexsort(theirs.T.round(2)), np.lexsort(alone.cluster_centers_.T.round(2))
    assert_allclose(theirs[order], alone.cluster_centers_[other], atol=1e-4)
    assert weighted.inertia_ == pytest.approx(alone.inertia_, rel=1e-4)


def test_weights_are_as_rows_repeated() -> None:
    counts = np.random.default_rng(0).integers(1, 4, len(HOST))

    def given_rows(X: Any, n_clusters: int, random_state: Any) -> Any:
        order = np.argsort(X[:, 0], kind="stable")
        return X[order[[0, -1]]]

    weighted = BisectingKMeans(5, init=given_rows).fit(HOST, sample_weight=counts)
    repeated = BisectingKMeans(5, init=given_rows).fit(np.repeat(HOST, counts, axis=0))
    assert_array_equal(np.repeat(weighted.labels_, counts), repeated.labels_)
    assert_allclose(weighted.cluster_centers_, repeated.cluster_centers_, atol=1e-10)
    assert weighted.inertia_ == pytest.approx(repeated.inertia_, rel=1e-10)


def test_one_cluster_is_the_weighted_mean() -> None:
    weights = positive_weights()
    model = BisectingKMeans(1).fit(HOST, sample_weight=weights)
    expected = np.average(HOST, axis=0, weights=weights)
    assert_allclose(model.cluster_centers_[0], expected, rtol=1e-12)


# Wherever the rows lie


@pytest.mark.sampled(1, numpy=2)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("init", ["random", "k-means++"])
def test_sparse_rows_are_split_as_dense_ones(strategy: str, weighted: bool, init: str) -> None:
    rows = np.where(np.random.default_rng(0).random(HOST.shape) < 0.5, HOST, 0.0)
    weights = positive_weights() if weighted else None
    params = {"random_state": 0, "bisecting_strategy": strategy, "init": init}
    dense = BisectingKMeans(6, **params).fit(rows, sample_weight=weights)
    matrix = sparse.csr_array(rows)
    model = BisectingKMeans(6, **params).fit(matrix, sample_weight=weights)
    assert_array_equal(model.labels_, dense.labels_)
    assert_array_equal(model.predict(matrix), model.labels_)
    assert_allclose(model.cluster_centers_, dense.cluster_centers_, atol=1e-9)
    assert model.inertia_ == pytest.approx(dense.inertia_, rel=1e-9)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("init", ["random", "k-means++"])
def test_streamed_rows_are_split_as_those_in_memory(
    strategy: str, weighted: bool, init: str
) -> None:
    weights = np.random.default_rng(0).integers(0, 4, 300) * 1.0 if weighted else None
    params = {"random_state": 0, "bisecting_strategy": strategy, "init": init, "n_init": 2}
    expected = BisectingKMeans(5, **params).fit(HOST, sample_weight=weights)
    for rows in (
        open_rows(HOST, block_rows=70),
        open_rows(sparse.csr_array(HOST), block_rows=70),
        open_rows(lambda: iter(np.array_split(HOST, 4))),
    ):
        model = BisectingKMeans(5, **params).fit(rows, sample_weight=weights)
        assert_array_equal(model.labels_, expected.labels_)
        assert_array_equal(model.predict(rows), expected.labels_)
        assert_allclose(model.cluster_centers_, expected.cluster_centers_, atol=1e-9)
        assert model.inertia_ == pytest.approx(expected.inertia_, rel=1e-9)


@pytest.mark.sampled(2, dpnp=4)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_on_any_device_are_split_as_rows_in_memory(
    strategy: Any, weighted: bool, library: Library
) -> None:
    weights = positive_weights() if weighted else None
    rows = HOST.astype(np.float32)
    params = {"random_state": 0, "bisecting_strategy": strategy, "tol": 0.0}
    expected = BisectingKMeans(7, **params).fit(rows, sample_weight=weights)
    given = np.column_stack([rows, positive_weights()]).astype(np.float32)
    source = open_rows(given if weighted else rows, weight=3 if weighted else None, block_rows=70)
    blocks = Streamed(source, xp=library.xp, device=library.device)
    random_state = np.random.RandomState(0)
    found = bisecting(
        blocks.seen_from(library.asarray(rows.mean(axis=0), "float32")),
        7,
        lambda part: [random_rows(part, 2, random_state).centroids],
        strategy=strategy,
    )
    assert_array_equal(library.to_host(found.labels.whole()), expected.labels_)
    assert found.inertia == pytest.approx(expected.inertia_, rel=1e-4)


def test_a_streamed_default_of_kmeans_parallel_finds_the_clusters() -> None:
    rows = open_rows(HOST, block_rows=64)
    model = BisectingKMeans(5, init="auto", n_init=3, random_state=0).fit(rows)
    assert len({(truth, label) for truth, label in zip(TRUTH, model.labels_, strict=True)}) == 5


def test_labels_are_written_to_a_file(tmp_path: Path) -> None:
    model = BisectingKMeans(9, random_state=0).fit(CLOUD)
    written = model.predict(open_rows(CLOUD, block_rows=90), out=tmp_path / "labels.npy")
    assert_array_equal(written, model.labels_)


def test_dask_chunks_are_split_as_rows_in_memory() -> None:
    da = pytest.importorskip("dask.array")
    chunked = da.from_array(HOST, chunks=(90, 3))
    model = BisectingKMeans(5, random_state=0).fit(chunked)
    expected = BisectingKMeans(5, random_state=0).fit(HOST)
    assert_array_equal(np.asarray(model.labels_), expected.labels_)
    assert_array_equal(np.asarray(model.predict(chunked)), expected.labels_)


# Clusters that cannot be split, and errors


def test_a_cluster_of_one_point_is_not_split_while_others_are() -> None:
    rows = np.vstack([np.zeros((50, 2)), cloud(9, 2) * 0.1 + 100.0])
    model = BisectingKMeans(6, bisecting_strategy="largest_cluster", random_state=0).fit(rows)
    assert len(set(model.labels_[:50].tolist())) == 1
    assert len(set(model.labels_.tolist())) == 6


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("streamed", [False, True])
def test_fewer_distinct_rows_than_clusters_leave_some_empty(strategy: str, streamed: bool) -> None:
    rows = np.repeat([[0.0, 1.0], [5.0, 5.0], [9.0, -2.0]], 4, axis=0)
    model = BisectingKMeans(5, bisecting_strategy=strategy, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(3\) found smaller"):
        model.fit(open_rows(rows, block_rows=5) if streamed else rows)
    assert len(set(model.labels_.tolist())) == 3
    assert model.inertia_ == pytest.approx(0.0, abs=1e-20)
    assert model.cluster_centers_.shape == (5, 2)
    assert_array_equal(model.predict(rows), model.labels_)
    assert_allclose(model.cluster_centers_[model.labels_], rows, atol=1e-12)


def test_equal_rows_with_others_that_weigh_nothing() -> None:
    rows, weights = np.array([[1.0], [1.0], [1.0], [7.0]]), [1, 1, 1, 0]
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(1\)"):
        model = BisectingKMeans(2, random_state=0).fit(rows, sample_weight=weights)
    assert_allclose(model.cluster_centers_, [[1.0], [1.0]])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_clusters": 301}, "n_samples=300 should be >= n_clusters=301"),
        ({"n_clusters": 0}, "'n_clusters' parameter"),
        ({"bisecting_strategy": "smallest"}, "'bisecting_strategy' parameter"),
        ({"init": HOST[:2]}, "'init' parameter"),
        ({"n_init": "auto"}, "'n_init' parameter"),
        ({"n_init": 0}, "'n_init' parameter"),
        ({"algorithm": "fast"}, "'algorithm' parameter"),
        ({"copy_x": "no"}, "'copy_x' parameter"),
        ({"init": lambda X, n_clusters, random_state: X[:3]}, "does not match the number of"),
    ],
)
def test_errors_say_what_is_wrong(params: dict[str, Any], message: str) -> None:
    model = BisectingKMeans(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(HOST)
    assert not hasattr(model, "cluster_centers_")


def test_too_few_rows_with_weight_are_an_error() -> None:
    weights = np.zeros(300)
    weights[:3] = 1.0
    with pytest.raises(ValueError, match="Only 3 rows have a positive sample_weight"):
        BisectingKMeans(4).fit(HOST, sample_weight=weights)


def test_a_callable_of_rows_in_blocks_is_an_error() -> None:
    model = BisectingKMeans(4, init=lambda X, n_clusters, random_state: X[:2])
    with pytest.raises(ValueError, match="are not in one array"):
        model.fit(open_rows(HOST, block_rows=100))


def test_a_failed_fit_leaves_the_estimator_as_it_was() -> None:
    model = BisectingKMeans(4, random_state=0).fit(HOST)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((10, 3), np.nan))
    assert vars(model) == before


# Progress


def test_verbose_prints_each_split(capsys: pytest.CaptureFixture[str]) -> None:
    model = BisectingKMeans(4, random_state=0, verbose=1).fit(HOST)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["Split 1/3", "Split 2/3", "Split 3/3"]
    assert float(lines[-1].rstrip(".").split()[-1]) == pytest.approx(model.inertia_, rel=1e-3)


class StopsAfterTwo:
    """A callback that looks at the fitted tree, and stops after two splits."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def setup(self, estimator: Any, context: Any) -> None: ...

    def teardown(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, metadata: dict[str, Any] | None = None
    ) -> bool:
        if context.task_name == "iteration" and metadata is not None:
            self.seen.append(metadata["inertia"])
        return len(self.seen) == 2


@pytest.mark.since_sklearn("1.9")
def test_a_callback_sees_the_splits_and_may_stop() -> None:
    callback = StopsAfterTwo()
    model = BisectingKMeans(8, random_state=0).set_callbacks(callback).fit(HOST)
    assert len(callback.seen) == 2
    assert callback.seen[1] < callback.seen[0]
    assert model.cluster_centers_.shape == (3, 3)
    assert len(model.get_feature_names_out()) == 3
    assert_array_equal(model.predict(HOST), model.labels_)


@pytest.mark.since_sklearn("1.9")
def test_a_progress_line_counts_splits(capsys: pytest.CaptureFixture[str]) -> None:
    BisectingKMeans(5, random_state=0).set_callbacks(ProgressLine(seconds=0.0)).fit(HOST)
    captured = capsys.readouterr()
    assert "iteration 4 of 4" in captured.out + captured.err


FITTED = ("cluster_centers_", "_centroids", "_origin", "labels_", "_node_centroids", "_children")


@pytest.mark.sampled(2)
@pytest.mark.since_sklearn("1.9")
@pytest.mark.parametrize("after", [1, 4])
@pytest.mark.parametrize("case", ["plain", "weighted", "equal rows", "cosine", "in blocks"])
def test_a_fit_that_was_killed_goes_on_to_the_same_bits(
    case: str, after: int, tmp_path: Path, library: Library
) -> None:
    host = np.repeat(HOST[:4], 20, axis=0) if case == "equal rows" else HOST
    rows: Any = library.asarray(host, "float32")
    weights = np.arange(len(host)) % 3.0 if case == "weighted" else None
    if case == "in blocks":
        np.save(tmp_path / "rows.npy", host)
        rows = open_rows(tmp_path / "rows.npy", block_rows=70)
    given = weights if weights is None else library.asarray(weights, "float32")

    def fit(*callbacks: Any) -> BisectingKMeans:
        metric = "cosine" if case == "cosine" else "euclidean"
        model = BisectingKMeans(7, n_init=2, metric=metric, random_state=0)
        if callbacks:
            model.set_callbacks(*callbacks)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(rows, sample_weight=given)

    path = tmp_path / "fit.ckpt"
    with pytest.raises(Killed):
        fit(Checkpoint(path), Killing(after))
    checkpoint = Checkpoint(path)
    resumed, uninterrupted = fit(checkpoint), fit()
    assert checkpoint.resumed == f"split {after}"
    assert not path.exists()
    for name in FITTED:
        ours, theirs = (
            library.to_host(getattr(each, name)) if case != "in blocks" else getattr(each, name)
            for each in (resumed, uninterrupted)
        )
        assert ours.tobytes() == theirs.tobytes(), name
    assert resumed.inertia_ == uninterrupted.inertia_


@pytest.mark.since_sklearn("1.9")
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "fit.ckpt"
    with pytest.raises(Killed):
        BisectingKMeans(5, random_state=0).set_callbacks(Checkpoint(path), Killing(2)).fit(HOST)
    saved = persistence.load_values(path, "checkpoint")
    for name, value, message in (
        ("children", saved["state"]["children"][:-1], "children is"),
        ("children", np.full((5, 2), 3, np.int32), "not a binary tree"),
        ("centroids", saved["state"]["centroids"] * np.nan, "centroids is not finite"),
        ("random_state", None, "random_state is"),
    ):
        state = {**saved["state"], name: value}
        persistence.save_values(path, "checkpoint", {**saved, "state": state})
        with pytest.raises(ValueError, match=rf"checkpoint is damaged.*{message}"):
            BisectingKMeans(5, random_state=0).set_callbacks(Checkpoint(path)).fit(HOST)


# scikit-learn's tools


#: as scikit-learn declares for its own
EXPECTED_TO_FAIL = {
    f"check_sample_weight_equivalence_on_{kind}_data": "weights are not as rows repeated"
    for kind in ("dense", "sparse")
}


@parametrize_with_checks(
    [
        BisectingKMeans(),
        BisectingKMeans(n_clusters=3, n_init=2, max_iter=5, bisecting_strategy="largest_cluster"),
    ],
    expected_failed_checks=lambda _: EXPECTED_TO_FAIL,
)
@pytest.mark.filterwarnings("default")  # many of the checks cluster data that warn
def test_scikit_learns_checks_pass(estimator: Any, check: Any) -> None:
    check(estimator)


def test_parameters_and_their_defaults_are_scikit_learns() -> None:
    theirs = sklearn.cluster.BisectingKMeans().get_params()
    ours = BisectingKMeans().get_params()
    assert (ours.pop("algorithm"), theirs.pop("algorithm")) == ("auto", "lloyd")
    assert ours.pop("device") is None
    assert ours.pop("metric") == "euclidean"  # the one that theirs has
    assert ours == theirs


def test_fitted_attributes_are_scikit_learns() -> None:
    def public(model: Any) -> set[str]:
        return {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}

    theirs = sklearn.cluster.BisectingKMeans(4, random_state=0).fit(HOST)
    ours = BisectingKMeans(4, random_state=0).fit(HOST)
    assert public(ours) - public(theirs) == {"device_reason_"}
    assert public(theirs) <= public(ours)
    for name in public(theirs):
        assert np.asarray(getattr(ours, name)).dtype == np.asarray(getattr(theirs, name)).dtype


@pytest.mark.parametrize(
    "copied",
    [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy],
    ids=["pickle", "deepcopy"],
)
def test_copies_predict_the_same(copied: Any) -> None:
    model = BisectingKMeans(9, random_state=0).fit(CLOUD)
    assert_array_equal(copied(model).predict(CLOUD), model.labels_)
    assert not hasattr(clone(model), "_children")


def test_names_transform_and_moving() -> None:
    model = BisectingKMeans(3, random_state=0).fit(HOST)
    assert model.get_feature_names_out().tolist() == [f"bisectingkmeans{i}" for i in range(3)]
    assert model.transform(HOST).shape == (300, 3)
    assert_array_equal(model.fit_predict(HOST), model.labels_)
    moved = model.to_device("cpu")
    assert (type(moved), moved.device) == (BisectingKMeans, "cpu")
    assert_array_equal(moved.predict(HOST), model.labels_)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_to_sklearn_predicts_the_same(dtype: str) -> None:
    points = HOST.astype(dtype)
    model = BisectingKMeans(7, random_state=0, init="auto", algorithm="elkan").fit(points)
    theirs = model.to_sklearn()
    assert type(theirs) is sklearn.cluster.BisectingKMeans
    assert (theirs.init, theirs.algorithm) == ("k-means++", "elkan")
    assert_array_equal(theirs.predict(points), model.labels_)
    assert_array_equal(theirs.predict(sparse.csr_array(points)), model.labels_)
    assert clone(theirs).fit(points).inertia_ > 0.0


# Files


@pytest.mark.parametrize("k", [1, 2, 9])
def test_a_saved_model_predicts_the_same(k: int, library: Library, tmp_path: Path) -> None:
    model = BisectingKMeans(k, random_state=0).fit(library.asarray(CLOUD, "float32"))
    model.save(tmp_path / "model")
    loaded = BisectingKMeans.load(tmp_path / "model")
    labels = library.to_host(model.labels_)
    assert_array_equal(loaded.predict(CLOUD.astype(np.float32)), labels)
    assert loaded.inertia_ == model.inertia_
    assert loaded.get_params() == model.get_params()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("_children", lambda c: c[:-1], "_children is of shape"),
        ("_children", lambda c: c[:, :1], "_children is of shape"),
        ("_children", lambda c: c.astype(float), "_children is of float64"),
        ("_children", lambda c: -c, "_children is below -1"),
        ("_children", lambda c: c + 10**6, "_children is not a binary tree"),
        ("_children", lambda c: np.full_like(c, -1), "_children is not a binary tree"),
        ("_children", lambda c: np.where(c >= 0, c[:1], c), "_children is not a binary tree"),
        ("_children", lambda c: c[:, ::-1].copy(), "_children is not a binary tree"),
        ("_children", lambda c: np.roll(c, 1, axis=0), "_children is not a binary tree"),
        ("_node_centroids", lambda c: c[:, :2], "_node_centroids is of shape"),
        ("_node_centroids", lambda c: c[:-2], "_children is of shape"),
        ("_node_centroids", lambda c: c * np.nan, "_node_centroids is not finite"),
        ("_centroids", lambda c: c[:-1], "_n_features_out is 9"),
    ],
)
def test_a_damaged_tree_is_refused(name: str, change: Any, message: str, tmp_path: Path) -> None:
    model = BisectingKMeans(9, random_state=0).fit(CLOUD)
    setattr(model, name, change(getattr(model, name)))
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        BisectingKMeans.load(tmp_path / "model")


@pytest.mark.parametrize("name", sorted(BisectingKMeans._state_needed))
def test_a_field_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    model = BisectingKMeans(5, random_state=0).fit(HOST)
    delattr(model, name)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=f"{name} is missing"):
        BisectingKMeans.load(tmp_path / "model")


def test_centroids_set_by_hand_without_a_fit_predict_the_nearest() -> None:
    model = BisectingKMeans(2)
    model.cluster_centers_ = np.array([[0.0, 0.0], [10.0, 10.0]])
    assert model.predict(np.array([[1.0, 1.0], [9.0, 8.0]])).tolist() == [0, 1]
