"""Circles of any length end a run; what only looks like one does not."""

import numpy as np
import pytest
from sklearn.base import clone

from kmeans_xp import KMeans
from kmeans_xp.algorithms.circles import n_steps_of_circle
from kmeans_xp.algorithms.lloyd import Iteration
from tests.datasets import nearly_equal


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize(("seed", "n_clusters", "n_steps"), [(1, 23, 78), (48, 17, 84)])
def test_a_circle_of_more_steps_than_are_looked_at_ends(
    seed: int, n_clusters: int, n_steps: int
) -> None:
    host = nearly_equal("float32", seed=seed)
    kmeans = KMeans(n_clusters, init="random", n_init=1, random_state=seed, tol=0.0, max_iter=1000)
    assert kmeans.fit(host).n_iter_ == 128 + n_steps
    after = clone(kmeans).set_params(max_iter=128).fit(host)
    np.testing.assert_array_equal(after.cluster_centers_, kmeans.cluster_centers_)


def iterations_of(numbers: list[int]) -> list[Iteration]:
    return [Iteration(i, float(number), 1.0, 0) for i, number in enumerate(numbers, 1)]


@pytest.mark.parametrize("n_before", [0, 3, 500])
@pytest.mark.parametrize("period", [1, 2, 64, 65, 100, 777])
def test_a_circle_of_any_length_is_found_soon_after_it_closed(n_before: int, period: int) -> None:
    numbers = [*range(-n_before, 0), *(i % period for i in range(10 * period + n_before + 200))]
    iterations = iterations_of(numbers)
    n_taken = range(1, len(iterations) + 1)
    found = {n: steps for n in n_taken if (steps := n_steps_of_circle(iterations[:n]))}
    assert all(steps % period == 0 for steps in found.values())
    assert min(found) <= max(n_before + 2 * period + 1, 2 * (n_before + period) + period)


def test_what_grows_is_no_circle_and_chance_costs_no_steps() -> None:
    numbers = list(range(3000))
    for at in (700, 1700, 2900):
        numbers[at] = numbers[2 ** (at.bit_length() - 1) - 1]
    iterations = iterations_of(numbers)
    assert not any(n_steps_of_circle(iterations[:n]) for n in range(1, len(iterations) + 1))
