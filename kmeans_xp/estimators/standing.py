"""Where a fit stands, and the same as values that a checkpoint can hold."""

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
    """Where a fit of several runs stands, between two iterations.

    Parameters
    ----------
    run : int
        From 0; the number of runs when all are done.
    random_state : RandomState
        Draws the initial centroids of the next run that has none.
    centroids : array of shape (n_clusters, n_features), or None
        Of this run, relative to the origin; None before it has any.
    iterations : tuple of Iteration
        Those that led there.
    best : LloydResult or None
        Of the runs before.
    """

    run: int
    random_state: np.random.RandomState
    centroids: Array | None = None
    iterations: Sequence[Iteration] = ()
    best: LloydResult | None = None

    def values(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
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
        """Return where a fit stood whose values these are; this is where it began."""
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
        """Return where that is, in words."""
        return f"iteration {len(self.iterations)} of run {self.run + 1}"


def mini_batch_values(
    standing: MiniBatchStanding | None, random_state: np.random.RandomState
) -> dict[str, Any]:
    """Return what a checkpoint holds of mini-batches; without a standing, of their seeding."""
    if standing is None:
        return {"random_state": random_state, "standing": None}
    columns = ("inertia", "smoothed_inertia", "sq_shift", "n_reassigned")
    steps = [[getattr(step, name) for name in columns] for step in standing.steps]
    values = {
        "centroids": standing.state.centroids,
        "mass": standing.state.mass,
        # The first step has no smoothed inertia, which is NaN here.
        "steps": np.asarray(steps, dtype=np.float64).reshape(-1, len(columns)),
        "n_seen": standing.n_seen,
    }
    return {"random_state": random_state, "standing": values}


def mini_batch_standing(values: Mapping[str, Any], blocks: Blocks) -> MiniBatchStanding:
    """Return where a fit by mini-batches stood, of its values."""
    _check(values, _OF_BATCHES, blocks)
    state = MiniBatchState(*(_placed(values[name], blocks) for name in ("centroids", "mass")))
    steps = [
        MiniBatchStep(number, inertia, None if number == 1 else smoothed, sq_shift, int(n))
        for number, (inertia, smoothed, sq_shift, n) in enumerate(values["steps"].tolist(), start=1)
    ]
    return MiniBatchStanding(state, steps, values["n_seen"])


def bisection_values(split: Bisection, random_state: np.random.RandomState) -> dict[str, Any]:
    """Return what a checkpoint holds of a tree that is being grown."""
    return {
        "random_state": random_state,
        "centroids": split.centroids,
        "children": np.asarray(split.children, dtype=np.int32),
        "one_points": np.asarray(split.one_points, dtype=np.int32),
    }


def bisection(values: Mapping[str, Any], n_clusters: int, blocks: Blocks) -> Bisection:
    """Return the tree of a fit whose values these are; what it measured is measured again."""
    _check(values, _OF_SPLITS, blocks)
    children = tuple((int(left), int(right)) for left, right in values["children"])
    if len(children) > 2 * n_clusters - 1:
        raise ValueError("The checkpoint is damaged: its tree has more leaves than clusters.")
    centroids = _placed(values["centroids"], blocks)
    one_points = tuple(values["one_points"].tolist())
    return Bisection(centroids, children, 0.0, 0.0, 0, one_points)


def restored_state(fresh: np.random.RandomState, saved: Any) -> np.random.RandomState:
    """Return a source of random numbers that goes on where the saved one was."""
    if not isinstance(saved, np.random.RandomState):
        raise ValueError("The checkpoint is damaged: the state of random numbers is missing.")
    if fresh is np.random.mtrand._rand:  # numpy's own, which is for all to draw from
        return saved
    # The user's: it is to end where it would have ended.
    fresh.set_state(saved.get_state(legacy=False))
    return fresh


def _check(values: Mapping[str, Any], schema: Mapping[str, Kind], blocks: Blocks) -> None:
    """Raise ValueError, which names the field, if a file holds what no fit has left."""
    if not isinstance(values, dict):
        raise ValueError("The checkpoint is damaged: where the fit stood is missing.")
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
