"""Replace scikit-learn's k-means in every module that has it by name, and undo that."""

import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, Self

from kmeans_xp.accelerate.stand_ins import STAND_INS

__all__ = ["Acceleration", "accelerate"]

#: modules in which scikit-learn's own names stay: pickles of its models refer to them
_HOMES = frozenset(theirs.__module__ for theirs, _ in STAND_INS)


class Acceleration:
    """What ``accelerate`` has replaced; as a context manager, it undoes that at its end.

    Parameters
    ----------
    replaced : iterable of str
        Paths of the replaced names.

    Attributes
    ----------
    replaced : tuple of str
        Path of each replaced name, such as "sklearn.cluster.KMeans", sorted.
    """

    def __init__(self, replaced: Iterable[str]) -> None:
        self.replaced = tuple(sorted(replaced))

    def undo(self) -> None:
        """Restore scikit-learn's k-means, also in modules imported since.

        If another acceleration is still active, nothing changes until that is undone too.
        """
        if self in _in_force:
            _in_force.remove(self)
            if not _in_force:
                _put_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def __str__(self) -> str:
        """Return the report: a line for each module."""
        names: dict[str, list[str]] = {}
        for path in self.replaced:
            module, _, name = path.rpartition(".")
            names.setdefault(module, []).append(name)
        lines = [f"  {module}: {', '.join(each)}" for module, each in names.items()]
        return "\n".join(["kmeans_xp replaces scikit-learn's k-means in", *lines])


_in_force: list[Acceleration] = []


def accelerate() -> Acceleration:
    """Replace scikit-learn's k-means by this package's, for code that stays unchanged.

    ``sklearn.cluster`` then gives this package's ``KMeans``, ``MiniBatchKMeans``,
    ``BisectingKMeans``, ``k_means`` and ``kmeans_plusplus``. So does every module that has
    imported those names: scikit-learn's users of k-means (``SpectralClustering``, the
    biclustering estimators, ``KBinsDiscretizer``, ``GaussianMixture``), other packages, and
    ``__main__``. From a shell: ``python -m kmeans_xp.accelerate script.py``.

    Returns
    -------
    Acceleration
        Its ``replaced`` lists what was replaced, and ``undo()`` restores it. As a context
        manager, it restores it at the end of the block. ``print`` shows a report.

    Notes
    -----
    scikit-learn's private modules keep their own classes, so pickles of its models load as its
    models. ``isinstance`` is true for models of both packages, with either package's class.
    Pickles of models fitted in between need this package, and load without ``accelerate``.

    Only names of modules are replaced, not an element of a list or a default argument. Other
    processes must call this too.

    Examples
    --------
    >>> import sklearn.cluster
    >>> from kmeans_xp import accelerate
    >>> with accelerate() as acceleration:
    ...     model = sklearn.cluster.KMeans(2, random_state=0).fit([[0.0], [1.0], [8.0], [9.0]])
    >>> type(model)
    <class 'kmeans_xp.accelerate.stand_ins.KMeans'>
    >>> "sklearn.cluster.KMeans" in acceleration.replaced
    True
    """
    try:
        acceleration = Acceleration(_swapped(STAND_INS))
    except BaseException:  # a module that refuses a new value, or an interrupt
        if not _in_force:
            _put_back()
        raise
    _in_force.append(acceleration)
    return acceleration


def _put_back() -> None:
    list(_swapped((ours, theirs) for theirs, ours in STAND_INS))


def _swapped(pairs: Iterable[tuple[Any, Any]]) -> Iterator[str]:
    """Replace the first of each pair by the second in all modules, and yield the paths."""
    in_its_place = {id(old): new for old, new in pairs}
    modules: dict[str, Any] = dict(sys.modules)  # some values are not modules
    for path, module in modules.items():
        if not isinstance(module, ModuleType) or path in _HOMES or _is_own(path):
            continue
        for name, value in list(vars(module).items()):
            if id(value) in in_its_place:
                setattr(module, name, in_its_place[id(value)])
                yield f"{path}.{name}"


def _is_own(path: str) -> bool:
    return path.partition(".")[0] == __name__.partition(".")[0]
