"""``python -m kmeans_xp.accelerate script.py`` runs a program with this package's k-means."""

import argparse
import runpy
import sys
from pathlib import Path

from kmeans_xp.accelerate import accelerate


def main() -> None:
    """Run the script or the module that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m kmeans_xp.accelerate",
        description="Run a Python program with kmeans_xp's k-means instead of scikit-learn's.",
    )
    parser.add_argument("-m", action="store_true", dest="is_module", help="PROGRAM is a module")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not list what is replaced")
    parser.add_argument("program", metavar="PROGRAM", help="a file, or with -m a module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the program")
    given = parser.parse_args()
    if not given.is_module and not Path(given.program).exists():
        parser.error(f"there is no file {given.program}")
    acceleration = accelerate()
    if not given.quiet:
        print(acceleration, file=sys.stderr)  # noqa: T201 (what a user asked for)
    sys.argv = [given.program, *given.arguments]
    if given.is_module:
        runpy.run_module(given.program, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(given.program).resolve().parent)
        runpy.run_path(given.program, run_name="__main__")


if __name__ == "__main__":
    main()
