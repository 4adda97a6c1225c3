"""A callback that remembers where the centroids were in each iteration of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kmeans_xp.devices import to_host

if TYPE_CHECKING:
    HostArray = np.ndarray[Any, Any]

__all__ = ["CentroidPath"]


class CentroidPath:
    """The centroids before and after each iteration, kept on the host while a fit runs.

    A callback of scikit-learn's protocol: ``estimator.set_callbacks(path).fit(X)``. Each
    iteration then waits for the device and copies its centroids to the host.

    Attributes
    ----------
    centroids : list of ndarray of shape (n_clusters, n_features)
        Of the run that the fit kept: the initial centroids, then those after each iteration
        (of ``MiniBatchKMeans``: after each batch).
    runs : list of list of ndarray
        The same of every run of ``n_init``, in their order. A new fit starts an empty list.

    See Also
    --------
    kmeans_xp.plotting.ConvergenceDisplay : Draws such a path in panels.
    kmeans_xp.plotting.animation : Draws it as a film.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMeans
    >>> from kmeans_xp.plotting import CentroidPath
    >>> X = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> path = CentroidPath()
    >>> kmeans = KMeans(2, init=np.array([[0.0], [1.0]])).set_callbacks(path).fit(X)
    >>> [centroids.ravel().round(1).tolist() for centroids in path.centroids]
    [[0.0, 1.0], [0.0, 6.7], [0.5, 9.5], [0.5, 9.5]]
    """

    def __init__(self) -> None:
        self.runs: list[list[HostArray]] = []
        self._kept = 0

    @property
    def centroids(self) -> list[HostArray]:
        """The path of the run that the fit kept; empty before a fit."""
        return self.runs[self._kept] if self.runs else []

    def setup(self, estimator: Any, context: Any) -> None:
        """Forget an earlier fit.

        Parameters
        ----------
        estimator : estimator
            Whose fit begins.
        context : sklearn.callback.CallbackContext
            The fit, as a task.
        """
        self.runs = []
        self._kept = 0

    def on_fit_task_begin(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        """Keep the initial centroids of a run.

        Parameters
        ----------
        estimator : estimator
            That is being fitted.
        context : sklearn.callback.CallbackContext
            The task that begins.
        fitted_estimator : estimator or None
            As if the fit had stopped here.
        """
        if context.task_name == "run":
            self.runs.append([_centroids(fitted_estimator)])

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> bool:
        """Keep the centroids after an iteration, and know at the end which run was kept.

        Parameters
        ----------
        estimator : estimator
            That is being fitted.
        context : sklearn.callback.CallbackContext
            The task that ends.
        fitted_estimator : estimator or None
            As if the fit had stopped here.

        Returns
        -------
        bool
            False: it stops nothing.
        """
        if context.task_name == "iteration":
            self.runs[-1].append(_centroids(fitted_estimator))
        elif context.task_name == "fit":
            final = _centroids(fitted_estimator)
            kept = (i for i, run in enumerate(self.runs) if np.array_equal(run[-1], final))
            self._kept = next(kept)
        return False

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing: what was kept stays.

        Parameters
        ----------
        estimator : estimator
            Whose fit ended.
        context : sklearn.callback.CallbackContext
            The fit, as a task.
        """


def _centroids(estimator: Any) -> HostArray:
    # A copy: what lies in host memory may be shared with the fit, which goes on.
    return np.array(to_host(estimator.cluster_centers_))
