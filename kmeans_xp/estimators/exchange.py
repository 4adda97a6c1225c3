"""Conversion between these estimators and scikit-learn's."""

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

__all__ = ["centred_pipeline", "origin_and_estimator", "shared_params"]


def shared_params(estimator: Any, other: Any) -> dict[str, Any]:
    """Return the parameters that the other estimator has too."""
    known = other.get_params()
    return {name: value for name, value in estimator.get_params().items() if name in known}


def centred_pipeline(origin: np.ndarray[Any, Any], estimator: Any) -> Any:
    """Return a pipeline that subtracts the origin from rows, for an estimator relative to it."""
    centring = StandardScaler(with_std=False)
    centring.mean_, centring.scale_, centring.var_ = origin, None, None
    centring.n_samples_seen_ = len(getattr(estimator, "labels_", ()))
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(estimator, name):
            setattr(centring, name, getattr(estimator, name))
    # The second step gets arrays without names.
    vars(estimator).pop("feature_names_in_", None)
    return Pipeline([("centring", centring), ("clustering", estimator)])


def origin_and_estimator(fitted: Any) -> tuple[np.ndarray[Any, Any] | None, Any]:
    """Undo ``centred_pipeline``; return None and the estimator if there is no pipeline."""
    if not isinstance(fitted, Pipeline):
        return None, fitted
    centring, estimator = fitted[0], fitted[-1]
    is_centred = (
        len(fitted) == 2
        and isinstance(centring, StandardScaler)
        and centring.with_mean
        and not centring.with_std
    )
    if not is_centred:
        raise TypeError(
            "from_sklearn takes an estimator, or the pipeline that to_sklearn(centred=True) made."
        )
    check_is_fitted(centring)
    return centring.mean_, estimator
