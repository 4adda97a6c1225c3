"""
Local minima: the start of a run decides its end
================================================

Lloyd's algorithm only goes downhill, and ends in the first valley. Twenty runs from random rows
end in many different valleys. k-means++ draws first rows that are far from each other, and so
starts in a better place. But it does not make the best valley certain.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs

from kmeans_xp import KMeans

parser = argparse.ArgumentParser(description="Local minima of k-means.")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
device = parser.parse_known_args()[0].device

COLOURS = {"random": "#D55E00", "k-means++": "#0072B2"}
N_STARTS = 20


# %%
# The example makes the same runs for made and for measured data. Each seed is one start.
def fitted(model, points, n_starts=N_STARTS):
    """Return the model fitted from `n_starts` different starts."""
    return [clone(model).set_params(random_state=seed).fit(points) for seed in range(n_starts)]


def all_runs(points, n_clusters):
    return {
        init: fitted(KMeans(n_clusters, init=init, n_init=1, device=device), points)
        for init in COLOURS
    }


def print_runs(runs):
    best = min(run.inertia_ for group in runs.values() for run in group)
    print("start       best   median    worst  within 1 %  iterations")
    for init, group in runs.items():
        ratios = np.asarray([run.inertia_ for run in group]) / best
        n_iter = np.median([run.n_iter_ for run in group])
        close = int((ratios < 1.01).sum())
        spread = "  ".join(f"{value:7.3f}" for value in np.percentile(ratios, [0, 50, 100]))
        print(f"{init:9}  {spread}  {close:4} of {len(group)}  {n_iter:10.1f}")


def draw_runs(runs, title):
    best = min(run.inertia_ for group in runs.values() for run in group)
    highest = 1.0
    _, (ends, ways) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    for init, group in runs.items():
        colour, marker = COLOURS[init], "o" if init == "random" else "s"
        ratios = np.sort([run.inertia_ for run in group]) / best
        ends.plot(np.arange(1, len(ratios) + 1), ratios, marker, color=colour, label=init)
        for i, run in enumerate(group):
            way = run.history_["inertia"] / best
            highest = max(highest, way[0])
            ways.plot(way, color=colour, alpha=0.5, linewidth=1.2, label=None if i else init)
    ends.set(xlabel="run, from best to worst", ylabel="final inertia / minimum", title=title)
    ways.set(xlabel="iteration", ylabel="inertia / minimum", title="The way there", yscale="log")
    ends.set_xticks(range(0, N_STARTS + 1, 5))
    ways.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    ways.set_ylim(0.95, 1.1 * highest)
    ways.minorticks_off()
    ends.legend(frameon=False)
    ways.legend(frameon=False)


# %%
# Made data
# ---------
# Twenty blobs in the plane. A random start gives two centroids to some blobs and none to others. A
# centroid does not cross the empty space between blobs: it stays where nobody needs it.
#
# On the left, each dot is a run. No random start comes near the best result. The median ends 59 %
# above it, the worst at three times. Of the starts by k-means++, five reach it, and the worst ends
# 22 % above. On the right, k-means++ starts (iteration 0) where random starts end, and takes 7
# iterations instead of 12.
blobs, _ = make_blobs(2000, centers=20, cluster_std=0.5, center_box=(-12, 12), random_state=2)
blob_runs = all_runs(blobs, 20)
print_runs(blob_runs)
draw_runs(blob_runs, "Twenty blobs")

# %%
# Measured data
# -------------
# 1,797 handwritten digits of 8 x 8 pixels, ten clusters. Here the clusters touch, and centroids can
# move between them, so k-means++ gains less. 13 of its 20 runs end within 1 % of the best, and 9 of
# the random ones. The worst end 4.6 and 6.5 % above. It takes 16.5 iterations instead of 19.5, and
# both curves on the right look alike after the first few. How much the start matters depends on the
# data.
digits = load_digits().data
digit_runs = all_runs(digits, 10)
print_runs(digit_runs)
draw_runs(digit_runs, "Handwritten digits")
plt.show()
