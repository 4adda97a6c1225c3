"""Compiled code on disk; damaged or unwritable files do not stop a fit."""

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import secrets
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys
from numba.core.serialize import dumps

__all__ = ["KeptCode"]

_DIGEST_SIZE = hashlib.sha256().digest_size

#: settings of numba that change compiled code but are missing in numba's own key
_SETTINGS = ("BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "OPT", "SLP_VECTORIZE")

_told: set[str] = set()

#: its own logger, so that a program can show the message
logger = logging.getLogger("kmeans_xp.kernels")


class KeptCode(FunctionCache):
    """The compiled code of a function, in numba's folder beside the source or in the user's folder.

    numba's own files have no checksum. A truncated file raises an error of pickle in every fit,
    and a file with a changed bit runs. Here each file has a digest of its content.

    Parameters
    ----------
    function : callable

    Raises
    ------
    RuntimeError
        If there is no writable folder.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        sources = _sources() + _digest_of(Path(function.__code__.co_filename))
        self._cache_file = _Files(Path(self._cache_path), self._impl.filename_base, sources)

    def has(self, sig: Any, target_context: Any) -> bool:
        """Return whether there is a file with the code for a signature."""
        return self._cache_file.has(self._index_key(sig, target_context.codegen()))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the kept code for a signature; None if it must be compiled."""
        # numba would first load all that it can compile, which takes longer than to load the code.
        # Kept code needs only what allocates. numba loads the rest before it compiles.
        rtsys.initialize(target_context)
        kept = self._load_overload(sig, target_context)
        if kept is None and "compiling" not in _told:
            _told.add("compiling")
            logger.info(
                "Compiling kernels for this machine, once; this takes some seconds. "
                "`kmeans-xp devices --compile` does it ahead."
            )
        return kept

    def _save_overload(self, signature: Any, compiled: Any) -> None:
        try:
            super()._save_overload(signature, compiled)
        except OSError as error:  # a full disk, a quota
            what = (
                f"could not be kept in {self._cache_path}: {error}. Each process compiles it again"
            )
            _tell_once("unwritable", what)


class _Files:
    """A file for each key, so that processes can write at the same time.

    ``sources`` is a digest of all that may be compiled into a function: numba's key covers the
    function's instructions, but not their constants, nor what it calls.
    """

    def __init__(self, folder: Path, name: str, sources: str) -> None:
        self.folder, self.name, self.sources = folder, name, sources

    def has(self, key: Any) -> bool:
        """Return whether there is data that was saved under a key."""
        return self._path(key).exists()

    def load(self, key: Any) -> Any:
        """Return the data that was saved under a key; None if it is missing or outdated."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, code = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
        if hashlib.sha256(code).digest() != digest:
            _tell_once("damaged", f"in {path} is damaged: it is compiled again")
            return None
        return pickle.loads(code)

    def save(self, key: Any, data: Any) -> None:
        """Save data under a key, completely or not at all."""
        path, code = self._path(key), dumps(data)
        unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        try:
            unfinished.write_bytes(hashlib.sha256(code).digest() + code)
            os.replace(unfinished, path)
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def _path(self, key: Any) -> Path:
        settings = [str(getattr(numba.config, name, None)) for name in _SETTINGS]
        versions = (numba.__version__, llvmlite.__version__, self.sources, settings)
        name = hashlib.sha256(repr((versions, key)).encode()).hexdigest()[:16]
        return self.folder / f"{self.name}.{name}.nbc"


@functools.cache
def _sources() -> str:
    """Return a digest of the files whose functions and constants compiled code may hold: 2 ms."""
    here = Path(__file__).parent
    files = {*here.rglob("*.py"), *here.parent.glob("*.py"), *here.parent.glob("portable/*.py")}
    return _digest_of(*sorted(files))


@functools.cache
def _digest_of(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _tell_once(kind: str, what: str) -> None:
    """Warn of only the first problem of each kind."""
    if kind not in _told:
        _told.add(kind)
        warnings.warn(f"Compiled code of kmeans_xp {what}.", RuntimeWarning, stacklevel=2)
