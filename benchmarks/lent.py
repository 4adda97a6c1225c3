"""Fits of arrays that NumPy's kernels compute with in place, beside fits of NumPy arrays.

``python -m benchmarks.lent torch`` (or ``jax``, ``mlx``) prints a table. It has the time of a
default fit of that library's array over that of the same numbers in NumPy's: the median of the
rounds' ratios, in turn in one process. "With results" also reads ``labels_`` and
``cluster_centers_`` of both, which become the library's arrays at that moment. "Conversions" is the
least that this can be: the ratio for a fit of NumPy's array with nothing around it but the
library's own calls, which lend X and return labels and centroids. It also says whether the results
have the same bits, and the peak of memory that each fit allocates on the host. ``--method predict``
(or ``fit_predict``, ``transform``, ``score``) times that call alone. ``--rounds N`` sets the number
of rounds, ``--only TEXT`` picks sizes by name, ``--dtype float64`` takes wider numbers, and
``--processor-time`` is for a machine with other work.
"""

import argparse
import importlib
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from kmeans_xp import KMeans
from kmeans_xp.devices import library_of, namespace_of, record_of


class Size(NamedTuple):
    """A problem."""

    n_points: int
    n_features: int
    n_clusters: int


SIZES = (
    Size(500, 4, 3),
    Size(2_000, 8, 5),
    Size(1_797, 64, 10),
    Size(100_000, 16, 8),
    Size(1_000_000, 2, 10),
    Size(200_000, 64, 64),
    Size(200_000, 128, 256),
)
MAX_ITER = 20
#: what the time of a call is divided by, if not that of the plain call with NumPy
BASES = {"with results": "NumPy, with results", "conversions": "NumPy, with results"}
METHODS = ("fit", "fit_predict", "predict", "transform", "score")


def arrays_of(library: str) -> Callable[[np.ndarray[Any, Any]], Any]:
    """Return what makes an array of a library."""
    if library == "torch":
        return importlib.import_module("torch").asarray  # type: ignore[no-any-return]
    if library == "jax":
        jax = importlib.import_module("jax")
        jax.config.update("jax_enable_x64", True)
        return jax.numpy.asarray  # type: ignore[no-any-return]
    return importlib.import_module(f"{library}.core").array  # type: ignore[no-any-return]


def unfitted(size: Size) -> KMeans:
    """Return an estimator with default parameters, except for a bound of its iterations."""
    return KMeans(size.n_clusters, random_state=0, max_iter=MAX_ITER)


def fitted(X: Any, size: Size) -> KMeans:
    """Return it fitted."""
    return unfitted(size).fit(X)


def results(X: Any, size: Size) -> tuple[Any, Any]:
    """Return the arrays of a fit."""
    model = fitted(X, size)
    return model.labels_, model.cluster_centers_


def converted(X: Any, size: Size) -> tuple[Any, Any]:
    """Return the arrays of a fit of NumPy's array between the library's own conversions."""
    xp = namespace_of(X)
    library = library_of(xp)
    labels, centroids = results(library.lent(X, record_of("numpy"), np), size)
    return library.shared(labels, xp), library.shared(centroids, xp)


def call_of(method: str, X: Any, size: Size) -> Callable[[], Any]:
    """Return what calls the method with X, of a fresh estimator if it fits."""
    if method.startswith("fit"):
        return lambda: getattr(unfitted(size), method)(X)
    return partial(getattr(fitted(X, size), method), X)


def seconds(call: Callable[[], Any], n_calls: int, clock: Callable[[], float]) -> float:
    """Return the time of a call."""
    began = clock()
    for _ in range(n_calls):
        call()
    return (clock() - began) / n_calls


def medians(
    calls: dict[str, Callable[[], Any]], n_rounds: int, n_calls: int, clock: Callable[[], float]
) -> dict[str, tuple[float, float]]:
    """Return the time of each call, and its ratio to that of the same call with NumPy."""
    rng, names = np.random.default_rng(0), list(calls)
    # In random order: otherwise garbage is collected in the same call of each round.
    rounds = [
        {name: seconds(calls[name], n_calls, clock) for name in rng.permutation(names)}
        for _ in range(n_rounds)
    ]
    return {
        name: (
            statistics.median(times[name] for times in rounds),
            statistics.median(times[name] / times[BASES.get(name, "NumPy")] for times in rounds),
        )
        for name in names
    }


def has_same_bits(one: KMeans, other: KMeans) -> bool:
    """Return whether two fits have the same results."""
    names = ("labels_", "cluster_centers_")
    return one.inertia_ == other.inertia_ and all(
        np.asarray(getattr(one, name)).tobytes() == np.asarray(getattr(other, name)).tobytes()
        for name in names
    )


def peak_bytes(X: Any, size: Size) -> int:
    """Return by how much a fit raises the most memory that the process ever had."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fitted(X, size)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=["torch", "jax", "mlx"])
    parser.add_argument("--method", choices=METHODS, default="fit")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--processor-time", action="store_true")
    asked = parser.parse_args()
    clock = time.process_time if asked.processor_time else time.perf_counter
    asarray = arrays_of(asked.library)
    columns = ("size", "NumPy, ms", f"{asked.library}, ms", "ratio", *BASES, "same bits")
    print(f"| {' | '.join(columns)} | more memory, MiB |\n|---|---:|---:|---:|---:|---:|---|---:|")
    fitted(asarray(np.eye(100)), SIZES[0])  # a library loads some of itself only now
    for size in SIZES:
        shape = f"{size.n_points:,} x {size.n_features}, k={size.n_clusters}"
        if asked.only not in shape:
            continue
        rng = np.random.default_rng(0)
        host = rng.normal(size=(size.n_points, size.n_features)).astype(asked.dtype)
        X = asarray(host)
        fitted(host, size)
        more = peak_bytes(X, size)
        same = has_same_bits(fitted(host, size), fitted(X, size))
        n_calls = max(1, 20_000 // size.n_points)
        calls = {
            "NumPy": call_of(asked.method, host, size),
            "library": call_of(asked.method, X, size),
        }
        if asked.method == "fit":
            calls["NumPy, with results"] = partial(results, host, size)
            calls["with results"] = partial(results, X, size)
            calls["conversions"] = partial(converted, X, size)
        found = medians(calls, asked.rounds, n_calls, clock)
        (ours, _), (theirs, ratio) = found["NumPy"], found["library"]
        others = " | ".join(f"{found[name][1]:.2f}" if name in found else "-" for name in BASES)
        print(
            f"| {shape} | {ours * 1e3:.2f} | {theirs * 1e3:.2f} | {ratio:.2f} | {others} "
            f"| {'yes' if same else 'NO'} | {more / 2**20:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
