"""Find the smallest of some values."""

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.kernel import kernel

__all__ = ["places_of_least"]


@kernel(values="n")
def places_of_least(values: Array, n: int, *, xp: Namespace) -> Array:
    """Return the indices of the smallest values, in ascending order of the values.

    Parameters
    ----------
    values : array of shape (n_values,)
    n : int
        Number of indices, at least 1.
    xp : namespace

    Returns
    -------
    integer array of shape (min(n, n_values),)
        Equal values are in the order of their indices.
    """
    # Not a partition: CuPy's has a race between the threads of a warp (seen in 14.2). For
    # libraries without one, array_api_extra sorts too.
    return xp.argsort(values, stable=True)[: min(n, int(values.shape[0]))]
