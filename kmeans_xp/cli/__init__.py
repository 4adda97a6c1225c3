"""The command ``kmeans-xp``: clusters tables and pictures from the shell."""

import sys

__all__ = ["main"]

_EXTRA = ("PIL", "pyarrow", "rich", "typer")


def main() -> None:
    """Run the command line, or say what to install for it."""
    try:
        from kmeans_xp.cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.exit(f"kmeans-xp needs {error.name}: pip install 'kmeans_xp[cli]'")
    app()
