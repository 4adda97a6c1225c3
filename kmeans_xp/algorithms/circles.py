"""Runs that go round in a circle: labels alternate where rows differ only by rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmeans_xp.algorithms.lloyd import Iteration

__all__ = ["n_steps_of_circle"]

#: How many last iterations are compared: the time this takes does not grow with a run. A circle is
#: found if it has at most half of them. Several short circles together are a long one.
_LOOKED_AT = 128


def n_steps_of_circle(iterations: Sequence[Iteration]) -> int:
    """Return the most steps that a circle may have, by the numbers of the last iterations.

    The numbers may repeat more often than the centroids do: the number of steps to try doubles
    with that of the iterations that are alike.

    Parameters
    ----------
    iterations : sequence of Iteration
        All of a run.

    Returns
    -------
    int
        0 where the numbers do not repeat.
    """
    if len(iterations) < 2 or iterations[-1].explained > iterations[-2].explained:
        return 0  # in a circle, at least one iteration does not explain more
    last = [iteration[1:] for iteration in iterations[: -_LOOKED_AT - 1 : -1]]
    for period in range(1, len(last) // 2 + 1):
        if last[:period] == last[period : 2 * period]:
            pairs = enumerate(zip(last, last[period:], strict=False))
            n_alike = next((i for i, (one, other) in pairs if one != other), len(last) - period)
            times = n_alike // period
            return 2 * n_alike if times & (times - 1) == 0 else 0
    return 0
