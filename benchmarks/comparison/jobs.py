"""The jobs of the comparison by name, and the record that one case of a job gives."""

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from benchmarks.comparison.checks import check_centroids, check_labels
from benchmarks.comparison.data import Case, Choice, Problem, cases, problem
from benchmarks.comparison.fits import converge, fit, minibatch, restarts, same_work
from benchmarks.comparison.parts import iteration, mean_start_inertias, predict, seeding
from benchmarks.comparison.peers import BASELINE, OURS, PEERS, Peers
from benchmarks.comparison.processes import fit_memory, start_times
from benchmarks.comparison.timing import Pace, Run, interleaved, ratio
from benchmarks.comparison.variants import batched, bisecting, cosine
from benchmarks.roofline import Size
from kmeans_xp.devices import to_host

__all__ = ["JOBS", "Record", "line", "records"]

#: what was measured of a case: its fields; "peers" with "seconds" (one for each round), the
#: median "ratio" to scikit-learn's and what was found; "checked", the differences of results;
#: "left_out", peers and why
Record = dict[str, Any]

#: iterations of the fits that must agree before a default fit is timed
_CHECKED_ITERATIONS = 3

_NOT_OFFERED = {
    "iteration": {
        "sklearnex": "its iteration cannot be called alone",
        **dict.fromkeys(("torch", "jax"), "an estimator takes NumPy's kernels for its arrays"),
    },
    "seeding": {"sklearnex": "its k-means++ cannot be called alone"},
    "minibatch": {"sklearnex": "has no MiniBatchKMeans", "faiss": "has no mini-batches"},
    "tiny": {"faiss": "has no restarts until convergence"},
    "converge": dict.fromkeys(("torch", "jax"), "computes every algorithm as it does Lloyd's"),
}


def tiny(problem: Problem, peers: Peers) -> list[Run]:
    """Ten restarts by default, or one fit with the same work for all."""
    if problem.case.variant == "same work":
        return same_work(problem, peers)
    return restarts(problem, peers)


def scaling(problem: Problem, peers: Peers) -> list[Run]:
    """Fits of a fixed number of iterations."""
    return same_work(problem, peers, problem.case.max_iter)


_RUNS: dict[str, Callable[[Problem, Peers], list[Run]]] = {
    "iteration": iteration,
    "fit": fit,
    "seeding": seeding,
    "predict": predict,
    "minibatch": minibatch,
    "tiny": tiny,
    "converge": converge,
    "scaling": scaling,
    "bisecting": bisecting,
    "cosine": cosine,
    "batched": batched,
}
#: jobs of scikit-learn and this package alone
_OF_TWO = ("scaling", "bisecting", "cosine", "batched")

#: what --jobs takes, in the order of the page
JOBS = (*_RUNS, "memory", "import")

_START_SHAPES = ((2000, 16, 8), (100_000, 16, 8))
_QUICK_START_SHAPES = ((200, 4, 3),)
_MOST_STARTS = 9


def records(job: str, choice: Choice, peers: Peers, pace: Pace) -> Iterator[Record]:
    """Yield the record of each case of a job, as it is measured."""
    if job == "import":
        yield from _starts(choice, pace)
        return
    for case in cases(job, choice):
        if job == "memory":
            yield _fields(case) | {"peers": fit_memory(case._asdict())}
        else:
            yield _timed(case, peers, pace)


def _fields(case: Case) -> Record:
    fields = case._asdict()
    size = fields.pop("size")
    fields |= dict(zip(("n_points", "n_features", "n_clusters"), size.shape, strict=True))
    return fields


def _timed(case: Case, peers: Peers, pace: Pace) -> Record:
    if case.job in _OF_TWO:
        peers = Peers({}, {})
    posed = problem(case)
    record = _fields(case)
    if case.job == "fit":
        record["checked"] = _checked(posed, peers)
    runs = _RUNS[case.job](posed, peers)
    timed = interleaved(runs, pace)
    baseline = timed[BASELINE].seconds
    record["peers"] = {
        run.peer: {
            "seconds": timed[run.peer].seconds,
            "ratio": ratio(timed[run.peer].seconds, baseline),
            **run.found(timed[run.peer].result),
        }
        for run in runs
    }
    record |= _compared(posed, runs, {peer: each.result for peer, each in timed.items()})
    if case.job == "seeding":
        for peer, mean in mean_start_inertias(posed, peers).items():
            record["peers"][peer]["mean_inertia"] = mean
    record["left_out"] = _left_out(case, peers, runs)
    return record


def _checked(posed: Problem, peers: Peers) -> dict[str, float]:
    """Hold fits from the same rows against each other."""
    runs = same_work(posed, peers, _CHECKED_ITERATIONS, with_faiss=True)
    return check_centroids(posed, _centroids(runs, {run.peer: run.call() for run in runs}))


def _compared(posed: Problem, runs: list[Run], results: dict[str, Any]) -> Record:
    """Hold the results that were timed against each other, where they must agree."""
    if posed.case.job == "predict":
        labels = {peer: to_host(result) for peer, result in results.items()}
        return {"checked": check_labels(posed, labels)}
    centroids = _centroids(runs, results)
    return {"checked": check_centroids(posed, centroids)} if centroids else {}


def _centroids(runs: list[Run], results: dict[str, Any]) -> dict[str, Any]:
    """Return the centroids of the runs whose centroids must agree."""
    return {run.peer: run.centroids(results[run.peer]) for run in runs if run.centroids is not None}


def _left_out(case: Case, peers: Peers, runs: list[Run]) -> dict[str, str]:
    if case.job in _OF_TWO:
        return {}
    timed = {run.peer.removeprefix(f"{OURS} on ") for run in runs}
    reasons = dict(peers.left_out)
    for name in PEERS:
        if name in timed or name in reasons:
            continue
        reasons[name] = _NOT_OFFERED.get(case.job, {}).get(name, "computes in float32 only")
    return reasons


def _starts(choice: Choice, pace: Pace) -> Iterator[Record]:
    shapes = _QUICK_START_SHAPES if choice.is_quick else _START_SHAPES
    for number, shape in enumerate(shapes):
        name = "first fit, {} x {}, k={}".format(*shape)
        times = start_times(shape, min(pace.n_most, _MOST_STARTS))
        if number == 0:
            yield _start_record("import", "import", times, shape)
        yield _start_record(name, "first fit", times, shape)
        yield _start_record(name.replace("first", "second"), "second fit", times, shape)


def _start_record(
    name: str, what: str, times: dict[str, dict[str, list[float]]], shape: tuple[int, int, int]
) -> Record:
    case = Case("import", name, Size(name, *shape), "float32", "uniform", 20)
    baseline = times[BASELINE][what]
    peers = {
        peer: {"seconds": taken[what], "ratio": ratio(taken[what], baseline)}
        for peer, taken in times.items()
    }
    return _fields(case) | {"peers": peers}


def line(record: Record) -> str:
    """Return a line for the terminal."""
    cells = []
    for peer, found in record["peers"].items():
        if "seconds" in found:
            cells.append(f"{peer} {median(found['seconds']) * 1e3:.3f} ms x{found['ratio']:.2f}")
        else:
            cells.append(f"{peer} {found['peak_bytes'] / 2**20:.1f} MiB")
    place = f"{record['job']:10s}{record['name']:37s}{record['dtype']} {record['data']:12s}"
    return f"{place}{', '.join(cells)}"
