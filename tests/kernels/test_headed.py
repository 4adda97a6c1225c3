"""Labels by heads of principal components: the dense kernel's, each score in its bound."""

from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import datasets

from kmeans_xp.kernels import DenseRows, SphereRows, lloyd_step, nearest_labels
from kmeans_xp.kernels.threads import threads_each
from tests.certified_problems import KINDS, problem_of, rows_of_kind, spread_and_tailed, tenths
from tests.chain import chain_labels

numba = pytest.importorskip("numba", reason="about kernels that numba compiles")

from kmeans_xp.kernels.for_numba.emitted.code_vectors import HAS_PRODUCTS  # noqa: E402

if not HAS_PRODUCTS:
    pytest.skip("this processor has no such kernels", allow_module_level=True)

from kmeans_xp.kernels.for_numba import assignment, candidates, certified, headed  # noqa: E402
from kmeans_xp.kernels.for_numba.codes import CodedCentroids  # noqa: E402
from kmeans_xp.kernels.for_numba.heads import (  # noqa: E402
    CODED,
    LARGEST,
    ROUNDING,
    WHOLE,
    Axes,
    HeadedCentroids,
    head_width,
    principal_axes,
)
from tests.kernels import test_certified_bytes as bytes_  # noqa: E402

Host = NDArray[Any]

DTYPES = ("float32", "float64")
N_ROUNDS = 6


def axes_of(centred: Host, n_axes: int, seed: int = 0) -> Axes:
    """Return principal axes; random ones if the rows have none, as they are not finite."""
    some = centred[:200]
    if not np.abs(some).max() < 1e15 or seed % 3 == 2:
        some = np.random.default_rng(seed).standard_normal((50, some.shape[1])).astype(some.dtype)
    axes = Axes.of(principal_axes(some, n_axes))
    assert axes is not None
    return axes


def checked(rows: Any, centroids: Host, n_axes: int, seed: int = 0) -> candidates.Counts | None:
    """Compare the labels with the dense kernel's; return the counts, None if there are none."""
    centroids_ = HeadedCentroids.of(centroids, axes_of(rows.centred(), n_axes, seed))
    if centroids_ is None:
        return None
    labels, counts = certified.labelled(rows, centroids_)
    np.testing.assert_array_equal(labels, assignment.scored(rows, centroids))
    return counts


def smooth(n_points: int, n_features: int, n_clusters: int, dtype: str = "float32") -> Any:
    """Return rows of few strong components, as squares of photographs, and rows as centroids."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, n_features + 1) ** -2.0
    turned = np.linalg.qr(rng.standard_normal((n_features, n_features)))[0]
    points = (rng.standard_normal((n_points, n_features)) * spectrum) @ turned + 0.5
    points = points.astype(dtype)
    origin = points.mean(axis=0)
    return DenseRows(points, None, origin), points[:n_clusters] - origin


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_labels_are_those_of_the_dense_kernel(kind: str, dtype: str) -> None:
    for seed, points, origin, both in rows_of_kind(kind, N_ROUNDS, dtype):
        rows = DenseRows(points, None, origin)
        for centroids in both:
            checked(rows, centroids, (8, 16, 32)[seed % 3], seed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("band", [(1, 100), (3, 900), (16, 100), (33, 60), (130, 300)])
def test_scores_that_only_rounding_tells_apart(band: tuple[int, int], dtype: str) -> None:
    points, origin, centroids = tenths(*band, dtype, np.random.default_rng(0))
    rows = DenseRows(points, None, origin)
    packed = HeadedCentroids.of(centroids, axes_of(rows.centred(), 8))
    assert packed is not None
    labels, _ = certified.labelled(rows, packed)
    np.testing.assert_array_equal(labels, chain_labels(points, origin, centroids))


@given(
    n_features=st.integers(1, 2048),
    n_clusters=st.integers(1, 1300),
    n_points=st.integers(1, 130),
    n_axes=st.sampled_from([1, 8, 16, 32]),
    offset=st.sampled_from([0.0, 1.0, 1e3]),
    exponent=st.integers(-30, 30),
    tail=st.sampled_from(["normal", "cauchy", "ulps", "midpoints", "in the head"]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_labels_of_any_shape(
    n_features: int,
    n_clusters: int,
    n_points: int,
    n_axes: int,
    offset: float,
    exponent: int,
    tail: str,
    dtype: str,
    seed: int,
) -> None:
    n_clusters = max(1, min(n_clusters, 400_000 // n_features))
    rng = np.random.default_rng(seed)
    shape, spread = (n_points, n_features, n_clusters), (offset, exponent)
    points, centroids = spread_and_tailed(shape, spread, tail, dtype, rng)
    if tail == "in the head":  # nothing is left but rounding
        within = rng.standard_normal((3, n_features))
        centroids, points = (
            (each[:, :1] * within[:1]).astype(dtype) for each in (centroids, points)
        )
    checked(DenseRows(points), centroids, n_axes, seed % 2)


@numba.njit(error_model="numpy")
def headed_scores(points, origin, data, packed):  # type: ignore[no-untyped-def]
    """Return the greatest scores of one tile, its heads, their numbers, and the rows' scales."""
    n_columns = len(packed.columns) // points.shape[1]
    room = headed.head_room(points, points.shape[1], data.n_axes, n_columns)
    none = origin[:0]
    headed.score_headed(points, 0, points.shape[0], none, 0, origin, data, packed, room)
    return room.candidates.scores, room.heads, room.numbers, room.candidates.scales


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_every_score_is_within_its_bound(kind: str, dtype: str) -> None:
    n_checked = 0
    for seed in range(KINDS.index(kind), 12 * len(KINDS), len(KINDS)):
        problem = problem_of(seed, candidates.TILE)
        points, given_ = problem.points.astype(dtype), problem.centroids.astype(dtype)
        axes = axes_of(points, 8, seed)
        packed = HeadedCentroids.of(given_, axes)
        if packed is None:
            continue
        n_rows, n_clusters, n_axes = len(points), len(given_), axes.n_axes
        scores, heads, numbers, scales = headed_scores(
            *(points, np.zeros(points.shape[1], dtype), headed._Data(*packed[:5])),
            headed._Centroids(*packed[5:], packed.numbers, packed.biases),
        )
        is_headed, unit = scales[:n_rows] > 0, packed.unit
        scales = scales[:n_rows][is_headed]
        uppers = scores[: n_rows * len(packed.lengths)].reshape(n_rows, -1)[:, :n_clusters]
        width = head_width.py_func(n_axes)
        heads = heads[: n_rows * width].reshape(n_rows, -1)[is_headed] * scales[:, None]
        numbers = numbers[: 3 * n_rows].reshape(n_rows, -1)[is_headed] * scales[:, None]
        uppers = uppers[is_headed].astype(np.float64) * scales[:, None]
        rows, centres = (each.astype(np.float64) / unit for each in (points[is_headed], given_))
        squares = np.square(centres).sum(axis=1)
        exact = rows @ centres.T - squares / 2
        assert np.all(uppers >= exact), f"seed {seed}"
        # The lengths are those of the rest and of the codes, and not much more.
        columns = axes.rows.reshape(n_axes, -1)[:, : points.shape[1]].astype(np.float64)
        products = np.c_[numbers[:, LARGEST], heads[:, 1:n_axes]]
        rests = np.linalg.norm(rows - products @ columns, axis=1)
        lengths = np.linalg.norm(rows, axis=1)
        near = 1e-4 * lengths + 1e-10 + scales
        assert np.all(heads[:, 0] >= rests - 1e-7 * lengths), f"seed {seed}"
        assert np.all(heads[:, 0] <= 1.001 * rests + near)
        coded, rounding = heads[:, n_axes + CODED], heads[:, n_axes + ROUNDING]
        assert np.all(coded >= np.linalg.norm(products[:, 1:], axis=1)), f"seed {seed}"
        lost = np.linalg.norm((rows @ columns.T - products)[:, 1:], axis=1)
        assert np.all(rounding >= lost - 1e-5 * lengths - 1e-30), f"seed {seed}"
        assert np.all(rounding <= lost + near), f"seed {seed}"
        assert np.all(numbers[:, WHOLE] >= lengths), f"seed {seed}"
        # Nor is the bound a trivial one.
        other_rests = np.linalg.norm(centres - (centres @ columns.T) @ columns, axis=1)
        far = np.outer(lengths, np.sqrt(squares))
        slack = 2.01 * np.outer(rests, other_rests) + 1e-3 * (far + squares) + 1e-9
        assert np.all(uppers - exact <= slack), f"seed {seed}"
        n_checked += uppers.size
    assert n_checked or kind in ("1e15", "1e-22", "squares near the greatest number", "not finite")


@pytest.fixture
def heads_of_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try heads for any number of rows."""
    monkeypatch.setattr(certified, "_FEWEST_PRODUCTS", 0)
    monkeypatch.setattr(certified, "_FEWEST_PRODUCTS_64", 0)
    monkeypatch.setattr(certified, "_FEWEST_ROWS_FOR_HEADS", 0)


@pytest.mark.usefixtures("heads_of_few_rows")
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_iteration_has_the_bits_of_the_dense_path(dtype: str) -> None:
    rows, centroids = smooth(5000, 128, 500, dtype)
    rows = rows.weighted(np.random.default_rng(1).random(5000).astype(dtype))
    ways = []
    for _ in range(6):
        ways.append(type(certified.packed_if_worth_it(rows, centroids)))
        checked(rows, centroids, 8)
        expected = assignment.scored_and_added(rows, centroids)
        for n_threads in (1, 2, 3):
            with threads_each(n_threads):
                totals = lloyd_step(rows, centroids, xp=xp)
            np.testing.assert_array_equal(totals.sums, expected.sums)
            np.testing.assert_array_equal(totals.mass, expected.mass)
        labels = nearest_labels(rows, centroids, xp=xp)
        np.testing.assert_array_equal(labels, assignment.scored(rows, centroids))
        centroids = bytes_.moved(rows, labels, centroids)
    assert HeadedCentroids in ways


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_are_scaled_as_they_are_read(dtype: str) -> None:
    dense, _ = smooth(3000, 64, 300, dtype)
    lengths = 10.0 ** np.random.default_rng(0).uniform(-20, 20, size=(dense.n_points, 1))
    points = (dense.points * lengths).astype(dtype)
    points[5] = 0.0
    rows = SphereRows(points)
    counts = checked(rows, np.ascontiguousarray(rows.centred()[10:310]), 16)
    assert counts is not None
    assert counts.n_measured < 3000 * 300 / 10


@pytest.mark.parametrize("order", ["F", "strided", "read-only"])
def test_rows_of_any_layout(order: str) -> None:
    rows, centroids = smooth(2500, 70, 130)
    points = rows.points
    if order == "strided":
        points = np.repeat(points, 2, axis=1)[:, ::2]
    elif order == "F":
        points = np.asfortranarray(points)
    points.flags.writeable = order != "read-only"
    counts = checked(DenseRows(points, None, rows.origin), centroids, 8)
    assert counts is not None
    assert counts.n_doubtful == 0


# ---- how many pairs are left: exact scores hide a bound that proves nothing ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_axes", "most"), [(8, 25), (16, 10), (32, 5)])
def test_few_pairs_are_scored_exactly(n_axes: int, most: int, dtype: str) -> None:
    rows, centroids = smooth(2500, 192, 1200, dtype)
    counts = checked(rows, centroids, n_axes)
    assert counts is not None
    assert counts.n_dense == counts.n_doubtful == 0
    assert counts.n_candidates < most * 2500
    assert counts.n_measured < (most + 2) * 2500


def test_squares_of_a_photograph_leave_few_centroids() -> None:
    grey = datasets.load_sample_image("china.jpg").mean(axis=2)[:424, :640]
    squares = grey.reshape(53, 8, 80, 8).transpose(0, 2, 1, 3).reshape(-1, 64)
    squares = squares.astype(np.float32)
    origin = squares.mean(axis=0)
    counts = checked(DenseRows(squares, None, origin), squares[::8] - origin, 16)
    assert counts is not None
    n_tried = counts.n_points - counts.n_dense
    assert n_tried > 0
    assert counts.n_doubtful == 0
    assert counts.n_candidates < 0.06 * n_tried * len(squares[::8])


@pytest.mark.usefixtures("heads_of_few_rows")
def test_counts_choose_the_way() -> None:
    rows, centroids = smooth(5000, 128, 600)
    assert certified.headed_below(rows, centroids, 128 * 600) is not None
    rows, centroids = bytes_.embedded(5000, 256, 600)
    assert certified.headed_below(rows, centroids, 256 * 600) is None
    uniform = np.random.default_rng(0).random((5000, 64), np.float32)
    uniform[:, :40] *= 1e6  # takes all bits of a code, and is more than a head
    assert not isinstance(
        certified.packed_if_worth_it(DenseRows(uniform), uniform[:300].copy()), HeadedCentroids
    )


def test_bytes_are_kept_where_they_leave_few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certified, "_FEWEST_PRODUCTS", 0)
    monkeypatch.setattr(certified, "_FEWEST_ROWS_FOR_HEADS", 0)
    monkeypatch.setattr(certified, "headed_below", lambda *_: pytest.fail("heads were tried"))
    rows, centroids = bytes_.embedded(5000, 256, 1000)
    assert isinstance(certified.packed_if_worth_it(rows, centroids), CodedCentroids)


def test_heads_are_not_tried_where_one_candidate_costs_as_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, centroids = smooth(5000, 256, 64)
    least = headed.least_cost(64, 256)
    tried = []
    monkeypatch.setattr(certified, "cheapest_axes", lambda *_: tried.append(1) or (None, 0.0))
    certified.headed_below(rows, centroids, least)
    assert not tried
    certified.headed_below(rows, centroids, 1.01 * least)
    assert tried


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e30])
def test_rows_that_give_no_axes_have_no_heads(wrong: float) -> None:
    rows, centroids = smooth(500, 64, 100)
    points = rows.points.copy()
    points[::2, 3] = wrong
    assert certified.headed_below(DenseRows(points), centroids, np.inf) is None


def test_axes_must_be_orthonormal() -> None:
    columns = np.eye(20, 4, dtype=np.float32)
    assert Axes.of(columns) is not None
    assert Axes.of(1.01 * columns) is None
    assert Axes.of(np.full_like(columns, np.nan)) is None
