"""What the tests of all commands share."""

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_device_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KMEANS_XP_DEVICE", raising=False)


@pytest.fixture
def run() -> Run:
    """Return what runs ``kmeans-xp`` with these arguments in this process."""
    app = pytest.importorskip("kmeans_xp.cli.app").app
    testing = pytest.importorskip("typer.testing")
    # A wide terminal, so that the frames of usage errors break no message.
    runner = testing.CliRunner(env={"COLUMNS": "500", "TERMINAL_WIDTH": "500", "NO_COLOR": "1"})
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])
