"""
Where k-means fails
===================

K-means gives k clusters for any data, without complaint. They are good where clusters are round,
have equal sizes and spreads, and where all features count. Elsewhere, they are not what one would
draw by hand.

Each row below has the truth on the left and the result of k-means on the right. The adjusted Rand
index is 1 for the same partition, and 0 for chance.
"""

import argparse

import matplotlib.pyplot as plt
from sklearn.datasets import load_wine, make_blobs, make_moons
from sklearn.preprocessing import StandardScaler

from kmeans_xp import KMeans
from kmeans_xp.metrics import adjusted_rand_score
from kmeans_xp.plotting import ClustersDisplay

parser = argparse.ArgumentParser(description="Where k-means fails.")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
device = parser.parse_known_args()[0].device


# %%
# Made data
# ---------
# * **Moons**: k-means can only draw a straight border between two centroids. It cuts both moons.
# * **Unequal sizes**: 2,000 points beside two blobs of 60. Cutting the large blob into three saves
#   more inertia than separating the small ones, so k-means does that.
# * **Unequal densities**: the border runs half-way between the centroids, and the wide blob loses
#   its rim to the narrow ones.
# * **An irrelevant feature**: only ``x0`` separates the two blobs. ``x1`` has no information but
#   spreads ten times as wide, so k-means divides along ``x1``.
def datasets():
    """Return a dictionary from name to points and their true clusters."""
    moons = make_moons(400, noise=0.06, random_state=0)
    centres = [[0.0, 0.0], [7.0, 2.5], [7.0, -2.5]]
    sizes = make_blobs([2000, 60, 60], centers=centres, cluster_std=[2.0, 0.6, 0.6], random_state=0)
    densities = make_blobs(
        [300, 300, 300],
        centers=[[0.0, 0.0], [6.0, 2.5], [6.0, -2.5]],
        cluster_std=[2.8, 0.4, 0.4],
        random_state=0,
    )
    blobs, truth = make_blobs(400, centers=[[-3.0, 0.0], [3.0, 0.0]], random_state=0)
    return {
        "moons": moons,
        "unequal sizes": sizes,
        "unequal densities": densities,
        "an irrelevant feature": (blobs * [1.0, 10.0], truth),
    }


def clustered(points, truth):
    """Return the fitted model, and the adjusted Rand index."""
    n_clusters = int(truth.max()) + 1
    model = KMeans(n_clusters, n_init=10, random_state=0, device=device).fit(points)
    return model, adjusted_rand_score(truth, model.labels_)


def draw_both(axes, name, points, truth, model, rand_index):
    ClustersDisplay.from_predictions(points, truth, ax=axes[0])
    axes[0].set_title(f"{name}: the truth")
    ClustersDisplay.from_estimator(model, points, ax=axes[1])
    axes[1].set_title(f"k-means, adjusted Rand index {max(rand_index, 0):.2f}")
    for ax in axes:
        ax.get_legend().remove()


made = datasets()
rand_indices = {}
figure, axes = plt.subplots(len(made), 2, figsize=(11, 17), layout="constrained")
for row, (name, (points, truth)) in zip(axes, made.items(), strict=True):
    model, rand_indices[name] = clustered(points, truth)
    draw_both(row, name, points, truth, model, rand_indices[name])
    print(f"{name:22} adjusted Rand index {rand_indices[name]:6.3f}")

# %%
# What helps
# ----------
# Scaling repairs the irrelevant feature here: both features then have the same spread, and only
# ``x0`` has a gap. It does not repair the others. Other methods suit those: density-based ones for
# moons, mixtures for unequal spreads.
scaled_rand_indices = {
    name: clustered(StandardScaler().fit_transform(points), truth)[1]
    for name, (points, truth) in made.items()
}
for name, value in scaled_rand_indices.items():
    print(f"{name:22} adjusted Rand index {value:6.3f} with scaling")

# %%
# Measured data
# -------------
# The same in real data: 178 wines of three cultivars, 13 measurements. Proline, in milligrams, has
# a standard deviation of 315, the others of 0.1 to 14. Unscaled, k-means clusters proline. Scaled,
# it finds the cultivars.
wine = load_wine()
wine_points = {"unscaled": wine.data, "scaled": StandardScaler().fit_transform(wine.data)}
wine_rand_indices = {}
figure, axes = plt.subplots(2, 2, figsize=(11, 8.5), layout="constrained")
for row, (name, points) in zip(axes, wine_points.items(), strict=True):
    model, wine_rand_indices[name] = clustered(points, wine.target)
    draw_both(row, f"wines, {name}", points, wine.target, model, wine_rand_indices[name])
    print(f"wines, {name:15} adjusted Rand index {wine_rand_indices[name]:6.3f}")
plt.show()
