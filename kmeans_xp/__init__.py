"""K-Means for whatever array you have, on whatever device it is."""

import importlib
from typing import TYPE_CHECKING, Any

from kmeans_xp import devices
from kmeans_xp._version import __version__
from kmeans_xp.accelerate import accelerate
from kmeans_xp.blocks import open_rows
from kmeans_xp.config import config_context
from kmeans_xp.estimators import (
    BisectingKMeans,
    Checkpoint,
    KMeans,
    MiniBatchKMeans,
    ProgressLine,
    assign,
    inertia,
    k_means,
    k_means_batched,
    kmeans_parallel,
    kmeans_plusplus,
    lloyd,
)

__all__ = [
    "BisectingKMeans",
    "Checkpoint",
    "KMeans",
    "MiniBatchKMeans",
    "ProgressLine",
    "__version__",
    "accelerate",
    "assign",
    "config_context",
    "devices",
    "inertia",
    "k_means",
    "k_means_batched",
    "kmeans_parallel",
    "kmeans_plusplus",
    "lloyd",
    "open_rows",
]

if TYPE_CHECKING:
    from kmeans_xp import metrics as metrics
    from kmeans_xp import plotting as plotting
    from kmeans_xp import selection as selection
else:
    #: loaded at their first use, because few programs use all of them
    _LATER = ("metrics", "plotting", "selection")

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(f"{__name__}.{name}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LATER})
