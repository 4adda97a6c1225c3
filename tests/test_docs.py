"""The pages in docs/ say what is true: their code runs, and the names on them exist."""

import doctest
import importlib
import importlib.util
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conftest import Library
from kmeans_xp import config_context
from kmeans_xp.devices.availability import why_cupy_is_unusable
from kmeans_xp.kernels import kernels

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
PYPROJECT = (ROOT / "pyproject.toml").read_text()

#: pages that another program writes, or that hold no code of their own
GENERATED = {"cpu_comparison.md", "cuda_kernels.md", "roofline.md"}

#: modules whose public names the reference lists
PUBLIC_MODULES = (
    "kmeans_xp",
    "kmeans_xp.devices",
    "kmeans_xp.metrics",
    "kmeans_xp.plotting",
    "kmeans_xp.selection",
)

#: array libraries whose blocks run where the tests run on that library
LIBRARIES = ("cupy", "torch")

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>needs|not run): (?P<what>[^\n]+?) -->\n)?"
    r"^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A block of code on a page."""

    language: str
    code: str
    line: int
    needs: str | None
    why_not: str | None

    @property
    def is_python(self) -> bool:
        return self.language == "python" and self.why_not is None


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            match["language"],
            match["code"],
            text.count("\n", 0, match.start("code")) + 1,
            match["what"] if match["mark"] == "needs" else None,
            match["what"] if match["mark"] == "not run" else None,
        )
        for match in _BLOCK.finditer(text)
    ]


def is_met(need: str | None) -> bool:
    """Return whether a block with this need can run without a library of arrays."""
    if need is None:
        return True
    if need == "no cupy":
        return (why_cupy_is_unusable() or "").startswith("CuPy is not installed")
    return need not in LIBRARIES and importlib.util.find_spec(need) is not None


def run_python(page: Path, blocks: list[Block]) -> None:
    """Run the blocks one after the other in one namespace, as a reader would."""
    names: dict[str, Any] = {"__name__": "__page__"}
    for block in blocks:
        where = f"{page.name}, line {block.line}"
        if block.code.lstrip().startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(
                block.code, names, where, str(page), block.line
            )
            runner = doctest.DebugRunner(optionflags=OPTIONS)
            try:
                runner.run(test, clear_globs=False)
            except doctest.DocTestFailure as failure:
                shown = f"{failure.example.source}gave {failure.got!r}, not"
                pytest.fail(f"{where}: {shown} {failure.example.want!r}")
            except doctest.UnexpectedException as failure:
                raise failure.exc_info[1] from failure
            names = test.globs
        else:
            # Padded, so that a traceback tells the line on the page.
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, str(page), "exec"), names)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to write to, in which the examples lie as in a clone."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def registry() -> Iterator[None]:
    """Kernels as they were, after a page that has registered one."""
    before = {
        name: {library: list(bodies) for library, bodies in kernel._overrides.items()}
        for name, kernel in kernels.items()
    }
    yield
    for name, kernel in kernels.items():
        kernel._overrides = before[name]
        kernel._bodies.clear()


def pages_with(is_wanted: Callable[[Block], bool]) -> list[Path]:
    return [page for page in PAGES if any(map(is_wanted, blocks_of(page)))]


def parametrize_pages(pages: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", pages, ids=[page.stem for page in pages])


@parametrize_pages(
    pages_with(lambda block: block.is_python and block.needs not in (*LIBRARIES, "no cupy"))
)
def test_the_code_on_a_page_runs(page: Path, here: Path) -> None:
    chosen = [block for block in blocks_of(page) if block.is_python and is_met(block.needs)]
    if not chosen:
        pytest.skip("the code of this page needs what is not installed")
    run_python(page, chosen)
    for name in re.findall(r"\(images/(\S+)\)", page.read_text()):
        assert_alike(here / name, DOCS / "images" / name)


def assert_alike(drawn: Path, shown: Path) -> None:
    """Compare pictures, which other versions of matplotlib draw with other edges."""
    image = pytest.importorskip("matplotlib.image")
    ours, theirs = image.imread(drawn), image.imread(shown)
    assert ours.shape == theirs.shape, f"copy the new {drawn.name} to docs/images"
    assert abs(ours - theirs).mean() < 0.02, f"copy the new {drawn.name} to docs/images"


@pytest.mark.skip_library(
    "numpy", "array_api_strict", "jax", "dpnp", reason="no page has code for this library"
)
def test_the_code_for_a_library_runs(library: Library, here: Path, registry: None) -> None:
    pages = pages_with(lambda block: block.needs == library.name)
    assert pages
    for page in pages:
        if library.name == "cupy" and page.stem == "tour" and "KMEANS_XP_FUZZ" not in os.environ:
            continue  # ten runs on thousands of rows, which take an emulated GPU half a minute
        blocks = [
            block
            for block in blocks_of(page)
            if block.is_python and (block.needs == library.name or is_met(block.needs))
        ]
        with config_context(compute="fastest"):  # as a reader has it
            run_python(page, blocks)


def commands_of(text: str) -> list[tuple[str, str]]:
    """Return each command line after a ``$``, and what is shown below it."""
    parts = re.split(r"^\$ ", text.replace("\\\n", ""), flags=re.MULTILINE)[1:]
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


@parametrize_pages(pages_with(lambda block: block.language == "console"))
def test_commands_print_what_a_page_shows(page: Path, here: Path) -> None:
    runner = pytest.importorskip("typer.testing").CliRunner()
    app = importlib.import_module("kmeans_xp.cli.app").app
    checker = doctest.OutputChecker()
    for block in blocks_of(page):
        if block.language != "console" or block.why_not is not None:
            continue
        for command, shown in commands_of(block.code):
            program, *arguments = shlex.split(command, comments=True)
            assert program == "kmeans-xp"
            result = runner.invoke(app, arguments, catch_exceptions=False)
            assert result.exit_code == 0, result.output
            same = checker.check_output(shown, result.stdout, OPTIONS)
            assert same, f"{page.name}: {command} printed\n{result.stdout}"


def reference_names() -> dict[str, set[str]]:
    """Return the names that the reference lists, by the module they stand under."""
    names: dict[str, set[str]] = {}
    module = ""
    for line in "\n".join(page.read_text() for page in DOCS.glob("api_*.rst")).splitlines():
        if match := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
            module = match[1]
        elif match := re.fullmatch(r"(?:   |\.\. py:data:: )(\w+)", line):
            names.setdefault(module, set()).add(match[1])
    return names


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    public = {*importlib.import_module(module).__all__} - {"__version__"}
    modules = {name for name in public if f"{module}.{name}" in PUBLIC_MODULES}
    assert public - modules == reference_names()[module]


def test_the_reference_lists_no_name_that_is_not_there() -> None:
    for module, names in reference_names().items():
        missing = [name for name in names if not hasattr(importlib.import_module(module), name)]
        assert missing == []


def texts_about_use() -> dict[str, str]:
    pages = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return {page.name: page.read_text() for page in pages if page.name not in GENERATED}


def test_every_session_that_is_named_exists() -> None:
    sessions = set(
        re.findall(r"^@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text(), re.M)
    )
    assert "numpy" in sessions
    for name, text in texts_about_use().items():
        told = {word for match in re.findall(r"nox -s ([a-z_ ]+)", text) for word in match.split()}
        unknown = {word for word in told if word not in sessions and word != "name"}
        # The words after the last session may be prose.
        assert {word for word in unknown if f"nox -s {word}" in text} == set(), name


def test_every_command_and_option_that_is_named_exists() -> None:
    typer = pytest.importorskip("typer")
    group = typer.main.get_command(importlib.import_module("kmeans_xp.cli.app").app)
    n_seen = 0
    for name, text in texts_about_use().items():
        for line in re.findall(r"kmeans-xp ((?:[a-z]|--)[^\n`]*)", text.replace("\\\n", "")):
            words = line.split()
            if words[0].startswith("--") or words[0] in ("needs", "is"):
                continue
            command = group.commands.get(words[0])
            assert command is not None, f"{name}: kmeans-xp {line}"
            options = {option for parameter in command.params for option in parameter.opts}
            named = {word.strip("[]|(),.") for word in words if word.strip("[").startswith("-")}
            assert named - options - {"--help"} == set(), f"{name}: kmeans-xp {line}"
            n_seen += 1
    assert n_seen > 5


def test_what_an_install_brings_is_named() -> None:
    dependencies = re.search(r"^dependencies = \[\n(.*?)^\]", PYPROJECT, re.M | re.S)
    assert dependencies is not None
    names = re.findall(r'^    "([\w-]+)', dependencies[1], re.M)
    page = (DOCS / "install.md").read_text().lower()
    assert "numpy" in names
    assert [name for name in names if name not in page] == []


def test_every_extra_that_is_named_exists() -> None:
    extras = re.search(
        r"^\[project\.optional-dependencies\]\n(.*?)^\[",
        PYPROJECT,
        re.M | re.S,
    )
    assert extras is not None
    known = set(re.findall(r"^(\w+) = \[", extras[1], re.M))
    for name, text in texts_about_use().items():
        named = {
            extra
            for group in re.findall(r"(?:kmeans_xp|'\.)\[([\w,]+)\]", text)
            for extra in group.split(",")
        }
        assert named <= known, name


@parametrize_pages([page for page in PAGES if ":start-after:" in page.read_text()])
def test_what_a_page_includes_is_there(page: Path) -> None:
    for name, options in re.findall(
        r"^```{include} (\S+)\n(.*?)^```", page.read_text(), re.M | re.S
    ):
        begin, end = re.findall(r'^:(?:start-after|end-before): "(.*)"$', options, re.M)
        _, found, rest = (DOCS / name).read_text().partition(begin)
        assert found
        assert "\n|---" in rest.partition(end)[0]
        assert end in rest


@parametrize_pages([*PAGES, ROOT / "README.md"])
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_messages_about_devices_are_those_on_the_page() -> None:
    page = (DOCS / "install.md").read_text()
    source = "".join(path.read_text() for path in (ROOT / "kmeans_xp").rglob("*.py"))
    # Strings that stand on several lines of the source are one message.
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    table = page.partition("| the message says |")[2].partition("\n\n")[0]
    messages = re.findall(r"^\| `(.*?)` \|", table, re.M)
    assert len(messages) > 8
    for message in messages:
        pieces = re.split(r"\.\.\.|[()]|\d+|typer", message)
        lost = [piece for piece in pieces if piece.strip(" :'") and piece.strip() not in source]
        assert lost == [], message
