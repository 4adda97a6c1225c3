"""Problems on which labels by tensor cores could go wrong, each from a seed."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "Problem", "problem_of"]

Host = NDArray[Any]


class Problem(NamedTuple):
    """Rows, relative to no origin or to one, and centroids relative to it."""

    kind: str
    points: Host
    origin: Host | None
    centroids: Host


#: what is hard about a problem
KINDS = (
    "normal",
    "clusters",
    "twins one ulp apart",
    "midpoints",
    "midpoints near centroids of halves",
    "midpoints that are halves",
    "equal centroids",
    "rows of all lengths",
    "far from zero",
    "far from zero, centred",
    "Cauchy",
    "small integers",
    "tenths",
    "zeros",
    "1e-22",
    "1e15",
    "squares near the greatest number",
    "far greater rows",
    "far greater centroids",
    "sparse",
    "not finite",
)
_FEATURES = (1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 65, 100, 127, 128)
_WIDE_FEATURES = (129, 144, 160, 192, 200)
_CLUSTERS = (1, 2, 3, 8, 63, 64, 65, 100, 128, 129, 200, 300)


def problem_of(seed: int, most_points: int = 80, *, is_wide: bool = False) -> Problem:
    """Return the problem of a seed; consecutive seeds go through all kinds and dtypes."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    n_features = int(rng.choice(_WIDE_FEATURES if is_wide else _FEATURES))
    n_clusters, n_points = int(rng.choice(_CLUSTERS)), int(rng.integers(1, most_points + 1))
    # Of these kinds some are beyond the reach of float16.
    beyond = ("1e-22", "1e15", "squares near the greatest number", "far greater rows")
    is_half = seed // len(KINDS) % 3 == 2 and kind not in beyond
    scale = 10.0 ** (rng.uniform(-1, 1) if is_half else rng.uniform(-6, 6))
    points = rng.standard_normal((n_points, n_features)) * scale
    centroids = rng.standard_normal((n_clusters, n_features)) * scale
    origin = None
    if kind == "clusters":
        points = centroids[rng.integers(n_clusters, size=n_points)] + points / 4
    elif kind == "twins one ulp apart":
        half = n_clusters // 2
        rounded = centroids.astype(np.float32)
        rounded[half:] = np.nextafter(rounded[: n_clusters - half], np.float32(np.inf))
        centroids = rounded.astype(np.float64)
    elif kind == "midpoints":
        points = _midpoints(centroids, n_points, rng)
    elif kind == "midpoints near centroids of halves":
        # Rounding takes something off the rows alone.
        centroids = rng.integers(-8, 9, centroids.shape)
        noise = rng.standard_normal(points.shape) / 1000
        points = _midpoints(centroids, n_points, rng) + noise
    elif kind == "midpoints that are halves":
        # Rounding takes nothing off: only the order of adding can tell centroids apart.
        centroids = 2 * rng.integers(-500, 501, centroids.shape)
        points = _midpoints(centroids, n_points, rng)
    elif kind == "equal centroids":
        centroids = centroids[rng.integers(max(1, n_clusters // 3), size=n_clusters)]
    elif kind == "rows of all lengths":
        points *= 10.0 ** rng.uniform(-12, 0, (n_points, 1))
    elif kind == "far from zero":
        points, centroids = points + 1000 * scale, centroids + 1000 * scale
    elif kind == "far from zero, centred":
        points = points + 1000 * scale
        origin = points.mean(axis=0).astype(np.float32)
    elif kind == "Cauchy":
        points, centroids = (rng.standard_cauchy(each.shape) for each in (points, centroids))
    elif kind == "small integers":
        points, centroids = (rng.integers(0, 3, each.shape) for each in (points, centroids))
    elif kind == "tenths":
        points, centroids = (rng.integers(0, 10, each.shape) / 10 for each in (points, centroids))
    elif kind == "zeros":
        points[::2] = 0
        centroids[:: int(rng.integers(1, 4))] = 0
    elif kind in ("1e-22", "1e15"):
        points, centroids = (each / scale * float(kind) for each in (points, centroids))
    elif kind == "squares near the greatest number":
        points, centroids = (
            each / scale * 10.0 ** rng.uniform(17, 19.5) for each in (points, centroids)
        )
    elif kind == "far greater rows":
        points *= 2.0 ** rng.integers(20, 50)
    elif kind == "far greater centroids":
        centroids *= 2.0 ** rng.integers(20, 50)
    elif kind == "sparse":
        points, centroids = (each * (rng.random(each.shape) < 0.1) for each in (points, centroids))
    elif kind == "not finite":
        points[0, 0], points[-1, -1] = rng.choice([np.inf, -np.inf, np.nan], 2)
        if seed % 2:
            centroids[n_clusters // 2, 0] = rng.choice([np.inf, np.nan])
    with np.errstate(over="ignore"):
        points = points.astype(np.float16 if is_half else np.float32)
    return Problem(kind, points, origin, centroids.astype(np.float32))


def _midpoints(centroids: Host, n_points: int, rng: np.random.Generator) -> Host:
    ends = rng.integers(len(centroids), size=(2, n_points))
    return (centroids[ends[0]] + centroids[ends[1]]) / 2


def spread_and_tailed(
    shape: tuple[int, int, int],
    spread: tuple[float, int],
    tail: str,
    dtype: str,
    rng: np.random.Generator,
) -> tuple[Host, Host]:
    """Return rows and centroids: some with long tails, one ulp apart, or half-way between two.

    ``shape`` has the numbers of rows, features and centroids, ``spread`` an offset and an exponent.
    """
    (n_points, n_features, n_clusters), (offset, exponent) = shape, spread
    draw = rng.standard_cauchy if tail == "cauchy" else rng.standard_normal
    centroids = (draw((n_clusters, n_features)) + offset) * 2.0**exponent
    points = (draw((n_points, n_features)) + offset) * 2.0**exponent
    if tail == "ulps":
        centroids = centroids[rng.integers(1 + n_clusters // 4, size=n_clusters)].astype(dtype)
        centroids = np.nextafter(centroids, rng.choice([-np.inf, np.inf], centroids.shape))
    if tail == "midpoints":
        ends = rng.integers(n_clusters, size=(2, n_points))
        points = (centroids[ends[0]] + centroids[ends[1]]) / 2
    return points.astype(dtype), centroids.astype(dtype)


def tenths(
    n_features: int, n_clusters: int, dtype: str, rng: np.random.Generator
) -> tuple[Host, Host, Host]:
    """Return rows, an origin and centroids of multiples of 0.1, whose scores are nearly equal."""
    points = (rng.integers(0, 10, (400, n_features)) / 10).astype(dtype)
    origin = points[0]
    return points, origin, points[rng.integers(400, size=n_clusters)] - origin


def rows_of_kind(
    kind: str, n_rounds: int, dtype: str
) -> Iterator[tuple[int, Host, Host | None, tuple[Host, Host]]]:
    """Yield seeds, rows of a kind, their origin, and two sets of centroids, one of some rows."""
    first = KINDS.index(kind)
    for seed in range(first, first + n_rounds * len(KINDS), len(KINDS)):
        problem = problem_of(seed, 200, is_wide=seed % 2 == 1)
        points = problem.points.astype(dtype)
        origin = None if problem.origin is None else problem.origin.astype(dtype)
        some = points[: len(problem.centroids)].copy()
        yield seed, points, origin, (problem.centroids.astype(dtype), some)
