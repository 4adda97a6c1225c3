"""Data between gpu_check.py and the processes of its steps: a setting, and an answer."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Answer", "Setting", "write_whole"]


class Setting(NamedTuple):
    """How a step is run.

    Parameters
    ----------
    is_quick : bool
        Whether sizes are tiny, and times mean nothing.
    limit_s : float
        After which the step is ended from outside.
    vendor : str
        Folder of packages that are missing here, or "".
    """

    is_quick: bool
    limit_s: float
    vendor: str

    def budget_s(self, usual: float) -> float:
        """Return how long work is repeated for the median of its times; 0.0 if once is enough."""
        return 0.0 if self.is_quick else usual


class Answer:
    """What a step has found so far, in a file that is whole at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.result: dict[str, Any] = {}
        self.failures: list[str] = []

    def add(self, **found: Any) -> None:
        """Add to the result."""
        self.result |= found
        self._write()

    def fail(self, why: str) -> None:
        """Say what is wrong, and go on."""
        self.failures.append(why)
        self._write()

    def _write(self) -> None:
        content = {"result": self.result, "failures": self.failures}
        write_whole(self.path, json.dumps(content))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    os.replace(file.name, path)
