"""Replace scikit-learn's k-means by this package's, without a change of the code that uses it."""

from kmeans_xp.accelerate.acceleration import Acceleration, accelerate

__all__ = ["Acceleration", "accelerate"]
