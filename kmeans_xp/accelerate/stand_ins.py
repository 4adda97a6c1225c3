"""What is put in scikit-learn's place: this package's classes and functions, as names of their own.

So ``undo`` knows them wherever a module has imported them to, and ``isinstance`` holds between them
and scikit-learn's own classes, in both directions.
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
    """The type of classes that stand in the place of others."""

    def __instancecheck__(cls, instance: Any) -> bool:
        # Models of scikit-learn's own, from a pickle or from before, are still what they were.
        # A user's subclass has no such instances.
        theirs = cls.__dict__.get("_stands_for", ())
        return super().__instancecheck__(instance) or isinstance(instance, theirs)


class KMeans(estimators.KMeans, metaclass=_StandIn):
    """``kmeans_xp.KMeans`` in the place of scikit-learn's."""

    _stands_for: ClassVar[Any] = sklearn.cluster.KMeans


class MiniBatchKMeans(estimators.MiniBatchKMeans, metaclass=_StandIn):
    """``kmeans_xp.MiniBatchKMeans`` in the place of scikit-learn's."""

    _stands_for: ClassVar[Any] = sklearn.cluster.MiniBatchKMeans


class BisectingKMeans(estimators.BisectingKMeans, metaclass=_StandIn):
    """``kmeans_xp.BisectingKMeans`` in the place of scikit-learn's."""

    _stands_for: ClassVar[Any] = sklearn.cluster.BisectingKMeans


# Not __module__, by which pickle finds a function.
@functools.wraps(estimators.k_means, assigned=("__doc__",))
def k_means(*args: Any, **kwargs: Any) -> Any:  # noqa: D103
    return estimators.k_means(*args, **kwargs)


@functools.wraps(estimators.kmeans_plusplus, assigned=("__doc__",))
def kmeans_plusplus(*args: Any, **kwargs: Any) -> Any:  # noqa: D103
    return estimators.kmeans_plusplus(*args, **kwargs)


_CLASSES = (KMeans, MiniBatchKMeans, BisectingKMeans)

# scikit-learn's classes are abstract base classes, which take others for subclasses of theirs:
# code that holds one of them from before knows the stand-in for its instance.
for _class in _CLASSES:
    _class._stands_for.register(_class)

#: scikit-learn's own, and what stands in its place
STAND_INS: tuple[tuple[Any, Any], ...] = (
    *((each._stands_for, each) for each in _CLASSES),
    (sklearn.cluster.k_means, k_means),
    (sklearn.cluster.kmeans_plusplus, kmeans_plusplus),
)
