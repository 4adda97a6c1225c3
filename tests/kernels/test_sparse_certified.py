"""Labels of sparse rows by float32 and a proof: those of float64, to the bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from kmeans_xp.devices import csr_parts
from kmeans_xp.kernels import SparseRows

numba = pytest.importorskip("numba")

from kmeans_xp.kernels.for_numba import sparse_certified  # noqa: E402
from kmeans_xp.kernels.for_numba.emitted.sparse_vectors import LANES  # noqa: E402
from kmeans_xp.kernels.for_numba.sparse_assignment import labelled, scored_by_panels  # noqa: E402
from kmeans_xp.kernels.for_numba.sparse_certified import (  # noqa: E402
    NarrowPanel,
    certain_labels,
    label_certain,
    may_be_certain,
    n_wide_groups_of,
    reaches_of,
)
from kmeans_xp.kernels.for_numba.sparse_panels import (  # noqa: E402
    Panel,
    arrays_of,
    origin_of,
)
from kmeans_xp.kernels.for_numba.sparse_stepping import labelled_and_updated  # noqa: E402
from kmeans_xp.kernels.portable.steps import lloyd_step, update_centroids  # noqa: E402


def problem(
    dtype: str, n_clusters: int, seed: int = 0, n_features: int = 40, scale: float = 1.0
) -> tuple[SparseRows, Any]:
    """Return rows with a few numbers each, some with none, and centroids relative to an origin."""
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(300, n_features)) * (rng.random((300, n_features)) < 0.15) * scale
    origin = dense.mean(axis=0).astype(dtype)
    chosen = rng.integers(0, 300, size=(n_clusters, 3))
    centroids = (dense[chosen].mean(axis=1) - origin).astype(dtype)
    matrix = sparse.csr_matrix(dense.astype(dtype))
    return SparseRows(csr_parts(matrix), None, origin), centroids


def exact(rows: SparseRows, centroids: Any) -> Any:
    return labelled(rows, Panel.of(centroids, origin_of(rows)))


@given(
    dtype=st.sampled_from(["float32", "float64"]),
    n_clusters=st.integers(LANES + 1, 150),
    seed=st.integers(0, 2**32 - 1),
    n_features=st.integers(1, 60),
    exponent=st.integers(-30, 30),
    n_twins=st.integers(0, 3),
)
def test_labels_are_those_of_float64(
    dtype: str, n_clusters: int, seed: int, n_features: int, exponent: int, n_twins: int
) -> None:
    if dtype == "float32":
        exponent //= 2
    rows, centroids = problem(dtype, n_clusters, seed, n_features, 10.0**exponent)
    for twin in range(n_twins):  # scores that float32 cannot tell apart
        centroids[-1 - twin] = np.nextafter(centroids[twin], np.inf, dtype=dtype)
    assert np.array_equal(scored_by_panels(rows, centroids), exact(rows, centroids))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_clusters", [LANES + 1, 20, 64, 100])
def test_rows_in_doubt_are_scored_again(dtype: str, n_clusters: int) -> None:
    rows, centroids = problem(dtype, n_clusters, n_features=200)
    assert certain_labels(rows, centroids) is not None
    panel = NarrowPanel.of(centroids, rows)._replace(slope=np.inf)
    labels = np.empty(rows.n_points, np.int32)
    shared = (reaches_of(rows), centroids, n_wide_groups_of(centroids), *panel, labels)
    label = label_certain[centroids.dtype]
    assert not label(*arrays_of(rows), 0, rows.n_points, *shared)
    for row in range(rows.n_points):  # of a single row, all may be in doubt
        assert label(*arrays_of(rows), row, row + 1, *shared)
    assert np.array_equal(labels, exact(rows, centroids))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_clusters", [1, 20, 150])
def test_a_narrow_panel_has_the_biases_of_a_wide_one(dtype: str, n_clusters: int) -> None:
    rows, centroids = problem(dtype, n_clusters, n_features=3001)
    found = NarrowPanel.of(centroids, rows).biases
    assert np.array_equal(found, Panel.of(centroids, origin_of(rows)).biases)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_clusters", [1, 7, 20])
def test_panels_of_centroids_column_by_column(dtype: str, n_clusters: int) -> None:
    rows, centroids = problem(dtype, n_clusters, n_features=67)
    by_columns = np.asfortranarray(centroids)
    for found, expected in (
        (Panel.of(by_columns, origin_of(rows)), Panel.of(centroids, origin_of(rows))),
        (NarrowPanel.of(by_columns, rows), NarrowPanel.of(centroids, rows)),
    ):
        assert np.array_equal(found.numbers, expected.numbers)
        assert np.array_equal(found.biases, expected.biases)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scores_differ_by_less_than_the_bound(dtype: str) -> None:
    """A centroid that leads by a little more than the margin is proved; by less, it is not."""
    rows, centroids = problem(dtype, 20)
    panel = NarrowPanel.of(centroids, rows)
    margins = panel.slope * reaches_of(rows).astype(np.float64) + panel.least
    numbers, columns, starts = arrays_of(rows)
    for row in range(rows.n_points):
        own = slice(starts[row], starts[row + 1])
        scores, narrow = panel.biases[:20].copy(), np.zeros(20, np.float32)
        for number, column in zip(numbers[own], columns[own], strict=True):
            scores += np.float64(number) * centroids[:, column]
            narrow += np.float32(number) * centroids[:, column].astype(np.float32)
        error = np.abs(narrow + panel.biases[:20] - scores).max()
        assert error <= margins[row] / 2
        # Not so wide that it proves nothing: a few thousand roundings of what is added.
        largest = np.abs(numbers[own]).max(initial=0.0)
        assert margins[row] <= 1e-3 * (1.0 + largest) ** 2 * (1 + own.stop - own.start)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("what", ["centroids", "rows"])
def test_numbers_too_large_for_float32_are_left_to_float64(dtype: str, what: str) -> None:
    rows, centroids = problem(dtype, 20)
    large = 1e25 if dtype == "float32" else 1e100
    if what == "rows":
        rows.csr.data[:] *= large
    else:
        centroids *= large
    assert certain_labels(rows, centroids) is None
    assert np.array_equal(scored_by_panels(rows, centroids), exact(rows, centroids))


def test_a_proof_that_failed_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, centroids = problem("float64", 20)
    centroids[:] = centroids[0]  # all scores are equal
    assert np.array_equal(scored_by_panels(rows, centroids), np.zeros(rows.n_points))
    monkeypatch.delattr(sparse_certified, "label_certain")
    assert certain_labels(rows, centroids) is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_points", [300, 20_000])  # a step in one call, and in tasks
@pytest.mark.parametrize("kind", ["apart", "equal", "weighted"])
def test_a_step_has_the_bits_of_totals_and_an_update(dtype: str, n_points: int, kind: str) -> None:
    rng = np.random.default_rng(0)
    n_clusters, n_features = 20, 4000  # sums that do not fit a task of their own
    shape = (n_points, n_features)
    matrix = sparse.random(*shape, 0.01, format="csr", dtype=dtype, random_state=rng)
    weights = rng.random(n_points).astype(dtype) if kind == "weighted" else None
    origin = np.asarray(matrix.mean(axis=0)).ravel().astype(dtype)
    rows = SparseRows(csr_parts(matrix), weights, origin)
    centroids = matrix[:n_clusters].toarray() - origin
    centroids[3] = 0.2  # of no row
    if kind == "equal":
        centroids[:] = centroids[0]
    found = labelled_and_updated(rows, centroids, xp=np)
    assert may_be_certain(rows, n_clusters) == (kind != "equal")
    expected = update_centroids(lloyd_step(rows, centroids, xp=np), centroids, xp=np)
    assert np.array_equal(found.centroids, expected.centroids)
    assert np.array_equal(found.signals, expected.signals)
