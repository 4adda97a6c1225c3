"""K-means of this package in scikit-learn's place, in code that is not changed."""

from kmeans_xp.accelerate.acceleration import Acceleration, accelerate

__all__ = ["Acceleration", "accelerate"]
