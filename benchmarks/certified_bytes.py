"""Labels by products of bytes or heads on a CPU: how many pairs are left, and what a step takes.

``python -m benchmarks.certified_bytes`` prints the table of ``docs/performance.md``. Rows are real
where they can be had offline. It takes a step of scikit-learn, of the dense kernel and of ours in
turn, and prints medians of the rounds' ratios by the clock. ``--rows FILE.npy`` adds your own rows,
``--only NAME`` picks a set, ``--clusters N ...`` sets the numbers of clusters. Other work on the
machine matters less with ``--processor-time`` and one thread, by ``OMP_NUM_THREADS=1`` and
``KMEANS_XP_NUM_THREADS=1``. The rows of texts are paragraphs of the documentation of the installed
packages; word embeddings of them want the package ``wordllama``, which has its weights in itself.
Descriptors of photographs (SIFT) want ``opencv-python-headless`` and ``scikit-image``.
``--fuzz N`` labels N hard problems instead, by bytes and by heads.
Exits with 1 if a label differs.
"""

import argparse
import importlib.util
import re
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import array_api_compat.numpy as xp
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster._k_means_lloyd import lloyd_iter_chunked_dense
from threadpoolctl import threadpool_limits

from kmeans_xp.devices.availability import n_threads
from kmeans_xp.kernels import DenseRows, lloyd_step, update_centroids
from kmeans_xp.kernels.for_numba import assignment, certified
from kmeans_xp.kernels.for_numba.codes import CodedCentroids
from kmeans_xp.kernels.for_numba.heads import Axes, HeadedCentroids

__all__ = ["Host", "Measured", "measured", "sets_of_rows"]

Host = NDArray[Any]

N_CLUSTERS = (1000, 4096)
#: iterations after which a step is measured
AFTER = (1, 5, 20)
N_TEXTS = 120_000


class Measured(NamedTuple):
    """What a step took, and how rows came to their labels.

    Parameters
    ----------
    way : str
        What rules centroids out, ``"dense"`` if nothing does. Then the counts are those of bytes.
    counts : Counts
    n_wrong : int
        Labels that are not the dense kernel's.
    to_sklearn, to_dense : float
        Time, in that of scikit-learn's step and of the dense kernel's.
    dense_to_sklearn : float
        The same of the dense kernel.
    """

    way: str
    counts: certified.Counts
    n_wrong: int
    to_sklearn: float
    to_dense: float
    dense_to_sklearn: float


def measured(
    rows: DenseRows, centroids: Host, n_rounds: int, clock: Callable[[], float]
) -> Measured:
    """Take a step from the same centroids by each, in turn."""
    packed = certified.packed_if_worth_it(rows, centroids)
    if packed is None:
        found, way = certified.certified_labels(rows, centroids), "dense"
    else:
        found = certified.labelled(rows, packed)
        way = f"head of {packed.n_axes}" if isinstance(packed, HeadedCentroids) else "bytes"
    if found is None:
        raise ValueError("These centroids cannot be coded.")
    n_wrong = int((found[0] != assignment.scored(rows, centroids)).sum())

    def ours(step: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: update_centroids(step(rows, centroids), centroids, xp=xp)

    jobs = (
        _sklearn_step(rows, centroids),
        ours(assignment.scored_and_added),
        ours(lambda rows, centroids: lloyd_step(rows, centroids, xp=xp)),
    )
    for job in jobs:
        job()
    times = np.array([[_seconds(job, clock) for job in jobs] for _ in range(n_rounds)])
    theirs, dense, proved = times.T
    ratios = (np.median(part) for part in (proved / theirs, proved / dense, dense / theirs))
    return Measured(way, found[1], n_wrong, *map(float, ratios))


def _sklearn_step(rows: DenseRows, centroids: Host) -> Callable[[], Any]:
    points, (n_clusters, n_features) = rows.centred(), centroids.shape
    weights, mass = np.ones(len(points), points.dtype), np.empty(n_clusters, points.dtype)
    new, shift = np.empty((n_clusters, n_features), points.dtype), np.empty_like(mass)
    labels = np.empty(len(points), np.int32)

    def step() -> None:
        with threadpool_limits(1, user_api="blas"):
            lloyd_iter_chunked_dense(
                points, weights, centroids, new, mass, labels, shift, n_threads()
            )

    return step


def _seconds(job: Callable[[], Any], clock: Callable[[], float]) -> float:
    began = clock()
    job()
    return clock() - began


def sets_of_rows(n_points: int) -> Iterator[tuple[str, Callable[[], Host]]]:
    """Yield sets, each made when it is wanted."""
    rng = np.random.default_rng(0)
    if importlib.util.find_spec("wordllama") is not None:
        yield "embeddings of texts (WordLlama)", lambda: _embedded(_texts())[:n_points]
    yield "TF-IDF and SVD of texts", lambda: _decomposed(_texts())[:n_points]
    if all(importlib.util.find_spec(name) is not None for name in ("cv2", "skimage")):
        yield "descriptors of photographs (SIFT)", lambda: _descriptors(n_points)
    yield "squares of photographs", lambda: _squares(n_points)
    yield "uniform", lambda: rng.random((n_points, 256), dtype=np.float32)
    yield "one normal cloud", lambda: rng.standard_normal((n_points, 256), dtype=np.float32)


def _texts() -> list[str]:
    """Return paragraphs of the documentation of the installed packages, and of Python's."""
    quoted, blank = re.compile(r'"""(.*?)"""', re.DOTALL), re.compile(r"\n\s*\n")
    found: dict[str, None] = {}
    for folder in sorted({sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")}):
        for path in sorted(Path(folder).rglob("*.py")):
            for docstring in quoted.findall(path.read_text(errors="ignore")):
                for paragraph in blank.split(docstring):
                    text = re.sub(r"\s+", " ", paragraph).strip()
                    if 60 <= len(text) <= 800:
                        found[text] = None
            if len(found) >= N_TEXTS:
                return list(found)
    return list(found)


def _embedded(texts: list[str]) -> Host:
    """Return the means of the words' vectors, of unit length."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    package = importlib.util.find_spec("wordllama")
    assert package is not None
    assert package.submodule_search_locations is not None
    folder = Path(package.submodule_search_locations[0])
    (weights,) = load_file(folder / "weights" / "l2_supercat_256.safetensors").values()
    path = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
    tokenizer = Tokenizer.from_file(str(path))
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    words = weights.astype(np.float32)
    means = np.stack([words[each.ids].mean(axis=0) for each in encoded])
    return _of_unit_length(np.random.default_rng(0).permutation(means))


def _decomposed(texts: list[str]) -> Host:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    options = {"sublinear_tf": True, "min_df": 5, "max_df": 0.3, "stop_words": "english"}
    words = TfidfVectorizer(max_features=40_000, dtype=np.float32, **options).fit_transform(texts)
    components = TruncatedSVD(384, n_iter=2, random_state=0).fit_transform(words)
    components = components[np.abs(components).sum(axis=1) > 0]
    return _of_unit_length(np.random.default_rng(0).permutation(components.astype(np.float32)))


def _of_unit_length(rows: Host) -> Host:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def _squares(n_points: int) -> Host:
    """Return squares of 8 x 8 pixels of two photographs, in colour, each pixel the first of one."""
    from sklearn.datasets import load_sample_images

    parts = [
        np.lib.stride_tricks.sliding_window_view(image, (8, 8, 3))[:, :, 0].reshape(-1, 192)
        for image in load_sample_images().images
    ]
    rng = np.random.default_rng(0)
    chosen = [part[rng.choice(len(part), n_points // 2, replace=False)] for part in parts]
    return rng.permutation(np.concatenate(chosen)).astype(np.float32)


def _descriptors(n_points: int) -> Host:
    """Return SIFT descriptors of the photographs of scikit-learn and scikit-image."""
    import cv2
    from sklearn.datasets import load_sample_images

    package = importlib.util.find_spec("skimage")
    assert package is not None
    assert package.submodule_search_locations is not None
    folder = Path(package.submodule_search_locations[0]) / "data"
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".png", ".jpg"})
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    images += [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in load_sample_images().images]
    sift = cv2.SIFT_create(contrastThreshold=0.0)
    found = np.concatenate([sift.detectAndCompute(image, None)[1] for image in images])
    return np.random.default_rng(0).permutation(found)[:n_points].astype(np.float32)


def _lines(asked: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Yield the lines of the table, each with the number of labels that differ."""
    sets = list(sets_of_rows(asked.points))
    clock = time.process_time if asked.processor_time else time.perf_counter
    if asked.rows:
        sets.append((Path(asked.rows).stem, lambda: np.load(asked.rows).astype(np.float32)))
    for name, make in sets:
        if asked.only not in name:
            continue
        points = np.ascontiguousarray(make())
        rows = DenseRows(points, None, points.mean(axis=0))
        for n_clusters in asked.clusters:
            chosen = np.random.default_rng(1).choice(len(points), n_clusters, replace=False)
            centroids = points[chosen] - rows.origin
            for number in range(max(AFTER) + 1):
                if number in AFTER:
                    found = measured(rows, centroids, asked.rounds, clock)
                    yield _line(name, rows, n_clusters, number, found), found.n_wrong
                totals = lloyd_step(rows, centroids, xp=xp)
                centroids = update_centroids(totals, centroids, xp=xp).centroids


def _line(name: str, rows: DenseRows, n_clusters: int, number: int, found: Measured) -> str:
    counts = found.counts
    n_tried = max(1, counts.n_points - counts.n_dense)
    shares = (counts.n_candidates, counts.n_measured, counts.n_chained, counts.n_doubtful)
    per_row = " | ".join(f"{each / n_tried:.3f}" for each in shares)
    return (
        f"| {name}, {rows.n_points} x {rows.n_features}, k={n_clusters} | {number} "
        f"| {found.way} | {per_row} "
        f"| {counts.n_dense / counts.n_points:.2f} | {found.dense_to_sklearn:.2f} "
        f"| **{found.to_sklearn:.2f}** | {found.to_dense:.2f} |"
    )


def _fuzz(n_problems: int) -> int:
    """Label hard problems in both dtypes, from two sets of centroids; return the wrong labels."""
    from tests.certified_problems import problem_of

    n_rows = n_proved = n_wrong = 0
    for seed in range(n_problems):
        problem = problem_of(seed, 300, is_wide=seed % 3 == 2)
        for dtype in ("float32", "float64"):
            points, centroids = (each.astype(dtype) for each in (problem.points, problem.centroids))
            origin = None if problem.origin is None else problem.origin.astype(dtype)
            rows = DenseRows(points, None, origin)
            columns = np.random.default_rng(seed).standard_normal((points.shape[1], 8))
            axes = Axes.of(np.linalg.qr(columns)[0].astype(dtype))
            assert axes is not None
            for given in (centroids, points[: len(centroids)].copy()):
                for packed in (CodedCentroids.of(given), HeadedCentroids.of(given, axes)):
                    if packed is not None:
                        labels, counts = certified.labelled(rows, packed)
                        n_rows += len(labels)
                        n_proved += len(labels) - counts.n_doubtful - counts.n_dense
                        n_wrong += int((labels != assignment.scored(rows, given)).sum())
    print(f"{n_rows} rows of {n_problems} problems, {n_proved} proved, {n_wrong} wrong")
    return n_wrong


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", help="a .npy file of rows")
    parser.add_argument("--only", default="")
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--clusters", type=int, nargs="*", default=list(N_CLUSTERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processor-time", action="store_true", help="instead of the clock's")
    parser.add_argument("--fuzz", type=int, metavar="N", help="label N hard problems instead")
    asked = parser.parse_args()
    if asked.fuzz:
        with np.errstate(all="ignore"):
            return 1 if _fuzz(asked.fuzz) else 0
    print(
        "| rows, clusters | iteration | by | candidates | measured | chained | doubtful | dense "
        "| dense / scikit-learn | ours / scikit-learn | ours / dense |"
    )
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    n_wrong = 0
    for line, number in _lines(asked):
        print(line, flush=True)
        n_wrong += number
    return 1 if n_wrong else 0


if __name__ == "__main__":
    sys.exit(_main())
