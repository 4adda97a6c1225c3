"""Scores of a clustering, from the data alone or by comparison with known labels."""

from kmeans_xp.metrics.agreement import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    completeness_score,
    fowlkes_mallows_score,
    homogeneity_score,
    normalized_mutual_info_score,
    rand_score,
    v_measure_score,
)
from kmeans_xp.metrics.dispersion import calinski_harabasz_score, davies_bouldin_score
from kmeans_xp.metrics.silhouette import (
    silhouette_samples,
    silhouette_score,
    simplified_silhouette_score,
)

__all__ = [
    "adjusted_mutual_info_score",
    "adjusted_rand_score",
    "calinski_harabasz_score",
    "completeness_score",
    "davies_bouldin_score",
    "fowlkes_mallows_score",
    "homogeneity_score",
    "normalized_mutual_info_score",
    "rand_score",
    "silhouette_samples",
    "silhouette_score",
    "simplified_silhouette_score",
    "v_measure_score",
]
