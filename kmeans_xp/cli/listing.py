"""Lists of names in messages: all names, or the first of many."""

from collections.abc import Iterable

__all__ = ["listed"]

#: number of names that fit in a line
MOST_NAMES = 12


def listed(names: Iterable[object], most: int = MOST_NAMES) -> str:
    """Join names with commas; after `most` of them, say how many more there are."""
    told = list(map(str, names))
    more = len(told) - most
    return ", ".join(told if more <= 0 else [*told[:most], f"{more:,} more"])
