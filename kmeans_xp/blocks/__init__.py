"""Where the rows live; an algorithm asks for totals over them and does not know.

| module | holds |
|---|---|
| ``blocks`` | the protocol ``Blocks``, all that an algorithm sees |
| ``per_row`` | the protocol ``PerRow``: results for each row, cut as the rows are |
| ``in_memory`` | rows on one device in one piece |
| ``cut`` | the base of rows in several blocks |
| ``on_dask`` | rows of a dask array or dataframe, visited by tasks |
| ``members`` | some of the rows, by weights of 0 for the others |
| ``sphere`` | the same rows, each scaled to one length where it is visited |
| ``elsewhere`` | rows that lie in no array of this process, before the first visit |
| ``sources`` | where streamed rows come from: files, arrays, data sets, callables |
| ``stream`` | a source before the first visit, and what is streamed by itself |
| ``streamed`` | rows of a source as blocks, read anew in every visit |
| ``reading_ahead`` | a thread that reads blocks ahead |
| ``side_by_side`` | several blocks computed with at a time, a thread each |
| ``uploading`` | blocks brought to the device while it computes |
| ``making`` | ``of`` makes blocks of whatever holds the rows |
"""

from kmeans_xp.blocks.blocks import Blocks
from kmeans_xp.blocks.elsewhere import Elsewhere
from kmeans_xp.blocks.making import elsewhere, of, of_rows, place
from kmeans_xp.blocks.members import Members
from kmeans_xp.blocks.on_dask import computed
from kmeans_xp.blocks.per_row import PerRow
from kmeans_xp.blocks.sources import RowSource, open_rows, unnested
from kmeans_xp.blocks.sphere import on_sphere

__all__ = [
    "Blocks",
    "Elsewhere",
    "Members",
    "PerRow",
    "RowSource",
    "computed",
    "elsewhere",
    "of",
    "of_rows",
    "on_sphere",
    "open_rows",
    "place",
    "unnested",
]
