"""Threads that wait for the next step of a fit without sleep, and without Python's lock."""

import functools
import time

import numpy as np
from numba import types

from kmeans_xp.kernels import threads
from kmeans_xp.kernels.for_numba.compiled import COUNT, INDICES, compiled
from kmeans_xp.kernels.for_numba.emitted.watching import look_at, publish

__all__ = ["is_changed", "publish_and_rest"]

#: nanoseconds. What a worker waits for more work: Python between two steps of a fit takes less
_RESTED = 200_000
#: what it waits after that for the caller to be in compiled code: until then Python's lock is taken
_LOCKED = 25_000
#: what a caller waits for a worker, before it sleeps
_AWAITED = 1_000_000
#: looks to measure how long one takes, and how often
_MEASURED, _MEASUREMENTS = 5_000, 5

_ANY = np.dtype(np.float64)


@compiled(INDICES, COUNT, COUNT, returns=types.boolean)
def is_changed(number, before, n_looks):
    """Look at a number until it is not what it was before, but at most so often."""
    for _ in range(n_looks):  # noqa: SIM110 (numba compiles no generator)
        if look_at(number) != before:
            return True
    return False


@compiled(INDICES, INDICES, COUNT, COUNT, COUNT)
def publish_and_rest(done, number, before, n_looks, n_more):
    """Set ``done`` to 1, wait as ``is_changed``, and some looks more after a change."""
    publish(done, 1)
    for _ in range(n_looks):
        if look_at(number) != before:
            for _ in range(n_more):
                look_at(number)
            return


def _waiting() -> threads.Waiting | None:
    """Return how to wait; None until it is compiled, which it is after many uses."""
    both = [each.pays(_ANY) for each in (is_changed, publish_and_rest)]
    return _compiled() if all(both) else None


@functools.cache
def _compiled() -> threads.Waiting:
    until_changed, rest, number = is_changed[_ANY], publish_and_rest[_ANY], np.zeros(1, np.int64)
    times = []
    for _ in range(_MEASUREMENTS):
        began = time.perf_counter_ns()
        until_changed(number, 0, _MEASURED)
        times.append(time.perf_counter_ns() - began)
    # The shortest: others count what else ran on the processor, and the first one the first call.
    one = max(1.0, min(times) / _MEASURED)
    rested, locked, awaited = (int(each / one) for each in (_RESTED, _LOCKED, _AWAITED))
    return threads.Waiting(
        lambda done: bool(until_changed(done, 0, awaited)),
        lambda done, given, before: rest(done, given, before, rested, locked),
    )


threads.wait_by(_waiting)
