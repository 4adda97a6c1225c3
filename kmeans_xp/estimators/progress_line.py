"""Lines that report the progress of a long fit."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from kmeans_xp.checks import check_callable, check_real

__all__ = ["ProgressLine"]


class ProgressLine:
    """A callback that regularly writes a line, for fits that take minutes or hours.

    The line shows the iteration and the inertia at its start (for mini-batches, the smoothed mean
    inertia of a row). It also shows the rows visited each second since the previous line, and the
    maximum time that is left. The run may converge at any iteration.

    Parameters
    ----------
    seconds : float, default=10.0
        Minimum time between two lines; a shorter fit writes nothing.
    write : callable, default=None
        Takes a line, without a newline; None for standard error.

    Notes
    -----
    scikit-learn's own ``ProgressBar`` draws bars, and needs rich.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMeans, ProgressLine
    >>> X = np.random.default_rng(0).normal(size=(1000, 4))
    >>> line = ProgressLine(seconds=0.0, write=print)
    >>> kmeans = KMeans(8, max_iter=2, random_state=0).set_callbacks(line).fit(X)
    iteration 1 of 2 at most, inertia ..., ... rows a second, ... left at most
    iteration 2 of 2 at most, inertia ..., ... rows a second, 0:00:00 left at most
    """

    def __init__(
        self, *, seconds: float = 10.0, write: Callable[[str], object] | None = None
    ) -> None:
        check_real("seconds", seconds, 0.0)
        if write is not None:
            check_callable("write", write)
        self.seconds = seconds
        self.write = write

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing: a run has not begun.

        Parameters
        ----------
        estimator : estimator
            The estimator whose fit begins.
        context : sklearn.callback.CallbackContext
            The fit, as a task.
        """

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Start the clock when a run begins, after seeding.

        Parameters
        ----------
        estimator : estimator
            The estimator in its fit.
        context : sklearn.callback.CallbackContext
            The task that begins.
        """
        if context.task_name == "run":
            self._n_iterations, self._since = 0, time.monotonic()

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, metadata: dict[str, Any] | None = None
    ) -> None:
        """Count an iteration, and write a line if one is due.

        Parameters
        ----------
        estimator : estimator
            The estimator in its fit.
        context : sklearn.callback.CallbackContext
            The task that ends.
        metadata : dict or None
            The numbers of the iteration.
        """
        if context.task_name != "iteration" or metadata is None:
            return
        self._n_iterations += 1
        now = time.monotonic()
        elapsed = now - self._since
        if elapsed < self.seconds:
            return
        line = _line(context.parent, metadata, elapsed / self._n_iterations)
        self._n_iterations, self._since = 0, now
        if self.write is None:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 (what it is for)
        else:
            self.write(line)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing: all lines are written.

        Parameters
        ----------
        estimator : estimator
            The estimator whose fit ended.
        context : sklearn.callback.CallbackContext
            The fit, as a task.
        """


def _line(run: Any, metadata: dict[str, Any], seconds: float) -> str:
    """Describe an iteration; each takes ``seconds``."""
    n_runs, n_left = run.parent.max_subtasks, metadata["max_iter"] - metadata["iteration"]
    rate = metadata["n_rows"] / seconds if seconds > 0.0 else float("inf")
    return ", ".join(
        [
            *([f"run {run.task_id + 1} of {n_runs}"] if n_runs > 1 else []),
            f"iteration {metadata['iteration']:,} of {metadata['max_iter']:,} at most",
            f"inertia {metadata['inertia']:.6g}",
            f"{rate:,.0f} rows a second",
            f"{timedelta(seconds=round(n_left * seconds))} left at most",
        ]
    )
