"""Pictures of clusters. Matplotlib is imported when one is drawn.

Each function takes arrays of any library and device, draws on ``ax`` or on a figure of its own,
which pyplot does not know, and returns the axes. Each has a Display beside it, as scikit-learn's
pictures have, with what was drawn as attributes.
"""

from kmeans_xp.plotting.animation import animation
from kmeans_xp.plotting.centroid_path import CentroidPath
from kmeans_xp.plotting.clusters import ClustersDisplay, clusters
from kmeans_xp.plotting.convergence import ConvergenceDisplay, convergence
from kmeans_xp.plotting.elbow import ElbowDisplay, elbow
from kmeans_xp.plotting.figures import check_format
from kmeans_xp.plotting.inertia_history import InertiaHistoryDisplay, inertia_history
from kmeans_xp.plotting.profiles import ProfilesDisplay, profiles
from kmeans_xp.plotting.silhouette import SilhouetteDisplay, silhouette
from kmeans_xp.plotting.voronoi import VoronoiDisplay, voronoi

__all__ = [
    "CentroidPath",
    "ClustersDisplay",
    "ConvergenceDisplay",
    "ElbowDisplay",
    "InertiaHistoryDisplay",
    "ProfilesDisplay",
    "SilhouetteDisplay",
    "VoronoiDisplay",
    "animation",
    "check_format",
    "clusters",
    "convergence",
    "elbow",
    "inertia_history",
    "profiles",
    "silhouette",
    "voronoi",
]
