"""Report a running fit to scikit-learn's callbacks and to checkpoints."""

from collections.abc import Callable, Mapping
from typing import Any

from kmeans_xp.estimators.checkpoint import Checkpoint, identity_of
from kmeans_xp.estimators.preparation import Prepared

__all__ = ["Progress"]

#: returns the content of a checkpoint; called only to write it, since it copies arrays to the host
Values = Callable[[], Mapping[str, Any]]


class Progress:
    """The callbacks of one fit as a tree: the fit, its runs, and their iterations.

    Without callbacks it does nothing.

    Parameters
    ----------
    estimator : estimator with ``CallbackSupportMixin``
    X, y : as given to ``fit``
    n_runs : int
    """

    def __init__(self, estimator: Any, X: Any, y: Any, n_runs: int) -> None:
        self.estimator = estimator
        self.data = {"X": X, "y": y}
        callbacks = getattr(estimator, "_skl_callbacks", [])
        self.checkpoints = [each for each in callbacks if isinstance(each, Checkpoint)]
        self._values: Values = dict
        self.is_on = bool(callbacks)
        if self.is_on:
            self.fit = estimator._init_callback_context(max_subtasks=n_runs)
            self.fit.call_on_fit_task_begin(estimator=estimator, **self.data)

    def saved(self, data: Prepared) -> Mapping[str, Any] | None:
        """Return the saved state of an earlier fit; None if no checkpoint has one."""
        if not self.checkpoints:
            return None
        identity = identity_of(self.estimator, data)
        found = [each._begin(identity) for each in self.checkpoints]
        return next((values for values in found if values is not None), None)

    def resumed(self, where: str) -> None:
        """Set in each checkpoint where the fit continued."""
        for checkpoint in self.checkpoints:
            checkpoint.resumed = where

    def offer(self, values: Values, *, is_iteration: bool = False, is_end: bool = False) -> None:
        """Let checkpoints write the state if a write is due; ``end`` writes the final state."""
        self._values = values
        if not is_end:
            for checkpoint in self.checkpoints:
                checkpoint._offer(values, is_iteration=is_iteration)

    def begin_run(self, max_iter: int, fitted: Callable[[], dict[str, Any]]) -> None:
        """Begin a run; ``fitted`` returns the fitted attributes for its initial centroids."""
        if self.is_on:
            self.run = self.fit.subcontext(task_name="run", max_subtasks=max_iter)
            self.run.call_on_fit_task_begin(
                estimator=self.estimator, reconstruction_attributes=fitted, **self.data
            )

    def iteration(
        self, fitted: Callable[[], dict[str, Any]], metadata: Callable[[], dict[str, Any]]
    ) -> bool:
        """Report one iteration; return True if a callback wants to stop."""
        if not self.is_on:
            return False
        task = self.run.subcontext(task_name="iteration")
        task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        return self._end(task, fitted, metadata)

    def end_run(self, fitted: Callable[[], dict[str, Any]]) -> bool:
        """End the run; return True if a callback wants no further run."""
        return self.is_on and self._end(self.run, fitted)

    def end(self) -> None:
        """End the fit; the estimator must have its fitted attributes."""
        if self.is_on:
            self._end(self.fit, dict)
        for checkpoint in self.checkpoints:
            checkpoint._finish(self._values)

    def _end(
        self,
        task: Any,
        fitted: Callable[[], dict[str, Any]],
        metadata: Callable[[], dict[str, Any]] | None = None,
    ) -> bool:
        return bool(
            task.call_on_fit_task_end(
                estimator=self.estimator,
                reconstruction_attributes=fitted,
                metadata=metadata,
                **self.data,
            )
        )
