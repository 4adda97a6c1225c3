"""What is said to the user: results on stdout, the rest on stderr."""

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

#: what a shell's programs end with after Ctrl-C
INTERRUPTED = 130
# A file or a pipe has no width to fit: nothing is wrapped or cut in it.
WIDTH_OF_FILES = 10_000


def results() -> Console:
    """Return where results are printed."""
    return _console(stderr=False)


def messages() -> Console:
    """Return where everything else is said."""
    return _console(stderr=True)


def note(text: str) -> None:
    """Tell the user what they may not expect."""
    messages().print(f"Note: {text}", style="yellow")


@contextmanager
def reported(*, tells_of_compiling: bool = True, kept: Path | None = None) -> Iterator[None]:
    """Turn what data, files and devices can cause into one line and exit status 1.

    An interrupt says what was kept, and ends with status 130.

    Parameters
    ----------
    tells_of_compiling : bool
        Whether the user is told what a first run waits for.
    kept : Path or None
        The checkpoint that the command writes.
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
        return f"{checkpoint} keeps where it stood; the same command goes on from there."
    return "no file was written."


def _told(error: Exception) -> str:
    """Return what happened, without the number that the system has for it."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {os.fspath(error.filename)!r}"
    return str(error) or "not enough memory"


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


@contextmanager
def _compiling_told() -> Iterator[None]:
    """Tell the user what a first run waits for."""
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
    # Names of files and columns may hold brackets, which are no markup.
    return Console(stderr=stderr, width=width, markup=False, highlight=False)
