"""Names in a message: all of a few, the first of many."""

from collections.abc import Iterable

__all__ = ["listed"]

#: names that a line has room for
MOST_NAMES = 12


def listed(names: Iterable[object], most: int = MOST_NAMES) -> str:
    """Return names with commas between, and how many more there are than `most`."""
    told = list(map(str, names))
    more = len(told) - most
    return ", ".join(told if more <= 0 else [*told[:most], f"{more:,} more"])
