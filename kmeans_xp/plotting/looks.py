"""How a cluster looks: its colour and marker, the same in every picture."""

from __future__ import annotations

__all__ = ["CROWDED", "MOST_TOLD_APART", "MOST_VECTOR_POINTS", "colour", "marker"]

# Okabe and Ito's colours, told apart by colour-blind readers too; black is kept for centroids.
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#7F7F7F",
    "#F0E442",
    # Then darker ones of Tol's muted scheme.
    "#332288",
    "#882255",
    "#999933",
    "#661100",
    "#AA4499",
    "#44AA99",
    "#117733",
    "#BFA5D8",
)
# Of a number that shares no factor with the colours': 112 clusters pass before a pair comes again.
MARKERS = "osD^vPX"
CROWDED = 20
# More clusters than this are drawn without numbers and legend, which would hide the points.
MOST_TOLD_APART = 60
# Vector formats get more points than this as one image: as paths they would take megabytes.
MOST_VECTOR_POINTS = 2_000


def colour(cluster: int) -> str:
    """Return the colour of a cluster."""
    return COLOURS[cluster % len(COLOURS)]


def marker(cluster: int) -> str:
    """Return the marker of a cluster's points."""
    return MARKERS[cluster % len(MARKERS)]
