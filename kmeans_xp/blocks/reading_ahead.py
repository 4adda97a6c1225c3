"""Items read by a thread, ahead of those who use them."""

import threading
from collections.abc import Generator
from contextlib import closing
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

__all__ = ["Failed", "read_ahead"]

T = TypeVar("T")


class Failed(NamedTuple):
    """An error of a thread, to be raised in its caller."""

    error: BaseException


_END = object()


def read_ahead(items: Generator[T], n_ahead: int) -> Generator[T]:
    """Yield the items in their order, of which a thread holds up to ``n_ahead`` ready.

    Parameters
    ----------
    items : generator
        Run by the thread alone, and closed at the end.
    n_ahead : int
        Items that are read before they are asked for, at least 1.

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
            # Before the item is used: the next one is read meanwhile.
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
