"""Rows that ``pyarrow.dataset`` reads: Arrow, Feather, CSV, and data sets with a filter."""

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kmeans_xp.blocks.sources.arrow import ArrowColumns, Filling
from kmeans_xp.blocks.sources.checks import reading
from kmeans_xp.blocks.sources.picking import SourceBlock
from kmeans_xp.blocks.sources.sliced import even_sizes
from kmeans_xp.blocks.sources.source import RowSource, default_block_rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableSource"]

#: Size of a decoded batch: smaller batches are slower, larger ones only take more memory.
_BATCH_BYTES = 8 * 2**20
#: the same for all columns, which may be of any type
_ROWS_OF_A_BATCH = 2**16


class TableSource(RowSource):
    """Rows of a ``pyarrow.dataset.Dataset``.

    Parameters
    ----------
    dataset : pyarrow.dataset.Dataset
        Data set, read in the order of its files.
    columns, weight, block_rows : optional
        As in ``open_rows``.
    name : str
        Name of the source.
    """

    def __init__(
        self,
        dataset: Any,
        columns: Sequence[str] | None = None,
        weight: str | None = None,
        block_rows: int | None = None,
        *,
        name: str,
    ) -> None:
        self.name = name
        self._dataset = dataset
        self._columns = ArrowColumns(
            dataset.schema, columns, weight, name, lambda each: dataset.head(1, columns=[each])
        )
        self.layout = self._columns.layout
        bytes_a_row = self.n_features * self.dtype.itemsize
        self._block_rows = block_rows or default_block_rows(bytes_a_row)
        self._batch_rows = max(1, min(self._block_rows, _BATCH_BYTES // bytes_a_row))

    @property
    def schema(self) -> "pa.Schema":
        """Schema of all columns, used or not."""
        return self._dataset.schema

    def batches(self) -> Iterator["pa.RecordBatch"]:
        """Yield all columns of all rows in order."""
        return self._scanned(self._dataset.schema.names, _ROWS_OF_A_BATCH)

    def _counted(self) -> tuple[int, ...]:
        with reading(f"the number of rows of {self.name}"):
            return even_sizes(self._dataset.count_rows(), self._block_rows)

    def _blocks(self, first: int) -> Generator[SourceBlock]:
        filling = None
        for batch in self._batches(first * self._block_rows):
            while batch.num_rows:
                filling = filling or Filling(self._columns, self._block_rows)
                batch = batch.slice(filling.add(batch))
                if filling.is_full:
                    full, filling = filling, None
                    yield full.block()
        if filling is not None:
            yield filling.block()

    def _batches(self, start: int) -> Iterator["pa.RecordBatch"]:
        """Yield the rows from ``start`` on."""
        for batch in self._scanned(self._columns.names, self._batch_rows):
            yield batch.slice(min(start, batch.num_rows))
            start = max(0, start - batch.num_rows)

    def _scanned(self, names: list[str], batch_rows: int) -> Iterator["pa.RecordBatch"]:
        # Read few batches ahead: the default is 16, and four files.
        scanner = self._dataset.scanner(
            columns=names, batch_size=batch_rows, batch_readahead=2, fragment_readahead=1
        )
        batches: Iterator[pa.RecordBatch] = scanner.to_batches()
        return batches
