"""The cheapest labels within bounds of sizes, against every labelling and SciPy's solvers."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize

from benchmarks.sizes import by_programme
from kmeans_xp.algorithms import SizeBounds, cheapest_labels

Costs = NDArray[np.float64]


def cost_of(labels: Any, costs: Costs) -> float:
    return float(costs[labels, np.arange(costs.shape[1])].sum())


def sizes_of(labels: Any, costs: Costs) -> Any:
    return np.bincount(labels, minlength=len(costs))


def least_of_all(costs: Costs, bounds: SizeBounds) -> float:
    """Return the least cost of all labellings, which are tried one after another."""
    n_clusters, n_rows = costs.shape
    tried = (np.asarray(each) for each in itertools.product(range(n_clusters), repeat=n_rows))
    return min(
        cost_of(labels, costs)
        for labels in tried
        if sizes_of(labels, costs).min() >= bounds.least
        and sizes_of(labels, costs).max() <= bounds.most
    )


def check(costs: Costs, bounds: SizeBounds, least: float) -> None:
    labels = cheapest_labels(costs, bounds)
    sizes = sizes_of(labels, costs)
    assert labels.dtype == np.int32
    assert labels.shape == costs.shape[1:]
    assert sizes.min() >= bounds.least
    assert sizes.max() <= bounds.most
    assert cost_of(labels, costs) == pytest.approx(least, rel=1e-12, abs=1e-14 * costs.max())


@st.composite
def problems(
    draw: Any, most_rows: int, most_clusters: int, kinds: tuple[str, ...], scales: tuple[float, ...]
) -> tuple[Costs, SizeBounds]:
    """Costs of some kind and size, and bounds that can be kept."""
    n_rows = draw(st.integers(1, most_rows))
    n_clusters = draw(st.integers(1, min(n_rows, most_clusters)))
    least = draw(st.integers(0, n_rows // n_clusters))
    most = draw(st.integers(-(-n_rows // n_clusters), n_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (n_clusters, n_rows)
    made = {
        "uniform": rng.random(shape),
        "ties": rng.integers(0, 4, shape).astype(np.float64),
        "heavy tails": rng.pareto(0.5, shape),
    }
    costs = made[draw(st.sampled_from(kinds))] * draw(st.sampled_from(scales))
    return costs, SizeBounds(least, most)


@given(problems(6, 3, ("uniform", "ties", "heavy tails"), (1e-30, 1.0, 1e30)))
def test_no_labelling_costs_less(problem: tuple[Costs, SizeBounds]) -> None:
    check(*problem, least_of_all(*problem))


# The programme's tolerances are absolute: its costs are near 1.
@given(problems(150, 5, ("uniform", "ties"), (1.0,)))
def test_costs_are_those_of_a_linear_programme(problem: tuple[Costs, SizeBounds]) -> None:
    check(*problem, by_programme(*problem))


@pytest.mark.parametrize("kind", ["distances", "equal rows", "equal costs"])
def test_sizes_that_are_all_equal_are_an_assignment(kind: str) -> None:
    rng = np.random.default_rng(0)
    n_clusters, size = 12, 40
    points = rng.normal(size=(n_clusters * size, 2))
    if kind == "equal rows":
        points = np.repeat(points[: 2 * n_clusters], size // 2, axis=0)
    centroids = points[::size]
    costs = ((points[None] - centroids[:, None]) ** 2).sum(axis=-1)
    if kind == "equal costs":
        costs[:] = 1.0
    places = np.repeat(costs, size, axis=0)
    least = places[optimize.linear_sum_assignment(places)].sum()
    check(costs, SizeBounds(size, size), float(least))


def test_bounds_that_the_nearest_labels_keep_change_nothing() -> None:
    costs = np.random.default_rng(0).random((4, 1000))
    labels = cheapest_labels(costs, SizeBounds(1, 1000))
    np.testing.assert_array_equal(labels, np.argmin(costs, axis=0))


def test_costs_are_not_written_to() -> None:
    costs = np.random.default_rng(0).random((4, 200))
    costs.flags.writeable = False
    check(costs, SizeBounds(50, 50), by_programme(costs, SizeBounds(50, 50)))
