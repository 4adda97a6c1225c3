"""The estimators' base class: parameters, and all methods except ``fit``."""

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy, deepcopy
from numbers import Integral, Real
from os import PathLike
from typing import Any, ClassVar, NamedTuple, Self, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    make_constraint,
)
from sklearn.utils.validation import check_is_fitted

from kmeans_xp import blocks, persistence
from kmeans_xp.algorithms import (
    METRICS,
    Seeds,
    kmeans_parallel,
    kmeans_plusplus,
    kmeans_plusplus_starts,
    n_with_weight,
    random_rows,
)
from kmeans_xp.blocks import Blocks, Elsewhere
from kmeans_xp.checks import check_flag
from kmeans_xp.devices import (
    Array,
    DType,
    Namespace,
    Placement,
    bring,
    choose,
    from_host,
    is_array,
    kept,
    send,
    tile_shape,
    to_host,
)
from kmeans_xp.devices.protocols import ArrayT, Labels, Readable, SupportsSparse
from kmeans_xp.estimators import exchange
from kmeans_xp.estimators.callback_support import CallbackSupportMixin
from kmeans_xp.estimators.fitted_arrays import (
    FittedArrays,
    as_computed,
    sent_when_read,
)
from kmeans_xp.estimators.fitted_state import (
    History,
    Kind,
    Names,
    Numbers,
    Text,
    Whole,
    checked_centres,
    checked_state,
)
from kmeans_xp.estimators.fitted_state import (
    Real as RealNumber,
)
from kmeans_xp.estimators.labels_file import written_labels
from kmeans_xp.estimators.other_names import (
    refuse_other_names,
    refuse_other_value,
    telling_other_names,
    why_unknown,
)
from kmeans_xp.estimators.pickled import as_they_lay, on_host
from kmeans_xp.estimators.preparation import (
    Prepared,
    check_mass,
    check_range,
    finite_inertia,
    prepared,
    published,
)
from kmeans_xp.estimators.validation import (
    as_random_state,
    centroids_on_sphere,
    check_enough_rows,
    checked_centroids,
    checked_points,
    checked_weights,
    is_array_like,
    placed_points,
    refuse_flag,
    refuse_unmeasurable,
)
from kmeans_xp.kernels import RADIUS, Rows, assigned_inertia, nearest_labels, sq_distances

__all__ = [
    "SEEDINGS",
    "BaseKMeans",
    "Fitted",
    "all_or_nothing",
    "drawn_part",
    "part_to_seed",
    "resolved_init",
]

#: names of ``init``, and the functions that choose the rows
SEEDINGS: dict[str, Callable[..., Seeds]] = {
    "k-means++": kmeans_plusplus,
    "k-means||": kmeans_parallel,
    "random": random_rows,
}

F = TypeVar("F", bound=Callable[..., Any])


def all_or_nothing(method: F) -> F:
    """Leave the estimator as it was if the method raises."""

    @functools.wraps(method)
    def guarded(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        held = vars(estimator)
        before = dict(held)
        try:
            return method(estimator, *args, **kwargs)
        except BaseException as error:
            # At no time remove an old attribute: another thread may predict meanwhile.
            for name in held.keys() - before.keys():
                held.pop(name, None)
            held.update(before)
            if isinstance(error, TypeError):
                refuse_other_names(method, (estimator, *args), kwargs)
            raise

    return cast(F, guarded)


def _satisfies_one(value: Any, constraints: tuple[Any, ...]) -> bool:
    return any(constraint.is_satisfied_by(value) for constraint in constraints)


#: the same with a cache, for numbers and strings, which most fits repeat
_known_to_satisfy_one = functools.lru_cache(typed=True)(_satisfies_one)


class Fitted(NamedTuple):
    """New points and the fitted centroids, both relative to the fitted origin."""

    blocks: Blocks
    origin: Array
    centroids: Array
    placement: Placement


class BaseKMeans(
    FittedArrays,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClusterMixin,
    BaseEstimator,
):
    """Base class of the estimators; do not use it directly."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"auto", *SEEDINGS}), callable, "array-like"],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state", np.random.Generator],
        "metric": [StrOptions(set(METRICS))],
        "device": [str, None],
    }

    # Axes k and m both count centroids: users may set cluster_centers_ with another number.
    _state_schema: ClassVar[dict[str, Kind]] = {
        "cluster_centers_": Numbers("kd", ("real floating", "integral")),
        "_origin": Numbers("d"),
        "_centroids": Numbers("md"),
        "_n_features_out": Whole(1, "m"),
        "n_features_in_": Whole(1, "d"),
        "feature_names_in_": Names("d"),
        "labels_": Numbers("n", "integral", 0),
        "inertia_": RealNumber(),
        "n_iter_": Whole(),
        "history_": History(),
        "device_reason_": Text(),
        "_n_init": Whole(1),
    }
    _state_needed: ClassVar[frozenset[str]] = frozenset(
        {"_centroids", "_n_features_out", "_origin", "cluster_centers_", "n_features_in_"}
    )

    n_clusters: int
    init: Any
    n_init: int | str
    max_iter: int
    tol: float
    verbose: int | bool
    random_state: Any
    metric: str
    device: str | None

    inertia_: float
    n_iter_: int
    n_features_in_: int
    device_reason_: str
    history_: dict[str, np.ndarray[Any, Any]]
    _centroids: Array
    _origin: Array

    @overload
    def fit_predict(self, X: SupportsSparse, y: Any = None, sample_weight: Any = None) -> Any: ...
    @overload
    def fit_predict(self, X: Readable, y: Any = None, sample_weight: Any = None) -> Labels: ...
    @overload
    def fit_predict(self, X: ArrayT, y: Any = None, sample_weight: Any = None) -> ArrayT: ...
    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Array:
        """Cluster X and return the label of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to cluster.
        y : ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; None for 1.

        Returns
        -------
        array of int32, shape (n_samples,)
            Same as ``fit(X).labels_``, and as ``fit(X).predict(X)``.
        """
        return self.fit(X, sample_weight=sample_weight).labels_

    @overload
    def predict(self, X: SupportsSparse, *, out: str | PathLike[str] | None = None) -> Any: ...
    @overload
    def predict(self, X: Readable, *, out: str | PathLike[str] | None = None) -> Labels: ...
    @overload
    def predict(self, X: ArrayT, *, out: str | PathLike[str] | None = None) -> ArrayT: ...
    @telling_other_names
    def predict(self, X: Any, *, out: str | PathLike[str] | None = None) -> Array:
        """Return the index of the nearest centroid of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; of any array library, or from ``open_rows``.
        out : path-like, default=None
            Write the labels to this .npy file, block by block if rows are read by blocks. An
            existing file stays as it is until all labels are written.

        Returns
        -------
        array of int32, shape (n_samples,)
            Of X's library, on X's device; with ``out`` a memory map of the file. For the rows
            of the fit it equals ``labels_``.
        """
        with self._new_points(X) as fitted:
            labelled, *operands = self._labelling(fitted)
            if out is not None:
                return written_labels(fitted.blocks, out, labelled, *operands)
            return fitted.blocks.map_rows(labelled, *operands).delivered(fitted.placement)

    def _labelling(self, fitted: Fitted) -> tuple[Any, ...]:
        """Return the function that labels rows, and its operands."""
        return nearest_labels, fitted.centroids

    @overload
    def transform(self, X: SupportsSparse) -> Any: ...
    @overload
    def transform(self, X: Readable) -> NDArray[Any]: ...
    @overload
    def transform(self, X: ArrayT) -> ArrayT: ...
    @telling_other_names
    def transform(self, X: Any) -> Array:
        """Return the distance of each row to each centroid.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; of any array library.

        Returns
        -------
        array of shape (n_samples, n_clusters)
            Euclidean distances, in units of X, or cosine distances, 1 - cos. Of X's library, on
            X's device; float64 if X or ``cluster_centers_`` are, otherwise float32.
        """
        measured = _distances if self.metric == "euclidean" else _wide_sq_distances
        with self._new_points(X, as_published=True) as fitted:
            distances = fitted.blocks.map_rows(measured, fitted.centroids)
            return distances.delivered(fitted.placement)

    @overload
    def fit_transform(self, X: SupportsSparse, y: Any = None, sample_weight: Any = None) -> Any: ...
    @overload
    def fit_transform(
        self, X: Readable, y: Any = None, sample_weight: Any = None
    ) -> NDArray[Any]: ...
    @overload
    def fit_transform(self, X: ArrayT, y: Any = None, sample_weight: Any = None) -> ArrayT: ...
    @telling_other_names
    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Array:
        """Cluster X and return the distance of each row to each centroid.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to cluster.
        y : ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; None for 1.

        Returns
        -------
        array of shape (n_samples, n_clusters)
            Same as ``fit(X).transform(X)``.
        """
        return self.fit(X, sample_weight=sample_weight).transform(X)

    @telling_other_names
    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the negative inertia of the rows under the fitted centroids.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; of any array library.
        y : ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; None for 1.

        Returns
        -------
        float
            In squared units of X, or in cosine distances; greater is better.

        Raises
        ------
        ValueError
            If the sum of squared distances overflows.
        """
        with self._new_points(X, sample_weight) as fitted:
            rows = fitted.blocks
            sums = to_host(rows.reduce(_nearest_inertia, fitted.centroids))
            if rows.is_weighted:
                check_mass(rows, float(sums[1]), n_calls=2)
            return -finite_inertia(float(sums[0]))

    def to_device(self, device: str) -> Self:
        """Return a copy of the fitted estimator that computes on another device.

        Parameters
        ----------
        device : {"cpu", "cuda", "cuda:N"}
            The copy's ``device``. The fitted arrays are copied there (CuPy becomes NumPy for
            "cpu", NumPy becomes CuPy for "cuda").

        Returns
        -------
        estimator
            Of the same class; this estimator does not change.

        Raises
        ------
        DeviceUnavailableError
            If the device cannot be used.
        """
        check_is_fitted(self)
        placement = choose(self.cluster_centers_, device)
        moved = copy(self)
        moved.device = device
        if placement.is_lent:  # its library's arrays are there
            return moved
        with placement.working():
            for name, value in self._attributes().items():
                if is_array(value) and is_array_like(value) and name not in self.get_params():
                    setattr(moved, name, bring(value, placement))
        return moved

    def to_sklearn(self, *, centred: bool = False) -> Any:
        """Return scikit-learn's estimator with the same parameters and the fitted state.

        Parameters
        ----------
        centred : bool, default=False
            Return a pipeline of two steps: the first subtracts the mean of the fitted rows, the
            second has the centroids relative to that mean. Its labels then equal those of
            ``predict``, also for float32 rows far from zero and after conversion to ONNX. It takes
            dense rows only, also after a fit of sparse ones.

        Returns
        -------
        estimator of ``sklearn.cluster``, or ``sklearn.pipeline.Pipeline``
            With NumPy arrays; it predicts without kmeans_xp.

        Raises
        ------
        ValueError
            If ``metric`` is not "euclidean", the only one that scikit-learn has.

        See Also
        --------
        from_sklearn : The opposite conversion.

        Notes
        -----
        Scikit-learn has no ``size_min`` and ``size_max``: they are left out. ``predict`` ignores
        them anyway, but ``fit`` of the returned estimator sets no bounds. ``device`` is left out
        too. ``init`` "auto" and "k-means||" become "k-means++".
        """
        check_flag("centred", centred)
        check_is_fitted(self)
        if self.metric != "euclidean":
            raise ValueError(
                f"scikit-learn has no metric={self.metric!r}. Its KMeans with these "
                "cluster_centers_ predicts the same labels for rows of unit length "
                "(sklearn.preprocessing.normalize)."
            )
        theirs = self._sklearn_class()
        made = theirs(**self._sklearn_params())
        made._n_threads = 1
        for name, value in self._attributes().items():
            if name in self._sklearn_attributes:
                # Copy: scikit-learn's partial_fit writes to its arrays in place.
                setattr(made, name, to_host(value).copy() if is_array(value) else deepcopy(value))
        if not centred:
            return made
        placement = choose(self.cluster_centers_)
        seen = self._seen_centroids(placement, self.cluster_centers_.dtype, as_published=False)
        origin, made.cluster_centers_ = (to_host(part).copy() for part in seen)
        return exchange.centred_pipeline(origin, made)

    @classmethod
    def from_sklearn(cls, fitted: Any, *, device: str | None = None) -> Self:
        """Return an estimator with the parameters and fitted state of scikit-learn's estimator.

        Parameters
        ----------
        fitted : estimator of ``sklearn.cluster``, or pipeline that ``to_sklearn`` returned
            Scikit-learn's class with the same name as this one, or the class by which
            ``accelerate`` replaced it.
        device : {None, "cpu", "cuda", "cuda:N"}
            Device for its arrays, as in ``to_device``; None gives NumPy arrays.

        Returns
        -------
        estimator
            With bit-identical ``cluster_centers_``. It has no ``history_``.

        Raises
        ------
        TypeError
            If ``fitted`` is not such an estimator or pipeline.
        sklearn.exceptions.NotFittedError
            If ``fitted`` is not fitted.

        See Also
        --------
        to_sklearn : The opposite conversion.
        """
        origin, theirs = exchange.origin_and_estimator(fitted)
        if not isinstance(theirs, cls._sklearn_class()):
            kind = type(theirs)
            raise TypeError(
                f"{cls.__name__}.from_sklearn takes scikit-learn's {cls.__name__}, got a "
                f"{kind.__name__} of {kind.__module__.partition('.')[0]}."
            )
        check_is_fitted(theirs)
        if isinstance(theirs, BaseKMeans):  # ``accelerate`` replaced scikit-learn's class
            made = cls(**theirs.get_params())
            made.__dict__.update(deepcopy(theirs._attributes()))
            return made if device is None else made.to_device(device)
        made = cls(**exchange.shared_params(theirs, cls()))
        state = {
            name: deepcopy(value)
            for name, value in vars(theirs).items()
            if name in cls._sklearn_attributes
        }
        state |= cls._state_of_sklearn(theirs, origin)
        made._check_state(state)
        made.__dict__.update(state)
        return made if device is None else made.to_device(device)

    @classmethod
    def _state_of_sklearn(cls, theirs: Any, origin: Any) -> dict[str, Any]:
        """Return the attributes that scikit-learn's estimator lacks or names differently."""
        centroids = theirs.cluster_centers_
        if origin is None:
            origin = centroids.mean(axis=0)
            published, centroids = centroids.copy(), centroids - origin
        else:
            published, centroids = centroids + origin, centroids.copy()
        return {
            "cluster_centers_": published,
            "_origin": origin,
            "_centroids": centroids,
            "device_reason_": "fitted by scikit-learn",
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write the estimator to a safetensors file; to load it runs no code from the file.

        Parameters
        ----------
        path : path-like
            The file to write. If writing fails, an existing file stays as it was.

        Raises
        ------
        ValueError
            If a parameter cannot be stored (a callable ``init``, a RandomState).
        """
        persistence.save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str], *, device: str | None = None) -> Self:
        """Read an estimator that ``save`` wrote, on this or another machine.

        Parameters
        ----------
        path : path-like
            File to read.
        device : {None, "cpu", "cuda", "cuda:N"}
            Device for its arrays, as in ``to_device``; None gives NumPy arrays.

        Returns
        -------
        estimator
            The fitted estimator that was saved.

        Raises
        ------
        ValueError
            If the file is not a saved model, is damaged, or holds another class.
        """
        loaded: Self = persistence.load_estimator(path, expected=cls)
        return loaded if device is None else loaded.to_device(device)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, with NumPy arrays, which load anywhere."""
        return on_host(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(as_they_lay(state))

    # Copies within a process leave arrays where they are.
    def __copy__(self) -> Self:
        made = type(self).__new__(type(self))
        made.__dict__.update(vars(self))
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = memo[id(self)] = type(self).__new__(type(self))
        made.__dict__.update(deepcopy(self._attributes(), memo))
        return made

    def _check_state(self, state: Mapping[str, Any]) -> None:
        """Raise ValueError, which names the field, if no fit leaves these attributes."""
        checked_state(self, state, self._state_schema, self._state_needed)

    # Attributes that scikit-learn's estimator has under the same name.
    _sklearn_attributes: ClassVar[frozenset[str]] = frozenset(
        {
            "_n_features_out",
            "cluster_centers_",
            "feature_names_in_",
            "inertia_",
            "labels_",
            "n_features_in_",
            "n_iter_",
        }
    )

    @classmethod
    def _sklearn_class(cls) -> Any:
        raise NotImplementedError

    def _sklearn_params(self) -> dict[str, Any]:
        """Return the parameters that scikit-learn's estimator has too."""
        params = exchange.shared_params(self, self._sklearn_class()())
        if is_array(params["init"]):
            params["init"] = to_host(params["init"])
        elif isinstance(params["init"], str) and params["init"] in ("auto", "k-means||"):
            params["init"] = "k-means++"  # the most similar one in scikit-learn
        if params.get("algorithm") in ("auto", "hamerly"):
            params["algorithm"] = "lloyd"  # with the same result
        return params

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Cluster X; subclasses override it."""
        raise NotImplementedError

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name.

        Parameters
        ----------
        **params : dict
            The parameters and their new values.

        Returns
        -------
        estimator
            This one.

        Raises
        ------
        ValueError
            If the estimator has no such parameter.
        """
        try:
            return super().set_params(**params)  # type: ignore[no-any-return]
        except ValueError:
            reason = why_unknown(type(self).__name__, params, self.get_params())
            if reason is not None:
                raise ValueError(reason) from None
            raise

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's description of what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _validate_params(self) -> None:
        for name, (default, constraints) in self._valid_params().items():
            value = getattr(self, name)
            if value is default:
                continue
            is_plain = type(value) in (int, float, str)
            satisfies_one = _known_to_satisfy_one if is_plain else _satisfies_one
            if not satisfies_one(value, constraints):
                refuse_other_value(type(self).__name__, name, value)
                super()._validate_params()  # raises, in scikit-learn's words
            if isinstance(value, bool) and self._is_number(name):
                refuse_flag(name, value, type(self).__name__)

    @classmethod
    def _is_number(cls, name: str) -> bool:
        """Return whether a parameter is a number; True is an int to Python, but not here."""
        kinds = cls._parameter_constraints[name]
        return any(isinstance(kind, Interval) for kind in kinds)

    @classmethod
    @functools.cache
    def _valid_params(cls) -> dict[str, tuple[Any, tuple[Any, ...]]]:
        """Return the default and the constraints of each parameter.

        scikit-learn reads the signature, makes the constraints and checks the defaults in every
        fit. That may take as long as a small fit, so this does it once for each class.
        """
        valid = {}
        for name, parameter in inspect.signature(cls).parameters.items():
            given = cls._parameter_constraints.get(name, "no_validation")
            if given != "no_validation":
                constraints = tuple(make_constraint(constraint) for constraint in given)
                # A subclass may have an invalid default, to require a value from the user.
                is_good = _satisfies_one(parameter.default, constraints)
                valid[name] = (parameter.default if is_good else parameter.empty, constraints)
        return valid

    def _resolve_n_init(self, default: int) -> int:
        if is_array_like(self.init):
            if self.n_init not in ("auto", 1):
                warnings.warn(
                    "Explicit initial center position passed: performing only one init in "
                    f"{type(self).__name__} instead of n_init={self.n_init}.",
                    RuntimeWarning,
                    stacklevel=5,
                )
            return 1
        if self.n_init != "auto":
            return int(self.n_init)
        # Of the named methods, only "random" gains much from more runs.
        return 1 if isinstance(self.init, str) and self.init != "random" else default

    def _warn_of_distinct(self, n_distinct: int) -> None:
        """Warn that a fit ended with fewer than ``n_clusters`` clusters."""
        warnings.warn(
            f"Number of distinct clusters ({n_distinct}) found smaller than "
            f"n_clusters ({self.n_clusters}). Possibly due to duplicate points in X.",
            ConvergenceWarning,
            stacklevel=6,
        )

    @contextmanager
    def _prepared(self, X: Any, sample_weight: Any) -> Iterator[tuple[Any, Prepared]]:
        """Yield ``init``, placed and checked if it is an array, and the rows ready to cluster."""
        is_measured = self.device != "cpu"
        points, placement = placed_points(X, self.device, estimator=self, is_measured=is_measured)
        check_enough_rows(points, self.n_clusters)
        self._check_request(points, sample_weight)
        with placement.working():
            init = self.init
            if is_array_like(init):
                init = self._given_init(init, self.n_clusters, points, placement)
            weights = checked_weights(sample_weight, points, placement)
            data = prepared(points, weights, placement, self.metric)
            refuse_unmeasurable(points, data.mean_variance)
            check_range(data)
            yield init, data

    def _check_request(self, points: Any, sample_weight: Any) -> None:
        """Raise ValueError if parameters do not fit the rows; subclasses override it."""

    def _given_init(self, init: Any, n_clusters: int, points: Array, placement: Placement) -> Array:
        """Return the initial centroids that the user passed, on the device that computes."""
        return checked_centroids(
            init, points, placement, "init", n_clusters=n_clusters, metric=self.metric
        )

    def _initial_centroids(
        self,
        init: Any,
        part: Blocks,
        data: Prepared,
        random_state: np.random.RandomState,
        n_clusters: int,
    ) -> Array:
        """Return initial centroids relative to the origin; ``part`` may be all rows."""
        if isinstance(init, str):
            choose_rows = SEEDINGS[resolved_init(init, part)]
            chosen = choose_rows(part, n_clusters, random_state).centroids
            return self._with_direction(chosen, part)
        if callable(init):
            rows = _uncentred(part, data)
            if self.metric == "cosine":
                rows = rows / RADIUS
            points = send(rows, data.placement)
            given = init(points, n_clusters, random_state=random_state)
            init = self._given_init(given, n_clusters, points, data.placement)
        return init - data.origin

    def _with_direction(self, centroids: Array, part: Blocks) -> Array:
        """Return chosen rows, each without a direction replaced by the first that has one.

        If fewer distinct rows have weight than there are clusters, k-means++ may choose rows of
        weight 0, and these may be zeros.
        """
        if self.metric == "euclidean" or not part.is_weighted:
            return centroids
        xp = part.xp
        is_zero = xp.all(centroids == 0.0, axis=1)
        first = xp.take(centroids, xp.reshape(xp.argmin(xp.astype(is_zero, xp.int8)), (1,)), axis=0)
        return xp.where(is_zero[:, None], first, centroids)

    def _starts_of_runs(
        self,
        init: Any,
        part: Blocks,
        data: Prepared,
        random_state: np.random.RandomState,
        n_clusters: int,
        n_runs: int,
    ) -> Iterator[Array]:
        """Yield what ``_initial_centroids`` gives for each of several runs."""
        if isinstance(init, str) and resolved_init(init, part) == "k-means++":
            for chosen in kmeans_plusplus_starts(part, n_clusters, random_state, n_runs):
                yield self._with_direction(chosen, part)
            return
        for _ in range(n_runs):
            yield self._initial_centroids(init, part, data, random_state, n_clusters)

    def _init_centroids(
        self,
        X: Any,
        x_squared_norms: Any,
        init: Any,
        random_state: Any,
        sample_weight: Any,
        init_size: int | None = None,
        n_centroids: int | None = None,
    ) -> Array:
        """Return initial centroids of X; scikit-learn's estimators have the same hook."""
        points = checked_points(X)
        placement = blocks.place(points, self.device)
        weights = checked_weights(sample_weight, points, placement)
        data = prepared(points, weights, placement, self.metric)
        random_state = as_random_state(random_state)
        n_clusters = self.n_clusters if n_centroids is None else n_centroids
        part = part_to_seed(data, random_state, init_size or data.blocks.n_points, n_clusters)
        centroids = self._initial_centroids(init, part, data, random_state, n_clusters)
        return send(published(centroids, data.origin, self.metric), placement)

    def _fitted(
        self,
        centroids: Array,
        origin: Array,
        placement: Placement,
        sent: Callable[[Array, Placement], Any] = send,
    ) -> dict[str, Any]:
        """Return the attributes that an estimator needs to predict by these centroids."""
        return {
            "cluster_centers_": sent(published(centroids, origin, self.metric), placement),
            "_centroids": kept(centroids, placement),
            "_origin": kept(origin, placement),
            "_n_features_out": self.n_clusters,
        }

    def _store_centroids(self, centroids: Array, origin: Array, placement: Placement) -> None:
        self._set_fitted(
            **self._fitted(centroids, origin, placement, sent_when_read),
            device_reason_=placement.reason,
        )

    @contextmanager
    def _new_points(
        self, X: Any, sample_weight: Any = None, *, as_published: bool = False
    ) -> Iterator[Fitted]:
        if as_computed(self, "cluster_centers_") is None:  # scikit-learn's check is slow
            check_is_fitted(self)
        points, placement = placed_points(X, self.device, estimator=self, reset=False)
        # A source may need a pass over all rows to count them.
        is_array_there = type(points) is np.ndarray or not isinstance(points, Elsewhere)
        header = points if is_array_there else points.header
        checked_centres(self, int(header.shape[1]))
        with placement.working():
            weights = checked_weights(sample_weight, points, placement)
            given = blocks.of(points, weights, placement)
            if self.metric == "cosine":
                given = blocks.on_sphere(given)
            origin, centroids = self._seen_centroids(placement, given.dtype, as_published)
            yield Fitted(given.seen_from(origin), origin, centroids, placement)

    def _seen_centroids(
        self, placement: Placement, dtype: DType, as_published: bool
    ) -> tuple[Array, Array]:
        """Return the fitted origin and the centroids relative to it, on the device that computes.

        With ``as_published``, a row that equals one of ``cluster_centers_`` is at distance 0.
        """
        xp = placement.xp
        computed = as_computed(self, "cluster_centers_")  # to read it would convert it
        given = bring(self.cluster_centers_ if computed is None else computed, placement)
        if as_published and given.dtype == xp.float64:
            dtype = given.dtype  # distances have the wider dtype, as in scikit-learn
        if self.metric == "cosine":
            return self._seen_on_sphere(given, placement, dtype, as_published)
        if not hasattr(self, "_origin"):  # the user set cluster_centers_ without a fit
            given = xp.astype(given, dtype, copy=False)
            origin = xp.mean(given, axis=0)
            return origin, given - origin
        origin, centroids = bring(self._origin, placement), bring(self._centroids, placement)
        if as_published:
            origin = xp.astype(origin, dtype, copy=False)
            return origin, xp.astype(given, dtype, copy=False) - origin
        seen = given - origin
        if centroids.shape == given.shape:
            # cluster_centers_ far from zero are rounded; the fitted centroids are not. If the
            # user changed numbers in cluster_centers_, use those.
            seen = xp.where(given == centroids + origin, centroids, seen)
        return xp.astype(origin, dtype, copy=False), xp.astype(seen, dtype, copy=False)

    def _seen_on_sphere(
        self, given: Array, placement: Placement, dtype: DType, as_published: bool
    ) -> tuple[Array, Array]:
        """Return the sphere's centre and the centroids on it, as fitted or as the user set them."""
        xp = placement.xp
        centre = xp.zeros((int(given.shape[1]),), dtype=dtype, device=placement.device)
        if hasattr(self, "_centroids") and not as_published:
            fitted = bring(self._centroids, placement)
            if fitted.shape == given.shape and bool(
                xp.all(given == published(fitted, centre, self.metric))
            ):
                return centre, xp.astype(fitted, dtype, copy=False)
        placed = xp.astype(given, dtype, copy=False)
        return centre, centroids_on_sphere(placed, "cluster_centers_")


def resolved_init(init: Any, part: Blocks) -> Any:
    """Resolve "auto": "k-means||" where each visit of the rows may be a pass over a disk."""
    if not isinstance(init, str) or init != "auto":
        return init
    return "k-means++" if part.whole is not None else "k-means||"


def _nearest_inertia(rows: Rows, centroids: Array, *, xp: Namespace) -> Array:
    """Return the inertia of the rows, and with weights their sum, in a single visit."""
    labels = nearest_labels(rows, centroids, xp=xp)
    inertia = assigned_inertia(rows, labels, centroids, xp=xp)
    if rows.weights is None:
        return inertia[None]
    return xp.stack([inertia, xp.sum(xp.astype(rows.weights, inertia.dtype, copy=False))])


def _distances(rows: Rows, centroids: Array, *, xp: Namespace) -> Array:
    return xp.sqrt(_wide_sq_distances(rows, centroids, xp=xp))


def _wide_sq_distances(rows: Rows, centroids: Array, *, xp: Namespace) -> Array:
    """Return all squared distances in the centroids' dtype; that of the rows may be narrower."""
    dtype = centroids.dtype
    if rows.dtype == dtype:
        return sq_distances(rows, centroids, xp=xp)
    size, _ = tile_shape(rows, 1, xp=xp)
    tiles = (tile.computed_in(dtype) for _, tile in rows.tiles(size))
    return xp.concat([sq_distances(tile, centroids, xp=xp) for tile in tiles])


def _uncentred(part: Blocks, data: Prepared) -> Array:
    """Return rows with their mean added back, for a callable ``init``."""
    rows = part.whole
    if rows is None:
        raise ValueError(
            "A callable init needs all rows as one array, but these rows are not in one array. "
            "Use init='k-means||' or 'random', or an array of centroids."
        )
    return rows.as_given(data.origin)


def drawn_part(data: Prepared, random_state: np.random.RandomState, size: int) -> Blocks:
    """Return ``size`` rows, drawn with replacement."""
    indices = random_state.randint(0, data.blocks.n_points, size)
    xp, device = data.placement.xp, data.placement.device
    return blocks.of_rows(data.blocks.gathered(from_host(indices, xp=xp, device=device)), xp=xp)


def part_to_seed(
    data: Prepared, random_state: np.random.RandomState, size: int, n_clusters: int
) -> Blocks:
    """Return ``size`` drawn rows; all if there are no more, or too few drawn ones have weight."""
    if size >= data.blocks.n_points:
        return data.blocks
    part = drawn_part(data, random_state, size)
    return part if n_with_weight(part) >= n_clusters else data.blocks
