"""
Lloyd's algorithm, step by step
===============================

An iteration of k-means has two halves. First, each point is assigned to its nearest centroid. Then
each centroid moves to the mean of its points.

Neither half can increase the inertia, the sum of squared distances to the centroids. The nearest
centroid is no farther than the one before. And no place has a smaller sum of squared distances to
some points than their mean. There is a finite number of ways to divide the points, so the algorithm
ends, at the latest when nothing moves.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs
from sklearn.preprocessing import StandardScaler

from kmeans_xp import KMeans, assign, inertia, lloyd
from kmeans_xp.plotting import InertiaHistoryDisplay

parser = argparse.ArgumentParser(description="Lloyd's algorithm, step by step.")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
device = parser.parse_known_args()[0].device


# %%
# Both halves
# -----------
# ``assign`` is the first half, and one iteration of ``lloyd`` is both. ``inertia`` measures after
# each half. The arrays may be of any library: CuPy arrays run on the GPU.
def half_steps(points, centroids, device=None):
    """Return the inertia after each half of each iteration, until moving gains nothing."""
    rows = []
    while not rows or rows[-1][1] < rows[-1][0]:
        labels = assign(points, centroids, device=device).labels
        moved = lloyd(points, centroids, max_iter=1, device=device).centroids
        halves = [inertia(points, place, labels, device=device) for place in (centroids, moved)]
        rows.append(halves)
        centroids = moved
    return np.asarray(rows)


def print_halves(halves):
    print("iteration   points assigned   centroids moved       change  status")
    before = np.nan
    for i, (assigned, moved) in enumerate(halves):
        change = "" if np.isnan(before) else f"{moved / before - 1:.3%}"
        status = "converged: nothing moves" if moved == assigned else "moving"
        print(f"{i:9}  {assigned:16.3f}  {moved:16.3f}  {change:>11}  {status}")
        before = moved


# %%
# Four blobs, and four first centroids that all lie in one of them: as bad a start as can be. Read
# the table from left to right and then down: no number is higher than the one before. Each
# iteration saves half of what is left, until each blob has one centroid.
blobs, truth = make_blobs(400, centers=4, cluster_std=0.9, random_state=3)
start = blobs[truth == 0][:4]
halves = half_steps(blobs, start, device)
print_halves(halves)

# %%
# From the estimator
# ------------------
# ``KMeans`` keeps the same in ``history_``: the inertia at the start of each iteration, and
# ``"shift"``, the sum of the squared distances that the centroids moved. With ``tol=0`` it runs
# until nothing moves. The default, ``tol=1e-4``, ends when the shift is at most 0.01 % of the mean
# variance of the features. The last column says which of the two is reached.


def print_history(model, points):
    inertias, shifts = model.history_["inertia"], model.history_["shift"]
    tolerance = 1e-4 * points.var(axis=0).mean()
    print("iteration        inertia       change     shift  status")
    for i, (value, shift) in enumerate(zip(inertias, shifts, strict=True)):
        change = f"{value / inertias[i - 1] - 1:.3%}" if i else ""
        status = "nothing moves" if shift == 0 else "within tol" if shift <= tolerance else "moving"
        if i < 20 or i % 5 == 0 or shift == 0:
            print(f"{i:9}  {value:13.3f}  {change:>11}  {shift:8.5f}  {status}")


model = KMeans(4, init=start, tol=0, device=device).fit(blobs)
print_history(model, blobs)

# %%
# Measured data
# -------------
# The weather of 7,873 hours in New York: temperature, dew point, humidity, wind, pressure and
# visibility, each scaled to standard deviation 1. Real data have no gaps between clusters, and the
# end takes longer. Iterations 3 to 10 save 1 or 2 % each, and the run seems to be over. But a
# centroid is on its way: when it arrives (11 to 13), they save up to 3.6 % again.
#
# Then twenty iterations move a few hours on the borders to and fro. With the default ``tol``, the
# run would end at iteration 26 of 38, with an inertia 0.006 % higher.
folder = Path(__file__).parent if "__file__" in globals() else Path.cwd()
weather_file = folder / "data" / "jfk_weather_2013.csv"
weather = np.loadtxt(weather_file, delimiter=",", skiprows=1, usecols=range(1, 7))
weather = StandardScaler().fit_transform(weather)
weather_model = KMeans(4, init="random", n_init=1, tol=0, random_state=0, device=device)
weather_model.fit(weather)
print_history(weather_model, weather)

# %%
# The curves fall steeply at first, and then less. They never rise.
figure, axes = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
for ax, fitted, title in zip(axes, (model, weather_model), ("Four blobs", "Weather"), strict=True):
    InertiaHistoryDisplay.from_estimator(fitted, ax=ax)
    ax.set_title(title)
plt.show()
