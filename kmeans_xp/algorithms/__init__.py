"""The algorithms: pure functions of blocks of rows, each written once."""

from kmeans_xp.algorithms.bisecting import (
    LEAF,
    Bisected,
    Bisection,
    bisecting,
    leaf_centroids,
    leaves_of,
    tree_labels,
)
from kmeans_xp.algorithms.bounded import ALGORITHMS, BoundedStep
from kmeans_xp.algorithms.constrained import ConstrainedStep
from kmeans_xp.algorithms.drawing import draw_by_value, draw_by_weight
from kmeans_xp.algorithms.kmeans_parallel import kmeans_parallel
from kmeans_xp.algorithms.lloyd import METRICS, Iteration, LloydResult, inertia_of, lloyd
from kmeans_xp.algorithms.minibatch import (
    MiniBatchResult,
    MiniBatchStanding,
    MiniBatchState,
    MiniBatchStep,
    minibatch,
    minibatch_start,
    minibatch_step,
)
from kmeans_xp.algorithms.restarts import SAME_INERTIA, best_of, runs_from
from kmeans_xp.algorithms.seeding import (
    Seeds,
    kmeans_plusplus,
    kmeans_plusplus_starts,
    more_centroids,
    n_with_weight,
    random_rows,
    uniforms_of_more,
    uniforms_of_starts,
)
from kmeans_xp.algorithms.transport import SizeBounds, cheapest_labels

__all__ = [
    "ALGORITHMS",
    "LEAF",
    "METRICS",
    "SAME_INERTIA",
    "Bisected",
    "Bisection",
    "BoundedStep",
    "ConstrainedStep",
    "Iteration",
    "LloydResult",
    "MiniBatchResult",
    "MiniBatchStanding",
    "MiniBatchState",
    "MiniBatchStep",
    "Seeds",
    "SizeBounds",
    "best_of",
    "bisecting",
    "cheapest_labels",
    "draw_by_value",
    "draw_by_weight",
    "inertia_of",
    "kmeans_parallel",
    "kmeans_plusplus",
    "kmeans_plusplus_starts",
    "leaf_centroids",
    "leaves_of",
    "lloyd",
    "minibatch",
    "minibatch_start",
    "minibatch_step",
    "more_centroids",
    "n_with_weight",
    "random_rows",
    "runs_from",
    "tree_labels",
    "uniforms_of_more",
    "uniforms_of_starts",
]
