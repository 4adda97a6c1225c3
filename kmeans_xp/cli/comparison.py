"""Compare the clusters with columns that were left out: count the rows of each value."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kmeans_xp.cli.encoding import FEW_VALUES, as_text
from kmeans_xp.cli.inputs import Inputs

__all__ = ["Comparison", "comparisons"]

Matrix = np.ndarray[Any, Any]


class Comparison(NamedTuple):
    """A column that was left out, compared with the clusters.

    Parameters
    ----------
    column : str
        Its name.
    values : list of str
        Its values, as text; "" for missing values.
    counts : array of int of shape (n_values, n_clusters)
        Number of rows with each value in each cluster.
    """

    column: str
    values: list[str]
    counts: Matrix


def comparisons(data: Inputs, labels: Matrix, n_clusters: int) -> Iterator[Comparison]:
    """Yield a comparison for each column that was left out and has a few different values.

    Columns with many values, such as row numbers and names, do not describe a cluster.
    """
    rows = data.left_out
    if data.is_kept is not None:
        rows = rows.filter(pa.array(data.is_kept))
    for name in rows.column_names:
        if name not in data.skipped or not _has_text(rows.column(name).type):
            continue
        encoded = pc.dictionary_encode(as_text(rows.column(name)).combine_chunks())
        values = encoded.dictionary.to_pylist()
        if not 2 <= len(values) <= min(FEW_VALUES, rows.num_rows // 2):
            continue
        counts = np.zeros((len(values), n_clusters), np.int64)
        np.add.at(counts, (encoded.indices.to_numpy(), labels), 1)
        order = sorted(range(len(values)), key=values.__getitem__)
        yield Comparison(name, [values[i] for i in order], counts[order])


def _has_text(kind: pa.DataType) -> bool:
    """Return whether the values of a column can be written as text."""
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind))
