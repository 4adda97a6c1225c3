"""
Ways to start: k-means++ or random, once or ten times
=====================================================

There are two answers to bad starts. One is to choose the first centroids with care
(``init="k-means++"``). The other is to start several times and keep the best (``n_init=10``). Fifty
runs of each of the four combinations show the gain and the cost.
"""

import argparse
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_wine, make_blobs
from sklearn.preprocessing import StandardScaler

from kmeans_xp import KMeans

parser = argparse.ArgumentParser(description="Ways to start k-means.")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
device = parser.parse_known_args()[0].device

WAYS = [("random", 1), ("random", 10), ("k-means++", 1), ("k-means++", 10)]
COLOURS = {"random": "#D55E00", "k-means++": "#0072B2"}
N_RUNS = 50


# %%
def outcomes(model, points, n_runs=N_RUNS):
    """Return inertia, iterations and seconds of each run, as columns."""
    rows = []
    for seed in range(n_runs):
        run = clone(model).set_params(random_state=seed)
        started = time.perf_counter()
        run.fit(points)
        rows.append((run.inertia_, run.n_iter_, time.perf_counter() - started))
    return np.asarray(rows)


def table(points, n_clusters):
    KMeans(n_clusters, device=device).fit(points)  # the very first fit compiles or loads code
    return {
        (init, n_init): outcomes(
            KMeans(n_clusters, init=init, n_init=n_init, device=device), points
        )
        for init, n_init in WAYS
    }


def print_table(results):
    print("init       n_init       mean      std      best  iterations   ms a fit")
    for (init, n_init), rows in results.items():
        inertia, n_iter, seconds = rows.T
        print(
            f"{init:9}  {n_init:6}  {inertia.mean():9.1f}  {inertia.std():7.2f}  "
            f"{inertia.min():8.1f}  {n_iter.mean():10.1f}  {1000 * seconds.mean():9.2f}"
        )


def draw_table(results, title):
    _, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    best = min(rows[:, 0].min() for rows in results.values())
    jitter = np.random.default_rng(0).uniform(-0.25, 0.25, size=N_RUNS)
    for position, ((init, _), rows) in enumerate(results.items()):
        ratios = rows[:, 0] / best
        ax.plot(position + jitter, ratios, "o", color=COLOURS[init], alpha=0.5, markersize=5)
        ax.hlines(ratios.mean(), position - 0.35, position + 0.35, color="black")
    ax.set_xticks(range(len(results)), [f"{init}\nn_init={n_init}" for init, n_init in results])
    ax.set(ylabel="final inertia / minimum", title=f"{title}: 50 runs each, and their mean")


# %%
# Made data
# ---------
# Ten blobs. The table gives mean, standard deviation and best of the final inertia of 50 runs.
# Iterations are those of the best start of each run. One start does not take a tenth of the time of
# ten: small fits are mostly overhead, and ten starts run together.
#
# k-means++ is said to be better and steadier. That holds here: one start ends at 1,098 on average.
# One random start ends 23 % higher, and spreads 13 times as much. But ten random starts beat one of
# k-means++. Both together are best and steadiest, and even they miss the best now and then.
blobs, _ = make_blobs(1000, centers=10, cluster_std=0.8, random_state=1)
blob_results = table(blobs, 10)
print_table(blob_results)
draw_table(blob_results, "Ten blobs")

# %%
# Measured data
# -------------
# The chemistry of 178 Italian wines: 13 measurements, each scaled to standard deviation 1, in six
# clusters. Here the claim does not hold. k-means++ is 0.2 % better than random, and no steadier;
# its standard deviation is even a little larger. The data have three groups, and six clusters
# divide them. There are many almost equally good ways to do that. Only more starts help: ten of
# either kind end 2 % lower.
wine = StandardScaler().fit_transform(load_wine().data)
wine_results = table(wine, 6)
print_table(wine_results)
draw_table(wine_results, "Wines in six clusters")
plt.show()
