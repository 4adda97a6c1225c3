"""Lloyd iterations by other libraries on a GPU, from the same points and initial centroids."""

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any, NamedTuple

from kmeans_xp.algorithms import lloyd
from kmeans_xp.devices import choose
from kmeans_xp.estimators.preparation import prepared

__all__ = ["PEERS", "Peer", "UnusableError", "torch_lloyd"]

#: rows of a tile of scores, times clusters; without tiles torch's matrix would not fit
_TORCH_SCORES = 2**28


class UnusableError(Exception):
    """A peer that cannot run here; says why."""


class Peer(NamedTuple):
    """A library that runs Lloyd's algorithm.

    Parameters
    ----------
    version : str
    remark : str
        What to know when its times are compared.
    run : callable
        From a number of iterations to the centroids after them, as a CuPy array.
    """

    version: str
    remark: str
    run: Callable[[int], Any]


def kmeans_xp_peer(points: Any, centroids: Any) -> Peer:
    """Return this package."""
    import kmeans_xp

    data = prepared(points, None, choose(points, None))
    begin = centroids - data.origin

    def run(n_iter: int) -> Any:
        # A negative tol: no run ends early.
        return lloyd(data.blocks, begin, max_iter=n_iter, tol=-1.0).centroids + data.origin

    return Peer(kmeans_xp.__version__, "", run)


def torch_peer(points: Any, centroids: Any) -> Peer:
    """Return the plain loop of matmul, argmin and index_add on torch's CUDA tensors."""
    torch = _imported("torch")
    if not torch.cuda.is_available():
        raise UnusableError("this torch has no CUDA")
    torch.backends.cuda.matmul.allow_tf32 = False
    theirs, begin = (torch.from_dlpack(array) for array in (points, centroids))

    def run(n_iter: int) -> Any:
        return _as_cupy(torch_lloyd(theirs, begin, n_iter))

    return Peer(torch.__version__, "matmul, argmin, index_add; float32 without TF32", run)


def torch_lloyd(points: Any, centroids: Any, n_iter: int) -> Any:
    """Return the centroids after some iterations, as torch users write them."""
    n_clusters = len(centroids)
    size = max(1024, _TORCH_SCORES // n_clusters)
    ones = points.new_ones(len(points))
    for _ in range(n_iter):
        half_sq_norms = (centroids * centroids).sum(dim=1) / 2
        sums = points.new_zeros(centroids.shape)
        mass = points.new_zeros(n_clusters)
        for start in range(0, len(points), size):
            tile = points[start : start + size]
            labels = (half_sq_norms - tile @ centroids.T).argmin(dim=1)
            sums.index_add_(0, labels, tile)
            mass.index_add_(0, labels, ones[start : start + size])
        means = sums / mass.clamp(min=1)[:, None]
        centroids = means.where(mass[:, None] > 0, centroids)
    return centroids


def cuml_peer(points: Any, centroids: Any) -> Peer:
    """Return cuML's KMeans."""
    cuml = _imported("cuml")
    cluster = _imported("cuml.cluster")

    def run(n_iter: int) -> Any:
        model = cluster.KMeans(
            n_clusters=len(centroids),
            init=centroids,
            n_init=1,
            max_iter=n_iter,
            tol=1e-30,  # must be positive
            output_type="cupy",
        ).fit(points)
        if model.n_iter_ < n_iter:
            raise UnusableError(f"it ended after {model.n_iter_} of {n_iter} iterations")
        return model.cluster_centers_

    return Peer(cuml.__version__, "a whole fit: times are differences", run)


def flash_kmeans_peer(points: Any, centroids: Any) -> Peer:
    """Return flash-kmeans, as a batch of one."""
    flash_kmeans, torch = _imported("flash_kmeans"), _imported("torch")
    theirs, begin = (torch.from_dlpack(array)[None] for array in (points, centroids))

    def run(n_iter: int) -> Any:
        # A copy, since it writes to the centroids that it is given.
        _, made, *_ = flash_kmeans.batch_kmeans_Euclid(
            theirs, len(centroids), max_iters=n_iter, tol=-1.0, init_centroids=begin.clone()
        )
        return _as_cupy(made[0])

    version = importlib.metadata.version("flash-kmeans")
    return Peer(version, "Triton's products of float32 may be TF32", run)


PEERS: dict[str, Callable[[Any, Any], Peer]] = {
    "kmeans_xp": kmeans_xp_peer,
    "torch": torch_peer,
    "cuml": cuml_peer,
    "flash_kmeans": flash_kmeans_peer,
}


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnusableError(f"not importable: {error}") from error


def _as_cupy(tensor: Any) -> Any:
    import cupy

    return cupy.from_dlpack(tensor.contiguous())
