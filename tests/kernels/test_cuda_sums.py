"""Rows sorted by their labels on CUDA, their sums, and the centroids that the same launch makes."""

from typing import Any

import numpy as np
import pytest

from conftest import Library
from kmeans_xp.kernels import DenseRows, cluster_sums, update_centroids

pytestmark = pytest.mark.skip_library(
    *("numpy", "array_api_strict", "torch", "jax", "dpnp"), reason="is of CUDA"
)


def read(array: Any, library: Library) -> np.ndarray:
    return np.asarray(library.to_host(array))


def labels_of(n_rows: int, n_clusters: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(n_rows + n_clusters)
    if kind == "one cluster":
        return np.full(n_rows, n_clusters - 1, dtype=np.int32)
    labels = rng.integers(n_clusters, size=n_rows)
    if kind == "skewed":
        labels[rng.random(n_rows) < 0.9] = n_clusters // 2
    return labels.astype(np.int32)


def rows_of(library: Library, n_rows: int, n_features: int, *, weighted: bool) -> DenseRows:
    rng = np.random.default_rng(n_features)
    points, weights = rng.normal(size=(n_rows, n_features)), rng.uniform(0.5, 2.0, n_rows)
    placed = library.asarray(points, "float32")
    return DenseRows(
        placed, library.asarray(weights, "float32") if weighted else None, placed[0, :]
    )


@pytest.mark.sampled(1, cupy=3)
@pytest.mark.parametrize("kind", ["even", "skewed", "one cluster"])
@pytest.mark.parametrize(
    ("n_rows", "n_clusters"),
    [(1, 1), (31, 2), (4096, 64), (4097, 65), (9000, 1), (9000, 5000), (600, 2**20 + 1)],
)
def test_rows_are_sorted_by_label_and_then_by_place(
    n_rows: int, n_clusters: int, kind: str, library: Library
) -> None:
    from kmeans_xp.kernels.for_cupy.sums import sorted_by_label

    labels = labels_of(n_rows, n_clusters, kind)
    zeros = library.asarray(np.zeros(n_clusters + 1 + 3), "int32")
    ordered = sorted_by_label(library.asarray(labels, "int32"), n_clusters, 300, zeros)
    order, run_starts, counts, piece_starts, n_chunks, bits, *_ = ordered.arguments
    places, starts = read(order, library), read(run_starts, library)
    for chunk in range(int(n_chunks)):
        own = slice(chunk << bits, (chunk + 1) << bits)
        np.testing.assert_array_equal(places[own], np.argsort(labels[own], kind="stable"))
        of_clusters = np.searchsorted(np.sort(labels[own]), np.arange(n_clusters + 1))
        np.testing.assert_array_equal(starts[chunk], of_clusters)
    n_rows_of = np.bincount(labels, minlength=n_clusters)
    np.testing.assert_array_equal(read(counts, library)[:n_clusters], n_rows_of)
    n_pieces = np.diff(read(piece_starts, library), prepend=0)[1:]
    np.testing.assert_array_equal(n_pieces, np.maximum(-(-n_rows_of // 300), 1))
    assert n_pieces.sum() <= ordered.most_pieces
    assert not read(ordered.tickets, library).any()


@pytest.mark.sampled(1, cupy=3)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["even", "skewed", "one cluster"])
@pytest.mark.parametrize("shape", [(3000, 1, 9), (5000, 40, 7), (700, 300, 3), (900, 5, 300)])
def test_sums_and_means_of_one_launch_have_the_bits_of_two(
    shape: tuple[int, int, int],
    kind: str,
    weighted: bool,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kmeans_xp.kernels.for_cupy.sums import Zeros, updated_sums

    n_rows, n_features, n_clusters = shape
    rows = rows_of(library, n_rows, n_features, weighted=weighted)
    host_labels = labels_of(n_rows, n_clusters, kind)
    labels = library.asarray(host_labels, "int32")
    centroids = rows.centred()[:n_clusters, :]

    zeros = Zeros()

    def together() -> list[bytes]:
        totals, update = updated_sums(rows, labels, centroids, zeros)
        return [read(each, library).tobytes() for each in (*totals, *update)]

    totals = cluster_sums(rows, labels, n_clusters, xp=library.xp)
    update = update_centroids(totals, centroids, xp=library.xp)
    expected = [read(each, library).tobytes() for each in (*totals, *update)]
    assert together() == expected
    # Whichever block comes last.
    monkeypatch.setenv("CUPY_ON_CPU_ORDER", "reverse")
    assert together() == expected
    points = read(rows.centred(), library).astype(float)
    weights = read(rows.weights, library).astype(float) if weighted else np.ones(n_rows)
    mine = host_labels[:, None] == np.arange(n_clusters)
    np.testing.assert_allclose(
        read(totals.sums, library), (mine * weights[:, None]).T @ points, rtol=1e-12, atol=1e-10
    )
    np.testing.assert_allclose(read(totals.mass, library), weights @ mine, rtol=1e-13)


@pytest.mark.parametrize("order", ["reverse", None])
@pytest.mark.parametrize(
    ("shape", "problems"),
    [((4500, 40, 7), (1, 0, 1)), ((300, 300, 3), (0, 1)), ((900, 5, 9), None)],
)
def test_sums_of_several_runs_have_the_bits_of_each_and_take_two_launches(
    shape: tuple[int, int, int],
    problems: tuple[int, ...] | None,
    order: str | None,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs a count of launches")
    from kmeans_xp.kernels.for_cupy.launching import ManyRows, Stop
    from kmeans_xp.kernels.for_cupy.sums import Zeros, updated_sums

    if order:
        monkeypatch.setenv("CUPY_ON_CPU_ORDER", order)
    xp, (n_rows, n_features, n_clusters) = library.xp, shape
    alone = [rows_of(library, n_rows, n_features, weighted=True)]
    alone.append(alone[0]._replace(points=xp.flip(alone[0].points, axis=0) + 1))
    of_runs = [alone[problem] for problem in problems or (0, 0)]
    kinds = ("even", "skewed", "one cluster")[: len(of_runs)]
    labels = library.asarray(np.stack([labels_of(n_rows, n_clusters, kind) for kind in kinds]))
    centroids = xp.stack([rows.centred()[:n_clusters, :] for rows in of_runs])
    given: Any = alone[0]
    if problems:
        arrays = (xp.stack(each) for each in zip(*alone, strict=True))
        given = ManyRows(*arrays, library.asarray(np.asarray(problems), "int32"))

    def bytes_of(results: Any, runs: list[int]) -> list[bytes]:
        return [read(each[run, ...], library).tobytes() for run in runs for each in results]

    expected = []
    for run, rows in enumerate(of_runs):
        totals, update = updated_sums(rows, labels[run, ...], centroids[run, ...], Zeros())
        expected += [read(each, library).tobytes() for each in (*totals, *update)]
    zeros = Zeros()
    for _ in range(2):  # the second time with the zeros that the first left
        stats.reset()
        totals, update = updated_sums(given, labels, centroids, zeros)
        assert stats.read()["kernel_launches"] == 2
        assert bytes_of((*totals, *update), list(range(len(of_runs)))) == expected
    # A run that has ended passes on what it had; the others go on.
    signals, before = xp.zeros((len(of_runs), 3)), np.ones((len(of_runs), 3)) * [1.0, 0.0, 5.0]
    before[1, 0] = 0.25
    stop = Stop(library.asarray(before), library.asarray(np.full(len(of_runs), 0.5)))
    totals, update = updated_sums(given, labels, centroids, zeros, signals, stop)
    others = [run for run in range(len(of_runs)) if run != 1]
    of_others = [each for run in others for each in expected[4 * run : 4 * run + 4]]
    assert bytes_of((*totals, *update), others) == of_others
    assert read(update.signals, library)[1].tolist() == before[1].tolist()
    assert bytes_of([update.centroids], [1]) == bytes_of([centroids], [1])


def test_rows_that_are_sorted_in_parts_have_the_same_sums(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kmeans_xp.kernels.for_cupy import sums

    rows = rows_of(library, 9000, 3, weighted=True)
    labels = library.asarray(labels_of(9000, 4, "even"), "int32")
    whole = cluster_sums(rows, labels, 4, xp=library.xp)
    monkeypatch.setattr(sums, "_RUNS_BYTES", 1)
    assert sums._rows_of_part(4) == 4096
    in_parts = cluster_sums(rows, labels, 4, xp=library.xp)
    for one, other in zip(in_parts, whole, strict=True):
        np.testing.assert_allclose(read(one, library), read(other, library), rtol=1e-12)
    zeros = sums.Zeros()
    assert sums.updated_sums(rows, labels, rows.centred()[:4], zeros) is NotImplemented


def test_sums_and_means_take_two_launches(library: Library) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs a count of launches")
    from kmeans_xp.kernels.for_cupy.sums import Zeros, updated_sums

    rows = rows_of(library, 9000, 70, weighted=True)
    labels = library.asarray(labels_of(9000, 300, "skewed"), "int32")
    centroids, zeros = rows.centred()[:300, :], Zeros()
    updated_sums(rows, labels, centroids, zeros)
    for first, given in ((0, zeros), (1, Zeros())):
        stats.reset()
        updated_sums(rows, labels, centroids, given)
        counted = stats.read()
        assert (counted["kernel_launches"], counted["memset_count"]) == (2, first)
        assert counted["library_calls"] == counted["d2h_count"] == counted["d2d_count"] == 0


def test_zeros_are_left_as_they_were_found(library: Library) -> None:
    from kmeans_xp.kernels.for_cupy.sums import Zeros, updated_sums

    zeros, kept = Zeros(), None
    for n_rows, n_features, n_clusters in ((5000, 3, 7), (900, 300, 7), (900, 300, 7)):
        rows = rows_of(library, n_rows, n_features, weighted=False)
        labels = library.asarray(labels_of(n_rows, n_clusters, "even"), "int32")
        updated_sums(rows, labels, rows.centred()[:n_clusters, :], zeros)
        n_zeros = n_clusters + 2 + n_clusters * -(-n_features // 256)
        taken = zeros.take(n_zeros)
        assert not read(taken, library).any()
        assert (taken is kept) == (n_rows == 900 and kept is not None and len(kept) == n_zeros)
        kept = taken
        zeros.give_back(taken)
