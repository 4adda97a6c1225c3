"""Mean distances to clusters: measure each pair of rows once, and add it to the sums of both."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmeans_xp.devices import within_budget
from kmeans_xp.kernels.for_numba.compiled import (
    COUNT,
    FLAG,
    INDICES,
    NUMBERS,
    RESULTS,
    ROWS,
    SUMS,
    compiled,
)
from kmeans_xp.kernels.for_numba.emitted.silhouette_vectors import (
    MEMBERS,
    add_both_ways,
    add_one_way,
)
from kmeans_xp.kernels.for_numba.emitted.vectors import PANEL, panel_rows
from kmeans_xp.kernels.for_numba.tiling import Floats, Labels, override
from kmeans_xp.kernels.portable.silhouette import SilhouetteDistances, silhouette_distances
from kmeans_xp.kernels.rows import DenseRows
from kmeans_xp.kernels.threads import in_threads

__all__: list[str] = []

#: pairs are measured once if the sums of all rows to all clusters take at most this many bytes
_MOST_SUMS = 2**26
#: bytes of the sums of a task, if all sums are larger
_SUMS_OF_TASK = 2**22
#: maximum padding of panels, as a fraction of the rows plus a constant: small clusters leave most
#: of a panel empty
_MOST_FILLING = 1.5
_SOME_FILLING = 4096
#: range of the spread of float32 rows in which squares neither overflow nor lose digits
_LEAST_SPREAD, _MOST_SPREAD = 1e-15, 1e15
_WORTH_A_TASK = 100_000
_MOST_BLOCKS = 32

Indices = NDArray[np.int64]


class _Panels(NamedTuple):
    """Rows as panels, each of one cluster; copies of its last row pad the last panel."""

    numbers: Floats
    #: the row at each place, and whether it is not padding
    rows: Indices
    is_row: Floats
    #: of each panel
    clusters: Indices
    n_rows: Indices

    @property
    def n_panels(self) -> int:
        return len(self.clusters)

    @property
    def panel(self) -> int:
        return len(self.rows) // len(self.clusters)


@compiled(ROWS, INDICES, COUNT, COUNT, RESULTS)
def _pack(points, rows, first, last, panels):
    panel, n_features = panel_rows(panels), points.shape[1]
    for place in range(first * panel, last * panel):
        at = (place // panel) * panel * n_features + place % panel
        for feature in range(n_features):
            panels[at + feature * panel] = points[rows[place], feature]


@compiled(
    NUMBERS,
    COUNT,
    NUMBERS,
    INDICES,
    INDICES,
    COUNT,
    COUNT,
    COUNT,
    COUNT,
    FLAG,
    COUNT,
    COUNT,
    SUMS,
)
def _add_block(
    panels,
    n_features,
    weights,
    clusters,
    n_rows,
    first,
    last,
    other_first,
    other_last,
    once,
    origin,
    width,
    sums,
):
    """Add the distances of two ranges of panels; with ``once``, add each pair's to both rows.

    The sums to a cluster are ``width`` numbers, beginning with that of the panel ``origin``.
    """
    panel = panel_rows(panels)
    for here in range(first, last):
        at, row = here * panel * n_features, (here - origin) * panel
        start = max(other_first, here) if once else other_first
        for other in range(start, other_last):
            sums_at = clusters[other] * width + row
            members_at = clusters[here] * width + (other - origin) * panel
            for member in range(0, n_rows[other], MEMBERS):
                members = other * panel * n_features + member
                number = other * panel + member
                if once and other != here:
                    add_both_ways(
                        panels,
                        at,
                        members,
                        n_features,
                        weights,
                        here * panel,
                        number,
                        sums,
                        sums_at,
                        members_at + member,
                    )
                else:
                    add_one_way(panels, at, members, n_features, weights, number, sums, sums_at)


@override(silhouette_distances)
def pairs_in_panels(rows: DenseRows, labels: Labels, order: Indices, bounds: Sequence[int]) -> Any:
    """Measure from differences, with rows in the lanes; each pair once if memory allows it."""
    points, counts = _well_scaled(rows.points), np.diff(bounds)
    panel = PANEL[points.dtype]
    n_filled = int((-(-counts // panel) * panel).sum())
    if n_filled > (1.0 + _MOST_FILLING) * rows.n_points + _SOME_FILLING:
        return NotImplemented
    panels = _packed(points, order.astype(np.int64, copy=False), counts)
    once = len(counts) * n_filled * 8 <= max(within_budget(_MOST_SUMS), points.nbytes)
    found = _summed_once(panels, counts) if once else _summed_by_rows(panels, counts)
    is_row = panels.is_row > 0
    results = np.empty((2, rows.n_points))
    results[:, panels.rows[is_row]] = found[:, is_row]
    return SilhouetteDistances(*results)


def _well_scaled(points: Floats) -> Floats:
    if points.dtype == np.float64:
        return points
    spread = float(points.max()) - float(points.min())
    is_good = _LEAST_SPREAD < spread < _MOST_SPREAD
    return points if is_good else points.astype(np.float64)


def _packed(points: Floats, order: Indices, counts: Indices) -> _Panels:
    panel = PANEL[points.dtype]
    n_panels = -(-counts // panel)
    clusters = np.repeat(np.arange(len(counts)), n_panels)
    number = np.arange(len(clusters)) - np.repeat(np.cumsum(n_panels) - n_panels, n_panels)
    n_rows = np.minimum(counts[clusters] - number * panel, panel)
    starts = (np.cumsum(counts) - counts)[clusters] + number * panel
    lanes = np.arange(panel)
    places = starts[:, None] + np.minimum(lanes, n_rows[:, None] - 1)
    is_row = (lanes < n_rows[:, None]).astype(points.dtype).ravel()
    numbers = np.empty(len(clusters) * panel * points.shape[1], points.dtype)
    packed = _Panels(numbers, order[places.ravel()], is_row, clusters, n_rows)

    def pack(first: int, last: int) -> None:
        _pack[points.dtype](points, packed.rows, first, last, numbers)

    n_blocks = _n_blocks(packed)
    in_threads(lambda block: pack(*_range_of(packed, block, n_blocks)), n_blocks)
    return packed


def _summed_once(panels: _Panels, counts: Indices) -> Floats:
    n_blocks, width = _n_blocks(panels), len(panels.rows)
    sums = np.zeros((len(counts), width))
    add = _adder(panels)

    def add_pair(pairs: list[tuple[int, int]], number: int) -> None:
        one, other = pairs[number]
        ranges = (*_range_of(panels, one, n_blocks), *_range_of(panels, other, n_blocks))
        add(*ranges, True, 0, width, sums.reshape(-1))

    for pairs in _rounds(n_blocks):
        in_threads(partial(add_pair, pairs), len(pairs))
    return _means(sums, panels.clusters, counts, panels.panel)


def _summed_by_rows(panels: _Panels, counts: Indices) -> Floats:
    size = max(1, within_budget(_SUMS_OF_TASK) // (len(counts) * 8 * panels.panel))
    found = np.empty((2, len(panels.rows)))
    add = _adder(panels)

    def add_rows(number: int) -> None:
        first = number * size
        last = min(first + size, panels.n_panels)
        width = (last - first) * panels.panel
        sums = np.zeros((len(counts), width))
        add(first, last, 0, panels.n_panels, False, first, width, sums.reshape(-1))
        place = slice(first * panels.panel, last * panels.panel)
        found[:, place] = _means(sums, panels.clusters[first:last], counts, panels.panel)

    in_threads(add_rows, -(-panels.n_panels // size))
    return found


def _adder(panels: _Panels) -> Callable[..., None]:
    numbers, weights = panels.numbers, panels.is_row
    n_features = len(numbers) // len(panels.rows)
    given = (numbers, n_features, weights, panels.clusters, panels.n_rows)
    return lambda *rest: _add_block[numbers.dtype](*given, *rest)


def _n_blocks(panels: _Panels) -> int:
    """Return the number of blocks of panels, one or an even number."""
    n_rows, n_features = len(panels.rows), len(panels.numbers) // len(panels.rows)
    # The approximate time of all pairs in nanoseconds; the number of tasks is half the square of
    # the number of blocks.
    cost = n_rows**2 / 2 * (0.5 + n_features / 20)
    n_blocks = min(int((2 * cost / _WORTH_A_TASK) ** 0.5), panels.n_panels // 2, _MOST_BLOCKS)
    return max(1, n_blocks - n_blocks % 2)


def _range_of(panels: _Panels, block: int, n_blocks: int) -> tuple[int, int]:
    return panels.n_panels * block // n_blocks, panels.n_panels * (block + 1) // n_blocks


def _rounds(n_blocks: int) -> list[list[tuple[int, int]]]:
    """Return all pairs of blocks, in rounds; no block comes twice in a round.

    This is like a tournament in which each team meets each other once. So the tasks of a round
    write to different sums, and the order of additions to a sum is that of the rounds.
    """
    rounds = [[(block, block) for block in range(n_blocks)]]
    last = n_blocks - 1
    for number in range(last):
        pairs = [(number, last)]
        pairs += [
            ((number + step) % last, (number - step) % last) for step in range(1, n_blocks // 2)
        ]
        rounds.append([(min(pair), max(pair)) for pair in pairs])
    return rounds


def _means(sums: Floats, clusters: Indices, counts: Indices, panel: int) -> Floats:
    """Return the mean distance of rows to their own cluster and to the next; writes to ``sums``."""
    own, columns = np.repeat(clusters, panel), np.arange(sums.shape[1])
    found = np.empty((2, sums.shape[1]))
    np.divide(sums[own, columns], np.maximum(counts[own] - 1, 1), out=found[0])
    sums[own, columns] = np.inf
    sums[counts == 0] = np.inf
    sums /= np.maximum(counts, 1)[:, None]
    np.min(sums, axis=0, out=found[1])
    return found
