"""What is told while a fit runs: verbose lines, and scikit-learn's callbacks."""

from collections.abc import Callable
from typing import Any

__all__ = ["Progress"]


class Progress:
    """The callbacks of one fit as a tree: the fit, its runs, and their iterations.

    Without callbacks nothing is built or called.

    Parameters
    ----------
    estimator : estimator with ``CallbackSupportMixin``
    X, y : as given to ``fit``
    n_runs : int
    """

    def __init__(self, estimator: Any, X: Any, y: Any, n_runs: int) -> None:
        self.estimator = estimator
        self.data = {"X": X, "y": y}
        self.is_on = bool(getattr(estimator, "_skl_callbacks", None))
        if self.is_on:
            self.fit = estimator._init_callback_context(max_subtasks=n_runs)
            self.fit.call_on_fit_task_begin(estimator=estimator, **self.data)

    def begin_run(self, max_iter: int, fitted: Callable[[], dict[str, Any]]) -> None:
        """Begin one run from one set of initial centroids, which make it `fitted`."""
        if self.is_on:
            self.run = self.fit.subcontext(task_name="run", max_subtasks=max_iter)
            self.run.call_on_fit_task_begin(
                estimator=self.estimator, reconstruction_attributes=fitted, **self.data
            )

    def iteration(self, fitted: Callable[[], dict[str, Any]]) -> bool:
        """Tell of one iteration; True if a callback wants to stop."""
        if not self.is_on:
            return False
        task = self.run.subcontext(task_name="iteration")
        task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        return self._end(task, fitted)

    def end_run(self, fitted: Callable[[], dict[str, Any]]) -> bool:
        """End the run; True if a callback wants no further one."""
        return self.is_on and self._end(self.run, fitted)

    def end(self) -> None:
        """End the fit; the estimator has its fitted attributes."""
        if self.is_on:
            self._end(self.fit, dict)

    def _end(self, task: Any, fitted: Callable[[], dict[str, Any]]) -> bool:
        return bool(
            task.call_on_fit_task_end(
                estimator=self.estimator, reconstruction_attributes=fitted, **self.data
            )
        )
