"""``python -m kmeans_xp.accelerate script.py`` runs a program with this package's k-means."""

import argparse
import runpy
import sys
from pathlib import Path
from types import ModuleType

from kmeans_xp.accelerate import accelerate


def main() -> None:
    """Run the script, the module or the code that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m kmeans_xp.accelerate",
        description="Run a Python program with kmeans_xp's k-means instead of scikit-learn's.",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("-m", action="store_true", dest="is_module", help="PROGRAM is a module")
    form.add_argument("-c", action="store_true", dest="is_code", help="PROGRAM is code")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not list what is replaced")
    parser.add_argument(
        "program", metavar="PROGRAM", help="a file, - for the standard input, or as -m or -c says"
    )
    parser.add_argument("arguments", nargs="*", help="of the program")
    # What follows the program is its own, "--" and options too.
    words = sys.argv[1:]
    is_program = [not word.startswith("-") or word == "-" for word in words] + [True]
    n_ours = is_program.index(True) + 1
    given = parser.parse_args(words[:n_ours])
    is_file = not (given.is_module or given.is_code or given.program == "-")
    if is_file and not Path(given.program).exists():
        parser.error(f"there is no file {given.program}")
    acceleration = accelerate()
    if not given.quiet:
        print(acceleration, file=sys.stderr)  # noqa: T201 (what a user asked for)
    sys.argv = ["-c" if given.is_code else given.program, *words[n_ours:]]
    if given.is_module:
        runpy.run_module(given.program, run_name="__main__", alter_sys=True)
    elif is_file:
        sys.path[0] = str(Path(given.program).resolve().parent)
        runpy.run_path(given.program, run_name="__main__")
    elif given.is_code:
        _run_code(given.program, "<string>")
    else:
        _run_code(sys.stdin.buffer.read(), "<stdin>")


def _run_code(code: str | bytes, file_name: str) -> None:
    # pickle looks up what the program defines in this module
    sys.modules["__main__"] = program = ModuleType("__main__")
    exec(compile(code, file_name, "exec", dont_inherit=True), vars(program))


if __name__ == "__main__":
    main()
