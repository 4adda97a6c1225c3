"""Rows that are read block by block: results equal those for rows in memory."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from conftest import Library
from kmeans_xp import KMeans, MiniBatchKMeans, metrics, open_rows
from kmeans_xp.blocks import stream
from kmeans_xp.blocks.reading_ahead import read_ahead
from kmeans_xp.blocks.sources import SourceBlock
from kmeans_xp.blocks.streamed import Streamed
from kmeans_xp.devices import namespace_of, placement
from kmeans_xp.estimators import labels_file
from kmeans_xp.kernels import Rows, sq_distances
from kmeans_xp.metrics import simplified_silhouette_score
from kmeans_xp.selection import choose_n_clusters

N_ROWS, N_FEATURES, N_CLUSTERS = 1003, 5, 6

rng = np.random.default_rng(0)
CENTRES = rng.normal(scale=8.0, size=(N_CLUSTERS, N_FEATURES))
POINTS = CENTRES[rng.integers(0, N_CLUSTERS, N_ROWS)] + rng.normal(size=(N_ROWS, N_FEATURES))
WEIGHTS = rng.integers(0, 4, N_ROWS).astype(np.float64)


def reader_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "kmeans_xp-reader"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert reader_threads() == []


# The reader thread


def test_items_come_in_order() -> None:
    assert list(read_ahead((i for i in range(100)), 3)) == list(range(100))


def test_no_more_are_read_than_asked_for_and_ahead() -> None:
    n_read = 0
    begun = threading.Semaphore(0)

    def items() -> Iterator[int]:
        nonlocal n_read
        for number in range(100):
            n_read += 1
            begun.release()
            yield number

    with closing(read_ahead(items(), 2)) as ahead:
        for taken in range(1, 20):
            next(ahead)
            for _ in range(2 if taken == 1 else 1):
                begun.acquire(timeout=10)
            assert n_read <= taken + 2


def test_the_thread_ends_and_closes_what_it_reads_when_the_caller_stops() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(threading.current_thread().name)

    ahead = read_ahead(items(), 2)
    assert next(ahead) == 0
    ahead.close()
    assert closed == ["kmeans_xp-reader"]


def test_an_error_of_the_thread_is_raised_in_the_caller_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("why")

    ahead = read_ahead(items(), 5)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(KeyError, match="why"):
        next(ahead)


def test_the_thread_ends_when_the_function_raises() -> None:
    def function(rows: Rows, *, xp: Any) -> Any:
        raise ZeroDivisionError

    blocks = Streamed(open_rows(POINTS, block_rows=10), xp=namespace_of(POINTS), device="cpu")
    for visit in (blocks.reduce, blocks.map_rows):
        with pytest.raises(ZeroDivisionError) as kept:
            visit(function)
        # While the traceback is alive, and with it all frames.
        assert reader_threads() == []
        assert kept.value is not None


def test_the_thread_ends_when_the_merge_raises() -> None:
    def merge(left: int, right: int) -> int:
        raise ZeroDivisionError

    blocks = Streamed(open_rows(POINTS, block_rows=10), xp=namespace_of(POINTS), device="cpu")
    with pytest.raises(ZeroDivisionError) as kept:
        blocks.reduce(lambda rows, *, xp: rows.n_points, merge=merge)
    assert reader_threads() == []
    assert kept.value is not None


def test_errors_of_a_block_are_raised_by_fit_which_leaves_the_estimator_as_it_was() -> None:
    broken = POINTS.copy()
    broken[777] = np.nan
    kmeans = KMeans(N_CLUSTERS, random_state=0).fit(open_rows(POINTS, block_rows=100))
    before = dict(vars(kmeans))
    with pytest.raises(ValueError, match=r"rows 700 to 799 .*\(block 7\): row 777 has nan"):
        kmeans.fit(open_rows(broken, block_rows=100))
    assert vars(kmeans) == before


# On every library


def test_blocks_on_the_device_keep_their_results(library: Library) -> None:
    """A result must not change when the next block takes the place of the rows."""
    points = POINTS[:60].astype(np.float32)
    table = np.column_stack([points, WEIGHTS[:60].astype(np.float32)])
    source = open_rows(table, weight=N_FEATURES, block_rows=7)
    blocks = Streamed(source, xp=library.xp, device=library.device)
    found = blocks.map_rows(lambda rows, *, xp: rows.centred()).whole()
    assert_array_equal(library.to_host(found), points)
    found = blocks.map_rows(lambda rows, *, xp: rows.weights).whole()
    assert_array_equal(library.to_host(found), WEIGHTS[:60])


def test_matrices_wait_on_the_host(library: Library) -> None:
    points = POINTS.astype(np.float32)
    source = open_rows(points, block_rows=100)
    blocks = Streamed(source, xp=library.xp, device=library.device)
    centroids = library.asarray(points[:N_CLUSTERS], "float32")
    distances = blocks.map_rows(sq_distances, centroids)
    assert {type(part) for part in distances.parts} == {np.ndarray}
    nearest = distances.reduce(lambda part, *, xp: xp.sum(xp.min(part, axis=1)))
    assert float(nearest) == pytest.approx(
        np.concatenate(distances.parts).min(axis=1).sum(), rel=1e-5
    )
    assert distances.block(3).shape == (100, N_CLUSTERS)


# Estimators


def fitted(cls: Any, X: Any, **options: Any) -> Any:
    return cls(N_CLUSTERS, random_state=0, init="random", **options).fit(X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cls", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("block_rows", [1003, 400, 37])
def test_a_fit_is_that_of_rows_in_memory(cls: Any, dtype: str, block_rows: int) -> None:
    points = POINTS.astype(dtype)
    expected, found = fitted(cls, points), fitted(cls, open_rows(points, block_rows=block_rows))
    assert_array_equal(found.labels_, expected.labels_)
    rel = 1e-9 if dtype == "float64" else 1e-6
    assert found.inertia_ == pytest.approx(expected.inertia_, rel=rel)
    assert found.cluster_centers_.dtype == points.dtype
    assert type(found.labels_) is np.ndarray
    assert "are read block by block" in found.device_reason_


@pytest.mark.parametrize("cls", [KMeans, MiniBatchKMeans])
def test_weights_come_from_a_column_or_with_the_fit(cls: Any) -> None:
    table = np.column_stack([POINTS, WEIGHTS])
    kmeans = cls(N_CLUSTERS, random_state=0, init="random")
    expected = kmeans.fit(POINTS, sample_weight=WEIGHTS).inertia_
    column = kmeans.fit(open_rows(table, weight=N_FEATURES, block_rows=100)).inertia_
    assert column == pytest.approx(expected, rel=1e-9)
    given = kmeans.fit(open_rows(POINTS, block_rows=100), sample_weight=WEIGHTS)
    assert given.inertia_ == pytest.approx(expected, rel=1e-9)
    assert -given.score(open_rows(POINTS, block_rows=9), sample_weight=WEIGHTS) == pytest.approx(
        expected, rel=1e-9
    )
    equal = kmeans.fit(open_rows(POINTS, block_rows=100), sample_weight=2.0).inertia_
    assert equal == pytest.approx(2 * kmeans.fit(POINTS).inertia_, rel=1e-9)


def test_weights_that_cannot_be_used() -> None:
    kmeans, source = KMeans(N_CLUSTERS), open_rows(POINTS, block_rows=100)
    for weights, words in (
        (WEIGHTS[:-1], "expected"),
        (-WEIGHTS, "Negative"),
        (WEIGHTS * np.nan, "NaN"),
        (WEIGHTS * 0, "non-zero"),
    ):
        with pytest.raises(ValueError, match=words):
            kmeans.fit(source, sample_weight=weights)
    weighted = open_rows(np.column_stack([POINTS, WEIGHTS * 0]), weight=N_FEATURES)
    with pytest.raises(ValueError, match="non-zero"):
        kmeans.fit(weighted)
    with pytest.raises(ValueError, match="has a column of weights"):
        kmeans.fit(weighted, sample_weight=WEIGHTS)


def test_what_is_fitted_is_applied_to_rows_anywhere() -> None:
    kmeans = fitted(KMeans, POINTS)
    source = open_rows(POINTS, block_rows=100)
    assert_array_equal(kmeans.predict(source), kmeans.labels_)
    assert_array_equal(kmeans.transform(source), kmeans.transform(POINTS))
    assert kmeans.score(source) == pytest.approx(kmeans.score(POINTS), rel=1e-12)
    assert_array_equal(fitted(KMeans, source).predict(POINTS), kmeans.labels_)
    assert_array_equal(KMeans(N_CLUSTERS, random_state=0).fit_predict(source).shape, (N_ROWS,))


def test_predict_reads_the_rows_of_a_callable_once() -> None:
    n_calls = 0

    def chunks() -> Iterator[np.ndarray]:
        nonlocal n_calls
        n_calls += 1
        yield from np.array_split(POINTS, 7)

    kmeans, source = fitted(KMeans, POINTS), open_rows(chunks)
    assert source.n_features == N_FEATURES  # looks at the first chunk
    assert_array_equal(kmeans.predict(source), kmeans.labels_)
    assert n_calls == 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sparse_rows_are_fitted_as_they_are_in_memory(dtype: str) -> None:
    host = np.where(POINTS > 0, POINTS, 0.0).astype(dtype)
    matrix, start = sparse.csr_array(host), host[:N_CLUSTERS]
    rows = open_rows(matrix, block_rows=77)
    found, expected = (KMeans(N_CLUSTERS, init=start).fit(each) for each in (rows, matrix))
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    assert found.inertia_ == pytest.approx(
        expected.inertia_, rel=1e-9 if dtype == "float64" else 1e-6
    )
    np.testing.assert_array_equal(found.predict(rows), found.labels_)
    np.testing.assert_allclose(found.transform(rows), expected.transform(matrix), rtol=1e-5)
    for init in ("k-means||", "k-means++"):
        seeded = [
            KMeans(N_CLUSTERS, init=init, random_state=0).fit(each) for each in (rows, matrix)
        ]
        np.testing.assert_array_equal(seeded[0].labels_, seeded[1].labels_)
    batches = [
        MiniBatchKMeans(N_CLUSTERS, random_state=0, init="random").fit(each)
        for each in (rows, matrix)
    ]
    np.testing.assert_allclose(
        batches[0].cluster_centers_, batches[1].cluster_centers_, rtol=1e-5, atol=1e-6
    )


def test_few_rows() -> None:
    with pytest.raises(ValueError, match="n_samples=1003 should be >= n_clusters=2000"):
        KMeans(2000).fit(open_rows(POINTS, block_rows=100))


def test_a_callable_init_needs_rows_in_one_piece() -> None:
    kmeans = KMeans(N_CLUSTERS, init=lambda X, n_clusters, random_state: X[:n_clusters])
    with pytest.raises(ValueError, match="A callable init needs"):
        kmeans.fit(open_rows(POINTS, block_rows=100))


def test_names_of_features_are_kept_and_compared() -> None:
    frame = pd.DataFrame(POINTS, columns=list("abcde"))
    kmeans = fitted(KMeans, open_rows(frame, block_rows=100))
    assert kmeans.feature_names_in_.tolist() == list("abcde")
    assert_array_equal(kmeans.predict(frame), kmeans.labels_)
    with pytest.raises(ValueError, match="feature names"):
        kmeans.predict(open_rows(frame.rename(columns={"a": "z"})))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        kmeans.predict(open_rows(POINTS))
    with pytest.raises(ValueError, match="4 features"):
        fitted(KMeans, open_rows(POINTS)).predict(open_rows(POINTS[:, :4]))
    assert not hasattr(fitted(KMeans, open_rows(POINTS)), "feature_names_in_")


def test_each_block_is_a_batch_of_partial_fit() -> None:
    frame = pd.DataFrame(POINTS, columns=list("abcde"))
    expected = MiniBatchKMeans(N_CLUSTERS, random_state=0)
    for start in range(0, N_ROWS, 100):
        expected.partial_fit(frame[start : start + 100])
    found = MiniBatchKMeans(N_CLUSTERS, random_state=0)
    found.partial_fit(open_rows(frame, block_rows=100))
    assert found.n_steps_ == expected.n_steps_ == 11
    assert_array_equal(found.cluster_centers_, expected.cluster_centers_)
    assert found.feature_names_in_.tolist() == list("abcde")
    found.partial_fit(open_rows(frame, block_rows=1003))
    assert found.n_steps_ == 12
    with pytest.raises(ValueError, match="open_rows"):
        found.partial_fit(open_rows(frame), sample_weight=WEIGHTS)


def test_a_pass_of_partial_fit_is_whole_or_not_at_all() -> None:
    broken = POINTS.copy()
    broken[777] = np.nan
    kmeans = MiniBatchKMeans(N_CLUSTERS, random_state=0).partial_fit(POINTS)
    with pytest.raises(ValueError, match="row 777"):
        kmeans.partial_fit(open_rows(broken, block_rows=100))
    assert kmeans.n_steps_ == 1


def test_mini_batches_are_fetched_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_rows(POINTS, block_rows=100)
    n_fetches = 0
    take = type(source).take

    def counted(self: Any, indices: Any) -> SourceBlock:
        nonlocal n_fetches
        n_fetches += 1
        return take(self, indices)

    monkeypatch.setattr(type(source), "take", counted)
    options = {"batch_size": 20, "max_no_improvement": None, "max_iter": 4}
    found = fitted(MiniBatchKMeans, source, **options)
    assert found.n_steps_ == 200
    assert n_fetches < 40  # seeding's among them
    assert_array_equal(found.labels_, fitted(MiniBatchKMeans, POINTS, **options).labels_)


# What is streamed by itself


def test_large_memory_maps_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "points.npy", POINTS)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    assert "block by block" not in fitted(KMeans, mapped).device_reason_
    monkeypatch.setattr(stream, "_SMALLEST_MAP", 1000)
    kmeans = fitted(KMeans, mapped)
    assert "numpy.memmap are read block by block" in kmeans.device_reason_
    assert_array_equal(kmeans.labels_, fitted(KMeans, POINTS).labels_)
    weighted = KMeans(N_CLUSTERS, random_state=0, init="random").fit(mapped, sample_weight=WEIGHTS)
    assert weighted.score(mapped, sample_weight=WEIGHTS) == pytest.approx(-weighted.inertia_)
    batch = MiniBatchKMeans(N_CLUSTERS, random_state=0).partial_fit(mapped)
    assert batch.n_steps_ == 1


def test_arrays_larger_than_the_device_are_streamed(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library.name != "cupy":
        pytest.skip("arrays are brought to CUDA devices only")
    kmeans = fitted(KMeans, POINTS, device="cuda")
    assert "block by block" not in kmeans.device_reason_
    monkeypatch.setattr(stream, "free_memory", lambda xp, device: 1000)
    found = fitted(KMeans, POINTS, device="cuda")
    assert "do not fit there and are copied block by block" in found.device_reason_
    assert_array_equal(found.labels_, kmeans.labels_)
    assert type(found.labels_) is np.ndarray
    assert_array_equal(found.predict(POINTS), found.labels_)
    weighted = KMeans(N_CLUSTERS, random_state=0, init="random", device="cuda")
    assert weighted.fit(POINTS, sample_weight=WEIGHTS).inertia_ > 0


def test_an_array_that_is_there_already_is_never_too_large() -> None:
    chosen = placement.choose(POINTS)
    assert not stream.is_too_large(POINTS, chosen)


# Labels in a file


@pytest.mark.parametrize("make", [lambda: POINTS, lambda: open_rows(POINTS, block_rows=100)])
def test_labels_are_written_to_a_file(make: Callable[[], Any], tmp_path: Path) -> None:
    kmeans = fitted(KMeans, POINTS)
    labels = kmeans.predict(make(), out=tmp_path / "labels.npy")
    assert isinstance(labels, np.memmap)
    assert labels.dtype == np.int32
    assert_array_equal(labels, kmeans.labels_)
    assert_array_equal(np.load(tmp_path / "labels.npy"), kmeans.labels_)
    assert os.listdir(tmp_path) == ["labels.npy"]


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    broken = POINTS.copy()
    broken[777] = np.nan
    kmeans = fitted(KMeans, POINTS)
    (tmp_path / "labels.npy").write_text("older")
    with pytest.raises(ValueError, match="row 777"):
        kmeans.predict(open_rows(broken, block_rows=100), out=tmp_path / "labels.npy")
    assert os.listdir(tmp_path) == ["labels.npy"]
    assert (tmp_path / "labels.npy").read_text() == "older"
    with pytest.raises(ValueError, match=r"must be the path of a .npy file"):
        kmeans.predict(POINTS, out=tmp_path / "labels.csv")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        kmeans.predict(POINTS, out=tmp_path / "nowhere" / "labels.npy")


@pytest.mark.parametrize("can_reserve", [True, False])
def test_a_full_disk(can_reserve: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    if not can_reserve:
        monkeypatch.delattr(labels_file.os, "posix_fallocate", raising=False)
    kmeans, source = fitted(KMeans, POINTS), open_rows(POINTS, block_rows=100)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        words = r"labels of 1,003 rows \(4,012 bytes\) cannot be written"
        with pytest.raises(OSError, match=words) as got:
            kmeans.predict(source, out=tmp_path / "labels.npy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert got.value.errno in (errno.EFBIG, errno.ENOSPC)
    assert got.value.filename == str(tmp_path / "labels.npy")
    assert os.listdir(tmp_path) == []


# Metrics, and the number of clusters


@pytest.mark.parametrize(
    "metric",
    [metrics.calinski_harabasz_score, metrics.davies_bouldin_score, simplified_silhouette_score],
)
def test_metrics_of_streamed_rows(metric: Any) -> None:
    labels = fitted(KMeans, POINTS).labels_
    found = metric(open_rows(POINTS, block_rows=100), labels)
    assert found == pytest.approx(metric(POINTS, labels), rel=1e-9)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        metric(open_rows(POINTS), labels[1:])


def test_silhouettes_are_of_a_sample_of_streamed_rows() -> None:
    labels, source = fitted(KMeans, POINTS).labels_, open_rows(POINTS, block_rows=100)
    options = {"sample_size": 200, "random_state": 0}
    found = metrics.silhouette_score(source, labels, **options)
    assert found == pytest.approx(metrics.silhouette_score(POINTS, labels, **options), rel=1e-9)
    for all_rows in (metrics.silhouette_score, metrics.silhouette_samples):
        with pytest.raises(TypeError, match="take a sample"):
            all_rows(source, labels)


@pytest.mark.parametrize("sample_size", [300, 5000])
def test_the_number_of_clusters_of_streamed_rows(sample_size: int) -> None:
    options = {"sample_size": sample_size, "random_state": 0, "n_init": 2, "n_references": 3}
    found = choose_n_clusters(open_rows(POINTS, block_rows=100), range(4, 8), **options)
    expected = choose_n_clusters(POINTS, range(4, 8), **options)
    assert found.recommendations == expected.recommendations
    assert found.n_clusters == N_CLUSTERS
    assert found.estimator.labels_.shape == (N_ROWS,)
    inertias = [each.inertia for each in found.table]
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[2] == pytest.approx(expected.table[2].inertia, rel=1e-3)


def test_the_number_of_clusters_needs_a_sample_of_streamed_rows() -> None:
    with pytest.raises(ValueError, match="need a sample_size"):
        choose_n_clusters(open_rows(POINTS), sample_size=None)
