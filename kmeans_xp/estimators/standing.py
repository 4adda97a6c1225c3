"""The state of a fit, and its conversion to values that a checkpoint can hold."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from kmeans_xp.algorithms import (
    Bisection,
    ConstrainedStep,
    Iteration,
    LloydResult,
    MiniBatchStanding,
    MiniBatchState,
    MiniBatchStep,
    SizeBounds,
)
from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, from_host
from kmeans_xp.estimators.fitted_state import Kind, Numbers, Real, Source, Tree, Whole
from kmeans_xp.kernels import nearest_labels

__all__ = [
    "KMeansStanding",
    "bisection",
    "bisection_values",
    "mini_batch_standing",
    "mini_batch_values",
    "restored_state",
]


_ITERATIONS = Numbers("i3", may_lack=True)
_OF_RUNS: dict[str, Kind] = {
    "run": Whole(),
    "random_state": Source(),
    "centroids": Numbers("kd"),
    "iterations": _ITERATIONS,
}
_OF_RESULT: dict[str, Kind] = {
    "centroids": Numbers("kd"),
    "inertia": Real(),
    "iterations": Numbers("i3"),
}
_OF_BATCHES: dict[str, Kind] = {
    "centroids": Numbers("kd"),
    "mass": Numbers("k", least=0.0),
    "steps": Numbers("i4", may_lack=True),
    "n_seen": Whole(),
}
_OF_SPLITS: dict[str, Kind] = {
    "random_state": Source(),
    "centroids": Numbers("td"),
    "children": Tree("t", "m"),
    "one_points": Numbers("p", "integral", may_lack=True),
}


class KMeansStanding(NamedTuple):
    """The state of a fit of several runs, between two iterations.

    Parameters
    ----------
    run : int
        Index of the run, from 0; the number of runs at the end.
    random_state : RandomState
        Draws the initial centroids of further runs.
    centroids : array of shape (n_clusters, n_features), or None
        Centroids of this run, relative to the origin; None before its seeding.
    iterations : tuple of Iteration
        Iterations of this run so far.
    best : LloydResult or None
        Best result of earlier runs.
    """

    run: int
    random_state: np.random.RandomState
    centroids: Array | None = None
    iterations: Sequence[Iteration] = ()
    best: LloydResult | None = None

    def values(self) -> dict[str, Any]:
        """Return the content of a checkpoint."""
        best = self.best and {
            "centroids": self.best.centroids,
            "inertia": self.best.inertia,
            "iterations": _table(self.best.iterations),
        }
        return {
            "run": self.run,
            "random_state": self.random_state,
            "centroids": self.centroids,
            "iterations": _table(self.iterations),
            "best": best,
        }

    def restored(self, values: Mapping[str, Any], blocks: Blocks, sizes: SizeBounds | None) -> Self:
        """Return the state that was saved as ``values``; self is the state at the fit's start."""
        _check(values, _OF_RUNS, blocks)
        if (best := values.get("best")) is not None:
            _check(best, _OF_RESULT, blocks)
            best = _result(best, blocks, sizes)
        return type(self)(
            values["run"],
            restored_state(self.random_state, values["random_state"]),
            _placed(values["centroids"], blocks),
            _iterations(values["iterations"]),
            best,
        )

    def __str__(self) -> str:
        """Describe the state in words."""
        return f"iteration {len(self.iterations)} of run {self.run + 1}"


def mini_batch_values(
    standing: MiniBatchStanding | None, random_state: np.random.RandomState
) -> dict[str, Any]:
    """Return the content of a mini-batch fit's checkpoint; without a standing, before seeding."""
    if standing is None:
        return {"random_state": random_state, "standing": None}
    columns = ("inertia", "smoothed_inertia", "sq_shift", "n_reassigned")
    steps = [[getattr(step, name) for name in columns] for step in standing.steps]
    values = {
        "centroids": standing.state.centroids,
        "mass": standing.state.mass,
        # The first step has no smoothed inertia; store NaN for it.
        "steps": np.asarray(steps, dtype=np.float64).reshape(-1, len(columns)),
        "n_seen": standing.n_seen,
    }
    return {"random_state": random_state, "standing": values}


def mini_batch_standing(values: Mapping[str, Any], blocks: Blocks) -> MiniBatchStanding:
    """Return the state of a mini-batch fit that was saved as ``values``."""
    _check(values, _OF_BATCHES, blocks)
    state = MiniBatchState(*(_placed(values[name], blocks) for name in ("centroids", "mass")))
    steps = [
        MiniBatchStep(number, inertia, None if number == 1 else smoothed, sq_shift, int(n))
        for number, (inertia, smoothed, sq_shift, n) in enumerate(values["steps"].tolist(), start=1)
    ]
    return MiniBatchStanding(state, steps, values["n_seen"])


def bisection_values(split: Bisection, random_state: np.random.RandomState) -> dict[str, Any]:
    """Return the content of a checkpoint for an unfinished tree."""
    return {
        "random_state": random_state,
        "centroids": split.centroids,
        "children": np.asarray(split.children, dtype=np.int32),
        "one_points": np.asarray(split.one_points, dtype=np.int32),
    }


def bisection(values: Mapping[str, Any], n_clusters: int, blocks: Blocks) -> Bisection:
    """Return the tree that was saved as ``values``; clusters must be measured again."""
    _check(values, _OF_SPLITS, blocks)
    children = tuple((int(left), int(right)) for left, right in values["children"])
    if len(children) > 2 * n_clusters - 1:
        raise ValueError("The checkpoint is damaged: its tree has more leaves than clusters.")
    centroids = _placed(values["centroids"], blocks)
    one_points = tuple(values["one_points"].tolist())
    return Bisection(centroids, children, 0.0, 0.0, 0, one_points)


def restored_state(fresh: np.random.RandomState, saved: Any) -> np.random.RandomState:
    """Return a random state that continues from the saved one."""
    if not isinstance(saved, np.random.RandomState):
        raise ValueError("The checkpoint is damaged: the random state is missing.")
    if fresh is np.random.mtrand._rand:  # NumPy's global one: leave it unchanged for others
        return saved
    # The user's own: it must end in the same state as without interruption.
    fresh.set_state(saved.get_state(legacy=False))
    return fresh


def _check(values: Mapping[str, Any], schema: Mapping[str, Kind], blocks: Blocks) -> None:
    """Raise ValueError, which names the field, if no fit could have left these values."""
    if not isinstance(values, dict):
        raise ValueError("The checkpoint is damaged: the state of the fit is missing.")
    sizes = {"d": blocks.n_features, "3": 3, "4": 4}
    for name, kind in schema.items():
        if name not in values:
            raise ValueError(f"The checkpoint is damaged: {name} is missing.")
        is_none_yet = schema is _OF_RUNS and name == "centroids" and values[name] is None
        fault = None if is_none_yet else kind.fault(values[name], sizes)
        if fault is not None:
            raise ValueError(f"The checkpoint is damaged: {name} is {fault}.")


def _result(values: Mapping[str, Any], blocks: Blocks, sizes: SizeBounds | None) -> LloydResult:
    centroids = _placed(values["centroids"], blocks)
    labelled = nearest_labels if sizes is None else ConstrainedStep(sizes).labels
    labels = blocks.map_rows(labelled, centroids)
    return LloydResult(
        centroids, labels, values["inertia"], tuple(_iterations(values["iterations"]))
    )


def _placed(values: Any, blocks: Blocks) -> Array | None:
    return None if values is None else from_host(values, xp=blocks.xp, device=blocks.device)


def _table(iterations: Sequence[Iteration]) -> np.ndarray[Any, Any]:
    return np.asarray([each[1:] for each in iterations], dtype=np.float64).reshape(-1, 3)


def _iterations(table: np.ndarray[Any, Any]) -> list[Iteration]:
    return [
        Iteration(number, explained, sq_shift, int(n_empty))
        for number, (explained, sq_shift, n_empty) in enumerate(table.tolist(), start=1)
    ]
