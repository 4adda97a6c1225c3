"""Rows of Parquet files, with access to single row groups."""

from collections.abc import Generator, Iterator
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from kmeans_xp.blocks.sources.checks import Place, check_block, reading
from kmeans_xp.blocks.sources.picking import SourceBlock, Wanted
from kmeans_xp.blocks.sources.sliced import even_sizes
from kmeans_xp.blocks.sources.tables import TableSource

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ParquetSource", "is_parquet"]

#: Total size of the buffers that are read ahead of the decoder, one for each column.
_BUFFER_BYTES = 32 * 2**20


class _RowGroup(NamedTuple):
    """A row group: its file, its number there, and the range of its rows among all."""

    file: Any
    number: int
    start: int
    stop: int


def is_parquet(dataset: Any) -> bool:
    """Return whether a data set has all rows of Parquet files."""
    is_filtered = bool(getattr(dataset, "_scan_options", None))
    kind = type(getattr(dataset, "format", None)).__name__
    return kind == "ParquetFileFormat" and not is_filtered


class ParquetSource(TableSource):
    """Rows of a data set of Parquet files.

    Arrow's scanner decodes whole row groups, and one may be larger than the memory. This class
    decodes one batch at a time.
    """

    def take(self, indices: Any) -> SourceBlock:
        """Return rows by their index among all; decode only the row groups that hold them."""
        wanted = Wanted(indices, sum(self.sizes()), self.name)
        found: list[SourceBlock] = []
        for group in self._row_groups:
            if len(wanted.between(group.start, group.stop)):
                found += self._taken(group, wanted)
        return wanted.in_order(found)

    @cached_property
    def _row_groups(self) -> list[_RowGroup]:
        """All row groups in row order; this reads the footer of every file."""
        groups: list[_RowGroup] = []
        start = 0
        for file in self._dataset.get_fragments():
            for group in file.row_groups:
                groups.append(_RowGroup(file, group.id, start, start + group.num_rows))
                start += group.num_rows
        return groups

    def _counted(self) -> tuple[int, ...]:
        with reading(f"the number of rows of {self.name}"):
            groups = self._row_groups
        return even_sizes(groups[-1].stop if groups else 0, self._block_rows)

    def _batches(self, start: int) -> Iterator["pa.RecordBatch"]:
        for group in self._row_groups:
            if start < group.stop:
                yield from self._decoded(group, max(0, start - group.start))

    def _decoded(self, group: _RowGroup, skipped: int = 0) -> Generator["pa.RecordBatch"]:
        """Yield the rows of a row group, without some at its start."""
        from pyarrow import parquet

        names = self._columns.names
        buffer_size = max(2**16, min(2**20, _BUFFER_BYTES // len(names)))
        with group.file.open() as file:
            opened = parquet.ParquetFile(file, pre_buffer=False, buffer_size=buffer_size)
            for batch in opened.iter_batches(self._batch_rows, [group.number], names):
                yield batch.slice(min(skipped, batch.num_rows))
                skipped = max(0, skipped - batch.num_rows)

    def _taken(self, group: _RowGroup, wanted: Wanted) -> Iterator[SourceBlock]:
        """Yield the wanted rows of a row group."""
        start = group.start
        with closing(self._decoded(group)) as batches:
            while start < min(group.stop, wanted.last + 1):
                place = Place(self.name, start // self._block_rows, start)
                with reading(place):
                    batch = next(batches)
                stop = start + batch.num_rows
                if len(wanted.between(start, stop)):
                    yield wanted.among(self._checked(batch, place), start)
                start = stop

    def _checked(self, batch: "pa.RecordBatch", place: Place) -> SourceBlock:
        with reading(place):
            block = self._columns.block(batch)
        check_block(block, self.layout, place.of_size(batch.num_rows))
        return block
