"""One thread for BLAS, while kernels multiply in threads of their own."""

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread"]


class _BlasLimit:
    """Limits BLAS to one thread: the first holder sets the limit, the last one restores it.

    An interrupt may come between any two lines; ``release`` undoes whatever was done before it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: set[object] = set()
        self._before: list[int] = []

    def acquire(self, holder: object) -> None:
        with self._lock:
            self._holders.add(holder)
            if not self._before:
                self._before = [library.num_threads for library in _blas_libraries()]
                for library in _blas_libraries():
                    library.set_num_threads(1)

    def release(self, holder: object) -> None:
        try:
            self._let_go(holder)
        except BaseException:
            self._let_go(holder)
            raise

    def forget_other_threads(self) -> None:
        """Reset in a forked child, which lacks the threads that held the limit or the lock."""
        self._lock = threading.Lock()
        self._holders.clear()
        self._restore()

    def _let_go(self, holder: object) -> None:
        with self._lock:
            self._holders.discard(holder)
            if not self._holders:
                self._restore()

    def _restore(self) -> None:
        # strict=False: an interrupt may have come before any number was read.
        for library, number in zip(_blas_libraries(), self._before, strict=False):
            library.set_num_threads(number)
        self._before = []


_limit = _BlasLimit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread in the whole process while any thread is inside."""
    holder = object()
    try:
        _limit.acquire(holder)
        yield
    finally:
        _limit.release(holder)


@functools.cache
def _blas_libraries() -> list[Any]:
    # Search once, since it takes milliseconds, at the first use of a kernel: NumPy's and SciPy's
    # BLAS are loaded by then. NumPy does not multiply with libraries loaded later.
    libraries: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return libraries


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limit.forget_other_threads)
