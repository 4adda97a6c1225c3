"""Kills fits and continues them: ``python -m tests.interrupted FOLDER`` checks how they end.

Each fit runs in a process of its own, which kills itself in the middle. All are begun before this
process fits anything: threads do not survive a fork.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kmeans_xp import Checkpoint, KMeans, MiniBatchKMeans, blocks
from kmeans_xp.kernels import DenseRows
from tests.doubles import Chopped, sizes_of

POINTS = np.random.default_rng(0).normal(size=(6000, 16)).astype(np.float32)

#: estimator, after how many iterations of all runs it is killed, whether rows come in blocks
CASES: dict[str, tuple[Callable[[], Any], int, bool]] = {
    "lloyd": (lambda: several_runs("lloyd"), 7, False),
    "hamerly": (lambda: several_runs("hamerly"), 60, False),
    "auto": (lambda: several_runs("auto"), 30, False),
    "in blocks": (lambda: several_runs("auto", init="auto"), 9, True),
    "mini-batches": (lambda: mini_batches(), 25, False),
    "mini-batches in blocks": (lambda: mini_batches(), 3, True),
}


class Kill:
    """Kills this process after ``n_left`` iterations."""

    def __init__(self, n_left: int) -> None:
        self.n_left = n_left

    def setup(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        self.n_left -= context.task_name == "iteration"
        if self.n_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def teardown(self, estimator: Any, context: Any) -> None: ...


def several_runs(algorithm: str, init: str = "random") -> KMeans:
    return KMeans(20, init=init, n_init=3, max_iter=28, algorithm=algorithm, random_state=0)


def mini_batches() -> MiniBatchKMeans:
    return MiniBatchKMeans(20, batch_size=100, max_no_improvement=40, random_state=0)


def fitted(name: str, *callbacks: Any) -> Any:
    make, _, is_cut = CASES[name]
    plain = blocks.of
    if is_cut:
        blocks.of = in_blocks
    try:
        return make().set_callbacks(*callbacks).fit(POINTS)
    finally:
        blocks.of = plain


def in_blocks(points: Any, weights: Any, placement: Any, **_: Any) -> Chopped:
    sizes = sizes_of(len(points), 1700)
    return Chopped(DenseRows(points, weights), sizes, xp=placement.xp)


def kill(name: str, path: Path) -> int:
    """Fit in another process until it is killed, and return the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            fitted(name, Checkpoint(path), Kill(CASES[name][1]))
        finally:
            os._exit(1)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def bits_of(estimator: Any) -> dict[str, bytes]:
    """Return all that was fitted, as bytes."""
    state = {**vars(estimator), **estimator.history_}
    return {
        name: np.asarray(value).tobytes()
        for name, value in state.items()
        if isinstance(value, np.ndarray | int | float | np.generic)
    }


def main(folder: Path) -> dict[str, Any]:
    """Return for each case how it ended, and which of the fitted attributes differ."""
    signals = {name: kill(name, folder / name) for name in CASES}
    ends = {}
    for name in CASES:
        checkpoint = Checkpoint(folder / name)
        begun_again, uninterrupted = bits_of(fitted(name, checkpoint)), bits_of(fitted(name))
        ends[name] = {
            "signal": signals[name],
            "resumed": checkpoint.resumed,
            "n_attributes": len(uninterrupted),
            "differing": [key for key in uninterrupted if begun_again[key] != uninterrupted[key]],
            "is_removed": not (folder / name).exists(),
        }
    return ends


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
