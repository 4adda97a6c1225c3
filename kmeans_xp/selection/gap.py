"""The gap statistic: compare the inertia with that of rows without clusters."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import Array, Namespace, is_sparse, to_host
from kmeans_xp.estimators.preparation import Prepared
from kmeans_xp.kernels import Rows
from kmeans_xp.selection.shuffled import shuffled

__all__ = ["Gap", "gaps", "reference_rows"]

#: most features for principal components; their time grows with the cube
_MOST_ALIGNED = 1000

Host = NDArray[np.float64]


class Gap(NamedTuple):
    """The gap statistic for one number of clusters.

    Parameters
    ----------
    value : float
    error : float
    """

    value: float
    error: float


def reference_rows(data: Prepared) -> Callable[[int], Any]:
    """Return a function seed -> reference rows, which have no clusters.

    They are uniform in the box of the data along the principal components (choice b of
    Tibshirani, Walther and Hastie). With more than 1,000 features the box is along the axes.
    Uniform rows have no zeros. So for sparse rows, each feature's numbers are given to other rows
    at random. For cosine distances, the box is that of the rows scaled to one length, and only
    the directions of the reference rows count.

    Parameters
    ----------
    data : Prepared

    Returns
    -------
    callable
        Takes an int; returns as many rows as the data have.
    """
    whole = data.blocks.whole
    if whole is not None and is_sparse(given := whole.as_given(data.origin)):
        return shuffled(given)
    return _in_the_box(data)


def _in_the_box(data: Prepared) -> Callable[[int], Host]:
    rows = to_host(data.blocks.map_rows(_centred).whole()).astype(np.float64)
    n_rows, n_features = rows.shape
    components = np.eye(n_features)
    if 1 < n_features <= _MOST_ALIGNED:
        _, components = np.linalg.eigh(rows.T @ rows)
    turned = rows @ components
    low, high = turned.min(axis=0), turned.max(axis=0)

    def drawn(seed: int) -> Host:
        uniforms = np.random.RandomState(seed).random_sample((n_rows, n_features))
        made: Host = (low + uniforms * (high - low)) @ components.T
        return made

    return drawn


def _centred(rows: Rows, *, xp: Namespace) -> Array:  # noqa: ARG001 (as all functions of rows)
    return rows.centred()


def gaps(inertias: Sequence[float], references: Sequence[Sequence[float]]) -> list[Gap | None]:
    """Return the gap statistic for each number; None where an inertia is 0.

    Parameters
    ----------
    inertias : sequence of float
        Of the data, for each number of clusters.
    references : sequence of sequences of float
        Of rows without clusters: one sequence for each draw.

    Returns
    -------
    list of Gap or None
        The value is the mean logarithm over the draws less the logarithm for the data. The error
        is the standard deviation over the draws times sqrt(1 + 1 / n_draws).
    """
    of_references: Any = np.asarray(references, dtype=np.float64)
    found: list[Gap | None] = []
    for inertia, drawn in zip(inertias, of_references.T, strict=True):
        if inertia <= 0.0 or (drawn <= 0.0).any():
            found.append(None)
            continue
        logs = np.log(drawn)
        error = logs.std() * np.sqrt(1.0 + 1.0 / len(logs))
        found.append(Gap(float(logs.mean() - np.log(inertia)), float(error)))
    return found
