"""Kernels on sparse rows: every body gives what the same rows give as a dense array."""

from typing import Any, NamedTuple

import array_api_compat
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from conftest import Library
from kmeans_xp import KMeans, MiniBatchKMeans, kmeans_plusplus
from kmeans_xp.devices import Csr, csr_parts, from_host
from kmeans_xp.kernels import DenseRows, SparseRows, kernels

pytestmark = pytest.mark.skip_library(
    "array_api_strict", "torch", "jax", "dpnp", reason="has no sparse matrices"
)

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

    def arguments(self, name: str, rows: Any) -> tuple[Any, ...]:
        given = {
            "assigned_inertia": (self.labels, self.centroids),
            "assigned_sq_distances": (self.labels, self.centroids),
            "candidate_potentials": (self.closest, self.centroids[:4]),
            "closer_of": (self.closest, self.centroids[:1]),
            "cluster_sums": (self.labels, self.n_clusters),
            "column_moments": (),
            "lloyd_step": (self.centroids,),
            "lloyd_step_batched": (self.centroids[None],),
            "nearest_centroid": (self.centroids,),
            "nearest_labels": (self.centroids,),
            "sq_distances": (self.centroids,),
        }
        return (rows, *given[name])


NAMES = [
    "assigned_inertia",
    "assigned_sq_distances",
    "candidate_potentials",
    "closer_of",
    "cluster_sums",
    "column_moments",
    "lloyd_step",
    "lloyd_step_batched",
    "nearest_centroid",
    "nearest_labels",
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
    return Problem(
        SparseRows(Csr(*parts, n_features), mass, about),
        DenseRows(place(host, dtype), mass, about),
        place(centroids, dtype),
        place(rng.integers(0, n_clusters, n_points), "int32"),
        place(rng.random(n_points) * 40.0, dtype),
        n_clusters,
    )


def flat(result: Any) -> list[Any]:
    if not isinstance(result, tuple):
        return [result]
    return [array for part in result for array in flat(part)]


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
