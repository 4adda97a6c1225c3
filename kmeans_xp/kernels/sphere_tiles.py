"""Kernels for rows on a sphere: run those for dense rows on one scaled tile after another."""

from collections.abc import Callable
from typing import Any

from kmeans_xp.devices import Namespace, within_budget
from kmeans_xp.kernels.kernel import Kernel
from kmeans_xp.kernels.portable.assignment import (
    assigned_inertia,
    assigned_sq_distances,
    cluster_sums,
    nearest_centroid,
    nearest_labels,
    sq_distances,
)
from kmeans_xp.kernels.portable.moments import column_moments
from kmeans_xp.kernels.portable.seeding import candidate_potentials, closer_of
from kmeans_xp.kernels.portable.steps import lloyd_step
from kmeans_xp.kernels.sphere_rows import SphereRows
from kmeans_xp.kernels.trees import merged_in_tree

__all__ = ["register_sphere_tiles"]

#: kernels with a result for each row, and kernels that add up over rows
_MAPPING: tuple[Kernel[..., Any], ...] = (
    assigned_sq_distances,
    closer_of,
    nearest_centroid,
    nearest_labels,
    sq_distances,
)
_ADDING: tuple[Kernel[..., Any], ...] = (
    assigned_inertia,
    candidate_potentials,
    cluster_sums,
    column_moments,
    lloyd_step,
)


def register_sphere_tiles(library: str, tile_bytes: int) -> None:
    """Let a library's kernels for dense rows compute on rows of a sphere.

    Parameters
    ----------
    library : str
    tile_bytes : int
        Most memory for a tile's scaled copy. The tiles depend only on shapes.
    """
    for kernels, merged in ((_MAPPING, _joined), (_ADDING, _added)):
        for kernel in kernels:
            kernel.override(library, rows=SphereRows)(_by_tiles(kernel, merged, tile_bytes))


def _by_tiles(
    kernel: Kernel[..., Any], merged: Callable[..., Any], tile_bytes: int
) -> Callable[..., Any]:
    def on_scaled_tiles(rows: SphereRows, *operands: Any, xp: Namespace) -> Any:
        size = max(1, within_budget(tile_bytes) // (rows.n_stored * 8))

        def of_tile(place: slice, tile: SphereRows) -> Any:
            given = (
                operand[place] if number in kernel.per_row else operand
                for number, operand in enumerate(operands, start=1)
            )
            return kernel(tile.scaled(), *given, xp=xp)

        return merged((of_tile(*each) for each in rows.tiles(size)), xp=xp)

    return on_scaled_tiles


def _added(parts: Any, *, xp: Namespace) -> Any:  # noqa: ARG001 (as ``_joined``)
    return merged_in_tree(parts)


def _joined(parts: Any, *, xp: Namespace) -> Any:
    every = list(parts)
    if len(every) == 1:
        return every[0]
    if isinstance(every[0], tuple):
        return type(every[0])(*(xp.concat(each) for each in zip(*every, strict=True)))
    return xp.concat(every)
