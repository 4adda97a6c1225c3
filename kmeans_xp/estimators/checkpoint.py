"""A file from which a fit that was killed goes on."""

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

#: parameters that no result depends on
_IDLE = ("copy_x", "verbose")

Identity = dict[str, str]


class Checkpoint:
    """A callback that writes where a fit stands to a file, and lets a later fit go on from it.

    The first fit of an estimator with this callback writes the file. If it is killed, the same
    fit begun again, in another process, reads the file and goes on after the last iteration that
    was written. It ends as if there had been no interruption, to the last bit on the same
    library and device.

    Parameters
    ----------
    path : path-like
        Of the file, safetensors. Each time it is replaced whole; a disk that is full, say, leaves
        the one before. Its size is that of the centroids, twice if there are several runs.
    every : int, default=1
        Iterations, steps of mini-batches or splits, from one writing to the next.
    seconds : float, default=0.0
        Least time from one writing to the next: where iterations are short, writing each would
        take longer than they do.
    keep : bool, default=False
        Whether to keep the file when the fit is done: the same fit begun again then ends at once.
        By default it is removed.

    Attributes
    ----------
    resumed : str or None
        Where the last fit went on, in words; None if it began at the beginning.

    Raises
    ------
    ValueError
        By ``fit``, before any iteration, if the file is a checkpoint of another fit (the
        parameters, the library or the rows differ), or no checkpoint; the file stays.
    OSError
        By ``fit``, if the file cannot be written.

    See Also
    --------
    KMeans.save : For a fit that is done.

    Notes
    -----
    What is kept: the run of ``n_init``, its iteration, the centroids unrounded, the best run so
    far, the history, and the state of the random numbers; of ``BisectingKMeans`` the tree after
    each split, along which its rows are divided again. The rows are not kept. They are known by
    their number, dtype, mean and spread, which are measured before any fit.

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
        """Do nothing: the estimator asks for the file when it has looked at the rows.

        Parameters
        ----------
        estimator : estimator
            Whose fit begins.
        context : sklearn.callback.CallbackContext
            The fit, as a task.
        """

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing: the estimator itself offers where it stands.

        Parameters
        ----------
        estimator : estimator
            That is being fitted.
        context : sklearn.callback.CallbackContext
            The task that begins.
        """

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Do nothing: the estimator itself offers where it stands.

        Parameters
        ----------
        estimator : estimator
            That is being fitted.
        context : sklearn.callback.CallbackContext
            The task that ends.
        """

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing: the file of a fit that failed stays for the next one.

        Parameters
        ----------
        estimator : estimator
            Whose fit ended.
        context : sklearn.callback.CallbackContext
            The fit, as a task.
        """

    def _begin(self, identity: Identity) -> dict[str, Any] | None:
        """Return the state that a fit of this identity was left in; None without a file."""
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
        """Write the state, if it is time to: other events do not wait for ``every``."""
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
        """Remove the file of a fit that is done, or write how it ended if it is to be kept."""
        if self.keep:
            self._write(state())
        else:
            self.path.unlink(missing_ok=True)

    def _check(self, saved: Identity) -> None:
        """Raise ValueError if the file is of another fit."""
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
    """Return in words what a fit must have in common with one that it goes on with."""
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
    """Return a parameter as one line that differs if the fit would."""
    if isinstance(value, np.generic):
        value = value.item()
    if is_array_like(value):
        host = np.ascontiguousarray(to_host(value))
        digest = hashlib.sha256(host.tobytes()).hexdigest()
        return f"an array of shape {host.shape} ({host.dtype}, {digest[:8]}...)"
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return f"a {type(value).__name__}"  # whose state is in the file
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return repr(value)
