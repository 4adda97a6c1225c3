"""The few operations that the Array API lacks, or that are faster when fused.

| module | holds |
|---|---|
| ``kernel`` | the registry: one portable function, overrides by library and kind of rows |
| ``rows``, ``sparse_rows`` | the rows a kernel reads: the protocol ``Rows``, dense and sparse |
| ``sphere_rows``, ``sphere_tiles`` | rows scaled to one length, for cosine distances |
| ``portable`` | the kernels, written only against the Array API: the contracts |
| ``for_numpy``, ``for_numba``, ``for_cupy`` | overrides, imported with that library's first array |
| ``ahead`` | compiling before the first use |
| ``trees``, ``threads`` | adding up in a fixed order; threads, each pinned to a processor |
"""

from kmeans_xp.kernels.ahead import compile_ahead
from kmeans_xp.kernels.kernel import Kernel, kernel, kernels
from kmeans_xp.kernels.portable.assignment import (
    ClusterTotals,
    Nearest,
    assigned_inertia,
    assigned_sq_distances,
    cluster_sums,
    nearest_centroid,
    nearest_labels,
    sq_distances,
)
from kmeans_xp.kernels.portable.batches import (
    BatchMeans,
    Placed,
    batch_means,
    placed_at_rows,
)
from kmeans_xp.kernels.portable.bounds import (
    BoundedSteps,
    Bounds,
    bounded_step,
    bounded_steps,
    keeps_bounds,
    rules_out_scores,
)
from kmeans_xp.kernels.portable.directions import (
    MeasuredOnSphere,
    measured_on_sphere,
    sphere_factors,
    without_direction,
)
from kmeans_xp.kernels.portable.halves import (
    Halves,
    Room,
    gathered_rows,
    halves_of,
    in_places,
    labels_each_row_alone,
    places_by_half,
)
from kmeans_xp.kernels.portable.least import places_of_least
from kmeans_xp.kernels.portable.moments import (
    BothMoments,
    Moments,
    Spread,
    both_moments,
    column_moments,
    spread,
)
from kmeans_xp.kernels.portable.problems import ProblemOptions, Solved, solved_at_once
from kmeans_xp.kernels.portable.runs import (
    Runs,
    are_steps_short,
    runs_at_once,
    takes_whole_runs,
)
from kmeans_xp.kernels.portable.seeding import (
    Candidate,
    best_candidate,
    candidate_potentials,
    chosen_at_once,
    closer_of,
    drawn,
    running_total,
    starts_at_once,
    where_reached,
)
from kmeans_xp.kernels.portable.silhouette import SilhouetteDistances, silhouette_distances
from kmeans_xp.kernels.portable.splits import Split, split_at_once
from kmeans_xp.kernels.portable.stepping import (
    Step,
    Steps,
    StepsInOneCall,
    batched_steps_of,
    steps_of,
)
from kmeans_xp.kernels.portable.steps import (
    LloydSteps,
    Update,
    lloyd_step,
    lloyd_step_batched,
    lloyd_steps,
    means_on_sphere,
    update_centroids,
)
from kmeans_xp.kernels.portable.uniforms import row_uniforms
from kmeans_xp.kernels.rows import DenseRows, Rows
from kmeans_xp.kernels.sparse_rows import SparseRows
from kmeans_xp.kernels.sphere_rows import (
    RADIUS,
    SphereRows,
    on_sphere,
    rows_on_sphere,
)
from kmeans_xp.kernels.trees import added, merged_in_tree

__all__ = [
    "RADIUS",
    "BatchMeans",
    "BothMoments",
    "BoundedSteps",
    "Bounds",
    "Candidate",
    "ClusterTotals",
    "DenseRows",
    "Halves",
    "Kernel",
    "LloydSteps",
    "MeasuredOnSphere",
    "Moments",
    "Nearest",
    "Placed",
    "ProblemOptions",
    "Room",
    "Rows",
    "Runs",
    "SilhouetteDistances",
    "Solved",
    "SparseRows",
    "SphereRows",
    "Split",
    "Spread",
    "Step",
    "Steps",
    "StepsInOneCall",
    "Update",
    "added",
    "are_steps_short",
    "assigned_inertia",
    "assigned_sq_distances",
    "batch_means",
    "batched_steps_of",
    "best_candidate",
    "both_moments",
    "bounded_step",
    "bounded_steps",
    "candidate_potentials",
    "chosen_at_once",
    "closer_of",
    "cluster_sums",
    "column_moments",
    "compile_ahead",
    "drawn",
    "gathered_rows",
    "halves_of",
    "in_places",
    "keeps_bounds",
    "kernel",
    "kernels",
    "labels_each_row_alone",
    "lloyd_step",
    "lloyd_step_batched",
    "lloyd_steps",
    "means_on_sphere",
    "measured_on_sphere",
    "merged_in_tree",
    "nearest_centroid",
    "nearest_labels",
    "on_sphere",
    "placed_at_rows",
    "places_by_half",
    "places_of_least",
    "row_uniforms",
    "rows_on_sphere",
    "rules_out_scores",
    "running_total",
    "runs_at_once",
    "silhouette_distances",
    "solved_at_once",
    "sphere_factors",
    "split_at_once",
    "spread",
    "sq_distances",
    "starts_at_once",
    "steps_of",
    "takes_whole_runs",
    "update_centroids",
    "where_reached",
    "without_direction",
]
