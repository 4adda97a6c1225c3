"""Pictures of clusters. Matplotlib is imported when one is drawn.

Each picture is a Display in scikit-learn's convention. Its ``from_...`` methods take arrays of any
library and device, and draw. Its attributes hold what was drawn. ``ax`` says where to draw. Without
it, the picture gets a new figure, which pyplot does not know.
"""

from kmeans_xp.plotting.animation import animation
from kmeans_xp.plotting.centroid_path import CentroidPath
from kmeans_xp.plotting.clusters import ClustersDisplay
from kmeans_xp.plotting.convergence import ConvergenceDisplay
from kmeans_xp.plotting.elbow import ElbowDisplay
from kmeans_xp.plotting.figures import check_format
from kmeans_xp.plotting.inertia_history import InertiaHistoryDisplay
from kmeans_xp.plotting.profiles import ProfilesDisplay
from kmeans_xp.plotting.silhouette import SilhouetteDisplay
from kmeans_xp.plotting.voronoi import VoronoiDisplay

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
]
