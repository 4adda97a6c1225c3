"""Distances from differences, the candidates of k-means++, and random numbers of rows.

Overrides return Any because they may return ``NotImplemented``.
"""

from typing import Any, NamedTuple

import cupy
import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import Array, Namespace, is_out_of_memory, within_budget
from kmeans_xp.kernels.for_cupy.launching import (
    C_TYPES,
    MOST_BLOCKS,
    MOST_RUNS,
    N_THREADS,
    NULL,
    ManyRows,
    are_plain,
    launch,
    row_arguments,
    runs_over,
    split,
    types_of,
)
from kmeans_xp.kernels.for_cupy.replay import replayed
from kmeans_xp.kernels.for_cupy.sums import merged
from kmeans_xp.kernels.portable.assignment import assigned_inertia, assigned_sq_distances
from kmeans_xp.kernels.portable.seeding import (
    Candidate,
    candidate_potentials,
    chosen_at_once,
    closer_of,
    drawn,
    starts_at_once,
)
from kmeans_xp.kernels.portable.uniforms import row_uniforms
from kmeans_xp.kernels.rows import DenseRows, Rows

__all__ = ["added_to_runs", "batched_inertia", "starts_of_runs"]

#: padded numbers of k-means++ candidates with compiled kernels
_CANDIDATES = (1, 4, 8, 16)
#: minimum amount of numbers for a block that measures candidates, and maximum number of blocks
_FEWEST_NUMBERS = 2**15
_MOST_MEASURING = 2048
#: distances of candidates that are kept; for more rows each centre reads the rows twice instead
_MOST_KEPT_BYTES = 2**32
#: most memory of several starts at once
_STARTS_BYTES = 2**28
#: from this size of a row in bytes, first check whether it must be read
_WIDE_ROW_BYTES = 128
#: Maximum number of draws that each read the rows of a block; for more, a running total is faster.
_MOST_DRAWN = 256
#: centres from which a graph is worth its making, and numbers that are read faster than launched
_FEWEST_REPLAYED = 16
_FEW_NUMBERS = 2**22


@assigned_sq_distances.override("cupy", rows=DenseRows)
def distances_across_lanes(
    rows: DenseRows, labels: Array, centroids: Array, *, xp: Namespace
) -> Any:
    """Compute the differences of a row in several threads of a warp."""
    types = types_of(rows, centroids)
    return NotImplemented if types is None else _distances(rows, labels, centroids, types)[0]


def _distances(
    rows: DenseRows | ManyRows, labels: Array, centroids: Array, types: tuple[str, str]
) -> Array:
    """Return the squared distance of each row to its centroid, (n_runs, n_points)."""
    problems, n_runs = runs_over(rows)
    out = cupy.empty((n_runs, rows.n_points), dtype=centroids.dtype)
    n_lanes = _lanes_of(rows)
    launch(
        f"assigned_distances<{types[0]}, {types[1]}>",
        "seeding.cu",
        (-(-rows.n_points * n_lanes // N_THREADS), n_runs),
        (
            *row_arguments(rows),
            problems,
            cupy.ascontiguousarray(labels, dtype=np.int32),
            centroids,
            np.int64(rows.n_points),
            np.int32(rows.n_features),
            np.int32(centroids.shape[-2]),
            np.int32(n_lanes),
            out,
        ),
    )
    return out


@assigned_inertia.override("cupy", rows=DenseRows)
def added_across_lanes(rows: DenseRows, labels: Array, centroids: Array, *, xp: Namespace) -> Any:
    """Add up distances while they are in registers."""
    types = types_of(rows, centroids)
    return NotImplemented if types is None else _inertia(rows, labels, centroids, types)[0]


def batched_inertia(rows: ManyRows, labels: Array, centroids: Array) -> Array:
    """Return the inertia of each run, (n_runs,)."""
    types = types_of(rows, centroids)
    assert types is not None
    return _inertia(rows, labels, centroids, types)


def _inertia(
    rows: DenseRows | ManyRows, labels: Array, centroids: Array, types: tuple[str, str]
) -> Array:
    problems, n_runs = runs_over(rows)
    rows_per_block, n_blocks = split(rows.n_points, MOST_BLOCKS)
    parts = cupy.empty((n_blocks, n_runs), dtype=np.float64)
    launch(
        f"inertia_parts<{types[0]}, {types[1]}>",
        "seeding.cu",
        (n_blocks, n_runs),
        (
            *row_arguments(rows, with_weights=True),
            problems,
            cupy.ascontiguousarray(labels, dtype=np.int32),
            centroids,
            np.int64(rows.n_points),
            np.int32(rows.n_features),
            np.int32(centroids.shape[-2]),
            np.int32(_lanes_of(rows)),
            np.int64(rows_per_block),
            parts,
        ),
    )
    return merged(parts)


def _lanes_of(rows: DenseRows | ManyRows) -> int:
    """Return the number of threads that share a row, so that each has something to read."""
    return min(32, 1 << (rows.n_features - 1).bit_length()) if rows.n_features else 1


class _Measuring(NamedTuple):
    """Optional work of ``measure_candidates`` beside measuring; null for what is not wanted."""

    kept: Any = NULL
    keeps_least: bool = False
    partials: Any = NULL
    slack: float = 0.0
    indices: Any = NULL
    state: Any = NULL
    chosen: Any = NULL
    chosen_points: Any = NULL
    labels: Any = NULL
    quarters: Any = NULL


@candidate_potentials.override("cupy", rows=DenseRows)
def one_pass_potentials(
    rows: DenseRows, closest: Array, candidates: Array, *, xp: Namespace
) -> Any:
    """Measure each row to all candidates from one read."""
    if not _takes(rows, closest, candidates):
        return NotImplemented
    _, n_blocks = _measuring_blocks(rows)
    partials = cupy.empty((n_blocks, len(candidates)), dtype=np.float64)
    _measure(rows, closest, candidates, _Measuring(partials=partials))
    return merged(partials)


@closer_of.override("cupy", rows=DenseRows)
def fused_fold(rows: DenseRows, closest: Array, candidate: Array, *, xp: Namespace) -> Any:
    """Compute the difference and the minimum in one launch."""
    if not _takes(rows, closest, candidate):
        return NotImplemented
    out = cupy.empty_like(closest)
    _measure(rows, closest, candidate, _Measuring(kept=out, keeps_least=True))
    return out


@chosen_at_once.override("cupy", rows=DenseRows)
def chosen_without_the_host(
    rows: DenseRows, closest: Array, last: Array | None, trials: Array, *, xp: Namespace
) -> Any:
    """Use few launches and one pass over the rows for each centre; replay them for few rows.

    The distances of all candidates are kept, so that folding in the chosen one reads no row
    again; the choice stays on the device. If rows are many and long, those are skipped that are
    nearer to a centre than to any candidate by the triangle inequality.
    """
    if not _chooses_at_once(rows, closest, last, trials):
        return None
    choosing = _chosen(rows, closest[None, :], last, trials[None, :, :])
    return Candidate(choosing.indices[:, 0], choosing.centres[1:, 0, :])


@starts_at_once.override("cupy", rows=DenseRows)
def starts_in_one_grid(
    rows: DenseRows, uniforms: NDArray[Any], n_clusters: int, *, xp: Namespace
) -> Any:
    """Choose the rows of all runs in the same launches, if one run leaves most of a device idle."""
    types, n_runs = types_of(rows), len(uniforms)
    if types is None or rows.points.size > _FEW_NUMBERS or n_runs > MOST_RUNS:
        return None
    # For each row, the distances to the candidates, and two to the nearest.
    n_numbers = rows.n_points * ((uniforms.shape[1] - 1) // max(1, n_clusters - 1) + 2)
    if 8 * n_runs * n_numbers > within_budget(_STARTS_BYTES):
        return None
    origin = rows.origin
    if origin is None:
        computed = np.float64 if types[1] == "double" else np.float32
        origin = cupy.zeros(rows.n_features, dtype=computed)
    weights = None if rows.weights is None else rows.weights[None, :]
    runs = cupy.zeros(n_runs, dtype=np.int32)
    one = ManyRows(rows.points[None, :, :], weights, origin[None, :], runs)
    try:
        return starts_of_runs(one, uniforms, n_clusters)
    except Exception as error:
        if not is_out_of_memory(error, xp=xp):
            raise
        return None  # one start after another needs less


def starts_of_runs(rows: ManyRows, uniforms: NDArray[Any], n_clusters: int) -> Array | None:
    """Return initial centroids of each run, (n_runs, n_clusters, n_features); None to decline.

    They are bit-identical to those of ``kmeans_plusplus`` with the numbers ``uniforms``,
    (n_runs, 1 + (n_clusters - 1) * n_trials).
    """
    n_runs = len(uniforms)
    trials = uniforms[:, 1:].reshape(n_runs, n_clusters - 1, -1 if n_clusters > 1 else 0)
    dtype = rows.origin.dtype
    closest = cupy.ones((len(rows.problems), rows.n_points), dtype=dtype)
    if rows.weights is None:
        # Draw it in the same way as for a single problem.
        drawn = np.minimum(uniforms[:, 0] * rows.n_points, rows.n_points - 1)
        first = cupy.asarray(drawn.astype(np.int64))
    else:
        of_first = cupy.asarray(np.ascontiguousarray(uniforms[:, :1]))
        first = _drawn(rows, closest, of_first, exceeds=True)[:, 0]
    points = rows.points[rows.problems, first].astype(dtype, copy=False)
    last = points - rows.origin[rows.problems]
    if n_clusters == 1:
        return last[:, None, :]
    closest[...] = np.inf
    of_runs = cupy.asarray(np.ascontiguousarray(trials))
    if not _chooses_at_once(rows, closest, last, of_runs[0]):
        return None
    centres = _chosen(rows, closest, last, of_runs).centres
    return cupy.ascontiguousarray(centres.transpose(1, 0, 2))


def added_to_runs(
    rows: ManyRows, uniforms: NDArray[Any], given: Array, labels: Array
) -> Array | None:
    """Return given centroids of each run with the rows that ``more_centroids`` adds, or None.

    ``given`` are (n_runs, n_given, n_features), and ``labels`` those of the nearest of them;
    ``uniforms`` are (n_runs, n_more, n_trials).
    """
    types = types_of(rows, given)
    if types is None:
        return None
    closest = _distances(rows, labels, given, types)
    trials = cupy.asarray(np.ascontiguousarray(uniforms))
    if not _chooses_at_once(rows, closest, None, trials[0]):
        return None
    centres = _chosen(rows, closest, None, trials).centres[1:]
    return cupy.concatenate([given, centres.transpose(1, 0, 2)], axis=1)


def _chosen(
    rows: DenseRows | ManyRows, closest: Array, last: Array | None, trials: Array
) -> "_Choosing":
    """Choose all centres of each run, and return the state; first check ``_chooses_at_once``."""
    choosing = _Choosing(rows, closest, last, trials)
    choosing.take(closest, NULL if last is None else choosing.measuring.kept)
    n_left = trials.shape[1] - 1
    if n_left >= _FEWEST_REPLAYED and rows.points.size <= _FEW_NUMBERS:
        replayed(choosing.take_next, n_left)
    else:
        for _ in range(n_left):
            choosing.take_next()
    return choosing


def _chooses_at_once(
    rows: DenseRows | ManyRows, closest: Array, last: Array | None, trials: Array
) -> bool:
    """Return whether there are a kernel, and memory for the distances of all candidates."""
    n_centres, n_trials = trials.shape
    is_short = within_budget(_MOST_KEPT_BYTES) < _MOST_KEPT_BYTES  # as after memory ran out
    is_short |= n_trials * closest.nbytes > _MOST_KEPT_BYTES
    is_plain = trials.dtype == np.float64 and are_plain(trials)
    given = (closest,) if last is None else (closest, last)
    is_few = 0 < n_trials <= _CANDIDATES[-1] and rows.n_features > 0
    has_kernel = is_few and types_of(rows, *given) is not None
    return n_centres > 0 and not is_short and is_plain and has_kernel


class _Choosing:
    """The arrays of each run, for all centres, and the launches for one centre."""

    def __init__(
        self, rows: DenseRows | ManyRows, closest: Array, last: Array | None, trials: Array
    ) -> None:
        (n_runs, n_centres, n_trials), dtype = trials.shape, closest.dtype
        self.rows, self.trials = rows, trials
        self.candidates = cupy.empty((n_runs, n_trials, rows.n_features), dtype=dtype)
        self.nearest = cupy.empty_like(closest)
        self.indices = cupy.empty((n_centres, n_runs), dtype=np.int64)
        self.centres = cupy.empty((1 + n_centres, n_runs, rows.n_features), dtype=dtype)
        self.blocks = _Blocks(rows, n_runs)
        n_measuring = _measuring_blocks(rows)[1]
        self.measuring = _Measuring(
            kept=cupy.empty((n_trials, n_runs, rows.n_points), dtype=dtype),
            partials=cupy.empty((n_runs, n_measuring, n_trials), dtype=np.float64),
            slack=1e-12 if dtype == np.float64 else 1e-6,
            indices=cupy.empty((n_runs, n_trials), dtype=np.int64),
            state=cupy.zeros((n_runs, 3), dtype=np.int32),  # Seeding, in seeding.cu
            chosen=self.indices,
            chosen_points=self.centres[1:],
        )
        is_long = rows.n_features * rows.points.dtype.itemsize >= _WIDE_ROW_BYTES
        if isinstance(rows, DenseRows) and rows.points.size > _FEW_NUMBERS and is_long:
            self.measuring = self.measuring._replace(
                labels=cupy.empty(rows.n_points, dtype=np.int32),
                quarters=cupy.empty((1 + n_centres, n_trials), dtype=dtype),
            )
        if last is not None:
            self.centres[0] = last
            # Use the same width as the others, to avoid the compilation of a further kernel.
            _measure(
                rows,
                closest,
                last[:, None, :],
                _Measuring(kept=self.measuring.kept),
                width=n_trials,
            )

    def take_next(self) -> None:
        """Choose one more centre."""
        self.take(self.nearest, self.measuring.kept)

    def take(self, before: Array, of_last: Any) -> None:
        """Choose a centre from each row's distances to the last centre and the nearest before."""
        rows, asked = self.rows, self.measuring
        _fold(rows, before, of_last, asked, self.nearest, self.blocks)
        _draw(rows, self.nearest, self.blocks, self.trials, asked, self.candidates)
        if asked.labels is not NULL:
            self._measure_centres()
        _measure(rows, self.nearest, self.candidates, asked)

    def _measure_centres(self) -> None:
        """Find the centres with no candidate near, whose rows need not be read."""
        _, n_trials, n_features = self.candidates.shape
        dtype = self.candidates.dtype
        # The error of each of three distances is at most n_features + 3 roundings, plus, for each
        # feature, a square that is too small for the dtype.
        share = dtype.type(0.25 * (1.0 - 8 * (n_features + 6) * np.finfo(dtype).eps))
        least = dtype.type(n_features * 1e3 * np.finfo(dtype).tiny)
        launch(
            f"centre_distances<{C_TYPES[dtype.name][1]}>",
            "seeding.cu",
            -(-len(self.centres) * 32 // N_THREADS),
            (
                *(self.centres, self.candidates, np.int32(n_trials), np.int32(n_features)),
                *(self.measuring.state, share, least, self.measuring.quarters),
            ),
        )


class _Blocks:
    """The division of rows into blocks to draw from, and the mass of each block of each run."""

    def __init__(self, rows: DenseRows | ManyRows, n_runs: int) -> None:
        self.n_rows, self.n_blocks = split(rows.n_points, MOST_BLOCKS)
        self.mass = cupy.empty((n_runs, self.n_blocks), dtype=np.float64)


def _fold(
    rows: DenseRows | ManyRows,
    before: Array,
    of_last: Any,
    asked: _Measuring,
    nearest: Any,
    blocks: _Blocks,
) -> None:
    """Fold in the last choice, if its distances were kept, and add up the mass for draws."""
    problems, _ = runs_over(rows)
    _, weights, _ = row_arguments(rows, with_weights=True)
    launch(
        f"fold_chosen<{C_TYPES[before.dtype.name][1]}>",
        "seeding.cu",
        (blocks.n_blocks, len(blocks.mass)),
        (
            *(before, of_last, weights, problems, asked.state),
            *(np.int64(rows.n_points), np.int64(blocks.n_rows)),
            *(nearest, asked.labels, blocks.mass),
        ),
    )


def _draw(
    rows: DenseRows | ManyRows,
    closest: Array,
    blocks: _Blocks,
    uniforms: Array,
    asked: _Measuring,
    candidates: Any = NULL,
    *,
    exceeds: bool = False,
) -> None:
    """Draw rows and write their indices, (n_runs, n_drawn)."""
    types = types_of(rows)
    assert types is not None
    n_runs, n_drawn = asked.indices.shape
    points, weights, origin = row_arguments(rows, with_weights=True)
    launch(
        f"draw_candidates<{types[0]}, {types[1]}>",
        "seeding.cu",
        (n_drawn, n_runs),
        (
            *(points, weights, origin, runs_over(rows)[0], closest),
            *(blocks.mass, np.int32(blocks.n_blocks)),
            *(uniforms, np.int64(uniforms.size // n_runs), np.int32(exceeds)),
            *(np.int64(rows.n_points), np.int32(rows.n_features), np.int64(blocks.n_rows)),
            *(asked.state, asked.indices, candidates),
        ),
    )


def _drawn(rows: DenseRows | ManyRows, values: Array, uniforms: Array, *, exceeds: bool) -> Array:
    """Return rows drawn in proportion to weight times value, (n_runs, n_drawn)."""
    n_runs, n_drawn = uniforms.shape
    blocks = _Blocks(rows, n_runs)
    asked = _Measuring(indices=cupy.empty((n_runs, n_drawn), dtype=np.int64))
    _fold(rows, values, NULL, asked, NULL, blocks)
    _draw(rows, values, blocks, uniforms, asked, exceeds=exceeds)
    return asked.indices


@drawn.override("cupy")
def drawn_in_two_launches(
    values: Array, weights: Array | None, uniforms: Array, side: str, *, xp: Namespace
) -> Any:
    """Find the block of rows by its mass, then the row in it, without a running total."""
    is_plain = uniforms.dtype == np.float64 and are_plain(uniforms)
    rows = DenseRows(values[:, None], weights)  # the points are not read
    if not is_plain or not 0 < len(uniforms) <= _MOST_DRAWN or types_of(rows, values) is None:
        return NotImplemented
    return _drawn(rows, values[None, :], uniforms[None, :], exceeds=side == "right")[0]


def _takes(rows: DenseRows, closest: Array, candidates: Array, *others: Array) -> bool:
    is_few = 0 < len(candidates) <= _CANDIDATES[-1] and rows.n_features > 0
    return is_few and types_of(rows, closest, candidates, *others) is not None


def _measuring_blocks(rows: DenseRows | ManyRows) -> tuple[int, int]:
    n_numbers = rows.n_points * rows.n_features
    return split(rows.n_points, min(_MOST_MEASURING, -(-n_numbers // _FEWEST_NUMBERS)))


def _measure(
    rows: DenseRows | ManyRows,
    closest: Array,
    candidates: Array,
    asked: _Measuring,
    width: int = 0,
) -> None:
    types = types_of(rows)
    assert types is not None
    *_, n_candidates, n_features = candidates.shape
    problems, n_runs = runs_over(rows)
    padded = next(each for each in _CANDIDATES if each >= max(n_candidates, width))
    rows_per_block, n_blocks = _measuring_blocks(rows)
    launch(
        f"measure_candidates<{types[0]}, {types[1]}, {padded}>",
        "seeding.cu",
        (n_blocks, n_runs),
        (
            *row_arguments(rows, with_weights=True),
            problems,
            closest,
            candidates,
            np.int64(rows.n_points),
            np.int32(n_features),
            np.int32(n_candidates),
            np.int64(rows_per_block),
            asked.kept,
            np.int32(asked.keeps_least),
            asked.partials,
            np.float64(asked.slack),
            *asked[4:],
        ),
    )


@row_uniforms.override("cupy")
def philox_on_device(
    rows: Rows, start: int, key: tuple[int, int], stream: int, *, xp: Namespace
) -> Any:
    """Make the numbers on the device, without an upload."""
    uniforms = cupy.empty(rows.n_points, dtype=np.float64)
    if rows.n_points:
        launch(
            "philox_uniforms",
            "seeding.cu",
            -(-rows.n_points // N_THREADS),
            (
                np.int64(start),
                np.int64(rows.n_points),
                *(np.uint64(part) for part in key),
                np.uint64(stream),
                uniforms,
            ),
        )
    return uniforms
