"""Hypothesis strategies: rows and centroids on the host, and their memory layouts."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import Library
from kmeans_xp.devices import memory
from tests import oracle

Floats = NDArray[Any]

#: kinds of data; "grid" has small integers everywhere, so that every sum and product is exact
KINDS = ("grid", "normal", "blobs", "far blobs", "scaled")
LAYOUTS = ("C", "Fortran", "columns", "strided rows", "reversed")
WEIGHTS = ("none", "random", "zeros")
FEW_SHAPES = ((1, 1, 1), (8, 1, 2), (53, 3, 5))


class Tiles(NamedTuple):
    """Rows and centroids that a tile is to hold."""

    n_rows: int
    n_columns: int


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows and centroids as NumPy arrays, and how the library's arrays are to be made of them.

    The values of ``points`` are numbers of ``dtype``, all others are of ``computing``.
    """

    points: Floats
    weights: Floats | None
    origin: Floats | None
    centroids: Floats
    dtype: str
    layout: str = "C"
    tiles: Tiles | None = None
    is_exact: bool = False

    @property
    def computing(self) -> str:
        """Name of the dtype that kernels compute in."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def centred(self) -> Floats:
        """The rows that every kernel sees: points - origin, rounded once."""
        points = self.points.astype(self.computing)
        return points if self.origin is None else points - self.origin

    @property
    def weights_or_ones(self) -> Floats:
        """The weights, in float64."""
        return np.ones(len(self.points)) if self.weights is None else self.weights.astype(float)

    @functools.cached_property
    def sq_distances(self) -> Floats:
        """Squared distance of every row to every centroid, by the oracle."""
        return oracle.sq_distances(self.centred.astype(float), self.centroids.astype(float))

    def cluster_sums(self, labels: NDArray[Any]) -> tuple[Floats, Floats]:
        """Return weighted sum and mass of the rows of each label, by the oracle."""
        return _cluster_sums(self, labels.astype(np.int64).tobytes())

    @functools.cached_property
    def restarts(self) -> "tuple[Problem, ...]":
        """The same rows with centroids of several starts, the first and the last its own."""
        halfway = (self.centroids + self.centroids[:1]) / 2
        starts = (self.centroids[::-1], halfway.round() if self.is_exact else halfway)
        return (self, *(replace(self, centroids=centroids) for centroids in starts), self)


# The same problem and labels come again for each body and each library.
@functools.lru_cache(maxsize=1000)
def _cluster_sums(problem: Problem, labels: bytes) -> tuple[Floats, Floats]:
    points, weights = problem.centred.astype(float), problem.weights_or_ones
    n_clusters = len(problem.centroids)
    return oracle.cluster_sums(points, weights, np.frombuffer(labels, np.int64), n_clusters)


@st.composite
def problems(
    draw: st.DrawFn, dtype: str, max_points: int = 200, few_shapes: bool = False
) -> Problem:
    """Draw a problem of 1 x 1 and up; of few shapes, for a library that compiles for each."""
    shapes = st.tuples(st.integers(1, max_points), st.integers(1, 10), st.integers(1, 12))
    if few_shapes:
        shapes = st.sampled_from(FEW_SHAPES)
    shape = draw(shapes, label="n_points, n_features, n_clusters")
    tiles = st.just(Tiles(11, 2)) if few_shapes else tilings(shape[0], shape[2])
    return problem_of(
        shape,
        dtype,
        kind=draw(st.sampled_from(KINDS), label="kind"),
        weights=draw(st.sampled_from(WEIGHTS), label="weights"),
        has_origin=draw(st.booleans(), label="has_origin"),
        # Half of them as most arrays are, since overrides may decline the others.
        layout=draw(st.just("C") | st.sampled_from(LAYOUTS), label="layout"),
        tiles=draw(st.none() | tiles, label="tiles"),
        seed=draw(st.integers(0, 2**32 - 1), label="seed"),
    )


def tilings(n_points: int, n_clusters: int, most: int = 8) -> st.SearchStrategy[Tiles]:
    """Draw tiles such that about ``most`` of them, or fewer, cover the rows."""
    rows = st.integers(-(-n_points // most), n_points)
    return st.builds(Tiles, rows, st.integers(1, n_clusters))


def problem_of(
    shape: tuple[int, int, int],
    dtype: str,
    *,
    kind: str = "normal",
    weights: str = "none",
    has_origin: bool = False,
    layout: str = "C",
    tiles: Tiles | None = None,
    seed: int = 0,
) -> Problem:
    """Return the problem of (n_points, n_features, n_clusters) that these choices name."""
    rng = np.random.default_rng(seed)
    is_exact = kind == "grid"
    points = rounded(_points(rng, shape, dtype, kind), dtype)
    problem = Problem(points, None, None, points, dtype, layout, tiles, is_exact)
    if has_origin:
        mean = points.mean(axis=0, dtype=np.float64)
        origin = (mean.round() if is_exact else mean).astype(problem.computing)
        problem = replace(problem, origin=origin)
    if weights != "none":
        drawn = _weights(rng, shape[0], weights, is_exact)
        problem = replace(problem, weights=drawn.astype(problem.computing))
    centroids = _centroids(rng, problem.centred, shape[2], is_exact)
    return replace(problem, centroids=centroids.astype(problem.computing))


def rounded(values: Floats, dtype: str) -> Floats:
    """Return the values rounded to the dtype; NumPy has no bfloat16, so those in float32."""
    if dtype != "bfloat16":
        return values.astype(dtype)
    bits = values.astype(np.float32).view(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def _points(rng: np.random.Generator, shape: tuple[int, int, int], dtype: str, kind: str) -> Floats:
    n_points, n_features, n_clusters = shape
    if kind == "grid":
        return rng.integers(-4, 5, (n_points, n_features)).astype(np.float64)
    points = rng.standard_normal((n_points, n_features))
    if kind == "normal":
        return points
    if kind == "scaled":
        return points * np.logspace(-3, 3, n_features)
    blobs = 100.0 * rng.permutation(n_clusters)[rng.integers(n_clusters, size=n_points)]
    offset = 0.0
    if kind == "far blobs":
        offset = rng.choice([1e4, 1e6]) if dtype in ("float32", "float64") else 1e4
    return offset + blobs[:, None] + points


def _weights(rng: np.random.Generator, n_points: int, kind: str, is_exact: bool) -> Floats:
    weights = rng.integers(1, 4, n_points) if is_exact else rng.uniform(0.1, 2.0, n_points)
    return weights * (rng.random(n_points) < 0.6) if kind == "zeros" else weights


def _centroids(
    rng: np.random.Generator, centred: Floats, n_clusters: int, is_exact: bool
) -> Floats:
    """Rows, some of them twice, and points near rows."""
    centroids = centred[rng.integers(len(centred), size=n_clusters)].astype(np.float64)
    moved = rng.random(n_clusters) < 0.5
    steps = rng.integers(-1, 2, centroids.shape) if is_exact else rng.normal(size=centroids.shape)
    return centroids + moved[:, None] * steps


def laid_out(values: NDArray[Any], dtype: str, layout: str, library: Library) -> Any:
    """Return the values as an array of the library with this memory layout."""
    xp = library.xp

    def made(values: NDArray[Any]) -> Any:
        if dtype == "bfloat16":
            return xp.astype(library.asarray(values, "float32"), xp.bfloat16)
        return library.asarray(values, dtype)

    if layout == "Fortran" and values.ndim == 2:
        return xp.matrix_transpose(made(np.ascontiguousarray(values.T)))
    if layout == "columns" and values.ndim == 2:
        return made(np.pad(values, ((0, 0), (1, 2)), constant_values=9))[:, 1:-2]
    if layout == "strided rows" and values.ndim:
        return made(np.repeat(values, 3, axis=0))[::3, ...]
    if layout == "reversed":
        return xp.flip(made(np.flip(values)))
    return made(values)


def library_without_float64() -> Library:
    """Return array-api-strict on its device that stands for those without float64."""
    import array_api_strict as xp

    cpu, device = xp.Device("CPU_DEVICE"), xp.Device("no_float64")
    return Library(xp.__name__, "no_float64", xp, device, lambda array: array.to_device(cpu))


@contextmanager
def tiled(tiles: Tiles | None, n_features: int) -> Iterator[None]:
    """Let a tile of scores hold no more than these rows and centroids; None for the default."""
    if tiles is None:
        yield
        return
    widest = max(tiles.n_columns, n_features)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_CPU_TILE_BYTES", "_ACCELERATOR_TILE_BYTES", "_SMALLEST_TILE_BYTES"):
            patch.setattr(memory, name, 8 * tiles.n_rows * widest)
        patch.setattr(memory, "_WANTED_ROWS", max(1, tiles.n_rows * widest // tiles.n_columns))
        yield
