"""Report a running fit to scikit-learn's callbacks and to checkpoints."""

from collections.abc import Callable, Mapping
from typing import Any

from kmeans_xp.estimators.checkpoint import Checkpoint, identity_of
from kmeans_xp.estimators.preparation import Prepared

__all__ = ["Progress"]

#: makes what a checkpoint holds: arrays on a device are copied to the host only to be written
Values = Callable[[], Mapping[str, Any]]


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
        callbacks = getattr(estimator, "_skl_callbacks", [])
        self.checkpoints = [each for each in callbacks if isinstance(each, Checkpoint)]
        self._values: Values = dict
        self.is_on = bool(callbacks)
        if self.is_on:
            self.fit = estimator._init_callback_context(max_subtasks=n_runs)
            self.fit.call_on_fit_task_begin(estimator=estimator, **self.data)

    def saved(self, data: Prepared) -> Mapping[str, Any] | None:
        """Return the values of where an earlier fit stood; None if no checkpoint has any."""
        if not self.checkpoints:
            return None
        identity = identity_of(self.estimator, data)
        found = [each._begin(identity) for each in self.checkpoints]
        return next((values for values in found if values is not None), None)

    def resumed(self, where: str) -> None:
        """Tell checkpoints where the fit goes on."""
        for checkpoint in self.checkpoints:
            checkpoint.resumed = where

    def offer(self, values: Values, *, is_iteration: bool = False, is_end: bool = False) -> None:
        """Let checkpoints write where the fit stands, if it is time to; its end, by ``end``."""
        self._values = values
        if not is_end:
            for checkpoint in self.checkpoints:
                checkpoint._offer(values, is_iteration=is_iteration)

    def begin_run(self, max_iter: int, fitted: Callable[[], dict[str, Any]]) -> None:
        """Begin one run from one set of initial centroids, which make it `fitted`."""
        if self.is_on:
            self.run = self.fit.subcontext(task_name="run", max_subtasks=max_iter)
            self.run.call_on_fit_task_begin(
                estimator=self.estimator, reconstruction_attributes=fitted, **self.data
            )

    def iteration(
        self, fitted: Callable[[], dict[str, Any]], metadata: Callable[[], dict[str, Any]]
    ) -> bool:
        """Tell of one iteration; True if a callback wants to stop."""
        if not self.is_on:
            return False
        task = self.run.subcontext(task_name="iteration")
        task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        return self._end(task, fitted, metadata)

    def end_run(self, fitted: Callable[[], dict[str, Any]]) -> bool:
        """End the run; True if a callback wants no further one."""
        return self.is_on and self._end(self.run, fitted)

    def end(self) -> None:
        """End the fit; the estimator has its fitted attributes."""
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
