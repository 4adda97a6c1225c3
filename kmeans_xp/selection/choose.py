"""Choose the number of clusters: fit each number, and compare the fits."""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmeans_xp import blocks
from kmeans_xp.algorithms import LloydResult
from kmeans_xp.blocks import Elsewhere
from kmeans_xp.checks import check_callable, check_integer
from kmeans_xp.devices import Array, bring, from_host, to_host
from kmeans_xp.estimators import KMeans
from kmeans_xp.estimators.preparation import Prepared, check_range, prepared
from kmeans_xp.estimators.validation import as_random_state, check_enough_rows, checked_points
from kmeans_xp.metrics import silhouette_score
from kmeans_xp.selection.criteria import CRITERIA, by_elbow, by_gap, by_silhouette, decided
from kmeans_xp.selection.fits import Search, chained, fresh, n_fresh, refined
from kmeans_xp.selection.gap import gaps, reference_rows
from kmeans_xp.selection.progress import Progress, Teller, in_order
from kmeans_xp.selection.references import inertias_alone, inertias_at_once
from kmeans_xp.selection.selection import Candidate, Selection

__all__ = ["choose_n_clusters"]

#: starts for a fit of reference rows: there are many fits, and their inertias are averaged
_REFERENCE_N_INIT = 3


class _Sample(NamedTuple):
    """The rows for silhouettes and gap statistic; ``indices`` is None where that is all rows."""

    data: Prepared
    points: Array
    indices: NDArray[np.intp] | None


class _Measured(NamedTuple):
    """The best fit with a number of clusters, its silhouette, and the inertia of the sample."""

    result: LloydResult
    silhouette: float | None
    sample_inertia: float


def choose_n_clusters(
    X: Any,
    n_clusters: Iterable[int] = range(2, 11),
    *,
    criterion: str = "silhouette",
    n_init: int = 10,
    n_references: int = 10,
    sample_size: int | None = 10_000,
    max_iter: int = 300,
    random_state: Any = None,
    n_jobs: int | None = None,
    metric: str = "euclidean",
    device: str | None = None,
    progress: bool | Teller = False,
) -> Selection:
    """Cluster X into several numbers of clusters, and recommend one of them with its reason.

    For each number the best of ``n_init`` runs of k-means is kept. One run begins with the best
    centroids of the number before, to which k-means++ adds rows. So the inertia never rises with
    the number. The other runs begin with k-means++.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, of any array library, or from ``open_rows``. In the latter case the initial
        centroids come from the sample, since each start would take passes over the rows.
    n_clusters : iterable of int, default=range(2, 11)
        Numbers of clusters to try, at least 1 and at most n_samples.
    criterion : {"silhouette", "gap", "elbow"}, default="silhouette"
        What decides: the greatest mean silhouette; the first gap statistic within one error of
        the next; or the bend of the inertia, as the package kneed finds it. The result reports
        the others too. If the criterion has no answer, the next one decides, and the reason says
        so.
    n_init : int, default=10
        Runs for each number of clusters.
    n_references : int, default=10
        How often to draw rows without clusters for the gap statistic; 0 leaves it out, which
        saves most of the time.
    sample_size : int or None, default=10_000
        Measure silhouettes and gap statistic on this number of rows, drawn at random, where there
        are more; None for all. It must be above the greatest number of clusters.
    max_iter : int, default=300
        Most iterations of a run.
    random_state : int, RandomState, Generator or None, default=None
        Source of all random numbers; the same int gives the same result.
    n_jobs : int or None, default=None
        Threads, as in joblib: None for 1, -1 for as many as processors. The result does not
        depend on it.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As for ``KMeans``; silhouettes use these distances too.
    device : {None, "auto", "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows X.
    progress : bool or callable, default=False
        True writes to stderr how much is done; a callable gets the number of parts done and the
        number of all parts.

    Returns
    -------
    Selection
        The recommended number, the reason in words, a table of what was measured, and the
        estimator fitted with that number.

    Raises
    ------
    ValueError
        If a parameter or X cannot be used: it says which and why.
    DeviceUnavailableError
        If ``device`` cannot be used here.

    See Also
    --------
    kmeans_xp.metrics.silhouette_score : One of the criteria.

    Notes
    -----
    The gap statistic is mean(log W*) - log W, where W is the inertia and W* that of rows drawn
    uniformly from the box of X along its principal components. It recommends the smallest number
    k with gap(k) >= gap(next) - error(next), and always tries one cluster too. A recommendation
    of 1 says that X is no more clustered than rows drawn at random. With ``criterion="gap"`` the
    estimator then has one cluster; with other criteria the reason mentions it. Where there is a
    sample, the fits of all rows are refined on the sample.

    References of few rows are fitted together, as ``k_means_batched`` fits problems: in threads
    with numba, and on CUDA by the launches of one. They take up to 64 MiB at a time, or are one.

    O(n_samples * n_features * sum of the numbers * n_init) time an iteration; for silhouettes
    O(sample_size^2 * n_features) for each number. The labels for each number stay in memory until
    the end, 4 bytes a row.

    References
    ----------
    .. [1] P. J. Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation
       of cluster analysis", Journal of Computational and Applied Mathematics 20 (1987).
    .. [2] R. Tibshirani, G. Walther and T. Hastie, "Estimating the number of clusters in a data
       set via the gap statistic", Journal of the Royal Statistical Society B 63 (2001).
    .. [3] V. Satopaa, J. Albrecht, D. Irwin and B. Raghavan, "Finding a 'kneedle' in a
       haystack", International Conference on Distributed Computing Systems Workshops (2011).

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp.selection import choose_n_clusters
    >>> X = np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], 20, axis=0)
    >>> X += np.random.default_rng(0).normal(size=X.shape)
    >>> selection = choose_n_clusters(X, range(2, 6), random_state=0)
    >>> selection.n_clusters
    3
    >>> [round(candidate.silhouette, 2) for candidate in selection.table]
    [0.62, 0.82, 0.67, 0.54]
    """
    numbers = _checked_numbers(n_clusters)
    _check_options(criterion, n_init, n_references, sample_size, numbers[-1], n_jobs, progress)
    estimator = KMeans(
        numbers[-1],
        n_init=n_init,
        max_iter=max_iter,
        random_state=random_state,
        metric=metric,
        device=device,
    )
    estimator._validate_params()
    points = checked_points(X, estimator=estimator, anywhere=True)
    _check_sample(points, sample_size)
    check_enough_rows(points, numbers[-1])
    random = as_random_state(random_state)
    seeds = random.randint(2**31 - 1, size=len(numbers) + n_references + 2).tolist()
    search = Search(n_init, max_iter)
    placement = blocks.place(points, device)
    with placement.working():
        data = prepared(points, None, placement, metric)
        check_range(data, n_calls=1)
        sample = _sample(data, points, sample_size, seeds.pop())
        chain_seed = seeds.pop()
        told = Progress(progress, 2 * len(numbers) + n_references)
        every = sorted({1, *numbers})
        tasks = [
            partial(
                _begun, data, sample.data, k, n_fresh(k, numbers, n_init), seeds.pop(), max_iter
            )
            for k in numbers
        ]
        begun = list(in_order(tasks, n_jobs, placement, told))
        references = _references(sample.data, every, seeds, search, n_jobs, told)
        measured = {}
        part = _to_seed(data, sample.data).blocks
        for result in chained(data, numbers, begun, chain_seed, max_iter, part):
            measured[int(result.centroids.shape[0])] = _measured(result, sample, max_iter)
            told.step()
        if 1 not in measured:
            measured[1] = _measured(_of_one_cluster(data, max_iter), sample, max_iter)
        candidates = _candidates(every, measured, references)
        one_cluster = candidates[0] if references else None
        table = tuple(candidate for candidate in candidates if candidate.n_clusters in numbers)
        verdicts = {
            "silhouette": by_silhouette(table),
            "gap": by_gap(one_cluster, table),
            "elbow": by_elbow(table),
        }
        decision = decided(verdicts, criterion, table)
        estimator.n_clusters = decision.n_clusters
        estimator._store(measured[decision.n_clusters].result, data)
    return Selection(
        *decision,
        {name: verdict.n_clusters for name, verdict in verdicts.items()},
        table,
        estimator,
        one_cluster,
    )


def _checked_numbers(n_clusters: Any) -> list[int]:
    numbers = list(n_clusters) if isinstance(n_clusters, Iterable) else [n_clusters]
    is_good = bool(numbers) and isinstance(n_clusters, Iterable)
    for number in numbers:
        is_good &= isinstance(number, int | np.integer) and not isinstance(number, bool)
        is_good = is_good and number >= 1
    if not is_good:
        raise ValueError(
            "n_clusters must be one or more integers of at least 1, such as range(2, 11), "
            f"got {n_clusters!r}."
        )
    return sorted({int(number) for number in numbers})


def _check_options(
    criterion: str,
    n_init: Any,
    n_references: Any,
    sample_size: Any,
    most: int,
    n_jobs: int | None,
    progress: bool | Teller,
) -> None:
    if criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}.")
    check_integer("n_init", n_init, 1)
    check_integer("n_references", n_references, 0)
    if criterion == "gap" and n_references == 0:
        raise ValueError("criterion='gap' needs n_references of at least 1, got 0.")
    if sample_size is not None and (not _is_int(sample_size) or sample_size <= most):
        raise ValueError(
            "sample_size must be None or an int greater than the largest number of clusters, "
            f"{most}, got {sample_size!r}."
        )
    if n_jobs is not None and (not _is_int(n_jobs) or n_jobs == 0):
        raise ValueError(f"n_jobs must be None for 1, -1 for all, or an int, got {n_jobs!r}.")
    if not isinstance(progress, bool):
        check_callable("progress", progress)


def _is_int(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _sample(data: Prepared, points: Array, sample_size: int | None, seed: int) -> _Sample:
    n_points = data.blocks.n_points
    if data.blocks.whole is not None and (sample_size is None or n_points <= sample_size):
        return _Sample(data, bring(points, data.placement), None)
    indices = np.random.RandomState(seed).permutation(n_points)[:sample_size]
    placement = data.placement
    placed = from_host(indices, xp=placement.xp, device=placement.device)
    few = data.blocks.gathered(placed)
    sampled = data._replace(blocks=blocks.of_rows(few, xp=placement.xp))
    # Silhouettes do not depend on the origin, and adding it back would round.
    return _Sample(sampled, few.as_given(placement.xp.zeros_like(data.origin)), indices)


def _check_sample(points: Any, sample_size: int | None) -> None:
    if sample_size is None and isinstance(points, Elsewhere):
        raise ValueError(
            f"The rows of {points.name} are not all in memory: silhouettes and gap statistic "
            "need a sample_size."
        )


def _to_seed(data: Prepared, sample: Prepared) -> Prepared:
    """Return the rows to choose initial centroids from: the sample where ``take`` may be a pass."""
    return data if data.blocks.whole is not None else sample


def _begun(
    data: Prepared, sample: Prepared, n_clusters: int, n_starts: int, seed: int, max_iter: int
) -> LloydResult | None:
    """Return the best of ``n_starts`` runs that begin with k-means++."""
    seeding = _to_seed(data, sample)
    found = fresh(seeding, n_clusters, n_starts, seed, max_iter)
    if found is None or seeding is data:
        return found
    return refined(data, found.centroids, max_iter)


def _references(
    data: Prepared,
    numbers: list[int],
    seeds: list[int],
    search: Search,
    n_jobs: int | None,
    told: Progress,
) -> list[list[float]]:
    """Return the inertias of rows without clusters: for each seed, of each number of clusters."""
    if not seeds:
        return []
    drawn = reference_rows(data)
    search = search._replace(n_init=min(search.n_init, _REFERENCE_N_INIT))
    found = {}
    for seed, inertias in zip(
        seeds, inertias_at_once(data, drawn, numbers, seeds, search), strict=True
    ):
        if inertias is not None:
            found[seed] = inertias
            told.step()
    others = [seed for seed in seeds if seed not in found]
    tasks = [partial(inertias_alone, data, drawn, numbers, seed, search) for seed in others]
    found.update(zip(others, in_order(tasks, n_jobs, data.placement, told), strict=True))
    return [found[seed] for seed in seeds]


def _measured(result: LloydResult, sample: _Sample, max_iter: int) -> _Measured:
    data, points, indices = sample
    labels = to_host(result.labels.whole())
    # Where rows are equal, some clusters may be empty.
    is_full = len(np.unique(labels)) == int(result.centroids.shape[0])
    if indices is None:
        silhouette = _silhouette(points, labels, data.metric) if is_full else None
        return _Measured(result, silhouette, result.inertia)
    silhouette = _silhouette(points, labels[indices], data.metric) if is_full else None
    # References are fitted on as few rows: fit the sample too, so that both compare.
    inertia = refined(data, result.centroids, max_iter).inertia
    return _Measured(result, silhouette, inertia)


def _silhouette(points: Array, labels: NDArray[Any], metric: str) -> float | None:
    if not 1 < len(np.unique(labels)) < len(labels):
        return None
    return silhouette_score(points, labels, metric=metric)


def _of_one_cluster(data: Prepared, max_iter: int) -> LloydResult:
    start: Array = data.placement.xp.zeros_like(data.origin)[None, :]
    return refined(data, start, max_iter)


def _candidates(
    numbers: list[int], measured: dict[int, _Measured], references: list[list[float]]
) -> list[Candidate]:
    inertias = [measured[number].sample_inertia for number in numbers]
    found = gaps(inertias, references) if references else [None] * len(numbers)
    candidates = []
    for number, gap in zip(numbers, found, strict=True):
        result, silhouette, _ = measured[number]
        value, error = (None, None) if gap is None else gap
        candidates.append(Candidate(number, result.inertia, silhouette, value, error))
    return candidates
