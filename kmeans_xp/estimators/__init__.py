"""The algorithms with scikit-learn's interface: validate, place, run, store."""

from kmeans_xp.estimators.batched import k_means_batched
from kmeans_xp.estimators.bisecting_k_means import BisectingKMeans
from kmeans_xp.estimators.checkpoint import Checkpoint
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
from kmeans_xp.estimators.progress_line import ProgressLine

__all__ = [
    "BisectingKMeans",
    "Checkpoint",
    "KMeans",
    "MiniBatchKMeans",
    "ProgressLine",
    "assign",
    "inertia",
    "k_means",
    "k_means_batched",
    "kmeans_parallel",
    "kmeans_plusplus",
    "lloyd",
]
