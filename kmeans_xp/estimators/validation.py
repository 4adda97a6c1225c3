"""Checks of arguments: each raises one clear error before any work."""

import math
import numbers
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.validation import validate_data

from kmeans_xp import blocks
from kmeans_xp.algorithms import METRICS
from kmeans_xp.blocks import Elsewhere, elsewhere, unnested
from kmeans_xp.devices import (
    Array,
    DType,
    Placement,
    adopted,
    as_csr,
    bring,
    choose,
    device_of,
    is_host_array,
    is_known_array,
    is_of_kind,
    is_sparse,
    lent,
    library_of,
    namespace_of,
    to_host,
    working_device,
)
from kmeans_xp.estimators.preparation import no_weight
from kmeans_xp.kernels import on_sphere

__all__ = [
    "as_random_state",
    "centroids_on_sphere",
    "check_enough_rows",
    "check_metric",
    "checked_centroids",
    "checked_points",
    "checked_weights",
    "is_array_like",
    "placed_points",
    "refuse_flag",
    "refuse_unmeasurable",
]


def checked_points(
    X: Any,
    *,
    estimator: Any = None,
    reset: bool = True,
    anywhere: bool = False,
    is_measured: bool = False,
) -> Any:
    """Return X as a 2-D array of real floating numbers, in its own library and on its device.

    Parameters
    ----------
    X : array-like, sparse matrix, or rows that are read by blocks
    estimator : estimator, optional
        Its features are compared with those of X, or set.
    reset : bool
        Whether to set them.
    anywhere : bool
        Whether rows may be read by blocks.
    is_measured : bool
        Whether the caller measures the spread and then calls ``refuse_unmeasurable``. This
        function then skips the visit of arrays on an accelerator.

    Returns
    -------
    array, matrix in CSR form, or Elsewhere
    """
    if is_known_array(X):
        X = adopted(X)
        if _is_plain(X) and _has_known_features(X, estimator, reset=reset):
            return X
    rows = elsewhere(X)
    # Memory maps are arrays too.
    if rows is not None and (anywhere or not isinstance(X, np.ndarray)):
        return _checked_elsewhere(rows, estimator, reset=reset, anywhere=anywhere)
    # Arrays of other libraries: become CuPy's if they are in CUDA memory, otherwise NumPy's.
    X = adopted(X)
    if not is_host_array(X):
        with working_device(namespace_of(X), device_of(X)):
            if is_sparse(X):
                return _checked_matrix(as_csr(X), estimator, reset=reset)
            _refuse_bad_shape(X)
            if is_measured and library_of(namespace_of(lent(X))).on_accelerator:
                _refuse_complex(X, "X")
            else:
                _refuse_bad_numbers(X, "X")
            if estimator is not None:
                validate_data(estimator, X, reset=reset, skip_check_array=True)
            return _floating(X)
    _refuse_times(X)
    if (found := unnested(X)) is not None:
        X, header = found
        if estimator is not None:
            validate_data(estimator, header, reset=reset, skip_check_array=True)
        return check_array(X, dtype=[np.float64, np.float32], input_name="X")
    if is_sparse(X):
        _refuse_bad_places(X)
        if _is_plain_matrix(X) and _has_known_features(X, estimator, reset=reset):
            return X
    # Half precision is computed in float32; scikit-learn would convert it to float64.
    is_half = str(getattr(X, "dtype", None)) in ("float16", "bfloat16")
    dtype = np.float32 if is_half else [np.float64, np.float32]
    if estimator is None:
        return check_array(X, accept_sparse="csr", dtype=dtype, input_name="X")
    return validate_data(estimator, X, reset=reset, accept_sparse="csr", dtype=dtype)


def placed_points(
    X: Any,
    device: str | None,
    *,
    estimator: Any = None,
    reset: bool = True,
    is_measured: bool = False,
) -> tuple[Any, Placement]:
    """Return checked rows, and where to compute with them.

    Parameters
    ----------
    X : array-like, sparse matrix, or rows that are read by blocks
    device : str or None
        As in ``choose``.
    estimator : estimator, optional
    reset, is_measured : bool
        As in ``checked_points``.

    Returns
    -------
    points : array, matrix in CSR form, or Elsewhere
        An array that NumPy's kernels compute with is NumPy's already.
    placement : Placement
    """
    if type(X) is not np.ndarray and is_known_array(X):
        # Lend it once, for the checks and for the computation: on few rows, that takes longer
        # than a step.
        shared = lent(X)
        if _is_plain(shared) and _has_known_features(shared, estimator, reset=reset):
            placement = choose(X, device, shared=shared)
            return (shared if placement.is_lent else adopted(X)), placement
    points = checked_points(
        X, estimator=estimator, reset=reset, anywhere=True, is_measured=is_measured
    )
    return points, blocks.place(points, device)


def _checked_matrix(X: Any, estimator: Any, *, reset: bool) -> Any:
    """Return a CSR matrix that is not on the host, checked, with real floating numbers."""
    _refuse_bad_shape(X)
    _refuse_bad_numbers(X.data, "X")
    _refuse_bad_places(X)
    if estimator is not None:
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    xp = namespace_of(X)
    return X if X.dtype in (xp.float32, xp.float64) else X.astype(xp.float64)


def _checked_elsewhere(
    rows: Elsewhere, estimator: Any, *, reset: bool, anywhere: bool
) -> Elsewhere:
    if not anywhere:
        raise TypeError(
            f"{rows.name} is read by blocks, but this needs all rows in one array in memory: "
            "take a sample of the rows, or load them first."
        )
    if estimator is not None:
        # The first visit checks the rows themselves.
        validate_data(estimator, rows.header, reset=reset, skip_check_array=True)
    return rows


def refuse_unmeasurable(points: Any, mean_variance: float) -> None:
    """Raise ValueError if the spread of points is not finite because of NaN or infinity."""
    if math.isfinite(mean_variance):
        return
    if not isinstance(points, Elsewhere) and not is_sparse(points):
        _refuse_bad_numbers(points, "X")


def check_enough_rows(points: Any, n_clusters: int) -> None:
    """Raise ValueError if there are fewer rows than clusters."""
    if int(points.shape[0]) < n_clusters:
        raise ValueError(f"n_samples={points.shape[0]} should be >= n_clusters={n_clusters}.")


def refuse_flag(name: str, value: Any, caller: str) -> None:
    """Raise InvalidParameterError for True or False instead of a number, though they are ints."""
    if isinstance(value, bool):
        raise InvalidParameterError(
            f"The {name!r} parameter of {caller} must be a number. Got {value} instead."
        )


def check_metric(metric: Any) -> None:
    """Raise ValueError for an unknown metric."""
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}.")


def checked_weights(sample_weight: Any, points: Any, placement: Placement) -> Any:
    """Return the weights on the device that computes, in the points' dtype, or None."""
    if type(points) is not np.ndarray and isinstance(points, Elsewhere):
        return points.checked_weights(sample_weight)
    if sample_weight is None:
        return None
    n_points = int(points.shape[0])
    if isinstance(sample_weight, numbers.Number):
        sample_weight = np.full(n_points, sample_weight, dtype=np.float64)
    sample_weight = adopted(sample_weight)
    if is_host_array(sample_weight) and not _is_plain(sample_weight, ndim=1):
        sample_weight = check_array(
            sample_weight, ensure_2d=False, dtype="numeric", input_name="sample_weight"
        )
    if sample_weight.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {sample_weight.ndim}D array."
        )
    if int(sample_weight.shape[0]) != n_points:
        raise ValueError(
            f"sample_weight.shape == {tuple(sample_weight.shape)}, expected {(n_points,)}!"
        )
    if is_of_kind(sample_weight, "complex floating"):
        raise ValueError(f"Complex data not supported\nsample_weight has {sample_weight.dtype}.")
    xp = placement.xp
    weights = bring(sample_weight, placement, dtype=_computing_like(points, placement))
    # Read once for all three checks: each read waits for the device.
    least, total = to_host(xp.stack([xp.min(weights), xp.sum(weights)]))
    if not np.isfinite(total):
        raise ValueError("Input sample_weight contains NaN or infinity.")
    if least < 0:
        raise ValueError("Negative values in data passed to `sample_weight`.")
    if total == 0:
        raise no_weight(xp, weights.dtype)
    return weights


def checked_centroids(
    centroids: Any,
    points: Array,
    placement: Placement,
    name: str,
    *,
    n_clusters: int | None = None,
    metric: str = "euclidean",
) -> Array:
    """Return the user's centroids, checked, on the device that computes and in its dtype."""
    if is_known_array(centroids):
        centroids = adopted(centroids)
    if not _is_plain(centroids):
        centroids = _checked_rows(centroids, name)
    shape = tuple(int(size) for size in centroids.shape)
    if n_clusters is not None and shape[0] != n_clusters:
        raise ValueError(
            f"The shape of the initial centers {shape} does not "
            f"match the number of clusters {n_clusters}."
        )
    if shape[1] != int(points.shape[1]):
        raise ValueError(
            f"The shape of the initial centers {shape} does not "
            f"match the number of features of the data {points.shape[1]}."
        )
    placed = bring(centroids, placement, dtype=_computing_like(points, placement))
    return placed if metric == "euclidean" else centroids_on_sphere(placed, name)


def centroids_on_sphere(centroids: Array, name: str) -> Array:
    """Scale centroids to the length of rows for cosine distances; ValueError if one is zero."""
    xp = namespace_of(centroids)
    # Most have no zero at all, which is found in a tenth of the time.
    n_zeros = centroids.shape[0] * centroids.shape[1] - int(xp.count_nonzero(centroids))
    if n_zeros > 0 and not bool(xp.all(xp.any(centroids, axis=1))):
        raise ValueError(f"A row of {name} is zero: metric='cosine' needs a direction.")
    return on_sphere(centroids, xp=xp)


def _checked_rows(centroids: Any, name: str) -> Array:
    centroids = adopted(centroids)
    if not is_host_array(centroids):
        with working_device(namespace_of(centroids), device_of(centroids)):
            _refuse_bad_array(centroids, name)
        return centroids
    try:
        return check_array(centroids, dtype=[np.float64, np.float32], input_name=name)
    except TypeError as error:  # for example, for a dict
        raise ValueError(f"{name} must be an array of numbers: {error}") from error


def as_random_state(random_state: Any) -> np.random.RandomState:
    """Return a RandomState for an int, a RandomState, a Generator or None."""
    if isinstance(random_state, np.random.Generator):
        # The RandomState shares the generator's state: drawing from it advances the generator.
        return np.random.RandomState(random_state.bit_generator)
    try:
        if isinstance(random_state, numbers.Integral):
            seeded = np.random.RandomState(np.random.MT19937(_UNSEEDED))
            seeded.seed(int(random_state))
            return seeded
        checked: np.random.RandomState = check_random_state(random_state)
    except ValueError as error:  # NumPy's error does not name the parameter
        raise ValueError(f"random_state={random_state!r} cannot be used: {error}") from error
    return checked


class _Unseeded(ISeedSequence):
    """Initial state of a bit generator that gets its seed afterwards.

    ``RandomState(seed)`` reads entropy from the system before it uses the seed. That is most of
    its time, and as long as twenty iterations on few rows.
    """

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        """Return zeros."""
        return np.zeros(n_words, dtype)


_UNSEEDED: Any = _Unseeded()


def is_array_like(value: Any) -> bool:
    """Return whether ``value`` is an array or a sequence of rows, not a string or a function."""
    if isinstance(value, str) or callable(value):
        return False
    return hasattr(value, "__len__") or hasattr(value, "shape") or hasattr(value, "__array__")


def _is_plain(X: Any, *, ndim: int = 2) -> bool:
    """Return whether scikit-learn's check would accept X; that check may take longer than a fit."""
    if type(X) is not np.ndarray and is_known_array(X):
        X = lent(X)
    return type(X) is np.ndarray and X.ndim == ndim and X.size > 0 and _has_finite_sum(X)


def _is_plain_matrix(X: Any) -> bool:
    """Return whether scikit-learn's check would accept a matrix on the host."""
    return bool(X.format == "csr" and X.ndim == 2 and 0 not in X.shape and _has_finite_sum(X.data))


def _has_finite_sum(numbers: np.ndarray[Any, Any]) -> bool:
    if numbers.dtype not in (np.float32, np.float64):
        return False
    with np.errstate(all="ignore"):
        # If the sum overflows although all numbers are finite, scikit-learn's check decides.
        return math.isfinite(np.add.reduce(numbers, axis=None))


def _has_known_features(X: Array, estimator: Any, *, reset: bool) -> bool:
    """Return whether X, without names, has the estimator's features; a reset sets them."""
    if estimator is None:
        return True
    if "feature_names_in_" in vars(estimator):  # quicker than `hasattr` if there are none
        return False
    if reset:
        estimator.n_features_in_ = X.shape[1]
    return bool(getattr(estimator, "n_features_in_", None) == X.shape[1])


def _refuse_bad_array(X: Array, name: str = "X") -> None:
    _refuse_bad_shape(X, name)
    _refuse_bad_numbers(X, name)


def _refuse_bad_shape(X: Any, name: str = "X") -> None:
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D array instead ({name} has shape "
            f"{tuple(X.shape)}). Reshape your data either using reshape(X, (-1, 1)) if it has a "
            "single feature or reshape(X, (1, -1)) if it contains a single sample."
        )
    n_points, n_features = (int(size) for size in X.shape)
    for size, what in ((n_points, "sample(s)"), (n_features, "feature(s)")):
        if size == 0:
            raise ValueError(
                f"Found array with 0 {what} (shape={tuple(X.shape)}) while a minimum of 1 is "
                "required."
            )


def _refuse_bad_places(X: Any) -> None:
    """Raise ValueError if the indices of a sparse matrix point outside of it."""
    if X.format not in ("csr", "csc") or 0 in X.shape:
        return  # the conversion of other formats checks them
    n_features, n_stored = X.shape[X.format == "csr"], len(X.data)
    xp = namespace_of(X.data)
    lengths = X.indptr[1:] - X.indptr[:-1]
    ends = [X.indptr[0] == 0, X.indptr[-1] <= min(n_stored, len(X.indices)), lengths.min() >= 0]
    is_on_host = is_host_array(X)
    if n_stored and not is_on_host:  # on the host, indices are checked when they are read
        ends += [xp.min(X.indices) >= 0, xp.max(X.indices) < n_features]
    # Read once for all checks: each read waits for the device.
    is_good = all(ends) if is_on_host else xp.all(xp.stack([xp.asarray(each) for each in ends]))
    if not bool(is_good):
        raise ValueError(
            f"The indices or indptr of the sparse matrix X, of shape {X.shape}, point outside of "
            "it: check the code that made its arrays."
        )


def _refuse_times(X: Any) -> None:
    """Raise ValueError for dates and durations: a missing one would become a large number."""
    dtypes = X.dtypes if hasattr(X, "dtypes") else [getattr(X, "dtype", None)]
    for dtype in dtypes:
        if getattr(dtype, "kind", "") in ("M", "m"):
            raise ValueError(
                f"X holds {dtype}: convert dates and durations to numbers first, such as days."
            )


def _refuse_complex(X: Array, name: str) -> None:
    if is_of_kind(X, "complex floating"):
        raise ValueError(f"Complex data not supported\n{name} has dtype {X.dtype}.")


def _refuse_bad_numbers(X: Array, name: str) -> None:
    _refuse_complex(X, name)
    if not is_of_kind(X, ("bool", "integral")) and not _all_finite(X):
        raise ValueError(f"Input {name} contains NaN or infinity. Impute or drop those rows first.")


def _all_finite(X: Array) -> bool:
    X = lent(X)  # a sum starts faster in NumPy than in other libraries
    xp = namespace_of(X)
    if X.dtype not in (xp.float32, xp.float64):
        X = xp.astype(X, xp.float32)
    with np.errstate(all="ignore"):
        # The sum of finite numbers is finite unless it overflows: first try it, which needs no
        # n x d array of flags.
        return bool(xp.isfinite(xp.sum(X))) or bool(xp.all(xp.isfinite(X)))


def _floating(X: Array) -> Array:
    xp = namespace_of(X)
    if not is_of_kind(X, ("bool", "integral")):
        return X
    dtypes = xp.__array_namespace_info__().dtypes(kind="real floating")
    return xp.astype(X, dtypes.get("float64", xp.float32))


def _computing_like(points: Array, placement: Placement) -> DType:
    is_double = str(points.dtype).endswith("float64")  # of the input's library, or of a lender
    return placement.xp.float64 if is_double else placement.xp.float32
