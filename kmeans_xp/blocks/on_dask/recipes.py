"""Chunks that a task computes itself, one after another, instead of waiting for other tasks.

A scheduler takes some tenths of a millisecond for each task. Where chunks share no work, one
task can compute thousands of them, visit each and let it go.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

__all__ = ["Recipes", "recipes_of"]

Graph = Mapping[Any, Any]


class Recipes(Sequence[Any]):
    """Some chunks, each of which is computed when it is asked for.

    Parameters
    ----------
    recipes : iterable of (graph, key)
        What computes each chunk.
    """

    def __init__(self, recipes: Iterable[tuple[Graph, Any]]) -> None:
        self._recipes = tuple(recipes)

    def __len__(self) -> int:
        """Return the number of chunks."""
        return len(self._recipes)

    def __getitem__(self, position: Any) -> Any:
        """Return a chunk, or some of these recipes."""
        if isinstance(position, slice):
            return Recipes(self._recipes[position])
        graph, key = self._recipes[position]
        return import_module("dask.core").get(graph, [key])[0]


def recipes_of(graph: Graph, keys: Sequence[Any]) -> Recipes | None:
    """Return how to compute each chunk alone, or None if chunks share work or are there already.

    Parameters
    ----------
    graph : mapping
        Of tasks, optimized.
    keys : sequence
        Of the chunks in it.
    """
    owners: dict[Any, int] = {}
    recipes = []
    for number, key in enumerate(keys):
        own = _own_graph(graph, key)
        if own is None:
            return None
        if any(owners.setdefault(each, number) != number for each in own if _is_work(own[each])):
            return None
        recipes.append((own, key))
    return Recipes(recipes)


def _own_graph(graph: Graph, key: Any) -> dict[Any, Any] | None:
    """Return what is needed for a key; None if that lies on a cluster."""
    own: dict[Any, Any] = {}
    waiting = [key]
    while waiting:
        key = waiting.pop()
        if key in own:
            continue
        if key not in graph or type(graph[key]).__module__.startswith("distributed"):
            return None
        own[key] = graph[key]
        waiting += own[key].dependencies
    return own


def _is_work(task: Any) -> bool:
    return type(task).__name__ not in ("Alias", "DataNode")
