"""Rows in memory: what is asked of them, against NumPy; and what happens when memory runs out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conftest import Library
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.devices import (
    device_of,
    from_host,
    is_out_of_memory,
    memory,
    namespace_of,
    shrink_tiles,
    tile_shape,
)
from kmeans_xp.kernels import (
    DenseRows,
    assigned_sq_distances,
    cluster_sums,
    lloyd_step,
    nearest_labels,
    update_centroids,
)
from tests import oracle
from tests.strategies import library_without_float64

N_POINTS, N_FEATURES = 60, 3

rng = np.random.default_rng(0)
POINTS = rng.integers(-5, 6, (N_POINTS, N_FEATURES)).astype(np.float64)
WEIGHTS = rng.integers(0, 4, N_POINTS).astype(np.float64)
ORIGIN = np.array([1.0, -2.0, 3.0])
CENTROIDS = np.array([[0.0, 0.0, 0.0], [4.0, 1.0, -3.0], [-4.0, 5.0, 1.0]])

#: the last in float64 before 1, which float32 rounds to 1
ALMOST_ONE = float(np.nextafter(1.0, 0.0))


def blocks_of(
    library: Library,
    points: Any = POINTS,
    weights: Any = None,
    origin: Any = None,
    dtype: str = "float32",
) -> InMemory:
    computing = "float32" if dtype == "float16" else dtype
    placed = (
        None if values is None else library.asarray(values, computing)
        for values in (weights, origin)
    )
    return InMemory(DenseRows(library.asarray(points, dtype), *placed), xp=library.xp)


def test_blocks_tell_what_their_rows_are(library: Library) -> None:
    blocks = blocks_of(library)
    assert blocks.n_points == N_POINTS
    assert blocks.device == library.device
    assert blocks.dtype == library.xp.float32
    assert blocks.n_weighted() is None


@pytest.mark.needs("float16")
def test_half_precision_is_computed_in_float32(library: Library) -> None:
    assert blocks_of(library, dtype="float16").dtype == library.xp.float32


@pytest.mark.needs("float64")
def test_float64_stays(library: Library) -> None:
    assert blocks_of(library, dtype="float64").dtype == library.xp.float64


def test_rows_with_weight_are_counted(library: Library) -> None:
    assert blocks_of(library, weights=WEIGHTS).n_weighted() == np.count_nonzero(WEIGHTS)


def test_rows_can_be_kept_out_of_a_draw(library: Library) -> None:
    uniforms = np.random.default_rng(0).random(200)
    without = np.flatnonzero(WEIGHTS)[1:][::-1]
    drawn = blocks_of(library, weights=WEIGHTS).draw(uniforms, without=without)
    assert set(library.to_host(drawn).tolist()) == {np.flatnonzero(WEIGHTS)[0]}


def test_a_kernel_gets_rows_then_what_is_per_row_then_operands(library: Library) -> None:
    blocks = blocks_of(library)

    def spy(*arguments: Any, xp: Any) -> tuple[Any, ...]:
        return (*arguments, xp)

    expected = (blocks.rows, "a", "b", 1, 2, library.xp)
    assert blocks.reduce(spy, 1, 2, per_row=("a", "b")) == expected
    assert blocks.map_rows(spy, 1, 2, per_row=("a", "b")) == expected


def test_reduce_sums_the_rows_of_clusters(library: Library) -> None:
    blocks = blocks_of(library, weights=WEIGHTS, origin=ORIGIN)
    labels = np.arange(N_POINTS) % 4
    totals = blocks.reduce(cluster_sums, 5, per_row=(library.asarray(labels, "int32"),))
    sums, mass = oracle.cluster_sums(POINTS - ORIGIN, WEIGHTS, labels, 5)
    np.testing.assert_array_equal(library.to_host(totals.sums), sums)
    np.testing.assert_array_equal(library.to_host(totals.mass), mass)


def test_map_rows_gives_results_that_can_be_handed_back(library: Library) -> None:
    blocks, centroids = blocks_of(library, origin=ORIGIN), library.asarray(CENTROIDS, "float32")
    labels = blocks.map_rows(nearest_labels, centroids)
    distances = blocks.map_rows(assigned_sq_distances, centroids, per_row=(labels,))
    expected = oracle.sq_distances(POINTS - ORIGIN, CENTROIDS)
    np.testing.assert_array_equal(library.to_host(labels), expected.argmin(axis=1))
    np.testing.assert_array_equal(library.to_host(distances), expected.min(axis=1))


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["no weights", "weights"])
@pytest.mark.parametrize("origin", [None, ORIGIN], ids=["no origin", "origin"])
def test_take_gives_rows_relative_to_the_origin(
    weights: Any, origin: Any, library: Library
) -> None:
    indices = np.array([7, 0, 59, 7])
    taken = blocks_of(library, weights=weights, origin=origin).take(library.asarray(indices))
    expected = POINTS[indices] if origin is None else POINTS[indices] - origin
    np.testing.assert_array_equal(library.to_host(taken.points), expected)
    assert taken.points.dtype == library.xp.float32
    assert taken.origin is None
    if weights is None:
        assert taken.weights is None
    else:
        np.testing.assert_array_equal(library.to_host(taken.weights), weights[indices])


@pytest.mark.needs("float16")
def test_take_gives_half_precision_in_float32(library: Library) -> None:
    taken = blocks_of(library, dtype="float16", origin=ORIGIN).take(library.asarray([3, 4]))
    assert taken.points.dtype == library.xp.float32
    np.testing.assert_array_equal(library.to_host(taken.points), POINTS[3:5] - ORIGIN)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["no weights", "weights"])
@pytest.mark.parametrize("seed", range(3))
def test_draw_repeats_the_choice_of_random_state(weights: Any, seed: int, library: Library) -> None:
    chances = np.ones(N_POINTS) if weights is None else weights
    chosen = np.random.RandomState(seed).choice(N_POINTS, 200, p=chances / chances.sum())
    uniforms = np.random.RandomState(seed).random_sample(200)
    drawn = blocks_of(library, weights=weights).draw(uniforms)
    assert namespace_of(drawn) is namespace_of(library.asarray([0]))
    assert device_of(drawn) == library.device
    np.testing.assert_array_equal(library.to_host(drawn), chosen)


@pytest.mark.parametrize("n_points", [1, 3, 7, 1000])
def test_draw_without_weights_stays_in_range(n_points: int, library: Library) -> None:
    drawn = blocks_of(library, np.zeros((n_points, 1))).draw(np.array([0.0, ALMOST_ONE]))
    np.testing.assert_array_equal(library.to_host(drawn), [0, n_points - 1])


@pytest.mark.parametrize("without", [[5], [59, 0, 17], list(range(1, 60, 2))], ids=len)
def test_draw_without_some_rows_repeats_the_choice_among_the_rest(
    without: list[int], library: Library
) -> None:
    chances = WEIGHTS.copy()
    chances[without] = 0.0
    chosen = np.random.RandomState(0).choice(N_POINTS, 200, p=chances / chances.sum())
    uniforms = np.random.RandomState(0).random_sample(200)
    blocks = blocks_of(library, weights=WEIGHTS)
    drawn = blocks.draw(uniforms, without=np.array(without))
    np.testing.assert_array_equal(library.to_host(drawn), chosen)
    np.testing.assert_array_equal(library.to_host(blocks.whole.weights), WEIGHTS)


some_zeros = pytest.mark.parametrize(
    "weights", [[1, 0], [0, 1], [0, 0, 5, 0, 0], [0, 1, 0, 2, 0, 3, 0, 0]], ids=str
)


@some_zeros
def test_a_row_without_weight_is_never_drawn(weights: list[float], library: Library) -> None:
    check_that_only_weight_is_drawn(weights, library)


@some_zeros
def test_rounding_to_float32_draws_no_row_without_weight(weights: list[float]) -> None:
    check_that_only_weight_is_drawn(weights, library_without_float64())


def check_that_only_weight_is_drawn(weights: list[float], library: Library) -> None:
    blocks = blocks_of(library, np.zeros((len(weights), 1)), weights)
    uniforms = np.concatenate([np.linspace(0.0, 0.99, 50), [0.0, 1e-300, ALMOST_ONE]])
    drawn = library.to_host(blocks.draw(uniforms))
    assert (np.array(weights)[drawn] > 0).all()


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["no weights", "weights"])
def test_draw_by_takes_the_row_that_reaches_a_share_of_the_total(
    weights: Any, library: Library
) -> None:
    values = np.arange(N_POINTS) % 7.0
    uniforms = np.arange(1.0, 64.0) / 64.0  # shares that no dtype rounds
    blocks = blocks_of(library, weights=weights)
    drawn = blocks.draw_by(library.asarray(values, "float32"), library.asarray(uniforms, "float32"))
    mass = values if weights is None else values * weights
    expected = [oracle.draw(mass, uniform) for uniform in uniforms]
    np.testing.assert_array_equal(library.to_host(drawn), expected)


def test_draw_by_of_nothing_but_zeros_gives_a_row(library: Library) -> None:
    zeros, uniforms = np.zeros(N_POINTS), np.array([0.0, 0.5, ALMOST_ONE])
    drawn = library.to_host(
        blocks_of(library).draw_by(
            library.asarray(zeros, "float32"), library.asarray(uniforms, "float32")
        )
    )
    assert ((drawn >= 0) & (drawn < N_POINTS)).all()


@pytest.mark.needs("float64")
def test_draw_by_accumulates_in_float64(library: Library) -> None:
    # A running total in float32 would stay at the first value: each 1 is lost.
    values = np.ones(N_POINTS)
    values[0] = 2.0**24
    uniforms = (np.cumsum(values) - 0.5) / values.sum()
    drawn = blocks_of(library).draw_by(
        library.asarray(values, "float32"), library.asarray(uniforms, "float64")
    )
    np.testing.assert_array_equal(library.to_host(drawn), np.arange(N_POINTS))


def test_neither_taking_nor_drawing_waits_for_the_device(library: Library) -> None:
    stats = pytest.importorskip("cupy_on_cpu_stats", reason="needs counters of copies and waits")
    blocks = blocks_of(library, weights=WEIGHTS, origin=ORIGIN)
    values = library.asarray(np.ones(N_POINTS), "float32")
    uniforms = library.asarray(np.linspace(0.1, 0.9, 5))
    counters = ("d2h_count", "h2d_count", "stream_syncs", "device_syncs", "event_syncs")
    before = stats.read()
    blocks.take(blocks.draw_by(values, uniforms))
    after = stats.read()
    assert {key: after[key] - before[key] for key in counters} == dict.fromkeys(counters, 0)


def test_a_repeated_step_gives_what_the_step_gives(library: Library) -> None:
    blocks = blocks_of(library, weights=WEIGHTS)

    def step(centroids: Any) -> Any:
        totals = blocks.reduce(lloyd_step, centroids)
        return (*totals, *update_centroids(totals, centroids, xp=library.xp))

    def bytes_of(arrays: Any) -> list[bytes]:
        return [library.to_host(array).tobytes() for array in arrays]

    starts = [library.asarray(CENTROIDS + shift, "float32") for shift in range(20)]
    expected = [bytes_of(step(start)) for start in starts]
    repeated, results = blocks.repeated(step), []
    for number, start in enumerate(starts, start=1):
        results.append(repeated(start))
        # A result stays as it is until the third call after it.
        kept = slice(max(0, number - 3), number)
        assert [bytes_of(result) for result in results[kept]] == expected[kept]


@pytest.fixture
def tiles_of_512_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 512 rows of one column at first, of 64 at the least."""
    monkeypatch.setattr(memory, "_n_halvings", 0)
    monkeypatch.setattr(memory, "_CPU_TILE_BYTES", 512 * 8)
    monkeypatch.setattr(memory, "_ACCELERATOR_TILE_BYTES", 512 * 8)
    monkeypatch.setattr(memory, "_SMALLEST_TILE_BYTES", 64 * 8)


class Greedy:
    """A kernel that fails some times, and notes how many rows a tile has at each call."""

    def __init__(self, n_failures: float, error: Exception) -> None:
        self.n_failures = n_failures
        self.error = error
        self.n_rows: list[int] = []

    def __call__(self, rows: Rows, *, xp: Any) -> Any:
        self.n_rows.append(tile_shape(rows.points, 1, xp=xp)[0])
        if len(self.n_rows) <= self.n_failures:
            raise self.error
        return xp.sum(rows.points)


Run = Callable[[InMemory, Any], Any]
runs = pytest.mark.parametrize("run", [InMemory.reduce, InMemory.map_rows])


@runs
@pytest.mark.usefixtures("tiles_of_512_rows")
def test_tiles_are_halved_until_they_fit(run: Run, library: Library) -> None:
    kernel = Greedy(2, MemoryError("no room"))
    total = run(blocks_of(library, np.ones((600, 1))), kernel)
    assert float(library.to_host(total)) == 600.0
    assert kernel.n_rows == [512, 256, 128]


@runs
@pytest.mark.usefixtures("tiles_of_512_rows")
def test_what_never_fits_says_what_would(run: Run, library: Library) -> None:
    kernel = Greedy(np.inf, MemoryError("no room"))
    with pytest.raises(MemoryError, match=r"smallest tiles.* 600 x 1 .*fewer rows") as caught:
        run(blocks_of(library, np.ones((600, 1))), kernel)
    assert caught.value.__cause__ is kernel.error
    assert str(library.device) in str(caught.value)
    assert kernel.n_rows == [512, 256, 128, 64]


@runs
@pytest.mark.usefixtures("tiles_of_512_rows")
def test_another_error_is_raised_at_once(run: Run, library: Library) -> None:
    kernel = Greedy(np.inf, RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        run(blocks_of(library, np.ones((600, 1))), kernel)
    assert kernel.n_rows == [512]
    assert tile_shape(library.asarray(np.ones((600, 1))), 1, xp=library.xp) == (512, 1)


def test_tiles_shrink_to_the_smallest_on_every_device(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_n_halvings", 0)
    while shrink_tiles():
        pass
    smallest = memory._SMALLEST_TILE_BYTES // 8
    points = from_host(
        np.zeros((2 * smallest, 1), np.float32), xp=library.xp, device=library.device
    )
    assert tile_shape(points, 1, xp=library.xp) == (smallest, 1)


def test_the_error_of_a_library_without_memory_is_known(library: Library) -> None:
    # More than an address space holds, whatever the system promises.
    with pytest.raises(Exception, match=r"(?i)memory|allocat") as caught:
        library.xp.empty((2**50,), dtype=library.xp.float32, device=library.device)
    assert is_out_of_memory(caught.value)
