"""Where streamed rows come from: files, arrays that are read by slices, and generators.

``open_rows`` makes a source of each kind:

- ``arrays``: rows that slices read (h5py, zarr, memory maps, CSR, pandas);
- ``npy``: .npy files, without mapping them; ``joined``: several of those as one;
- ``tables``: what ``pyarrow.dataset`` reads (Parquet, Arrow, CSV);
- ``called``: a callable that returns a fresh iterator of chunks.

``sliced`` is the base of those that read any range of rows, ``source`` of them all. ``columns``,
``frames`` and ``arrow`` make points and weights of a chunk.
"""

from kmeans_xp.blocks.sources.frames import unnested
from kmeans_xp.blocks.sources.opening import open_rows
from kmeans_xp.blocks.sources.source import RowSource, SourceBlock

__all__ = ["RowSource", "SourceBlock", "open_rows", "unnested"]
