"""scikit-learn's face of the algorithms: validate, place, run, store."""

from kmeans_xp.estimators.functions import (
    assign,
    inertia,
    k_means,
    kmeans_parallel,
    kmeans_plusplus,
    lloyd,
)
from kmeans_xp.estimators.kmeans import KMeans
from kmeans_xp.estimators.mini_batch_kmeans import MiniBatchKMeans

__all__ = [
    "KMeans",
    "MiniBatchKMeans",
    "assign",
    "inertia",
    "k_means",
    "kmeans_parallel",
    "kmeans_plusplus",
    "lloyd",
]
