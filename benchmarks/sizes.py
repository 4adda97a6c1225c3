"""Labels within bounds of sizes: the time of one iteration beside other solvers.

    python -m benchmarks.sizes

OR-tools is measured where it is installed. HiGHS, by SciPy, is measured up to 100,000 numbers.
"""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from kmeans_xp.algorithms import SizeBounds, cheapest_labels

Costs = NDArray[np.float64]

SHAPES = [(1_000, 10), (10_000, 10), (10_000, 50), (100_000, 10)]
MOST_BY_PROGRAMME = 100_000
REPEATS = 3


def distances(n_rows: int, n_clusters: int) -> Costs:
    """Return squared distances of rows, half of which lie close together, to some of them."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_rows, 4))
    rows[: n_rows // 2] *= 0.3
    centroids = rows[rng.choice(n_rows, n_clusters, replace=False)]
    return ((rows[None] - centroids[:, None]) ** 2).sum(axis=-1)


def ours(costs: Costs, bounds: SizeBounds) -> float:
    """Return the least cost, by this package."""
    labels = cheapest_labels(costs, bounds)
    return float(costs[labels, np.arange(costs.shape[1])].sum())


def by_network(costs: Costs, bounds: SizeBounds) -> float:
    """Return the least cost by OR-tools, which takes costs as integers."""
    from ortools.graph.python import min_cost_flow

    n_clusters, n_rows = costs.shape
    network = min_cost_flow.SimpleMinCostFlow()
    whole = np.rint(costs.T * (1e5 / costs.mean())).astype(np.int64).ravel()
    rows = np.repeat(np.arange(n_rows), n_clusters)
    clusters, sink = n_rows + np.arange(n_clusters), n_rows + n_clusters
    ends, one = np.tile(clusters, n_rows), np.ones_like(rows)
    arcs = network.add_arcs_with_capacity_and_unit_cost(rows, ends, one, whole)
    room = np.full(n_clusters, bounds.most - bounds.least)
    network.add_arcs_with_capacity_and_unit_cost(
        clusters, np.full(n_clusters, sink), room, np.zeros(n_clusters, np.int64)
    )
    left = bounds.least * n_clusters - n_rows
    supplies = np.concatenate([np.ones(n_rows), np.full(n_clusters, -bounds.least), [left]])
    network.set_nodes_supplies(np.arange(sink + 1), supplies.astype(np.int64))
    if network.solve() != network.OPTIMAL:
        raise RuntimeError("OR-tools found no labels")
    labels = network.flows(arcs).reshape(n_rows, n_clusters).argmax(axis=1)
    return float(costs[labels, np.arange(n_rows)].sum())


def by_programme(costs: Costs, bounds: SizeBounds) -> float:
    """Return the least cost by a linear programme, one variable for each row and cluster."""
    n_clusters, n_rows = costs.shape
    of_rows = sparse.kron(np.ones((1, n_clusters)), sparse.eye(n_rows))
    of_clusters = sparse.kron(sparse.eye(n_clusters), np.ones((1, n_rows)))
    solved = optimize.linprog(
        costs.ravel(),
        A_ub=sparse.vstack([of_clusters, -of_clusters]),
        b_ub=np.repeat([bounds.most, -bounds.least], n_clusters),
        A_eq=of_rows,
        b_eq=np.ones(n_rows),
    )
    return float(solved.fun)


def timed(solve: Callable[..., float], *problem: Any, repeats: int = REPEATS) -> tuple[float, str]:
    """Return the least cost that a solver finds, and its median time as text."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        cost = solve(*problem)
        seconds.append(time.perf_counter() - started)
    return cost, f"{np.median(seconds):.3f}"


def main() -> None:
    """Print a table of Markdown, and fail where the solvers disagree."""
    print("| rows x clusters | sizes | here | OR-tools | HiGHS |\n|---|---|---:|---:|---:|")
    for n_rows, n_clusters in SHAPES:
        costs, even = distances(n_rows, n_clusters), n_rows // n_clusters
        for bounds in ((even // 2, n_rows), (1, int(1.2 * even)), (even, even)):
            problem = costs, SizeBounds(*bounds)
            least, here = timed(ours, *problem)
            times = [here, "", ""]
            if importlib.util.find_spec("ortools"):
                cost, times[1] = timed(by_network, *problem)
                np.testing.assert_allclose(cost, least, rtol=1e-6)
            if costs.size <= MOST_BY_PROGRAMME:
                cost, times[2] = timed(by_programme, *problem, repeats=1)
                np.testing.assert_allclose(cost, least, rtol=1e-9)
            sizes = f"{bounds[0]:,} to {bounds[1]:,}"
            print(f"| {n_rows:,} x {n_clusters} | {sizes} | {' | '.join(times)} |", flush=True)


if __name__ == "__main__":
    main()
