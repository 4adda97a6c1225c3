"""Output to the user: results on stdout, everything else on stderr."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import typer
from rich.console import Console

from kmeans_xp.devices import DeviceUnavailableError

__all__ = ["messages", "note", "reported", "results"]

#: exit status of shell programs after Ctrl-C
INTERRUPTED = 130
# Files and pipes have no width: do not wrap or cut lines there.
WIDTH_OF_FILES = 10_000


def results() -> Console:
    """Return the console for results."""
    return _console(stderr=False)


def messages() -> Console:
    """Return the console for everything else."""
    return _console(stderr=True)


def note(text: str) -> None:
    """Print a note about something that the user may not expect."""
    messages().print(f"Note: {text}", style="yellow")


@contextmanager
def reported(*, tells_of_compiling: bool = True, kept: Path | None = None) -> Iterator[None]:
    """Turn errors from data, files and devices into one line and exit status 1.

    After an interrupt, say which files were kept, and exit with status 130.

    Parameters
    ----------
    tells_of_compiling : bool
        Whether to print a note while a first run compiles.
    kept : Path or None
        The checkpoint file of the command.
    """
    told = _compiling_told() if tells_of_compiling else nullcontext()
    with told, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except (ValueError, OSError, ImportError, MemoryError, DeviceUnavailableError) as error:
            messages().print(f"Error: {_told(error)}", style="red")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            messages().print(f"Stopped: {_what_is_kept(kept)}", style="red")
            raise typer.Exit(INTERRUPTED) from error
        finally:
            for warning in caught:
                note(str(warning.message))


def _what_is_kept(checkpoint: Path | None) -> str:
    if checkpoint is not None and checkpoint.exists():
        return f"{checkpoint} holds the state so far; the same command continues from there."
    return "no file was written."


def _told(error: Exception) -> str:
    """Return an error's message, without the operating system's error number."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {os.fspath(error.filename)!r}"
    return str(error) or "not enough memory"


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


@contextmanager
def _compiling_told() -> Iterator[None]:
    """Print a note while a first run compiles."""
    logger, handler = logging.getLogger("kmeans_xp.kernels"), _Notes()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDTH_OF_FILES
    # Names of files and columns may hold brackets: do not read them as markup.
    return Console(stderr=stderr, width=width, markup=False, highlight=False)
