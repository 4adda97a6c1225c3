"""Steps of two clusters that read few rows have the bits of plain steps."""

from collections.abc import Iterator
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from numpy.typing import NDArray

from kmeans_xp import BisectingKMeans, config_context
from kmeans_xp.kernels import (
    Bounds,
    DenseRows,
    SphereRows,
    bounded_step,
    bounded_steps,
    lloyd_step,
    means_on_sphere,
    nearest_labels,
    update_centroids,
)
from tests.certified_problems import KINDS, Problem, problem_of

pytest.importorskip("numba", reason="about kernels that numba compiles")

from kmeans_xp.kernels.for_numba.emitted.code_vectors import HAS_PRODUCTS

if not HAS_PRODUCTS:
    pytest.skip("the processor multiplies no bytes", allow_module_level=True)

from kmeans_xp.kernels.for_numba import pair_bounds, tiling

Host = NDArray[Any]

N_ROUNDS = 6
SMOOTH = np.linspace(1.0, 0.02, 128)


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    for dtype in (np.float32, np.float64):
        pair_bounds._step_tasks[np.dtype(dtype)]


def test_steps_are_plain_until_compiling_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_bounds._step_tasks, "pays", lambda *_: False)
    points = np.random.default_rng(0).standard_normal((500, 96)).astype(np.float32)
    rows, bounds = DenseRows(points), Bounds()
    totals = bounded_step(rows, points[:2].copy(), bounds, xp=xp)
    assert totals.sums.tobytes() == lloyd_step(rows, points[:2], xp=xp).sums.tobytes()
    assert bounds.labels is None


@pytest.fixture
def several_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few rows be several tasks."""
    monkeypatch.setattr(tiling, "_WORTH_A_CELL", 0)
    monkeypatch.setattr(tiling, "_WORTH_A_TASK", 1000)


def pairs_of(
    kind: str, dtype: str, n_rounds: int, *, all_wide: bool = False
) -> Iterator[tuple[int, Problem, Host, Host]]:
    """Yield seeds of problems of a kind, the problems, their points, and two of their centroids."""
    first = KINDS.index(kind)
    for seed in range(first, first + n_rounds * len(KINDS), len(KINDS)):
        problem = problem_of(seed, 300, is_wide=all_wide or seed % 2 == 1)
        pair = np.ascontiguousarray(problem.centroids.astype(dtype)[[0, -1]])
        yield seed, problem, problem.points.astype(dtype), pair


def steps(
    rows: DenseRows | SphereRows, pair: Host, n_steps: int, bounds: Bounds | None = None
) -> tuple[list[int], Bounds]:
    """Compare steps with plain ones; return how many rows each measures."""
    bounds, n_measured = bounds or Bounds(), []
    for number in range(n_steps):
        totals, plain = bounded_step(rows, pair, bounds, xp=xp), lloyd_step(rows, pair, xp=xp)
        assert totals.sums.tobytes() == plain.sums.tobytes()
        assert totals.mass.tobytes() == plain.mass.tobytes()
        np.testing.assert_array_equal(bounds.labels, nearest_labels(rows, pair, xp=xp))
        n_measured.append(bounds.n_visited)
        # Now and then centroids change places, or both move far away.
        pair = pair[::-1].copy() if number % 7 == 5 else pair
        pair = update_centroids(plain, pair, xp=xp).centroids
    return n_measured, bounds


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("most_visited", [np.inf, 60.0])
@pytest.mark.parametrize("on_sphere", [False, True])
def test_steps_in_a_call_are_single_ones(
    on_sphere: bool,
    most_visited: float,
    n_threads: int,
    dtype: str,
    several_tasks: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pair_bounds, "wait_awake", lambda _: True)
    points = np.random.default_rng(0).random((3_000, 96)).astype(dtype)
    rows: DenseRows | SphereRows = DenseRows(points, None, points.mean(axis=0))
    update = update_centroids
    if on_sphere:
        rows, update = SphereRows(points, factors=np.full(len(points), 0.1, dtype)), means_on_sphere
    pair, bounds = points[:2].copy(), Bounds()
    n_visited: list[int] = []
    of_single = Bounds()
    for n_steps in (7, 5):
        with config_context(n_threads=n_threads):
            taken, visited = bounded_steps(
                *(rows, pair, n_steps, 0.0, update, bounds, most_visited), xp=xp
            )
        assert len(visited) == len(taken.update.signals)
        assert all(each <= most_visited for each in visited[len(n_visited) == 0 : -1])
        assert len(visited) == n_steps or visited[-1] > most_visited
        for number in range(len(visited)):
            totals = bounded_step(rows, pair, of_single, xp=xp)
            updated = update(totals, pair, xp=xp)
            for found, single in zip((*taken[0], *taken[1]), (*totals, *updated), strict=True):
                assert found[number].tobytes() == single.tobytes()
            assert visited[number] == of_single.n_visited
            pair = updated.centroids
        np.testing.assert_array_equal(bounds.labels, of_single.labels)
        n_visited += visited
    assert len(n_visited) > 2


def are_exact(bounds: Bounds) -> bool:
    """Return whether the sums of all tasks are exact."""
    return bool(bounds.kept.kept[:, pair_bounds._IS_EXACT].all())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value", "ignore:divide by zero")
def test_steps_have_the_bits_of_plain_ones(kind: str, dtype: str, several_tasks: None) -> None:
    n_pairs = 0
    for seed, problem, points, pair in pairs_of(kind, dtype, N_ROUNDS):
        origin = None if problem.origin is None else problem.origin.astype(dtype)
        weights = np.arange(len(points), dtype=dtype) % 3 if seed % 5 == 4 else None
        _, bounds = steps(DenseRows(points, weights, origin), pair, 9)
        n_pairs += isinstance(bounds.kept, pair_bounds._Kept)
    assert n_pairs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value", "ignore:divide by zero")
def test_steps_of_scaled_rows_have_the_bits_of_plain_ones(
    kind: str, dtype: str, several_tasks: None
) -> None:
    n_pairs = 0
    for seed, _, points, pair in pairs_of(kind, dtype, 3, all_wide=True):
        factors = (0.5 + np.random.default_rng(seed).random(len(points))).astype(dtype)
        _, bounds = steps(SphereRows(points, factors=factors), pair, 9)
        n_pairs += isinstance(bounds.kept, pair_bounds._Kept)
    assert n_pairs


def on_one_side(n_rows: int, n_features: int) -> SphereRows:
    """Return rows of positive numbers, on a sphere."""
    points = np.random.default_rng(0).random((n_rows, n_features)).astype(np.float32)
    factors = (0.5**0.5 / np.sqrt(np.square(points).sum(axis=1))).astype(np.float32)
    return SphereRows(points, factors=factors)


def test_blocks_are_exact_where_all_sums_are_not() -> None:
    """Rows of a sphere have more digits than the sums of all hold, but not than those of few."""
    rows = on_one_side(3_000, 96)
    size = tiling.rows_of_a_block.py_func(96, 4)
    rows.points[[70, 1_900], 5] = 1e-20 / 3.0  # each in a block of its own
    _, bounds = steps(rows, rows.take(np.arange(2)).points, 12)
    exact = bounds.kept.are_exact > 0
    assert not are_exact(bounds)
    assert np.flatnonzero(~exact[: -(-3_000 // size)]).tolist() == [70 // size, 1_900 // size]


def test_blocks_of_a_finer_unit_are_not_exact() -> None:
    """The least number of a block decides, by its ratio to what all of them may add up to."""
    size = tiling.rows_of_a_block.py_func(64, 4)
    least = size * 2.0**-28
    for number, is_exact in ((1.01 * least, True), (0.99 * least, False), (0.0, True)):
        points = np.ones((1_000, 64), np.float32)
        points[::7, 1] = np.float32(1.0 / 3.0)
        points[40, 7] = np.float32(number)
        factors = np.full(1_000, 0.1, np.float32)
        _, bounds = steps(SphereRows(points, factors=factors), np.eye(2, 64, dtype=np.float32), 4)
        assert bounds.kept.are_exact[40 // size] == is_exact


def test_codes_of_rows_on_one_side_are_those_less_a_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, n_measured = on_one_side(4_000, 128), []
    for has_middle in (True, False):
        if not has_middle:
            none = np.zeros_like(rows.points[0])
            monkeypatch.setattr(pair_bounds, "_middle_of", lambda _, none=none: none)
        pair, bounds, n_here = rows.take(np.arange(2)).points, Bounds(), 0
        for _ in range(10):
            totals = bounded_step(rows, pair, bounds, xp=xp)
            pair = means_on_sphere(totals, pair, xp=xp).centroids
            n_here += bounds.n_visited
        n_measured.append(n_here)
    assert n_measured[0] < 0.8 * n_measured[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_near_each_other_and_far_from_zero_are_doubted_by_their_length(dtype: str) -> None:
    """Scores of whole rows are rounded by more than those of rows less the middle."""
    for seed in range(5):
        rng, eps = np.random.default_rng(seed), np.finfo(dtype).eps
        noise = 1.0 + 3.0 * eps * rng.standard_normal((1_000, 64))
        points = ((rng.random(64) + 0.5) * noise).astype(dtype)
        factors = np.sqrt(0.5 / np.square(points, dtype=np.float64).sum(axis=1)).astype(dtype)
        rows = SphereRows(points, factors=factors)
        steps(rows, rows.take(np.arange(2)).points * points.dtype.type(1e-4), 1)


def test_scaled_and_plain_rows_of_the_same_points_are_not_the_same() -> None:
    rows = on_one_side(500, 96)
    pair, bounds = rows.take(np.arange(2)).points, Bounds()
    for each in (DenseRows(rows.points), rows, DenseRows(rows.points)):
        steps(each, pair, 1, bounds)


def test_many_rows_that_no_product_proves_are_scored_in_panels() -> None:
    """Equal centroids leave all rows in doubt; few rows in doubt are scored one by one."""
    rows = on_one_side(1_003, 64)
    pair = rows.take(np.array([5, 5])).points
    for n_doubtful in (1_003, 40, 3):
        scaled = rows.points.copy()
        scaled[n_doubtful:, :32] += 3.0
        steps(SphereRows(scaled, factors=rows.factors), pair, 2)
        twin = pair.copy()
        twin[1, ::2] = np.nextafter(twin[1, ::2], np.float32(1.0))
        steps(SphereRows(scaled, factors=rows.factors), twin, 3)


@pytest.mark.parametrize("n_features", [2**15, 2**15 + 1])
def test_rows_of_which_steps_add_up_by_features_are_left_to_others(
    n_features: int, several_tasks: None
) -> None:
    points = np.random.default_rng(0).lognormal(size=(40, n_features)).astype(np.float32)
    _, bounds = steps(DenseRows(points), points[:2].copy(), 2)
    assert isinstance(bounds.kept, pair_bounds._Kept) == (n_features == 2**15)


@pytest.mark.parametrize(("dtype", "tiny"), [("float32", 1.4e-45), ("float64", 2.7e-162)])
def test_a_direction_of_hardly_any_length_proves_nothing(dtype: str, tiny: float) -> None:
    half = np.zeros((1_000, 128))
    half[:, :64] = 1.6
    half[:, 64] = 0.2 * np.random.default_rng(0).standard_normal(1_000)
    rows = DenseRows(np.concatenate([half, -half]).astype(dtype))
    short, across = np.zeros((2, 2, 128), dtype)
    short[1, :64] = tiny
    across[:, 64] = [-1.0, -0.9]
    bounds = Bounds()
    for pair in (short, short, across):
        totals, plain = bounded_step(rows, pair, bounds, xp=xp), lloyd_step(rows, pair, xp=xp)
        assert totals.sums.tobytes() == plain.sums.tobytes()
        np.testing.assert_array_equal(bounds.labels, nearest_labels(rows, pair, xp=xp))


def test_bounds_of_a_pair_are_not_those_of_more() -> None:
    points = np.random.default_rng(0).standard_normal((500, 96)).astype(np.float32)
    rows, bounds = DenseRows(points), Bounds()
    for n_clusters in (2, 3, 2):
        centroids = points[:n_clusters].copy()
        totals = bounded_step(rows, centroids, bounds, xp=xp)
        assert totals.sums.tobytes() == lloyd_step(rows, centroids, xp=xp).sums.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["contiguous", "every other row"])
def test_rows_with_others_between_them(layout: str, dtype: str) -> None:
    points = np.random.default_rng(0).standard_normal((3_000, 96)).astype(dtype)
    if layout == "every other row":
        points = points[::2]
    steps(DenseRows(points, None, points.mean(axis=0)), points[:2].copy(), 8)


def test_sums_that_are_not_exact_read_the_blocks_of_rows_that_move() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((1_000, 64))
    points[:, 0] = np.where(np.arange(1_000) % 2 == 0, 4.0, -4.0)
    points[[70, 999], 0] = 0.0
    rows, bounds, pair, sums = DenseRows(points), Bounds(), np.zeros((2, 64)), {}
    for number, about in enumerate((-0.5, 0.5, -0.5, 0.5, -0.5, 0.5)):
        pair[:, 0] = about - 4.0, about + 4.0  # the two rows in the middle go over and back
        if number == 4:
            blocks = np.arange(1_000) // tiling.rows_of_a_block.py_func(64, 8)
            points[~np.isin(blocks, blocks[[70, 999]])] = np.nan
        totals = bounded_step(rows, pair, bounds, xp=xp)
        if number < 4:
            plain = lloyd_step(rows, pair, xp=xp)
            assert totals.mass.tolist() == plain.mass.tolist()
            sums[about] = plain.sums.tobytes()
        assert totals.sums.tobytes() == sums[about]
        assert bounds.labels is not None
        assert (bounds.labels[[70, 999]] == (about < 0.0)).all()
    assert not are_exact(bounds)


def test_where_nothing_moves_few_rows_are_measured() -> None:
    rng = np.random.default_rng(0)
    points = (rng.standard_normal((6_000, 128)) * SMOOTH).astype(np.float32)
    rows = DenseRows(points, None, points.mean(axis=0))
    centroids, bounds = points[:2].copy(), Bounds()
    n_measured = []
    for _ in range(4):
        bounded_step(rows, centroids, bounds, xp=xp)
        n_measured.append(bounds.n_visited)
    assert are_exact(bounds)
    assert 0 < max(n_measured) < 0.1 * 6_000  # what bytes lose leaves these in doubt


def test_a_run_measures_few_rows_at_its_end() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, 128))
    points = centres[rng.integers(40, size=6_000)] + 0.5 * rng.standard_normal((6_000, 128))
    points = points.astype(np.float32)
    rows, bounds, n_measured = DenseRows(points), Bounds(), []
    pair = points[:2].copy()
    for _ in range(20):
        pair = update_centroids(bounded_step(rows, pair, bounds, xp=xp), pair, xp=xp).centroids
        n_measured.append(bounds.n_visited)
    assert sum(n_measured) < 0.6 * 20 * 6_000
    assert max(n_measured[-5:]) < 0.1 * 6_000


@pytest.mark.parametrize(
    ("case", "is_exact"),
    [("uniform", True), ("integers", True), ("tiny number", False), ("weights", False)],
)
def test_which_sums_are_exact(case: str, is_exact: bool) -> None:
    rng = np.random.default_rng(0)
    points = rng.random((2_000, 64)).astype(np.float32)
    weights = np.full(2_000, 0.1, np.float32) if case == "weights" else None
    if case == "integers":
        points = rng.integers(-50, 50, (2_000, 64)).astype(np.float32)
    if case == "tiny number":
        points[1234, 5] = 1e-20 / 3.0
    _, bounds = steps(DenseRows(points, weights), points[:2].copy(), 6)
    assert are_exact(bounds) == is_exact


def test_the_unit_of_exact_sums_is_sharp() -> None:
    """Numbers a bit finer than what float64 sums hold are noticed in whichever row they are."""
    points = np.ones((1_000, 64), np.float32)
    for row in (0, 40, 999):
        fine = points.copy()
        fine[row, 7] = np.float32(2.0**-30)
        _, bounds = steps(DenseRows(fine), np.eye(2, 64, dtype=np.float32), 4)
        assert are_exact(bounds)
        fine[row, 7] = np.float32(2.0**-45)
        _, bounds = steps(DenseRows(fine), np.eye(2, 64, dtype=np.float32), 4)
        assert not are_exact(bounds)


@pytest.mark.parametrize(("dtype", "n_features"), [("float32", 128), ("float64", 256)])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_bisecting_has_the_bits_of_plain_steps(metric: str, dtype: str, n_features: int) -> None:
    points = np.random.default_rng(3).random((9_000, n_features)).astype(dtype)
    plain, bounded = (
        BisectingKMeans(4, random_state=0, algorithm=name, metric=metric).fit(points)
        for name in ("lloyd", "auto")
    )
    assert bounded.cluster_centers_.tobytes() == plain.cluster_centers_.tobytes()
    np.testing.assert_array_equal(bounded.labels_, plain.labels_)
    assert bounded.inertia_ == plain.inertia_
