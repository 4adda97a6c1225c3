"""Bisecting k-means: split one cluster in two by Lloyd's algorithm, again and again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain, islice
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from kmeans_xp import blocks as making
from kmeans_xp.algorithms.drawing import draw_by_weight
from kmeans_xp.algorithms.lloyd import UPDATES, LloydResult, inertia_of, lloyd
from kmeans_xp.algorithms.restarts import best_of, runs_from
from kmeans_xp.algorithms.seeding import n_with_weight
from kmeans_xp.blocks import Blocks, Members, PerRow
from kmeans_xp.devices import (
    Array,
    Device,
    Namespace,
    device_of,
    from_host,
    to_host,
    within_budget,
)
from kmeans_xp.kernels import (
    Halves,
    Room,
    Rows,
    gathered_rows,
    halves_of,
    in_places,
    labels_each_row_alone,
    nearest_labels,
    places_by_half,
    split_at_once,
)

__all__ = [
    "LEAF",
    "Bisected",
    "Bisection",
    "Children",
    "Strategy",
    "bisecting",
    "leaf_centroids",
    "leaves_of",
    "tree_labels",
]

Strategy = Literal["biggest_inertia", "largest_cluster"]
#: the left and the right child of each node; both come after the node
Children = tuple[tuple[int, int], ...]

#: the children of a node that was not split
LEAF = (-1, -1)
#: most memory for a tile's rows while they are labelled
_TILE_BYTES = 2**25


class Bisection(NamedTuple):
    """The tree after one more split.

    Parameters
    ----------
    centroids : array of shape (n_nodes, n_features)
        The centroid of each node, relative to the blocks' origin. The root's counts only while
        the tree has no other node.
    children : tuple of pairs of int
        The children of each node; ``LEAF`` where the node is a cluster.
    inertia : float
        Of all clusters, in squared units of the points.
    sq_shift : float
        Sum of the squared distances that the two centroids moved in their last iteration.
    node : int
        The node that was split.
    one_points : tuple of int
        Nodes whose rows are one point: no start splits them.
    """

    centroids: Array
    children: Children
    inertia: float
    sq_shift: float
    node: int
    one_points: tuple[int, ...] = ()


class Bisected(NamedTuple):
    """The result of bisecting.

    Parameters
    ----------
    centroids : array of shape (n_nodes, n_features)
        As in ``Bisection``.
    children : tuple of pairs of int
        As in ``Bisection``.
    labels : PerRow of int32
        The cluster of each row, by ``tree_labels``.
    inertia : float
        Of these labels, in squared units of the points.
    n_empty : int
        Clusters without rows: there are some where too few rows differ.
    """

    centroids: Array
    children: Children
    labels: PerRow
    inertia: float
    n_empty: int


class _Leaf(NamedTuple):
    """A cluster. ``path`` leads from the root to its node: "0" is left, "1" is right."""

    node: int = 0
    path: str = ""
    inertia: float = 0.0
    n_rows: int = 0
    n_weighted: int = 0
    is_one_point: bool = False

    @property
    def is_divisible(self) -> bool:
        return self.n_weighted > 1 and not self.is_one_point


class _Tree:
    """The nodes so far, and a heap of the leaves: the next one to split comes first."""

    def __init__(
        self, centroid: Array, root: _Leaf, strategy: Strategy, one_points: Iterable[int] = ()
    ) -> None:
        self.centroids = [centroid]  # the root's; then the pair of each split
        self.children = [LEAF]
        self.leaves: list[tuple[tuple[bool, bool, float, str], _Leaf]] = []
        self.one_points = set(one_points)
        self._is_by_inertia = strategy == "biggest_inertia"
        self.put(root)

    @property
    def n_nodes(self) -> int:
        return len(self.children)

    def put(self, leaf: _Leaf) -> None:
        """Add a leaf; of equal leaves, the leftmost is split first."""
        is_one_point = leaf.is_one_point or leaf.node in self.one_points
        leaf = leaf._replace(is_one_point=is_one_point)
        score = leaf.inertia if self._is_by_inertia else leaf.n_rows
        rank = (not leaf.is_divisible, leaf.n_rows == 0, -score, leaf.path)
        heappush(self.leaves, (rank, leaf))

    def next_leaf(self) -> _Leaf:
        """Take out the leaf to split next."""
        return heappop(self.leaves)[1]

    def leaf_of(self, node: int) -> _Leaf:
        """Take out the leaf of this node."""
        place = next(i for i, (_, leaf) in enumerate(self.leaves) if leaf.node == node)
        leaf = self.leaves.pop(place)[1]
        heapify(self.leaves)
        return leaf

    def split(self, leaf: _Leaf, centroids: Array, halves: tuple[_Leaf, _Leaf]) -> None:
        """Replace a leaf that was taken out by its two halves."""
        self.children[leaf.node] = (self.n_nodes, self.n_nodes + 1)
        for side, half in zip("01", halves, strict=True):
            self.put(half._replace(node=self.n_nodes, path=leaf.path + side))
            self.children.append(LEAF)
        self.centroids.append(centroids)

    def after(self, leaf: _Leaf, sq_shift: float, *, xp: Namespace) -> Bisection:
        """Return the report on the split of a leaf."""
        inertia = sum(each.inertia for _, each in self.leaves)
        centroids = xp.concat(self.centroids)
        one_points = tuple(sorted(self.one_points))
        return Bisection(centroids, tuple(self.children), inertia, sq_shift, leaf.node, one_points)


class _Split(NamedTuple):
    """How to split a leaf: by labels 0 and 1, or by the places of its rows, the left ones first."""

    centroids: Array
    sq_shift: float
    halves: tuple[_Leaf, _Leaf]
    labels: PerRow | None = None
    places: Array | None = None


class _Parts(Protocol):
    """The rows of each leaf, by the number of its node."""

    def part(self, node: int) -> Blocks:
        """Return the rows of a leaf."""

    def halves(self, node: int, part: Blocks, centroids: Array, labels: PerRow) -> Halves:
        """Return the inertia and the counts of the two halves."""

    def divide(self, node: int, split: _Split, left: int) -> None:
        """Give the rows of a leaf to the nodes ``left`` and ``left + 1``."""

    def labels(self, centroids: Array, children: Children) -> PerRow:
        """Return the labels that ``tree_labels`` gives."""


def bisecting(
    blocks: Blocks,
    n_clusters: int,
    starts: Callable[[Blocks], Iterable[Array]],
    *,
    strategy: Strategy = "biggest_inertia",
    max_iter: int = 300,
    tol: float = 0.0,
    algorithm: str = "lloyd",
    metric: str = "euclidean",
    before: Bisection | None = None,
    on_split: Callable[[Bisection], bool | None] | None = None,
) -> Bisected:
    """Split a cluster in two, beginning with all rows, until there are ``n_clusters``.

    A cluster whose rows are equal, except for rounding, is split only when all clusters are like
    that. Its second half is then empty.

    Parameters
    ----------
    blocks : Blocks
        The rows. If they lie in memory in one piece, each split copies the rows of its cluster;
        the indices take 8 bytes a row. Otherwise a label of 4 bytes a row is kept, and each split
        visits all rows.
    n_clusters : int
        At most the number of rows that have weight.
    starts : callable
        Takes the rows of a cluster and returns arrays of shape (2, n_features), relative to their
        origin. Lloyd's algorithm begins from each, and the best split is kept.
    strategy : {"biggest_inertia", "largest_cluster"}
        Split next the cluster with the greatest inertia, or with the most rows; of several, the
        first in the order of the leaves.
    max_iter : int
        As for ``lloyd``, in each split; so are the next three.
    tol : float
    algorithm : str
    metric : str
    before : Bisection, optional
        A tree that was grown on these rows, to go on from as if without an interruption; each of
        its splits takes a visit to the rows of its cluster.
    on_split : callable, optional
        Called with the tree after each split; returning True stops.

    Returns
    -------
    Bisected
        O(n_points * n_features) time for each iteration and level of the tree. A tree has from
        log2(n_clusters) to n_clusters - 1 levels.

    Raises
    ------
    ValueError
        If fewer than ``n_clusters`` rows have weight.

    References
    ----------
    .. [1] M. Steinbach, G. Karypis and V. Kumar, "A comparison of document clustering
       techniques", KDD Workshop on Text Mining (2000).
    """
    xp = blocks.xp
    n_weighted = n_with_weight(blocks)
    if n_weighted < n_clusters:
        raise ValueError(
            f"Only {n_weighted} rows have a positive sample_weight, "
            f"fewer than n_clusters={n_clusters}."
        )
    parts: _Parts = _InBlocks(blocks) if blocks.whole is None else _InOnePiece(blocks)
    root = xp.zeros((1, blocks.n_features), dtype=blocks.dtype, device=blocks.device)
    if n_clusters == 1:
        if metric == "cosine":  # of rows that cancel, the first that has weight stays
            root = blocks.take(draw_by_weight(blocks, np.zeros(1))).points
        root = lloyd(blocks, root, max_iter=1, metric=metric).centroids  # the weighted mean
    options = {"max_iter": max_iter, "tol": tol, "algorithm": algorithm, "metric": metric}
    whole = _Leaf(n_rows=blocks.n_points, n_weighted=n_weighted)
    tree = _Tree(root, whole, strategy, () if before is None else before.one_points)
    if before is not None:
        _grow_again(tree, before, parts)
    while len(tree.leaves) < n_clusters:
        leaf = tree.next_leaf()
        if not leaf.is_divisible:
            # No leaf is divisible: all rows stay on the left, since ties go there.
            tree.split(leaf, _centroid_twice(leaf, tree, blocks, metric), (leaf, _Leaf()))
            sq_shift = 0.0
        else:
            split = _best_split(leaf, parts, starts, options)
            if not all(half.n_weighted for half in split.halves):
                tree.one_points.add(leaf.node)
                tree.put(leaf)
                continue
            parts.divide(leaf.node, split, tree.n_nodes)
            tree.split(leaf, split.centroids, split.halves)
            sq_shift = split.sq_shift
        if on_split is not None and on_split(tree.after(leaf, sq_shift, xp=xp)):
            break
    n_empty = sum(leaf.n_rows == 0 for _, leaf in tree.leaves)
    centroids, children = xp.concat(tree.centroids), tuple(tree.children)
    labels = parts.labels(centroids, children)
    inertia = inertia_of(blocks, labels, leaf_centroids(centroids, children, xp=xp))
    return Bisected(centroids, children, labels, inertia, n_empty)


def _grow_again(tree: _Tree, before: Bisection, parts: _Parts) -> None:
    """Split the leaves of a tree as another was: labels have the bits that they had there."""
    split_at = {left: node for node, (left, _) in enumerate(before.children)}
    for left in range(1, len(before.children), 2):
        leaf, pair = tree.leaf_of(split_at[left]), before.centroids[left : left + 2, :]
        if not leaf.is_divisible:
            tree.split(leaf, pair, (leaf, _Leaf()))
            continue
        part = parts.part(leaf.node)
        labels = part.map_rows(nearest_labels, pair)
        halves = _leaves(parts.halves(leaf.node, part, pair, labels))
        parts.divide(leaf.node, _Split(pair, 0.0, halves, labels), left)
        tree.split(leaf, pair, halves)


def _best_split(
    leaf: _Leaf,
    parts: _Parts,
    starts: Callable[[Blocks], Iterable[Array]],
    options: dict[str, Any],
) -> _Split:
    """Return the best of several runs in a leaf."""
    part = parts.part(leaf.node)
    given = iter(starts(part))
    first = list(islice(given, 2))
    best: LloydResult | None
    if len(first) == 1:
        if (split := _split_at_once(part, first[0], **options)) is not None:
            return split
        best = lloyd(part, first[0], with_inertia=False, **options)  # nothing to compare it with
    else:
        best = best_of(runs_from(part, chain(first, given), **options))
    assert best is not None
    halves = _leaves(parts.halves(leaf.node, part, best.centroids, best.labels))
    return _Split(best.centroids, best.iterations[-1].sq_shift, halves, best.labels)


def _split_at_once(
    part: Blocks, start: Array, *, max_iter: int, tol: float, algorithm: str, metric: str
) -> _Split | None:
    """Return the split from a start, if one call can make all of it."""
    is_plain = algorithm in ("auto", "lloyd") and tol >= 0.0
    if part.whole is None or not is_plain:
        return None
    split = part.reduce(split_at_once, start, max_iter, tol, UPDATES[metric])
    if split is None:
        return None
    return _Split(split.centroids, split.sq_shift, _leaves(split.halves), places=split.places)


def _centroid_twice(leaf: _Leaf, tree: _Tree, blocks: Blocks, metric: str) -> Array:
    """Return the centroid of a leaf twice; all centroids except the root's came in pairs."""
    if leaf.node == 0:
        point = lloyd(blocks, tree.centroids[0], max_iter=1, metric=metric).centroids
    else:
        side = (leaf.node + 1) % 2
        point = tree.centroids[(leaf.node + 1) // 2][side : side + 1, :]
    return blocks.xp.concat([point, point])


def leaf_centroids(centroids: Array, children: Children, *, xp: Namespace) -> Array:
    """Return the centroids of the nodes that are clusters, in the order of their labels."""
    leaves = np.asarray(leaves_of(children))
    return xp.take(centroids, from_host(leaves, xp=xp, device=device_of(centroids)), axis=0)


def leaves_of(children: Sequence[tuple[int, int]]) -> list[int]:
    """Return the nodes that are clusters, from left to right: the order of their labels."""
    return [node for node, pair in _from_the_left(children) if pair == LEAF]


def _from_the_left(children: Sequence[tuple[int, int]]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield each node before its children, and all of the left subtree before the right one."""
    waiting = [0]
    while waiting:
        node = waiting.pop()
        yield node, children[node]
        if children[node] != LEAF:
            waiting += reversed(children[node])


def _leaves(halves: Halves) -> tuple[_Leaf, _Leaf]:
    numbers = zip(*(to_host(part).tolist() for part in halves), strict=True)
    left, right = (_Leaf(0, "", *each) for each in numbers)
    return left, right


class _InOnePiece:
    """Rows in memory in one piece; each leaf keeps the indices of its rows, in order."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._indices: dict[int, Array | None] = {0: None}  # the root has all rows
        self._room = Room()

    def part(self, node: int) -> Blocks:
        """Return a copy of the rows of a leaf, in the memory of the last one."""
        indices = self._indices[node]
        if indices is None:
            return self._blocks
        rows = self._blocks.reduce(gathered_rows, indices, self._room)
        return making.of_rows(rows, xp=self._blocks.xp)

    def halves(self, node: int, part: Blocks, centroids: Array, labels: PerRow) -> Halves:
        """Return the inertia and the counts of the two halves."""
        halves: Halves = part.reduce(_halves_of_all, centroids, per_row=(labels,))
        return halves

    def divide(self, node: int, split: _Split, left: int) -> None:
        """Give the rows of a leaf to two nodes."""
        xp, indices = self._blocks.xp, self._indices.pop(node)
        order, n_left = split.places, split.halves[0].n_rows
        if order is None:
            assert split.labels is not None
            order = places_by_half(split.labels.whole(), xp=xp)
        ordered = order if indices is None else xp.take(indices, order)
        # Copies: views would keep the whole array alive.
        self._indices[left] = xp.asarray(ordered[:n_left], copy=True)
        self._indices[left + 1] = xp.asarray(ordered[n_left:], copy=True)

    def labels(self, centroids: Array, children: Children) -> PerRow:
        """Return the leaf of each row."""
        blocks, xp = self._blocks, self._blocks.xp
        if not blocks.reduce(labels_each_row_alone, centroids):
            return blocks.map_rows(tree_labels, centroids, children)
        places, labels, n_leaves = [], [], 0
        for node, pair in _from_the_left(children):
            if node in self._indices:
                # Nodes below this one were not split by their rows: the first leaf has them all.
                indices = self._indices[node]
                if indices is None:
                    return blocks.map_rows(_filled, n_leaves)
                places.append(indices)
                labels.append(np.full(len(indices), n_leaves, dtype=np.int32))
            n_leaves += pair == LEAF
        return blocks.cut(_labels_at(places, labels, blocks.device, xp=xp))


class _InBlocks:
    """Rows in several blocks; each row keeps the number of its leaf."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._nodes: PerRow | None = None  # None: the root has all rows

    def part(self, node: int) -> Blocks:
        """Return all rows, with weight zero for those of other leaves."""
        return self._blocks if self._nodes is None else Members(self._blocks, self._nodes, node)

    def halves(self, node: int, part: Blocks, centroids: Array, labels: PerRow) -> Halves:
        """Return the inertia and the counts of the two halves."""
        if self._nodes is None:
            halves: Halves = part.reduce(_halves_of_all, centroids, per_row=(labels,))
        else:
            per_row = (labels, self._nodes)
            halves = self._blocks.reduce(_halves_of_node, centroids, node, per_row=per_row)
        return halves

    def divide(self, node: int, split: _Split, left: int) -> None:
        """Give the rows of a leaf to two nodes."""
        assert split.labels is not None  # only rows in one piece are split at once
        if self._nodes is None:
            self._nodes = self._blocks.map_rows(_first_nodes, left, per_row=(split.labels,))
            return
        per_row = (split.labels, self._nodes)
        self._nodes = self._blocks.map_rows(_further_nodes, node, left, per_row=per_row)

    def labels(self, centroids: Array, children: Children) -> PerRow:
        """Return the labels of one more visit."""
        return self._blocks.map_rows(tree_labels, centroids, children)


def _halves_of_node(
    rows: Rows, labels: Array, nodes: Array, centroids: Array, node: int, *, xp: Namespace
) -> Halves:
    """Return the inertia and the counts of the two halves of one node's rows."""
    return halves_of(rows, labels, nodes == node, centroids, xp=xp)


def _halves_of_all(rows: Rows, labels: Array, centroids: Array, *, xp: Namespace) -> Halves:
    """Return the inertia and the counts of the two halves of all these rows."""
    return halves_of(rows, labels, None, centroids, xp=xp)


def _first_nodes(rows: Rows, labels: Array, left: int, *, xp: Namespace) -> Array:  # noqa: ARG001
    return labels + left


def _further_nodes(
    rows: Rows,  # noqa: ARG001 (called as all functions are)
    labels: Array,
    nodes: Array,
    node: int,
    left: int,
    *,
    xp: Namespace,
) -> Array:
    return xp.where(nodes == node, labels + left, nodes)


def tree_labels(rows: Rows, centroids: Array, children: Children, *, xp: Namespace) -> Array:
    """Return the cluster of each row: from the root down, go to the nearer of the two children.

    Parameters
    ----------
    rows : Rows of n_points
    centroids : array of shape (n_nodes, n_features)
        Relative to the rows' origin.
    children : tuple of pairs of int
        As in ``Bisection``.
    xp : namespace

    Returns
    -------
    array of int32, shape (n_points,)
        The place of the row's leaf among the leaves, from left to right. Copies one tile of rows
        at a time; waits for the device once for each node and tile.
    """
    row_bytes = 8 * rows.n_stored
    size = max(1, min(rows.n_points, within_budget(_TILE_BYTES) // row_bytes))
    parts = [_tile_labels(tile, centroids, children, xp=xp) for _, tile in rows.tiles(size)]
    return parts[0] if len(parts) == 1 else xp.concat(parts)


def _tile_labels(rows: Rows, centroids: Array, children: Children, *, xp: Namespace) -> Array:
    reached: dict[int, Array | None] = {0: None}  # all rows reach the root
    places, labels = [], []
    n_leaves = 0
    for node, (left, right) in _from_the_left(children):
        indices = reached.pop(node)
        n_rows = rows.n_points if indices is None else int(indices.shape[0])
        if left < 0:
            if indices is None:
                return _filled(rows, n_leaves, xp=xp)
            places.append(indices)
            labels.append(np.full(n_rows, n_leaves, dtype=np.int32))
            n_leaves += 1
        elif n_rows == 0:
            reached[left] = reached[right] = indices
        else:
            part = rows if indices is None else rows.gathered(indices)
            sides = nearest_labels(part, centroids[left : right + 1, :], xp=xp)
            n_left = n_rows - int(xp.count_nonzero(sides))
            order = places_by_half(sides, xp=xp)
            ordered = order if indices is None else xp.take(indices, order)
            reached[left], reached[right] = ordered[:n_left], ordered[n_left:]
    return _labels_at(places, labels, rows.device, xp=xp)


def _filled(rows: Rows, label: int, *, xp: Namespace) -> Array:
    return xp.full((rows.n_points,), label, dtype=xp.int32, device=rows.device)


def _labels_at(places: list[Array], labels: list[Any], device: Device, *, xp: Namespace) -> Array:
    """Return the labels of all leaves' rows, from the places that these have among all rows."""
    found = from_host(np.concatenate(labels), xp=xp, device=device)
    return in_places(found, xp.concat(places), xp=xp)
