"""Read items ahead in a thread."""

import threading
from collections.abc import Generator
from contextlib import closing
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

__all__ = ["Failed", "read_ahead"]

T = TypeVar("T")


class Failed(NamedTuple):
    """An error in a thread, to raise in its caller."""

    error: BaseException


_END = object()


def read_ahead(items: Generator[T], n_ahead: int) -> Generator[T]:
    """Yield the items in order, while a thread reads up to ``n_ahead`` of them ahead.

    Parameters
    ----------
    items : generator
        Runs only in the thread, which closes it at the end.
    n_ahead : int
        Number of items to read ahead, at least 1.

    Yields
    ------
    object
        The items. An error of the generator is raised here, after the items before it. When
        this generator ends or is closed, the thread has ended.
    """
    room = threading.Semaphore(n_ahead)
    ready: SimpleQueue[object] = SimpleQueue()
    stopped = threading.Event()
    thread = threading.Thread(
        target=_read, args=(items, room, ready, stopped), name="kmeans_xp-reader", daemon=True
    )
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, Failed):
                raise item.error
            # Release it before the caller uses the item: the thread reads the next one meanwhile.
            room.release()
            yield item  # type: ignore[misc]
            del item
    finally:
        stopped.set()
        room.release()
        thread.join()


def _read(
    items: Generator[T],
    room: threading.Semaphore,
    ready: "SimpleQueue[object]",
    stopped: threading.Event,
) -> None:
    try:
        with closing(items):
            while room.acquire() and not stopped.is_set():
                item = next(items, _END)
                ready.put(item)
                if item is _END:
                    return
                del item
    except BaseException as error:  # noqa: BLE001 (raised in the caller)
        ready.put(Failed(error))
