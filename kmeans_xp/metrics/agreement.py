"""How far two labellings agree: scikit-learn's scores, for labels of any library.

Labels take a few bytes a row and the scores little time, so labels are copied to the host. The
labels' values do not matter, only which rows have equal ones.
"""

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


def adjusted_mutual_info_score(
    labels_true: Any, labels_pred: Any, *, average_method: str = "arithmetic"
) -> float:
    """Return the mutual information of two labellings corrected for chance.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes that are known; of any library, on any device.
    labels_pred : array-like of shape (n_samples,)
        Clusters.
    average_method : {"min", "geometric", "arithmetic", "max"}, default="arithmetic"
        Which mean of the two entropies to divide by.

    Returns
    -------
    float
        At most 1; 1 for the same partition, about 0 for labels at random.

    Raises
    ------
    ValueError
        If the labels differ in length.

    See Also
    --------
    normalized_mutual_info_score : Not corrected.

    References
    ----------
    .. [1] N. X. Vinh, J. Epps and J. Bailey, "Information theoretic measures for clusterings
       comparison", Journal of Machine Learning Research 11 (2010).

    Examples
    --------
    >>> from kmeans_xp.metrics import adjusted_mutual_info_score
    >>> round(adjusted_mutual_info_score([0, 0, 1, 1], [0, 0, 1, 2]), 3)
    0.571
    """
    labels = (host_labels(given) for given in (labels_true, labels_pred))
    return float(sklearn.metrics.adjusted_mutual_info_score(*labels, average_method=average_method))


def adjusted_rand_score(labels_true: Any, labels_pred: Any) -> float:
    """Return the Rand index corrected for chance.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes that are known; of any library, on any device.
    labels_pred : array-like of shape (n_samples,)
        Clusters.

    Returns
    -------
    float
        From -0.5 to 1; 1 for the same partition, about 0 for labels at random.

    Raises
    ------
    ValueError
        If the labels differ in length.

    See Also
    --------
    rand_score : Not corrected.

    References
    ----------
    .. [1] L. Hubert and P. Arabie, "Comparing partitions", Journal of Classification 2 (1985).

    Examples
    --------
    >>> from kmeans_xp.metrics import adjusted_rand_score
    >>> round(adjusted_rand_score([0, 0, 1, 1], [0, 0, 1, 2]), 3)
    0.571
    """
    labels = (host_labels(given) for given in (labels_true, labels_pred))
    return float(sklearn.metrics.adjusted_rand_score(*labels))


def completeness_score(labels_true: Any, labels_pred: Any) -> float:
    """Return how far all rows of a class are in the same cluster.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes that are known; of any library, on any device.
    labels_pred : array-like of shape (n_samples,)
        Clusters.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        If the labels differ in length.

    See Also
    --------
    homogeneity_score : The same score with classes and clusters swapped.

    References
    ----------
    .. [1] A. Rosenberg and J. Hirschberg, "V-measure: a conditional entropy-based external cluster
       evaluation measure", EMNLP-CoNLL 2007.

    Examples
    --------
    >>> from kmeans_xp.metrics import completeness_score
    >>> round(completeness_score([0, 0, 1, 1], [0, 0, 1, 2]), 3)
    0.667
    """
    labels = (host_labels(given) for given in (labels_true, labels_pred))
    return float(sklearn.metrics.completeness_score(*labels))


def fowlkes_mallows_score(labels_true: Any, labels_pred: Any) -> float:
    """Return the geometric mean of precision and recall of pairs of rows.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes that are known; of any library, on any device.
    labels_pred : array-like of shape (n_samples,)
        Clusters.

    Returns
    -------
    float
        From 0 to 1; 1 for the same partition.

    Raises
    ------
    ValueError
        If the labels differ in length.

    See Also
    --------
    adjusted_rand_score : Corrected for chance.

    References
    ----------
    .. [1] E. B. Fowlkes and C. L. Mallows, "A method for comparing two hierarchical clusterings",
       Journal of the American Statistical Association 78 (1983).

    Examples
    --------
    >>> from kmeans_xp.metrics import fowlkes_mallows_score
    >>> round(fowlkes_mallows_score([0, 0, 1, 1], [0, 0, 1, 2]), 3)
    0.707
    """
    labels = (host_labels(given) for given in (labels_true, labels_pred))
    return float(sklearn.metrics.fowlkes_mallows_score(*labels))


def homogeneity_score(labels_true: Any, labels_pred: Any) -> float:
    """Return how far each cluster holds rows of only one class.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes that are known; of any library, on any device.
    labels_pred : array-like of shape (n_samples,)
        Clusters.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        If the labels differ in length.

    See Also
    --------
    completeness_score : The same score with classes and clusters swapped.

    References
    ----------
    .. [1] A. Rosenberg and J. Hirschberg, "V-measure: a conditional entropy-based external cluster
       evaluation measure", EMNLP-CoNLL 2007.

    Examples
    --------
    >>> from kmeans_xp.metrics import homogeneity_score
    >>> round(homogeneity_score([0, 0, 1, 1], [0, 0, 1, 2]), 3)
    1.0
    """
    labels = (host_labels(given) for given in (labels_true, labels_pred))
    return float(sklearn.metrics.homogeneity_score(*labels))


def normalized_mutual_info_score(
    labels_true: Any, labels_pred: Any, *, average_method: str = "arithmetic"
) -> float:
    """Return the mutual information of two labellings, over the mean of their entropies.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes that are known; of any library, on any device.
    labels_pred : array-like of shape (n_samples,)
        Clusters.
    average_method : {"min", "geometric", "arithmetic", "max"}, default="arithmetic"
        Which mean of the two entropies to divide by.

    Returns
    -------
    float
        From 0 to 1; 1 for the same partition. Not corrected for chance.

    Raises
    ------
    ValueError
        If the labels differ in length.

    See Also
    --------
    adjusted_mutual_info_score : Corrected for chance.

    References
    ----------
    .. [1] A. Strehl and J. Ghosh, "Cluster ensembles", Journal of Machine Learning
       Research 3 (2002).

    Examples
    --------
    >>> from kmeans_xp.metrics import normalized_mutual_info_score
    >>> round(normalized_mutual_info_score([0, 0, 1, 1], [0, 0, 1, 2]), 3)
    0.8
    """
    labels = (host_labels(given) for given in (labels_true, labels_pred))
    return float(
        sklearn.metrics.normalized_mutual_info_score(*labels, average_method=average_method)
    )


def rand_score(labels_true: Any, labels_pred: Any) -> float:
    """Return the share of pairs of rows on which two labellings agree.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes that are known; of any library, on any device.
    labels_pred : array-like of shape (n_samples,)
        Clusters.

    Returns
    -------
    float
        From 0 to 1; 1 for the same partition. Not corrected for chance.

    Raises
    ------
    ValueError
        If the labels differ in length.

    See Also
    --------
    adjusted_rand_score : Corrected for chance.

    References
    ----------
    .. [1] W. M. Rand, "Objective criteria for the evaluation of clustering methods", Journal of the
       American Statistical Association 66 (1971).

    Examples
    --------
    >>> from kmeans_xp.metrics import rand_score
    >>> round(rand_score([0, 0, 1, 1], [0, 0, 1, 2]), 3)
    0.833
    """
    labels = (host_labels(given) for given in (labels_true, labels_pred))
    return float(sklearn.metrics.rand_score(*labels))


def v_measure_score(labels_true: Any, labels_pred: Any, *, beta: float = 1.0) -> float:
    """Return the weighted harmonic mean of homogeneity and completeness.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes that are known; of any library, on any device.
    labels_pred : array-like of shape (n_samples,)
        Clusters.
    beta : float, default=1.0
        Weight of completeness; above 1 it counts more than homogeneity.

    Returns
    -------
    float
        From 0 to 1; 1 for the same partition.

    Raises
    ------
    ValueError
        If the labels differ in length.

    See Also
    --------
    homogeneity_score : One of the two.

    References
    ----------
    .. [1] A. Rosenberg and J. Hirschberg, "V-measure: a conditional entropy-based external cluster
       evaluation measure", EMNLP-CoNLL 2007.

    Examples
    --------
    >>> from kmeans_xp.metrics import v_measure_score
    >>> round(v_measure_score([0, 0, 1, 1], [0, 0, 1, 2]), 3)
    0.8
    """
    labels = (host_labels(given) for given in (labels_true, labels_pred))
    return float(sklearn.metrics.v_measure_score(*labels, beta=beta))
