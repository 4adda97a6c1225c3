"""Where the least of some values are."""

from kmeans_xp.devices import Array, Namespace
from kmeans_xp.kernels.kernel import kernel

__all__ = ["places_of_least"]


@kernel(values="n")
def places_of_least(values: Array, n: int, *, xp: Namespace) -> Array:
    """Return the indices of the least values, in the order of the values.

    Parameters
    ----------
    values : array of shape (n_values,)
    n : int
        How many, at least 1.
    xp : namespace

    Returns
    -------
    integer array of shape (min(n, n_values),)
        Of equal values those that lie first come first.
    """
    # No partition: CuPy's has a race between the threads of a warp (seen in 14.2), and where
    # there is none, array_api_extra sorts too.
    return xp.argsort(values, stable=True)[: min(n, int(values.shape[0]))]
