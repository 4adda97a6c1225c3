"""Numbers as people read them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["counted", "formatted", "shortened"]

_LEAST_GROUPED = 10_000


def counted(number: int, noun: str) -> str:
    """Return how many there are, with the noun's plural where that is not one.

    Parameters
    ----------
    number : int
        How many.
    noun : str
        In the singular, of a regular plural.

    Returns
    -------
    str
        With thousands apart.

    Examples
    --------
    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def formatted(
    values: np.ndarray[Any, Any], n_digits: int = 3, *, spread: float | None = None
) -> list[str]:
    """Return numbers with as many decimals as tell them apart to `n_digits` digits.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
        Numbers that are read together, such as a column of a table; at least one.
    n_digits : int, default=3
        Digits of their spread that are kept; of the number itself where they are equal.
    spread : float, default=None
        How far apart they are; None takes the greatest less the least.

    Returns
    -------
    list of str
        All with as many decimals; with thousands apart if one of them has five digits.

    Examples
    --------
    >>> import numpy as np
    >>> formatted(np.array([1018.1811, 1015.2]))
    ['1018.18', '1015.20']
    """
    largest = float(np.abs(values).max())
    spread = spread or float(np.ptp(values)) or largest
    if not 1e-6 < spread < 1e15 or largest >= 1e15:
        return [f"{value:.4g}" for value in values]
    decimals = max(0, n_digits - 1 - math.floor(math.log10(spread)))
    grouped = "," if largest >= _LEAST_GROUPED else ""  # 1994 may be a year
    return [f"{value:z{grouped}.{decimals}f}" for value in values]


def shortened(text: str, length: int) -> str:
    """Return a text of at most this many characters, its end replaced by an ellipsis.

    Parameters
    ----------
    text : str
        Such as the name of a column.
    length : int
        Most characters, at least 1.

    Returns
    -------
    str
        The text itself if it is short enough.

    Examples
    --------
    >>> shortened("temperature", 5)
    'temp…'
    """
    return text if len(text) <= length else f"{text[: length - 1]}…"
