"""Lloyd's algorithm from several starts at once, for problems too small to fill a device."""

from kmeans_xp.algorithms.lloyd import Iteration, LloydResult, finished, moved
from kmeans_xp.algorithms.stepping import Step, Steps
from kmeans_xp.blocks import Blocks
from kmeans_xp.devices import Array
from kmeans_xp.kernels import ClusterTotals, Update, lloyd_steps

__all__ = ["lloyd_restarts"]


def lloyd_restarts(
    blocks: Blocks, starts: list[Array], *, max_iter: int = 300, tol: float = 0.0
) -> list[LloydResult]:
    """Run Lloyd's algorithm from each of several starts, as one batch.

    Parameters
    ----------
    blocks : Blocks
        The rows.
    starts : list of arrays of shape (n_clusters, n_features)
        At least one; relative to the blocks' origin.
    max_iter : int
        Iterations of a run, at most.
    tol : float
        As of ``lloyd``, for each run.

    Returns
    -------
    list of LloydResult
        Each as ``lloyd`` gives from that start alone. A run that has ended is computed on with
        the others, and the rest of it ignored.
    """
    xp = blocks.xp
    centroids = xp.stack(starts)
    ended: dict[int, Array] = {}
    iterations: list[list[Iteration]] = [[] for _ in starts]
    steps = Steps(blocks, lloyd_steps)
    for number in range(1, max_iter + 1):
        batch = steps.take(centroids, n_left=max_iter - number + 1)
        centroids, is_intact = batch.update.centroids, True
        after: list[Array] = [centroids[run, ...] for run in range(len(starts))]
        for run in set(range(len(starts))) - set(ended):
            after[run], iteration = moved(blocks, _of_run(batch, run), number)
            is_intact &= iteration.n_empty == 0
            iterations[run].append(iteration)
            if iteration.sq_shift <= tol or number == max_iter:
                ended[run] = xp.asarray(after[run], copy=True)  # later steps write there
        if len(ended) == len(starts):
            break
        if not is_intact:
            centroids = xp.stack(after)
    return [finished(blocks, ended[run], iterations[run]) for run in range(len(starts))]


def _of_run(batch: Step, run: int) -> Step:
    totals = ClusterTotals(*(part[run, ...] for part in batch.totals))
    update = Update(*(part[run, ...] for part in batch.update))
    return Step(batch.before[run, ...], totals, update, batch.signals[run])
