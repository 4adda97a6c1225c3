"""The algorithms: pure functions of blocks of rows, each written once."""

from kmeans_xp.algorithms.bounded import ALGORITHMS, BoundedStep
from kmeans_xp.algorithms.inertia import inertia_of
from kmeans_xp.algorithms.lloyd import Iteration, LloydResult, lloyd
from kmeans_xp.algorithms.minibatch import (
    MiniBatchResult,
    MiniBatchState,
    MiniBatchStep,
    minibatch,
    minibatch_step,
)
from kmeans_xp.algorithms.moments import moments_of
from kmeans_xp.algorithms.restarts import lloyd_restarts
from kmeans_xp.algorithms.seeding import Seeds, kmeans_plusplus, more_centroids, random_rows

__all__ = [
    "ALGORITHMS",
    "BoundedStep",
    "Iteration",
    "LloydResult",
    "MiniBatchResult",
    "MiniBatchState",
    "MiniBatchStep",
    "Seeds",
    "inertia_of",
    "kmeans_plusplus",
    "lloyd",
    "lloyd_restarts",
    "minibatch",
    "minibatch_step",
    "moments_of",
    "more_centroids",
    "random_rows",
]
