"""``python -m kmeans_xp.accelerate script.py`` runs a program with this package's k-means."""

import argparse
import io
import pkgutil
import re
import runpy
import sys
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from kmeans_xp.accelerate import accelerate

#: a word with the option -m or -c: our options before it, and what comes at once after it
_NAMING = re.compile(r"-([^-cm]*)([cm])(.*)", re.DOTALL)


class _Program(NamedTuple):
    """``name`` is a module or code if ``option`` is "m" or "c", otherwise a file."""

    option: str
    name: str
    arguments: list[str]


def main() -> None:
    """Run the script, the module or the code that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m kmeans_xp.accelerate",
        usage="%(prog)s [-h] [-q] (FILE | - | -m MODULE | -c CODE) [ARGUMENT ...]",
        description="Run a Python program with kmeans_xp's k-means instead of scikit-learn's. Name "
        "it as for python: a file or a folder, - for the standard input, or by -m or -c.",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="do not list what is replaced")
    options, program = _split(sys.argv[1:])
    given = parser.parse_args(options)
    if program is None:
        parser.error("name a program: a file, or a module or code after -m or -c")
    is_file = not program.option and program.name != "-"
    if is_file and not (program.name and Path(program.name).exists()):
        parser.error(f"there is no file {program.name}")
    acceleration = accelerate()
    if not given.quiet:
        print(acceleration, file=sys.stderr)  # noqa: T201 (what a user asked for)
    sys.argv = ["-c" if program.option == "c" else program.name, *program.arguments]
    # For good, unlike runpy's public functions: threads and what runs at exit may still pickle
    # what the program defines, which pickle looks up in this module.
    sys.modules["__main__"] = module = ModuleType("__main__")
    if program.option == "m":
        _run_module(program.name, is_named=True)
    elif is_file and pkgutil.get_importer(program.name) is not None:
        sys.path[0] = str(Path(program.name).resolve())
        _run_module("__main__", is_named=False)  # of a folder or an archive
    elif is_file:
        path = Path(program.name).resolve()
        sys.path[0] = str(path.parent)
        vars(module).update(__file__=str(path), __cached__=None)
        exec(_code_in(program.name), vars(module))
    else:
        is_code = program.option == "c"
        source = program.name if is_code else sys.stdin.buffer.read()
        code = _compiled(source, "<string>" if is_code else "<stdin>")
        exec(code, vars(module))


def _split(words: list[str]) -> tuple[list[str], _Program | None]:
    """Return our own options, and the program: what follows it is its own, options too."""
    for number, word in enumerate(words):
        rest = words[number + 1 :]
        if word == "-" or not word.startswith("-"):
            return words[:number], _Program("", word, rest)
        if (found := _NAMING.fullmatch(word)) is not None:
            flags, option, name = found.groups()
            if not name and not rest:
                return words[:number], None
            if not name:
                name, *rest = rest
            return [*words[:number], *(f"-{flag}" for flag in flags)], _Program(option, name, rest)
    return words, None


def _run_module(name: str, *, is_named: bool) -> None:
    """Run a module in ``__main__`` as python does, with its messages if there is none."""
    # Python itself calls this, and debuggers do: runpy's public functions put __main__ back.
    run: Any = runpy._run_module_as_main  # type: ignore[attr-defined]
    run(name, alter_argv=is_named)


def _code_in(path: str) -> CodeType:
    with io.open_code(path) as file:
        made: CodeType | None = pkgutil.read_code(file)  # of a .pyc
    if made is not None:
        return made
    with io.open_code(path) as file:
        return _compiled(file.read(), path)


def _compiled(source: str | bytes, file_name: str) -> CodeType:
    return compile(source, file_name, "exec", dont_inherit=True)


if __name__ == "__main__":
    main()
