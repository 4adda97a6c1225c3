"""Fits of rows larger than the memory: how much memory and time they take.

``python -m benchmarks.streaming [--gigabytes 6] [--features 64] [--clusters 64] [--folder DIR]``
makes a .npy file and a Parquet file of the same rows, and measures in a fresh process each:

- the file read once, without any computing, and the resident memory that takes;
- the best of some iterations of Lloyd's algorithm on it, streamed, and the memory of that process;
- an iteration with all rows in memory;
- the inertia after as many passes over the rows: KMeans, and ``partial_fit`` of both libraries.

Resident memory is anonymous and shared memory (RssAnon + RssShmem of /proc/self/status, sampled
every 10 ms), without the pages of files that the system keeps; and VmHWM, the peak with them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 2**20
#: The best of these counts: other processes of the machine only add to a time.
N_ITERATIONS = 6
N_READS = 3


def make(folder: Path, gigabytes: float, n_features: int, n_clusters: int) -> tuple[Path, Path]:
    """Write the same clustered rows as .npy and as Parquet, and return the paths."""
    import pyarrow as pa
    from pyarrow import parquet

    n_rows = int(gigabytes * 1e9 / (4 * n_features))
    npy, table = folder / f"{n_rows}x{n_features}.npy", folder / f"{n_rows}x{n_features}.parquet"
    if npy.exists() and table.exists():
        return npy, table
    rng = np.random.default_rng(0)
    # Clusters that overlap: an algorithm that stops early is found out.
    centres = rng.normal(scale=2.0, size=(4 * n_clusters, n_features)).astype(np.float32)
    schema = pa.schema([(f"x{i}", pa.float32()) for i in range(n_features)])
    header = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, n_features)}
    options = {"compression": "snappy", "use_dictionary": False}
    with npy.open("wb") as file, parquet.ParquetWriter(table, schema, **options) as writer:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n_rows, CHUNK):
            n = min(CHUNK, n_rows - start)
            points = rng.standard_normal((n, n_features), np.float32)
            points += centres[rng.integers(0, len(centres), n)]
            file.write(points.data)
            columns = [np.ascontiguousarray(column) for column in points.T]
            writer.write_table(pa.Table.from_arrays([pa.array(c) for c in columns], schema=schema))
    return npy, table


class Memory:
    """The most memory that the process has resident while the body runs, in MB."""

    def __enter__(self) -> "Memory":
        self.peak, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.high_water = _status("VmHWM")

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, _status("RssAnon") + _status("RssShmem"))


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(name)


def read(path: str, **_: Any) -> dict[str, float]:
    """Read all blocks several times: after the first the system may have the file in memory."""
    from kmeans_xp import open_rows

    seconds = []
    for _ in range(N_READS):
        started = time.perf_counter()
        for _block in open_rows(path).read():
            pass
        seconds.append(time.perf_counter() - started)
    return {"read": min(seconds), "first read": seconds[0]}


def raw_read(path: str, **_: Any) -> dict[str, float]:
    """Read the bytes of the file several times, with nothing made of them."""
    buffer, seconds = bytearray(64 * 2**20), []
    for _ in range(N_READS):
        started = time.perf_counter()
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
        seconds.append(time.perf_counter() - started)
    return {"raw read": min(seconds)}


def fit(path: str, n_clusters: int, **_: Any) -> dict[str, float]:
    """Fit some iterations on streamed rows."""
    from kmeans_xp import open_rows

    return _fitted(open_rows(path), n_clusters)


def fit_in_memory(path: str, n_clusters: int, **_: Any) -> dict[str, float]:
    """Fit as many iterations on all rows in memory."""
    return _fitted(np.load(path), n_clusters)


def _fitted(X: Any, n_clusters: int) -> dict[str, float]:
    from kmeans_xp import KMeans

    clock = Clock()
    started = time.perf_counter()
    # In memory other algorithms skip rows; here the passes are compared.
    kmeans = KMeans(
        n_clusters,
        init="random",
        n_init=1,
        max_iter=N_ITERATIONS,
        tol=0.0,
        random_state=0,
        algorithm="lloyd",
    )
    kmeans.set_callbacks(clock).fit(X)
    return {
        "iteration": float(np.min(np.diff(clock.times))),
        "fit": time.perf_counter() - started,
        "inertia": kmeans.inertia_,
    }


class Clock:
    """A callback that notes when each iteration ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def setup(self, estimator: Any, context: Any) -> None:
        """Nothing to set up."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Nothing to note."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Note the time."""
        if context.task_name == "iteration":
            self.times.append(time.perf_counter())

    def teardown(self, estimator: Any, context: Any) -> None:
        """Nothing to tear down."""


def passes(path: str, n_clusters: int, n_passes: int, **_: Any) -> dict[str, float]:
    """Fit KMeans within ``n_passes`` passes over the file, with all passes counted."""
    from kmeans_xp import KMeans, open_rows

    counting = CountedRows(path)
    rows = open_rows(path)
    read = type(rows)._pass
    type(rows)._pass = counting.around(read)  # type: ignore[method-assign]
    started = time.perf_counter()
    # The mean, the seeds, the labels and the inertia take passes too.
    max_iter = n_passes - 10
    kmeans = KMeans(n_clusters, n_init=1, max_iter=max_iter, tol=0.0, random_state=0)
    kmeans.fit(rows)
    seconds = time.perf_counter() - started
    n_rows = sum(rows.sizes())
    return {
        "passes": counting.n_rows / n_rows,
        "seconds": seconds,
        "inertia": kmeans.inertia_,
    }


class CountedRows:
    """Counts the rows that a source gives."""

    def __init__(self, path: str) -> None:
        self.path, self.n_rows = path, 0

    def around(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``read``, counting."""

        def counted(source: Any, first: int) -> Iterator[Any]:
            for block in read(source, first):
                self.n_rows += len(block.points)
                yield block

        return counted


def partial_fits(path: str, n_clusters: int, n_passes: int, library: str) -> dict[str, float]:
    """Do ``n_passes`` passes of ``partial_fit`` over the blocks, with one library or the other."""
    import sklearn.cluster

    import kmeans_xp

    rows = kmeans_xp.open_rows(path)
    package = kmeans_xp if library == "kmeans_xp" else sklearn.cluster
    model = package.MiniBatchKMeans(n_clusters, random_state=0, compute_labels=False, n_init=1)
    started = time.perf_counter()
    for _ in range(n_passes):
        for points, _weights in rows.read():
            model.partial_fit(points)
    seconds = time.perf_counter() - started
    # Measured by the same code for both.
    judge = kmeans_xp.KMeans(n_clusters, init=model.cluster_centers_, max_iter=1)
    judge.fit(model.cluster_centers_)
    return {"passes": n_passes, "seconds": seconds, "inertia": -judge.score(rows)}


JOBS: dict[str, Callable[..., dict[str, float]]] = {
    each.__name__: each for each in (raw_read, read, fit, fit_in_memory, passes, partial_fits)
}


def measured(job: str, **options: Any) -> dict[str, Any]:
    """Run a job in a process of its own, and return what it found and the memory it took."""
    command = [sys.executable, "-m", "benchmarks.streaming", "--job", job, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _run(job: str, options: str) -> None:
    with Memory() as memory:
        found = JOBS[job](**json.loads(options))
    print(json.dumps({**found, "MB": memory.peak, "VmHWM": memory.high_water}))


def _told(title: str, found: dict[str, Any]) -> None:
    print(
        f"{title:34}",
        "  ".join(f"{name} {value:,.4g}" for name, value in found.items()),
        flush=True,
    )


def main() -> None:
    """Make the files, run all jobs, and print what they took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=6.0)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--clusters", type=int, default=64)
    parser.add_argument("--passes", type=int, default=16)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--only", default="", help="names of jobs, with commas between")
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        _run(*given.job)
        return
    os.makedirs(given.folder, exist_ok=True)
    npy, table = make(given.folder, given.gigabytes, given.features, given.clusters)
    sizes = ", ".join(f"{path.suffix} {path.stat().st_size / 1e9:.2f} GB" for path in (npy, table))
    print(f"{npy.stem} float32, k={given.clusters}: {sizes}", flush=True)
    only = set(filter(None, given.only.split(",")))
    options = {"n_clusters": given.clusters, "n_passes": given.passes}
    for job in ("raw_read", "read", "fit"):
        for path in (npy, table):
            if not only or job in only:
                _told(f"{job} {path.suffix}", measured(job, path=str(path), **options))
    if not only or "fit_in_memory" in only:
        _told("fit_in_memory", measured("fit_in_memory", path=str(npy), **options))
    if not only or "passes" in only:
        _told("KMeans, streamed", measured("passes", path=str(npy), **options))
        for library in ("kmeans_xp", "sklearn"):
            found = measured("partial_fits", path=str(npy), library=library, **options)
            _told(f"partial_fit of {library}", found)


if __name__ == "__main__":
    main()
