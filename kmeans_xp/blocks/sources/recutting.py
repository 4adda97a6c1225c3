"""Split rows into blocks of equal size."""

from collections.abc import Iterable, Iterator

from kmeans_xp.blocks.sources.picking import SourceBlock, joined, picked

__all__ = ["recut"]


def recut(blocks: Iterable[SourceBlock], n_rows: int) -> Iterator[SourceBlock]:
    """Yield the same rows in blocks of ``n_rows``; the last may have fewer."""
    waiting: list[SourceBlock] = []
    n_waiting = 0
    for block in blocks:
        for part in _parts(block, n_rows - n_waiting, n_rows):
            waiting.append(part)
            n_waiting += int(part.points.shape[0])
            if n_waiting == n_rows:
                whole, waiting, n_waiting = joined(waiting), [], 0
                yield whole
    if waiting:
        yield joined(waiting)


def _parts(block: SourceBlock, first: int, size: int) -> Iterator[SourceBlock]:
    """Yield consecutive parts of a block: one of ``first`` rows, then of ``size`` rows."""
    start, n_rows = 0, int(block.points.shape[0])
    while start < n_rows:
        stop = min(start + first, n_rows)
        yield picked(block, slice(start, stop))
        start, first = stop, size
