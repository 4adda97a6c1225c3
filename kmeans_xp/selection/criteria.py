"""Recommend a number of clusters from inertia, silhouette and gap statistic."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from kmeans_xp.selection.selection import Candidate

__all__ = ["CRITERIA", "Verdict", "by_elbow", "by_gap", "by_silhouette", "decided"]

CRITERIA = ("silhouette", "gap", "elbow")

#: up to this mean silhouette, Kaufman and Rousseeuw found no substantial structure
_NO_STRUCTURE = 0.25

_NAMES = {"silhouette": "silhouette", "gap": "gap statistic", "elbow": "elbow of the inertia"}


class Verdict(NamedTuple):
    """The recommendation of one criterion.

    Parameters
    ----------
    n_clusters : int or None
        None for no answer.
    reason : str
        A clause.
    """

    n_clusters: int | None
    reason: str


class Decision(NamedTuple):
    """The number that we recommend.

    Parameters
    ----------
    n_clusters : int
    criterion : str
        The criterion that decided.
    reason : str
        One or more sentences.
    """

    n_clusters: int
    criterion: str
    reason: str


def by_silhouette(table: Sequence[Candidate]) -> Verdict:
    """Return the number with the greatest mean silhouette; of equals, the smallest."""
    found = [(each.silhouette, each) for each in table if each.silhouette is not None]
    if not found:
        return Verdict(None, "no silhouette is defined for these numbers of clusters")
    most, best = max(found, key=lambda pair: pair[0])
    doubt = ""
    if most <= _NO_STRUCTURE:
        doubt = f", but not above {_NO_STRUCTURE}: the rows hardly form clusters"
    return Verdict(best.n_clusters, f"the mean silhouette is greatest there ({most:.3f}){doubt}")


def by_gap(one_cluster: Candidate | None, table: Sequence[Candidate]) -> Verdict:
    """Return the smallest number whose gap the next one does not exceed by more than its error.

    One cluster is always tried: it is the answer for rows that are no more clustered than rows
    drawn at random.

    Parameters
    ----------
    one_cluster : Candidate or None
        None if the gap statistic was not measured.
    table : sequence of Candidate
        Fewest clusters first.

    Returns
    -------
    Verdict
        None where the gap grows to the end.
    """
    if one_cluster is None:
        return Verdict(None, "the gap statistic was not measured")
    if one_cluster.gap is None:
        return Verdict(None, "the gap statistic is not defined for rows that are all equal")
    every = [one_cluster, *(each for each in table if each.n_clusters > 1)]
    for each, following in pairwise(every):
        if each.gap is None or following.gap is None or following.gap_error is None:
            return Verdict(
                None,
                f"the gap statistic grows without bound at {following.n_clusters} clusters, "
                "which leave no inertia",
            )
        if each.gap >= following.gap - following.gap_error:
            return Verdict(
                each.n_clusters,
                "the gap statistic is for the first time within one error of the next there: "
                f"{each.gap:.3f}, and {following.gap:.3f} ± {following.gap_error:.3f} at "
                f"{following.n_clusters}",
            )
    return Verdict(None, f"the gap statistic still grows at {every[-1].n_clusters} clusters")


def by_elbow(table: Sequence[Candidate]) -> Verdict:
    """Return the number at which the inertia bends, as the package kneed finds it."""
    if len(table) < 3:
        return Verdict(None, "an elbow needs at least 3 numbers of clusters")
    numbers, inertias = [each.n_clusters for each in table], [each.inertia for each in table]
    if max(inertias) == min(inertias):
        return Verdict(None, "the inertia is the same for all the numbers asked for")
    import kneed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kneed warns if there is no elbow; the verdict says so
        elbow = kneed.KneeLocator(numbers, inertias, curve="convex", direction="decreasing").elbow
    if elbow is None:
        return Verdict(None, "the inertia has no elbow")
    return Verdict(int(elbow), "the inertia bends there and falls slowly after it")


def decided(
    verdicts: Mapping[str, Verdict], criterion: str, table: Sequence[Candidate]
) -> Decision:
    """Return the criterion's number, or another criterion's if it has no answer, and why."""
    order = [criterion, *(name for name in CRITERIA if name != criterion)]
    answered = [name for name in order if verdicts[name].n_clusters is not None]
    told = []
    if verdicts[criterion].n_clusters is None:
        told.append(_sentence(verdicts[criterion].reason))
    if not answered:
        least = table[0].n_clusters
        told.append(f"No criterion has an answer: {_clusters(least)}, the least number asked for.")
        return Decision(least, criterion, " ".join(told))
    chosen = answered[0]
    n_clusters = verdicts[chosen].n_clusters
    assert n_clusters is not None
    if chosen == "gap" and n_clusters == 1:
        told.append(f"No structure: {verdicts[chosen].reason}.")
    else:
        told.append(f"{_clusters(n_clusters)}: {verdicts[chosen].reason}.".capitalize())
    told += [
        _other(name, verdicts[name], n_clusters)
        for name in order
        if name not in (chosen, criterion)
    ]
    return Decision(n_clusters, chosen, " ".join(told))


def _other(name: str, verdict: Verdict, n_clusters: int) -> str:
    """Return what another criterion says, as a sentence."""
    if verdict.n_clusters is None:
        return _sentence(verdict.reason)
    if name == "gap" and verdict.n_clusters == 1:
        return "The gap statistic finds no structure (one cluster)."
    if verdict.n_clusters == n_clusters:
        return f"The {_NAMES[name]} agrees."
    return f"The {_NAMES[name]} says {verdict.n_clusters}."


def _sentence(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:]}."


def _clusters(n_clusters: int) -> str:
    return "1 cluster" if n_clusters == 1 else f"{n_clusters} clusters"
