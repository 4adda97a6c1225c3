"""Tables of the clusters' sizes and centres."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from kmeans_xp.blocks import RowSource
from kmeans_xp.plotting.numerals import formatted

__all__ = ["Summary", "print_summary", "summarize", "what_mean_distances_are"]

Matrix = np.ndarray[Any, Any]

COLUMNS_TOLD = 20
ROWS_A_STEP = 65_536
UNLIMITED = 100_000
#: maximum width of a table, also in a file: longer lines are hard to read
WIDEST = 200


class Summary(NamedTuple):
    """Sizes, mean distances and centres of the clusters; centres in the data's own units."""

    sizes: Matrix
    mean_distances: Matrix
    centres: Matrix
    names: list[str]


def summarize(
    points: Matrix | RowSource,
    labels: Matrix,
    centroids: Matrix,
    centres: Matrix,
    names: list[str],
    metric: str = "euclidean",
) -> Summary:
    """Measure the clusters; distances are between `points` and `centroids`."""
    n_clusters, start = len(centroids), 0
    totals, sizes = np.zeros(n_clusters), np.zeros(n_clusters, np.int64)
    for part in _parts(points):
        here = labels[start : start + len(part)]
        start += len(part)
        sizes += np.bincount(here, minlength=n_clusters)
        if metric == "cosine":  # centroids are unit vectors
            lengths = np.linalg.norm(part, axis=1)
            distances = 1.0 - (part * centroids[here]).sum(axis=1) / lengths
        else:
            distances = np.linalg.norm(part - centroids[here], axis=1)
        totals += np.bincount(here, distances, minlength=n_clusters)
    return Summary(sizes, totals / np.maximum(sizes, 1), centres, names)


def what_mean_distances_are(metric: str, unit: str) -> str:
    """Return a line that explains the mean distances of a summary."""
    measured = f"in {unit} of the columns"
    if metric == "cosine":
        measured = f"1 - cos; centres are of length 1, {measured}"
    return f"Mean distance: to the cluster's centre, {measured}"


def _parts(points: Matrix | RowSource) -> Iterator[Matrix]:
    """Yield consecutive rows, part by part."""
    blocks = (
        (block.points for block in points.read()) if isinstance(points, RowSource) else [points]
    )
    for block in blocks:
        for start in range(0, len(block), ROWS_A_STEP):
            yield block[start : start + ROWS_A_STEP]


def print_summary(console: Console, summary: Summary) -> None:
    """Print one table if it fits the width, otherwise the centres in separate tables."""
    told = summary.names[:COLUMNS_TOLD]
    centres = _formatted_centres(summary.centres[:, :COLUMNS_TOLD])
    whole = _size_table(summary, told, centres)
    if _fits(whole, console, WIDEST):
        console.print(whole)
    else:
        console.print(_size_table(summary, [], [[] for _ in centres]))
        for table in _centre_tables(told, centres, console):
            console.print(table)
    if len(told) < len(summary.names):
        console.print(f"Centres in {len(summary.names) - len(told):,} more columns are not shown.")


def _size_table(summary: Summary, names: Sequence[str], centres: list[list[str]]) -> Table:
    table = _numeric_table(["cluster", "size", "share", "mean distance", *names])
    shares = summary.sizes / max(summary.sizes.sum(), 1)
    distances = formatted(summary.mean_distances)
    for i, size in enumerate(summary.sizes):
        table.add_row(str(i), f"{size:,}", f"{shares[i]:.1%}", distances[i], *centres[i])
    return table


def _centre_tables(names: Sequence[str], centres: list[list[str]], console: Console) -> list[Table]:
    """Return tables with a row for each column of the data, and as many clusters as fit."""
    n_clusters = len(centres)
    for width in range(n_clusters, 0, -1):
        tables = [
            _centre_table(names, centres, range(start, min(start + width, n_clusters)))
            for start in range(0, n_clusters, width)
        ]
        if all(_fits(table, console, WIDEST) for table in tables):
            break
    return tables


def _centre_table(names: Sequence[str], centres: list[list[str]], clusters: range) -> Table:
    table = _numeric_table(["centre", *map(str, clusters)])
    for i, name in enumerate(names):
        table.add_row(name, *(centres[cluster][i] for cluster in clusters))
    return table


def _fits(table: Table, console: Console, widest: int = UNLIMITED) -> bool:
    unlimited = console.options.update(max_width=UNLIMITED)
    return Measurement.get(console, unlimited, table).maximum <= min(console.width, widest)


def _numeric_table(names: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    return table


def _formatted_centres(centres: Matrix) -> list[list[str]]:
    columns = [formatted(column) for column in centres.T]
    return [list(row) for row in zip(*columns, strict=True)]
