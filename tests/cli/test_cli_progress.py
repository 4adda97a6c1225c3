"""The bar that a fit draws on a terminal."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pty = pytest.importorskip("pty", reason="needs pseudo-terminals")

from kmeans_xp.cli import progress  # noqa: E402

DRAWN_OFTEN = """
import sys
from rich import progress as bars
from kmeans_xp.cli import app, progress
progress.SECONDS_A_LOOK = 0.0
update = bars.Progress.update
def redrawn(self, *arguments, **fields):
    update(self, *arguments, refresh=True, **fields)
bars.Progress.update = redrawn
app.app(sys.argv[1:])
"""

STATE = re.compile(
    r"(?P<bar>[━╸╺ ]*) Clustering 4,000 rows x 3 columns: run (?P<run>\d) of 2, "
    r"iteration (?P<iteration>\d+) of 6 at most, inertia (?P<inertia>[\d.e+]+), "
    r"(?P<rate>[\d,]+) rows a second"
)


def on_a_terminal(*arguments: object) -> str:
    """Return what a command writes to a terminal of 200 columns, without colours."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "200", "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-c", DRAWN_OFTEN, *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the end, on Linux
                break
            if not part:
                break
            written += part
        os.close(ours)
    assert process.returncode == 0, written.decode()
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written.decode())


@pytest.mark.since_sklearn("1.9")
def test_a_fit_draws_its_iterations(tmp_path: Path) -> None:
    file = tmp_path / "rows.npy"
    np.save(file, np.random.default_rng(0).normal(size=(4000, 3)))
    # Unstructured rows do not converge in six iterations.
    screen = on_a_terminal("cluster", file, "-k", 8, "--n-init", 2, "--max-iter", 6)
    states = {}
    for found in STATE.finditer(screen):
        states.setdefault((int(found["run"]), int(found["iteration"])), found)
    assert list(states) == [(run, i) for run in (1, 2) for i in range(1, 7)]
    for (run, i), state in states.items():
        share = (run - 1 + i / 6) / 2
        assert abs(state["bar"].count("━") / progress.BAR_WIDTH - share) <= 1 / progress.BAR_WIDTH
        assert int(state["rate"].replace(",", "")) > 0
        if i > 1:
            assert float(state["inertia"]) <= float(states[run, i - 1]["inertia"])
