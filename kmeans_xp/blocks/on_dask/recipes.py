"""Chunks that a task computes itself, one after another, instead of waiting for other tasks.

A scheduler takes some tenths of a millisecond for each task. If chunks share no work, one task
can compute thousands of them, visit each and release it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Recipes", "is_future", "recipes_of"]

Graph = Mapping[Any, Any]


class Recipes(Sequence[Any]):
    """A sequence of chunks that computes each one on access.

    Parameters
    ----------
    recipes : iterable of sequences
        The nodes of a graph to compute for each chunk, its own node last.
    """

    def __init__(self, recipes: Iterable[Sequence[Any]]) -> None:
        self._recipes = tuple(recipes)

    def __dask_tokenize__(self) -> int:
        """Return an identity within this process: by default Dask would hash the content."""
        return id(self)

    def __len__(self) -> int:
        """Return the number of chunks."""
        return len(self._recipes)

    def __getitem__(self, position: Any) -> Any:
        """Return a chunk, or some of these recipes."""
        if isinstance(position, slice):
            return Recipes(self._recipes[position])
        values: dict[Any, Any] = {}
        for node in self._recipes[position]:
            values[node.key] = node(values)
        return values[node.key]


def recipes_of(graph: Graph, keys: Sequence[Any]) -> Recipes | None:
    """Return how to compute each chunk alone; None if chunks share work or are on a cluster.

    Parameters
    ----------
    graph : mapping
        Optimized graph of tasks.
    keys : sequence
        Keys of the chunks in it.

    Returns
    -------
    Recipes or None
    """
    owners: dict[Any, int] = {}
    recipes = []
    for number, key in enumerate(keys):
        nodes = _in_order(graph, key)
        if nodes is None:
            return None
        work = (node.key for node in nodes if not _is_data(node))
        if any(owners.setdefault(each, number) != number for each in work):
            return None
        recipes.append(nodes)
    return Recipes(recipes)


def _in_order(graph: Graph, key: Any) -> list[Any] | None:
    """Return the nodes that a key needs, in order of computation; None if some are missing."""
    order: dict[Any, Any] = {}
    waiting = [key]
    while waiting:
        key = waiting[-1]
        node = graph.get(key)
        # Graphs that Dask does not fuse also have plain values.
        if node is None or is_future(node) or not hasattr(node, "dependencies"):
            return None
        needed = [each for each in node.dependencies if each not in order]
        if needed:
            waiting += needed
            continue
        order[key] = node
        waiting.pop()
    return list(order.values())


def is_future(node: Any) -> bool:
    """Return whether a value of a graph refers to a result on a cluster."""
    return type(node).__module__.startswith("distributed")


def _is_data(node: Any) -> bool:
    return type(node).__name__ in ("Alias", "DataNode")
