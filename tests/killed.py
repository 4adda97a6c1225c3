"""Kills processes while they write: ``python -m tests.killed FOLDER`` checks the file they leave.

The first child is killed (kill -9) at its first request to the system, the next one at its second.
This goes on until a child reaches its end. After each, the file must be the old one or the new one,
whole.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from kmeans_xp import KMeans, open_rows
from kmeans_xp.cli.app import app
from kmeans_xp.persistence import remove_half_written

#: what Python tells of (``sys.addaudithook``) that a process may die at
ASKED = ("open", "os.rename", "os.remove", "os.chmod", "os.truncate", "os.listdir", "shutil.move")

ROWS = np.random.default_rng(0).normal(size=(300, 2))
MODEL = KMeans(3, random_state=0).fit(ROWS)


def save(path: Path) -> None:
    MODEL.save(path)


def predict_out(path: Path) -> None:
    MODEL.predict(open_rows(ROWS, block_rows=100), out=path)


def command_out(path: Path) -> None:
    rows, model = path.with_name("rows.npy"), path.with_name("model.safetensors")
    found = CliRunner().invoke(app, ["predict", str(model), str(rows), "--out", str(path)])
    assert found.exit_code == 0, found.output


WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "save": ("written.safetensors", save),
    "predict(out=)": ("written.npy", predict_out),
    "--out": ("written.csv", command_out),
}


def killed_at(number: int, write: Callable[[], None]) -> int:
    """Run in a child that dies at its ``number``-th request; return the signal, 0 for none."""
    child = os.fork()
    if child == 0:
        left = [number]

        def count(event: str, _: Any) -> None:
            if event in ASKED or event.startswith("os."):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            write()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed"
    return os.WTERMSIG(status)


def main(folder: Path) -> dict[str, Any]:
    """Return for each writer how often it was killed, and which files were neither old nor new."""
    np.save(folder / "rows.npy", ROWS)
    MODEL.save(folder / "model.safetensors")
    told = {}
    for name, (file, write) in WRITERS.items():
        path, number, n_new, torn = folder / file, 1, 0, []
        write(path)
        new, old = path.read_bytes(), b"the file before"
        while True:
            path.write_bytes(old)
            if killed_at(number, lambda write=write, path=path: write(path)) == 0:
                break
            left = path.read_bytes()
            n_new += left == new
            torn += [number] * (left not in (old, new))
            number += 1
        remove_half_written(path)
        beside = [each.name for each in folder.iterdir() if file in each.name]
        told[name] = {"killed": number - 1, "new": n_new, "torn": torn, "beside": beside}
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
