"""Checks of a fit in long doubles, on any library and for any kind of rows."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import sklearn.cluster
from numpy.typing import NDArray

from kmeans_xp import BisectingKMeans, KMeans

__all__ = ["Exact", "Judged"]

#: how far results may be from long doubles', in units of the dtype's precision
_ROUNDING = 64.0

Host = NDArray[Any]


class Exact(NamedTuple):
    """What long doubles say of rows and centroids.

    Parameters
    ----------
    seen, centroids : arrays of shapes (n_points, n_features) and (n_clusters, n_features)
        Relative to the origin of the fit.
    distances : array of shape (n_points, n_clusters)
        Squared.
    slack : array of shape (n_points,)
        By how much the dtype of the rows may be off.
    """

    seen: Host
    centroids: Host
    distances: Host
    slack: Host


class Judged(NamedTuple):
    """Rows and weights that estimators were given, in whatever form.

    Parameters
    ----------
    points : ndarray of shape (n_points, n_features)
        Dense, in the dtype that the fit computes in.
    weights : ndarray of shape (n_points,), or None
    is_sparse : bool
        Whether they were given as a sparse matrix: its numbers round as they are stored.
    to_host : callable
        Returns an array of the library of the fit as NumPy's.
    """

    points: Host
    weights: Host | None = None
    is_sparse: bool = False
    to_host: Callable[[Any], Host] = np.asarray

    def exact(self, kmeans: Any) -> Exact:
        """Measure the rows to the centroids of a fit."""
        parts = (self.points, self.to_host(kmeans._origin), self.to_host(kmeans._centroids))
        rows, origin, centroids = (np.asarray(part, np.longdouble) for part in parts)
        seen = rows - origin
        distances = np.stack([np.sum((seen - c) ** 2, axis=1) for c in centroids], axis=1)
        squares = np.sum(seen**2, axis=1) + np.max(np.sum(centroids**2, axis=1))
        if self.is_sparse:
            squares += np.sum(np.maximum(np.abs(rows), np.abs(origin)) ** 2, axis=1)
        slack = float(np.finfo(self.points.dtype).eps) * _ROUNDING * squares
        return Exact(seen, centroids, distances, slack)

    def faults_of(self, kmeans: Any, predicted: Any) -> list[str]:
        """Return what is wrong with a fit and with what it predicts for the same rows."""
        labels, predicted = self.to_host(kmeans.labels_), self.to_host(predicted)
        faults = []
        if not np.array_equal(predicted, labels):
            faults.append(f"{np.sum(predicted != labels)} labels are not predict's")
        exact = self.exact(kmeans)
        of_label = exact.distances[np.arange(len(labels)), labels]
        n_off = np.sum(~(of_label - exact.distances.min(axis=1) <= exact.slack))
        if n_off and not isinstance(kmeans, BisectingKMeans):  # whose leaves may not be the nearest
            faults.append(f"{n_off} labels are not the nearest")
        weights = 1.0 if self.weights is None else self.weights.astype(np.longdouble)
        inertia, slack = np.sum(weights * of_label), np.sum(weights * exact.slack)
        if not abs(kmeans.inertia_ - inertia) <= 1e-6 * inertia + slack:
            faults.append(f"inertia is {kmeans.inertia_:.9g}, should be {float(inertia):.9g}")
        if isinstance(kmeans, KMeans):
            inertias = kmeans.history_["inertia"]
            if not np.all(np.diff(inertias) <= 1e-6 * inertias[:-1] + float(slack)):
                faults.append(f"the inertia rises: {inertias}")
        return faults

    def faults_beside_scikit_learn(self, kmeans: Any) -> list[str]:
        """Return what is wrong with labels where scikit-learn has the same centroids in float64."""
        if isinstance(kmeans, BisectingKMeans):
            return []
        exact, labels = self.exact(kmeans), self.to_host(kmeans.labels_)
        theirs = sklearn.cluster.KMeans(len(exact.centroids))
        theirs.cluster_centers_ = np.ascontiguousarray(exact.centroids, np.float64)
        theirs._n_threads, theirs.n_features_in_ = 1, exact.centroids.shape[1]
        found = theirs.predict(np.ascontiguousarray(exact.seen, np.float64))
        each = np.arange(len(labels))
        gaps = np.abs(exact.distances[each, found] - exact.distances[each, labels])
        n_off = np.sum((found != labels) & (gaps > exact.slack))
        return [f"{n_off} labels are not scikit-learn's"] if n_off else []
