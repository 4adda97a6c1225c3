"""Lists what is hard to read: ``python -m tests.prose`` looks at pages, docstrings and comments.

A sentence of more than `LONGEST` words, or with one of the phrases in `BANNED`, is printed with its
place, and the exit status is 1.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

#: words in a sentence
LONGEST = 30

#: what a reader with school English stumbles over, and what to say instead
BANNED = {
    r"\b(?:is|are|was|were|be|been) told\b": "who reports what",
    r"\bof (?:which )?none\b": "'no ...', or a second sentence",
    r"\bof whom\b": "'whose', or a second sentence",
    r"\bout of which\b": "a second sentence",
    r"\b(?:held|hold|holds) (?:it |them )?against\b": "'compare with'",
    r"\bso many\b": "the number, or 'as many as'",
    r"\bat the begin\b": "'at the start'",
    r"\b(?:which|or) else\b|\belse the\b": "'otherwise'",
    r"\b(?:is|are) seen from\b": "'the mean is subtracted'",
    r"\bmended\b": "'fixed'",
    r"\banew\b": "'again'",
    r"\bbut for\b": "'except for'",
    r"\bby (?:itself|themselves) (?:is|are)\b": "the subject first",
    r"\bstands? in the place\b": "'replace'",
    r"\bis no (?:name|number|result)\b": "'is not a ...'",
    r"\bof least\b": "'with the smallest ...'",
}

FOLDERS = ("kmeans_xp", "benchmarks", "examples", "tests")
PAGES = ("*.md", "docs/*.md")


class Passage(NamedTuple):
    """A paragraph, a comment or a message, and where it begins."""

    path: Path
    line: int
    text: str


def main() -> int:
    root = Path(__file__).parents[1]
    faults = [
        f"{passage.path.relative_to(root)}:{passage.line}: {fault}"
        for passage in passages(root)
        for fault in faults_of(passage.text)
    ]
    print(*faults, sep="\n")
    print(f"{len(faults)} hard to read")
    return bool(faults)


def passages(root: Path) -> Iterator[Passage]:
    """All prose of the project."""
    for pattern in PAGES:
        for path in sorted(root.glob(pattern)):
            yield from _of_markdown(path)
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            if path != Path(__file__):
                yield from _of_python(path)
        for path in sorted((root / folder).rglob("*.cu")):
            yield from _of_cuda(path)


def faults_of(text: str) -> Iterator[str]:
    """What is hard to read in a paragraph."""
    plain = re.sub(r"``?[^`]+``?", "code", " ".join(text.split()))
    for sentence in re.split(r"(?<=[.!?:])[)\"']*\s+(?=\S)", plain):
        n_words = len(re.findall(r"\S*\w\S*", sentence))
        if n_words > LONGEST:
            yield f"{n_words} words: {sentence}"
        for phrase, better in BANNED.items():
            if found := re.search(phrase, sentence, re.IGNORECASE):
                yield f"{found[0]!r}, say {better}: {sentence}"


def _of_markdown(path: Path) -> Iterator[Passage]:
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text())
    for before, token in zip([None, *tokens], tokens, strict=False):
        in_table = before is not None and before.type in ("td_open", "th_open")
        if token.type == "inline" and token.map and not in_table:
            words = (
                "code" if child.type == "code_inline" else child.content or " "
                for child in token.children or ()
            )
            yield Passage(path, token.map[0] + 1, "".join(words))


def _of_python(path: Path) -> Iterator[Passage]:
    source = path.read_text()
    yield from _of_docstrings(path, ast.parse(source))
    yield from _of_comments(path, source)


def _of_docstrings(path: Path, tree: ast.Module) -> Iterator[Passage]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and (text := ast.get_docstring(node)):
            for paragraph in _paragraphs(text):
                yield Passage(path, node.body[0].lineno, paragraph)


def _paragraphs(text: str) -> Iterator[str]:
    # A paragraph ends at a blank line, at an item, and where the indentation changes.
    kept: list[str] = []
    indent = 0
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        this_indent = len(line) - len(line.lstrip())
        is_code = stripped.startswith((">>>", "...", "---", "|"))
        if kept and (not stripped or is_code or this_indent != indent or stripped[0] in "-*"):
            yield " ".join(kept)
            kept = []
        if stripped and not is_code:
            kept.append(stripped)
            indent = this_indent


def _of_comments(path: Path, source: str) -> Iterator[Passage]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    yield from _joined(
        path,
        (
            (token.start[0], token.string.lstrip("#: "))
            for token in tokens
            if token.type == tokenize.COMMENT
        ),
    )


def _of_cuda(path: Path) -> Iterator[Passage]:
    lines = enumerate(path.read_text().splitlines(), 1)
    parts = ((number, line.partition("//")[2].strip()) for number, line in lines if "//" in line)
    yield from _joined(path, parts)


def _joined(path: Path, comments: Iterable[tuple[int, str]]) -> Iterator[Passage]:
    """Join the comments of consecutive lines; an empty comment ends a paragraph."""
    kept: list[str] = []
    last = first = 0
    for line, text in comments:
        if kept and (line != last + 1 or not text):
            yield Passage(path, first, " ".join(kept))
            kept = []
        first = first if kept else line
        last = line
        if text:
            kept.append(text)
    if kept:
        yield Passage(path, first, " ".join(kept))


if __name__ == "__main__":
    sys.exit(main())
