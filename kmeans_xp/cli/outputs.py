"""The files that a command writes, of which some may not be asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from kmeans_xp import persistence
from kmeans_xp.cli.console import results

__all__ = ["print_written", "staged"]

#: a named tuple of paths, or None for each that was not asked for
Outputs = TypeVar("Outputs", bound=Any)


@contextmanager
def staged(outputs: Outputs) -> Iterator[Outputs]:
    """Yield the files to write in the places of `outputs`, as `persistence.staged` does."""
    with persistence.staged(*filter(None, outputs)) as paths:
        unwritten = iter(paths)
        yield type(outputs)(*(path and next(unwritten) for path in outputs))


def print_written(*paths: Path | None) -> None:
    """Tell the files that were written, if any."""
    if any(paths):
        told = ", ".join(str(path) for path in paths if path)
        results().print(f"Wrote: {told}", soft_wrap=True)
