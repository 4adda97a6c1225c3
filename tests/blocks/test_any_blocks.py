"""Every algorithm gives the same on rows in one piece and on rows cut into blocks.

A new kind of blocks joins by one entry in ``KINDS``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import sparse

from conftest import Library
from kmeans_xp.algorithms import (
    best_of,
    draw_by_value,
    draw_by_weight,
    inertia_of,
    kmeans_parallel,
    kmeans_plusplus,
    lloyd,
    minibatch,
    minibatch_start,
    more_centroids,
    random_rows,
    runs_from,
)
from kmeans_xp.blocks import Blocks, elsewhere
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.blocks.sources import open_rows
from kmeans_xp.blocks.sources.weighted import WeightedSource
from kmeans_xp.blocks.streamed import Streamed
from kmeans_xp.devices import Csr, csr_parts, from_host, library_name, sparse_to_host, to_host
from kmeans_xp.kernels import (
    DenseRows,
    Rows,
    SparseRows,
    column_moments,
    nearest_centroid,
    nearest_labels,
    sq_distances,
)
from tests.doubles import Chopped, sizes_of, skip_many_launches

pytestmark = [
    pytest.mark.sampled(3, numpy=2, cupy=6),
    pytest.mark.skip_library(
        "array_api_strict-device1", reason="its first device shows what blocks do"
    ),
]

N_POINTS, N_FEATURES, N_CLUSTERS = 103, 3, 5

Make = Callable[[Rows, Any], Blocks]


def chopped(size: int, rows: Rows, xp: Any) -> Blocks:
    skip_many_launches(size, xp)
    return Chopped(rows, sizes_of(rows.n_points, size), xp=xp)


def unevenly(rows: Rows, xp: Any) -> Blocks:
    return Chopped(rows, (2, 50, rows.n_points - 53, 1), xp=xp)


def on_host(rows: Rows) -> Any:
    """Return the points as an array of NumPy, or a matrix of SciPy."""
    if isinstance(rows, DenseRows):
        return to_host(rows.points)
    return sparse_to_host(rows.as_given(None))


def streamed(size: int, rows: Rows, xp: Any) -> Blocks:
    """Rows that are read from the host block by block."""
    skip_many_launches(size, xp)
    source = open_rows(on_host(rows), block_rows=size)
    if rows.weights is not None:
        source = WeightedSource(source, to_host(rows.weights))
    return Streamed(source, xp=xp, device=rows.device, origin=rows.origin)


def in_dask_chunks(size: int, rows: Rows, xp: Any) -> Blocks:
    if library_name(xp) != "numpy":
        pytest.skip("chunks of this library are not tried one by one")
    array = pytest.importorskip("dask.array")
    origin, chunks = rows.origin, (size, rows.n_features)
    given = on_host(rows)
    if isinstance(rows, DenseRows):
        chunked = array.from_array(given, chunks=chunks)
    else:
        chunked = array.from_array(given.toarray(), chunks=chunks).map_blocks(sparse.csr_matrix)
    points = elsewhere(chunked)
    assert points is not None
    weights = None if rows.weights is None else array.from_array(rows.weights, chunks=size)
    with pytest.importorskip("dask").config.set(scheduler="sync"):
        return points.blocks(weights, points.placement(None)).seen_from(origin)


#: other ways for the same rows to lie
KINDS: dict[str, Make] = {
    "blocks of 1 row": partial(chopped, 1),
    "blocks of 2 rows": partial(chopped, 2),
    "blocks of 40 rows": partial(chopped, 40),
    "uneven blocks": unevenly,
    "one block": partial(chopped, N_POINTS),
    "streamed": partial(streamed, 40),
    "streamed, blocks of 1 row": partial(streamed, 1),
    "dask chunks of 7 rows": partial(in_dask_chunks, 7),
    "dask chunks of 40 rows": partial(in_dask_chunks, 40),
}


class Case(NamedTuple):
    """The same rows in one piece and cut."""

    library: Library
    whole: Blocks
    cut: Blocks

    def centroids(self, indices: Any = range(N_CLUSTERS)) -> Any:
        return self.whole.take(self.library.asarray(np.asarray(indices), "int64")).points

    def host(self, value: Any) -> np.ndarray[Any, Any]:
        return self.library.to_host(value)


@pytest.fixture(params=[False, True], ids=["no weights", "weights"])
def weighted(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=[False, True], ids=["dense", "sparse"])
def is_sparse(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=KINDS, ids=str)
def case(request: pytest.FixtureRequest, weighted: bool, is_sparse: bool, library: Library) -> Case:
    if is_sparse and library.name not in ("numpy", "cupy"):
        pytest.skip("has no sparse matrices")
    rng = np.random.default_rng(0)
    centres = rng.normal(scale=8.0, size=(N_CLUSTERS, N_FEATURES))
    points = centres[np.arange(N_POINTS) % N_CLUSTERS] + rng.normal(size=(N_POINTS, N_FEATURES))
    weights = rng.integers(0, 4, N_POINTS).astype(np.float64) if weighted else None
    if is_sparse:
        points = np.where(np.abs(points) > 2.0, points, 0.0)
    placed, mass, origin = (
        None if each is None else library.asarray(each, "float32")
        for each in (points, weights, points.mean(axis=0))
    )
    rows: Rows = DenseRows(placed, mass, origin)
    if is_sparse:
        matrix = sparse.csr_array(points.astype(np.float32))
        parts = (
            from_host(part, xp=library.xp, device=library.device) for part in csr_parts(matrix)[:3]
        )
        rows = SparseRows(Csr(*parts, N_FEATURES), mass, origin)
    return Case(library, InMemory(rows, xp=library.xp), KINDS[request.param](rows, library.xp))


def test_the_blocks_say_the_same_of_themselves(case: Case) -> None:
    for name in ("n_points", "n_features", "dtype", "device", "is_weighted"):
        assert getattr(case.cut, name) == getattr(case.whole, name)
    assert sum(case.cut.sizes) == N_POINTS
    starts = [case.cut.starts.block(number) for number in range(len(case.cut.sizes))]
    assert starts == np.cumsum([0, *case.cut.sizes[:-1]]).tolist()


def test_rows_are_taken_in_any_order(case: Case) -> None:
    indices = case.library.asarray(np.array([102, 0, 51, 51, 1, 2, 101]), "int64")
    expected, taken = case.whole.take(indices), case.cut.take(indices)
    np.testing.assert_array_equal(case.host(taken.points), case.host(expected.points))
    assert taken.origin is None
    if expected.weights is None:
        assert taken.weights is None
    else:
        np.testing.assert_array_equal(case.host(taken.weights), case.host(expected.weights))


def test_results_for_each_row_go_back_in(case: Case) -> None:
    centroids = case.centroids()
    labels = case.cut.map_rows(nearest_labels, centroids)
    expected = case.whole.map_rows(nearest_labels, centroids)
    np.testing.assert_array_equal(case.host(labels.whole()), case.host(expected.whole()))
    assert inertia_of(case.cut, labels, centroids) == pytest.approx(
        inertia_of(case.whole, expected, centroids), rel=1e-6
    )
    again = case.cut.cut(expected.whole())
    assert inertia_of(case.cut, again, centroids) == inertia_of(case.cut, labels, centroids)


def test_named_results_and_matrices_are_gathered_too(case: Case) -> None:
    centroids = case.centroids()
    for function in (nearest_centroid, sq_distances):
        found, expected = (
            blocks.map_rows(function, centroids).whole() for blocks in (case.cut, case.whole)
        )
        pairs = (
            zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
        )
        for one, other in pairs:
            np.testing.assert_allclose(case.host(one), case.host(other), rtol=1e-5, atol=1e-4)


def test_rows_seen_from_elsewhere_have_other_moments(case: Case) -> None:
    origin = case.library.asarray(np.array([1.0, -2.0, 3.0]), "float32")
    for there in (origin, None):
        found, expected = (
            blocks.seen_from(there).reduce(column_moments) for blocks in (case.cut, case.whole)
        )
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(case.host(one), case.host(other), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_uniforms_draw_the_same_rows(seed: int, case: Case) -> None:
    uniforms = np.random.default_rng(seed).random(50)
    drawn = [case.host(draw_by_weight(blocks, uniforms)) for blocks in (case.cut, case.whole)]
    np.testing.assert_array_equal(*drawn)
    values = case.library.asarray(np.arange(N_POINTS) % 7.0, "float32")
    shares = case.library.asarray(np.arange(1.0, 64.0) / 64.0, "float32")
    drawn = [
        case.host(draw_by_value(blocks, blocks.cut(values), shares))
        for blocks in (case.cut, case.whole)
    ]
    np.testing.assert_array_equal(*drawn)


def test_rows_kept_out_are_not_drawn(case: Case, weighted: bool) -> None:
    if not weighted:
        pytest.skip("rows without weights are not drawn one by one")
    uniforms = np.random.default_rng(0).random(200)
    without = np.arange(0, N_POINTS - 1)
    without = without[without != 50]
    drawn = [
        case.host(draw_by_weight(blocks, uniforms, without=without))
        for blocks in (case.cut, case.whole)
    ]
    np.testing.assert_array_equal(*drawn)
    assert set(drawn[0].tolist()) <= {50, N_POINTS - 1}


@pytest.mark.parametrize("seeds", [kmeans_plusplus, kmeans_parallel, random_rows])
def test_a_seed_chooses_the_same_first_rows(seeds: Any, case: Case) -> None:
    found, expected = (
        seeds(blocks, N_CLUSTERS, np.random.RandomState(0)) for blocks in (case.cut, case.whole)
    )
    np.testing.assert_array_equal(case.host(found.indices), case.host(expected.indices))
    np.testing.assert_array_equal(case.host(found.centroids), case.host(expected.centroids))


def test_more_centroids_are_the_same_rows(case: Case) -> None:
    given = case.centroids(range(2))
    found, expected = (
        case.host(more_centroids(blocks, given, N_CLUSTERS, np.random.RandomState(0)))
        for blocks in (case.cut, case.whole)
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("algorithm", ["lloyd", "auto"])
def test_lloyd_ends_in_the_same_clusters(algorithm: str, case: Case) -> None:
    found, expected = (
        lloyd(blocks, case.centroids(), algorithm=algorithm) for blocks in (case.cut, case.whole)
    )
    np.testing.assert_array_equal(
        case.host(found.labels.whole()), case.host(expected.labels.whole())
    )
    assert len(found.iterations) == len(expected.iterations)
    assert found.inertia == pytest.approx(expected.inertia, rel=1e-6)


def test_as_many_empty_clusters_get_rows(case: Case) -> None:
    # More clusters than the first block has rows are left without any.
    far = np.full((6, N_FEATURES), 1e3) + np.arange(6)[:, None]
    start = case.library.asarray(np.vstack([case.host(case.centroids(range(2))), far]), "float32")
    found, expected = (lloyd(blocks, start, max_iter=1) for blocks in (case.cut, case.whole))
    assert found.iterations[0].n_empty == expected.iterations[0].n_empty >= 5
    np.testing.assert_allclose(
        case.host(found.centroids), case.host(expected.centroids), rtol=1e-5, atol=1e-5
    )
    assert len(np.unique(case.host(found.labels.whole()))) == 8


def test_the_best_run_is_the_same(case: Case) -> None:
    starts = [case.centroids(np.arange(N_CLUSTERS) + shift) for shift in (0, 7, 40)]
    found, expected = (
        best_of(runs_from(blocks, starts, max_iter=5)) for blocks in (case.cut, case.whole)
    )
    assert found is not None
    assert expected is not None
    np.testing.assert_array_equal(
        case.host(found.labels.whole()), case.host(expected.labels.whole())
    )


def test_mini_batches_are_the_same_rows(case: Case) -> None:
    found, expected = (
        minibatch(
            blocks,
            minibatch_start(blocks, case.centroids()),
            np.random.RandomState(0),
            batch_size=20,
            max_iter=3,
        )
        for blocks in (case.cut, case.whole)
    )
    assert found.reason == expected.reason
    assert len(found.steps) == len(expected.steps)
    # Sparse rows that are taken are dense, and added up in another order.
    np.testing.assert_allclose(
        case.host(found.state.centroids), case.host(expected.state.centroids), rtol=1e-6, atol=1e-6
    )
