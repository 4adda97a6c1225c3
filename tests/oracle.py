"""What the algorithms must compute, one number at a time, in float64.

Slow and plain on purpose: nothing here is vectorised over points, so it shares no trick, and
no mistake, with the code it judges.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]


class Clustering(NamedTuple):
    labels: Labels
    centroids: Floats
    inertia: float
    n_iter: int


def sq_distance(point: Floats, centroid: Floats) -> float:
    return sum((float(a) - float(b)) ** 2 for a, b in zip(point, centroid, strict=True))


def sq_distances(points: Floats, centroids: Floats) -> Floats:
    return np.array([[sq_distance(x, c) for c in centroids] for x in points])


def nearest_labels(points: Floats, centroids: Floats) -> Labels:
    """Return the index of the nearest centroid of each point, the lowest at a tie."""
    labels = np.zeros(len(points), dtype=np.intp)
    for i, row in enumerate(sq_distances(points, centroids)):
        for j, candidate in enumerate(row):
            if candidate < row[labels[i]]:
                labels[i] = j
    return labels


def cluster_sums(
    points: Floats, weights: Floats, labels: Labels, n_clusters: int
) -> tuple[Floats, Floats]:
    """Return the weighted sum of the points of each cluster, and its mass."""
    sums = np.zeros((n_clusters, points.shape[1]))
    mass = np.zeros(n_clusters)
    for point, weight, label in zip(points, weights, labels, strict=True):
        mass[label] += weight
        for feature, value in enumerate(point):
            sums[label, feature] += weight * float(value)
    return sums, mass


def inertia(points: Floats, weights: Floats, centroids: Floats, labels: Labels) -> float:
    return sum(
        float(weight) * sq_distance(point, centroids[label])
        for point, weight, label in zip(points, weights, labels, strict=True)
    )


def lloyd(
    points: Floats, weights: Floats, centroids: Floats, *, max_iter: int = 300, tol: float = 0.0
) -> Clustering:
    """Return the result of Lloyd's algorithm; ``tol`` bounds the sum of squared shifts."""
    centroids = np.array(centroids, dtype=np.float64)
    for n_iter in range(1, max_iter + 1):
        labels = nearest_labels(points, centroids)
        sums, mass = cluster_sums(points, weights, labels, len(centroids))
        if not mass.all():
            raise ValueError("a cluster became empty, and the oracle has no rule for that")
        previous, centroids = centroids, sums / mass[:, None]
        if sum(map(sq_distance, previous, centroids)) <= tol:
            break
    labels = nearest_labels(points, centroids)
    return Clustering(labels, centroids, inertia(points, weights, centroids, labels), n_iter)


def draw(mass: Floats, uniform: float) -> int:
    """Return the first index whose share of the running total reaches ``uniform``."""
    threshold, running = uniform * sum(map(float, mass)), 0.0
    for index, value in enumerate(mass):
        running += float(value)
        if running >= threshold:
            return index
    return len(mass) - 1


def greedy_kmeans_plusplus(
    points: Floats, weights: Floats, first: int, uniforms: Floats
) -> list[int]:
    """Return the rows picked, given the first of them and (n_clusters - 1, n_trials) uniforms.

    Of the trials for a centroid, the one that leaves the least weighted potential is kept.
    """
    chosen = [first]
    closest = sq_distances(points, points[[first]])[:, 0]
    for trials in uniforms:
        candidates = [draw(weights * closest, uniform) for uniform in trials]
        remaining = [
            np.minimum(closest, sq_distances(points, points[[c]])[:, 0]) for c in candidates
        ]
        potentials = [sum(map(float, weights * distances)) for distances in remaining]
        best = potentials.index(min(potentials))
        chosen.append(candidates[best])
        closest = remaining[best]
    return chosen


def philox_uniform(index: int, key: tuple[int, int], stream: int) -> float:
    """Return number ``index`` of a stream of Philox4x64-10, in [0, 1) with 53 bits.

    J. Salmon, M. Moraes, R. Dror and D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
    2011, section 3.3; the counter begins at 1, as in NumPy.
    """
    counter = [index // 4 + 1, stream, 0, 0]
    keys = list(key)
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [
            (second >> 64) ^ counter[1] ^ keys[0],
            second % 2**64,
            (first >> 64) ^ counter[3] ^ keys[1],
            first % 2**64,
        ]
        keys = [(keys[0] + 0x9E3779B97F4A7C15) % 2**64, (keys[1] + 0xBB67AE8584CAA73B) % 2**64]
    return float(counter[index % 4] >> 11) / 2**53
