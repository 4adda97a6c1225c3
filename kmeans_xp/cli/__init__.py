"""The command ``kmeans-xp``, which clusters tables and pictures from the shell."""

import io
import sys

__all__ = ["main"]

_EXTRA = ("PIL", "pyarrow", "rich", "typer")


def main() -> None:
    """Run the command line, or say what to install first."""
    for stream in (sys.stdout, sys.stderr):
        # Do not fail if the terminal cannot show the letters of a column's name.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from kmeans_xp.cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.exit(f"kmeans-xp needs {error.name}: pip install 'kmeans_xp[cli]'")
    app()
