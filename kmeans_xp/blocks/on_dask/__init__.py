"""Rows of a dask array or dataframe, on any of Dask's schedulers.

| module | holds |
|---|---|
| ``collections`` | the user's collection, before anything is computed |
| ``blocks`` | the rows as ``Blocks`` |
| ``passes`` | the graph of a pass, and results for each row, which stay on the workers |
| ``store`` | the chunks, and what is known about them |
| ``chunks`` | the groups of chunks that tasks visit, and where they get them |
| ``recipes`` | chunks that a task computes itself |
| ``schedulers`` | the schedulers that compute a graph |
| ``tasks`` | the functions that run in tasks |

Dask is imported only when a user passes a collection.
"""

from kmeans_xp.blocks.on_dask.blocks import OnDask
from kmeans_xp.blocks.on_dask.collections import DaskRows, computed, rows_on_dask

__all__ = ["DaskRows", "OnDask", "computed", "rows_on_dask"]
