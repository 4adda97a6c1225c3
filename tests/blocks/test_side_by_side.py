"""Several items at a time: results in order, bounded memory, and no thread remains."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kmeans_xp import KMeans, config_context, open_rows
from kmeans_xp.blocks.side_by_side import side_by_side
from kmeans_xp.blocks.streamed import Streamed
from kmeans_xp.devices import namespace_of
from kmeans_xp.kernels import Rows
from kmeans_xp.kernels.threads import in_threads

SECONDS = 30  # for threads to meet; a failure, not a measurement


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [each for each in threading.enumerate() if each.name == "kmeans_xp-lane"]


def counted(n: int) -> Iterator[int]:
    yield from range(n)


@pytest.mark.parametrize("n_lanes", [1, 2, 5])
@pytest.mark.parametrize("n_items", [0, 1, 2, 100])
def test_results_come_in_the_order_of_the_items(n_items: int, n_lanes: int) -> None:
    results = side_by_side(lambda number, item: (number, item), counted(n_items), n_lanes, 1)
    assert list(results) == [(number, number) for number in range(n_items)]


def test_so_many_items_are_worked_on_at_a_time() -> None:
    met = threading.Barrier(3)

    def function(number: int, item: int) -> int:
        met.wait(SECONDS)
        return threading.get_ident()

    assert len(set(side_by_side(function, counted(3), 3, 1))) == 3


def test_a_kernel_in_a_lane_uses_the_threads_of_the_lane() -> None:
    def function(number: int, item: int) -> set[int]:
        return set(in_threads(lambda _: threading.get_ident(), 20))

    with config_context(n_threads=4):
        assert [len(used) for used in side_by_side(function, counted(9), 2, 1)] == [1] * 9


def test_results_that_wait_for_the_caller_are_bounded() -> None:
    n_begun, n_lanes = 0, 2

    def items() -> Iterator[int]:
        nonlocal n_begun
        for number in range(1000):
            n_begun += 1
            yield number

    with closing(side_by_side(lambda number, item: item, items(), n_lanes, 1)) as results:
        for taken in range(1, 50):
            next(results)
            assert n_begun <= taken + 2 * n_lanes + n_lanes


@pytest.mark.parametrize("n_lanes", [1, 3])
def test_the_first_error_is_raised_in_its_turn(n_lanes: int) -> None:
    def function(number: int, item: int) -> int:
        if item >= 7:
            raise KeyError(item)
        return item

    got: list[int] = []
    with pytest.raises(KeyError, match="7"):
        put_into(got, side_by_side(function, counted(100), n_lanes, 1))
    assert got == list(range(7))


@pytest.mark.parametrize("n_lanes", [1, 3])
def test_an_error_of_the_items_is_raised_after_those_before_it(n_lanes: int) -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("why")

    got: list[int] = []
    with pytest.raises(OSError, match="why"):
        put_into(got, side_by_side(lambda number, item: item, items(), n_lanes, 1))
    assert got == list(range(5))


def put_into(got: list[int], results: Iterator[int]) -> None:
    for result in results:
        got.append(result)  # noqa: PERF402 (those before an error stay)


def test_items_are_closed_when_the_caller_stops() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    results = side_by_side(lambda number, item: item, items(), 3, 1)
    assert next(results) == 0
    results.close()
    assert closed.is_set()


def test_threads_end_while_the_traceback_of_an_error_is_alive() -> None:
    def function(rows: Rows, *, xp: object) -> object:
        raise ZeroDivisionError

    points = np.zeros((100, 3))
    blocks = Streamed(open_rows(points, block_rows=10), xp=namespace_of(points), device="cpu")
    visits: list[Callable[..., object]] = [blocks.reduce, blocks.map_rows]
    for visit in visits:
        with config_context(n_threads=4), pytest.raises(ZeroDivisionError) as kept:
            visit(function)
        names = [each.name for each in threading.enumerate()]
        assert not [name for name in names if name.startswith(("kmeans_xp-lane", "kmeans_xp-read"))]
        assert kept.value is not None


@pytest.mark.parametrize("block_rows", [40, 700])
def test_a_fit_of_a_stream_is_bit_equal_at_any_number_of_threads(block_rows: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3000, 7)) + rng.integers(0, 5, (3000, 1))
    fits = []
    for n_threads in (1, 2, 5, 40):
        with config_context(n_threads=n_threads):
            rows = open_rows(points, block_rows=block_rows)
            fits.append(KMeans(6, random_state=0).fit(rows))
    for other in fits[1:]:
        assert_array_equal(other.cluster_centers_, fits[0].cluster_centers_)
        assert_array_equal(other.labels_, fits[0].labels_)
        assert other.inertia_ == fits[0].inertia_
