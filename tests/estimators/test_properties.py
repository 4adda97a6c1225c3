"""What holds of every fit: of rows of any size, place, weight and order, in any form.

Long doubles judge (``benchmarks/judging.py``). A fit may also refuse numbers, or warn of them, but
only those that its dtype cannot hold.
"""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning

from benchmarks.judging import Judged
from conftest import Library
from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans, open_rows
from tests.assertions import PRECISIONS
from tests.strategies import LAYOUTS, laid_out

Host = NDArray[Any]

KINDS = ("cloud", "groups", "grid", "duplicates", "a constant column", "one row again and again")
#: what a spread or a weight is multiplied by, as an exponent of ten
SCALES = {"float32": (-30, 30), "float64": (-160, 160)}
WEIGHTS = {"float32": (-40, 36), "float64": (-300, 300)}
#: by how many times their spread rows may lie from zero
OFFSETS = (0.0, 1.0, -1e3, 1e7)


@dataclass(frozen=True)
class Case:
    """Rows, weights and an estimator that is not fitted."""

    points: Host
    weights: Host | None
    estimator: Any

    def __repr__(self) -> str:
        weights = None if self.weights is None else self.weights.tolist()
        return f"Case(np.array({self.points.tolist()}), {weights}, {self.estimator})"


@st.composite
def cases(draw: st.DrawFn, dtype: str, *, in_range: bool = False) -> Case:
    n_points = draw(st.sampled_from([1, 7, 40, 111]), label="n_points")
    n_features = draw(st.sampled_from([1, 3, 17]), label="n_features")
    most = draw(st.sampled_from([1, 5, 24, n_points]), label="n_clusters")
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    points = rows_of(draw(st.sampled_from(KINDS), label="kind"), (n_points, n_features), rng)
    exponents = st.integers(-5, 5) if in_range else st.integers(*SCALES[dtype])
    scale = 10.0 ** draw(st.just(0) | exponents, label="scale")
    points = scale * (points + draw(st.sampled_from(OFFSETS), label="offset"))
    weights = None
    if draw(st.booleans(), label="is_weighted"):
        exponents = st.just(0) if in_range else st.just(0) | st.integers(*WEIGHTS[dtype])
        weights = rng.integers(0, 4, n_points) * 10.0 ** draw(exponents, label="weight")
        weights[: min(most, n_points)] += weights.max() + (weights.max() == 0.0)
        weights = weights.astype(dtype)
    return Case(points.astype(dtype), weights, draw(estimators(min(most, n_points))))


def estimators(n_clusters: int) -> st.SearchStrategy[Any]:
    """Draw an estimator; each run is short."""
    options = {"n_clusters": n_clusters, "random_state": 0, "n_init": 1, "tol": 0.0}
    return st.sampled_from(
        [
            KMeans(**options, max_iter=20),
            KMeans(**options, max_iter=20, init="random"),
            KMeans(**options, max_iter=20, init="k-means||"),
            MiniBatchKMeans(**options, max_iter=3, batch_size=32),
            BisectingKMeans(**options, max_iter=10),
        ]
    )


def rows_of(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> Host:
    points = rng.normal(size=shape)
    if kind == "groups":
        points += 30.0 * rng.integers(0, 4, (shape[0], 1))
    elif kind == "grid":
        points = rng.integers(-3, 4, shape).astype(np.float64)
    elif kind == "duplicates":
        points = points[rng.integers(0, 1 + shape[0] // 4, shape[0])]
    elif kind == "a constant column":
        points[:, 0] = 1.0
    elif kind == "one row again and again":
        points[:] = points[0]
    return points


def fitted(case: Case, X: Any, weights: Any) -> Any | None:
    """Return the fitted estimator, or None where its numbers are refused or warned of."""
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            kmeans = type(case.estimator)(**case.estimator.get_params()).fit(X, None, weights)
        except ValueError as error:
            assert re.search("too (large|small) for", str(error))  # noqa: PT017
            return None
    told = [str(each.message) for each in caught if each.category is not ConvergenceWarning]
    return None if any("too small for" in each for each in told) else kmeans


def assert_right(
    case: Case, X: Any, weights: Any, library: Library, *, is_sparse: bool = False
) -> None:
    kmeans = fitted(case, X, weights)
    if kmeans is None:
        assert is_out_of_range(case) or has_flushed_weights(case, library)
        return

    def to_host(array: Any) -> Host:
        array = array.compute() if hasattr(array, "compute") else array
        return array if isinstance(array, np.ndarray) else library.to_host(array)

    judged = Judged(case.points, case.weights, is_sparse=is_sparse, to_host=to_host)
    if is_sparse and not has_finite_squares(case):
        return  # sparse rows are measured from zero
    with np.errstate(all="ignore"):
        assert judged.faults_of(kmeans, kmeans.predict(X)) == []


def is_out_of_range(case: Case) -> bool:
    """Return whether squares, or their sum with weights, near the ends of the dtype's range."""
    wide = case.points.astype(np.longdouble)
    n_points, n_features = wide.shape
    variance = np.mean(np.var(wide, axis=0))
    least, greatest = {"float32": (1e-29, 1e35), "float64": (1e-289, 1e299)}[case.points.dtype.name]
    if not least <= variance <= greatest / n_features:
        return True
    if case.weights is None:
        return False
    total = variance * np.sum(case.weights.astype(np.longdouble))
    return not 1e-289 <= total <= 1e299 / (n_points * n_features)


def has_flushed_weights(case: Case, library: Library) -> bool:
    """Return whether the library may take weights for 0, since they are subnormal numbers."""
    if library.name not in ("cupy", "jax"):
        return False
    if case.weights is None or case.points.dtype != np.float32:
        return False
    return bool(case.weights.sum(dtype=np.longdouble) < 1e-29)


def has_finite_squares(case: Case) -> bool:
    """Return whether squares from zero, with their weights, can be added up in float64."""
    weights = np.ones(1) if case.weights is None else case.weights
    squares = case.points.astype(np.longdouble) ** 2
    return bool(squares.sum() * weights.astype(np.longdouble).sum() < 1e300)


@pytest.mark.parametrize("dtype", PRECISIONS)
@given(data=st.data())
def test_arrays_are_clustered_right(dtype: str, data: st.DataObject, library: Library) -> None:
    case = data.draw(cases(dtype))
    layout = data.draw(st.sampled_from(LAYOUTS), label="layout")
    X = laid_out(case.points, dtype, layout, library)
    weights = None if case.weights is None else laid_out(case.weights, dtype, layout, library)
    assert_right(case, X, weights, library)


def of_csr(case: Case, library: Library) -> tuple[Any, Any]:
    matrix = sparse.csr_matrix(case.points)
    if library.name == "cupy":
        matrix = pytest.importorskip("cupyx.scipy.sparse").csr_matrix(matrix)
    return matrix, given_weights(case, library)


def of_csr_blocks(case: Case, library: Library) -> tuple[Any, Any]:
    matrix, _ = of_csr(case, library)
    return open_rows(matrix, block_rows=16), case.weights


def of_blocks(case: Case, library: Library) -> tuple[Any, Any]:
    if case.weights is None:
        return open_rows(library.asarray(case.points), block_rows=16), None
    both = np.column_stack([case.points, case.weights])
    return open_rows(library.asarray(both), weight=both.shape[1] - 1, block_rows=16), None


def of_blocks_for_a_gpu(case: Case, library: Library) -> tuple[Any, Any]:
    case.estimator.set_params(device="cuda")
    return open_rows(case.points, block_rows=16), case.weights


def of_dask(case: Case, library: Library) -> tuple[Any, Any]:
    da = pytest.importorskip("dask.array")
    chunks = (16, case.points.shape[1])
    X = da.from_array(library.asarray(case.points), chunks=chunks, asarray=False)
    return X, given_weights(case, library)


#: the libraries whose arrays, or devices, a form is of
FORMS: dict[Callable[[Case, Library], tuple[Any, Any]], tuple[str, ...]] = {
    of_csr: ("numpy", "cupy"),
    of_csr_blocks: ("numpy", "cupy"),
    of_blocks: ("numpy", "array_api_strict", "torch", "jax", "cupy"),
    of_blocks_for_a_gpu: ("cupy",),
    of_dask: ("numpy", "cupy"),
}


@pytest.mark.sampled(1, cupy=2)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
def test_rows_of_each_form_are_clustered_right(
    form: Callable[[Case, Library], tuple[Any, Any]],
    dtype: str,
    data: st.DataObject,
    library: Library,
) -> None:
    if library.name not in FORMS[form]:
        pytest.skip("is no form of this library's rows")
    case = data.draw(cases(dtype))
    is_sparse = form in (of_csr, of_csr_blocks)
    if is_sparse:  # most of its numbers are zeros
        is_there = np.random.default_rng(0).random(case.points.shape) < 0.4
        case = replace(case, points=np.where(is_there, case.points, 0).astype(dtype))
    assert_right(case, *form(case, library), library, is_sparse=is_sparse)


@pytest.mark.parametrize("dtype", PRECISIONS)
@given(data=st.data())
def test_a_power_of_two_scales_every_bit(dtype: str, data: st.DataObject, library: Library) -> None:
    case = data.draw(cases(dtype, in_range=True))
    factor, of_weights = (2.0 ** data.draw(st.integers(-20, 20)) for _ in range(2))
    plain = fitted(case, library.asarray(case.points, dtype), given_weights(case, library))
    scaled = replace(
        case,
        points=(case.points * factor).astype(dtype),
        weights=None if case.weights is None else (case.weights * of_weights).astype(dtype),
    )
    after = fitted(scaled, library.asarray(scaled.points, dtype), given_weights(scaled, library))
    assert plain is not None
    assert after is not None
    for name, times in (("labels_", 1.0), ("cluster_centers_", factor)):
        one, other = (library.to_host(getattr(kmeans, name)) for kmeans in (plain, after))
        np.testing.assert_array_equal(one * times, other)
    weighed = 1.0 if case.weights is None else of_weights
    if not isinstance(case.estimator, MiniBatchKMeans):
        assert after.inertia_ == plain.inertia_ * factor**2 * weighed


def given_weights(case: Case, library: Library) -> Any:
    return None if case.weights is None else library.asarray(case.weights)


@pytest.mark.parametrize("dtype", PRECISIONS)
@given(data=st.data())
def test_neither_order_nor_place_counts_and_a_weight_is_so_many_rows(
    dtype: str, data: st.DataObject, library: Library
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    n_points, n_clusters = data.draw(st.sampled_from([(9, 2), (40, 5), (111, 9)]))
    # Whole numbers, which are moved without rounding.
    points = 8.0 * rng.integers(-8, 9, (n_points, 3))
    init = rng.normal(scale=32.0, size=(n_clusters, 3)).round()
    counts, order = rng.integers(1, 4, n_points), rng.permutation(n_points)

    def step(X: Host, weights: Host | None, at: float = 0.0) -> Any:
        start = library.asarray(init + at, dtype)
        kmeans = KMeans(n_clusters, init=start, n_init=1, max_iter=1)
        given = None if weights is None else library.asarray(weights, dtype)
        return kmeans.fit(library.asarray(X + at, dtype), None, given)

    # Where no row lies between two centroids, a step has one result.
    first = clear_labels(points, init)
    assume(first is not None and len(np.unique(first)) == n_clusters)
    plain = step(points, counts)
    centres, labels = library.to_host(plain.cluster_centers_), library.to_host(plain.labels_)
    assume(clear_labels(points, centres) is not None)
    digits = 1e-5 if dtype == "float32" else 1e-12
    for at, kmeans, expected in (
        (0.0, step(points[order], counts[order]), labels[order]),
        (0.0, step(points.repeat(counts, axis=0), None), labels.repeat(counts)),
        (-4096.0, step(points, counts, -4096.0), labels),
        (2.0**20, step(points, counts, 2.0**20), labels),
    ):
        np.testing.assert_array_equal(library.to_host(kmeans.labels_), expected)
        assert kmeans.inertia_ == pytest.approx(plain.inertia_, rel=10.0 * digits)
        found = library.to_host(kmeans.cluster_centers_) - at
        np.testing.assert_allclose(found, centres, rtol=0, atol=digits * (64.0 + abs(at)))


def clear_labels(points: Host, centroids: Host) -> Host | None:
    """Return the nearest centroids, or None if rounding may say otherwise for a row."""
    distances = cdist(points, centroids)
    nearest = np.sort(distances, axis=1)
    is_clear = np.all(nearest[:, 1] - nearest[:, 0] > 0.01)
    return distances.argmin(axis=1) if is_clear else None
