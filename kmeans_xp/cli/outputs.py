"""The files that a command writes, if the user wants them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from kmeans_xp import persistence
from kmeans_xp.cli.console import results

__all__ = ["print_written", "staged"]

#: a named tuple of paths, None for files that the user does not want
Outputs = TypeVar("Outputs", bound=Any)


@contextmanager
def staged(outputs: Outputs) -> Iterator[Outputs]:
    """Yield temporary files to write for `outputs`, as `persistence.staged` does."""
    with persistence.staged(*filter(None, outputs)) as paths:
        unwritten = iter(paths)
        yield type(outputs)(*(path and next(unwritten) for path in outputs))


def print_written(*paths: Path | None) -> None:
    """Print the names of the files that were written, if any."""
    if any(paths):
        told = ", ".join(str(path) for path in paths if path)
        results().print(f"Wrote: {told}", soft_wrap=True)
