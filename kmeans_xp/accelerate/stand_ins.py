"""Stand-ins for scikit-learn's names: subclasses and wrappers of this package's own.

As separate objects, ``undo`` finds them in every module that imported them. ``isinstance`` works
between them and scikit-learn's own classes in both directions.
"""

import functools
from abc import ABCMeta
from typing import Any, ClassVar

import sklearn.cluster

from kmeans_xp import estimators

__all__ = [
    "STAND_INS",
    "BisectingKMeans",
    "KMeans",
    "MiniBatchKMeans",
    "k_means",
    "kmeans_plusplus",
]


class _StandIn(ABCMeta):
    """The metaclass of classes that replace scikit-learn's."""

    def __instancecheck__(cls, instance: Any) -> bool:
        # scikit-learn's own models, from a pickle or from before, count as instances too. They
        # do not count as instances of a user's subclass.
        theirs = cls.__dict__.get("_stands_for", ())
        return super().__instancecheck__(instance) or isinstance(instance, theirs)


class KMeans(estimators.KMeans, metaclass=_StandIn):
    """``kmeans_xp.KMeans`` as a replacement of scikit-learn's."""

    _stands_for: ClassVar[Any] = sklearn.cluster.KMeans


class MiniBatchKMeans(estimators.MiniBatchKMeans, metaclass=_StandIn):
    """``kmeans_xp.MiniBatchKMeans`` as a replacement of scikit-learn's."""

    _stands_for: ClassVar[Any] = sklearn.cluster.MiniBatchKMeans


class BisectingKMeans(estimators.BisectingKMeans, metaclass=_StandIn):
    """``kmeans_xp.BisectingKMeans`` as a replacement of scikit-learn's."""

    _stands_for: ClassVar[Any] = sklearn.cluster.BisectingKMeans


# Do not copy __module__: pickle finds a function by it.
@functools.wraps(estimators.k_means, assigned=("__doc__",))
def k_means(*args: Any, **kwargs: Any) -> Any:  # noqa: D103
    return estimators.k_means(*args, **kwargs)


@functools.wraps(estimators.kmeans_plusplus, assigned=("__doc__",))
def kmeans_plusplus(*args: Any, **kwargs: Any) -> Any:  # noqa: D103
    return estimators.kmeans_plusplus(*args, **kwargs)


_CLASSES = (KMeans, MiniBatchKMeans, BisectingKMeans)

# scikit-learn's classes are abstract base classes, so they can register the stand-ins. Then a
# stand-in's models are instances of a class of theirs that was imported before.
for _class in _CLASSES:
    _class._stands_for.register(_class)

#: scikit-learn's own, and the replacement
STAND_INS: tuple[tuple[Any, Any], ...] = (
    *((each._stands_for, each) for each in _CLASSES),
    (sklearn.cluster.k_means, k_means),
    (sklearn.cluster.kmeans_plusplus, kmeans_plusplus),
)
