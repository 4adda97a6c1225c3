"""Sources of streamed rows: files, arrays that are read by slices, and generators.

``open_rows`` makes a source of each kind:

- ``arrays``: rows that are read by slices (h5py, zarr, memory maps, CSR, pandas);
- ``npy``: .npy files, without mapping them; ``joined``: several of those as one;
- ``tables``: what ``pyarrow.dataset`` reads (Parquet, Arrow, CSV);
- ``called``: a callable that returns a fresh iterator of chunks.

``source`` has the base class of all sources, ``sliced`` that of sources that read any range of
rows. ``columns``, ``frames`` and ``arrow`` make points and weights from a chunk.
"""

from kmeans_xp.blocks.sources.frames import unnested
from kmeans_xp.blocks.sources.opening import open_rows
from kmeans_xp.blocks.sources.source import RowSource, SourceBlock

__all__ = ["RowSource", "SourceBlock", "open_rows", "unnested"]
