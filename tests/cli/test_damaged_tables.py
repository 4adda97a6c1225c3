"""Tables and pictures that no program wrote: one clear error or rows, within memory, no code."""

import gzip
import io
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("typer")

from PIL import Image  # noqa: E402
from pyarrow import csv, feather, parquet  # noqa: E402

from kmeans_xp import open_rows  # noqa: E402
from kmeans_xp.cli import images, streaming, tables  # noqa: E402
from tests.mutations import Mutations, n_mutations, write_anew  # noqa: E402

#: of each kind of file: by formats that one parser reads, by pictures, and by rows read in blocks
N_MUTATIONS = n_mutations(2000)

N_ROWS = 12
TABLE = pa.table(
    {
        "width": np.arange(N_ROWS) / 7.0,
        "height": np.arange(N_ROWS),
        "name": [f"row {i}" for i in range(N_ROWS)],
    }
)
ARRAY = np.arange(2.0 * N_ROWS).reshape(N_ROWS, 2)
PIXELS = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)

WRITERS: dict[str, Callable[[Path], Any]] = {
    "csv": lambda path: csv.write_csv(TABLE, path),
    "csv.gz": lambda path: path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * N_ROWS)),
    "tsv": lambda path: path.write_text("a\tb\n" + "1.5\t2\n" * N_ROWS),
    "parquet": lambda path: parquet.write_table(TABLE, path),
    "arrow": lambda path: feather.write_feather(TABLE, str(path), compression="uncompressed"),
    "npy": lambda path: np.save(path, ARRAY),
    "npz": lambda path: np.savez_compressed(path, points=ARRAY),
}
KINDS = (("csv", "csv.gz", "tsv"), ("parquet", "arrow"), ("npy",), ("npz",))
N_OF_TABLES = [(kind, N_MUTATIONS // len(of)) for of in KINDS for kind in of]
BY_BLOCKS = ("csv", "parquet", "arrow", "npy")
PICTURES = ("png", "jpeg", "gif", "tiff", "webp", "bmp")


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(("kind", "n_times"), N_OF_TABLES)
def test_a_damaged_table_is_refused_or_read(kind: str, n_times: int, tmp_path: Path) -> None:
    path, mutations, reasons = tmp_path / f"rows.{kind}", Mutations(0), []
    WRITERS[kind](path)
    good = path.read_bytes()
    for _ in range(n_times):
        write_anew(path, mutations.one_of(good))
        streaming.is_needed(path)
        try:
            tables.read(path)
        except tables.TableError as error:
            reasons.append(str(error))
    assert reasons
    assert [reason for reason in reasons if str(path) not in reason] == []


@pytest.mark.parametrize("kind", BY_BLOCKS)
def test_a_damaged_file_that_is_read_by_blocks_is_refused_or_read(
    kind: str, tmp_path: Path
) -> None:
    path, mutations, reasons = tmp_path / f"rows.{kind}", Mutations(1), []
    WRITERS[kind](path)
    good = path.read_bytes()
    for _ in range(N_MUTATIONS // len(BY_BLOCKS)):
        write_anew(path, mutations.one_of(good))
        try:
            for block in open_rows(path, block_rows=5).read():
                assert np.isfinite(block.points).all()
        # pyarrow 17 asks for as much memory as a damaged length names.
        except (ValueError, OSError, MemoryError) as error:
            reasons.append(str(error))
    assert reasons
    assert [reason for reason in reasons if str(path) not in reason] == []


@pytest.mark.parametrize("kind", PICTURES)
def test_a_damaged_picture_is_refused_or_read(kind: str, tmp_path: Path) -> None:
    path, mutations, reasons = tmp_path / f"photo.{kind}", Mutations(2), []
    with io.BytesIO() as file:
        Image.fromarray(PIXELS).save(file, kind)
        good = file.getvalue()
    for _ in range(N_MUTATIONS // len(PICTURES)):
        write_anew(path, mutations.one_of(good))
        try:
            assert images.read(path).pixels.shape[2] == 4
        except images.ImageError as error:
            reasons.append(str(error))
    assert reasons
    assert [reason for reason in reasons if str(path) not in reason] == []


def bomb_npz(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("a.npy", "w") as f:
        np.lib.format.write_array_header_1_0(
            f, {"descr": "<f8", "fortran_order": False, "shape": (2**21, 2)}
        )
        for _ in range(32):
            f.write(bytes(2**20))


def bomb_csv(path: Path) -> None:
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 2**23))


@pytest.mark.parametrize(("kind", "make"), [("npz", bomb_npz), ("csv.gz", bomb_csv)])
def test_what_unpacks_to_more_than_memory_holds_is_refused(
    kind: str, make: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"rows.{kind}"
    make(path)
    assert path.stat().st_size < 2**18
    monkeypatch.setattr(tables, "available_memory", lambda: 2**24)
    with pytest.raises(tables.TableError, match=r"rows\..* only 16\.0 MiB of memory"):
        tables.read(path)


def test_equal_values_of_parquet_are_read_by_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"a": np.zeros(2**20), "b": np.zeros(2**20)}), path)
    assert path.stat().st_size < 2**17
    for available, is_needed in ((2**25, True), (2**30, False)):
        monkeypatch.setattr(streaming, "available_memory", lambda room=available: room)
        assert streaming.is_needed(path) is is_needed


@pytest.mark.parametrize("header", ["(2**40, 2)", "(-1, 2)", "(2**62, 2**62)", "(40, 2" + ")" * 90])
def test_an_npy_file_that_claims_too_much_is_refused(header: str, tmp_path: Path) -> None:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {header}}}".encode()
    for name, value in ((b"2**40", 2**40), (b"2**62", 2**62)):
        text = text.replace(name, str(value).encode())
    path = tmp_path / "rows.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    for read in (tables.read, open_rows):
        with pytest.raises((ValueError, OSError), match=r"rows\.npy"):
            read(path)


class Runs:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_of_objects_run_no_code(kind: str, tmp_path: Path) -> None:
    path, touched = tmp_path / f"rows.{kind}", tmp_path / "touched"
    objects = np.array([[Runs(touched)] * 2] * 3, dtype=object)
    (np.save if kind == "npy" else np.savez)(path, objects, allow_pickle=True)
    for read in (tables.read, open_rows):
        with pytest.raises(ValueError, match=f"rows.{kind}"):
            read(path)
    assert not touched.exists()
    pickle.loads(pickle.dumps(Runs(touched)))  # as it would
    assert touched.exists()
