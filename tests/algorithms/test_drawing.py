"""Random rows, from one array or from blocks, are those that NumPy's RandomState draws."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import Library
from kmeans_xp.algorithms import draw_by_value, draw_by_weight, random_rows
from kmeans_xp.blocks import Blocks
from kmeans_xp.blocks.in_memory import InMemory
from kmeans_xp.devices import device_of, namespace_of
from kmeans_xp.kernels import DenseRows
from tests import oracle
from tests.doubles import Chopped, sizes_of
from tests.strategies import library_without_float64

N_POINTS = 60

rng = np.random.default_rng(0)
POINTS = rng.integers(-5, 6, (N_POINTS, 3)).astype(np.float64)
WEIGHTS = rng.integers(0, 4, N_POINTS).astype(np.float64)

#: the last in float64 before 1, which float32 rounds to 1
ALMOST_ONE = float(np.nextafter(1.0, 0.0))

Make = Callable[[DenseRows, Any], Blocks]


def in_one_piece(rows: DenseRows, xp: Any) -> Blocks:
    return InMemory(rows, xp=xp)


def in_blocks_of(size: int, rows: DenseRows, xp: Any) -> Blocks:
    return Chopped(rows, sizes_of(rows.n_points, size), xp=xp)


MAKES = {
    "one piece": in_one_piece,
    "blocks of 1 row": partial(in_blocks_of, 1),
    "blocks of 2 rows": partial(in_blocks_of, 2),
    "blocks of 7 rows": partial(in_blocks_of, 7),
}

pytestmark = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)

weighted_or_not = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["no weights", "weights"])


def blocks_of(make: Make, library: Library, points: Any = POINTS, weights: Any = None) -> Blocks:
    placed = None if weights is None else library.asarray(weights, "float32")
    return make(DenseRows(library.asarray(points, "float32"), placed), library.xp)


def drawn_by_value(blocks: Blocks, values: Any, uniforms: Any, library: Library) -> NDArray[Any]:
    per_row = blocks.cut(library.asarray(values, "float32"))
    return library.to_host(draw_by_value(blocks, per_row, uniforms))


@weighted_or_not
@pytest.mark.parametrize("seed", range(3))
def test_draws_repeat_the_choice_of_random_state(
    weights: Any, seed: int, make: Make, library: Library
) -> None:
    chances = np.ones(N_POINTS) if weights is None else weights
    chosen = np.random.RandomState(seed).choice(N_POINTS, 200, p=chances / chances.sum())
    uniforms = np.random.RandomState(seed).random_sample(200)
    drawn = draw_by_weight(blocks_of(make, library, weights=weights), uniforms)
    assert namespace_of(drawn) is namespace_of(library.asarray([0]))
    assert device_of(drawn) == library.device
    assert library.xp.isdtype(drawn.dtype, "integral")
    np.testing.assert_array_equal(library.to_host(drawn), chosen)


@pytest.mark.parametrize("n_points", [1, 3, 7, 1000])
def test_draws_without_weights_stay_in_range(n_points: int, make: Make, library: Library) -> None:
    blocks = blocks_of(make, library, np.zeros((n_points, 1)))
    drawn = draw_by_weight(blocks, np.array([0.0, ALMOST_ONE]))
    np.testing.assert_array_equal(library.to_host(drawn), [0, n_points - 1])


@pytest.mark.parametrize("without", [[5], [59, 0, 17], list(range(1, 60, 2))], ids=len)
def test_draws_without_some_rows_repeat_the_choice_among_the_rest(
    without: list[int], make: Make, library: Library
) -> None:
    chances = WEIGHTS.copy()
    chances[without] = 0.0
    chosen = np.random.RandomState(0).choice(N_POINTS, 200, p=chances / chances.sum())
    uniforms = np.random.RandomState(0).random_sample(200)
    blocks = blocks_of(make, library, weights=WEIGHTS)
    drawn = draw_by_weight(blocks, uniforms, without=np.array(without))
    np.testing.assert_array_equal(library.to_host(drawn), chosen)
    kept = blocks.take(library.asarray(np.arange(N_POINTS))).weights
    np.testing.assert_array_equal(library.to_host(kept), WEIGHTS)


def test_all_rows_but_one_can_be_kept_out_of_a_draw(make: Make, library: Library) -> None:
    uniforms = np.random.default_rng(0).random(200)
    without = np.flatnonzero(WEIGHTS)[1:][::-1]
    blocks = blocks_of(make, library, weights=WEIGHTS)
    drawn = draw_by_weight(blocks, uniforms, without=without)
    assert set(library.to_host(drawn).tolist()) == {np.flatnonzero(WEIGHTS)[0]}


some_zeros = pytest.mark.parametrize(
    "weights",
    [[1, 0], [0, 1], [0, 0, 5, 0, 0], [0, 1, 0, 2, 0, 3, 0, 0], [0] * 9 + [1, 2] + [0] * 9],
    ids=str,
)


@some_zeros
def test_a_row_without_weight_is_never_drawn(
    weights: list[float], make: Make, library: Library
) -> None:
    check_that_only_weight_is_drawn(weights, make, library)


@some_zeros
def test_rounding_to_float32_draws_no_row_without_weight(weights: list[float], make: Make) -> None:
    check_that_only_weight_is_drawn(weights, make, library_without_float64())


def check_that_only_weight_is_drawn(weights: list[float], make: Make, library: Library) -> None:
    blocks = blocks_of(make, library, np.zeros((len(weights), 1)), weights)
    uniforms = np.concatenate([np.linspace(0.0, 0.99, 50), [0.0, 1e-300, ALMOST_ONE]])
    drawn = library.to_host(draw_by_weight(blocks, uniforms))
    assert (np.array(weights)[drawn] > 0).all()


@some_zeros
def test_a_row_without_value_is_never_drawn(
    weights: list[float], make: Make, library: Library
) -> None:
    check_that_only_value_is_drawn(weights, make, library)


@some_zeros
def test_rounding_to_float32_draws_no_row_without_value(weights: list[float], make: Make) -> None:
    check_that_only_value_is_drawn(weights, make, library_without_float64())


def check_that_only_value_is_drawn(values: list[float], make: Make, library: Library) -> None:
    blocks = blocks_of(make, library, np.zeros((len(values), 1)))
    uniforms = library.asarray(np.append(np.linspace(0.01, 0.99, 50), ALMOST_ONE), "float32")
    drawn = drawn_by_value(blocks, values, uniforms, library)
    assert (np.array(values)[drawn] > 0).all()


@weighted_or_not
def test_draws_by_value_take_the_row_that_reaches_a_share_of_the_total(
    weights: Any, make: Make, library: Library
) -> None:
    values = np.arange(N_POINTS) % 7.0
    uniforms = np.arange(1.0, 64.0) / 64.0  # shares that no dtype rounds
    blocks = blocks_of(make, library, weights=weights)
    drawn = drawn_by_value(blocks, values, library.asarray(uniforms, "float32"), library)
    mass = values if weights is None else values * weights
    expected = [oracle.draw(mass, uniform) for uniform in uniforms]
    np.testing.assert_array_equal(drawn, expected)


@weighted_or_not
def test_draws_of_nothing_but_zeros_give_a_row(weights: Any, make: Make, library: Library) -> None:
    zeros, uniforms = np.zeros(N_POINTS), np.array([0.0, 0.5, ALMOST_ONE])
    blocks = blocks_of(make, library, weights=weights)
    drawn = drawn_by_value(blocks, zeros, library.asarray(uniforms, "float32"), library)
    assert ((drawn >= 0) & (drawn < N_POINTS)).all()


@pytest.mark.needs("float64")
def test_draws_by_value_accumulate_in_float64(make: Make, library: Library) -> None:
    # A running total in float32 would stay at the first value: each 1 is lost.
    values = np.ones(N_POINTS)
    values[0] = 2.0**24
    uniforms = (np.cumsum(values) - 0.5) / values.sum()
    blocks = blocks_of(make, library)
    drawn = drawn_by_value(blocks, values, library.asarray(uniforms, "float64"), library)
    np.testing.assert_array_equal(drawn, np.arange(N_POINTS))


def test_rows_with_weight_are_counted_before_they_are_drawn(make: Make, library: Library) -> None:
    n_weighted = np.count_nonzero(WEIGHTS)
    blocks, random_state = blocks_of(make, library, weights=WEIGHTS), np.random.RandomState(0)
    with pytest.raises(ValueError, match=rf"Only {n_weighted} rows have a positive sample_weight"):
        random_rows(blocks, n_weighted + 1, random_state)
    drawn = library.to_host(random_rows(blocks, n_weighted, random_state).indices)
    assert sorted(drawn.tolist()) == np.flatnonzero(WEIGHTS).tolist()
