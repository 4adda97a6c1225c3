"""Reduce the colours of a picture to a palette, by k-means."""

from typing import Any, NamedTuple

import numpy as np

from kmeans_xp import KMeans, assign
from kmeans_xp.cli.images import Indexed, Picture
from kmeans_xp.devices import to_host

__all__ = ["Quantized", "mean_sq_error", "psnr", "quantized"]

Matrix = np.ndarray[Any, Any]

#: number of pixels to assign at a time
BAND = 2**20


class Quantized(NamedTuple):
    """A picture with few colours.

    Parameters
    ----------
    indexed : Indexed
    n_distinct : int
        Number of colours of the original picture.
    device_reason : str
        Which device learned the colours, and why.
    """

    indexed: Indexed
    n_distinct: int
    device_reason: str


def quantized(
    picture: Picture, n_colours: int, *, seed: int, max_pixels: int, device: str | None
) -> Quantized:
    """Return the picture in at most `n_colours` colours.

    K-means learns them from all colours of the picture, weighted by their pixels. If there are
    more than `max_pixels` colours, it uses that number of random pixels. Distances are between
    red, green and blue. If some pixels are not opaque, they are between these times alpha, and
    alpha.
    """
    distinct, counts = np.unique(picture.packed, return_counts=True)
    if len(distinct) <= n_colours:
        palette, reason = _unpacked(distinct), "the picture already has few enough colours"
    else:
        # Handle fully transparent pixels separately, so that they stay transparent.
        clear = distinct[:1][distinct[:1] == 0]
        if len(clear) == n_colours:
            raise ValueError(
                "Some pixels of the picture are transparent and some are not: one colour cannot "
                "show that, so use 2 or more."
            )
        model = KMeans(n_colours - len(clear), random_state=seed, device=device)
        if len(distinct) <= max_pixels:
            seen, weights = distinct[len(clear) :], counts[len(clear) :].astype(np.float32)
        else:
            seen, weights = _sample(picture.packed, max_pixels, seed), None
        model.fit(_features(_unpacked(seen), picture.is_opaque), sample_weight=weights)
        centroids = to_host(model.cluster_centers_)
        palette = np.concatenate([_unpacked(clear), _colours(centroids, picture.is_opaque)])
        reason = model.device_reason_
    palette = _ordered(palette)
    indices = _nearest(picture, palette, device)
    return Quantized(_without_unused(Indexed(palette, indices)), len(distinct), reason)


def mean_sq_error(picture: Picture, indexed: Indexed) -> float:
    """Return the mean over pixels and channels of the squared differences, 0 to 255 squared.

    The channels are those from which the colours were learned: hidden colours do not count.
    """
    opaque = picture.is_opaque
    rows, others = (array.reshape(-1, 4) for array in (picture.pixels, indexed.pixels))
    total = 0.0
    for start in range(0, len(rows), BAND):
        band = slice(start, start + BAND)
        difference = _features(rows[band], opaque) - _features(others[band], opaque)
        total += float(np.sum(difference.astype(np.float64) ** 2))
    return total / (len(rows) * (3 if opaque else 4))


def psnr(sq_error: float) -> float:
    """Return the peak signal-to-noise ratio in decibels, from the mean squared error of 8 bits."""
    return 10.0 * float(np.log10(255.0**2 / sq_error)) if sq_error else float("inf")


def _unpacked(packed: Matrix) -> Matrix:
    return np.ascontiguousarray(packed).view(np.uint8).reshape(-1, 4)


def _sample(packed: Matrix, max_pixels: int, seed: int) -> Matrix:
    visible: Matrix = packed[packed != 0]
    if len(visible) <= max_pixels:
        return visible
    rng = np.random.default_rng(seed)
    drawn: Matrix = rng.choice(visible, max_pixels, replace=False, shuffle=False)
    return drawn


def _features(colours: Matrix, opaque: bool) -> Matrix:
    """Return rows to cluster: red, green, blue; or these times alpha, and alpha."""
    rgb, alpha = colours[:, :3].astype(np.float32), colours[:, 3:].astype(np.float32)
    return rgb if opaque else np.concatenate([rgb * (alpha / 255), alpha], axis=1)


def _colours(features: Matrix, opaque: bool) -> Matrix:
    """Undo `_features`, and round to the nearest colours."""
    if opaque:
        rgb, alpha = features, np.full((len(features), 1), 255.0)
    else:
        alpha = features[:, 3:]
        rgb = features[:, :3] * (255.0 / np.maximum(alpha, 1.0))
    colours = np.clip(np.concatenate([rgb, alpha], axis=1), 0.0, 255.0)
    rounded: Matrix = np.round(colours).astype(np.uint8)
    return rounded


def _ordered(palette: Matrix) -> Matrix:
    """Return the different colours, from clear to opaque and from dark to light."""
    different: Matrix = np.unique(palette, axis=0)
    lightness, alpha = different[:, :3].sum(axis=1, dtype=np.int64), different[:, 3]
    ordered: Matrix = different[np.lexsort([lightness, alpha])]
    return ordered


def _nearest(picture: Picture, palette: Matrix, device: str | None) -> Matrix:
    rows, opaque = picture.pixels.reshape(-1, 4), picture.is_opaque
    centroids = _features(palette, opaque)
    indices = np.empty(len(rows), dtype=np.uint8)
    for start in range(0, len(rows), BAND):
        band = slice(start, start + BAND)
        indices[band] = to_host(assign(_features(rows[band], opaque), centroids, device=device)[0])
    return indices.reshape(picture.pixels.shape[:2])


def _without_unused(indexed: Indexed) -> Indexed:
    used, indices = np.unique(indexed.indices, return_inverse=True)
    shape = indexed.indices.shape
    return Indexed(indexed.palette[used], indices.reshape(shape).astype(np.uint8))
