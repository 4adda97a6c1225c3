"""The steps of k-means++, which choose one row after another, for ways to measure that go on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.for_numba.tiling import Dense, Floats
from kmeans_xp.kernels.portable.seeding import (
    Candidate,
    best_candidate,
    candidate_potentials,
    closer_of,
    drawn,
)

__all__ = ["Choosing"]


class Choosing:
    """Chooses rows by plain passes; subclasses measure in another way.

    Parameters
    ----------
    rows : DenseRows or SphereRows
    closest : array of shape (n_points,)
        Squared distances to the nearest of the centroids so far, without ``last``.
    last : array of shape (1, n_features)
    """

    def __init__(self, rows: Dense, closest: Floats, last: Floats, *, xp: Namespace) -> None:
        self.rows, self.xp = rows, xp
        self.closest, self.last = closest, last
        self.points: list[Floats] = [last]
        self.indices: list[NDArray[np.int64]] = []

    def all_of(self, trials: Floats) -> Candidate:
        """Return a row for each line of uniform numbers."""
        for step, uniforms in enumerate(trials):
            self.fold_last()
            indices = drawn(self.closest, self.rows.weights, uniforms, "left", xp=self.xp)
            candidates = self.rows.take(indices).points
            potentials = self.potentials(candidates, len(trials) - step)
            best = best_candidate(potentials, indices, candidates, xp=self.xp)
            self.take(best, indices)
        return Candidate(np.concatenate(self.indices), np.concatenate(self.points[1:]))

    def take(self, best: Candidate, indices: NDArray[Any]) -> None:
        """Take the best of the candidates, which are the rows of ``indices``."""
        del indices
        self.last = best.point
        self.points.append(best.point)
        self.indices.append(best.index)

    def fold_last(self) -> None:
        """Count the last row in ``closest``."""
        self.closest = closer_of(self.rows, self.closest, self.last, xp=self.xp)

    def potentials(self, candidates: Floats, n_left: int) -> Array:
        """Return the potentials of candidates; ``n_left`` rows are still to choose."""
        del n_left
        return candidate_potentials(self.rows, self.closest, candidates, xp=self.xp)
