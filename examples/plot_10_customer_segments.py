"""
Customer segments by recency, frequency and monetary value
==========================================================

Three numbers say a lot about a customer: how long ago they last bought (*recency*), how often they
bought (*frequency*), and for how much (*monetary value*). Clusters of them are groups of customers
who behave alike: segments.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from kmeans_xp import plotting
from kmeans_xp.metrics import adjusted_rand_score
from kmeans_xp.selection import choose_n_clusters

parser = argparse.ArgumentParser(description="Customer segments.")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
device = parser.parse_known_args()[0].device

COLUMNS = ["recency (days)", "frequency", "monetary ($)"]


# %%
# All three are skewed: most customers bought once or twice, a few a hundred times. Logarithms make
# twice as often as far from once as eight times from four; scaling then makes the three count
# alike. The number of segments is that of the best silhouette.
def segmented(customers, n_clusters=range(2, 9)):
    """Return the scaled rows and the choice of the number of segments."""
    scaled = StandardScaler().fit_transform(np.log1p(customers))
    return scaled, choose_n_clusters(scaled, n_clusters, n_init=10, random_state=0, device=device)


# %%
# A segment gets its name from its centre: whether its customers bought lately, often, and for
# much, compared with all customers.
NAMES = {
    (True, True, True): "champions",
    (True, True, False): "loyal, small baskets",
    (True, False, True): "new, big baskets",
    (True, False, False): "new or occasional",
    (False, True, True): "valuable, drifting away",
    (False, True, False): "frequent once, drifting away",
    (False, False, True): "big baskets, lost",
    (False, False, False): "lost",
}


def profile(customers, selection):
    """Return one row a segment: its name, its size, and the medians of its customers."""
    model = selection.estimator
    table = customers.groupby(model.labels_).median()
    recency, frequency, monetary = model.cluster_centers_.T
    lately_often_much = zip(recency < 0, frequency > 0, monetary > 0, strict=True)
    table.insert(0, "name", [NAMES[tuple(map(bool, key))] for key in lately_often_much])
    table.insert(1, "customers", np.bincount(model.labels_))
    table["share of sales"] = customers[COLUMNS[2]].groupby(model.labels_).sum()
    table["share of sales"] /= customers[COLUMNS[2]].sum()
    return table


def draw(scaled, selection):
    """Draw silhouettes by k, the silhouettes of the choice, its profiles and its plane."""
    model = selection.estimator
    figure, axes = plt.subplots(2, 2, figsize=(14, 10), layout="constrained")
    curve, silhouettes, profiles, plane = axes.flat
    tried = [(candidate.n_clusters, candidate.silhouette) for candidate in selection.table]
    curve.plot(*zip(*tried, strict=True), "o-", color="#0072B2")
    curve.axvline(selection.n_clusters, color="0.6", linestyle="--")
    curve.set(xlabel="number of segments", ylabel="mean silhouette", title="Silhouette by k")
    plotting.silhouette(scaled, model.labels_, ax=silhouettes)
    plotting.profiles(model.cluster_centers_, feature_names=COLUMNS, ax=profiles)
    plotting.clusters(scaled, model.labels_, model.cluster_centers_, ax=plane)
    return figure


# %%
# Made data
# ---------
# A thousand customers of four kinds, each with their own typical numbers.
def made_customers():
    rng = np.random.default_rng(0)
    typical = {  # customers, days since the last purchase, purchases, dollars
        "champions": (150, 8, 30, 2500),
        "regulars": (350, 25, 10, 500),
        "newcomers": (200, 12, 1.5, 60),
        "lost": (300, 250, 2, 90),
    }
    rows = [
        np.exp(rng.normal(np.log(kind[1:]), 0.45, size=(kind[0], 3))) for kind in typical.values()
    ]
    truth = np.repeat(np.arange(len(typical)), [kind[0] for kind in typical.values()])
    return pd.DataFrame(np.concatenate(rows), columns=COLUMNS), truth


made, truth = made_customers()
made_scaled, made_selection = segmented(made)
made_rand_index = adjusted_rand_score(truth, made_selection.estimator.labels_)
print(made_selection)
print(profile(made, made_selection).round(2).to_string())
print(f"adjusted Rand index: {made_rand_index:.3f}")
draw(made_scaled, made_selection)


# %%
# Measured data
# -------------
# What 2,357 customers bought at the online shop CDNOW from January 1997 to June 1998; all made
# their first purchase in the first three months.
def cdnow_customers():
    folder = Path(__file__).parent if "__file__" in globals() else Path.cwd()
    purchases = pd.read_csv(folder / "data" / "cdnow_purchases.csv", parse_dates=["date"])
    groups = purchases.groupby("customer")
    days = (purchases["date"].max() - groups["date"].max()).dt.days
    table = pd.concat([days, groups.size(), groups["amount_usd"].sum()], axis=1)
    return table.set_axis(COLUMNS, axis=1)


cdnow = cdnow_customers()
cdnow_scaled, cdnow_selection = segmented(cdnow)
cdnow_profile = profile(cdnow, cdnow_selection)
print(cdnow_selection)
print(cdnow_profile.round(2).to_string())
draw(cdnow_scaled, cdnow_selection)
plt.show()
