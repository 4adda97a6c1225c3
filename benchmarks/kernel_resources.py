"""What the compiler gives each CUDA kernel: registers, shared memory, spills; needs no GPU.

``python benchmarks/kernel_resources.py`` compiles the kernels of ``SOURCES`` by the
NVRTC that CuPy finds and prints the table of ``docs/cuda_kernels.md``; with ``--write`` the page
is written. Exits with 1 if a kernel spills or does not compile.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

__all__ = [
    "ARCHITECTURES",
    "OLDEST",
    "SOURCES",
    "Compilation",
    "Declaration",
    "Resources",
    "choices",
    "compiled",
    "declarations",
    "instantiations",
    "listed",
    "parsed_log",
    "source",
]

PAGE = ROOT / "docs" / "cuda_kernels.md"

#: beside each lies the Python that launches its kernels
SOURCES = (
    "labels.cu",
    "certified.cu",
    "certified_wide.cu",
    "moments.cu",
    "sorting.cu",
    "sums.cu",
    "merging.cu",
    "seeding.cu",
    "sparse.cu",
)
ARCHITECTURES = (75, 80, 90, 100, 120)

#: the first architecture of a source that does not compile for all
OLDEST = {"certified.cu": 80, "certified_wide.cu": 80}

_INCLUDE = re.compile(r'^#include "(\w+\.cu)"\n', re.MULTILINE)
_TEMPLATE = r"(?:template\s*<(?P<parameters>[^>]*)>\s*)?"
_QUALIFIERS = r'(?:extern\s+"C"\s+)?__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?'
_DECLARATION = re.compile(rf"{_TEMPLATE}{_QUALIFIERS}(?P<name>\w+)\s*\(")


class Declaration(NamedTuple):
    """A kernel of the source.

    Parameters
    ----------
    name : str
    parameters : tuple of str
        Of its template: ("In", "T", "D"), or empty.
    """

    name: str
    parameters: tuple[str, ...]


class Resources(NamedTuple):
    """What a kernel takes on one architecture.

    Parameters
    ----------
    kernel : str
    registers : int
        Of a thread.
    shared_bytes : int
        Of a block, without what a launch adds.
    stack_bytes, spill_bytes : int
        Of a thread; spills are stores and loads together.
    """

    kernel: str
    registers: int
    shared_bytes: int
    stack_bytes: int
    spill_bytes: int


class Compilation(NamedTuple):
    """All kernels on one architecture.

    Parameters
    ----------
    architecture : int
        90 for sm_90.
    resources : tuple of Resources
    """

    architecture: int
    resources: tuple[Resources, ...]

    def spilling(self) -> list[Resources]:
        """Return the kernels that spill or keep a stack frame."""
        return [each for each in self.resources if each.spill_bytes or each.stack_bytes]


def source(name: str) -> str:
    """Return a CUDA source, one of ``SOURCES``, with what it includes, each file once."""
    folder, names = ROOT / "kmeans_xp" / "kernels" / "for_cupy", [name]
    # Said again, so that this runs without CuPy; a test holds it equal to what is compiled.
    text = (folder / name).read_text()
    while match := _INCLUDE.search(text):
        is_new = match[1] not in names
        names.append(match[1])
        part = (folder / match[1]).read_text() if is_new else ""
        text = text[: match.start()] + part + text[match.end() :]
    return text


def listed(name: str) -> list[str]:
    """Return what may be asked for of a source."""
    return instantiations(declarations(source(name)), choices())


def declarations(text: str) -> list[Declaration]:
    """Return the kernels that a CUDA source declares.

    Raises
    ------
    ValueError
        If some ``__global__`` is written in a way that is not understood here.
    """
    text = re.sub(r"//[^\n]*", "", text)
    found = [
        Declaration(match["name"], _parameters(match["parameters"] or ""))
        for match in _DECLARATION.finditer(text)
    ]
    n_kernels = len(re.findall(r"\b__global__\b", text))
    if len(found) != n_kernels:
        names = ", ".join(each.name for each in found)
        raise ValueError(
            f"The source has {n_kernels} kernels, of which {len(found)} are understood ({names}); "
            "make _DECLARATION match the others."
        )
    return found


def choices() -> dict[str, Sequence[tuple[str, ...]]]:
    """Return what the modules of for_cupy may put for template parameters, from its own tables."""
    from kmeans_xp.kernels.for_cupy import certified, labels, launching, seeding

    numbers = {
        "D": labels._WIDTHS,
        "L": seeding._CANDIDATES,
        "DEPTH": certified._DEPTHS,
    }
    return choices_of(launching.C_TYPES, **numbers)


def choices_of(
    c_types: Mapping[str, tuple[str, str]], **numbers: Sequence[int]
) -> dict[str, Sequence[tuple[str, ...]]]:
    """Return what may stand for "In", "T" and both together, and for each of the numbers."""
    return {
        "In": [(points,) for points, computing in c_types.values() if computing == "float"],
        "In, T": list(c_types.values()),
        "T": [(each,) for each in dict.fromkeys(computing for _, computing in c_types.values())],
    } | {name: [(str(number),) for number in allowed] for name, allowed in numbers.items()}


def instantiations(
    declared: Iterable[Declaration], known: Mapping[str, Sequence[tuple[str, ...]]]
) -> list[str]:
    """Return the name expression of every kernel that may be asked for.

    Raises
    ------
    ValueError
        If a template has a parameter that ``known`` lacks.
    """
    return [name for each in declared for name in _instances(each, known)]


def compiled(names: Sequence[str], architecture: int, text: str) -> Compilation | None:
    """Compile kernels; None if this NVRTC does not know the architecture.

    Raises
    ------
    NVRTCError
        If the source does not compile; the compiler's log is printed.
    """
    from cupy.cuda import nvrtc

    if architecture not in nvrtc.getSupportedArchs():
        return None
    program = nvrtc.createProgram(text, "kernels.cu", [], [])
    try:
        for name in names:
            if "<" in name:
                nvrtc.addNameExpression(program, name)
        options = [f"--gpu-architecture=sm_{architecture}", "-std=c++17", "--ptxas-options=-v"]
        try:
            nvrtc.compileProgram(program, options)
        except nvrtc.NVRTCError:
            print(nvrtc.getProgramLog(program), file=sys.stderr)
            raise
        lowered = {
            _text(nvrtc.getLoweredName(program, name)) if "<" in name else name: name
            for name in names
        }
        log = _text(nvrtc.getProgramLog(program))
    finally:
        nvrtc.destroyProgram(program)
    by_name = {lowered.get(each.kernel, each.kernel): each for each in parsed_log(log)}
    if missing := set(names) - set(by_name):
        raise ValueError(f"The log of sm_{architecture} says nothing of {sorted(missing)}.")
    return Compilation(architecture, tuple(by_name[name]._replace(kernel=name) for name in names))


def parsed_log(log: str) -> list[Resources]:
    """Return what a log of ``ptxas -v`` says of each kernel, under its lowered name."""
    parts = re.split(r"Compiling entry function '(\w+)'", log)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [
        Resources(
            name,
            _number(r"Used (\d+) registers", part),
            _number(r"(\d+) bytes smem", part),
            _number(r"(\d+) bytes stack frame", part),
            _number(r"(\d+) bytes spill stores", part) + _number(r"(\d+) bytes spill loads", part),
        )
        for name, part in pairs
    ]


def page(compilations: Sequence[Compilation], nvrtc_version: tuple[int, int]) -> str:
    """Return the page in Markdown."""
    architectures = [each.architecture for each in compilations]
    head = " | ".join(["kernel", *(f"sm_{each}" for each in architectures), "shared", "spills"])
    rows: dict[str, dict[int, Resources]] = {}
    for compilation in compilations:
        for each in compilation.resources:
            rows.setdefault(each.kernel, {})[compilation.architecture] = each
    lines = [f"| {head} |", "|---|" + "---:|" * (len(architectures) + 2)]
    lines += [_line(rows[name], architectures) for name in sorted(rows, key=_place())]
    spills = sum(len(each.spilling()) for each in compilations)
    return _PAGE.format(
        table="\n".join(lines),
        version=".".join(map(str, nvrtc_version)),
        n_kernels=len(rows),
        spills=f"in {spills} of them" if spills else "none",
    )


_PAGE = """\
# The CUDA kernels, as compiled

`python benchmarks/kernel_resources.py --write` writes this page. It needs CuPy, and no GPU. It
compiles by `cupy.cuda.nvrtc`, since `cupy.RawModule` compiles only for the GPU that is there.

The modules of `kmeans_xp/kernels/for_cupy` can ask for {n_kernels} instantiations of kernels.
For each, the table has what NVRTC {version} reports: the registers of a thread on each
architecture, and bytes of memory. *Shared* is the static shared memory of a block. *Spills* are
the bytes that a thread spills. Spills on all architectures: {spills}.

`In` is the type of the points, and `T` the type of the computation. The number is the padded number
of features, or of candidates of k-means++. Kernels of tensor cores need sm_80. Some launches add
shared memory to that of the table. `few_step` and `few_labels` add up to 96 KiB, by the size of the
problem. `certified_wide_labels` adds 72 KiB.

{table}
"""


def _place() -> Callable[[str], int]:
    """Return the order of kernels on the page: that of the sources."""
    return [name for source_name in SOURCES for name in listed(source_name)].index


def _line(of_kernel: Mapping[int, Resources], architectures: Sequence[int]) -> str:
    registers = [
        str(of_kernel[each].registers) if each in of_kernel else "" for each in architectures
    ]
    shared = sorted({each.shared_bytes for each in of_kernel.values()})
    spills = [
        f"{each.spill_bytes} on sm_{architecture}"
        for architecture, each in of_kernel.items()
        if each.spill_bytes
    ]
    cells = [f"`{next(iter(of_kernel.values())).kernel}`", *registers]
    cells += [" or ".join(map(str, shared)), ", ".join(spills) or "0"]
    return f"| {' | '.join(cells)} |"


def _parameters(text: str) -> tuple[str, ...]:
    return tuple(part.split()[-1] for part in text.split(",") if part.strip())


def _instances(
    declared: Declaration, known: Mapping[str, Sequence[tuple[str, ...]]]
) -> Iterator[str]:
    if not declared.parameters:
        yield declared.name
        return
    # In and T are chosen together: T follows from the dtype of the points.
    joined = ", ".join(declared.parameters).replace("In, T", "In+T").split(", ")
    groups = [part.replace("+", ", ") for part in joined]
    if unknown := [group for group in groups if group not in known]:
        raise ValueError(
            f"{declared.name} has the template parameter {', '.join(unknown)}: say in choices() "
            "what the modules of for_cupy may put there."
        )
    for chosen in itertools.product(*(known[group] for group in groups)):
        yield f"{declared.name}<{', '.join(itertools.chain(*chosen))}>"


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    return int(match[1]) if match else 0


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _compiled_all(architecture: int) -> Compilation | None:
    made = [
        compiled(listed(name), architecture, source(name))
        for name in SOURCES
        if architecture >= OLDEST.get(name, 0)
    ]
    resources = [each for one in made if one is not None for each in one.resources]
    return Compilation(architecture, tuple(resources)) if resources else None


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name}")
    asked_for = parser.parse_args()
    from cupy.cuda import nvrtc

    tried = {architecture: _compiled_all(architecture) for architecture in ARCHITECTURES}
    compilations = [each for each in tried.values() if each is not None]
    for architecture in (key for key, each in tried.items() if each is None):
        print(f"sm_{architecture}: not known to this NVRTC", file=sys.stderr)
    made = page(compilations, nvrtc.getVersion())
    if asked_for.write:
        PAGE.write_text(made)
    else:
        print(made)
    spilling = [(each.architecture, *found) for each in compilations for found in each.spilling()]
    for found in spilling:
        print(f"spills: {found}", file=sys.stderr)
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(_main())
