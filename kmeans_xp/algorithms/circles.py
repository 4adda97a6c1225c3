"""Runs that go round in a circle: labels alternate where rows differ only by rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmeans_xp.algorithms.lloyd import Iteration

__all__ = ["n_steps_of_circle"]

#: How many last iterations are compared at each step. A circle of at most half of them is found as
#: soon as it was gone round twice. Several short circles together are a long one.
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
    return _n_steps_of_short(iterations) or _n_steps_of_long(iterations)


def _n_steps_of_short(iterations: Sequence[Iteration]) -> int:
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


def _n_steps_of_long(iterations: Sequence[Iteration]) -> int:
    """Compare the last iteration with one other, which moves on when their number doubles [1]_.

    References
    ----------
    .. [1] R. P. Brent, "An improved Monte Carlo factorization algorithm", BIT 20 (1980).
    """
    n_iterations = len(iterations)
    if n_iterations <= _LOOKED_AT:
        return 0
    numbers = iterations[-1][1:]
    before = (1 << (n_iterations - 1).bit_length()) // 2  # the largest power of 2 below
    n_steps = n_iterations - before
    if iterations[before - 1][1:] != numbers or 2 * n_steps <= _LOOKED_AT:
        return 0
    # One equal iteration may be chance, which would cost as many steps as lie between.
    last = [iteration[1:] for iteration in iterations[-2 * n_steps :]]
    if last[:n_steps] != last[n_steps:]:
        return 0
    times = last[n_steps:].count(numbers)
    return n_steps if times & (times - 1) == 0 else 0
