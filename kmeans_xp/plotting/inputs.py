"""What is given to be drawn: arrays of any library and device, checked and sampled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kmeans_xp import devices
from kmeans_xp.checks import check_integer

if TYPE_CHECKING:
    HostArray = np.ndarray[Any, Any]

__all__ = [
    "Labelled",
    "Moments",
    "any_array",
    "check_fitted",
    "check_sampling",
    "checked_arrays",
    "checked_labels",
    "checked_names",
    "checked_points",
    "fitted_centroids",
    "host_centroids",
    "host_rows",
    "moments",
    "predicted",
    "sampled",
    "taken",
    "tiles",
]

ROWS_A_STEP = 65_536


def any_array(values: Any, name: str) -> Any:
    """Return an array of real numbers of some library; lists and data frames become NumPy's."""
    values = devices.adopted(values)
    if not devices.is_array(values):
        try:
            values = np.asarray(values)
        except ValueError as error:  # rows of several lengths
            raise ValueError(f"{name} must be an array of numbers: {error}") from error
    if not devices.is_of_kind(values, ("bool", "integral", "real floating")):
        raise ValueError(f"{name} must be an array of real numbers, got dtype {values.dtype}")
    return values


def _column_names(X: Any) -> list[str] | None:
    """Return the names of a data frame's columns, None where there are none."""
    names = getattr(X, "columns", None)
    if names is None or not all(isinstance(name, str) for name in names):
        return None
    return list(names)


def taken(points: Any, rows: HostArray) -> Any:
    """Return these rows where they are."""
    if isinstance(points, np.ndarray):
        return points[rows]
    xp, device = devices.namespace_of(points), devices.device_of(points)
    with devices.working_device(xp, device):
        return xp.take(points, devices.from_host(rows, xp=xp, device=device), axis=0)


def host_rows(points: Any, rows: HostArray | slice | None = None, *, name: str = "X") -> HostArray:
    """Return these rows, or all, as finite float64 on the host; only they leave their device."""
    if isinstance(rows, slice):
        points = points[rows, :]
    elif rows is not None:
        points = taken(points, rows)
    host: HostArray = devices.to_host(points).astype(np.float64, copy=False)
    if not np.isfinite(host).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return host


def host_centroids(centroids: Any) -> HostArray:
    """Return centroids as float64 on the host, or raise if they cannot be drawn."""
    centroids = any_array(centroids, "centroids")
    if centroids.ndim != 2 or centroids.shape[0] == 0:
        raise ValueError(
            "centroids must be 2-D, one row a cluster and at least one, "
            f"got shape {tuple(centroids.shape)}"
        )
    return host_rows(centroids, name="centroids")


def checked_points(points: Any, n_features: int | None = None) -> Any:
    """Return points as an array of their library, or raise if they cannot be drawn."""
    points = any_array(points, "X")
    if points.ndim != 2 or 0 in points.shape:
        raise ValueError(
            f"X must be 2-D with at least one row and one column, got shape {tuple(points.shape)}"
        )
    if n_features is not None and points.shape[1] != n_features:
        raise ValueError(
            "X and centroids must have the same number of columns, "
            f"got {points.shape[1]} and {n_features}"
        )
    return points


def checked_labels(labels: Any, n_points: int, n_clusters: int | None = None) -> HostArray:
    """Return labels on the host, or raise unless each point has one below `n_clusters`."""
    host = devices.to_host(any_array(labels, "labels"))
    if host.shape != (n_points,) or host.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be one integer for each row of X, got shape {host.shape} and dtype "
            f"{host.dtype} for {n_points} rows"
        )
    if len(host) and host.min() < 0:
        raise ValueError(f"labels must not be negative, got {host.min()}")
    if len(host) and n_clusters is not None and host.max() >= n_clusters:
        raise ValueError(
            f"labels must be between 0 and {n_clusters - 1}, one for each centroid, "
            f"got {host.min()} to {host.max()}"
        )
    return host


class Labelled(NamedTuple):
    """Points where they are, and on the host their labels and the centroids."""

    points: Any
    labels: HostArray
    centroids: HostArray


def checked_arrays(X: Any, labels: Any, centroids: Any) -> Labelled:
    """Return arrays that fit together, or raise; without centroids, take the clusters' means."""
    if centroids is None:
        points = checked_points(X)
        on_host = checked_labels(labels, int(points.shape[0]))
        return Labelled(points, on_host, _means(points, on_host))
    centres = host_centroids(centroids)
    points = checked_points(X, centres.shape[1])
    return Labelled(points, checked_labels(labels, int(points.shape[0]), len(centres)), centres)


def checked_names(
    names: Any, n_features: int, *, X: Any = None, estimator: Any = None
) -> list[str]:
    """Return a name for each feature: as given, of a data frame, of the fit, or "x0", "x1", ..."""
    if names is None:
        names = _column_names(X)
    if names is None:
        names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return [f"x{i}" for i in range(n_features)]
    if not isinstance(names, Iterable) or isinstance(names, str):
        raise TypeError(f"feature_names must be a sequence of str, got {type(names).__name__}")
    given = [str(name) for name in names]
    if len(given) != n_features:
        raise ValueError(
            f"feature_names must have {n_features} names, one for each column, got {len(given)}"
        )
    return given


def check_fitted(estimator: Any) -> None:
    """Raise unless this is a fitted estimator."""
    from sklearn.utils.validation import check_is_fitted

    if not hasattr(estimator, "fit"):
        raise TypeError(
            f"estimator must be a fitted estimator, such as KMeans, got {type(estimator).__name__}"
        )
    check_is_fitted(estimator)


def fitted_centroids(estimator: Any) -> HostArray:
    """Return the estimator's centroids on the host, or raise if it has none."""
    check_fitted(estimator)
    if not hasattr(estimator, "cluster_centers_"):
        raise TypeError(
            f"{type(estimator).__name__} has no cluster_centers_: pass its labels to "
            "from_predictions"
        )
    return host_centroids(estimator.cluster_centers_)


def predicted(estimator: Any, X: Any) -> Any:
    """Return the labels of X under a fitted estimator."""
    return estimator.predict(X if _column_names(X) is not None else any_array(X, "X"))


def check_sampling(sample_size: Any, random_state: Any) -> None:
    """Raise if no sample can be drawn by these."""
    check_integer("sample_size", sample_size, 1, or_none=True)
    check_integer("random_state", random_state, 0, or_none=True)


def sampled(n_points: int, size: int | None, rng: np.random.Generator) -> HostArray | None:
    """Return the indices of a random sample, None where all points are taken."""
    if size is None or n_points <= size:
        return None
    return np.sort(rng.choice(n_points, size, replace=False))


def tiles(n_points: int) -> Iterator[slice]:
    """Yield the rows of each tile, none of them beyond the end."""
    for start in range(0, n_points, ROWS_A_STEP):
        yield slice(start, min(start + ROWS_A_STEP, n_points))


class Moments(NamedTuple):
    """Mean and standard deviation of each column."""

    mean: HostArray
    std: HostArray


def moments(points: Any) -> Moments:
    """Measure the columns in one pass of tiles, in float64 about the first row."""
    origin = host_rows(points, slice(0, 1))[0]
    n_points = int(points.shape[0])
    total, squares = np.zeros_like(origin), np.zeros_like(origin)
    for rows in tiles(n_points):
        tile = host_rows(points, rows) - origin
        total += tile.sum(axis=0)
        squares += np.square(tile).sum(axis=0)
    mean = total / n_points
    variance = np.maximum(squares / n_points - np.square(mean), 0.0)
    return Moments(origin + mean, np.sqrt(variance))


def _means(points: Any, labels: HostArray) -> HostArray:
    """Return the mean of each cluster's points, measured in tiles; each cluster must have some."""
    found, sizes = np.unique(labels, return_counts=True)
    if found[-1] >= len(found):
        raise ValueError(
            f"labels must be 0, 1, ... without gaps, got {len(found)} different ones up to "
            f"{found[-1]}: number the clusters again, or pass centroids"
        )
    sums = np.zeros((len(found), int(points.shape[1])))
    for rows in tiles(len(labels)):
        np.add.at(sums, labels[rows], host_rows(points, rows))
    return sums / sizes[:, None]
