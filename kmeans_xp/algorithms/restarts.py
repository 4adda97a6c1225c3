"""The best of several runs of Lloyd's algorithm: one after another, in threads, or in one call."""

import threading
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from kmeans_xp.algorithms.lloyd import (
    UPDATES,
    Iteration,
    LloydResult,
    finished,
    has_ended,
    lloyd,
    updated,
)
from kmeans_xp.algorithms.transport import SizeBounds
from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array, to_host
from kmeans_xp.kernels import (
    ClusterTotals,
    Step,
    Steps,
    Update,
    are_steps_short,
    batched_steps_of,
    runs_at_once,
    takes_whole_runs,
    update_centroids,
)
from kmeans_xp.kernels.threads import in_threads_alone, n_threads_here

__all__ = [
    "SAME_INERTIA",
    "best_of",
    "is_better",
    "lloyd_restarts",
    "runs_from",
    "runs_in_threads",
    "whole_runs",
]

#: runs that end in the same clustering differ by rounding; the first of them is kept
SAME_INERTIA = 1e-6
#: bytes of labels and centroids of runs in threads that are held at a time, unless two runs for
#: each thread are more
_HELD_BYTES = 2**25


def best_of(results: Iterable[LloydResult]) -> LloydResult | None:
    """Return the first result with the smallest inertia, or None if there are no results."""
    best: LloydResult | None = None
    for result in results:
        if best is None or is_better(result, best):
            best = result
    return best


def is_better(result: LloydResult, best: LloydResult) -> bool:
    """Return whether a result has less inertia; differences within rounding do not count."""
    return result.inertia < best.inertia * (1.0 - SAME_INERTIA)


def runs_from(
    blocks: Blocks,
    starts: Iterable[Array],
    *,
    max_iter: int = 300,
    tol: float = 0.0,
    algorithm: str = "lloyd",
    metric: str = "euclidean",
    sizes: SizeBounds | None = None,
) -> Iterable[LloydResult]:
    """Run Lloyd's algorithm from each start, all at once where that is faster.

    Parameters
    ----------
    blocks : Blocks
    starts : iterable of arrays of shape (n_clusters, n_features)
        Relative to the blocks' origin.
    max_iter : int
        As for ``lloyd``; so are the next four.
    tol : float
    algorithm : str
    metric : str
    sizes : SizeBounds, optional

    Returns
    -------
    iterable of LloydResult
        In the order of the starts.
    """
    options: dict[str, Any] = {"max_iter": max_iter, "tol": tol}
    of_one = options | {"algorithm": algorithm, "metric": metric, "sizes": sizes}
    starts = iter(starts)
    first = list(islice(starts, 1))
    starts = chain(first, starts)
    rows, xp = blocks.whole, blocks.xp
    if rows is None or sizes is not None or not first:
        return (lloyd(blocks, start, **of_one) for start in starts)
    n_clusters = int(first[0].shape[0])
    batched = None
    if UPDATES[metric] is update_centroids:
        batched = batched_steps_of(rows, blocks.reduce, tol, xp=xp)
    if batched is not None:
        starts = list(starts)
        if len(starts) > 1:
            return lloyd_restarts(blocks, starts, batched, **options)
    # With a negative tolerance, steps go on after the end.
    is_plain = algorithm in ("auto", "lloyd") and tol >= 0.0
    if is_plain and batched is None and takes_whole_runs(rows, n_clusters, xp=xp):
        return whole_runs(blocks, list(starts), metric=metric, **options)
    if are_steps_short(rows, n_clusters, xp=xp):
        return runs_in_threads(blocks, starts, **of_one)
    return (lloyd(blocks, start, **of_one) for start in starts)


def runs_in_threads(
    blocks: Blocks, starts: Iterable[Array], **options: Any
) -> Iterator[LloydResult]:
    """Run Lloyd's algorithm from each of several starts, each in one thread.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    starts : iterable of arrays of shape (n_clusters, n_features)
        Relative to the blocks' origin. If they are few beside the threads, each run in turn uses
        all threads.
    **options : object
        As for ``lloyd``.

    Yields
    ------
    LloydResult
        What ``lloyd`` gives from a start alone, in the order of the starts. Those of some starts
        are held at a time.
    """
    starts, n_threads = iter(starts), n_threads_here()
    first = list(islice(starts, 1))
    n_bytes = 4 * blocks.n_points + sum(8 * start.size for start in first)
    n_held, starts = max(2 * n_threads, _HELD_BYTES // n_bytes), chain(first, starts)
    while some := list(islice(starts, n_held)):
        if 2 * len(some) < n_threads:
            yield from (lloyd(blocks, start, **options) for start in some)
        else:
            yield from _in_threads(blocks, some, options)


def _in_threads(blocks: Blocks, starts: list[Array], options: dict[str, Any]) -> list[LloydResult]:
    is_ended = threading.Event()

    def is_last(*_: Any) -> bool:
        return is_ended.is_set()

    def run(number: int) -> LloydResult:
        try:
            return lloyd(blocks, starts[number], on_iteration=is_last, **options)
        except BaseException:
            is_ended.set()  # an error or an interrupt does not wait for the runs of other threads
            raise

    return in_threads_alone(run, len(starts))


def lloyd_restarts(
    blocks: Blocks, starts: list[Array], steps: Steps, *, max_iter: int = 300, tol: float = 0.0
) -> list[LloydResult]:
    """Run Lloyd's algorithm from each of several starts, as one batch.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    starts : list of arrays of shape (n_clusters, n_features)
        At least one; relative to the blocks' origin.
    steps : Steps
        Takes steps from all starts at once.
    max_iter : int
        Most iterations of a run.
    tol : float
        As for ``lloyd``, in each run.

    Returns
    -------
    list of LloydResult
        Each is what ``lloyd`` gives from that start alone. A run that has ended is computed on
        with the others, and its later steps are ignored.
    """
    xp = blocks.xp
    centroids = xp.stack(starts)
    ended: dict[int, Array] = {}
    iterations: list[list[Iteration]] = [[] for _ in starts]
    for number in range(1, max_iter + 1):
        batch = steps.take(centroids, n_left=max_iter - number + 1)
        centroids, is_intact = batch.update.centroids, True
        after: list[Array] = [centroids[run, ...] for run in range(len(starts))]
        for run in set(range(len(starts))) - set(ended):
            after[run], iteration = updated(blocks, _of_run(batch, run), number, update_centroids)
            is_intact &= iteration.n_empty == 0
            iterations[run].append(iteration)
            if number == max_iter or has_ended(blocks, after[run], iterations[run], tol):
                ended[run] = xp.asarray(after[run], copy=True)  # later steps write there
        if len(ended) == len(starts):
            break
        if not is_intact:
            centroids = xp.stack(after)
    return [finished(blocks, ended[run], iterations[run], steps) for run in range(len(starts))]


def whole_runs(
    blocks: Blocks,
    starts: list[Array],
    *,
    max_iter: int = 300,
    tol: float = 0.0,
    metric: str = "euclidean",
) -> list[LloydResult]:
    """Run Lloyd's algorithm from each of several starts, by one call for whole runs.

    Parameters
    ----------
    blocks : Blocks
        Rows in one piece, of which ``takes_whole_runs`` is True.
    starts : list of arrays of shape (n_clusters, n_features)
        At least one; relative to the blocks' origin.
    max_iter : int
        Most iterations of a run.
    tol : float
        As for ``lloyd``, in each run.
    metric : str
        As for ``lloyd``.

    Returns
    -------
    list of LloydResult
        Each is what ``lloyd`` gives from that start alone.
    """
    xp = blocks.xp
    runs = blocks.reduce(runs_at_once, xp.stack(starts), max_iter, tol, UPDATES[metric])
    results = []
    for run, start in enumerate(starts):
        n_iter = 0 if runs is None else int(runs.n_iter[run])
        if n_iter == 0:
            results.append(lloyd(blocks, start, max_iter=max_iter, tol=tol, metric=metric))
            continue
        signals = to_host(runs.signals[run, :n_iter, :]).tolist()
        iterations = tuple(
            Iteration(number, explained, sq_shift, 0)
            for number, (sq_shift, _, explained) in enumerate(signals, start=1)
        )
        # Copies: views would keep the results of all runs alive.
        centroids, labels = (
            xp.asarray(part[run, ...], copy=True) for part in (runs.centroids, runs.labels)
        )
        inertia = float(runs.inertia[run])
        results.append(LloydResult(centroids, blocks.cut(labels), inertia, iterations))
    return results


def _of_run(batch: Step, run: int) -> Step:
    assert batch.totals is not None
    totals = ClusterTotals(*(part[run, ...] for part in batch.totals))
    update = Update(*(part[run, ...] for part in batch.update))
    return Step(batch.before[run, ...], totals, update, batch.signals[run])
