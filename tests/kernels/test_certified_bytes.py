"""Labels by products of bytes: the dense kernel's, each score in its bounds, and few exact ones."""

from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import datasets

from kmeans_xp import KMeans
from kmeans_xp.algorithms.bounded import bounds_for
from kmeans_xp.kernels import (
    DenseRows,
    SphereRows,
    cluster_sums,
    lloyd_step,
    nearest_labels,
    rows_on_sphere,
    sphere_factors,
    update_centroids,
)
from kmeans_xp.kernels.threads import threads_each
from tests.certified_problems import KINDS, problem_of, rows_of_kind, spread_and_tailed, tenths
from tests.chain import chain_labels

numba = pytest.importorskip("numba", reason="about kernels that numba compiles")

from kmeans_xp.kernels.for_numba.emitted.code_vectors import HAS_PRODUCTS  # noqa: E402

if not HAS_PRODUCTS:
    pytest.skip("this processor multiplies no bytes", allow_module_level=True)

from kmeans_xp.kernels.for_numba import assignment, candidates, certified, codes  # noqa: E402
from kmeans_xp.kernels.for_numba.tiling import is_from_zero  # noqa: E402

Host = NDArray[Any]

N_ROUNDS = 10
DTYPES = ("float32", "float64")


def checked(rows: Any, centroids: Host) -> certified.Counts | None:
    """Hold the labels against the dense kernel's; return the counts, None if there are none."""
    found = certified.certified_labels(rows, centroids)
    if found is None:
        return None
    np.testing.assert_array_equal(found[0], assignment.scored(rows, centroids))
    return found[1]


def embedded(n_points: int, n_features: int, n_clusters: int, dtype: str = "float32") -> Any:
    """Return rows like embeddings, of overlapping clusters, and rows among them as centroids."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, n_features + 1) ** -0.4
    points = rng.standard_normal((n_points, n_features)) * spectrum + 0.3
    points += rng.standard_normal((20, n_features))[rng.integers(20, size=n_points)] * spectrum / 2
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(dtype)
    origin = points.mean(axis=0)
    return DenseRows(points, None, origin), points[:n_clusters] - origin


def moved(rows: DenseRows, labels: Host, centroids: Host) -> Host:
    """Return the means of the rows with each label."""
    sums, mass = cluster_sums(rows, labels, len(centroids), xp=xp)
    means = sums / np.maximum(mass, 1)[:, None]
    return np.where(mass[:, None] > 0, means, centroids).astype(centroids.dtype)


@pytest.mark.sampled(1, numpy=3)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_labels_are_those_of_the_dense_kernel(kind: str, dtype: str) -> None:
    for _, points, origin, both in rows_of_kind(kind, N_ROUNDS, dtype):
        rows = DenseRows(points, None, origin)
        for centroids in both:
            checked(rows, centroids)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("band", [(1, 100), (3, 900), (16, 100), (33, 60), (130, 300)])
def test_scores_that_only_rounding_tells_apart(band: tuple[int, int], dtype: str) -> None:
    points, origin, centroids = tenths(*band, dtype, np.random.default_rng(0))
    found = certified.certified_labels(DenseRows(points, None, origin), centroids)
    assert found is not None
    np.testing.assert_array_equal(found[0], chain_labels(points, origin, centroids))


@given(
    n_features=st.integers(1, 2048),
    n_clusters=st.integers(1, 1300),
    n_points=st.integers(1, 130),
    offset=st.sampled_from([0.0, 1.0, 1e3]),
    exponent=st.integers(-30, 30),
    tail=st.sampled_from(["normal", "cauchy", "ulps", "midpoints"]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_labels_of_any_shape(
    n_features: int,
    n_clusters: int,
    n_points: int,
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
    checked(DenseRows(points), centroids)


@numba.njit(error_model="numpy")
def coded_scores(points, origin, coded, centroids, errors):  # type: ignore[no-untyped-def]
    """Return scores of one tile, in units of each row, and those; write their errors."""
    room = certified._room(points, points.shape[1])
    n_rows, n_columns = points.shape[0], len(coded.scales)
    data, none = certified._Data(*coded[:4]), origin[:0]
    certified._score_tile(points, 0, n_rows, none, 0, origin, data, centroids, room)
    for row in range(n_rows):
        for cluster in range(n_columns):
            errors[row, cluster] = codes.error_of(cluster, coded.bounds, row, room.bounds)
    scores, scales = room.candidates.scores, room.candidates.scales
    return scores[: n_rows * n_columns], scales[:n_rows]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_every_score_is_within_its_bound(kind: str) -> None:
    n_checked = n_shifted = 0
    for seed in range(KINDS.index(kind), 30 * len(KINDS), len(KINDS)):
        problem = problem_of(seed, candidates.TILE)
        points = problem.points.astype(np.float32)
        origin = np.zeros(points.shape[1], np.float32)
        coded = codes.CodedCentroids.of(problem.centroids, from_zero=True)
        if coded is None:
            continue
        errors = np.empty((len(points), len(coded.scales)), np.float32)
        centroids = certified._Centroids(*coded[4:])
        scores, scales = coded_scores(points, origin, coded, centroids, errors)
        n_clusters, is_coded = len(problem.centroids), scales > 0
        scores = scores.reshape(errors.shape)[is_coded, :n_clusters].astype(np.float64)
        rows, centres = points[is_coded].astype(np.float64), problem.centroids.astype(np.float64)
        reach = np.linalg.norm(rows, axis=1)[:, None] + np.linalg.norm(centres, axis=1)
        if len(coded.shift):
            rows, centres = rows - coded.shift, centres - coded.shift
            n_shifted += 1
        exact = rows @ centres.T - np.square(centres).sum(axis=1) / 2
        exact /= scales[is_coded, None] * coded.unit**2
        apart = np.abs(scores - exact)
        assert np.all(apart <= errors[is_coded, :n_clusters]), f"seed {seed}"
        n_checked += apart.size
        # Nor is the bound a trivial one: codes lose a part of what they stand for.
        lengths = np.sqrt(np.square(rows).sum(axis=1)) / (scales[is_coded] * coded.unit)
        far = lengths[:, None] * np.sqrt(np.square(centres).sum(axis=1)) / coded.unit
        bias = -exact.min(initial=0.0)
        # The dense kernel's rounding is that of numbers that are not shifted.
        rounding = coded.eps * np.square(reach) / (scales[is_coded, None] * coded.unit**2)
        most = 0.2 * far + 1e-4 * bias + 1 + (rounding if len(coded.shift) else 0.0)
        assert np.all(errors[is_coded, :n_clusters] <= most), f"seed {seed}"
    assert n_shifted or kind != "far from zero"
    assert n_checked or kind in ("1e15", "1e-22", "squares near the greatest number", "not finite")


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_iteration_has_the_bits_of_the_dense_path(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certified, "_FEWEST_PRODUCTS", 0)
    monkeypatch.setattr(certified, "_FEWEST_PRODUCTS_64", 0)
    rows, centroids = embedded(5000, 128, 500, dtype)
    rows = rows.weighted(np.random.default_rng(1).random(5000).astype(dtype))
    for _ in range(8):
        counts = checked(rows, centroids)
        assert counts is not None
        assert counts.n_dense == counts.n_doubtful == 0
        expected = assignment.scored_and_added(rows, centroids)
        for n_threads in (1, 2, 3):
            with threads_each(n_threads):
                totals = certified.proved_and_added(rows, centroids)
            np.testing.assert_array_equal(totals.sums, expected.sums)
            np.testing.assert_array_equal(totals.mass, expected.mass)
        labels = nearest_labels(rows, centroids, xp=xp)
        centroids = moved(rows, labels, centroids)


def test_clusters_too_many_for_totals_of_their_own() -> None:
    rows, centroids = embedded(4500, 256, 1100)
    assert not assignment.has_own_totals(*centroids.shape)
    expected = assignment.scored_and_added(rows, centroids)
    totals = lloyd_step(rows, centroids, xp=xp)
    np.testing.assert_array_equal(totals.sums, expected.sums)
    np.testing.assert_array_equal(totals.mass, expected.mass)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_are_scaled_as_they_are_read(dtype: str) -> None:
    rng = np.random.default_rng(0)
    dense, _ = embedded(8_000, 64, 300, dtype)
    lengths = 10.0 ** rng.uniform(-20, 20, size=(dense.n_points, 1))
    points = (dense.points * lengths).astype(dtype)
    points[5] = 0.0
    rows = SphereRows(points)
    centroids = np.ascontiguousarray(rows.centred()[10:310])
    counts = checked(rows, centroids)
    assert counts is not None
    assert counts.n_measured < 8_000 * 300 / 20
    points[5] = points[6]
    with_factors = rows._replace(factors=sphere_factors(DenseRows(points), xp=xp))
    assert with_factors.factors is not None
    of_factors = checked(with_factors, centroids)
    assert of_factors is not None
    assert of_factors.n_measured < 1.01 * counts.n_measured
    np.testing.assert_array_equal(
        nearest_labels(rows, centroids, xp=xp), assignment.scored(rows, centroids)
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_on_one_side_of_a_sphere_are_coded_less_a_shift(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes of directions that are nearly one lose as little as those of rows about their mean."""
    rng = np.random.default_rng(0)
    given = DenseRows((rng.random((5_000, 128)) * rng.random((5_000, 1))).astype(dtype))
    rows = rows_on_sphere(given, sphere_factors(given, xp=xp))
    centroids = np.ascontiguousarray(rows.centred()[:256])
    about = rows.centred().mean(axis=0)
    coded = codes.CodedCentroids.of(centroids, from_zero=True)
    assert coded is not None
    assert len(coded.shift) == 128
    shifted = checked(rows, centroids)
    beside = checked(DenseRows(rows.centred(), None, about), centroids - about)
    assert shifted is not None
    assert beside is not None
    assert shifted.n_dense == 0
    assert shifted.n_candidates < 1.1 * beside.n_candidates
    assert shifted.n_measured < 1.1 * beside.n_measured
    with monkeypatch.context() as patch:
        patch.setattr(codes, "_SHIFTED", 2.0)
        plain = checked(rows, centroids)
    assert plain is not None
    assert plain.n_candidates > 2 * shifted.n_candidates or plain.n_dense > 0
    for rows_about_a_mean in (given.seen_from(about), given.seen_from(centroids[0])):
        assert not is_from_zero(rows_about_a_mean)


@pytest.mark.parametrize("n_clusters", [300, 2_000])
def test_steps_on_a_sphere_are_those_of_scaled_rows(n_clusters: int) -> None:
    dense, _ = embedded(8_000, 200, 300)
    given = DenseRows(dense.points * np.float32(3.0))
    rows = rows_on_sphere(given, sphere_factors(given, xp=xp))
    centroids = np.ascontiguousarray(rows.centred()[:n_clusters])
    step = lloyd_step(rows, centroids, xp=xp)
    labels = assignment.scored(rows, centroids)
    expected = cluster_sums.portable(rows, labels, n_clusters, xp=xp)
    np.testing.assert_array_equal(step.mass, expected.mass)
    np.testing.assert_allclose(step.sums, expected.sums, atol=1e-5)


@pytest.mark.parametrize("order", ["C", "F", "strided", "read-only"])
def test_rows_of_any_layout(order: str) -> None:
    rows, centroids = embedded(2500, 70, 130)
    points = rows.points
    if order == "strided":
        points = np.repeat(points, 2, axis=1)[:, ::2]
    elif order == "F":
        points = np.asfortranarray(points)
    points.flags.writeable = order != "read-only"
    counts = checked(DenseRows(points, None, rows.origin), centroids)
    assert counts is not None
    assert counts.n_doubtful == 0


# ---- how many pairs are left: exact scores hide a bound that proves nothing ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_features", "n_clusters"), [(64, 200), (256, 500), (768, 300)])
def test_few_pairs_are_scored_exactly(n_features: int, n_clusters: int, dtype: str) -> None:
    rows, centroids = embedded(2500, n_features, n_clusters, dtype)
    for n_candidates in (20, 12, 8):
        counts = checked(rows, centroids)
        assert counts is not None
        assert counts.n_points == 2500
        assert counts.n_candidates < n_candidates * 2500
        assert counts.n_measured < counts.n_candidates / 2 + 250
        assert counts.n_chained < 0.05 * 2500
        assert counts.n_doubtful == counts.n_dense == 0
        centroids = moved(rows, nearest_labels(rows, centroids, xp=xp), centroids)


def test_squares_of_a_photograph_are_mostly_proved() -> None:
    grey = datasets.load_sample_image("china.jpg").mean(axis=2)[:424, :640]
    squares = grey.reshape(53, 8, 80, 8).transpose(0, 2, 1, 3).reshape(-1, 64)
    squares = squares.astype(np.float32)
    origin = squares.mean(axis=0)
    counts = checked(DenseRows(squares, None, origin), squares[::8] - origin)
    assert counts is not None
    n_tried = counts.n_points - counts.n_dense
    assert counts.n_doubtful == 0
    assert counts.n_candidates < 0.1 * n_tried * len(squares[::8])
    assert n_tried > 0


def test_twins_are_told_apart_by_the_chain_alone() -> None:
    rows, centroids = embedded(2500, 64, 500)
    twins = np.concatenate([centroids, np.nextafter(centroids, np.float32(9))])
    counts = checked(rows, twins)
    assert counts is not None
    assert counts.n_chained >= 2 * 2500 > counts.n_doubtful == 0


def test_where_bounds_are_too_wide_rows_are_scored_densely() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((20_000, 64)).astype(np.float32)
    points[:, 0] = rng.choice([-1e6, 1e6], 20_000)  # takes all bits of a code
    counts = checked(DenseRows(points), points[:400].copy())
    assert counts is not None
    assert counts.n_dear > 0
    assert counts.n_dense > 0.7 * 20_000


def test_a_sample_decides_whether_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certified, "_FEWEST_PRODUCTS", 0)
    rows, centroids = embedded(5000, 128, 600)
    assert certified.proved(rows, centroids) is not NotImplemented
    outlying = rows.points.copy()
    outlying[:, 0] = np.random.default_rng(0).choice([-1e6, 1e6], 5000)
    for points in (outlying, np.asfortranarray(outlying)):
        chosen = points[:600].copy()
        assert certified.proved(DenseRows(points), chosen) is NotImplemented
        assert certified.proved_and_added(DenseRows(points), chosen) is NotImplemented


@pytest.mark.parametrize("algorithm", ["auto", "lloyd", "hamerly"])
def test_a_fit_has_the_bits_of_one_by_the_dense_kernel(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, _ = embedded(16_000, 64, 1)
    fits = []
    for fewest, name in ((0, algorithm), (10**9, "lloyd")):
        monkeypatch.setattr(certified, "_FEWEST_PRODUCTS", fewest)
        model = KMeans(150, random_state=0, max_iter=18, algorithm=name).fit(rows.points)
        fits.append((model, model.predict(rows.points)))
    (proved, predicted), (dense, _) = fits
    np.testing.assert_array_equal(proved.cluster_centers_, dense.cluster_centers_)
    np.testing.assert_array_equal(proved.labels_, dense.labels_)
    np.testing.assert_array_equal(predicted, proved.labels_)
    assert proved.inertia_ == dense.inertia_
    assert proved.n_iter_ == dense.n_iter_ == 18


def test_plain_steps_are_taken_where_they_leave_out_scores() -> None:
    rows, centroids = embedded(21_000, 256, 200)
    bounded = bounds_for(rows, 200, "auto", xp=xp)
    assert bounded is not None
    keeps = []
    for _ in range(11):
        bounded.steps(rows, centroids, 1, 0.0, update_centroids, xp=xp)
        keeps.append(bounded.bounds.labels is not None)
    assert keeps == [False] * 10 + [True]
