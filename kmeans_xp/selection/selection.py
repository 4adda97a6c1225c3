"""The result of a choice of the number of clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from kmeans_xp.estimators import KMeans

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Candidate", "Selection"]


class Candidate(NamedTuple):
    """One number of clusters, and its measurements.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    inertia : float
        Of the best fit, in squared units of the points.
    silhouette : float or None
        Mean silhouette coefficient; on a sample where there are many rows. None for one cluster,
        for as many clusters as rows, and where equal rows left clusters empty.
    gap : float or None
        Gap statistic; None if there are no references, or the inertia is 0.
    gap_error : float or None
        Its standard error, including the simulation error.

    Examples
    --------
    >>> from kmeans_xp.selection import Candidate
    >>> Candidate(3, 12.5, 0.61, 0.4, 0.02).silhouette
    0.61
    """

    n_clusters: int
    inertia: float
    silhouette: float | None
    gap: float | None
    gap_error: float | None


@dataclass(frozen=True)
class Selection:
    """The recommended number of clusters, and why: what ``choose_n_clusters`` returns.

    Parameters
    ----------
    n_clusters : int
        The recommended number; 1 if the gap statistic decides and finds no structure.
    criterion : str
        The criterion that decided: the given one, or another if that had no answer.
    reason : str
        Why, and what the other criteria say, in sentences.
    recommendations : dict of str to int or None
        The number that each criterion recommends: "silhouette", "gap" and "elbow"; None for no
        answer.
    table : tuple of Candidate
        One for each number of clusters tried, fewest first.
    estimator : KMeans
        Fitted with the recommended number; its arrays are of X's library, on X's device.
    one_cluster : Candidate or None, default=None
        All rows in one cluster, which the gap statistic always tries; None without it.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp.selection import choose_n_clusters
    >>> X = np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], 20, axis=0)
    >>> X += np.random.default_rng(0).normal(size=X.shape)
    >>> selection = choose_n_clusters(X, range(2, 6), random_state=0)
    >>> selection.n_clusters, selection.recommendations
    (3, {'silhouette': 3, 'gap': 3, 'elbow': 3})
    >>> selection.estimator.predict(X[:1]).shape
    (1,)
    """

    n_clusters: int
    criterion: str
    reason: str
    recommendations: dict[str, int | None]
    table: tuple[Candidate, ...]
    estimator: KMeans
    one_cluster: Candidate | None = field(default=None)

    def plot(self, axes: Sequence[Any] | None = None) -> np.ndarray[Any, Any]:
        """Draw inertia, silhouette and gap statistic against the number of clusters.

        Parameters
        ----------
        axes : sequence of matplotlib.axes.Axes, default=None
            One for each curve: inertia, then silhouette and gap statistic if they were measured.
            None makes a new figure, which pyplot does not know: save it with
            ``plot()[0].figure.savefig(path)``.

        Returns
        -------
        ndarray of matplotlib.axes.Axes
            The axes, with the recommendation of each criterion marked.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there are not as many axes as curves.
        """
        from kmeans_xp.selection.picture import draw

        return draw(self, axes)

    def __str__(self) -> str:
        """Return the table, and the reason below it."""
        heads = ("clusters", "inertia", "silhouette", "gap", "gap error")
        first = [self.one_cluster] if self.one_cluster else []
        rows = [
            heads,
            *(_cells(each) for each in {c.n_clusters: c for c in [*first, *self.table]}.values()),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.rjust, row, widths)) for row in rows)
        return "\n".join([*lines, "", self.reason])


def _cells(candidate: Candidate) -> tuple[str, ...]:
    numbers = (candidate.silhouette, candidate.gap, candidate.gap_error)
    told = ("-" if number is None else f"{number:.4f}" for number in numbers)
    return (str(candidate.n_clusters), f"{candidate.inertia:.6g}", *told)
