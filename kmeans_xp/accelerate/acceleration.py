"""Put in place, in every module that has scikit-learn's k-means by name, and taken out again."""

import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, Self

from kmeans_xp.accelerate.stand_ins import STAND_INS

__all__ = ["Acceleration", "accelerate"]

#: where scikit-learn's own keep their names: pickles of its models name these modules
_HOMES = frozenset(theirs.__module__ for theirs, _ in STAND_INS)


class Acceleration:
    """What ``accelerate`` has replaced; as a context manager it undoes that at its end.

    Parameters
    ----------
    replaced : iterable of str
        Paths of the replaced names.

    Attributes
    ----------
    replaced : tuple of str
        Path of each name that was replaced, such as "sklearn.cluster.KMeans", in order.
    """

    def __init__(self, replaced: Iterable[str]) -> None:
        self.replaced = tuple(sorted(replaced))

    def undo(self) -> None:
        """Put scikit-learn's own back, also in modules that were imported since.

        While another acceleration is in force, nothing changes until that one is undone too.
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
        return "\n".join(["kmeans_xp stands in the place of scikit-learn's k-means in", *lines])


_in_force: list[Acceleration] = []


def accelerate() -> Acceleration:
    """Put this package's k-means in scikit-learn's place, for code that is not changed.

    ``sklearn.cluster`` then gives this package's ``KMeans``, ``MiniBatchKMeans``,
    ``BisectingKMeans``, ``k_means`` and ``kmeans_plusplus``, and every module that has imported
    those names has them too: scikit-learn's users of k-means (``SpectralClustering``, the
    biclustering estimators, ``KBinsDiscretizer``, ``GaussianMixture``), other packages, and
    ``__main__``. From a shell: ``python -m kmeans_xp.accelerate script.py``.

    Returns
    -------
    Acceleration
        Its ``replaced`` says what was replaced and ``undo()`` puts it back; as a context manager,
        it puts it back at the end of the block. ``print`` shows a report.

    Notes
    -----
    The private modules in which scikit-learn defines the names keep them: pickles of its models
    load as what they are. ``isinstance`` holds for those and for the new ones, whichever of the
    two classes it is asked about. Pickles of models that were fitted meanwhile need this package,
    and load without ``accelerate``.

    What is not a name of a module is not found: an element of a list, a default argument. Nor is
    anything replaced in other processes, unless they call this too.

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
    except BaseException:  # a module that takes no new value, or an interrupt
        if not _in_force:
            _put_back()
        raise
    _in_force.append(acceleration)
    return acceleration


def _put_back() -> None:
    list(_swapped((ours, theirs) for theirs, ours in STAND_INS))


def _swapped(pairs: Iterable[tuple[Any, Any]]) -> Iterator[str]:
    """Put the second of each pair where a module has the first, and yield the paths."""
    in_its_place = {id(old): new for old, new in pairs}
    modules: dict[str, Any] = dict(sys.modules)  # some put there what is no module
    for path, module in modules.items():
        if not isinstance(module, ModuleType) or path in _HOMES or _is_own(path):
            continue
        for name, value in list(vars(module).items()):
            if id(value) in in_its_place:
                setattr(module, name, in_its_place[id(value)])
                yield f"{path}.{name}"


def _is_own(path: str) -> bool:
    return path.partition(".")[0] == __name__.partition(".")[0]
