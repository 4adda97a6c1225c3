"""Where the rows are; algorithms ask for totals over them, and do not know where they are.

| module | holds |
|---|---|
| ``blocks`` | the protocol ``Blocks``, the interface for algorithms |
| ``per_row`` | the protocol ``PerRow``: results for each row, in the same blocks |
| ``in_memory`` | all rows in one array on one device |
| ``cut`` | the base of rows in several blocks |
| ``on_dask`` | rows of a dask array or dataframe, visited by tasks |
| ``members`` | some of the rows; the others get weight 0 |
| ``sphere`` | the same rows, scaled to one length in each visit |
| ``elsewhere`` | rows that are not in an array of this process, before the first visit |
| ``sources`` | sources of streamed rows: files, arrays, data sets, callables |
| ``stream`` | a source before the first visit, and which arrays are always streamed |
| ``streamed`` | rows of a source as blocks, read again in every visit |
| ``reading_ahead`` | a thread that reads blocks ahead |
| ``side_by_side`` | several blocks at a time, each with its own thread |
| ``uploading`` | blocks copied to the device while it computes |
| ``making`` | ``of`` makes blocks from any container of rows |
"""

from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.blocks.elsewhere import Elsewhere
from kmeans_xp.blocks.making import elsewhere, of, of_rows, place
from kmeans_xp.blocks.members import Members
from kmeans_xp.blocks.on_dask import computed
from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.blocks.sources import RowSource, open_rows, unnested
from kmeans_xp.blocks.sphere import measured_and_on_sphere, on_sphere

__all__ = [
    "Blocks",
    "Elsewhere",
    "Members",
    "PerRow",
    "RowSource",
    "computed",
    "elsewhere",
    "measured_and_on_sphere",
    "of",
    "of_rows",
    "on_sphere",
    "open_rows",
    "place",
    "unnested",
]
