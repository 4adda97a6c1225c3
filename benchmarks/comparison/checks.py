"""Checks that the timed libraries do the same work: a fast wrong answer does not count."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.comparison.data import Problem
from benchmarks.comparison.peers import BASELINE

__all__ = ["DisagreementError", "check_centroids", "check_labels", "inertia_of"]

#: allowed relative difference of the inertia from scikit-learn's after the same iterations from the
#: same rows. In float32 a row near a border may go the other way, and others follow it.
_INERTIA = {"float64": 1e-9, "float32": 1e-3}
#: faiss computes in float32 whatever it is given
_INERTIA_OF_FAISS = {"float64": 1e-4, "float32": 1e-3}
#: part of the rows that may be assigned otherwise
_LABELS = {"float64": 1e-6, "float32": 1e-3}

_TILE = 4096


class DisagreementError(Exception):
    """A library has another result than scikit-learn, so that its time says nothing."""


def inertia_of(points: NDArray[Any], centroids: Any) -> float:
    """Return the sum of squared distances to the nearest centroid, in float64."""
    origin = points[:_TILE].mean(axis=0, dtype=np.float64)
    centroids = np.asarray(centroids, dtype=np.float64) - origin
    half_sq_norms = 0.5 * np.vecdot(centroids, centroids)
    total = 0.0
    for start in range(0, len(points), _TILE):
        tile = points[start : start + _TILE] - origin
        difference = tile - centroids[np.argmin(half_sq_norms - tile @ centroids.T, axis=1)]
        total += float(np.vdot(difference, difference))
    return total


def check_centroids(problem: Problem, centroids: Mapping[str, Any]) -> dict[str, float]:
    """Return the relative differences of the inertia from scikit-learn's.

    Parameters
    ----------
    problem : Problem
    centroids : dict of str to array of shape (n_clusters, n_features)
        What each library ended with, after equal iterations from equal rows.

    Returns
    -------
    dict of str to float

    Raises
    ------
    DisagreementError
        If a difference is more than rounding explains.
    """
    dtype = problem.case.dtype
    expected = inertia_of(problem.points, centroids[BASELINE])
    differences = {}
    for peer, theirs in centroids.items():
        if peer == BASELINE:
            continue
        differences[peer] = abs(inertia_of(problem.points, theirs) / expected - 1.0)
        bound = (_INERTIA_OF_FAISS if peer == "faiss" else _INERTIA)[dtype]
        # Not "greater": NaN must fail.
        if not differences[peer] <= bound:
            _refuse(problem, peer, f"its inertia differs by {differences[peer]:.2g}", bound)
    return differences


def check_labels(problem: Problem, labels: Mapping[str, Any]) -> dict[str, float]:
    """Return which part of the rows is assigned otherwise than by scikit-learn.

    Raises
    ------
    DisagreementError
        If a part is more than rounding explains.
    """
    bound = _LABELS[problem.case.dtype]
    expected = np.asarray(labels[BASELINE])
    parts = {}
    for peer, theirs in labels.items():
        if peer == BASELINE:
            continue
        parts[peer] = float(np.mean(np.asarray(theirs).reshape(-1) != expected))
        if not parts[peer] <= bound:
            _refuse(problem, peer, f"{parts[peer]:.2g} of its labels differ", bound)
    return parts


def _refuse(problem: Problem, peer: str, what: str, bound: float) -> None:
    case = problem.case
    raise DisagreementError(
        f"{case.job}, {case.name}, {case.dtype}, {case.data}: {peer} disagrees with {BASELINE}: "
        f"{what}, more than {bound:g}. Its times would mean nothing: find out why first."
    )
