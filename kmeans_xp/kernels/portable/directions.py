"""Which rows have no direction."""

from kmeans_xp.devices import Array, Namespace, tile_shape
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.rows import Rows

__all__ = ["without_direction"]


@kernel()
def without_direction(rows: Rows, *, xp: Namespace) -> Array:
    """Return for each row whether it equals the origin, and so has no direction from it.

    Parameters
    ----------
    rows : Rows of n_points
    xp : namespace

    Returns
    -------
    array of bool, shape (n_points,)
        True where a row equals the origin in every feature; False where one is NaN.
    """
    size, _ = tile_shape(rows, 1, xp=xp)
    parts = [xp.all(tile.centred() == 0.0, axis=1) for _, tile in rows.tiles(size)]
    return parts[0] if len(parts) == 1 else xp.concat(parts)
