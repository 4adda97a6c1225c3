"""Labels of sparse rows from products added in float32, with a proof; doubtful rows in float64.

A vector holds twice as many numbers of float32 as of float64, and a centroid of float64 takes half
the cache lines. The labels are those of float64: a row whose greatest score leads by less than the
rounding is scored again.
"""

from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from kmeans_xp.kernels.for_numba.compiled import (
    COLUMNS,
    COUNT,
    LABEL_RESULTS,
    NUMBER,
    NUMBERS,
    NUMBERS_32,
    NUMBERS_64,
    RESULTS_32,
    ROWS,
    STARTS,
    SUMS,
    compiled,
    inline,
)
from kmeans_xp.kernels.for_numba.emitted.sparse_vectors import (
    LANES,
    MOST_UNITS,
    UNIT,
    keep_certain,
    keep_greatest,
)
from kmeans_xp.kernels.for_numba.sparse_panels import (
    arrays_of,
    biases_of,
    first_unit,
    in_ranges,
    n_groups_of,
    n_packing_tasks,
    origin_of,
    pack_features,
    row_cost,
)
from kmeans_xp.kernels.for_numba.tiling import Floats, Labels, n_tasks_for, numbers_on_a_line
from kmeans_xp.kernels.sparse_rows import SparseRows

__all__ = [
    "SCORED",
    "NarrowPanel",
    "certain_labels",
    "label_certain",
    "may_be_certain",
    "n_wide_groups_of",
    "note_doubts",
    "reaches_of",
]

#: minimum of units in a group: one visit of a row costs more than a larger group in the cache
_FEWEST_UNITS = 8
_TILE_ROWS = 1024
#: minimum of rows for a doubtful one: to score it again takes about ten times as long
_DOUBTFUL = 16
#: rounding of float32, with a tenth more for what the bound leaves out: rounding in float64, and
#: products of roundings
_EPS = 1.1 * 2.0**-24
#: of numbers and roundings in a row more than its stored ones
_MORE = 8
#: what is less may have vanished in float32: added to each length
_LEAST = 2.0**-50
#: no square or product of numbers up to this is too large for float32
_GREATEST = 1e18
_FLOAT32 = np.dtype(np.float32)
#: nanoseconds for a stored number and a unit of scores, and for the square of a number
SCORED, _SQUARED = 0.25, 0.5


class NarrowPanel(NamedTuple):
    """Centroids in float32, laid out as in ``Panel``, and what bounds the error of their scores.

    Parameters
    ----------
    numbers : array of float32
    biases : array of float64
        As in ``Panel``, to the bit.
    n_units, n_groups : int
    slope, least : float
        A score differs from that of float64 by at most half of ``slope`` times the row's reach,
        plus half of ``least``.
    """

    numbers: NDArray[np.float32]
    biases: NDArray[np.float64]
    n_units: int
    n_groups: int
    slope: float
    least: float

    @classmethod
    def of(cls, centroids: Floats, rows: SparseRows) -> "NarrowPanel":
        """Return centroids as a panel for rows."""
        (n_clusters, n_features), origin = centroids.shape, origin_of(rows)
        n_units = -(-n_clusters // UNIT)
        n_groups = n_groups_of(n_units, n_features, _FLOAT32, _FEWEST_UNITS)
        numbers = numbers_on_a_line(n_units * UNIT * n_features, _FLOAT32)

        # In float32 both do the same, and a fit has compiled the one for panels.
        lay_out = (pack_features if centroids.dtype == _FLOAT32 else _pack_narrow)[centroids.dtype]

        def pack(start: int, stop: int) -> Floats:
            norms = np.zeros(n_units * UNIT)
            lay_out(centroids, origin, n_groups, start, stop, numbers, norms)
            return norms

        parts = in_ranges(pack, n_features, n_packing_tasks(n_clusters, n_features))
        biases = biases_of(parts, n_clusters)
        errors = _errors(biases[:n_clusters], _sq_origin(rows))
        return cls(numbers, biases, n_units, n_groups, *errors)


def _sq_origin(rows: SparseRows) -> float:
    """Return the squared length of the origin, which the rows keep."""
    kept: float | None = rows.kept.get("sq_origin")
    if kept is None:
        with np.errstate(over="ignore"):
            kept = float(np.square(origin_of(rows).astype(np.float64)).sum())
        rows.kept["sq_origin"] = kept
    return kept


def _errors(biases: NDArray[np.float64], sq_origin: float) -> tuple[float, float]:
    """Return the slope and the least of a panel's errors."""
    least, greatest = float(biases.min()), float(biases.max())
    # |c|^2 / 2 + c . origin = |c + origin|^2 / 2 - |origin|^2 / 2
    length = (max(sq_origin - 2.0 * least, 0.0) * 1.01) ** 0.5 + (sq_origin * 1.01) ** 0.5
    if not length < _GREATEST:  # or it is not a number
        return np.inf, np.inf
    return 2.0 * _EPS * (length + _LEAST), 2.0**-50 * max(-least, greatest)


_pack_features = inline(pack_features.function)


@compiled(ROWS, NUMBERS, COUNT, COUNT, COUNT, RESULTS_32, SUMS)
def _pack_narrow(centroids, origin, n_groups, start, stop, numbers, norms):
    """Do what ``pack_features`` does, with numbers rounded to float32, and the same norms."""
    _pack_features(centroids, origin, n_groups, start, stop, numbers, norms)


@compiled(NUMBERS, STARTS, COUNT, COUNT, RESULTS_32)
def _write_reaches(numbers, starts, start, stop, reaches):
    """Write what multiplies the greatest length of a centroid in the error of a row's scores."""
    four = np.uint64(4)
    for row in range(start, stop):
        first, last = np.uint64(starts[row]), np.uint64(starts[row + 1])
        a = b = c = d = 0.0
        whole = first + (last - first) // four * four
        for place in range(first, whole, four):  # four sums: one would wait for itself
            a += np.float64(numbers[place]) ** 2
            b += np.float64(numbers[place + np.uint64(1)]) ** 2
            c += np.float64(numbers[place + np.uint64(2)]) ** 2
            d += np.float64(numbers[place + np.uint64(3)]) ** 2
        for place in range(whole, last):
            a += np.float64(numbers[place]) ** 2
        length, n_roundings = np.sqrt(a + b + c + d), np.float64(last - first) + _MORE
        # (1 + eps)^n - 1 is at most 1.04 n eps for this many.
        is_small = length < _GREATEST and n_roundings < 2.0**20
        reach = n_roundings * (length + _LEAST) * 1.01 if is_small else np.inf
        reaches[row] = np.float32(reach)


def reaches_of(rows: SparseRows) -> NDArray[np.float32]:
    """Return the rows' part of the error of their scores, which the rows keep."""
    kept: NDArray[np.float32] | None = rows.kept.get("reaches")
    if kept is not None:
        return kept
    reaches, (numbers, _, starts) = np.empty(rows.n_points, np.float32), arrays_of(rows)

    def write(start: int, stop: int) -> None:
        _write_reaches[numbers.dtype](numbers, starts, start, stop, reaches)

    in_ranges(write, rows.n_points, n_tasks_for(rows.n_points, row_cost(rows, _SQUARED)))
    rows.kept["reaches"] = reaches
    return reaches


@inline
def _exact_label(numbers, columns, start, stop, centroids, biases, room, n_groups, best, label):
    """Write the label of a row from sums of float64, as ``label_rows`` finds it."""
    n_units, n_stored = len(biases) // UNIT, stop - start
    # A panel of those features alone which the row has numbers of.
    own, places, panel = room
    own[0], places[0] = 0.0, 0  # read even of a row without numbers, and multiplied by zero
    for member in range(MOST_UNITS * UNIT):
        panel[member] = 0.0
    for place in range(n_stored):
        own[place], places[place] = numbers[start + place], place
    best[0], label[0] = -np.inf, 0
    for group in range(n_groups):
        unit = first_unit(group, n_groups, n_units)
        size = first_unit(group + 1, n_groups, n_units) - unit
        first, width = unit * UNIT, size * UNIT
        for place in range(n_stored):
            column = columns[start + place]
            for member in range(width):
                is_there = first + member < len(centroids)
                number = centroids[first + member, column] if is_there else 0.0
                panel[place * width + member] = number
        keep_greatest(panel, size, 0, own, places, 0, n_stored, biases, first, best, label, 0)


@compiled(
    *(NUMBERS, COLUMNS, STARTS, COUNT, COUNT, NUMBERS_32, ROWS, COUNT),
    *(NUMBERS_32, NUMBERS_64, COUNT, COUNT, NUMBER, NUMBER, LABEL_RESULTS),
    returns=types.boolean,
)
def label_certain(
    numbers,
    columns,
    starts,
    start,
    stop,
    reaches,
    centroids,
    n_wide_groups,
    panel,
    biases,
    n_units,
    n_groups,
    slope,
    least,
    labels,
):
    """Write the labels of some rows; stop and return False if too many are doubtful."""
    n_features, n_left, n_most = centroids.shape[1], 1 + (stop - start) // _DOUBTFUL, 1
    best, found = np.empty(_TILE_ROWS), np.empty(_TILE_ROWS, np.int32)
    doubts = np.empty(_TILE_ROWS, np.uint8)
    own, places = np.empty(n_most, numbers.dtype), np.empty(n_most, np.int32)
    wide, label = np.empty(n_most * MOST_UNITS * UNIT, numbers.dtype), np.empty(1, np.int32)
    for tile in range(start, stop, _TILE_ROWS):
        n_rows = min(_TILE_ROWS, stop - tile)
        for number in range(n_rows):
            best[number], found[number], doubts[number] = -np.inf, 0, 1
        for group in range(n_groups):
            unit = first_unit(group, n_groups, n_units)
            size = first_unit(group + 1, n_groups, n_units) - unit
            first = unit * UNIT
            for number in range(n_rows):
                row = tile + number
                margin = slope * np.float64(reaches[row]) + least
                keep_certain(
                    *(panel, size, first * n_features, numbers, columns),
                    *(starts[row], starts[row + 1], biases, first),
                    *(margin, best, found, doubts, number),
                )
        for number in range(n_rows):
            if not doubts[number]:
                labels[tile + number] = found[number]
                continue
            n_left -= 1
            if n_left < 0:
                return False
            first, last = starts[tile + number], starts[tile + number + 1]
            if last - first > n_most:
                n_most = 2 * (last - first)
                own, places = np.empty(n_most, numbers.dtype), np.empty(n_most, np.int32)
                wide = np.empty(n_most * MOST_UNITS * UNIT, numbers.dtype)
            _exact_label(
                *(numbers, columns, first, last, centroids, biases, (own, places, wide)),
                *(n_wide_groups, best, label),
            )
            labels[tile + number] = label[0]
    return True


def certain_labels(rows: SparseRows, centroids: Floats) -> Labels | None:
    """Return the labels of float64, or None if the proof leaves too many rows in doubt."""
    if not may_be_certain(rows, len(centroids)):
        return None
    labels, panel = np.empty(rows.n_points, np.int32), NarrowPanel.of(centroids, rows)
    label = label_certain[centroids.dtype]
    shared = (reaches_of(rows), centroids, n_wide_groups_of(centroids), *panel, labels)

    def labelled(start: int, stop: int) -> bool:
        is_done: bool = label(*arrays_of(rows), start, stop, *shared)
        return is_done

    n_tasks = n_tasks_for(rows.n_points, row_cost(rows, SCORED * panel.n_units))
    if all(in_ranges(labelled, rows.n_points, n_tasks)):
        return labels
    note_doubts(rows)
    return None


def may_be_certain(rows: SparseRows, n_clusters: int) -> bool:
    """Return whether a proof saves time, and has not failed yet for these rows."""
    # The scores of few clusters fit one vector of float64.
    return n_clusters > LANES and "doubts" not in rows.kept


def note_doubts(rows: SparseRows) -> None:
    """Remember that a proof has failed: it would most likely fail at each step."""
    rows.kept["doubts"] = True


def n_wide_groups_of(centroids: Floats) -> int:
    """Return the number of groups in the panel that defines the labels."""
    return n_groups_of(-(-len(centroids) // UNIT), centroids.shape[1], centroids.dtype)
