"""Kernels on sparse rows: every body has the same results as for dense rows."""

import itertools
from typing import Any, NamedTuple

import array_api_compat
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from conftest import Library
from kmeans_xp import KMeans, MiniBatchKMeans, config_context, kmeans_plusplus
from kmeans_xp.devices import Csr, csr_parts, dense_rows, from_host
from kmeans_xp.devices.sparse import checks_of_columns, copiers_of_rows, gathered_parts
from kmeans_xp.kernels import ClusterTotals, DenseRows, SparseRows, kernels
from kmeans_xp.metrics import (
    calinski_harabasz_score,
    davies_bouldin_score,
    simplified_silhouette_score,
)
from kmeans_xp.selection import choose_n_clusters
from kmeans_xp.selection.shuffled import shuffled

pytestmark = pytest.mark.skip_library(
    "array_api_strict", "torch", "jax", "dpnp", reason="has no sparse matrices"
)

# What is compiled joins the lists of checks and copiers when kernels are loaded.
kernels["batch_means"].overrides("numpy", SparseRows)

RTOL = {"float32": 2e-5, "float64": 1e-11}

#: rows, features, clusters: one of each; more clusters than a vector holds, and than rows
SHAPES = [(1, 1, 1), (40, 7, 1), (203, 30, 5), (203, 30, 9), (90, 300, 40), (60, 5, 100)]


class Problem(NamedTuple):
    """The same rows sparse and dense, and what kernels are given with them."""

    rows: SparseRows
    dense: DenseRows
    centroids: Any
    labels: Any
    closest: Any
    n_clusters: int
    mass: Any
    order: Any
    bounds: tuple[int, ...]

    def arguments(self, name: str, rows: Any) -> tuple[Any, ...]:
        given = {
            "assigned_inertia": (self.labels, self.centroids),
            "assigned_sq_distances": (self.labels, self.centroids),
            "batch_means": (self.centroids, self.mass),
            "candidate_potentials": (self.closest, self.centroids[: min(4, self.n_clusters), :]),
            "closer_of": (self.closest, self.centroids[:1, :]),
            "cluster_sums": (self.labels, self.n_clusters),
            "column_moments": (),
            "lloyd_step": (self.centroids,),
            "lloyd_step_batched": (self.centroids[None, ...],),
            "nearest_centroid": (self.centroids,),
            "nearest_labels": (self.centroids,),
            "silhouette_distances": (self.labels, self.order, self.bounds),
            "sq_distances": (self.centroids,),
        }
        return (rows, *given[name])


NAMES = [
    "assigned_inertia",
    "assigned_sq_distances",
    "batch_means",
    "candidate_potentials",
    "closer_of",
    "cluster_sums",
    "column_moments",
    "lloyd_step",
    "lloyd_step_batched",
    "nearest_centroid",
    "nearest_labels",
    "silhouette_distances",
    "sq_distances",
]


def host_matrix(n_points: int, n_features: int, seed: int, dtype: str) -> NDArray[Any]:
    """Return multiples of 1/8 of which most are zero, with an empty row and an empty column."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-40, 41, (n_points, n_features)) / 8.0
    values[rng.random(values.shape) > 0.3] = 0.0
    if n_points > 2 and n_features > 2:
        values[1] = values[:, 2] = 0.0
    return values.astype(dtype)


def problem_of(
    shape: tuple[int, int, int], dtype: str, library: Library, *, weighted: bool, centred: bool
) -> Problem:
    n_points, n_features, n_clusters = shape
    host = host_matrix(n_points, n_features, sum(shape), dtype)
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 4, n_points) if weighted else None
    origin = np.round(host.mean(axis=0) * 8) / 8 if centred else None
    # Apart from each other by more than rounding: labels are then equal.
    centroids = rng.normal(scale=3.0, size=(n_clusters, n_features))
    place = library.asarray
    mass, about = (None if each is None else place(each, dtype) for each in (weights, origin))
    stored = csr_parts(sparse.csr_array(host))
    parts = (from_host(part, xp=library.xp, device=library.device) for part in stored[:3])
    labels = rng.integers(0, n_clusters, n_points)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(n_clusters + 1))
    return Problem(
        SparseRows(Csr(*parts, n_features), mass, about),
        DenseRows(place(host, dtype), mass, about),
        place(centroids, dtype),
        place(labels, "int32"),
        place(rng.random(n_points) * 40.0, dtype),
        n_clusters,
        place(np.arange(n_clusters) % 3, "float64"),
        place(order, "int64"),
        tuple(bounds.tolist()),
    )


def flat(result: Any) -> list[Any]:
    if not isinstance(result, tuple):
        return [result]
    return [array for part in result for array in flat(part)]


@pytest.mark.sampled(3, numpy=2, cupy=12)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("centred", [False, True], ids=["no origin", "origin"])
@pytest.mark.parametrize("weighted", [False, True], ids=["no weights", "weights"])
def test_every_body_gives_what_dense_rows_give(
    name: str,
    dtype: str,
    shape: tuple[int, int, int],
    centred: bool,
    weighted: bool,
    library: Library,
) -> None:
    problem = problem_of(shape, dtype, library, weighted=weighted, centred=centred)
    kernel = kernels[name]
    wide = problem_of(shape, "float64", library, weighted=weighted, centred=centred)
    truth = flat(kernel.portable(*wide.arguments(name, wide.dense), xp=library.xp))
    for body in (kernel.portable, *kernel.overrides(library.name, SparseRows)):
        result = body(*problem.arguments(name, problem.rows), xp=library.xp)
        if result is NotImplemented:
            assert body is not kernel.portable
            continue
        for found, expected in zip(flat(result), truth, strict=True):
            exact = library.to_host(expected).astype(np.float64)
            scale = max(1.0, float(np.abs(exact).max()))
            np.testing.assert_allclose(
                library.to_host(found).astype(np.float64),
                exact,
                rtol=RTOL[dtype],
                atol=RTOL[dtype] * scale,
                err_msg=f"{body.__module__}.{body.__name__}",
            )


class Both(NamedTuple):
    """A problem, and the same one in float64."""

    problem: Problem
    wide: Problem


def random_problem(seed: int, library: Library) -> Both:
    """Return rows of any length, some of them empty, perhaps a part of more rows."""
    rng = np.random.default_rng(seed)
    dtype = ("float32", "float64")[seed % 2]
    n_points, n_features = int(rng.choice([1, 2, 7, 61, 400])), int(rng.choice([1, 2, 11, 130]))
    n_clusters = int(rng.choice([1, 2, 5, 17, 33, 120]))
    host = rng.integers(-40, 41, (n_points, n_features)) / 8.0
    host[rng.random(host.shape) > rng.choice([0.0, 0.02, 0.2, 1.0])] = 0.0
    host[: rng.choice([0, 1, n_points // 2])] = 0.0
    host[n_points - rng.choice([0, 1, n_points // 2]) :] = 0.0
    around = rng.integers(0, 2, (3, n_features)).astype(float)
    before, after = (around, around[:2]) if rng.random() < 0.5 else (around[:0], around[:0])
    stored = sparse.csr_array(np.concatenate([before, host, after]).astype(dtype))
    parts = [library.asarray(part) for part in csr_parts(stored)[:3]]
    weights = rng.integers(0, 4, n_points) if rng.random() < 0.5 else None
    origin = np.round(host.mean(axis=0) * 8) / 8 if rng.random() < 0.5 else None
    centroids = rng.normal(scale=3.0, size=(n_clusters, n_features)).astype(dtype)
    closest = (rng.random(n_points) * 40.0).astype(dtype)
    labels = rng.integers(0, n_clusters, n_points)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(n_clusters + 1))

    def computed_in(kind: str) -> Problem:
        mass, about = (
            None if each is None else library.asarray(each, kind) for each in (weights, origin)
        )
        whole = SparseRows(Csr(*parts, n_features), None, about)
        rows = whole.part(len(before), len(before) + n_points)
        rows.weights = mass
        return Problem(
            rows,
            DenseRows(library.asarray(host, kind), mass, about),
            library.asarray(centroids, kind),
            library.asarray(labels, "int32"),
            library.asarray(closest, kind),
            n_clusters,
            library.asarray(np.arange(n_clusters) % 3, "float64"),
            library.asarray(order, "int64"),
            tuple(bounds.tolist()),
        )

    return Both(computed_in(dtype), computed_in("float64"))


@pytest.mark.sampled(1, cupy=10)
@pytest.mark.parametrize("seed", range(60))
def test_any_rows_give_what_dense_rows_give_with_any_number_of_threads(
    seed: int, library: Library
) -> None:
    problem, wide = random_problem(seed, library)
    rtol = RTOL[str(problem.centroids.dtype)]
    for name in NAMES:
        truth = flat(kernels[name].portable(*wide.arguments(name, wide.dense), xp=library.xp))
        with config_context(n_threads=1 + seed % 3):
            found = flat(kernels[name](*problem.arguments(name, problem.rows), xp=library.xp))
        problem.rows.kept.clear()
        for one, other in zip(found, truth, strict=True):
            exact = library.to_host(other).astype(np.float64)
            scale = max(1.0, float(np.abs(exact[np.isfinite(exact)]).max(initial=0.0)))
            np.testing.assert_allclose(
                library.to_host(one), exact, rtol=rtol, atol=rtol * scale, err_msg=name
            )


def test_a_batch_may_meet_all_features_in_another_order(library: Library) -> None:
    host = np.array([[0, 0, 1], [0, 2, 0], [3, 0, 0], [0, 0, 0]], dtype=np.float64)
    centroids = library.asarray(np.diag([3.0, 2.0, 1.0]))
    rows, mass = csr_of(host, library), library.asarray(np.zeros(3))
    found = kernels["batch_means"](rows, centroids, mass, xp=library.xp)
    dense = DenseRows(library.asarray(host))
    expected = kernels["batch_means"].portable(dense, centroids, mass, xp=library.xp)
    for one, other in zip(flat(found), flat(expected), strict=True):
        np.testing.assert_allclose(library.to_host(one), library.to_host(other), atol=1e-12)


def test_what_lies_after_the_last_row_is_not_read() -> None:
    host = host_matrix(60, 9, 5, "float64")
    expected = KMeans(3, random_state=0).fit(sparse.csr_array(host))
    matrix = sparse.csr_array(host)
    matrix.has_canonical_format = True
    matrix.data = np.r_[matrix.data, [7.0] * 3]
    matrix.indices = np.r_[matrix.indices, [2**30] * 3].astype(np.int32)
    np.testing.assert_array_equal(expected.predict(matrix), expected.labels_)
    nothing = sparse.csr_array((4, 9))
    nothing.data, nothing.indices = np.full(2, 7.0), np.full(2, 2**30, np.int32)
    np.testing.assert_array_equal(expected.predict(nothing), expected.predict(np.zeros((4, 9))))


@pytest.mark.parametrize("column", [9, 2**40, -1])
def test_columns_that_are_not_there_are_an_error(column: int) -> None:
    matrix = sparse.csr_array(host_matrix(60, 9, 5, "float64"))
    matrix.has_canonical_format = True
    matrix.indices = matrix.indices.astype(np.int64)
    matrix.indices[-1] = column
    with pytest.raises(ValueError, match="indices are damaged"):
        KMeans(3).fit(matrix)


@pytest.fixture(params=checks_of_columns, ids=lambda check: check.__name__)
def check_of_columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use each of the checks for columns that a row has twice."""
    monkeypatch.setattr("kmeans_xp.devices.sparse.checks_of_columns", [request.param])


@pytest.mark.usefixtures("check_of_columns")
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_columns_that_a_row_has_twice_are_added_up(kind: Any) -> None:
    rng = np.random.default_rng(0)
    lengths = np.r_[0, rng.integers(30, 90, 40), 0, 250, 0, 0]
    columns = rng.integers(0, 60, lengths.sum()).astype(kind)  # some of them twice
    starts = np.r_[0, np.cumsum(lengths)].astype(kind)
    shape = (len(lengths), 60)
    matrix = sparse.csr_array((rng.integers(1, 9, len(columns)) / 8.0, columns, starts), shape)
    before = columns.copy()
    found = csr_parts(matrix)
    expected = sparse.csr_array(matrix.toarray())
    np.testing.assert_array_equal(matrix.indices, before)
    ordered = (expected.data, expected.indices, expected.indptr)
    for one, other in zip(found[:3], ordered, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("copier", copiers_of_rows, ids=lambda copier: copier.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("is_part", [False, True])
@pytest.mark.parametrize("rows", [[7, 0, 7, 1, 202], [1], []])
def test_rows_are_gathered_in_any_order(
    copier: Any, dtype: str, is_part: bool, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kmeans_xp.devices.sparse.copiers_of_rows", [copier])
    if copier is not copiers_of_rows[0]:
        monkeypatch.setattr("kmeans_xp.kernels.for_numba.compiled.USES_BEFORE_COMPILING", 0)
    host = host_matrix(260, 30, 5, dtype)
    parts = csr_parts(sparse.csr_array(host))
    if is_part:
        parts, host = parts._replace(indptr=parts.indptr[40:]), host[40:]
    found = gathered_parts(parts, np.asarray(rows, np.int64))
    expected = sparse.csr_array(host[rows])
    for one, other in zip(
        found[:3], (expected.data, expected.indices, expected.indptr), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert found.data.dtype == dtype


@pytest.mark.usefixtures("check_of_columns")
@pytest.mark.parametrize("repeated", [False, True])
def test_columns_may_be_in_any_order(repeated: bool) -> None:
    matrix = sparse.csr_array(host_matrix(203, 30, 5, "float64"))
    rng = np.random.default_rng(0)
    unordered = matrix.copy()
    for first, last in itertools.pairwise(matrix.indptr):
        order = first + rng.permutation(last - first)
        unordered.indices[first:last] = matrix.indices[order]
        unordered.data[first:last] = matrix.data[order]
    if repeated:  # in the last row alone
        unordered.resize(204, 30)
        columns, numbers = [3, 7, 3], [1.0, 2.0, -0.5]
        unordered.indptr[-1] += 3
        unordered.indices = np.r_[unordered.indices, columns].astype(np.int32)
        unordered.data = np.r_[unordered.data, numbers]
    unordered.has_sorted_indices = False
    found = csr_parts(unordered)
    assert np.shares_memory(found.data, unordered.data) is not repeated
    expected = unordered.copy()
    expected.sum_duplicates()
    found, expected = (KMeans(5, random_state=0).fit(each) for each in (unordered, expected))
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    np.testing.assert_allclose(found.inertia_, expected.inertia_, rtol=1e-12)


def test_most_kernels_have_a_body_for_sparse_rows_of_numpy(library: Library) -> None:
    if library.name != "numpy":
        pytest.skip("about NumPy")
    with_bodies = {name for name in NAMES if kernels[name].overrides("numpy", SparseRows)}
    assert {"lloyd_step", "nearest_labels", "candidate_potentials", "closer_of"} <= with_bodies


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_on_its_centroid_is_at_zero(dtype: str, library: Library) -> None:
    problem = problem_of((203, 30, 5), dtype, library, weighted=False, centred=True)
    on_rows = problem.rows.take(library.asarray(np.arange(5), "int64")).points
    labels = library.asarray(np.arange(5), "int32")
    found = kernels["assigned_sq_distances"](
        problem.rows.part(0, 5), labels, on_rows, xp=library.xp
    )
    np.testing.assert_array_equal(library.to_host(found), 0.0)


@pytest.mark.parametrize("name", ["nearest_labels", "nearest_centroid", "closer_of"])
def test_a_row_does_not_see_how_rows_are_cut(name: str, library: Library) -> None:
    problem = problem_of((203, 30, 9), "float32", library, weighted=False, centred=True)
    xp, kernel = library.xp, kernels[name]
    whole = flat(kernel(*problem.arguments(name, problem.rows), xp=xp))
    for start, stop in ((0, 1), (1, 60), (60, 203)):
        cut = problem._replace(closest=problem.closest[start:stop])
        part = flat(kernel(*cut.arguments(name, problem.rows.part(start, stop)), xp=xp))
        for one, other in zip(part, whole, strict=True):
            np.testing.assert_array_equal(library.to_host(one), library.to_host(other)[start:stop])


def on_library(matrix: Any, library: Library) -> Any:
    if library.name == "numpy":
        return matrix
    return pytest.importorskip("cupyx.scipy.sparse").csr_matrix(sparse.csr_matrix(matrix))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fit_is_that_of_the_same_rows_dense(dtype: str, library: Library) -> None:
    host = host_matrix(400, 20, 3, dtype)
    host[:200, :10] *= 4.0
    matrix = on_library(sparse.csr_array(host), library)
    dense = library.asarray(host, dtype)
    for make in (KMeans, MiniBatchKMeans):
        found, expected = (make(6, random_state=0).fit(X) for X in (matrix, dense))
        np.testing.assert_array_equal(
            library.to_host(found.labels_), library.to_host(expected.labels_)
        )
        assert found.inertia_ == pytest.approx(expected.inertia_, rel=RTOL[dtype])
        assert array_api_compat.is_array_api_obj(found.cluster_centers_)
        for given in (matrix, dense):
            np.testing.assert_array_equal(
                library.to_host(found.predict(given)), library.to_host(found.labels_)
            )
        np.testing.assert_allclose(
            library.to_host(found.transform(matrix)),
            library.to_host(expected.transform(dense)),
            rtol=1e-4,
            atol=1e-4,
        )


def test_formats_and_index_types_are_converted_and_left_as_they_were() -> None:
    host = host_matrix(120, 9, 5, "float64")
    expected = KMeans(4, random_state=0).fit(host)
    csr = sparse.csr_array(host)
    wide = sparse.csr_array(csr)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    unordered = sparse.csr_array(
        (csr.data[::-1], csr.indices[::-1], np.r_[0, np.cumsum(np.diff(csr.indptr)[::-1])]),
        shape=csr.shape,
    )
    twice = sparse.coo_array(
        (np.r_[csr.data, csr.data], np.tile(csr.nonzero(), 2)), shape=csr.shape
    )
    for X, factor in ((csr, 1), (wide, 1), (csr.tocsc(), 1), (csr.tocoo(), 1), (twice, 2)):
        before = X.copy()
        found = KMeans(4, random_state=0).fit(X)
        assert found.inertia_ == pytest.approx(factor**2 * expected.inertia_)
        assert (before != X).nnz == 0
    flipped = KMeans(4, init=expected.cluster_centers_).fit(unordered)
    np.testing.assert_array_equal(flipped.labels_[::-1], expected.predict(host))


def test_kmeans_plusplus_chooses_the_rows_of_a_dense_array() -> None:
    host = host_matrix(150, 12, 8, "float64")
    _, expected = kmeans_plusplus(host, 7, random_state=0)
    _, found = kmeans_plusplus(sparse.csr_array(host), 7, random_state=0)
    np.testing.assert_array_equal(found, expected)


def csr_of(host: Any, library: Library, *parts: Any) -> SparseRows:
    """Return rows of a host array or matrix, with weights and an origin of its dtype."""
    stored = csr_parts(sparse.csr_array(host))
    xp, device = library.xp, library.device
    arrays = (from_host(part, xp=xp, device=device) for part in stored[:3])
    placed = (None if each is None else library.asarray(each, stored.data.dtype) for each in parts)
    return SparseRows(Csr(*arrays, stored.n_features), *placed)


def bits_of(name: str, problem: Problem, library: Library) -> list[bytes]:
    result = kernels[name](*problem.arguments(name, problem.rows), xp=library.xp)
    return [library.to_host(array).tobytes() for array in flat(result)]


@pytest.mark.sampled(1, numpy=2)
@pytest.mark.skip_library("cupy", reason="threads are those of NumPy's kernels")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3000, 40, 9), (700, 9000, 12)], ids=str)
def test_results_do_not_depend_on_the_number_of_threads(
    name: str, shape: tuple[int, int, int], library: Library
) -> None:
    problem = problem_of(shape, "float32", library, weighted=True, centred=True)
    with config_context(n_threads=1):
        expected = bits_of(name, problem, library)
    for n_threads in (2, 3):
        problem.rows.kept.clear()
        with config_context(n_threads=n_threads):
            assert bits_of(name, problem, library) == expected


@pytest.mark.parametrize("name", NAMES)
def test_no_body_waits_for_the_device(name: str, library: Library) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs counters of copies and waits")
    problem = problem_of((50, 30, 4), "float32", library, weighted=True, centred=True)
    counters = ("h2d_count", "d2h_count", "stream_syncs", "device_syncs", "event_syncs")
    kernel, arguments = kernels[name], problem.arguments(name, problem.rows)
    for body in (kernel.portable, *kernel.overrides(library.name, SparseRows)):
        body(*arguments, xp=library.xp)  # compiles
        problem.rows.kept.clear()
        before = stats.read()
        body(*arguments, xp=library.xp)
        after = stats.read()
        assert {key: after[key] - before[key] for key in counters} == dict.fromkeys(counters, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_rows_without_a_number_are_rows(name: str, dtype: str, library: Library) -> None:
    problem = problem_of((6, 4, 3), dtype, library, weighted=False, centred=True)
    nothing = np.zeros((6, 4), dtype)
    origin = library.to_host(problem.dense.origin)
    empty = problem._replace(rows=csr_of(nothing, library, None, origin))
    dense = DenseRows(library.asarray(nothing), None, problem.dense.origin)
    expected = flat(kernels[name].portable(*empty.arguments(name, dense), xp=library.xp))
    for body in (kernels[name].portable, *kernels[name].overrides(library.name, SparseRows)):
        found = flat(body(*empty.arguments(name, empty.rows), xp=library.xp))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(library.to_host(one), library.to_host(other), rtol=1e-5)


def test_zeros_that_are_stored_are_zeros(library: Library) -> None:
    host = host_matrix(80, 9, 2, "float64")
    plain = sparse.csr_array(host)
    full = sparse.csr_array(np.ones_like(host))
    full.data = host.reshape(-1).copy()
    assert full.nnz > plain.nnz
    centroids, labels = library.asarray(host[:5] + 0.1), library.asarray(np.arange(80) % 5, "int32")
    for name, given in (
        ("sq_distances", (centroids,)),
        ("cluster_sums", (labels, 5)),
        ("column_moments", ()),
        ("assigned_sq_distances", (labels, centroids)),
    ):
        results = [
            flat(kernels[name](csr_of(matrix, library, None, host[7]), *given, xp=library.xp))
            for matrix in (full, plain)
        ]
        for one, other in zip(*results, strict=True):
            np.testing.assert_allclose(
                library.to_host(one), library.to_host(other), rtol=1e-12, atol=1e-12
            )


def far_rows(dtype: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return rows around four points 1e6 from zero, two units apart, and a mean of theirs."""
    rng = np.random.default_rng(4)
    spots = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]])
    host = 1e6 + spots[rng.integers(4, size=300)] + rng.normal(scale=0.1, size=(300, 3))
    host = host.astype(dtype)
    return host, host.mean(axis=0, dtype=np.float64).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_far_from_zero_are_told_apart(dtype: str, library: Library) -> None:
    host, origin = far_rows(dtype)
    rows = csr_of(host, library, None, origin)
    centred = (host - origin).astype(np.float64)
    spots = (np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]]) + 1e6 - origin).astype(dtype)
    distances = ((centred[:, None, :] - spots.astype(np.float64)) ** 2).sum(axis=2)
    for body in kernels["nearest_centroid"].overrides(library.name, SparseRows) or (
        kernels["nearest_centroid"],
    ):
        labels, sq_distances = body(rows, library.asarray(spots), xp=library.xp)
        np.testing.assert_array_equal(library.to_host(labels), distances.argmin(axis=1))
        # By differences: to some ulps of themselves, although the rows' squares are 1e12.
        rtol = 64 * np.finfo(dtype).eps
        np.testing.assert_allclose(library.to_host(sq_distances), distances.min(axis=1), rtol=rtol)
    _, sums, sq_sums = kernels["column_moments"](rows, xp=library.xp)
    np.testing.assert_allclose(library.to_host(sums), centred.sum(axis=0), atol=1e-5)
    np.testing.assert_allclose(library.to_host(sq_sums), (centred**2).sum(axis=0), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fit_of_rows_far_from_zero_finds_them(dtype: str, library: Library) -> None:
    host, _ = far_rows(dtype)
    matrix = on_library(sparse.csr_array(host), library)
    found = KMeans(4, n_init=3, random_state=0).fit(matrix)
    expected = KMeans(4, n_init=3, random_state=0).fit(library.asarray(host))
    assert found.inertia_ == pytest.approx(expected.inertia_, rel=1e-3)
    assert found.inertia_ < 20.0
    predicted = library.to_host(found.predict(matrix))
    np.testing.assert_array_equal(predicted, library.to_host(found.labels_))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_candidate_that_was_measured_is_folded_in_as_if_it_was_not(
    dtype: str, library: Library
) -> None:
    problem = problem_of((203, 30, 5), dtype, library, weighted=True, centred=True)
    xp, rows, fold = library.xp, problem.rows, kernels["closer_of"]
    taken = rows.take(library.asarray([3, 9, 40, 41], "int64")).points
    for number in range(4):
        kernels["candidate_potentials"](rows, problem.closest, taken, xp=xp)
        # A view of the candidates, as the best of them is; and the same numbers elsewhere.
        known = fold(rows, problem.closest, taken[number : number + 1], xp=xp)
        fresh = fold(rows, problem.closest, taken[number : number + 1] + 0.0, xp=xp)
        np.testing.assert_allclose(
            library.to_host(known), library.to_host(fresh), rtol=RTOL[dtype], atol=1e-12
        )
        assert library.to_host(fresh)[[3, 9, 40, 41][number]] == 0.0
        assert library.to_host(known)[[3, 9, 40, 41][number]] == 0.0
    kernels["candidate_potentials"](rows, problem.closest, taken, xp=xp)
    other = problem.closest * 0.5  # not what the potentials were of
    folded = fold(rows, other, taken[:1], xp=xp)
    assert (library.to_host(folded) <= library.to_host(other)).all()


def test_equal_rows_are_not_chosen_twice(library: Library) -> None:
    distinct = host_matrix(5, 12, 1, "float32")
    distinct[1, 3] = 7.0
    matrix = on_library(sparse.csr_array(np.repeat(distinct, 40, axis=0)), library)
    for seed in range(5):
        _, indices = kmeans_plusplus(matrix, 5, random_state=seed)
        assert sorted(library.to_host(indices) // 40) == [0, 1, 2, 3, 4]


def test_no_more_than_a_tile_is_ever_made_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    from kmeans_xp.kernels import sparse_rows

    made: list[int] = []

    def counted(parts: Csr, rows: Any = None) -> Any:
        dense = dense_rows(parts, rows)
        made.append(dense.size)
        return dense

    monkeypatch.setattr(sparse_rows, "dense_rows", counted)
    matrix = sparse.random(2000, 3000, density=0.005, format="csr", random_state=0)
    for make in (KMeans, MiniBatchKMeans):
        fitted = make(8, random_state=0, max_iter=5).fit(matrix)
        fitted.transform(matrix)
        fitted.score(matrix)
        fitted.predict(matrix)
    labels = fitted.labels_
    for measure in (calinski_harabasz_score, davies_bouldin_score, simplified_silhouette_score):
        measure(matrix, labels)
    assert made  # the rows that are chosen
    assert max(made) <= 2000 * 3000 // 16


def test_large_centroids_are_updated_by_several_tasks_to_the_same(library: Library) -> None:
    rng = np.random.default_rng(0)
    shape = (16, 2**15)
    sums, old = rng.normal(size=shape), rng.normal(size=shape)
    mass = rng.integers(0, 3, 16).astype(np.float64)
    given = (*map(library.asarray, (sums, mass)), library.asarray(old))
    for body in (
        kernels["update_centroids"].portable,
        *kernels["update_centroids"].overrides(library.name),
    ):
        new, signals = body(ClusterTotals(*given[:2]), given[2], xp=library.xp)
        means = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1.0)[:, None], old)
        np.testing.assert_allclose(library.to_host(new), means, rtol=1e-12)
        explained = (old * (2.0 * sums - mass[:, None] * old)).sum()
        expected = [((means - old) ** 2).sum(), (mass == 0).sum(), explained]
        np.testing.assert_allclose(library.to_host(signals), expected, rtol=1e-9)


def test_sparse_rows_move_to_the_device_that_is_asked_for(library: Library) -> None:
    if library.name != "cupy":
        pytest.skip("moves between NumPy and CuPy")
    host = sparse.csr_array(host_matrix(100, 12, 3, "float64"))
    there = on_library(host, library)
    expected = KMeans(4, random_state=0).fit(host)
    on_cuda = KMeans(4, random_state=0, device="cuda").fit(host)
    on_cpu = KMeans(4, random_state=0, device="cpu").fit(there)
    assert isinstance(on_cuda.labels_, np.ndarray)
    assert not isinstance(on_cpu.labels_, np.ndarray)
    for found in (on_cuda, on_cpu):
        np.testing.assert_array_equal(library.to_host(found.labels_), expected.labels_)
        assert found.inertia_ == pytest.approx(expected.inertia_)


def test_a_callable_init_is_given_the_matrix(library: Library) -> None:
    matrix = on_library(sparse.csr_array(host_matrix(100, 12, 3, "float64")), library)
    seen: list[Any] = []

    def init(X: Any, n_clusters: int, random_state: Any) -> Any:
        seen.append(X)
        return X[:n_clusters].toarray()

    KMeans(3, init=init, n_init=1).fit(matrix)
    MiniBatchKMeans(3, init=init, n_init=1, init_size=20, batch_size=20).fit(matrix)
    assert [X.shape for X in seen] == [(100, 12), (20, 12)]
    given, expected = (library.to_host(each.toarray()) for each in (seen[0], matrix))
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("criterion", ["silhouette", "gap"])
def test_the_number_of_clusters_of_sparse_rows_is_chosen(criterion: str) -> None:
    rng = np.random.default_rng(0)
    topics = np.kron(np.eye(3), np.ones((40, 12)))
    host = (rng.random(topics.shape) < 0.02 + 0.5 * topics) * rng.random(topics.shape)
    options = {"criterion": criterion, "n_init": 3, "n_references": 4, "random_state": 0}
    assert choose_n_clusters(sparse.csr_array(host), range(2, 6), **options).n_clusters == 3


def test_reference_rows_are_the_numbers_of_each_feature_in_other_rows() -> None:
    host = host_matrix(60, 15, 4, "float64")
    host[:, 3] = np.arange(1.0, 61.0)  # a feature that every row has
    drawn = shuffled(sparse.csr_array(host))
    one, again, other = (drawn(seed).toarray() for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (one != host).any()
    for made in (one, other):
        np.testing.assert_array_equal(np.sort(made, axis=0), np.sort(host, axis=0))


def test_scikit_learn_is_told_that_sparse_rows_are_taken() -> None:
    for estimator in (KMeans(), MiniBatchKMeans()):
        assert estimator.__sklearn_tags__().input_tags.sparse


@pytest.mark.sampled(1, cupy=4)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES, (500, 200, 5), (60, 300, 3)])
@pytest.mark.parametrize("update", ["update_centroids", "means_on_sphere"])
def test_steps_on_few_rows_have_the_bits_of_steps_in_turn(
    update: str, shape: tuple[int, int, int], weighted: bool, dtype: str, library: Library
) -> None:
    problem = problem_of(shape, dtype, library, weighted=weighted, centred=True)
    xp = library.xp
    reduce, updated = _plain_reduce(problem.rows, xp), kernels[update]
    steps = kernels["steps_of"](problem.rows, reduce, 0.0, updated, xp=xp)
    centroids = problem.centroids
    for n_left in range(20, 0, -1):
        taken = steps.take(centroids, n_left=n_left)
        totals = kernels["lloyd_step"](problem.rows, centroids, xp=xp)
        expected = updated(totals, centroids, xp=xp)
        signals = library.to_host(expected.signals)
        pairs = [(taken.update.centroids, expected.centroids), (taken.signals, signals)]
        if taken.totals is not None:
            pairs += zip(taken.totals, totals, strict=True)
        else:
            assert signals[1] == 0.0
        for ours, theirs in pairs:
            np.testing.assert_array_equal(library.to_host(ours), library.to_host(theirs))
        if signals[0] == 0.0:
            break
        centroids = taken.update.centroids


def test_steps_on_few_sparse_rows_are_one_call(library: Library) -> None:
    if library.name != "numpy":
        pytest.skip("about kernels that numba compiles")
    pytest.importorskip("numba")
    problem = problem_of((500, 200, 5), "float64", library, weighted=False, centred=True)
    reduced: list[Any] = []

    def reduce(function: Any, *operands: Any) -> Any:
        reduced.append(function)
        return function(problem.rows, *operands, xp=library.xp)

    update = kernels["means_on_sphere"]
    steps = kernels["steps_of"](problem.rows, reduce, 0.0, update, xp=library.xp)
    centroids = problem.rows.take(np.arange(3, 8)).points
    for n_left in range(3, 0, -1):
        centroids = steps.take(centroids, n_left=n_left).update.centroids
    assert reduced == [kernels["lloyd_steps"]]


def _plain_reduce(rows: Any, xp: Any) -> Any:
    return lambda function, *operands: function(rows, *operands, xp=xp)
