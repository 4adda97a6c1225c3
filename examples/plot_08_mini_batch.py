"""
Mini-batches against all rows
=============================

``MiniBatchKMeans`` learns from some hundred rows at a time instead of all of them. It is said to be
much faster, and to end with an inertia 1 to 5 % higher. This example measures both claims.
"""

import argparse
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image, make_blobs

from kmeans_xp import KMeans, MiniBatchKMeans
from kmeans_xp.metrics import silhouette_score

parser = argparse.ArgumentParser(description="Mini-batches against all rows.")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
device = parser.parse_known_args()[0].device

BATCH_SIZES = (256, 512, 1024, 2048)
N_SEEDS = 5


# %%
# For each method, the medians of five seeds.
def measured(model, points, n_seeds=N_SEEDS):
    """Return the medians of time in seconds and inertia, and the last run."""
    rows = []
    for seed in range(n_seeds):
        model.set_params(random_state=seed)
        started = time.perf_counter()
        model.fit(points)
        rows.append((time.perf_counter() - started, model.inertia_))
    return (*np.median(rows, axis=0), model)


def comparison(points, n_clusters):
    """Return a dictionary from method to (seconds, inertia, silhouette)."""
    models = {"all rows": KMeans(n_clusters, n_init=1, device=device)}
    for size in BATCH_SIZES:
        models[f"batches of {size}"] = MiniBatchKMeans(
            n_clusters, batch_size=size, n_init=1, device=device
        )
    results = {}
    for name, model in models.items():
        model.fit(points[:5000])  # the very first fit compiles or loads code
        seconds, inertia, fitted = measured(model, points)
        quality = silhouette_score(
            points, fitted.labels_, sample_size=4000, random_state=0, device=device
        )
        results[name] = (seconds, inertia, quality)
    return results


def print_comparison(results):
    full_time, full_inertia, _ = results["all rows"]
    print("method              ms   speed-up    inertia   more  silhouette")
    for name, (seconds, inertia, quality) in results.items():
        print(
            f"{name:15}  {1000 * seconds:5.0f}  {full_time / seconds:8.1f}x  {inertia:9.4g}  "
            f"{inertia / full_inertia - 1:5.1%}  {quality:10.3f}"
        )


# %%
# Made data
# ---------
# 50,000 points with 20 features in 20 blobs that overlap. On two processors of a server, batches
# were 1.4 to 4 times as fast as all rows. Their inertia is 0.1 % lower to 1.5 % higher, less than
# the claim. Runs on all rows end in different local minima too, so batches lose little by
# comparison.
blobs, _ = make_blobs(50_000, n_features=20, centers=20, cluster_std=6.0, random_state=0)
blobs = blobs.astype(np.float32)
blob_results = comparison(blobs, 20)
print_comparison(blob_results)

# %%
# Measured data
# -------------
# 50,000 pixels of a photograph, by their red, green and blue, in 16 clusters. Here the inertia is
# 3.4 to 5.6 % higher, about as claimed. But there is little time to save: with three features, all
# rows take 20 to 40 milliseconds. Batches of 256 were 2.5 to 8 times as fast, larger ones 1 to 2.5
# times.
#
# The silhouettes do not count against batches in either case. They differ by some hundredths, in
# both directions. Mini-batches pay where a pass over the rows is slow: for many rows, features and
# clusters together.
photograph = load_sample_image("china.jpg").reshape(-1, 3).astype(np.float32)
pixels = photograph[np.random.default_rng(0).choice(len(photograph), 50_000, replace=False)]
pixel_results = comparison(pixels, 16)
print_comparison(pixel_results)

# %%
# Each dot is a batch size. Further left is faster, lower is better.
figure, axes = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
panels = (blob_results, "Twenty blobs"), (pixel_results, "Pixels of a photograph")
for ax, (results, title) in zip(axes, panels, strict=True):
    full_inertia = results["all rows"][1]
    for name, (seconds, inertia, _) in results.items():
        position = 1000 * seconds, inertia / full_inertia
        ax.plot(*position, "s" if name == "all rows" else "o", color="#0072B2")
        ax.annotate(
            name.removeprefix("batches of "), position, xytext=(6, 4), textcoords="offset points"
        )
    ax.set(xlabel="milliseconds", ylabel="inertia / that of all rows", title=title)
    ax.set_xlim(0, 1.35 * ax.get_xlim()[1])
plt.show()
