"""The methods of blocks, compared with NumPy; and the behaviour when memory runs out."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import array_api_compat.numpy
import numpy as np
import pytest

from conftest import Library
from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans
from kmeans_xp.blocks import Blocks, of
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.devices import choose, is_out_of_memory, memory, shrink_tiles, tile_shape
from kmeans_xp.kernels import (
    DenseRows,
    SphereRows,
    assigned_sq_distances,
    cluster_sums,
    nearest_labels,
)
from tests import oracle
from tests.doubles import Chopped

N_POINTS, N_FEATURES = 60, 3

rng = np.random.default_rng(0)
POINTS = rng.integers(-5, 6, (N_POINTS, N_FEATURES)).astype(np.float64)
WEIGHTS = rng.integers(0, 4, N_POINTS).astype(np.float64)
ORIGIN = np.array([1.0, -2.0, 3.0])
CENTROIDS = np.array([[0.0, 0.0, 0.0], [4.0, 1.0, -3.0], [-4.0, 5.0, 1.0]])


def rows_of(
    library: Library,
    points: Any = POINTS,
    weights: Any = None,
    origin: Any = None,
    dtype: str = "float32",
) -> DenseRows:
    computing = "float32" if dtype == "float16" else dtype
    placed = (
        None if values is None else library.asarray(values, computing)
        for values in (weights, origin)
    )
    return DenseRows(library.asarray(points, dtype), *placed)


def in_one_piece(rows: DenseRows, xp: Any) -> Blocks:
    return InMemory(rows, xp=xp)


def in_three(rows: DenseRows, xp: Any) -> Blocks:
    return Chopped(rows, (1, rows.n_points - 8, 7), xp=xp)


Make = Callable[[DenseRows, Any], Blocks]

both_kinds = pytest.mark.parametrize("make", [in_one_piece, in_three])


@both_kinds
def test_blocks_tell_what_their_rows_are(make: Make, library: Library) -> None:
    blocks = make(rows_of(library), library.xp)
    assert blocks.n_points == sum(blocks.sizes) == N_POINTS
    assert blocks.n_features == N_FEATURES
    assert blocks.device == library.device
    assert blocks.dtype == library.xp.float32
    assert not blocks.is_weighted
    assert make(rows_of(library, weights=WEIGHTS), library.xp).is_weighted


def test_rows_in_one_piece_are_had_as_a_whole(library: Library) -> None:
    rows = rows_of(library)
    assert in_one_piece(rows, library.xp).whole is rows
    assert in_one_piece(rows, library.xp).sizes == (N_POINTS,)
    assert in_three(rows, library.xp).whole is None


@pytest.mark.needs("float16")
def test_half_precision_is_computed_in_float32(library: Library) -> None:
    blocks = in_one_piece(rows_of(library, dtype="float16"), library.xp)
    assert blocks.dtype == library.xp.float32


@pytest.mark.needs("float64")
def test_float64_stays(library: Library) -> None:
    blocks = in_one_piece(rows_of(library, dtype="float64"), library.xp)
    assert blocks.dtype == library.xp.float64


class Spy:
    """A function that notes what it is called with, and gives its number among the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, rows: Any, *others: Any, xp: Any) -> int:
        self.calls.append((rows, *others, xp))
        return len(self.calls)


@both_kinds
def test_a_function_gets_rows_then_what_is_per_row_then_operands(
    make: Make, library: Library
) -> None:
    blocks = make(rows_of(library), library.xp)
    host = np.arange(N_POINTS)
    values = blocks.cut(library.asarray(host, "int32"))
    for call in (blocks.reduce, blocks.map_rows):
        spy = Spy()
        call(spy, 1, "b", per_row=(values, blocks.starts))
        rows, parts, starts, *operands = zip(*spy.calls, strict=True)
        points = np.concatenate([library.to_host(each.points) for each in rows])
        np.testing.assert_array_equal(points, POINTS)
        given = np.concatenate([library.to_host(part) for part in parts])
        np.testing.assert_array_equal(given, host)
        assert tuple(each.n_points for each in rows) == blocks.sizes
        assert starts == tuple(np.cumsum([0, *blocks.sizes[:-1]]))
        assert list(zip(*operands, strict=True)) == [(1, "b", library.xp)] * len(rows)


def test_partial_results_are_merged_in_the_order_of_the_blocks(library: Library) -> None:
    blocks, merged = in_three(rows_of(library), library.xp), []

    def merge(left: Any, right: Any) -> Any:
        merged.append((left, right))
        return left, right

    assert blocks.reduce(Spy(), merge=merge) == ((1, 2), 3)
    assert in_one_piece(rows_of(library), library.xp).reduce(Spy(), merge=merge) == 1
    assert merged == [(1, 2), ((1, 2), 3)]


@both_kinds
def test_reduce_sums_the_rows_of_clusters(make: Make, library: Library) -> None:
    blocks = make(rows_of(library, weights=WEIGHTS, origin=ORIGIN), library.xp)
    labels = np.arange(N_POINTS) % 4
    per_row = (blocks.cut(library.asarray(labels, "int32")),)
    totals = blocks.reduce(cluster_sums, 5, per_row=per_row)
    sums, mass = oracle.cluster_sums(POINTS - ORIGIN, WEIGHTS, labels, 5)
    np.testing.assert_array_equal(library.to_host(totals.sums), sums)
    np.testing.assert_array_equal(library.to_host(totals.mass), mass)


@both_kinds
def test_map_rows_gives_results_that_can_be_handed_back(make: Make, library: Library) -> None:
    blocks = make(rows_of(library, origin=ORIGIN), library.xp)
    centroids = library.asarray(CENTROIDS, "float32")
    labels = blocks.map_rows(nearest_labels, centroids)
    distances = blocks.map_rows(assigned_sq_distances, centroids, per_row=(labels,))
    expected = oracle.sq_distances(POINTS - ORIGIN, CENTROIDS)
    np.testing.assert_array_equal(library.to_host(labels.whole()), expected.argmin(axis=1))
    np.testing.assert_array_equal(library.to_host(distances.whole()), expected.min(axis=1))


@both_kinds
def test_results_for_each_row_are_reduced_without_a_visit_to_the_rows(
    make: Make, library: Library
) -> None:
    blocks = make(rows_of(library), library.xp)
    values, factors = np.arange(N_POINTS), np.arange(N_POINTS) % 3
    ours, others = (blocks.cut(library.asarray(each, "float32")) for each in (values, factors))
    n_visits = getattr(blocks, "n_visits", 0)

    def product(ours: Any, others: Any, scale: float, *, xp: Any) -> Any:
        return xp.sum(ours * others) * scale

    total = ours.reduce(product, 2.0, per_row=(others,))
    assert float(library.to_host(total)) == 2.0 * (values @ factors)
    assert getattr(blocks, "n_visits", 0) == n_visits


@both_kinds
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["no weights", "weights"])
@pytest.mark.parametrize("origin", [None, ORIGIN], ids=["no origin", "origin"])
def test_take_gives_rows_relative_to_the_origin(
    weights: Any, origin: Any, make: Make, library: Library
) -> None:
    indices = np.array([7, 0, 59, 7])
    blocks = make(rows_of(library, weights=weights, origin=origin), library.xp)
    taken = blocks.take(library.asarray(indices))
    expected = POINTS[indices] if origin is None else POINTS[indices] - origin
    np.testing.assert_array_equal(library.to_host(taken.points), expected)
    assert taken.points.dtype == library.xp.float32
    assert taken.origin is None
    if weights is None:
        assert taken.weights is None
    else:
        np.testing.assert_array_equal(library.to_host(taken.weights), weights[indices])


@both_kinds
@pytest.mark.needs("float16")
def test_take_gives_half_precision_in_float32(make: Make, library: Library) -> None:
    blocks = make(rows_of(library, dtype="float16", origin=ORIGIN), library.xp)
    taken = blocks.take(library.asarray([3, 4]))
    assert taken.points.dtype == library.xp.float32
    np.testing.assert_array_equal(library.to_host(taken.points), POINTS[3:5] - ORIGIN)


@both_kinds
def test_rows_can_be_seen_from_another_origin(make: Make, library: Library) -> None:
    blocks = make(rows_of(library, weights=WEIGHTS, origin=ORIGIN), library.xp)
    for origin, expected in ((None, POINTS), (ORIGIN + 1.0, POINTS - ORIGIN - 1.0)):
        placed = None if origin is None else library.asarray(origin, "float32")
        taken = blocks.seen_from(placed).take(library.asarray(np.arange(N_POINTS)))
        np.testing.assert_array_equal(library.to_host(taken.points), expected)
        np.testing.assert_array_equal(library.to_host(taken.weights), WEIGHTS)
    again = blocks.take(library.asarray([0]))
    np.testing.assert_array_equal(library.to_host(again.points), POINTS[:1] - ORIGIN)


@pytest.fixture
def tiles_of_512_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 512 rows of one column at first, of 64 at the least."""
    monkeypatch.setattr(memory, "_n_halvings", 0)
    monkeypatch.setattr(memory, "_CPU_TILE_BYTES", 512 * 8)
    monkeypatch.setattr(memory, "_ACCELERATOR_TILE_BYTES", 512 * 8)
    monkeypatch.setattr(memory, "_SMALLEST_TILE_BYTES", 64 * 8)


class Greedy:
    """A function that fails some times, and notes how many rows a tile has at each call."""

    def __init__(self, n_failures: float, error: Exception) -> None:
        self.n_failures = n_failures
        self.error = error
        self.n_rows: list[int] = []

    def __call__(self, rows: DenseRows, *, xp: Any) -> Any:
        self.n_rows.append(tile_shape(rows, 1, xp=xp)[0])
        if len(self.n_rows) <= self.n_failures:
            raise self.error
        return xp.sum(rows.points, axis=0)


def in_two(rows: DenseRows, xp: Any) -> Blocks:
    return Chopped(rows, (590, 10), xp=xp)


def reduced(blocks: Blocks, function: Any) -> Any:
    return blocks.reduce(function)


def mapped(blocks: Blocks, function: Any) -> Any:
    return blocks.map_rows(function).whole()


Run = Callable[[Blocks, Any], Any]
runs = pytest.mark.parametrize("run", [reduced, mapped])
one_or_two = pytest.mark.parametrize("make", [in_one_piece, in_two])


def ones(library: Library, make: Make) -> Blocks:
    return make(rows_of(library, np.ones((600, 1))), library.xp)


@runs
@one_or_two
@pytest.mark.usefixtures("tiles_of_512_rows")
def test_tiles_are_halved_until_they_fit(run: Run, make: Make, library: Library) -> None:
    function, blocks = Greedy(2, MemoryError("no room")), ones(library, make)
    assert library.to_host(run(blocks, function)).sum() == 600.0
    # Those of the blocks after it are as small.
    assert function.n_rows == [512, 256, 128, *(min(128, size) for size in blocks.sizes[1:])]


@runs
@one_or_two
@pytest.mark.usefixtures("tiles_of_512_rows")
def test_what_never_fits_says_what_would(run: Run, make: Make, library: Library) -> None:
    function, blocks = Greedy(np.inf, MemoryError("no room")), ones(library, make)
    of_block = rf"smallest tiles.* {blocks.sizes[0]} x 1 .*fewer rows"
    with pytest.raises(MemoryError, match=of_block) as caught:
        run(blocks, function)
    assert caught.value.__cause__ is function.error
    assert str(library.device) in str(caught.value)
    assert function.n_rows == [512, 256, 128, 64]


@runs
@one_or_two
@pytest.mark.usefixtures("tiles_of_512_rows")
def test_another_error_is_raised_at_once(run: Run, make: Make, library: Library) -> None:
    function, rows = (
        Greedy(np.inf, RuntimeError("something else")),
        rows_of(library, np.ones((600, 1))),
    )
    with pytest.raises(RuntimeError, match="something else"):
        run(make(rows, library.xp), function)
    assert function.n_rows == [512]
    assert tile_shape(rows, 1, xp=library.xp) == (512, 1)


def test_tiles_shrink_to_the_smallest_on_every_device(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_n_halvings", 0)
    while shrink_tiles():
        pass
    smallest = memory._SMALLEST_TILE_BYTES // 8
    rows = rows_of(library, np.zeros((2 * smallest, 1)))
    assert tile_shape(rows, 1, xp=library.xp) == (smallest, 1)


def test_the_error_of_a_library_without_memory_is_known(library: Library) -> None:
    # More than an address space holds, whatever the system promises.
    with pytest.raises(Exception, match=r"(?i)memory|allocat") as caught:
        library.xp.empty((2**50,), dtype=library.xp.float32, device=library.device)
    assert is_out_of_memory(caught.value, xp=library.xp)


def test_fits_copy_rows_that_lie_apart_if_they_fit_a_tile(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = library.asarray(np.tile(POINTS, (1, 20)), "float32")
    few_columns = wide[:, :N_FEATURES]
    placement = choose(few_columns)
    if placement.xp is not array_api_compat.numpy:
        pytest.skip("rows of other libraries are read as they lie")
    made = [of(few_columns, None, placement, is_revisited=revisits) for revisits in (True, False)]
    assert [each.whole.points.flags.c_contiguous for each in made] == [True, False]
    for each in made:
        np.testing.assert_array_equal(each.whole.points, POINTS)
    monkeypatch.setattr(memory, "_CPU_TILE_BYTES", POINTS.size * 4 - 1)
    monkeypatch.setattr(memory, "_SMALLEST_TILE_BYTES", 1)
    larger = of(few_columns, None, placement, is_revisited=True)
    assert not larger.whole.points.flags.c_contiguous


@pytest.mark.parametrize("is_scaled", [False, True])
def test_to_take_some_rows_does_not_copy_all(is_scaled: bool) -> None:
    for given in (np.ones((20_000, 40))[:, :8], np.ones((20_000, 8), order="F")):
        factors = np.ones(len(given))
        rows = SphereRows(given, factors=factors) if is_scaled else DenseRows(given)
        tracemalloc.start()
        taken = rows.take(np.arange(5)).points
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < given.nbytes // 100
        assert taken.shape == (5, 8)
        assert taken.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, BisectingKMeans])
def test_fits_of_few_columns_have_the_bits_of_a_copy(kind: Any, dtype: str) -> None:
    wide = np.random.default_rng(1).normal(size=(3000, 60)).astype(dtype)
    for view in (wide[:, 7:15], np.asfortranarray(wide[:, :8]), wide[:, :16:2]):
        one, other = (kind(5, random_state=0, n_init=1).fit(X) for X in (view, view.copy()))
        assert one.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
        assert one.labels_.tobytes() == other.labels_.tobytes()
        assert one.inertia_ == other.inertia_
