"""``open_rows``, which makes a source from a path, an array, a data set or a callable."""

from collections.abc import Callable, Iterator, Sequence
from os import PathLike, fspath
from typing import Any

import numpy as np

from kmeans_xp.blocks.sources.arrays import ArraySource, MappedSource, PandasSource, SparseSource
from kmeans_xp.blocks.sources.called import CalledSource
from kmeans_xp.blocks.sources.frames import library_of
from kmeans_xp.blocks.sources.parquet import ParquetSource, is_parquet
from kmeans_xp.blocks.sources.paths import opened_paths
from kmeans_xp.blocks.sources.source import RowSource
from kmeans_xp.blocks.sources.tables import TableSource
from kmeans_xp.checks import check_integer
from kmeans_xp.devices import is_array, is_sparse

__all__ = ["open_rows"]


def open_rows(
    source: Any,
    columns: Sequence[str] | Sequence[int] | None = None,
    weight: str | int | None = None,
    block_rows: int | None = None,
) -> RowSource:
    """Open rows to read them block by block, because they do not fit in memory.

    Parameters
    ----------
    source : path, list of paths, data set, array or callable
        Where the rows are:

        - path, glob, directory or URL of .npy, Parquet, Arrow, Feather, CSV or TSV files, or of a
          .zarr array; the files of a glob or a directory are read in the order of their names;
        - list of such paths;
        - ``pyarrow.dataset.Dataset``;
        - object with ``__len__``, ``shape`` and ``__getitem__(slice)``, such as an h5py data set,
          a zarr array, a memory map or an array of any library, on any device; a CSR matrix of
          SciPy or CuPy; a data frame;
        - callable that returns a fresh iterator of arrays, CSR matrices or data frames (pandas,
          polars, Arrow) each time it is called.
    columns : sequence of str or int, default=None
        Names of the columns to cluster, or their indices if they have no names. In a column of
        lists of equal length, each position is a feature. None for all columns of numbers except
        the weight.
    weight : str or int, default=None
        Column that holds the weight of each row; None for 1.
    block_rows : int, default=None
        Rows of a block; about four blocks are in memory at a time. None makes blocks of about
        16 MiB; for a callable each chunk is a block.

    Returns
    -------
    RowSource
        Pass it as ``X``. The rows are not read yet.

    Raises
    ------
    ValueError
        If a column is missing or holds no numbers, or the files have unequal columns.
    OSError
        If a file cannot be opened.

    Notes
    -----
    Numbers are read as float32 if they are float32 or float16, otherwise as float64. The same
    source always gives the same blocks, so the same seed gives bit-identical results.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import open_rows
    >>> rows = open_rows(lambda: (np.full((2, 3), i) for i in range(4)))
    >>> rows.n_features, rows.sizes()
    (3, (2, 2, 2, 2))
    """
    check_integer("block_rows", block_rows, 1, or_none=True)
    options = columns, weight, None if block_rows is None else int(block_rows)
    if isinstance(source, RowSource):
        if options != (None, None, None):
            raise ValueError("These rows are open already: they cannot get other options.")
        return source
    return _opener(source)(source, *options)


def _opener(source: Any) -> Callable[..., RowSource]:
    """Return the class or function that opens this kind of source."""
    if isinstance(source, (str, PathLike)):
        return lambda path, *options: opened_paths([fspath(path)], *options)
    if isinstance(source, (list, tuple)):
        return lambda paths, *options: opened_paths(list(map(fspath, paths)), *options)
    library = library_of(source)
    if library == "pandas":
        return PandasSource
    if library in ("polars", "pyarrow"):
        return _opened_dataset
    if is_sparse(source):
        return SparseSource
    if isinstance(source, np.memmap):
        return MappedSource
    if is_array(source) or all(
        hasattr(source, name) for name in ("shape", "__len__", "__getitem__")
    ):
        return ArraySource
    if isinstance(source, Iterator):
        raise TypeError(
            f"A {type(source).__name__} can be read only once, but rows are read several times: "
            "pass a callable that returns a fresh iterator, such as a generator function."
        )
    if callable(source):
        return CalledSource
    raise TypeError(
        f"Rows cannot be opened from a {type(source).__name__}: pass a path, an array that can "
        "be sliced, a pyarrow data set, or a callable that returns a fresh iterator."
    )


def _opened_dataset(source: Any, *options: Any) -> RowSource:
    """Open a data set, a table or a data frame of polars."""
    from pyarrow import dataset

    name = type(source).__name__
    if hasattr(source, "to_arrow"):
        source = source.to_arrow()
    if not isinstance(source, dataset.Dataset):
        source = dataset.dataset(source)
    opened = ParquetSource if is_parquet(source) else TableSource
    return opened(source, *options, name=name)
