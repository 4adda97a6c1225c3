"""Progress of a fit: a spinner on terminals, elsewhere a line from time to time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.status import Status

from kmeans_xp import ProgressLine
from kmeans_xp.cli.console import messages
from kmeans_xp.estimators.callback_support import HAS_CALLBACKS

__all__ = ["fit_progress", "progress"]

#: time between lines where they cannot be overwritten, as in the log of a job
SECONDS_A_LINE = 5.0
SECONDS_A_LOOK = 0.1


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
    with progress(text) as status:
        told = [_lines(text, status)] if HAS_CALLBACKS else []
        estimator.set_callbacks(*callbacks, *told)
        try:
            yield
        finally:
            estimator.set_callbacks()


def _lines(text: str, status: Status | None) -> ProgressLine:
    if status is None:
        return ProgressLine(
            seconds=SECONDS_A_LINE, write=lambda line: messages().print(f"{text}: {line}")
        )
    return ProgressLine(seconds=SECONDS_A_LOOK, write=lambda line: status.update(f"{text}: {line}"))
