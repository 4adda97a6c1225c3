"""Checkpoints: a fit that was killed continues from a file."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kmeans_xp import persistence
from kmeans_xp.checks import check_flag, check_integer, check_path, check_real
from kmeans_xp.devices import library_name, to_host
from kmeans_xp.estimators.preparation import Prepared
from kmeans_xp.estimators.validation import is_array_like

__all__ = ["Checkpoint", "identity_of"]

#: parameters that do not change the result
_IDLE = ("copy_x", "verbose")

Identity = dict[str, str]


class Checkpoint:
    """A callback that saves the state of a fit to a file, so that a later fit can continue it.

    The first fit of an estimator with this callback writes the file. If that process is killed,
    start the same fit again: it reads the file and continues after the last saved iteration. On
    the same library and device its result is bit-identical to that of a fit without interruption.

    Parameters
    ----------
    path : path-like
        The safetensors file. If a write fails, as on a full disk, the previous file stays. Its
        size is about that of the centroids, twice that if there are several runs.
    every : int, default=1
        Number of iterations, mini-batch steps or splits between two writes.
    seconds : float, default=0.0
        Minimum time between two writes. Where iterations are short, to write each would take
        longer than to compute it.
    keep : bool, default=False
        Whether to keep the file at the end of the fit. The same fit, started again, then returns
        at once. By default the file is removed.

    Attributes
    ----------
    resumed : str or None
        Where the last fit continued, in words; None if it started from the beginning.

    Raises
    ------
    ValueError
        In ``fit``, before any iteration: if the file is not a checkpoint, or is one of another
        fit (its parameters, library or rows differ). The file stays.
    OSError
        In ``fit``, if the file cannot be written.

    See Also
    --------
    KMeans.save : Saves a fitted estimator.

    Notes
    -----
    The file holds the number of the run of ``n_init``, its iteration, the unrounded centroids,
    the best run so far, the history, and the random state. For ``BisectingKMeans`` it holds the
    tree of splits, and the next fit divides the rows along it again. The file does not hold the
    rows. It identifies them by their number, dtype, mean and spread, which every fit measures
    first.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import Checkpoint, KMeans
    >>> X = np.random.default_rng(0).normal(size=(1000, 4))
    >>> kmeans = KMeans(8, random_state=0).set_callbacks(Checkpoint("fit.ckpt", seconds=60))
    >>> kmeans = kmeans.fit(X)  # killed after hours, this line goes on where it was
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 1,
        seconds: float = 0.0,
        keep: bool = False,
    ) -> None:
        check_path("path", path)
        check_integer("every", every, 1)
        check_real("seconds", seconds, 0.0)
        check_flag("keep", keep)
        self.path = Path(path)
        self.every = every
        self.seconds = seconds
        self.keep = keep
        self.resumed: str | None = None
        self._identity: Identity = {}
        self._n_waiting = 0
        self._written = 0.0

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing: the estimator reads the file after it has measured the rows.

        Parameters
        ----------
        estimator : estimator
            The estimator whose fit begins.
        context : sklearn.callback.CallbackContext
            The fit, as a task.
        """

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing: the estimator itself passes its state.

        Parameters
        ----------
        estimator : estimator
            The estimator in its fit.
        context : sklearn.callback.CallbackContext
            The task that begins.
        """

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Do nothing: the estimator itself passes its state.

        Parameters
        ----------
        estimator : estimator
            The estimator in its fit.
        context : sklearn.callback.CallbackContext
            The task that ends.
        """

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing: the file of a fit that failed stays for the next one.

        Parameters
        ----------
        estimator : estimator
            The estimator whose fit ended.
        context : sklearn.callback.CallbackContext
            The fit, as a task.
        """

    def _begin(self, identity: Identity) -> dict[str, Any] | None:
        """Return the saved state of the fit with this identity; None without a file."""
        self._identity, self.resumed = identity, None
        self._n_waiting, self._written = 0, -np.inf
        if not self.path.exists():
            return None
        saved = persistence.load_values(self.path, "checkpoint")
        theirs, state = saved.get("identity"), saved.get("state")
        if not isinstance(theirs, dict) or not isinstance(state, dict):
            raise ValueError(f"The checkpoint {os.fspath(self.path)!r} is damaged: delete it.")
        self._check(theirs)
        persistence.remove_half_written(self.path)
        return state

    def _offer(self, state: Callable[[], Mapping[str, Any]], *, is_iteration: bool) -> None:
        """Write the state if a write is due; only iterations wait for ``every``."""
        self._n_waiting += 1
        if is_iteration and self._n_waiting < self.every:
            return
        if time.monotonic() - self._written >= self.seconds:
            self._write(state())

    def _write(self, state: Mapping[str, Any]) -> None:
        """Write the state."""
        persistence.save_values(
            self.path, "checkpoint", {"identity": self._identity, "state": dict(state)}
        )
        self._n_waiting, self._written = 0, time.monotonic()

    def _finish(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """At the end of the fit, remove the file, or write the final state if ``keep`` is set."""
        if self.keep:
            self._write(state())
        else:
            self.path.unlink(missing_ok=True)

    def _check(self, saved: Identity) -> None:
        """Raise ValueError if the file belongs to another fit."""
        names = [*self._identity, *(name for name in saved if name not in self._identity)]
        differing = [
            f"{name} is {saved.get(name)} there and {self._identity.get(name)} here"
            for name in names
            if saved.get(name) != self._identity.get(name)
        ]
        if differing:
            raise ValueError(
                f"The checkpoint {os.fspath(self.path)!r} is of another fit: "
                f"{'; '.join(differing)}. Delete it, or choose another path."
            )


def identity_of(estimator: Any, data: Prepared) -> Identity:
    """Describe the fit in words; a fit can continue only one with an equal description."""
    blocks = data.blocks
    params = estimator.get_params(deep=False)
    origin = to_host(data.origin)
    numbers = np.asarray([data.mean_variance, data.total_sq, data.mass])
    measured = hashlib.sha256(origin.tobytes() + numbers.tobytes()).hexdigest()
    return {
        "estimator": type(estimator).__name__,
        **{name: _told(value) for name, value in params.items() if name not in _IDLE},
        "X": f"{blocks.n_points} x {blocks.n_features} {origin.dtype.name}",
        "library": library_name(blocks.xp),
        "the mean and spread of the rows": f"{measured[:8]}...",
    }


def _told(value: Any) -> str:
    """Return one line that differs between two parameters if their fits may differ."""
    if isinstance(value, np.generic):
        value = value.item()
    if is_array_like(value):
        host = np.ascontiguousarray(to_host(value))
        digest = hashlib.sha256(host.tobytes()).hexdigest()
        return f"an array of shape {host.shape} ({host.dtype}, {digest[:8]}...)"
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return f"a {type(value).__name__}"  # its state is in the file
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return repr(value)
