"""k-means++ that keeps the distances to all candidates, and does not measure the best one again.

A step then reads the rows once, not twice.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.for_numba.choosing import Choosing
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL
from kmeans_xp.kernels.for_numba.seeding import (
    LONG,
    MANY_FEATURES,
    added_potentials,
    in_row_lanes,
    padded_to_vectors,
)
from kmeans_xp.kernels.for_numba.tiling import Dense, Floats, in_parts, n_tasks_for
from kmeans_xp.kernels.portable.seeding import Candidate, chosen_at_once
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.sphere_rows import SphereRows

#: nanoseconds to copy a number from between others
_COPIED = 1.0


@chosen_at_once.override("numpy", rows=DenseRows | SphereRows, rank=1)
def chosen_by_kept_trials(
    rows: Dense, closest: Floats, last: Floats | None, trials: Floats, *, xp: Namespace
) -> Any:
    """Choose by the bits of ``candidate_potentials`` and ``closer_of``."""
    dtype = closest.dtype
    if last is None or dtype not in PANEL or rows.points.dtype != dtype or not len(trials):
        return NotImplemented
    if rows.n_features < max(MANY_FEATURES, LONG * padded_to_vectors(trials.shape[1])):
        return NotImplemented
    return _Keeping(rows, closest, last, trials.shape[1], xp=xp).all_of(trials)


class _Keeping(Choosing):
    """Keeps what ``closest`` would be with each candidate."""

    def __init__(
        self, rows: Dense, closest: Floats, last: Floats, n_trials: int, *, xp: Namespace
    ) -> None:
        super().__init__(rows, closest, last, xp=xp)
        self._nearer = np.empty((rows.n_points, padded_to_vectors(n_trials)), closest.dtype)
        self._best: int | None = None

    def take(self, best: Candidate, indices: NDArray[Any]) -> None:
        super().take(best, indices)
        self._best = int(np.argmax(indices == best.index))

    def fold_last(self) -> None:
        if self._best is None:
            super().fold_last()
            return
        n_points, number, folded = self.rows.n_points, self._best, np.empty_like(self.closest)

        def copy_part(start: int, stop: int) -> None:
            folded[start:stop] = self._nearer[start:stop, number]

        in_parts(copy_part, n_points, n_tasks_for(n_points, _COPIED), folded.dtype)
        self.closest = folded

    def potentials(self, candidates: Floats, n_left: int) -> Array:
        del n_left
        task = in_row_lanes(self.rows, self.closest, candidates, self._nearer)
        return added_potentials(self.rows, candidates, task)
