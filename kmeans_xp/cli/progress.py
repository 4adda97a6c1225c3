"""A spinner on terminals, with the number of the iteration while an estimator is fitted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.status import Status

from kmeans_xp.cli.console import messages

__all__ = ["fit_progress", "progress"]


class _IterationTeller:
    """A callback of scikit-learn's protocol that counts iterations beside a spinner."""

    def __init__(self, status: Status) -> None:
        self.status = status
        self.text = status.status

    def setup(self, estimator: Any, context: Any) -> None:
        self.n_iterations = 0

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        if context.task_name == "iteration":
            self.n_iterations += 1
            self.status.update(f"{self.text}: iteration {self.n_iterations}")

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        pass

    def teardown(self, estimator: Any, context: Any) -> None:
        pass


@contextmanager
def progress(text: str) -> Iterator[Status | None]:
    """Show `text` with a spinner while the body runs, on a terminal only."""
    console = messages()
    if not console.is_terminal:
        yield None
        return
    with console.status(text) as status:
        yield status


@contextmanager
def fit_progress(estimator: Any, text: str) -> Iterator[None]:
    """Show `text` and the iterations of the estimator's `fit` in the body."""
    with progress(text) as status:
        if status is None:
            yield
            return
        estimator.set_callbacks(_IterationTeller(status))
        try:
            yield
        finally:
            estimator.set_callbacks()
