"""Sources of rows: every kind gives the same rows, and names rows that it cannot read."""

import functools
import io
import itertools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from pyarrow import csv, dataset, feather, parquet
from scipy import sparse

from conftest import Library
from kmeans_xp.blocks.sources import RowSource, SourceBlock, checks, open_rows
from kmeans_xp.blocks.sources.weighted import WeightedSource
from kmeans_xp.blocks.uploading import rows_on

N_ROWS, N_FEATURES, BLOCK_ROWS = 103, 4, 10

rng = np.random.default_rng(0)
POINTS = rng.normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)
WEIGHTS = rng.integers(0, 5, N_ROWS).astype(np.float32)
NAMES = ("x0", "x1", "x2", "x3")
#: in no order, with repeats, the last row, and two of one block
INDICES = np.array([57, 3, 102, 57, 4, 99, 0, 50])


class Kind(NamedTuple):
    """A way to store rows: what is to be opened, and what its columns are called."""

    store: Callable[[np.ndarray, Path], Any]
    names: tuple[str, ...] | None = None


def saved(array: np.ndarray, folder: Path, name: str = "points.npy") -> str:
    np.save(folder / name, array)
    return str(folder / name)


def table_of(points: np.ndarray) -> pa.Table:
    return pa.table({f"x{i}": np.ascontiguousarray(column) for i, column in enumerate(points.T)})


def npy_of_version_2(points: np.ndarray, folder: Path) -> str:
    with (folder / "points.npy").open("wb") as file:
        np.lib.format.write_array(file, points, version=(2, 0))
    return str(folder / "points.npy")


def several_npy(points: np.ndarray, folder: Path) -> str:
    for i, part in enumerate(np.array_split(points, [7, 8, 60])):
        saved(part if i else np.asfortranarray(part), folder, f"part-{i}.npy")
    return str(folder / "part-*.npy")


def written_parquet(points: np.ndarray, folder: Path) -> str:
    parquet.write_table(table_of(points), folder / "points.parquet", row_group_size=25)
    return str(folder / "points.parquet")


def several_parquet(points: np.ndarray, folder: Path) -> str:
    for i, part in enumerate(np.array_split(points, 3)):
        parquet.write_table(table_of(part), folder / f"part-{i}.parquet", row_group_size=13)
    (folder / "_SUCCESS").touch()
    return str(folder)


def embeddings(kind: Any, points: np.ndarray, folder: Path) -> str:
    table = pa.table({"text": ["a"] * len(points), "embedding": pa.array(list(points), kind)})
    parquet.write_table(table, folder / "points.parquet", row_group_size=25)
    return str(folder / "points.parquet")


def written_feather(points: np.ndarray, folder: Path) -> Path:
    feather.write_feather(table_of(points), str(folder / "points.feather"), chunksize=17)
    return folder / "points.feather"


def written_csv(points: np.ndarray, folder: Path) -> str:
    csv.write_csv(table_of(points), folder / "points.csv")
    return str(folder / "points.csv")


def compressed_csv(points: np.ndarray, folder: Path) -> str:
    with pa.CompressedOutputStream(str(folder / "points.tsv.gz"), "gzip") as file:
        csv.write_csv(table_of(points), file, csv.WriteOptions(delimiter="\t"))
    return str(folder / "points.tsv.gz")


def filtered(points: np.ndarray, folder: Path) -> Any:
    table = table_of(np.repeat(points, 2, axis=0))
    table = table.append_column("keep", pa.array(np.arange(2 * len(points)) % 2 == 0))
    parquet.write_table(table, folder / "points.parquet", row_group_size=25)
    return dataset.dataset(str(folder / "points.parquet")).filter(dataset.field("keep"))


def in_hdf5(points: np.ndarray, folder: Path) -> Any:
    h5py = pytest.importorskip("h5py")
    file = h5py.File(folder / "points.h5", "w")
    return file.create_dataset("points", data=points, chunks=(8, points.shape[1]))


def in_zarr(points: np.ndarray, folder: Path) -> str:
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(
        str(folder / "points.zarr"), shape=points.shape, chunks=(8, 2), dtype=points.dtype
    )
    array[:] = points
    return str(folder / "points.zarr")


def mapped(points: np.ndarray, folder: Path) -> np.ndarray:
    array: np.ndarray = np.load(saved(points, folder), mmap_mode="r")
    return array


def chunks_of(points: Any, make: Callable[[Any], Any] = lambda part: part) -> Callable[[], Any]:
    cuts = [0, 9, 10, 10, 40, N_ROWS]
    return lambda: (make(points[a:b]) for a, b in itertools.pairwise(cuts))


def pandas_frame(points: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(points, columns=list(NAMES)).assign(text="a", when=pd.Timestamp(0))


def polars_frame(points: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(points, schema=list(NAMES)).with_columns(text=pl.lit("a"))


LISTS_32 = {"embedding": pl.List(pl.Float32)}
LISTS = tuple(f"embedding[{i}]" for i in range(N_FEATURES))

KINDS = {
    "npy": Kind(saved),
    "npy, Fortran order": Kind(lambda x, folder: saved(np.asfortranarray(x), folder)),
    "npy, big endian": Kind(lambda x, folder: saved(x.astype(">f4"), folder)),
    "npy, version 2": Kind(npy_of_version_2),
    "npy, glob": Kind(several_npy),
    "npy, file URL": Kind(lambda x, folder: f"file://{saved(x, folder)}"),
    "memory map": Kind(mapped),
    "memory map, Fortran order": Kind(lambda x, folder: mapped(np.asfortranarray(x), folder)),
    "array": Kind(lambda x, _: x),
    "CSR": Kind(lambda x, _: sparse.csr_matrix(x)),
    "COO array": Kind(lambda x, _: sparse.coo_array(x)),
    "h5py": Kind(in_hdf5),
    "zarr": Kind(in_zarr),
    "pandas": Kind(lambda x, _: pandas_frame(x), NAMES),
    "pandas, arrays": Kind(lambda x, _: pd.DataFrame({"text": "a", "embedding": list(x)}), LISTS),
    "polars": Kind(lambda x, _: polars_frame(x), NAMES),
    "polars, lists": Kind(lambda x, _: pl.DataFrame({"embedding": x.tolist()}, LISTS_32), LISTS),
    "polars, arrays": Kind(lambda x, _: pl.DataFrame({"embedding": x}), LISTS),
    "Arrow table": Kind(lambda x, _: table_of(x), NAMES),
    "Parquet": Kind(written_parquet, NAMES),
    "Parquet, directory": Kind(several_parquet, NAMES),
    "Parquet, lists": Kind(functools.partial(embeddings, pa.list_(pa.float32())), LISTS),
    "Parquet, fixed lists": Kind(
        functools.partial(embeddings, pa.list_(pa.float32(), N_FEATURES)), LISTS
    ),
    "data set": Kind(lambda x, folder: dataset.dataset(written_parquet(x, folder)), NAMES),
    "data set, filtered": Kind(filtered, NAMES),
    "Feather": Kind(written_feather, NAMES),
    "CSV": Kind(written_csv, NAMES),
    "TSV, compressed": Kind(compressed_csv, NAMES),
    "callable, arrays": Kind(lambda x, _: chunks_of(x)),
    "callable, CSR": Kind(lambda x, _: chunks_of(sparse.csr_array(x))),
    "callable, pandas": Kind(lambda x, _: chunks_of(x, pandas_frame), NAMES),
    "callable, polars": Kind(lambda x, _: chunks_of(x, polars_frame), NAMES),
    "callable, Arrow": Kind(lambda x, _: chunks_of(x, table_of), NAMES),
    "callable, batches": Kind(lambda x, _: table_of(x).to_batches, NAMES),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def opened(kind: Kind, folder: Path, **options: Any) -> RowSource:
    return open_rows(kind.store(POINTS, folder), block_rows=BLOCK_ROWS, **options)


def dense(block: SourceBlock) -> np.ndarray:
    array: np.ndarray = block.points.toarray() if sparse.issparse(block.points) else block.points
    return array


def all_rows(source: RowSource) -> np.ndarray:
    return np.concatenate([dense(block) for block in source.read()])


# What all kinds have in common


def test_a_pass_gives_all_rows_in_order(kind: Kind, tmp_path: Path) -> None:
    source = opened(kind, tmp_path)
    expected = POINTS.astype(source.dtype)  # CSV holds the digits of float32, read as float64
    if source.dtype == np.float64:
        np.testing.assert_allclose(all_rows(source), expected, rtol=1e-6)
    else:
        assert_array_equal(all_rows(source), expected)
    assert_array_equal(all_rows(source), all_rows(source))


def test_blocks_are_cut_as_asked(kind: Kind, tmp_path: Path) -> None:
    source = opened(kind, tmp_path)
    assert [len(dense(block)) for block in source.read()] == [10] * 10 + [3]
    assert source.sizes() == (10,) * 10 + (3,)


def test_sizes_are_known_before_a_pass(kind: Kind, tmp_path: Path) -> None:
    assert opened(kind, tmp_path).sizes() == (10,) * 10 + (3,)


def test_blocks_are_contiguous_and_of_the_dtype(kind: Kind, tmp_path: Path) -> None:
    source = opened(kind, tmp_path)
    for block in source.read():
        assert block.points.dtype == source.dtype
        assert source.is_sparse or (block.points.flags.c_contiguous and block.weights is None)
        assert not isinstance(block.points, np.memmap)


def test_what_a_source_says_of_itself(kind: Kind, tmp_path: Path) -> None:
    source = opened(kind, tmp_path)
    assert source.n_features == N_FEATURES
    assert source.feature_names == kind.names
    assert not source.is_weighted
    assert source.name in repr(source)


@pytest.mark.parametrize("number", [0, 4, 10])
def test_a_block_is_read_alone(kind: Kind, tmp_path: Path, number: int) -> None:
    source = opened(kind, tmp_path)
    every = list(source.read())
    assert_array_equal(dense(source.read_block(number)), dense(every[number]))


def test_there_are_no_other_blocks(kind: Kind, tmp_path: Path) -> None:
    source = opened(kind, tmp_path)
    for number in (-1, 11):
        with pytest.raises(IndexError, match=f"blocks 0 to 10, not {number}"):
            source.read_block(number)


def test_rows_are_taken_by_index(kind: Kind, tmp_path: Path) -> None:
    source = opened(kind, tmp_path)
    assert_array_equal(dense(source.take(INDICES)), all_rows(source)[INDICES])


@pytest.mark.parametrize("indices", [[-1], [N_ROWS], [], [[1]], [0.5]])
def test_rows_that_are_not_there_are_not_taken(
    kind: Kind, tmp_path: Path, indices: list[Any]
) -> None:
    with pytest.raises(IndexError):
        opened(kind, tmp_path).take(np.array(indices))


def test_a_pass_can_be_left_and_begun_again(kind: Kind, tmp_path: Path) -> None:
    source = opened(kind, tmp_path)
    reading = source.read()
    first = dense(next(reading))
    reading.close()
    assert_array_equal(dense(next(source.read())), first)
    assert source.sizes() == (10,) * 10 + (3,)


def test_weights_are_a_column(kind: Kind, tmp_path: Path) -> None:
    if kind.names == LISTS or (kind.names and kind.store is filtered):
        pytest.skip("the stores of this kind have no further column")
    weight = "x1" if kind.names else 1
    points = POINTS.copy()
    points[:, 1] = WEIGHTS
    source = open_rows(kind.store(points, tmp_path), weight=weight, block_rows=BLOCK_ROWS)
    assert source.is_weighted
    assert source.n_features == N_FEATURES - 1
    weights = [block.weights for block in source.read()]
    assert_array_equal(np.concatenate(weights), WEIGHTS)
    assert {each.dtype for each in weights} == {source.dtype}
    np.testing.assert_allclose(all_rows(source), POINTS[:, [0, 2, 3]], rtol=1e-6)
    assert_array_equal(source.take(INDICES).weights, WEIGHTS[INDICES])


def test_columns_are_chosen(kind: Kind, tmp_path: Path) -> None:
    if kind.names == LISTS:
        pytest.skip("one column holds all features")
    columns = ["x2", "x0"] if kind.names else [2, -4]
    source = opened(kind, tmp_path, columns=columns)
    np.testing.assert_allclose(all_rows(source), POINTS[:, [2, 0]], rtol=1e-6)
    assert source.feature_names == (("x2", "x0") if kind.names else None)


def test_a_row_that_is_not_finite_is_named(kind: Kind, tmp_path: Path) -> None:
    points = POINTS.copy()
    points[57, 2] = np.inf
    source = open_rows(kind.store(points, tmp_path), block_rows=BLOCK_ROWS)
    feature = re.escape(repr(kind.names[2])) if kind.names else 2
    where = r"rows 50 to 59 of .* \(block 5\)"
    with pytest.raises(ValueError, match=f"{where}: row 57 has inf in feature {feature}"):
        list(source.read())
    with pytest.raises(ValueError, match="row 57 has inf"):
        source.take(np.array([57]))


# Numbers


@pytest.mark.parametrize(
    ("stored", "read"),
    [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("i1", "f8"), ("u4", "f8"), ("?", "f8")],
)
def test_dtypes(stored: str, read: str, tmp_path: Path) -> None:
    points = (POINTS > 0).astype(stored)
    for source in (saved(points, tmp_path), points, chunks_of(points)):
        rows = open_rows(source, block_rows=BLOCK_ROWS)
        assert rows.dtype == np.dtype(read)
        assert_array_equal(all_rows(rows), points.astype(read))


def test_a_float64_column_makes_all_float64() -> None:
    table = pa.table({"a": pa.array([1.0], pa.float32()), "b": pa.array([2])})
    assert open_rows(table).dtype == np.float64
    assert open_rows(table, columns=["a"]).dtype == np.float32
    assert open_rows(table.to_pandas()).dtype == np.float64


@pytest.mark.parametrize("dtype", ["c16", "U3", "M8[s]", "O"])
def test_arrays_of_no_real_numbers_are_refused(dtype: str, tmp_path: Path) -> None:
    points = np.zeros((3, 2)).astype(dtype)
    with pytest.raises(ValueError, match="real numbers"):
        open_rows(points)
    with pytest.raises(ValueError, match="real numbers"):
        open_rows(saved(points, tmp_path))


def test_overflow_of_the_sum_is_no_infinity() -> None:
    points = np.full((4, 2), 3e38, np.float32)
    assert_array_equal(all_rows(open_rows(points)), points)


def test_duplicates_of_a_sparse_matrix_are_summed() -> None:
    matrix = sparse.csr_array(([1.0, 2.0], [1, 1], [0, 2]), shape=(1, 3))
    (block,) = open_rows(matrix).read()
    assert_array_equal(dense(block), [[0, 3, 0]])
    assert_array_equal(rows_on(block, xp=np, device="cpu").csr.data, [3.0])  # by then
    assert matrix.nnz == 2  # the user's is left as it is


# Columns


def mixed() -> pa.Table:
    return pa.table(
        {
            "name": ["a", "b"],
            "n": [1, 2],
            "flag": [True, False],
            "when": pa.array([0, 1], pa.timestamp("s")),
            "price": pa.array([1, 2], pa.decimal128(5, 2)),
            "kind": pa.array(["u", "v"]).dictionary_encode(),
            "x": [0.5, 1.5],
        }
    )


@pytest.mark.parametrize("make", [lambda t: t, pa.Table.to_pandas, pl.from_arrow])
def test_columns_of_numbers_are_taken(make: Callable[[pa.Table], Any]) -> None:
    source = open_rows(make(mixed()))
    assert source.feature_names == ("n", "x")
    assert_array_equal(all_rows(source), [[1, 0.5], [2, 1.5]])
    assert_array_equal(all_rows(open_rows(make(mixed()), columns=["flag"])), [[1], [0]])


@pytest.mark.parametrize("column", ["name", "when", "price", "kind"])
@pytest.mark.parametrize("make", [lambda t: t, pa.Table.to_pandas, pl.from_arrow])
def test_columns_of_no_numbers_are_refused(make: Callable[[pa.Table], Any], column: str) -> None:
    for options in ({"columns": [column]}, {"weight": column}):
        with pytest.raises(ValueError, match=f"Column '{column}' of .* not numbers"):
            open_rows(make(mixed()), **options)


@pytest.mark.parametrize("make", [lambda t: t, pa.Table.to_pandas, pl.from_arrow])
def test_missing_columns_are_named(make: Callable[[pa.Table], Any]) -> None:
    for options in ({"columns": ["x", "y"]}, {"weight": "y"}):
        with pytest.raises(ValueError, match=r"has no column 'y'. Its columns: name, n, flag"):
            open_rows(make(mixed()), **options)
    with pytest.raises(ValueError, match=r"no column of numbers .* name \(string\)"):
        open_rows(mixed().select(["name"]))
    with pytest.raises(ValueError, match="no column of numbers"):
        open_rows(mixed().select(["x"]), weight="x")


def test_columns_of_one_name_are_refused() -> None:
    table = pa.table([[1.0], [2.0]], names=["a", "a"])
    with pytest.raises(ValueError, match="several columns named 'a'"):
        open_rows(table)


@pytest.mark.parametrize("options", [{"columns": ["a"]}, {"weight": "a"}])
def test_arrays_have_no_names(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="index of 'a'"):
        open_rows(POINTS, **options)
    with pytest.raises(ValueError, match="columns 0 to 3, not 4"):
        open_rows(POINTS, columns=[4])
    with pytest.raises(ValueError, match="no columns to cluster"):
        open_rows(POINTS[:, :1], weight=0)


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2), ()])
def test_rows_are_two_dimensional(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{len(shape)}D array"):
        open_rows(saved(np.zeros(shape), tmp_path))


def test_a_list_and_other_columns_stand_in_their_order() -> None:
    lists = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2))
    table = pa.table({"a": [0, 5], "e": lists, "b": [9, 8], "c": [7, 6]})
    source = open_rows(table)
    assert source.feature_names == ("a", "e[0]", "e[1]", "b", "c")
    assert_array_equal(all_rows(source), [[0, 1, 2, 9, 7], [5, 3, 4, 8, 6]])


def test_lists_are_of_one_length() -> None:
    table = pa.table({"e": [[1.0, 2.0]] * 3 + [[1.0]] + [[1.0, 2.0]]})
    source = open_rows(table, block_rows=2)
    assert source.n_features == 2
    with pytest.raises(ValueError, match=r"rows from 2 of .*'e' have 1, 2 numbers") as got:
        all_rows(source)
    assert isinstance(got.value.__cause__, ValueError)
    for first in (None, []):
        with pytest.raises(ValueError, match="no list in its first row"):
            open_rows(pa.table({"e": pa.array([first, [1.0]], pa.list_(pa.float64()))}))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0, 2.0, 3.0, None]),
        pa.array([1, 2, 3, None]),
        pytest.param(
            pa.array([[1.0], [1.0], [1.0], None], pa.list_(pa.float64(), 1)),
            marks=pytest.mark.skipif(
                int(pa.__version__.partition(".")[0]) < 26, reason="older ones cannot read such"
            ),
        ),
        pa.array([[1.0], [1.0], [1.0], [None]], pa.list_(pa.float64())),
    ],
)
def test_nulls_are_named(column: pa.Array, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": column}), tmp_path / "x.parquet")
    source = open_rows(tmp_path / "x.parquet", block_rows=3)
    for read in (lambda: list(source.read()), lambda: source.take([3])):
        with pytest.raises(ValueError, match=r"rows.* 3.* of .*x.parquet.*column 'a' has nulls"):
            read()


def test_missing_values_of_pandas_are_named() -> None:
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [1.0, 2.0]})
    with pytest.raises(ValueError, match="row 1 has nan in feature 'a'"):
        all_rows(open_rows(frame))


# Cuts


def test_blocks_are_of_16_mib_if_not_told() -> None:
    wide = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (2**17, 256), (0, 0))
    assert open_rows(wide).sizes() == (2**14,) * 8
    assert open_rows(lambda: [POINTS[:3], POINTS[3:]]).sizes() == (3, 100)


def test_a_block_holds_whole_chunks(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored = file.create_dataset("x", (100_000, 256), "f4", chunks=(1000, 256))
        assert open_rows(stored).sizes() == (16_000,) * 6 + (4_000,)


class Sliced:
    """An array that counts the rows that are read of it."""

    def __init__(self, points: np.ndarray) -> None:
        self.points = points
        self.shape, self.dtype = points.shape, points.dtype
        self.n_read = 0

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.n_read += rows.stop - rows.start
        return self.points[rows]


def test_few_rows_are_read_to_take_a_few() -> None:
    array = Sliced(np.zeros((1_000_000, 8), np.float32))
    source = open_rows(array)
    assert array.n_read == 0
    source.take([999_999, 5, 500_000, 7])
    # rows 5 and 7 in one go with the row between
    assert array.n_read == 5


def test_few_row_groups_are_decoded_to_take_a_few_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_rows(written_parquet(POINTS, tmp_path), block_rows=BLOCK_ROWS)
    decoded: list[int] = []
    decode = parquet.ParquetFile.iter_batches

    def counted(file: Any, batch_size: int, row_groups: list[int], columns: Any) -> Any:
        decoded.extend(row_groups)
        return decode(file, batch_size, row_groups, columns)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    source.take([30, 99, 31])
    assert decoded == [1, 3]
    source.read_block(8)
    assert decoded[2:] == [3]


def test_pages_of_a_memory_map_are_given_back(tmp_path: Path) -> None:
    points = np.zeros((32 * 1024, 256), np.float32)
    source = open_rows(np.load(saved(points, tmp_path), mmap_mode="r"), block_rows=512)
    before = resident_file_kib()
    if before is None:
        pytest.skip("the system does not tell the resident pages of files")
    for _ in source.read():
        assert resident_file_kib() < before + 4 * 1024  # KiB, of 32 MiB


def resident_file_kib() -> Any:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("RssFile")), None)


def test_what_was_written_to_a_copy_on_write_map_stays(tmp_path: Path) -> None:
    array = np.load(saved(POINTS, tmp_path), mmap_mode="c")
    array[0] = 7
    list(open_rows(array, block_rows=BLOCK_ROWS).read())
    assert_array_equal(array[0], 7)


# Errors


def test_a_npy_file_that_is_cut_short_is_told_when_opened(tmp_path: Path) -> None:
    path = saved(POINTS, tmp_path)
    os.truncate(path, os.path.getsize(path) - 100)
    with pytest.raises(OSError, match=r"points.npy is cut short: it should hold 103 x 4"):
        open_rows(path)


def read_apart(source: Any) -> None:
    """Read all blocks, the last one first."""
    with source.apart() as blocks:
        for read in reversed(list(blocks)):
            read()


@pytest.mark.parametrize("whole_pass", [lambda source: list(source.read()), read_apart])
@pytest.mark.parametrize("n_files", [1, 2])
def test_numbers_of_a_file_are_looked_at_until_a_whole_pass_found_them_finite(
    n_files: int,
    whole_pass: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(n_files):
        np.save(tmp_path / f"{number}.npy", POINTS)
        os.utime(tmp_path / f"{number}.npy", (0, 0))  # what was just written is not relied on
    source = open_rows(tmp_path, block_rows=BLOCK_ROWS)
    looked_at: list[int] = []
    finite = checks._all_finite
    monkeypatch.setattr(
        checks, "_all_finite", lambda numbers: looked_at.append(len(numbers)) or finite(numbers)
    )

    def n_looked_at() -> int:
        looked_at.clear()
        whole_pass(source)
        return sum(looked_at)

    with closing(source.read()) as unfinished:
        next(unfinished)
    with source.apart() as blocks:
        next(blocks)()
    assert n_looked_at() == n_files * len(POINTS)
    assert n_looked_at() == 0
    changed = POINTS.copy()
    changed[-1, 2] = np.nan
    np.save(tmp_path / "0.npy", changed)
    os.utime(tmp_path / "0.npy", (1, 1))
    with pytest.raises(ValueError, match=f"row {len(POINTS) - 1} has nan in feature 2"):
        n_looked_at()
    with pytest.raises(ValueError, match="has nan"):  # this pass was not whole
        n_looked_at()


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("n_files", [1, 2])
def test_blocks_that_are_read_apart_are_those_of_a_pass(
    n_files: int, is_weighted: bool, tmp_path: Path
) -> None:
    for number, part in enumerate(np.array_split(POINTS, n_files)):
        np.save(tmp_path / f"{number}.npy", part)
    source: RowSource = open_rows(tmp_path, block_rows=BLOCK_ROWS)
    if is_weighted:
        source = WeightedSource(source, np.arange(1.0, 1.0 + len(POINTS)))
    assert source.is_read_apart
    with source.apart() as blocks:
        apart = [read() for read in reversed(list(blocks))]
    for got, expected in zip(reversed(apart), source.read(), strict=True):
        assert_array_equal(got.points, expected.points)
        assert_array_equal(got.weights, expected.weights)


def test_a_file_that_is_cut_short_while_it_is_read_apart(tmp_path: Path) -> None:
    path = saved(POINTS, tmp_path)
    source = open_rows(path, block_rows=BLOCK_ROWS)
    where = r"rows 30 to 39 of .*points.npy \(block 3\) cannot be read: .*cut short"
    with source.apart() as blocks:
        os.truncate(path, 128 + 16 * 35)
        with pytest.raises(OSError, match=where):
            [read() for read in blocks]


def test_a_source_of_one_pass_is_not_read_apart() -> None:
    source = open_rows(lambda: iter([POINTS]))
    assert not source.is_read_apart
    with pytest.raises(NotImplementedError, match="one after another"):
        source.apart()


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_npy_file_that_is_cut_short_while_it_is_read(order: Any, tmp_path: Path) -> None:
    path = saved(np.asarray(POINTS, order=order), tmp_path)
    source = open_rows(path, block_rows=BLOCK_ROWS)
    reading = source.read()
    next(reading)
    os.truncate(path, 128 + 16 * 35)
    where = r"rows \d+ to \d+ of .*points.npy \(block \d+\) cannot be read: .*cut short"
    with pytest.raises(OSError, match=where) as got:
        list(reading)
    assert isinstance(got.value.__cause__, OSError)


@pytest.mark.parametrize("store", [written_parquet, written_feather])
def test_a_table_that_is_cut_short(store: Callable[..., Any], tmp_path: Path) -> None:
    path = store(POINTS, tmp_path)
    source = open_rows(path, block_rows=BLOCK_ROWS)
    source.sizes()
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises((OSError, ValueError), match=r"rows 0 to 9 of .*points.* cannot be read"):
        list(source.read())
    with pytest.raises(OSError, match="Is it cut off"):
        open_rows(path).sizes()


def test_a_csv_file_with_a_bad_cell(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1,2\n" * 400_000 + "1,two\n")
    source = open_rows(path)
    with pytest.raises(ValueError, match=r"x.csv.*'two'"):
        list(source.read())


def test_a_chunk_that_raises_is_named() -> None:
    def chunks() -> Iterator[np.ndarray]:
        yield POINTS[:50]
        yield POINTS[50:60]
        raise KeyError("no such object")

    source = open_rows(chunks)
    where = r"rows from 60 of .*chunks \(block 2\) cannot be read: KeyError: 'no such object'"
    with pytest.raises(RuntimeError, match=where) as got:
        list(source.read())
    assert isinstance(got.value.__cause__, KeyError)


@pytest.mark.parametrize("error", [MemoryError, OSError, ValueError, TimeoutError])
def test_an_error_stays_of_its_family(error: type[Exception]) -> None:
    def chunks() -> Iterator[np.ndarray]:
        yield POINTS
        raise error("why")

    with pytest.raises(error if error is not TimeoutError else OSError, match="why"):
        list(open_rows(chunks).read())


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_bad_weights_are_named(bad: float) -> None:
    points = POINTS.copy()
    points[:, 1] = 1
    points[42, 1] = bad
    source = open_rows(points, weight=1, block_rows=BLOCK_ROWS)
    with pytest.raises(ValueError, match=r"rows 40 to 49 of .*\(block 4\): the weight of row 42"):
        list(source.read())


def shrinking(*lengths: int) -> Callable[[], Any]:
    """Return a callable that gives fewer or more rows at each call."""
    left = list(lengths)
    return lambda: iter([POINTS[:20], POINTS[: left.pop(0)]])


def test_rows_that_change_between_passes_are_noticed() -> None:
    for last, words in ((9, "there are 9 rows, but an earlier pass found 10"), (11, "11 rows")):
        source = open_rows(shrinking(10, 10, last))
        source.sizes()
        with pytest.raises(ValueError, match=words):
            list(source.read())


def test_blocks_that_come_or_go_are_noticed() -> None:
    chunks = [POINTS[:5]] * 3
    source = open_rows(lambda: iter(chunks))
    source.sizes()
    chunks.append(POINTS[:1])
    with pytest.raises(ValueError, match=r"rows from 15 of .*more rows than the 15"):
        list(source.read())
    del chunks[1:]
    with pytest.raises(ValueError, match="ended after 5 rows; an earlier pass found 15"):
        list(source.read())


@pytest.mark.parametrize(
    ("later", "words"),
    [
        (POINTS[:, :3], "shape .103, 3., but rows have 4 columns"),
        (POINTS.astype("f8"), "dtype is float64, but that of the first chunk is float32"),
        (np.zeros((3, 4), "U1"), "real numbers"),
        (POINTS[0], r"shape \(4,\)"),
    ],
)
def test_later_chunks_are_like_the_first(later: Any, words: str) -> None:
    source = open_rows(lambda: iter([POINTS, later]))
    with pytest.raises(ValueError, match=rf"rows from 103 of .*\(block 1\).*{words}"):
        list(source.read())


@pytest.mark.parametrize(
    "frames",
    [
        [pandas_frame(POINTS), pandas_frame(POINTS).drop(columns="x1")],
        [polars_frame(POINTS), polars_frame(POINTS).drop("x1")],
        [table_of(POINTS), table_of(POINTS).drop_columns(["x1"])],
    ],
)
def test_later_frames_have_the_columns_of_the_first(frames: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"rows from 103 .*it has no column 'x1'"):
        list(open_rows(lambda: iter(frames)).read())


def test_an_iterator_must_be_fresh() -> None:
    chunks = iter([POINTS, POINTS])
    source = open_rows(lambda: chunks)
    with pytest.raises(ValueError, match="return a FRESH iterator"):
        source.sizes()
    with pytest.raises(TypeError, match=r"read only once.*callable that returns a fresh iterator"):
        open_rows(iter([POINTS]))
    with pytest.raises((RuntimeError, TypeError), match="returned a int, not an iterator"):
        open_rows(lambda: 3).sizes()


def test_an_exhausted_iterator_is_noticed() -> None:
    chunks = iter([POINTS, POINTS])
    source = open_rows(lambda: (chunk for chunk in chunks))
    source.sizes()
    with pytest.raises(ValueError, match=r"earlier pass found 103. .*return a FRESH"):
        list(source.read())


def test_iterators_are_closed() -> None:
    closed = []

    def chunks() -> Iterator[np.ndarray]:
        try:
            yield POINTS
            yield POINTS
        finally:
            closed.append(True)

    source = open_rows(chunks)
    assert source.n_features == N_FEATURES
    assert len(closed) == 1
    reading = source.read()
    next(reading)
    reading.close()
    assert len(closed) == 2


@pytest.mark.parametrize(
    "empty", [np.zeros((0, 3)), sparse.csr_array((0, 3)), list, lambda: [np.zeros((0, 3))]]
)
def test_no_rows(empty: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no rows"):
        open_rows(empty).sizes()
    with pytest.raises(ValueError, match="has no rows"):
        list(open_rows(empty).read())


@pytest.mark.parametrize("suffix", ["npy", "parquet", "feather", "csv"])
def test_files_without_rows(suffix: str, tmp_path: Path) -> None:
    empty = np.zeros((0, 4), np.float32)
    store = {"npy": saved, "parquet": written_parquet, "feather": written_feather}
    path = store.get(suffix, written_csv)(empty, tmp_path)
    with pytest.raises(ValueError, match=r"no rows|no column of numbers"):
        open_rows(path).sizes()


@pytest.mark.parametrize("suffix", ["npy", "parquet", "feather", "csv"])
def test_files_without_bytes(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"x.{suffix}").touch()
    with pytest.raises((OSError, ValueError), match=rf"x.{suffix}"):
        open_rows(tmp_path / f"x.{suffix}").sizes()


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in ("x.npy", "x.parquet", "*.csv", "."):
        with pytest.raises(FileNotFoundError, match="no file of rows"):
            open_rows(tmp_path / path)
    with pytest.raises(ValueError, match="list of paths is empty"):
        open_rows([])


def test_files_of_other_formats(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", POINTS)
    with pytest.raises(ValueError, match=r"x.npz is not in a format .*as .npy; .*load_npz"):
        open_rows(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"several formats: .npy, .parquet"):
        open_rows([saved(POINTS, tmp_path), written_parquet(POINTS, tmp_path)])
    (tmp_path / "y.npy").write_text("no array")
    with pytest.raises(ValueError, match=r"y.npy cannot be read as .npy"):
        open_rows(tmp_path / "y.npy")


def test_files_that_do_not_fit_together(tmp_path: Path) -> None:
    paths = [saved(POINTS, tmp_path, "a.npy"), saved(POINTS[:, :3], tmp_path, "b.npy")]
    with pytest.raises(ValueError, match=r"b.npy has 3 columns, but .*a.npy has 4"):
        open_rows(paths)


def test_several_files_of_different_dtypes(tmp_path: Path) -> None:
    paths = [saved(POINTS, tmp_path, "a.npy"), saved(POINTS.astype(">f8"), tmp_path, "b.npy")]
    source = open_rows(paths, block_rows=BLOCK_ROWS)
    assert source.dtype == np.float64
    assert_array_equal(all_rows(source), np.concatenate([POINTS, POINTS]).astype("f8"))
    assert source.name.endswith("a.npy and 1 more")


def test_a_group_of_zarr_arrays(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "x.zarr"), mode="w")
    group.create_array("points", shape=(3, 2), dtype="f4")
    with pytest.raises(ValueError, match=r"group of arrays \(points\)"):
        open_rows(tmp_path / "x.zarr")


@pytest.mark.parametrize("value", [0, -1, 2.5, "10", True])
def test_block_rows_is_a_positive_integer(value: Any) -> None:
    with pytest.raises(ValueError, match="block_rows must be an integer of at least 1"):
        open_rows(POINTS, block_rows=value)


@pytest.mark.parametrize("value", [3, None, object()])
def test_things_that_hold_no_rows(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be opened from"):
        open_rows(value)


def test_open_rows_of_open_rows() -> None:
    source = open_rows(POINTS)
    assert open_rows(source) is source
    with pytest.raises(ValueError, match="they cannot get other options"):
        open_rows(source, block_rows=3)


# CSV


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("a,b\n1,2\n3,4.5\n", ("a", "b"), [[1, 2], [3, 4.5]]),
        ("1,2\n3,4.5\n", ("x0", "x1"), [[1, 2], [3, 4.5]]),
        ("0,1\n3,4.5\n", ("0", "1"), [[3, 4.5]]),
        ('\ufeffa,t\n1,"x\ny"\n2,z\n', ("a",), [[1], [2]]),
    ],
)
def test_headers_of_csv_files(text: str, names: Any, rows: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    source = open_rows(tmp_path / "x.csv")
    assert source.feature_names == names
    assert_array_equal(all_rows(source), rows)


def test_a_csv_column_that_begins_with_integers(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n" + "1\n" * 2_000_000 + "0.5\n")
    source = open_rows(tmp_path / "x.csv")
    assert all_rows(source).sum() == 2_000_000.5


# URLs


def test_files_at_a_url(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    npy, table = io.BytesIO(), io.BytesIO()
    np.save(npy, POINTS)
    parquet.write_table(table_of(POINTS), table)
    for name, file in (("a.npy", npy), ("t/a.parquet", table), ("t/b.parquet", table)):
        memory.pipe(f"/rows/{name}", file.getvalue())
    try:
        assert_array_equal(all_rows(open_rows("memory://rows/a.npy", block_rows=7)), POINTS)
        twice = open_rows("memory://rows/t", block_rows=7)
        assert_array_equal(all_rows(twice), np.concatenate([POINTS, POINTS]))
        assert_array_equal(dense(twice.take(INDICES + N_ROWS)), POINTS[INDICES])
        with pytest.raises(FileNotFoundError):
            open_rows("memory://rows/b.npy")
    finally:
        memory.rm("/rows", recursive=True)


@pytest.mark.parametrize("is_called", [False, True])
def test_arrays_of_any_library_are_read_to_the_host(is_called: bool, library: Library) -> None:
    points = np.arange(60.0, dtype=np.float32).reshape(20, 3)
    array = library.asarray(points)
    source = open_rows((lambda: iter([array])) if is_called else array, block_rows=8)
    assert source.dtype == np.float32
    assert source.sizes() == (8, 8, 4)
    read = [block.points for block in source.read()]
    assert {type(each) for each in read} == {np.ndarray}
    np.testing.assert_array_equal(np.concatenate(read), points)
    np.testing.assert_array_equal(source.take(np.array([19, 0])).points, points[[19, 0]])


def test_an_array_of_any_library_must_have_two_axes(library: Library) -> None:
    for shape in ((4,), (2, 2, 2)):
        with pytest.raises(ValueError, match="must be a 2D array"):
            open_rows(library.asarray(np.ones(shape)))
