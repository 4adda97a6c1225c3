"""Sources of files, by the extension of their names."""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from kmeans_xp.blocks.sources.arrays import ArraySource
from kmeans_xp.blocks.sources.datasets import csv_dataset, file_dataset
from kmeans_xp.blocks.sources.files import File, found_files
from kmeans_xp.blocks.sources.joined import JoinedSource
from kmeans_xp.blocks.sources.npy import NpySource
from kmeans_xp.blocks.sources.parquet import ParquetSource
from kmeans_xp.blocks.sources.source import RowSource
from kmeans_xp.blocks.sources.tables import TableSource

__all__ = ["opened_paths"]

_COMPRESSED = (".gz", ".bz2")

_INSTEAD_OF_NPZ = (
    " Save its array as .npy; for a sparse matrix, pass open_rows(scipy.sparse.load_npz(path))."
)


def opened_paths(
    paths: Sequence[str],
    columns: Sequence[Any] | None = None,
    weight: Any = None,
    block_rows: int | None = None,
) -> RowSource:
    """Open files of one format as one source."""
    if not paths:
        raise ValueError("The list of paths is empty.")
    name = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    if _format(paths[0]) == ".zarr":
        return _opened_zarr(paths, columns, weight, block_rows)
    files = [file for path in paths for file in found_files(path, _is_data)]
    formats = sorted({_format(file.path) for file in files})
    if len(formats) > 1:
        raise ValueError(f"{name} holds files of several formats: {', '.join(formats)}.")
    if formats[0] not in _OPENERS:
        raise ValueError(
            f"{name} is not in a format that is read by blocks: {', '.join([*_OPENERS, '.zarr'])}."
            + (_INSTEAD_OF_NPZ if formats[0] == ".npz" else "")
        )
    return _OPENERS[formats[0]](files, name, columns, weight, block_rows)


def _format(path: str) -> str:
    """Return the extension that names the format: ".csv" for ``a.CSV`` and ``a.csv.gz``."""
    suffixes = [suffix.lower() for suffix in PurePath(path.rstrip("/")).suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else "no extension"


def _is_data(path: str) -> bool:
    return _format(path) in _OPENERS


def _opened_npy(files: list[File], name: str, *options: Any) -> RowSource:
    if len(files) == 1:
        return NpySource(files[0].open, *options, name=name)
    parts = [NpySource(file.open, name=file.path) for file in files]
    return JoinedSource(parts, *options, name=name)


def _opened_zarr(
    paths: Sequence[str], columns: Any, weight: Any, block_rows: int | None
) -> RowSource:
    if len(paths) > 1:
        raise ValueError("Several .zarr arrays cannot be read together; concatenate them first.")
    try:
        import zarr
    except ImportError as error:
        raise ImportError(f"To read {paths[0]}, install zarr: pip install zarr") from error
    array = zarr.open(paths[0], mode="r")
    if not hasattr(array, "shape"):
        names = ", ".join(name for name, _ in array.arrays())
        raise ValueError(
            f"{paths[0]} is a group of arrays ({names or 'none'}): open one of them by zarr, and "
            "pass that."
        )
    return ArraySource(array, columns, weight, block_rows, name=paths[0])


def _opened_parquet(files: list[File], name: str, *options: Any) -> RowSource:
    return ParquetSource(file_dataset(files, name, "parquet"), *options, name=name)


def _opened_ipc(files: list[File], name: str, *options: Any) -> RowSource:
    return TableSource(file_dataset(files, name, "ipc"), *options, name=name)


def _opened_csv(files: list[File], name: str, *options: Any) -> RowSource:
    return TableSource(csv_dataset(files, name, ","), *options, name=name)


def _opened_tsv(files: list[File], name: str, *options: Any) -> RowSource:
    return TableSource(csv_dataset(files, name, "\t"), *options, name=name)


_OPENERS: dict[str, Callable[..., RowSource]] = {
    ".npy": _opened_npy,
    ".parquet": _opened_parquet,
    ".pq": _opened_parquet,
    ".arrow": _opened_ipc,
    ".feather": _opened_ipc,
    ".ipc": _opened_ipc,
    ".csv": _opened_csv,
    ".tsv": _opened_tsv,
}
