"""Directions of rows: what scales each to one length, and which have none."""

from typing import NamedTuple

from kmeans_xp.devices import Array, Namespace, tile_shape
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.portable.moments import BothMoments
from kmeans_xp.kernels.rows import Rows

__all__ = ["MeasuredOnSphere", "measured_on_sphere", "sphere_factors", "without_direction"]


class MeasuredOnSphere(NamedTuple):
    """Rows of length ``RADIUS``, and their moments about zero.

    Parameters
    ----------
    rows : Rows
        Scaled as they are read, or copies.
    moments : BothMoments
    """

    rows: Rows
    moments: BothMoments


@kernel()
def sphere_factors(rows: Rows, *, xp: Namespace) -> Array | None:  # noqa: ARG001
    """Return what each row is multiplied by to have the length ``RADIUS``.

    Parameters
    ----------
    rows : Rows of n_points
        Without an origin.
    xp : namespace

    Returns
    -------
    array of shape (n_points,), or None
        In the rows' dtype, above 0. None where kernels use no factors, and where one or a square
        overflows or vanishes, as for a row of zeros: then rows are scaled with more care.
    """
    return None


@kernel()
def measured_on_sphere(rows: Rows, *, xp: Namespace) -> MeasuredOnSphere | None:  # noqa: ARG001
    """Return rows scaled to length ``RADIUS``, and their moments, from one pass.

    Parameters
    ----------
    rows : Rows of n_points
        Without an origin.
    xp : namespace

    Returns
    -------
    MeasuredOnSphere or None
        The bits of scaled rows are those of ``SphereRows`` with ``sphere_factors``. None where one
        pass for each is as fast, and where ``sphere_factors`` is None.
    """
    return None


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
