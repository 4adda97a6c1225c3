"""Rows in the chunks of dask arrays and dataframes, against the same rows in memory."""

import os
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import MethodType
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from kmeans_xp import KMeans, MiniBatchKMeans, config_context
from kmeans_xp.blocks import elsewhere
from kmeans_xp.blocks.on_dask import chunks as grouping
from kmeans_xp.blocks.on_dask.chunks import Work
from kmeans_xp.blocks.on_dask.schedulers import _told, names_in
from kmeans_xp.blocks.on_dask.tasks import Place, Settings, merged
from kmeans_xp.kernels import added, merged_in_tree
from kmeans_xp.kernels.trees import merged_in_tree as tree
from kmeans_xp.metrics import (
    calinski_harabasz_score,
    davies_bouldin_score,
    silhouette_score,
    simplified_silhouette_score,
)
from tests.doubles import Chopped, sizes_of

dask = pytest.importorskip("dask")
pytest.importorskip("dask.bag")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
pd = pytest.importorskip("pandas")
distributed = pytest.importorskip("distributed")

N_POINTS, N_FEATURES, N_CLUSTERS = 3000, 4, 6

rng = np.random.default_rng(0)
CENTRES = rng.normal(scale=6.0, size=(N_CLUSTERS, N_FEATURES))
POINTS = CENTRES[rng.integers(0, N_CLUSTERS, N_POINTS)] + rng.normal(size=(N_POINTS, N_FEATURES))
WEIGHTS = rng.integers(0, 4, N_POINTS).astype(np.float64)
COLUMNS = list("abcd")

MODEL = KMeans(N_CLUSTERS, init="k-means++", random_state=0)


@pytest.fixture(autouse=True)
def sync() -> Iterator[None]:
    """Use the scheduler that is easiest to follow, unless a test says otherwise."""
    with dask.config.set(scheduler="sync"):
        yield


@pytest.fixture(scope="module")
def in_memory() -> KMeans:
    return fitted(POINTS)


def fitted(X: Any, weights: Any = None, model: Any = MODEL) -> Any:
    return type(model)(**model.get_params()).fit(X, sample_weight=weights)


def chunked(size: Any = 400, points: Any = POINTS) -> Any:
    return da.from_array(points, chunks=(size, points.shape[1]))


def with_unknown_sizes(X: Any) -> Any:
    return X[X[:, 0] > -np.inf]


def bits_of(model: Any) -> tuple[Any, ...]:
    return (
        np.asarray(model.cluster_centers_).tobytes(),
        np.asarray(model.labels_).tobytes(),
        model.inertia_,
        model.n_iter_,
    )


def assert_same_fit(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(np.asarray(found.labels_), np.asarray(expected.labels_))
    np.testing.assert_allclose(found.cluster_centers_, expected.cluster_centers_, rtol=1e-9)
    assert found.inertia_ == pytest.approx(expected.inertia_, rel=1e-9)
    assert found.n_iter_ == expected.n_iter_


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("size", [N_POINTS, 1000, 401, 17], ids=str)
def test_a_fit_is_that_of_the_rows_in_memory(size: int, scheduler: str, in_memory: KMeans) -> None:
    with dask.config.set(scheduler=scheduler):
        found = fitted(chunked(size))
        assert_same_fit(found, in_memory)
        assert "Dask's tasks" in found.device_reason_
        assert found.score(chunked(size)) == pytest.approx(-in_memory.inertia_, rel=1e-9)


@pytest.mark.parametrize(
    "model",
    [
        KMeans(N_CLUSTERS, init="random", n_init=2, random_state=1),
        KMeans(N_CLUSTERS, init=POINTS[:N_CLUSTERS]),
        KMeans(N_CLUSTERS, random_state=0, init="k-means++", max_iter=2),
        KMeans(1, random_state=0),
        MiniBatchKMeans(N_CLUSTERS, random_state=0, batch_size=300),
        MiniBatchKMeans(N_CLUSTERS, random_state=0, init="random", compute_labels=True),
    ],
    ids=str,
)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["no weights", "weights"])
def test_all_settings_give_what_they_give_in_memory(model: Any, weights: Any) -> None:
    found, expected = fitted(chunked(), weights, model), fitted(POINTS, weights, model)
    assert_same_fit(found, expected)


@pytest.mark.parametrize("size", [401, 64], ids=str)
def test_a_chunking_has_the_bits_of_any_blocks_cut_so(size: int) -> None:
    import array_api_compat.numpy as xp

    from kmeans_xp.algorithms import lloyd
    from kmeans_xp.kernels import DenseRows

    there = elsewhere(chunked(size))
    assert there is not None
    on_dask = there.blocks(None, there.placement(None))
    chopped = Chopped(DenseRows(POINTS), sizes_of(N_POINTS, size), xp=xp)
    found, expected = (lloyd(blocks, POINTS[:N_CLUSTERS]) for blocks in (on_dask, chopped))
    assert found.centroids.tobytes() == expected.centroids.tobytes()
    assert found.inertia == expected.inertia
    assert found.iterations == expected.iterations


@pytest.mark.parametrize("n_parts", [*range(1, 40), 100, 257])
@pytest.mark.parametrize("n_groups", [1, 3, 8])
def test_groups_are_branches_of_the_tree(n_parts: int, n_groups: int) -> None:
    def said(left: str, right: str) -> str:
        return f"({left}{right})"

    parts = [f"{number}," for number in range(n_parts)]
    bounds = grouping._bounds(n_parts, n_groups)
    assert len(bounds) - 1 >= min(n_groups, n_parts)
    groups = [merged(parts[start:stop], said) for start, stop in pairwise(bounds)]
    while len(groups) > 1:
        groups = [merged(groups[at : at + 4], said) for at in range(0, len(groups), 4)]
    assert groups == [merged_in_tree(parts, said)]


def test_parts_without_rows_count_in_the_tree_and_add_nothing() -> None:
    assert tree is merged_in_tree
    assert merged([None, 1, None, None, 2, 4], added) == 7
    assert merged([None, None], added) is None


def test_results_are_lazy_and_cut_as_the_rows_are(in_memory: KMeans) -> None:
    found, X = fitted(chunked(701)), chunked(701)
    for labels in (found.labels_, found.predict(X), found.fit_predict(X)):
        assert isinstance(labels, da.Array)
        assert labels.dtype == np.int32
        assert labels.chunks == (X.chunks[0],)
        assert labels._meta.dtype == np.int32
        np.testing.assert_array_equal(labels.compute(), in_memory.labels_)
    distances = found.transform(X)
    assert isinstance(distances, da.Array)
    assert distances.chunks == (X.chunks[0], (N_CLUSTERS,))
    np.testing.assert_allclose(distances.compute(), in_memory.transform(POINTS), rtol=1e-9)
    np.testing.assert_array_equal(distances.argmin(axis=1).compute(), in_memory.labels_)


def test_predict_computes_nothing_until_it_is_asked(in_memory: KMeans) -> None:
    asked = []

    def noted(part: Any) -> Any:
        asked.append(len(part))
        return part

    X = chunked(1000).map_blocks(noted, meta=np.empty((0, 0)))
    labels, distances = in_memory.predict(X), in_memory.transform(X)
    assert asked == []
    labels[:10].compute()
    assert asked == [1000]
    distances.compute()
    assert len(asked) == 4


def test_chunks_are_computed_once_a_pass() -> None:
    asked = []

    def noted(part: Any) -> Any:
        asked.append(len(part))
        return part

    X = chunked(1000).map_blocks(noted, meta=np.empty((0, 0)))
    model = KMeans(N_CLUSTERS, init=POINTS[:N_CLUSTERS], max_iter=2, tol=0.0).fit(X)
    # The first row; the spread; two steps; the labels, and their inertia.
    assert asked == [1000] * (1 + 3 + 3 * model.n_iter_ + 3 + 3)


def test_float32_stays_and_other_numbers_become_float64() -> None:
    rounded = np.round(POINTS * 10)
    for dtype in ("float32", "int32", "bool", "float16"):
        points = rounded.astype(dtype) if dtype != "bool" else rounded > 0
        model = KMeans(3, init="k-means++", random_state=0)
        found, expected = fitted(chunked(401, points), None, model), fitted(points, None, model)
        assert found.cluster_centers_.dtype == expected.cluster_centers_.dtype
        np.testing.assert_array_equal(found.labels_.compute(), expected.labels_)


def test_sparse_chunks_stay_sparse() -> None:
    host = np.where(POINTS > 0, POINTS, 0.0)
    matrix = scipy.sparse.csr_array(host)
    X = chunked(701, host).map_blocks(scipy.sparse.csr_matrix)
    model = KMeans(N_CLUSTERS, init=host[:N_CLUSTERS])
    found, expected = fitted(X, None, model), fitted(matrix, None, model)
    np.testing.assert_array_equal(found.labels_.compute(), expected.labels_)
    assert found.inertia_ == pytest.approx(expected.inertia_, rel=1e-9)
    np.testing.assert_array_equal(found.predict(X).compute(), expected.labels_)


def test_empty_chunks_and_chunks_of_fewer_rows_than_clusters(in_memory: KMeans) -> None:
    sizes = (0, 2, 0, 0, 1500, 1, 1497, 0)
    parts = np.split(POINTS, np.cumsum(sizes)[:-1])
    X = da.Array(
        dask.highlevelgraph.HighLevelGraph.from_collections(
            "cut", {("cut", n, 0): (np.asarray, part) for n, part in enumerate(parts)}
        ),
        "cut",
        (sizes, (N_FEATURES,)),
        dtype=POINTS.dtype,
    )
    found = fitted(X)
    assert_same_fit(found, in_memory)
    assert found.labels_.chunks == (sizes,)
    np.testing.assert_array_equal(found.predict(X).compute(), in_memory.labels_)
    assert found.transform(X).compute().shape == (N_POINTS, N_CLUSTERS)


def test_sizes_that_are_not_known_are_counted(in_memory: KMeans) -> None:
    X = with_unknown_sizes(chunked())
    found = fitted(X)
    assert_same_fit(found, in_memory)
    assert found.labels_.chunks == chunked().chunks[:1]
    np.testing.assert_array_equal(found.predict(X).compute(), in_memory.labels_)
    assert found.score(X) == pytest.approx(-in_memory.inertia_, rel=1e-9)
    some = X[X[:, 0] > 1e9]
    with pytest.raises(ValueError, match=r"n_samples=0 should be >= n_clusters"):
        fitted(some)


def test_chunks_of_columns_are_brought_together(in_memory: KMeans) -> None:
    assert_same_fit(fitted(da.from_array(POINTS, chunks=(500, 3))), in_memory)


@pytest.mark.parametrize("n_chunks", [1000])
def test_thousands_of_chunks_are_few_tasks(n_chunks: int, in_memory: KMeans) -> None:
    n_tasks = []

    class Counted(dask.callbacks.Callback):
        def _start(self, graph: Any) -> None:
            n_tasks.append(len(graph))

    with Counted():
        found = fitted(chunked(N_POINTS // n_chunks))
    assert_same_fit(found, in_memory)
    assert max(n_tasks) <= 30


@pytest.mark.parametrize("of_dask", [True, False], ids=["weights of Dask", "weights here"])
@pytest.mark.parametrize("known", [True, False], ids=["known sizes", "unknown sizes"])
def test_weights_are_cut_as_the_rows_are(of_dask: bool, known: bool) -> None:
    expected = fitted(POINTS, WEIGHTS)
    X = chunked() if known else with_unknown_sizes(chunked())
    weights = da.from_array(WEIGHTS, chunks=400 if not known else 700) if of_dask else WEIGHTS
    found = fitted(X, weights)
    assert_same_fit(found, expected)
    score = found.score(X, sample_weight=weights)
    assert score == pytest.approx(-expected.inertia_, rel=1e-9)
    np.testing.assert_allclose(fitted(X, 2.0).cluster_centers_, fitted(POINTS).cluster_centers_)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((N_POINTS, 1)), "Sample weights must be 1D array or scalar, got 2D array"),
        (np.ones(7), r"sample_weight.shape == \(7,\), expected \(3000,\)!"),
        (np.full(N_POINTS, np.nan), "sample_weight contains NaN or infinity"),
        (np.full(N_POINTS, -1.0), "Negative values in data passed to `sample_weight`"),
        (np.zeros(N_POINTS), "at least one non-zero number"),
    ],
    ids=["2-D", "too few", "NaN", "negative", "zero"],
)
@pytest.mark.parametrize("of_dask", [True, False], ids=["of Dask", "here"])
def test_weights_that_cannot_be(weights: Any, message: str, of_dask: bool) -> None:
    weights = da.from_array(weights, chunks=500) if of_dask else weights
    with pytest.raises(ValueError, match=message):
        fitted(chunked(), weights)


@pytest.mark.parametrize("dtype", ["float64", "float32", "mixed", "Float64"])
def test_dataframes_are_rows_with_names(dtype: str) -> None:
    frame = pd.DataFrame(POINTS, columns=COLUMNS)
    if dtype == "mixed":
        frame = frame.round().astype({"a": "int32", "b": "float32"})
    else:
        frame = frame.astype(dtype)
    ddf = dd.from_pandas(frame, npartitions=5)
    found, expected = fitted(ddf), fitted(frame)
    np.testing.assert_array_equal(found.labels_.compute(), expected.labels_)
    assert found.feature_names_in_.tolist() == COLUMNS
    assert found.n_features_in_ == N_FEATURES
    np.testing.assert_array_equal(found.predict(ddf).compute(), expected.labels_)
    with pytest.raises(ValueError, match="feature names"):
        found.predict(ddf[COLUMNS[::-1]])
    weights = ddf["a"].abs()
    np.testing.assert_allclose(
        fitted(ddf, weights).inertia_, fitted(frame, frame["a"].abs().to_numpy("float64")).inertia_
    )


def test_columns_of_text_are_named() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "city": ["x", "y"]})
    with pytest.raises(ValueError, match="Columns of X hold no numbers: 'city'"):
        fitted(dd.from_pandas(frame, npartitions=1))


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        (lambda: chunked()[:, 0], ValueError, "Expected 2D array, got 1D array"),
        (lambda: chunked()[:3], ValueError, "n_samples=3 should be >= n_clusters=6"),
        (lambda: chunked()[:, :0], ValueError, r"0 feature\(s\)"),
        (lambda: chunked() * 1j, ValueError, "Complex data not supported"),
        (
            lambda: dask.bag.from_sequence(POINTS),
            TypeError,
            "convert it to a dask array or dataframe",
        ),
    ],
    ids=["1-D", "too few rows", "no columns", "complex", "no collection of rows"],
)
def test_what_cannot_be_clustered_is_told_before_any_work(X: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        fitted(X())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_chunk_that_is_not_finite_is_named(bad: float, scheduler: str) -> None:
    points = POINTS.copy()
    points[1234, 2] = bad
    with dask.config.set(scheduler=scheduler):
        message = r"chunk 3 of X \(rows 1200 to 1599\): Input X contains NaN or infinity"
        with pytest.raises(ValueError, match=message):
            fitted(chunked(points=points))
        with pytest.raises(ValueError, match=message):
            fitted(POINTS).predict(chunked(points=points)).compute()


def failing_at_2(fail: Any) -> Any:
    """Return a function that calls ``fail`` for chunk 2; not one that a worker has to import."""

    def of_chunk(part: Any, block_info: Any = None) -> Any:
        if block_info[0]["chunk-location"][0] == 2:
            fail()
        return part

    return of_chunk


def out_of_disk() -> Any:
    def fail() -> None:
        raise OSError("the disk is gone")

    return failing_at_2(fail)


@pytest.mark.parametrize("shares_work", [False, True], ids=["own work", "shared work"])
def test_a_chunk_that_raises_is_named(shares_work: bool) -> None:
    X = chunked()
    if shares_work:
        X = X - X.mean(axis=0)
    X = X.map_blocks(out_of_disk(), meta=np.empty((0, 0)))
    expected = r"Chunk 2 of X .*could not be computed: OSError: the disk is gone"
    with pytest.raises(RuntimeError, match=expected) as caught:
        fitted(X)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_chunk_that_is_not_what_is_said_of_it_is_named() -> None:
    X = chunked().map_blocks(lambda part: part[:-1], meta=np.empty((0, 0)))
    with pytest.raises(ValueError, match=r"chunk 0 of X .*its shape is \(399, 4\)"):
        fitted(X)


def test_a_failed_fit_leaves_the_estimator_as_it_was(in_memory: KMeans) -> None:
    model = fitted(POINTS)
    before = bits_of(model)
    with pytest.raises(RuntimeError, match="could not be computed"):
        model.fit(chunked().map_blocks(out_of_disk(), meta=np.empty((0, 0))))
    assert bits_of(model) == before


def test_chunks_that_share_work_are_left_to_dask(in_memory: KMeans) -> None:
    centred = chunked() - chunked().mean(axis=0)
    assert Work.of(centred).recipes is None
    assert Work.of(chunked() * 2.0).recipes is not None
    np.testing.assert_array_equal(fitted(centred).labels_.compute(), in_memory.labels_)


def test_graphs_that_dask_does_not_fuse_are_taken(in_memory: KMeans) -> None:
    with dask.config.set({"optimization.fuse.active": False}):
        assert_same_fit(fitted(chunked()), in_memory)


def test_partial_fit_takes_a_step_for_each_chunk() -> None:
    found = MiniBatchKMeans(N_CLUSTERS, random_state=0, init=POINTS[:N_CLUSTERS])
    found.partial_fit(chunked(1000))
    assert found.n_steps_ == 3
    assert found._counts.sum() == N_POINTS


def test_tasks_share_the_processors_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("KMEANS_XP_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("kmeans_xp.blocks.on_dask.tasks.n_threads", lambda: 8)
    assert Settings("float64", 2, n_at_once=3)._threads() == 2
    assert Settings("float64", 2, n_at_once=99)._threads() == 1
    assert Settings("float64", 2, n_threads=5, n_at_once=3)._threads() == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert Settings("float64", 2, n_at_once=3)._threads() is None
    there = elsewhere(chunked())
    assert there is not None
    with config_context(n_threads=2):
        blocks = there.blocks(None, there.placement(None))
    assert blocks._store.settings.n_threads == 2  # type: ignore[attr-defined]


def test_the_default_draws_the_same_first_rows_in_any_chunks() -> None:
    default, named = (
        KMeans(N_CLUSTERS, random_state=0),
        KMeans(N_CLUSTERS, random_state=0, init="k-means||"),
    )
    expected = fitted(POINTS, None, named)
    for size in (900, 70):
        assert_same_fit(fitted(chunked(size), None, default), expected)


def test_metrics_are_those_of_the_rows_in_memory(in_memory: KMeans) -> None:
    labels, X = in_memory.labels_, chunked(701)
    for metric in (davies_bouldin_score, calinski_harabasz_score, simplified_silhouette_score):
        for given in (labels, da.from_array(labels, chunks=500)):
            assert metric(X, given) == pytest.approx(metric(POINTS, labels), rel=1e-9)
    sampled = {"sample_size": 200, "random_state": 0}
    found, expected = (silhouette_score(rows, labels, **sampled) for rows in (X, POINTS))
    assert found == pytest.approx(expected, rel=1e-9)
    with pytest.raises(TypeError, match=r"X \(Dask's Array\) is read by blocks"):
        silhouette_score(X, labels)


def test_the_number_of_clusters_is_chosen_on_a_sample() -> None:
    from kmeans_xp.selection import choose_n_clusters

    options = {"sample_size": 500, "n_init": 2, "n_references": 0, "random_state": 0}
    found = choose_n_clusters(chunked(), [2, 3, 4], **options)
    expected = choose_n_clusters(POINTS, [2, 3, 4], **options)
    assert found.n_clusters == expected.n_clusters


@pytest.fixture
def there(library: Any) -> Any:
    """The rows as one array of a library that chunks of Dask's may be of."""
    if library.name not in ("numpy", "cupy"):
        pytest.skip("chunks are of NumPy or of CuPy")
    return library.asarray(POINTS)


@pytest.mark.parametrize("scheduler", ["sync", "threads", "workers"])
@pytest.mark.parametrize(
    "model",
    [
        KMeans(N_CLUSTERS, init="k-means++", random_state=0),
        KMeans(N_CLUSTERS, init="k-means||", random_state=0),
        KMeans(N_CLUSTERS, init="random", n_init=1, random_state=0, max_iter=5),
        KMeans(N_CLUSTERS, init=POINTS[:N_CLUSTERS], max_iter=3),
        MiniBatchKMeans(N_CLUSTERS, random_state=0, init="k-means++", batch_size=300),
    ],
    ids=str,
)
def test_chunks_of_a_library_give_what_its_arrays_give(
    model: Any, scheduler: str, there: Any, library: Any, request: pytest.FixtureRequest
) -> None:
    if scheduler == "workers":
        scheduler = request.getfixturevalue("in_process")
    kind = type(there)
    with dask.config.set(scheduler=scheduler):
        X = da.from_array(there, chunks=(701, N_FEATURES), asarray=False)
        expected, found = fitted(there, None, model), fitted(X, None, model)
        for labels in (found.labels_, found.predict(X)):
            assert isinstance(labels._meta, kind)
            computed = labels.compute()
            assert isinstance(computed, kind)
            np.testing.assert_array_equal(
                library.to_host(computed), library.to_host(expected.predict(there))
            )
        assert isinstance(found.cluster_centers_, kind)
        assert found.inertia_ == pytest.approx(expected.inertia_, rel=1e-9)
        assert found.score(X) == pytest.approx(expected.score(there), rel=1e-9)
        distances = found.transform(X).compute()
        assert isinstance(distances, kind)
        np.testing.assert_allclose(
            library.to_host(distances), library.to_host(expected.transform(there)), rtol=1e-9
        )


def test_weights_may_be_of_the_library_of_the_chunks(there: Any, library: Any) -> None:
    weights = library.asarray(WEIGHTS)
    X = da.from_array(there, chunks=(701, N_FEATURES), asarray=False)
    expected = fitted(there, weights)
    for given in (WEIGHTS, weights, da.from_array(weights, chunks=500, asarray=False)):
        assert fitted(X, given).inertia_ == pytest.approx(expected.inertia_, rel=1e-9)


def test_lazy_labels_of_a_library_are_measured(there: Any, library: Any) -> None:
    X = da.from_array(there, chunks=(701, N_FEATURES), asarray=False)
    found = fitted(X)
    score = davies_bouldin_score(X, found.labels_)
    assert score == pytest.approx(davies_bouldin_score(there, found.labels_.compute()), rel=1e-9)


# -- clusters ---------------------------------------------------------------------------------

CLUSTER = {"dashboard_address": None, "memory_limit": None, "silence_logs": 50}
MEMORY_LIMIT = 600 * 2**20
OUT_OF_MEMORY = (
    r"Workers died one after another while they computed chunks? \d.* of X.*; most likely they ran "
    "out of memory. Use smaller chunks, or give each worker more memory"
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Let clusters warn of what they do when they begin and end."""
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, ResourceWarning, UserWarning, RuntimeWarning):
            warnings.simplefilter("ignore", kind)
        yield


@pytest.fixture(scope="module")
def in_process() -> Iterator[Any]:
    """Workers of this process, which are workers all the same, and are there at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                2, threads_per_worker=1, processes=False, **CLUSTER
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client


@pytest.mark.parametrize("n_workers", [1, 3])
def test_bits_do_not_depend_on_who_computes(n_workers: int) -> None:
    # Workers of one process are workers all the same, and are there at once.
    model = KMeans(N_CLUSTERS, init=POINTS[:N_CLUSTERS], max_iter=2)
    expected = {size: bits_of(fitted(chunked(size), None, model)) for size in (400, 60)}
    with (
        distributed.LocalCluster(
            n_workers, threads_per_worker=1, processes=False, **CLUSTER
        ) as one,
        distributed.Client(one) as client,
        dask.config.set(scheduler=client),
    ):
        for size, bits in expected.items():
            assert bits_of(fitted(chunked(size), None, model)) == bits
            assert bits_of(fitted(chunked(size).persist(), None, model)) == bits
        counted = fitted(with_unknown_sizes(chunked(60)), None, model)
        assert bits_of(counted) == expected[60]
        weights = da.from_array(WEIGHTS, chunks=90)
        assert_same_fit(fitted(chunked(), weights, model), fitted(POINTS, WEIGHTS, model))


def test_draws_on_a_cluster_are_those_in_memory(in_process: Any, in_memory: KMeans) -> None:
    with dask.config.set(scheduler=in_process):
        assert_same_fit(fitted(chunked()), in_memory)
        assert_same_fit(fitted(chunked().persist()), in_memory)


@contextmanager
def cluster_of_processes(n_allowed: int, **options: Any) -> Iterator[Any]:
    """Begin two workers, and give up a task when more than ``n_allowed`` workers died of it."""
    failing = {"allowed-failures": n_allowed, "no-workers-timeout": "30s"}  # fail, and do not hang
    config = {f"distributed.scheduler.{name}": value for name, value in failing.items()}
    with warnings.catch_warnings(), dask.config.set(config):
        warnings.simplefilter("ignore")
        with (
            # Without numba: each new process would compile it for some seconds.
            distributed.LocalCluster(
                2, threads_per_worker=1, env={"KMEANS_XP_NUMBA": "0"}, **CLUSTER | options
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    with cluster_of_processes(1) as client:
        yield client


@pytest.fixture
def on_processes(processes: Any) -> Iterator[Any]:
    # A worker that restarts gets Dask's configuration, which must not hold the client.
    with dask.config.set(scheduler="distributed"), processes.as_current():
        yield processes


@pytest.fixture
def with_little_memory() -> Iterator[Any]:
    # A worker that takes more than it may is killed at once, and not paused before. Nothing waits
    # for new workers: Dask does not restart one that dies before it has quite begun.
    memory: dict[str, Any] = {"terminate": 0.8, "pause": False, "spill": False, "target": False}
    memory["monitor-interval"] = "20ms"
    config = {f"distributed.worker.memory.{name}": value for name, value in memory.items()}
    with (
        dask.config.set(config | {"scheduler": "distributed"}),
        cluster_of_processes(0, memory_limit=MEMORY_LIMIT) as client,
        client.as_current(),
    ):
        yield client


def kill_a_worker(client: Any) -> None:
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)


def at_step(
    number: int,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> list[Any]:
    """Have something done before or after a step is submitted; return the steps so far."""
    steps: list[Any] = []
    submit = client.get

    def submitting(_: Any, graph: Any, *arguments: Any, **keywords: Any) -> Any:
        is_step = any("lloyd-step" in str(key) for key in graph)
        steps.extend([graph] * is_step)
        is_due = is_step and len(steps) == number
        if is_due:
            before()
        futures = submit(graph, *arguments, **keywords)
        if is_due:
            after()
        return futures

    # A method, by which the client is known.
    monkeypatch.setattr(client, "get", MethodType(submitting, client))
    return steps


def test_a_worker_that_is_killed_changes_no_bit(
    on_processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = KMeans(N_CLUSTERS, init=POINTS[:N_CLUSTERS], tol=0.0, max_iter=6)
    expected = bits_of(fitted(chunked(100), None, model))
    steps = at_step(3, on_processes, monkeypatch, after=lambda: kill_a_worker(on_processes))
    found = fitted(chunked(100), None, model)
    assert len(steps) > 3
    assert bits_of(found) == expected


def test_a_cluster_whose_last_worker_is_gone_raises_after_the_limit_of_dask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = KMeans(N_CLUSTERS, init=POINTS[:N_CLUSTERS], tol=0.0, max_iter=6)
    options = CLUSTER | {"processes": False}
    message = r"no worker for 1 seconds, which is Dask's distributed.scheduler.no-workers-timeout"
    with (
        dask.config.set({"distributed.scheduler.no-workers-timeout": "1s"}),
        distributed.LocalCluster(1, threads_per_worker=1, **options) as cluster,
        distributed.Client(cluster) as client,
        dask.config.set(scheduler=client),
    ):
        steps = at_step(2, client, monkeypatch, before=lambda: cluster.scale(0))
        for X in (chunked(), chunked().persist()):
            with pytest.raises(RuntimeError, match=message):
                fitted(X, None, model)
            assert len(steps) == 2  # the second fit ends before it takes one


def out_of_memory(from_now_on: Any = None) -> Any:
    """Return a function that is killed for taking too much; not before that file is there."""

    def of_chunk(part: Any, block_info: Any = None) -> Any:
        if from_now_on is None:
            is_due = block_info[0]["chunk-location"][0] == 2
        else:
            is_due = os.path.exists(from_now_on)
        if is_due:
            taken = np.ones(MEMORY_LIMIT // 8)
            time.sleep(20.0)
            part = part + taken[0]
        return part

    return of_chunk


@pytest.mark.sampled(1, numpy=2)
@pytest.mark.parametrize("shares_work", [False, True], ids=["own work", "shared work"])
def test_a_chunk_that_workers_run_out_of_memory_for_is_named(
    shares_work: bool, with_little_memory: Any
) -> None:
    X = chunked(1000)
    X = X - X.mean(axis=0) if shares_work else X
    with pytest.raises(RuntimeError, match=OUT_OF_MEMORY) as caught:
        fitted(X.map_blocks(out_of_memory(), meta=np.empty((0, 0))))
    assert "chunk 2 of X" in str(caught.value)
    assert isinstance(caught.value.__cause__, distributed.KilledWorker)


@pytest.mark.sampled(1, numpy=2)
@pytest.mark.parametrize("is_held", [True, False], ids=["held", "computed anew"])
def test_workers_that_run_out_of_memory_in_an_iteration_name_the_chunk(
    is_held: bool, with_little_memory: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_held:
        monkeypatch.setattr(grouping, "_HELD_PART", 0.0)
    due = tmp_path / "from now on"
    X = chunked(400).map_blocks(out_of_memory(str(due)), meta=np.empty((0, 0)))
    model = KMeans(N_CLUSTERS, init=POINTS[:N_CLUSTERS], tol=0.0, max_iter=6)

    def run_out() -> None:
        due.touch()
        if is_held:  # what the worker held is computed again
            known = with_little_memory.scheduler_info()["workers"].keys()
            kill_a_worker(with_little_memory)
            while with_little_memory.scheduler_info()["workers"].keys() >= known:
                time.sleep(0.01)

    steps = at_step(3, with_little_memory, monkeypatch, before=run_out)
    with pytest.raises(RuntimeError, match=OUT_OF_MEMORY):
        fitted(X, None, model)
    assert len(steps) == 3


def test_workers_that_die_of_a_chunk_name_it() -> None:
    def killed(key: Any) -> Exception:
        error: Exception = distributed.KilledWorker(key, None, 3)
        return error

    calls = {("held", n): (sum, Place(n, 1, n, (5,))) for n in range(3)}
    names = names_in(calls)
    told = _told([killed(("held", 1)), killed(("held", 2))], names)
    message = r"Workers died .* chunk 1 of X \(rows 1 to 5\) or chunk 2 of X .* out of memory"
    assert re.match(message, str(told))
    other = OSError("the disk is gone")
    assert _told([killed(("held", 1)), other], names) is other
    scheduler = pytest.importorskip("distributed.scheduler")
    without_workers = scheduler.NoWorkerError("mean", 30.0)
    assert _told([without_workers, other], names) is other
    assert re.match(
        message, str(_told([without_workers, killed(("held", 1)), killed(("held", 2))], names))
    )
    assert "no worker for 30 seconds" in str(_told([without_workers], names))
    restricted = scheduler.NoValidWorkerError("mean", set(), set(), {"GPU": 1}, 30.0)
    assert _told([restricted], names) is restricted
    told = _told([killed("mean"), killed("mean")], names)
    assert re.match(r"Workers died .* they computed the task 'mean'; most likely", str(told))


def test_errors_of_workers_name_the_chunk_and_keep_the_cause(on_processes: Any) -> None:
    points = POINTS.copy()
    points[1234, 2] = np.nan
    with pytest.raises(ValueError, match=r"chunk 3 of X \(rows 1200 to 1599\): Input X contains"):
        fitted(chunked(points=points))
    for each in (chunked(), chunked() - chunked().mean(axis=0)):
        X = each.map_blocks(out_of_disk(), meta=np.empty((0, 0)))
        with pytest.raises(RuntimeError, match=r"hunk 2 of X .*the disk is gone") as caught:
            fitted(X)
        assert isinstance(caught.value.__cause__, OSError)
