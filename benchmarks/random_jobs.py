"""Random fits, checked against scikit-learn and an oracle of long doubles, for a given time.

``python -m benchmarks.random_jobs --minutes 60 [--first 0]`` draws jobs: rows (of several kinds,
scales, offsets; dense or sparse; float32 or float64), weights, first centroids, an estimator. Each
is fitted, and

- ``predict`` of the same rows gives ``labels_``;
- each label is that of a nearest centroid, up to rounding, by long doubles;
- ``inertia_`` is what long doubles give for those labels and centroids;
- the inertia does not rise from iteration to iteration;
- scikit-learn, given the same centroids in float64, finds the same labels, up to rounding.

The number of each job that fails is printed: ``--first N --jobs 1`` repeats it.
"""

import argparse
import itertools
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from benchmarks.judging import Judged
from kmeans_xp import BisectingKMeans, KMeans, MiniBatchKMeans

__all__ = ["Job", "faults_of", "job_of"]

KINDS = ("cloud", "blobs", "uniform", "grid", "duplicates", "tails", "line")


class Job(NamedTuple):
    """A fit to try.

    Parameters
    ----------
    number : int
        Seed of all of it.
    kind : str
        One of ``KINDS``.
    points : array or CSR matrix of shape (n_points, n_features)
    weights : array of shape (n_points,), or None
    estimator : estimator
        Not fitted.
    """

    number: int
    kind: str
    points: Any
    weights: NDArray[Any] | None
    estimator: Any

    def __str__(self) -> str:
        n_points, n_features = self.points.shape
        form = "sparse " if scipy.sparse.issparse(self.points) else ""
        weighted = ", weighted" if self.weights is not None else ""
        rows = f"{n_points} x {n_features} {self.points.dtype}"
        n_clusters = f"{type(self.estimator).__name__} k={self.estimator.n_clusters}"
        return f"job {self.number}: {form}{self.kind} {rows}{weighted}, {n_clusters}"


def job_of(number: int) -> Job:
    """Return the job of a number."""
    rng = np.random.default_rng(number)
    n_points = int(10 ** rng.uniform(0.5, 3.5))
    n_features = int(2 ** rng.uniform(0.0, 6.0))
    n_clusters = int(rng.integers(1, min(n_points, 60) + 1))
    kind, dtype = str(rng.choice(KINDS)), rng.choice([np.float32, np.float64])
    points = _rows(kind, n_points, n_features, n_clusters, rng)
    if is_sparse := rng.random() < 0.2:
        points *= rng.random(points.shape) < 0.2
    points *= 10.0 ** rng.integers(-6, 7)
    if not is_sparse and rng.random() < 0.4:
        points += np.abs(points).max() * 10.0 ** rng.integers(0, 4)
    points = points.astype(dtype)
    weights = None
    if rng.random() < 0.4:
        weights = (rng.random(n_points) * (rng.random(n_points) < 0.8)).astype(dtype)
        weights[:n_clusters] += dtype(0.5)
    given = scipy.sparse.csr_array(points) if is_sparse else points
    return Job(number, kind, given, weights, _estimator(n_clusters, points, number, rng))


def _rows(
    kind: str, n_points: int, n_features: int, n_clusters: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    shape = (n_points, n_features)
    if kind == "blobs":
        centres = rng.normal(scale=20.0, size=(n_clusters, n_features))
        return centres[rng.integers(0, n_clusters, n_points)] + rng.normal(size=shape)
    if kind == "uniform":
        return rng.random(shape)
    if kind == "grid":
        return rng.integers(0, 4, shape) / 10.0
    if kind == "duplicates":
        return rng.normal(size=shape)[rng.integers(0, max(1, n_points // 3), n_points)]
    if kind == "tails":
        return np.clip(rng.standard_cauchy(shape), -1e6, 1e6)
    if kind == "line":
        return rng.random((n_points, 1)) * rng.normal(size=(1, n_features))
    return rng.normal(size=shape)


def _estimator(n_clusters: int, points: NDArray[Any], number: int, rng: np.random.Generator) -> Any:
    options = {"random_state": number, "max_iter": int(rng.integers(1, 40))}
    chosen = rng.random()
    if chosen < 0.1:
        return BisectingKMeans(n_clusters, **options)
    if chosen < 0.25:
        return MiniBatchKMeans(n_clusters, n_init=1, batch_size=256, **options)
    init: Any = rng.choice(["k-means++", "random", "rows"])
    if init == "rows":
        init = points[rng.choice(len(points), n_clusters, replace=False)]
    algorithm = str(rng.choice(["auto", "lloyd"]))
    return KMeans(n_clusters, init=init, n_init=1, tol=0.0, algorithm=algorithm, **options)


def faults_of(job: Job) -> list[str]:
    """Return what is wrong with a job's results; nothing, as a rule."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        kmeans = job.estimator.fit(job.points, sample_weight=job.weights)
        predicted = kmeans.predict(job.points)
    is_sparse = scipy.sparse.issparse(job.points)
    points = job.points.toarray() if is_sparse else job.points
    judged = Judged(points, job.weights, is_sparse=is_sparse)
    return judged.faults_of(kmeans, predicted) + judged.faults_beside_scikit_learn(kmeans)


def main() -> None:
    """Try jobs until the time is over, or the number of jobs is reached."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, default=None)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    n_tried, n_faulty, began = 0, 0, time.monotonic()
    for number in itertools.islice(itertools.count(options.first), options.jobs):
        if time.monotonic() - began > 60.0 * options.minutes:
            break
        job = job_of(number)
        n_tried += 1
        if faults := faults_of(job):
            n_faulty += 1
            print(f"{job}: {'; '.join(faults)}", flush=True)
    minutes = (time.monotonic() - began) / 60.0
    print(f"{n_tried} jobs in {minutes:.1f} minutes, {n_faulty} with a fault")
    raise SystemExit(n_faulty > 0)


if __name__ == "__main__":
    main()
