"""Mean and spread of the rows."""

from typing import NamedTuple

from kmeans_xp.devices import Array, DType, Namespace, accumulation_dtype, tile_shape
from kmeans_xp.kernels.kernel import kernel
from kmeans_xp.kernels.rows import Rows
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = ["BothMoments", "Moments", "Spread", "both_moments", "column_moments", "spread"]


class Moments(NamedTuple):
    """Weighted sums of the rows and of their squares, column by column, about an origin.

    Parameters
    ----------
    mass : accumulated 0-d array
        Sum of the weights; the exact number of rows if there are none.
    sums, sq_sums : accumulated arrays of shape (n_features,)
    """

    mass: Array
    sums: Array
    sq_sums: Array


class BothMoments(NamedTuple):
    """Moments of the same rows, without their weights and with them."""

    plain: Moments
    weighted: Moments


class Spread(NamedTuple):
    """The mean and the spread of the rows, on the device.

    Parameters
    ----------
    origin : array of shape (n_features,)
        The mean of the rows, rounded to the dtype of the computation.
    numbers : accumulated array of shape (3,)
        The mean variance of the columns; the weighted sum of the squared distances to
        ``origin``; the sum of the weights. One array, since each read waits for the device.
    """

    origin: Array
    numbers: Array


@kernel()
def column_moments(rows: Rows, *, xp: Namespace) -> Moments:
    """Return the moments of the rows about their origin, in one pass.

    Parameters
    ----------
    rows : Rows of n_points
    xp : namespace

    Returns
    -------
    Moments
        The order of additions depends only on shapes.
    """
    size, _ = tile_shape(rows, 1, xp=xp)
    dtype = accumulation_dtype(rows.device, xp=xp)
    return merged_in_tree(_tile_moments(tile, dtype, xp=xp) for _, tile in rows.tiles(size))


@kernel()
def both_moments(rows: Rows, *, xp: Namespace) -> BothMoments:
    """Return the moments of the rows without their weights and with them.

    Parameters
    ----------
    rows : Rows of n_points
    xp : namespace

    Returns
    -------
    BothMoments
        As from ``column_moments``; the same moments twice if there are no weights.
    """
    weighted = column_moments(rows, xp=xp)
    if rows.weights is None:
        return BothMoments(weighted, weighted)
    return BothMoments(column_moments(rows.unweighted(), xp=xp), weighted)


@kernel(about="d")
def spread(plain: Moments, weighted: Moments, about: Array, *, xp: Namespace) -> Spread:
    """Return the mean of the rows, their variance, and their sum of squares about the mean.

    Parameters
    ----------
    plain, weighted : Moments
        Moments about ``about``, without the rows' weights and with them.
    about : array of shape (n_features,)
        In the dtype of the computation.
    xp : namespace

    Returns
    -------
    Spread
        Origin and variance ignore the weights.
    """
    mass, sums, sq_sums = weighted
    wide = xp.astype(about, sums.dtype, copy=False)
    mean = plain.sums / plain.mass
    origin = xp.astype(wide + mean, about.dtype, copy=False)
    step = xp.astype(origin, sums.dtype, copy=False) - wide
    # sum w |x - o|^2, where o = about + step: no second pass over the rows.
    total_sq = sq_sums - 2.0 * step * sums + mass * step**2
    variance = plain.sq_sums / plain.mass - mean**2
    return Spread(origin, xp.stack([xp.mean(variance), xp.sum(total_sq), mass]))


def _tile_moments(tile: Rows, dtype: DType, *, xp: Namespace) -> Moments:
    points = xp.astype(tile.centred(), dtype, copy=False)
    if tile.weights is None:
        mass = xp.full((), tile.n_points, dtype=dtype, device=tile.device)
        return Moments(mass, xp.sum(points, axis=0), xp.sum(points * points, axis=0))
    weights = xp.astype(tile.weights, dtype, copy=False)[:, None]
    weighted = points * weights
    return Moments(xp.sum(weights), xp.sum(weighted, axis=0), xp.sum(weighted * points, axis=0))
