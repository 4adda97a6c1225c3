"""k-means++: measure all candidates of a step in one product for each tile, fold in the best."""

import numpy as np

from kmeans_xp.kernels.for_numpy.measuring import sq_norms, sq_norms_into
from kmeans_xp.kernels.for_numpy.scoring import Products
from kmeans_xp.kernels.for_numpy.tiling import (
    FEW_NUMBERS,
    Centring,
    Floats,
    Row,
    cut,
    override,
    run,
    streaming_plan,
    streaming_tile,
)
from kmeans_xp.kernels.portable.seeding import candidate_potentials, closer_of
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.threads import scratch
from kmeans_xp.kernels.trees import merged_in_tree

__all__: list[str] = []


@override(candidate_potentials, above=FEW_NUMBERS)
def potentials_by_columns(rows: DenseRows, closest: Floats, candidates: Floats) -> Floats:
    """Measure all candidates in one product for each tile, as an array of candidates x rows."""
    n_candidates, n_features = candidates.shape
    cost = 10.0 + n_features / 2 + n_candidates + n_candidates * n_features / 40
    tile = streaming_tile(max(n_features, n_candidates))
    plan = cut(rows.n_points, tile, cost)
    products = Products(-2.0 * candidates, sq_norms(candidates))
    centred = Centring(rows)

    def potentials(task: int) -> Floats:
        total = np.zeros(n_candidates)
        for place in plan.tiles(task):
            points = centred(place)
            nearer = products(points)
            np.add(nearer, sq_norms_into(points, _vector("norms", points)), out=nearer)
            np.maximum(nearer, 0.0, out=nearer)
            np.minimum(nearer, closest[place], out=nearer)
            total += _weighted_sums(nearer, None if rows.weights is None else rows.weights[place])
        return total

    return merged_in_tree(run(potentials, plan, gemm=candidates.size, gemv=n_features))


def _vector(name: str, points: Floats) -> Floats:
    return scratch(name, (len(points),), points.dtype)


def _weighted_sums(values: Floats, weights: Floats | None) -> Floats:
    """Return the sum of each row of ``values`` in float64."""
    wide = scratch("wide", values.shape, np.float64)
    np.copyto(wide, values)
    if weights is not None:
        np.multiply(wide, weights, out=wide)
    sums: Floats = wide.sum(axis=1)
    return sums


@override(closer_of, above=FEW_NUMBERS)
def fold_in_tiles(rows: DenseRows, closest: Floats, candidate: Floats) -> Floats:
    """Measure from differences: for one candidate as fast as the expanded form, and exact."""
    folded = np.empty(rows.n_points, candidate.dtype)
    plan, centred = streaming_plan(rows, 4), Centring(rows)
    seed = Row(candidate[0])

    def fold(task: int) -> None:
        for place in plan.tiles(task):
            points = centred(place)
            # If the tile is a centred copy, this overwrites it, which needs half the cache.
            difference = scratch("centred", points.shape, points.dtype)
            sq_norms_into(seed.subtracted_from(points, difference), folded[place])
            np.minimum(folded[place], closest[place], out=folded[place])

    run(fold, plan, gemv=rows.n_features)
    return folded
