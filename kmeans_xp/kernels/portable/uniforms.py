"""Random numbers for rows: each depends only on the index of its row."""

import numpy as np

from kmeans_xp.devices import Array, Namespace, accumulation_dtype, from_host
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.rows import Rows

__all__ = ["row_uniforms"]

#: numbers that Philox4x64 makes from one value of its counter
_WORDS = 4


@kernel()
def row_uniforms(
    rows: Rows, start: int, key: tuple[int, int], stream: int, *, xp: Namespace
) -> Array:
    """Return a random number for each row, independent of how the rows are cut into blocks.

    Parameters
    ----------
    rows : Rows of n_points
    start : int
        Index of the first row among all rows.
    key : tuple of two int
        The seed, of 64 bits each.
    stream : int
        Each stream of a key has other numbers.
    xp : namespace

    Returns
    -------
    accumulated array of shape (n_points,)
        In [0, 1), of 53 bits: the numbers of NumPy's ``Philox(key=key,
        counter=[0, stream, 0, 0])`` from ``start`` on, bit for bit (Philox4x64-10). Rounded where
        the device has no float64, which may give 1.

    References
    ----------
    .. [1] J. Salmon, M. Moraes, R. Dror and D. Shaw, "Parallel random numbers: as easy as 1, 2,
       3", SC 2011.
    """
    n_before, n_skipped = divmod(start, _WORDS)
    counter = np.asarray([n_before, stream, 0, 0], dtype=np.uint64)
    generator = np.random.Generator(
        np.random.Philox(key=np.asarray(key, dtype=np.uint64), counter=counter)
    )
    uniforms = generator.random(n_skipped + rows.n_points)[n_skipped:]
    dtype = accumulation_dtype(rows.device, xp=xp)
    return from_host(uniforms, xp=xp, device=rows.device, dtype=dtype)
