"""Add partial results in an order that depends only on their number."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

__all__ = ["added", "merged_in_tree"]

T = TypeVar("T")


def added(left: T, right: T) -> T:
    """Return the sum of two partial results: arrays, or (nested) NamedTuples of arrays."""
    if isinstance(left, tuple):
        pairs = zip(left, cast(Any, right), strict=True)
        return cast(T, type(left)(*(added(a, b) for a, b in pairs)))
    return cast(T, left + cast(Any, right))


def merged_in_tree(partials: Iterable[T], merge: Callable[[T, T], T] = added) -> T:
    """Merge partial results pairwise, as a balanced tree in their order.

    The same partials give bit-equal sums, no matter who computed them and when. The rounding
    error grows with the logarithm of their number, and so does the number of partials in memory.

    Parameters
    ----------
    partials : iterable
        At least one, in row order.
    merge : callable
        Merges a left and a right part.

    Returns
    -------
    T
        All partials merged.
    """
    waiting: list[tuple[int, T]] = []  # (height, merged part): a binary counter
    for partial in partials:
        height, part = 0, partial
        while waiting and waiting[-1][0] == height:
            part = merge(waiting.pop()[1], part)
            height += 1
        waiting.append((height, part))
    _, total = waiting.pop()
    while waiting:
        total = merge(waiting.pop()[1], total)
    return total
