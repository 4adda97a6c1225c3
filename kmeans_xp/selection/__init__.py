"""How many clusters a table of points has."""

from kmeans_xp.selection.choose import choose_n_clusters
from kmeans_xp.selection.selection import Candidate, Selection

__all__ = ["Candidate", "Selection", "choose_n_clusters"]
