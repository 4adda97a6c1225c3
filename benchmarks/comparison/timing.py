"""Times of several libraries that take turns in one process."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

__all__ = ["Pace", "Run", "Timed", "interleaved", "ratio"]

#: a sample takes at least so long: shorter functions are called several times for it
_SAMPLE_S = 0.02
#: first calls that take longer are not repeated for warmth
_LONG_S = 2.0
#: calls that take longer, and many times as long as the fastest library's, are made once
_TOO_LONG_S = 20.0
_MANY_TIMES = 3.0
_FEWEST_ROUNDS = 3
#: for a case: with libraries so slow that three rounds take longer, fewer are made
_MOST_S = 360.0


def _nothing(result: Any) -> dict[str, float]:  # noqa: ARG001 (the form of Run.found)
    return {}


class Run(NamedTuple):
    """What one library is timed at.

    Parameters
    ----------
    peer : str
    call : callable
        Without arguments; its result is kept until the next call.
    found : callable
        From a result to numbers worth telling (iterations, inertia).
    centroids : callable or None
        From a result to centroids that must agree with the other libraries'.
    around : callable
        Makes the context to call in, which is entered and left outside the time taken.
    """

    peer: str
    call: Callable[[], Any]
    found: Callable[[Any], dict[str, float]] = _nothing
    centroids: Callable[[Any], Any] | None = None
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


class Pace(NamedTuple):
    """How long to go on.

    Parameters
    ----------
    seconds : float
        For all samples of a case, roughly.
    n_most : int
        Rounds, at most; else 3 are made whatever the time, or fewer where 3 take minutes.
    pause_s : float
        Before each sample. OpenBLAS's and OpenMP's threads spin for some 30 ms after their
        work, and would take a processor from the library whose turn is next.
    """

    seconds: float
    n_most: int
    pause_s: float = 0.05


class Timed(NamedTuple):
    """What was measured of one library.

    Parameters
    ----------
    seconds : list of float
        One for each round.
    result : object
        Of the last call.
    """

    seconds: list[float]
    result: Any


def interleaved(runs: Sequence[Run], pace: Pace) -> dict[str, Timed]:
    """Time each library once a round, in changing orders: none comes after the same one always."""
    first = {run.peer: _sample(run, 1, pace) for run in runs}
    alone = {peer: each.seconds[0] for peer, each in first.items()}
    fastest = min(alone.values())
    longest = max(_TOO_LONG_S, _MANY_TIMES * fastest)
    again = [run for run in runs if alone[run.peer] <= longest]
    timed = first | {run.peer: Timed([], None) for run in again if fastest < _LONG_S}
    for run in runs:
        if alone[run.peer] < _LONG_S:
            alone[run.peer] = _sample(run, 1, pace).seconds[0]
    n_calls = {run.peer: max(1, math.ceil(_SAMPLE_S / alone[run.peer])) for run in again}
    round_s = sum(n * alone[peer] + pace.pause_s for peer, n in n_calls.items())
    n_rounds = max(int(pace.seconds / round_s), _FEWEST_ROUNDS)
    n_rounds = max(1, min(n_rounds, pace.n_most, int(_MOST_S / round_s)))
    for number in range(fastest >= _LONG_S, n_rounds):
        turn = number // 2 % len(again)
        order = [*again[turn:], *again[:turn]]
        for run in order if number % 2 else reversed(order):
            sample = _sample(run, n_calls[run.peer], pace)
            timed[run.peer] = Timed(timed[run.peer].seconds + sample.seconds, sample.result)
    return timed


def ratio(seconds: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the median of the ratios of samples of the same round.

    What was called once is compared with the median of all rounds.
    """
    if len(seconds) == 1:
        return seconds[0] / statistics.median(baseline)
    return statistics.median(mine / its for mine, its in zip(seconds, baseline, strict=True))


def _sample(run: Run, n_calls: int, pace: Pace) -> Timed:
    time.sleep(pace.pause_s)
    with run.around():
        began = time.perf_counter()
        for _ in range(n_calls):
            result = run.call()
        return Timed([(time.perf_counter() - began) / n_calls], result)
