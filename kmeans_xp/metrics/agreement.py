"""How far two labellings agree: scikit-learn's scores, for labels of any library.

Labels take a few bytes a row and the scores little time, so labels are copied to the host. The
labels' values do not matter, only which rows have equal ones.
"""

import inspect
from collections.abc import Callable
from textwrap import fill
from typing import Any

import sklearn.metrics

from kmeans_xp.metrics.labelled import host_labels

__all__ = [
    "adjusted_mutual_info_score",
    "adjusted_rand_score",
    "completeness_score",
    "fowlkes_mallows_score",
    "homogeneity_score",
    "normalized_mutual_info_score",
    "rand_score",
    "v_measure_score",
]

_LABELS = {
    "labels_true": """labels_true : array-like of shape (n_samples,)
    Classes that are known; of any library, on any device.
""",
    "labels_pred": """labels_pred : array-like of shape (n_samples,)
    Clusters.
""",
}
_OPTIONS = {
    "average_method": """\
average_method : {"min", "geometric", "arithmetic", "max"}, default="arithmetic"
    Which mean of the two entropies to divide by.
""",
    "beta": """beta : float, default=1.0
    Weight of completeness; above 1 it counts more than homogeneity.
""",
}
_DOCSTRING = """{summary}

Parameters
----------
{parameters}
Returns
-------
float
    {range}

Raises
------
ValueError
    If the labels differ in length, or an argument is not valid.

References
----------
{reference}

Examples
--------
>>> from kmeans_xp.metrics import {name}
>>> round({name}([0, 0, 1, 1], [0, 0, 1, 2]), 3)
{example}
"""


def _on_host(
    theirs: Callable[..., Any], summary: str, range_: str, reference: str, example: float
) -> Callable[..., float]:
    """Return scikit-learn's score for labels of any library, with a docstring of its own."""
    documented = _LABELS | _OPTIONS
    signature = inspect.signature(theirs)
    # Older versions have an option `sparse` that does nothing.
    parameters = [each for each in signature.parameters.values() if each.name in documented]

    def score(labels_true: Any, labels_pred: Any, **options: Any) -> float:
        return float(theirs(host_labels(labels_true), host_labels(labels_pred), **options))

    score.__name__ = score.__qualname__ = theirs.__name__
    score.__doc__ = _DOCSTRING.format(
        name=theirs.__name__,
        summary=summary,
        parameters="".join(documented[each.name] for each in parameters),
        range=range_,
        reference=fill(f".. [1] {reference}", 96, subsequent_indent="   "),
        example=example,
    )
    typed = signature.replace(parameters=parameters, return_annotation=float)
    score.__signature__ = typed  # type: ignore[attr-defined]
    return score


_V_MEASURE = (
    'A. Rosenberg and J. Hirschberg, "V-measure: a conditional entropy-based external cluster '
    'evaluation measure", EMNLP-CoNLL 2007.'
)

adjusted_mutual_info_score = _on_host(
    sklearn.metrics.adjusted_mutual_info_score,
    "Return the mutual information of two labellings corrected for chance.",
    "At most 1; 1 for the same partition, about 0 for labels at random.",
    'N. X. Vinh, J. Epps and J. Bailey, "Information theoretic measures for clusterings '
    'comparison", Journal of Machine Learning Research 11 (2010).',
    0.571,
)
adjusted_rand_score = _on_host(
    sklearn.metrics.adjusted_rand_score,
    "Return the Rand index corrected for chance.",
    "From -0.5 to 1; 1 for the same partition, about 0 for labels at random.",
    'L. Hubert and P. Arabie, "Comparing partitions", Journal of Classification 2 (1985).',
    0.571,
)
completeness_score = _on_host(
    sklearn.metrics.completeness_score,
    "Return how far all rows of a class are in the same cluster.",
    "From 0 to 1; `homogeneity_score` with classes and clusters swapped.",
    _V_MEASURE,
    0.667,
)
fowlkes_mallows_score = _on_host(
    sklearn.metrics.fowlkes_mallows_score,
    "Return the geometric mean of precision and recall of pairs of rows.",
    "From 0 to 1; 1 for the same partition.",
    'E. B. Fowlkes and C. L. Mallows, "A method for comparing two hierarchical clusterings", '
    "Journal of the American Statistical Association 78 (1983).",
    0.707,
)
homogeneity_score = _on_host(
    sklearn.metrics.homogeneity_score,
    "Return how far each cluster holds rows of only one class.",
    "From 0 to 1; `completeness_score` with classes and clusters swapped.",
    _V_MEASURE,
    1.0,
)
normalized_mutual_info_score = _on_host(
    sklearn.metrics.normalized_mutual_info_score,
    "Return the mutual information of two labellings, over the mean of their entropies.",
    "From 0 to 1; 1 for the same partition. Not corrected for chance.",
    'A. Strehl and J. Ghosh, "Cluster ensembles", Journal of Machine Learning Research 3 (2002).',
    0.8,
)
rand_score = _on_host(
    sklearn.metrics.rand_score,
    "Return the share of pairs of rows on which two labellings agree.",
    "From 0 to 1; 1 for the same partition. Not corrected for chance.",
    'W. M. Rand, "Objective criteria for the evaluation of clustering methods", Journal of the '
    "American Statistical Association 66 (1971).",
    0.833,
)
v_measure_score = _on_host(
    sklearn.metrics.v_measure_score,
    "Return the weighted harmonic mean of homogeneity and completeness.",
    "From 0 to 1; 1 for the same partition.",
    _V_MEASURE,
    0.8,
)
