"""Dask arrays and dataframes as rows: their checks, and weights in the same chunks."""

import math
from collections.abc import Generator
from functools import partial
from itertools import accumulate
from typing import Any

import array_api_compat.numpy
import numpy as np

from kmeans_xp.blocks.elsewhere import Elsewhere
from kmeans_xp.blocks.on_dask import tasks
from kmeans_xp.blocks.on_dask.blocks import OnDask
from kmeans_xp.blocks.on_dask.chunks import Work
from kmeans_xp.blocks.on_dask.passes import Kept, Pass
from kmeans_xp.blocks.on_dask.store import Store
from kmeans_xp.blocks.on_dask.tasks import Settings, as_points
from kmeans_xp.config import default_device, get_config, n_threads_of_context
from kmeans_xp.devices import (
    Array,
    Namespace,
    Placement,
    adopted,
    device_kind,
    device_of,
    is_array,
    library_name,
    namespace_of,
    to_host,
)

__all__ = ["DaskRows", "computed", "rows_on_dask"]


def computed(values: Any) -> Any:
    """Compute lazy values of Dask; return all others as they are."""
    return values.compute() if hasattr(values, "__dask_graph__") else values


def rows_on_dask(X: Any) -> "DaskRows | None":
    """Return the rows of a Dask collection, without computing it; None for any other X."""
    return DaskRows(X) if _is_collection(X) else None


def _is_collection(X: Any) -> bool:
    # Who has a collection has imported Dask; do not import it for others.
    module = type(X).__module__.partition(".")[0]
    return module in ("dask", "dask_expr") and hasattr(X, "__dask_graph__")


class DaskRows(Elsewhere):
    """Rows of a dask array or dataframe that is not computed yet.

    Parameters
    ----------
    X : dask array or dataframe

    Raises
    ------
    ValueError
        If X does not have two dimensions, has no columns, or has columns without numbers.
    """

    def __init__(self, X: Any) -> None:
        _refuse_wrong_shape(X)
        is_frame = hasattr(X, "columns")
        self.name = f"X (Dask's {type(X).__name__})"
        self.header = X._meta if is_frame else _header(X)
        self.dtype = _floating(_common_dtype(X._meta) if is_frame else X.dtype)
        self._collection = _array_of(X, self.dtype) if is_frame else _in_rows(X)
        self._device: str | None = None
        self._store: Store | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns; rows are counted if the collection does not know them."""
        n_points = self._collection.shape[0]
        if math.isnan(n_points):
            # On a cluster, hold the chunks first, so that they are computed once.
            n_points = sum(self._stored(is_revisited=True).sizes)
        return int(n_points), int(self._collection.shape[1])

    def placement(self, device: str | None) -> Placement:
        """Return the placement of operands and results: the host, except for the user's results."""
        asked = default_device() if device is None else device
        kind = None if asked in (None, "auto") else device_kind(str(asked))
        self._device = None if kind is None else asked
        xp = array_api_compat.numpy
        library, home = xp, "cpu"
        if is_array(self.header):
            library, home = namespace_of(self.header), device_of(self.header)
        where = f"where the chunks are ({library_name(library)})"
        if kind is not None:
            where = f"on {kind[0]}, since device={asked!r} was asked for"
        return Placement(xp, "cpu", library, home, f"Dask's tasks compute {where}")

    def checked_weights(self, sample_weight: Any) -> Any:
        """Return weights of the right shape; their values are checked when they are split."""
        if sample_weight is None:
            return None
        if _is_collection(sample_weight):
            return _one_column(sample_weight)
        weights = to_host(adopted(sample_weight))
        if weights.ndim == 0:
            weights = np.full(self.shape[0], weights)
        if weights.dtype.kind == "c":
            raise ValueError(f"Complex data not supported\nsample_weight has {weights.dtype}.")
        if _one_column(weights).shape != self.shape[:1]:
            raise _wrong_length(weights.shape, self.shape[0])
        return weights.astype(np.float64)

    def blocks(
        self,
        weights: Any,
        placement: Placement,
        *,
        is_revisited: bool = False,
    ) -> OnDask:
        """Return the rows as blocks; workers hold them if there is more than one pass."""
        store = self._stored(is_revisited=is_revisited)
        store.settings = self._settings(store.scheduler.n_at_once)
        rows = OnDask(store, None)
        if weights is None:
            return rows
        kept = _kept_weights(store, weights) if _is_collection(weights) else rows.cut(weights)
        return OnDask(store, _checked(kept))

    def batches(self, weights: Any) -> Generator[tuple[Array, Array | None]]:
        """Yield the points and weights of each chunk that has rows."""
        rows = self.blocks(weights, self.placement(None))
        ends = list(accumulate(rows.sizes))
        for start, stop in zip([0, *ends], ends, strict=False):
            taken = rows.take(np.arange(start, stop))
            yield taken.points, taken.weights

    def _stored(self, *, is_revisited: bool) -> Store:
        if self._store is None:
            self._store = Store(self._collection, self._settings())
        if is_revisited:
            self._store.hold()
        return self._store

    def _settings(self, n_at_once: int | None = None) -> Settings:
        dtype = "float64" if self.dtype == np.float64 else "float32"
        n_features, precision = int(self._collection.shape[1]), get_config().precision
        n_threads = n_threads_of_context()
        return Settings(dtype, n_features, self._device, precision, n_threads, n_at_once)


def _refuse_wrong_shape(X: Any) -> None:
    n_dims = getattr(X, "ndim", None)
    if n_dims is None:
        raise TypeError(
            f"X is a {type(X).__name__} of Dask; convert it to a dask array or dataframe."
        )
    if n_dims != 2:
        raise ValueError(
            f"Expected 2D array, got {n_dims}D array instead (X is a {type(X).__name__} of "
            "Dask's). Reshape it using X.reshape(-1, 1) if it has a single feature."
        )
    if not int(_n_columns(X)) > 0:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={tuple(X.shape)}) while a minimum of 1 is "
            "required."
        )


def _n_columns(X: Any) -> int:
    n_columns = len(X.columns) if hasattr(X, "columns") else X.shape[1]
    if math.isnan(n_columns):
        raise ValueError("X does not know how many columns it has: use X.compute_chunk_sizes().")
    return int(n_columns)


def _header(X: Any) -> Array:
    """Return an array without rows in the chunks' library; NumPy's if that is no array library."""
    meta = X._meta
    xp: Namespace = namespace_of(meta) if is_array(meta) else array_api_compat.numpy
    device = device_of(meta) if is_array(meta) else "cpu"
    return xp.empty((0, _n_columns(X)), dtype=xp.float32, device=device)


def _common_dtype(header: Any) -> Any:
    """Return the dtype that columns are converted to; ValueError if some hold no numbers."""
    others = list(header.select_dtypes(exclude=["number", "bool"]).columns)
    if others:
        raise ValueError(f"Columns of X hold no numbers: {', '.join(map(repr, others))}.")
    kinds = [getattr(dtype, "numpy_dtype", dtype) for dtype in header.dtypes]
    return np.result_type(*kinds)


def _floating(dtype: Any) -> np.dtype[Any]:
    """Return the floating-point dtype of the rows after conversion."""
    dtype = np.dtype(dtype)
    if dtype.kind == "c":
        raise ValueError(f"Complex data not supported\nX has dtype {dtype}.")
    is_small = dtype in (np.float32, np.float16) or str(dtype) == "bfloat16"
    return np.dtype(np.float32 if is_small else np.float64)


def _array_of(frame: Any, dtype: np.dtype[Any]) -> Any:
    empty = np.empty((0, len(frame.columns)), dtype=dtype)
    return frame.map_partitions(partial(as_points, dtype=str(dtype)), meta=empty)


def _in_rows(X: Any) -> Any:
    """Return an array whose chunks hold whole rows."""
    return X if len(X.chunks[1]) == 1 else X.rechunk({1: -1})


def _one_column(weights: Any) -> Any:
    if weights.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weights.ndim}D array.")
    return weights


def _wrong_length(shape: tuple[Any, ...], n_points: int) -> ValueError:
    return ValueError(f"sample_weight.shape == {shape}, expected {(n_points,)}!")


def _kept_weights(store: Store, weights: Any) -> Kept:
    """Return weights in chunks as results for each row."""
    if hasattr(weights, "map_partitions"):
        empty = np.empty((0,), dtype=store.settings.dtype)
        weights = weights.map_partitions(partial(as_points, dtype=store.settings.dtype), meta=empty)
    work = Work.of(_cut_as(store, weights))
    given = work.grouped(store.chunks.bounds)
    places = given.places(store.known_sizes, "sample_weight")

    def add(reading: Pass) -> list[Any]:
        reading.graph.update(given.graph)
        return reading.tasks(
            tasks.held, given.entries, places, [store.settings.dtype] * len(places)
        )

    return Kept(store, add)


def _cut_as(store: Store, weights: Any) -> Any:
    """Split weights into the same chunks as the rows."""
    is_unknown = math.isnan(weights.shape[0])
    if (store.known_sizes is None or is_unknown) and len(weights.chunks[0]) == store.n_chunks:
        return weights  # a task checks their number
    if is_unknown:
        weights = weights.compute_chunk_sizes()
    if int(weights.shape[0]) != sum(store.sizes):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(sum(store.sizes),)}!")
    return weights.rechunk((store.sizes,))


def _checked(weights: Kept) -> Kept:
    """Return the weights; ValueError if they are invalid."""
    least, total = weights.reduce(_least_and_total, merge=_of_both)
    if not np.isfinite(total):
        raise ValueError("Input sample_weight contains NaN or infinity.")
    if least < 0:
        raise ValueError("Negative values in data passed to `sample_weight`.")
    if total == 0:
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def _least_and_total(weights: Array, *, xp: Namespace) -> tuple[Array, Array]:
    if int(weights.shape[0]) == 0:
        return np.inf, 0.0
    return xp.min(weights), xp.sum(weights)


def _of_both(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
    return min(left[0], right[0]), left[1] + right[1]
