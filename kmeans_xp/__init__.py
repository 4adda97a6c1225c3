"""K-Means for whatever array you have, on whatever device it is."""

from kmeans_xp import devices
from kmeans_xp._version import __version__
from kmeans_xp.accelerate import accelerate
from kmeans_xp.blocks import open_rows
from kmeans_xp.config import config_context
from kmeans_xp.estimators import (
    BisectingKMeans,
    Checkpoint,
    KMeans,
    MiniBatchKMeans,
    ProgressLine,
    assign,
    inertia,
    k_means,
    k_means_batched,
    kmeans_parallel,
    kmeans_plusplus,
    lloyd,
)

__all__ = [
    "BisectingKMeans",
    "Checkpoint",
    "KMeans",
    "MiniBatchKMeans",
    "ProgressLine",
    "__version__",
    "accelerate",
    "assign",
    "config_context",
    "devices",
    "inertia",
    "k_means",
    "k_means_batched",
    "kmeans_parallel",
    "kmeans_plusplus",
    "lloyd",
    "open_rows",
]
