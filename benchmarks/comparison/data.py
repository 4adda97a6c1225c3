"""The data of the CPU comparison: sizes, kinds of data, and the cases of each job."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from benchmarks.roofline import GRID, QUICK_GRID, Size

__all__ = ["DATA", "DTYPES", "SIZES", "Case", "Choice", "Problem", "cases", "problem"]

Floats = NDArray[Any]

#: the sizes that fit a small machine, of those that are measured on a GPU
SIZES = GRID[:7]
DTYPES = ("float32", "float64")

#: kinds of data: how far apart the centres of two blobs lie, in deviations; uniform has none
DATA = {"separated": 20.0, "overlapping": 3.0, "uniform": 0.0}

#: where the time depends on the data: fits and what they are made of are asked to do some work
_DATA_OF_JOB = {
    "fit": "overlapping",
    "memory": "overlapping",
    "minibatch": "overlapping",
    "scaling": "overlapping",
    "tiny": "overlapping",
    "converge": "separated",
}

_TINY = (
    Size("100 x 2, k=3", 100, 2, 3),
    Size("500 x 4, k=5", 500, 4, 5),
    Size("2000 x 16, k=8", 2000, 16, 8),
)
#: of the job that solves many
N_PROBLEMS = 200
#: sizes of jobs that have their own; those of many problems count the rows of all
_OWN_SIZES = {
    "bisecting": (
        Size("1797 x 64, k=10 (digits)", 1797, 64, 10),
        Size("50k x 8, k=200", 50_000, 8, 200),
        Size("200k x 16, k=16", 200_000, 16, 16),
        Size("1M x 2, k=10", 1_000_000, 2, 10),
        Size("100k x 128, k=8", 100_000, 128, 8),
        Size("20k x 512, k=16", 20_000, 512, 16),
    ),
    "cosine": (
        Size("2000 x 16, k=8", 2000, 16, 8),
        Size("100k x 16, k=8", 100_000, 16, 8),
        Size("50k x 256, k=64", 50_000, 256, 64),
        Size("20k x 128, k=256", 20_000, 128, 256),
    ),
    "batched": (
        Size(f"{N_PROBLEMS} of 500 x 8, k=8", N_PROBLEMS * 500, 8, 8),
        Size(f"{N_PROBLEMS} of 2000 x 16, k=8", N_PROBLEMS * 2000, 16, 8),
    ),
}
_QUICK_OWN_SIZE = Size(f"{N_PROBLEMS} of 10 x 3, k=3", N_PROBLEMS * 10, 3, 3)
_CONVERGE = Size("200k x 128, k=256", 200_000, 128, 256)
_QUICK_CONVERGE = Size("quick, to converge", 600, 8, 6)

#: scaling: what is varied, around which size
_MIDDLE = {"n_points": 200_000, "n_features": 16, "n_clusters": 32}
_QUICK_MIDDLE = {"n_points": 400, "n_features": 4, "n_clusters": 4}
_FACTORS = {"n_points": (1 / 4, 1 / 2, 1, 2, 4), "n_features": (1 / 4, 1, 4, 8)}
_FACTORS |= {"n_clusters": (1 / 4, 1, 4, 8)}
_SCALING_ITERATIONS = 10

#: row-by-centroid products, roughly, that a fit may take; a fit in a process of its own less
_MOST_WORK = 2e11
_FEWEST_ITERATIONS = 5
_MEMORY_ITERATIONS = 3
_DEFAULT_ITERATIONS = 300


class Choice(NamedTuple):
    """What of a job is to be measured.

    Parameters
    ----------
    sizes : sequence of Size
    dtypes : sequence of str
    data : str or None
        Kind of data; None for what the job is usually measured on.
    max_iter : int or None
        Of fits; None for 300, or less where that would take too long.
    is_quick : bool
        Whether sizes are tiny, and times mean nothing.
    """

    sizes: Sequence[Size]
    dtypes: Sequence[str]
    data: str | None = None
    max_iter: int | None = None
    is_quick: bool = False


class Case(NamedTuple):
    """One line of a job's table.

    Parameters
    ----------
    job, name : str
    size : Size
    dtype, data : str
    max_iter : int
        Iterations of a fit, at most.
    variant : str
        Which of a job's ways this is, where it has several.
    """

    job: str
    name: str
    size: Size
    dtype: str
    data: str
    max_iter: int
    variant: str = ""


class Problem(NamedTuple):
    """A case with its data.

    Parameters
    ----------
    case : Case
    points : array of shape (n_points, n_features)
    rows : array of shape (n_clusters, n_features)
        Different rows of the points, to begin from.
    """

    case: Case
    points: Floats
    rows: Floats

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return self.case.size.n_clusters


def cases(job: str, choice: Choice) -> Iterator[Case]:
    """Yield the cases of a job."""
    for dtype in choice.dtypes:
        if job == "tiny":
            yield from _tiny(dtype, choice)
        elif job == "converge":
            size = _QUICK_CONVERGE if choice.is_quick else _CONVERGE
            yield _case(job, size, dtype, choice, max_iter=_DEFAULT_ITERATIONS)
        elif job == "scaling":
            yield from _scaling(dtype, choice)
        elif job in _OWN_SIZES:
            for size in (_QUICK_OWN_SIZE,) if choice.is_quick else _OWN_SIZES[job]:
                yield _case(job, size, dtype, choice, max_iter=_affordable(size))
        else:
            sizes = QUICK_GRID if choice.is_quick else choice.sizes
            for size in sizes:
                max_iter = _MEMORY_ITERATIONS if job == "memory" else _affordable(size)
                yield _case(job, size, dtype, choice, max_iter=max_iter)


def _case(
    job: str, size: Size, dtype: str, choice: Choice, *, max_iter: int, variant: str = ""
) -> Case:
    data = choice.data or _DATA_OF_JOB.get(job, "uniform")
    if _is_digits(size):
        data = "digits"
    name = f"{size.name}, {variant}" if variant else size.name
    return Case(job, name, size, dtype, data, choice.max_iter or max_iter, variant)


def _tiny(dtype: str, choice: Choice) -> Iterator[Case]:
    for variant in ("n_init=10", "same work"):
        for size in _TINY[:1] if choice.is_quick else _TINY:
            yield _case("tiny", size, dtype, choice, max_iter=300, variant=variant)


def _scaling(dtype: str, choice: Choice) -> Iterator[Case]:
    middle = _QUICK_MIDDLE if choice.is_quick else _MIDDLE
    for axis, factors in _FACTORS.items():
        for factor in factors:
            shape = middle | {axis: int(middle[axis] * factor)}
            size = Size("{n_points} x {n_features}, k={n_clusters}".format(**shape), **shape)
            yield _case(
                "scaling", size, dtype, choice, max_iter=_SCALING_ITERATIONS, variant=f"by {axis}"
            )


def _affordable(size: Size) -> int:
    # Finding the least of a row's scores costs about what sixteen features do.
    work = size.n_points * size.n_clusters * (size.n_features + 16)
    return int(min(max(_MOST_WORK / work, _FEWEST_ITERATIONS), _DEFAULT_ITERATIONS))


def problem(case: Case) -> Problem:
    """Return a case's data: the same numbers each time, rounded to its dtype."""
    rng = np.random.default_rng(0)
    points = _digits() if _is_digits(case.size) else _drawn(case.size, DATA[case.data], rng)
    points = np.ascontiguousarray(points, dtype=case.dtype)
    rows = points[rng.choice(len(points), case.size.n_clusters, replace=False)]
    return Problem(case, points, rows)


def _is_digits(size: Size) -> bool:
    return size.name.endswith("(digits)")


def _digits() -> Floats:
    """Return the pictures with a little noise.

    Their integers lie exactly between two centroids here and there: where such a row goes is
    not said, and libraries whose results are to be compared would differ.
    """
    points: Floats = load_digits().data
    return points + np.random.default_rng(0).normal(scale=1e-3, size=points.shape)


def _drawn(size: Size, separation: float, rng: np.random.Generator) -> Floats:
    shape = size.n_points, size.n_features
    if not separation:
        return rng.random(shape, dtype=np.float32)
    # Two centres then lie `separation` apart on average; where many share few features, each
    # has the room that it would have alone.
    spread = separation / np.sqrt(2 * size.n_features) * size.n_clusters ** (1 / size.n_features)
    centres = rng.standard_normal((size.n_clusters, size.n_features), dtype=np.float32) * spread
    points = rng.standard_normal(shape, dtype=np.float32)
    labels = rng.integers(0, size.n_clusters, size.n_points)
    for start in range(0, size.n_points, 2**14):  # in parts: no second array of this size
        part = slice(start, start + 2**14)
        points[part] += centres[labels[part]].astype(np.float32, copy=False)
    return points
