"""Kernels on rows of a sphere: every body has the same results as for rows scaled before."""

import itertools
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from numpy.typing import NDArray
from scipy import sparse

from conftest import Library
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.blocks.sphere import on_sphere as blocks_on_sphere
from kmeans_xp.devices import Csr, csr_parts, from_host, namespace_of
from kmeans_xp.kernels import (
    RADIUS,
    ClusterTotals,
    DenseRows,
    SparseRows,
    SphereRows,
    assigned_sq_distances,
    cluster_sums,
    kernels,
    means_on_sphere,
    nearest_labels,
    on_sphere,
    rows_on_sphere,
    sphere_factors,
)
from tests.doubles import Chopped
from tests.kernels.test_sparse_rows import NAMES, flat
from tests.kernels.test_sparse_rows import Problem as SparseProblem

#: rows, features, clusters: one of each; parts of vectors and more than one; many numbers of
#: centroids, which tasks do not have sums of their own for
SHAPES = [(1, 1, 1), (203, 3, 5), (90, 16, 9), (130, 70, 3), (61, 700, 100)]
DTYPES = ["float64", "float32", "float64", "float32", "float32"]
LAYOUTS = ["C", "Fortran", "strided", "strided", "C"]
RTOL = {"float32": 4e-6, "float64": 1e-13}


def scaled(host: NDArray[Any]) -> NDArray[Any]:
    wide = host.astype(np.float64)
    lengths = np.sqrt((wide**2).sum(axis=1, keepdims=True))
    return RADIUS * wide / np.where(lengths > 0.0, lengths, 1.0)


def laid_out(array: Any, layout: str) -> Any:
    xp = namespace_of(array)
    if layout == "Fortran":
        return xp.matrix_transpose(xp.asarray(xp.matrix_transpose(array), copy=True))
    if layout == "strided":
        return xp.concat([array, array], axis=1)[:, : array.shape[1]]
    return array


@pytest.mark.sampled(1, cupy=3)
@pytest.mark.parametrize("name", sorted({*NAMES} - {"silhouette_distances"}))
@pytest.mark.parametrize(("case", "shape"), list(enumerate(SHAPES)), ids=str)
def test_every_body_gives_what_scaled_rows_give(
    name: str, case: int, shape: tuple[int, int, int], library: Library
) -> None:
    dtype = DTYPES[case]
    n_points, n_features, n_clusters = shape
    rng = np.random.default_rng(sum(shape) + case)
    host = rng.normal(size=(n_points, n_features)) * 10.0 ** rng.integers(-6, 6, (n_points, 1))
    host[1:2] = 0.0
    host = host.astype(dtype)
    weights = rng.integers(0, 4, n_points) if case % 2 else None
    origin = rng.normal(size=n_features) / 8.0 if case > 1 else None
    centroids = rng.normal(size=(n_clusters, n_features)) / np.sqrt(2.0 * n_features)
    labels, closest = rng.integers(0, n_clusters, n_points), rng.random(n_points)

    def problem(kind: str, rows: Any) -> SparseProblem:
        mass, about = (None if x is None else library.asarray(x, kind) for x in (weights, origin))
        return SparseProblem(
            rows,
            DenseRows(library.asarray(scaled(host), kind), mass, about),
            library.asarray(centroids, kind),
            library.asarray(labels, "int32"),
            library.asarray(closest, kind),
            n_clusters,
            library.asarray(np.arange(n_clusters) % 3, "float64"),
            None,
            (),
        )

    given = problem(dtype, None)
    points = laid_out(library.asarray(host), LAYOUTS[case])
    rows = SphereRows(points, given.dense.weights, given.dense.origin)
    kernel, wide = kernels[name], problem("float64", None)
    truth = flat(kernel.portable(*wide.arguments(name, wide.dense), xp=library.xp))
    factors = sphere_factors(DenseRows(points), xp=library.xp)
    bodies = (kernel.portable, *kernel.overrides(library.name, SphereRows))
    for body, seen in itertools.product(bodies, (rows, rows._replace(factors=factors))):
        result = body(*given.arguments(name, seen), xp=library.xp)
        if result is NotImplemented:
            assert body is not kernel.portable
            continue
        for found, expected in zip(flat(result), truth, strict=True):
            exact = library.to_host(expected).astype(np.float64)
            atol = RTOL[dtype] * max(1.0, float(np.abs(exact).max()))
            np.testing.assert_allclose(
                library.to_host(found).astype(np.float64),
                exact,
                rtol=RTOL[dtype],
                atol=atol,
                err_msg=f"{body.__module__}.{body.__name__}",
            )


def test_rows_are_taken_and_measured_as_scaled_ones(library: Library) -> None:
    rng = np.random.default_rng(0)
    host, origin = rng.normal(size=(9, 4)).astype("f4"), rng.normal(size=4).astype("f4")
    rows = SphereRows(library.asarray(host), origin=library.asarray(origin))
    expected = scaled(host)
    indices = library.asarray([7, 0, 7])
    for found, wanted in (
        (rows.centred(), expected - origin),
        (rows.take(indices).points, (expected - origin)[[7, 0, 7]]),
        (rows.gathered(indices).centred(), (expected - origin)[[7, 0, 7]]),
        (rows.part(2, 5).centred(), (expected - origin)[2:5]),
        (rows.as_given(rows.origin), expected),
        (rows.computed_in(library.xp.float32).centred(), expected - origin),
    ):
        np.testing.assert_allclose(library.to_host(found), wanted, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_below_normal_numbers_are_scaled_too(dtype: str) -> None:
    rng, xp = np.random.default_rng(0), array_namespace(np.empty(0))
    points = (rng.normal(size=(9, 37)) * {"float32": 1e-41, "float64": 1e-310}[dtype]).astype(dtype)
    rows, labels = SphereRows(points), np.arange(9)
    distances = assigned_sq_distances(rows, labels, rows.centred(), xp=xp)
    np.testing.assert_allclose(distances, np.zeros(9), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_layout_gives_the_bits_of_rows_side_by_side(dtype: str) -> None:
    xp, rng = array_namespace(np.empty(0)), np.random.default_rng(0)
    host = rng.normal(size=(300, 37)) * 10.0 ** rng.uniform(-30, 30, size=(300, 1))
    host[7] = rng.normal(size=37) * {"float32": 1e-41, "float64": 1e-310}[dtype]
    points = host.astype(dtype)
    centroids = on_sphere(points[:5], xp=xp)
    labels, sums = [], []
    for layout in (np.ascontiguousarray, np.asfortranarray, lambda x: x[::-1][::-1]):
        dense = DenseRows(layout(points))
        for factors in (None, sphere_factors(dense, xp=xp)):
            rows = rows_on_sphere(dense, factors)
            labels.append(nearest_labels(rows, centroids, xp=xp).tobytes())
            sums.append(cluster_sums(rows, np.arange(300) % 5, 5, xp=xp).sums)
    assert len(set(labels)) == 1
    for each in sums:
        np.testing.assert_allclose(each, sums[0], rtol=1e-6, atol=1e-6)
        assert np.isfinite(each).all()


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_vectors_of_any_length_are_scaled(scale: float, library: Library) -> None:
    host = np.random.default_rng(0).normal(size=(5, 3)) * scale
    host[2] = 0.0
    vectors = library.asarray(host, "float32")
    found = library.to_host(on_sphere(vectors, xp=library.xp))
    np.testing.assert_allclose(found, scaled(host), atol=1e-6)


@pytest.mark.parametrize("odd", [1.0, 0.0, -0.0, 1e-310, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_body_scales_vectors_and_means_alike(
    odd: float, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, xp = np.random.default_rng(0), array_namespace(np.empty(0))
    scalings, means = on_sphere.overrides("numpy"), means_on_sphere.overrides("numpy")
    monkeypatch.setattr(on_sphere, "overrides", lambda *_: ())  # which portable means call
    monkeypatch.setattr(on_sphere, "_bodies", {})
    sizes = ((1, 1), (5, 3), (8, 16), (40, 33))
    for (n_vectors, n_features), n_odd in itertools.product(sizes, (1, 99)):
        vectors = rng.normal(size=(n_vectors, n_features)).astype(dtype)
        centroids = on_sphere.portable(vectors, xp=xp)
        vectors[0, :n_odd] = odd
        with np.errstate(all="ignore"):
            for given in (vectors, np.asfortranarray(vectors), np.repeat(vectors, 2, 1)[:, ::2]):
                expected = on_sphere.portable(given, xp=xp)
                for body in scalings:
                    assert_alike(body, body(given, xp=xp), expected)
            for least in (0.0, 1.0):  # the first cluster is empty, or not
                mass = np.arange(n_vectors) + least
                totals = ClusterTotals(vectors.astype(np.float64), mass)
                new, signals = means_on_sphere.portable(totals, centroids, xp=xp)
                for body in means:
                    for found, expected in zip(
                        body(totals, centroids, xp=xp), (new, signals), strict=True
                    ):
                        assert_alike(body, found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_directions_of_running_means_are_rounded_once(dtype: str) -> None:
    """Totals of batches are float32: no other body may take them."""
    pytest.importorskip("numba", reason="NumPy alone computes them in float32")
    rng, xp = np.random.default_rng(0), array_namespace(np.empty(0))
    means = ClusterTotals(
        rng.normal(size=(40, 33)).astype("float32"), rng.integers(0, 2, 40).astype("float32")
    )
    centroids = on_sphere(rng.normal(size=(40, 33)).astype(dtype), xp=xp)
    wide = ClusterTotals(*(each.astype("float64") for each in means))
    of_means, of_wide = (means_on_sphere(each, centroids, xp=xp) for each in (means, wide))
    for found, expected in zip(of_means, of_wide, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def assert_alike(body: Any, found: Any, expected: Any) -> None:
    """Compare the bits; compiled code adds in another order, and only needs to scale numbers."""
    if ".for_numba." not in body.__module__:
        assert found.tobytes() == expected.tobytes()
    elif np.isfinite(expected).all():
        np.testing.assert_allclose(found, expected, rtol=RTOL[str(found.dtype)], atol=1e-6)


@pytest.mark.skip_library(
    "array_api_strict", "torch", "jax", "dpnp", reason="has no sparse matrices"
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_numbers_of_sparse_rows_are_scaled(dtype: str, library: Library) -> None:
    rng = np.random.default_rng(0)
    host = rng.normal(size=(40, 6)) * (rng.random((40, 6)) < 0.3)
    host *= 10.0 ** rng.integers(-15, 15, (40, 1))
    host[[0, 7, 8, 39]] = 0.0
    stored = csr_parts(sparse.csr_array(host.astype(dtype)))
    parts = (from_host(part, xp=library.xp, device=library.device) for part in stored[:3])
    rows = SparseRows(Csr(*parts, stored.n_features))
    before = library.to_host(rows.csr.data).copy()
    for start, stop in ((0, 40), (5, 30), (7, 9)):
        found = rows_on_sphere(rows.part(start, stop)).centred()
        np.testing.assert_allclose(library.to_host(found), scaled(host[start:stop]), atol=1e-6)
    np.testing.assert_array_equal(library.to_host(rows.csr.data), before)


def test_a_row_that_is_taken_does_not_depend_on_other_rows() -> None:
    X = np.random.default_rng(0).normal(size=(200, 8))
    X[7] *= 1e-150  # squares of its numbers have no room: it is scaled with more care
    rows, few = np.arange(7), np.arange(9)
    others = InMemory(DenseRows(X[:7]), xp=np)
    whole = InMemory(DenseRows(X), xp=np)
    cut = Chopped(DenseRows(X), (50,) * 4, xp=np)
    expected = blocks_on_sphere(others).take(rows).points
    for given in (whole, cut):
        for taken in (rows, few):
            found = blocks_on_sphere(given).take(taken).points[:7]
            np.testing.assert_array_equal(found, expected)
