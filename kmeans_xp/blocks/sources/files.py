"""Files on this machine or at a URL."""

import errno
import glob
import os
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, BinaryIO, NamedTuple, cast

__all__ = ["File", "found_files"]


class File(NamedTuple):
    """A file on one of Arrow's file systems, or, if that is None, on this machine."""

    path: str
    filesystem: Any = None

    def open(self) -> BinaryIO:
        """Open the file for reading without a buffer."""
        if self.filesystem is None:
            return cast(BinaryIO, open(self.path, "rb", buffering=0))
        return cast(BinaryIO, self.filesystem.open_input_file(self.path))


def found_files(path: str, is_data: Callable[[str], bool]) -> list[File]:
    """Return the file of a path or URL, or all files of a glob or directory, sorted by name.

    Parameters
    ----------
    path : str
        Path, glob or URL. In a directory, hidden files and files that begin with an underscore
        are left out.
    is_data : callable
        Takes the path of a file in a directory, and returns whether to use it.

    Returns
    -------
    list of File
        At least one.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    """
    filesystem, place = _at_url(path) if "://" in path else (None, path)
    found = (
        _found_local(place, is_data)
        if filesystem is None
        else _found_at(filesystem, place, is_data)
    )
    if not found:
        raise FileNotFoundError(errno.ENOENT, "There is no file of rows", path)
    return [File(each, filesystem) for each in found]


def _found_local(path: str, is_data: Callable[[str], bool]) -> list[str]:
    if os.path.isdir(path):
        names = glob.glob("**", root_dir=path, recursive=True)  # leaves out hidden files
        return [os.path.join(path, name) for name in sorted(names) if _is_shown(name, is_data)]
    if os.path.exists(path) or not glob.has_magic(path):
        return [path] if os.path.exists(path) else []
    return sorted(glob.glob(path, recursive=True))


def _found_at(filesystem: Any, path: str, is_data: Callable[[str], bool]) -> list[str]:
    from pyarrow import fs

    info = filesystem.get_file_info(path)
    if info.type != fs.FileType.Directory:
        return [path] if info.type == fs.FileType.File else []
    inside = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    names = (os.path.relpath(each.path, path) for each in inside if each.type == fs.FileType.File)
    return [f"{path.rstrip('/')}/{name}" for name in sorted(names) if _is_shown(name, is_data)]


def _is_shown(name: str, is_data: Callable[[str], bool]) -> bool:
    return is_data(name) and not any(part[0] in "._" for part in PurePath(name).parts)


def _at_url(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path there."""
    import pyarrow as pa
    from pyarrow import fs

    try:
        filesystem, path = fs.FileSystem.from_uri(url)
        is_local = isinstance(filesystem, fs.LocalFileSystem)
        return None if is_local else filesystem, path
    except pa.ArrowInvalid as error:  # Arrow does not know the scheme
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise ImportError(f"To read {url}, install fsspec: pip install fsspec") from error
    filesystem, path = url_to_fs(url)
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path
