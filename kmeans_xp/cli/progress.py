"""Progress of a fit: a bar on terminals, elsewhere a line from time to time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn
from rich.status import Status
from rich.table import Column

from kmeans_xp import ProgressLine
from kmeans_xp.cli.console import messages
from kmeans_xp.estimators.callback_support import HAS_CALLBACKS

__all__ = ["fit_progress", "progress"]

#: time between lines where they cannot be overwritten, as in the log of a job
SECONDS_A_LINE = 5.0
SECONDS_A_LOOK = 0.1
BAR_WIDTH = 20


@contextmanager
def progress(text: str) -> Iterator[Status | None]:
    """Show `text` with a spinner while the body runs, but only on a terminal."""
    console = messages()
    if not console.is_terminal:
        yield None
        return
    with console.status(text) as status:
        yield status


@contextmanager
def fit_progress(estimator: Any, text: str, *callbacks: Any) -> Iterator[None]:
    """Show `text` and the iterations while the body fits the estimator; set these callbacks too."""
    with _reporting(text) as reporting:
        estimator.set_callbacks(*callbacks, *reporting)
        try:
            yield
        finally:
            estimator.set_callbacks()


@contextmanager
def _reporting(text: str) -> Iterator[list[ProgressLine]]:
    """Yield the callbacks that report a fit."""
    console = messages()
    if not HAS_CALLBACKS:
        with progress(text):
            yield []
    elif not console.is_terminal:
        yield [ProgressLine(seconds=SECONDS_A_LINE, write=lambda s: console.print(f"{text}: {s}"))]
    else:
        line = TextColumn("{task.description}", table_column=Column(ratio=1))
        bar = BarColumn(BAR_WIDTH)
        with Progress(bar, line, console=console, transient=True, expand=True) as drawn:
            yield [_Bar(text, drawn)]


class _Bar(ProgressLine):
    """Draw which share of the iterations is done, if each run takes its maximum.

    A run that converges earlier jumps to its end. Until the first iteration ends, the share is not
    known: the bar only moves.
    """

    def __init__(self, text: str, drawn: Progress) -> None:
        super().__init__(seconds=SECONDS_A_LOOK, write=self._describe)
        self._text, self._drawn = text, drawn
        self._task = drawn.add_task(text, total=None)

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, metadata: dict[str, Any] | None = None
    ) -> None:
        """Move the bar when an iteration or a run ends."""
        if context.task_name == "run":
            self._move(context, 1.0)
        elif context.task_name == "iteration" and metadata is not None:
            self._move(context.parent, metadata["iteration"] / metadata["max_iter"])
        super().on_fit_task_end(estimator, context, metadata=metadata)

    def _move(self, run: Any, share: float) -> None:
        n_runs = run.parent.max_subtasks
        self._drawn.update(self._task, total=n_runs, completed=run.task_id + share)

    def _describe(self, line: str) -> None:
        self._drawn.update(self._task, description=f"{self._text}: {line}")
