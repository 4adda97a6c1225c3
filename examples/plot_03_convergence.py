"""
Watching k-means converge
=========================

The centroids start somewhere. Each iteration moves them to the mean of their nearest points, until
they rest. This example draws that as panels with arrows, and as an animation.
"""

import argparse
import tempfile
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, make_blobs
from sklearn.decomposition import PCA

from kmeans_xp import KMeans
from kmeans_xp.plotting import CentroidPath, ConvergenceDisplay, animation

parser = argparse.ArgumentParser(description="Watching k-means converge.")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
parser.add_argument("--gif", type=Path, help="where to write the animation")
arguments = parser.parse_known_args()[0]
device = arguments.device


# %%
# ``CentroidPath`` is a callback in scikit-learn's protocol. ``KMeans`` calls it at each iteration,
# and it keeps the centroids. That costs a little time. Without a callback, nothing is kept.
def fit_with_path(model, points):
    """Return the centroids before the first iteration, and after each."""
    path = CentroidPath()
    model.set_callbacks(path).fit(points)
    return path.centroids


def print_moves(model, path):
    """Print how far the centroids moved in each iteration."""
    print("iteration  longest move  shortest move")
    for i, (before, after) in enumerate(pairwise(path), 1):
        moves = np.linalg.norm(after - before, axis=1)
        print(f"{i:9}  {moves.max():12.3f}  {moves.min():13.3f}")
    print(f"inertia: {model.inertia_:.1f}")


# %%
# Made data
# ---------
# Five blobs. All first centroids lie at the lower left: five points next to each other. In the
# first iteration nearly all points are nearest to three of them, and these three jump. The other
# two follow when the borders come near. By iteration 5 all seems settled. But two centroids still
# share the blob at the left, and one covers two blobs. Then centroid 1 crosses over, and each blob
# has its own. The table shows it: the longest move grows again.
blobs, _ = make_blobs(500, centers=5, cluster_std=1.3, random_state=51)
start = blobs[blobs.sum(axis=1).argsort()[:5]]
model = KMeans(5, init=start, tol=0, device=device)
path = fit_with_path(model, blobs)

figure, axes = plt.subplots(2, 3, figsize=(13, 8), layout="constrained")
ConvergenceDisplay.from_path(blobs, path, ax=axes)
print_moves(model, path)

# %%
# As an animation
# ---------------
# The same as a film: the points take the colour of the nearest centroid, then the centroids move.
# The film goes to the folder for temporary files, or to the path in ``--gif``.
figure, ax = plt.subplots(figsize=(6.4, 4.8))
film = animation(blobs, path, ax=ax, max_iterations=10)
gif = arguments.gif or Path(tempfile.gettempdir()) / "kmeans_converges.gif"
film.save(gif, writer="pillow", dpi=80)
print(f"{gif.name}: {gif.stat().st_size:,} bytes")

# %%
# Measured data
# -------------
# 1,797 handwritten digits of 64 pixels, in the plane of their first two principal components,
# where the ten digits overlap. There are no gaps, and nothing jumps. After the first iteration,
# centroid 9 moves to the right for a dozen iterations, one or two units in each, and pushes
# centroid 8 down. Most of the others hardly move.
digits = PCA(2, random_state=0).fit_transform(load_digits().data)
digit_model = KMeans(10, init="random", n_init=1, random_state=0, device=device)
digit_path = fit_with_path(digit_model, digits)

figure, axes = plt.subplots(2, 3, figsize=(13, 8), layout="constrained")
ConvergenceDisplay.from_path(digits, digit_path, feature_names=["PC 1", "PC 2"], ax=axes)
print_moves(digit_model, digit_path)
plt.show()
