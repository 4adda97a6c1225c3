"""The few operations that the Array API lacks or that pay for fusing."""

from kmeans_xp.kernels.bounds import Bounds, bounded_step
from kmeans_xp.kernels.drawing import Candidate, best_candidate, drawn
from kmeans_xp.kernels.inertia import assigned_inertia
from kmeans_xp.kernels.kernel import Kernel, kernel, kernels
from kmeans_xp.kernels.moments import Moments, Spread, column_moments, spread
from kmeans_xp.kernels.portable import (
    ClusterTotals,
    LloydRun,
    Nearest,
    Update,
    assigned_sq_distances,
    candidate_potentials,
    closer_of,
    cluster_sums,
    lloyd_run,
    lloyd_step,
    lloyd_steps,
    nearest_centroid,
    nearest_labels,
    sq_distances,
    update_centroids,
)
from kmeans_xp.kernels.rows import Rows
from kmeans_xp.kernels.silhouette import SilhouetteDistances, silhouette_distances
from kmeans_xp.kernels.trees import added, merged_in_tree

__all__ = [
    "Bounds",
    "Candidate",
    "ClusterTotals",
    "Kernel",
    "LloydRun",
    "Moments",
    "Nearest",
    "Rows",
    "SilhouetteDistances",
    "Spread",
    "Update",
    "added",
    "assigned_inertia",
    "assigned_sq_distances",
    "best_candidate",
    "bounded_step",
    "candidate_potentials",
    "closer_of",
    "cluster_sums",
    "column_moments",
    "drawn",
    "kernel",
    "kernels",
    "lloyd_run",
    "lloyd_step",
    "lloyd_steps",
    "merged_in_tree",
    "nearest_centroid",
    "nearest_labels",
    "silhouette_distances",
    "spread",
    "sq_distances",
    "update_centroids",
]
