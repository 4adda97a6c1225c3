"""Rows of a dask array or dataframe, on any of Dask's schedulers.

| module | holds |
|---|---|
| ``collections`` | what the user gave, before anything is computed |
| ``blocks`` | the rows as ``Blocks`` |
| ``passes`` | the graph of a pass, and results for each row that stay with the workers |
| ``store`` | the chunks, and what is known of them |
| ``chunks`` | in which groups tasks visit chunks, and where they get them |
| ``recipes`` | chunks that a task computes itself |
| ``schedulers`` | who computes a graph |
| ``tasks`` | what runs in a task |

Dask is imported when a collection is met, and not before.
"""

from kmeans_xp.blocks.on_dask.blocks import OnDask
from kmeans_xp.blocks.on_dask.collections import DaskRows, computed, rows_on_dask

__all__ = ["DaskRows", "OnDask", "computed", "rows_on_dask"]
