"""
What k-means does: divide the plane among centroids
===================================================

K-means takes points and a number of clusters, and nothing else. It looks for that number of
*centroids*, so that the points lie near to them. The *inertia* is the sum of squared distances
from each point to its nearest centroid; k-means makes it small.

The pictures show the points as they come, the regions of the centroids, and the points by region:
the clusters.
"""

import argparse

import matplotlib.pyplot as plt
from sklearn.datasets import load_iris, make_blobs

from kmeans_xp import KMeans
from kmeans_xp.metrics import adjusted_rand_score
from kmeans_xp.plotting import ClustersDisplay, VoronoiDisplay

parser = argparse.ArgumentParser(description="What k-means does, in three pictures.")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
device = parser.parse_known_args()[0].device


# %%
# The example draws the same three pictures for made and for measured data. ``fit`` finds the
# centroids. ``labels_`` holds the number of the nearest centroid for each point.
def three_pictures(points, model, names, height):
    _, axes = plt.subplots(1, 3, figsize=(15, height), layout="constrained")
    raw, regions, clusters = axes
    raw.scatter(points[:, 0], points[:, 1], s=14, color="0.45")
    raw.set(title="The points as they come", xlabel=names[0], ylabel=names[1])
    VoronoiDisplay.from_estimator(model, points, feature_names=names, ax=regions)
    regions.set_title("Each region is nearest to one centroid")
    regions.get_legend().remove()
    ClustersDisplay.from_estimator(model, points, feature_names=names, ax=clusters)
    for ax in axes:
        ax.set_aspect("equal")  # so that right angles look right


def print_clusters(model, names):
    print(f"cluster  points  {names[0]:>18}  {names[1]:>18}")
    for cluster, centre in enumerate(model.cluster_centers_):
        size = int((model.labels_ == cluster).sum())
        print(f"{cluster:7}  {size:6}  {centre[0]:18.2f}  {centre[1]:18.2f}")
    print(f"inertia: {model.inertia_:.2f}")


# %%
# Made data
# ---------
# Four blobs of 75 points, whose true centres we know. On the left we see them at once, but the
# computer only has 300 pairs of numbers. In the middle, each border is straight. It runs half-way
# between two centroids, at right angles to the line between them. K-means can draw nothing else,
# whatever the shape of the data.
#
# Where two blobs touch, the border goes through both, and some points end on the wrong side. The
# *adjusted Rand index* measures the agreement with the truth: 1 for the same partition, 0 for
# chance.
blobs, truth = make_blobs(300, centers=4, cluster_std=0.8, random_state=0)
model = KMeans(4, n_init=10, random_state=0, device=device).fit(blobs)
rand_index = adjusted_rand_score(truth, model.labels_)

print_clusters(model, ["x0", "x1"])
print(f"adjusted Rand index: {rand_index:.3f}")
three_pictures(blobs, model, ["x0", "x1"], height=6)

# %%
# Measured data
# -------------
# The petals of 150 irises of three species, measured in 1936. K-means does not know the species.
# One of them has small petals and lies apart. The other two meet, and the straight border between
# their centroids gives a few flowers to the wrong one.
iris = load_iris()
petals, petal_names = iris.data[:, 2:], ["petal length (cm)", "petal width (cm)"]
iris_model = KMeans(3, n_init=10, random_state=0, device=device).fit(petals)
iris_rand_index = adjusted_rand_score(iris.target, iris_model.labels_)

print_clusters(iris_model, petal_names)
print(f"adjusted Rand index against the species: {iris_rand_index:.3f}")
three_pictures(petals, iris_model, petal_names, height=2.9)
plt.show()
