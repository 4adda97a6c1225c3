"""How the inertia falls over the iterations of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kmeans_xp.plotting.figures import axes_or_new
from kmeans_xp.plotting.inputs import check_fitted
from kmeans_xp.plotting.looks import colour
from kmeans_xp.plotting.numerals import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    HostArray = np.ndarray[Any, Any]

__all__ = ["InertiaHistoryDisplay"]

# More iterations than this are a line without dots.
MOST_DOTS = 60


class InertiaHistoryDisplay:
    """A picture of the inertia after each iteration.

    Make one with `from_estimator`.

    Parameters
    ----------
    inertias : ndarray of shape (n_iterations + 1,)
        The inertia of the initial centroids, then after each iteration, in squared units of
        the points. For mini-batches, the mean squared distance in each batch before its step.
    is_of_batches : bool, default=False
        Whether `inertias` are means over batches.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that `plot` drew on.
    figure_ : matplotlib.figure.Figure
        Their figure, unknown to pyplot if `plot` made it.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMeans
    >>> from kmeans_xp.plotting import InertiaHistoryDisplay
    >>> X = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> display = InertiaHistoryDisplay.from_estimator(KMeans(2, init=X[:2]).fit(X))
    >>> display.inertias.round(2).tolist()
    [145.0, 17.56, 1.0, 1.0]
    """

    ax_: Axes
    figure_: Any

    def __init__(self, *, inertias: HostArray, is_of_batches: bool = False) -> None:
        self.inertias = inertias
        self.is_of_batches = is_of_batches

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : KMeans or MiniBatchKMeans
            Fitted. scikit-learn's estimators have no ``history_``.
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        InertiaHistoryDisplay
            Drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is not an estimator, or keeps no history.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        check_fitted(estimator)
        if not hasattr(estimator, "history_"):
            raise TypeError(
                f"{type(estimator).__name__} keeps no history_: fit an estimator of kmeans_xp "
                "(one that grew by partial_fit has none)"
            )
        inertias = np.asarray(estimator.history_["inertia"], dtype=np.float64)
        is_of_batches = hasattr(estimator, "n_steps_")
        if not is_of_batches:
            inertias = np.append(inertias, estimator.inertia_)
        return cls(inertias=inertias, is_of_batches=is_of_batches).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        InertiaHistoryDisplay
            This one, with `ax_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `ax` is of another kind.
        """
        from matplotlib.ticker import MaxNLocator

        self.ax_ = axes_or_new(ax, 7.0, 4.5)
        self.figure_ = self.ax_.figure
        # A batch is measured before its step: numbers begin at 1.
        numbers = np.arange(len(self.inertias)) + self.is_of_batches
        dots = "o" if len(numbers) <= MOST_DOTS else ""
        self.ax_.plot(numbers, self.inertias, color=colour(0), marker=dots, markersize=4)
        self.ax_.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        self.ax_.grid(alpha=0.3)
        if self.is_of_batches:
            self.ax_.set(xlabel="batch", ylabel="mean squared distance in the batch")
            self.ax_.set_title(f"{len(numbers):,} {'batch' if len(numbers) == 1 else 'batches'}")
        else:
            self.ax_.set(xlabel="iterations done", ylabel="inertia")
            done = counted(int(numbers[-1]), "iteration")
            self.ax_.set_title(f"Inertia {self.inertias[-1]:,.6g} after {done}")
        return self
