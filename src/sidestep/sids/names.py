"""Names for clusters: the meaning of a thought in words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from sidestep.data.interactions import Ints, by_popularity
from sidestep.sids.semantic_ids import SemanticIds

Shares = np.ndarray[Any, np.dtype[np.float64]]
Words = np.ndarray[Any, np.dtype[np.object_]]

WORDS = 3
MAX_WORDS = 20_000
CLEARLY = 1.3
"""A second or third word needs at least this lift: its share of the cluster's items over the expected share."""


def cluster_names(
    sids: SemanticIds, titles: Sequence[str], texts: Sequence[str] | None, popularity: Ints
) -> list[list[str]]:
    """A name for every cluster of every level.

    With texts: up to three words that best distinguish the cluster's items. The score of a word is its share of the
    cluster's items, times the logarithm of the ratio of this share to the expected share. At the first level the
    expected share is that of the whole catalogue. The clusters of later levels group residuals, which describe what the
    levels above leave open; there the expected share is that of the items with the same clusters at all levels above.
    Without texts, or where no word distinguishes the cluster: the titles of the cluster's two most popular items.
    """
    counts = list(zip(sids.clusters_of_items.T, sids.num_clusters, strict=True))
    by_items = [_by_items(cluster, count, titles, popularity) for cluster, count in counts]
    if texts is None or not any(text.strip() for text in texts):
        return by_items
    from sklearn.feature_extraction.text import CountVectorizer

    pattern = r"(?u)\b[^\W\d_]{3,}\b"
    vectorizer = CountVectorizer(binary=True, token_pattern=pattern, stop_words="english", max_features=MAX_WORDS)
    try:
        present = sparse.csr_array(vectorizer.fit_transform(texts), dtype=np.float64)
    except ValueError:  # the texts contain no words, only numbers and signs
        return by_items
    words = vectorizer.get_feature_names_out()
    names, above = [], np.zeros(len(sids), dtype=np.int64)
    for (cluster, count), item_names in zip(counts, by_items, strict=True):
        word_names = _by_words(cluster, count, above, present, words)
        names.append([word or item for word, item in zip(word_names, item_names, strict=True)])
        above = np.unique(np.stack([above, cluster]), axis=1, return_inverse=True)[1]
    return names


def _by_words(cluster: Ints, count: int, above: Ints, present: sparse.csr_array, words: Words) -> list[str]:
    """The words of each cluster as one string; empty where no word distinguishes it.

    above: `[N]`, a number for each item's clusters at all levels above. present: `[N, words]`, 1 where item i's text
    contains word w.
    """
    num_above = int(above.max()) + 1
    totals = _members(above, num_above) @ present
    expected = sparse.diags_array(1 / np.bincount(above, minlength=num_above)) @ totals
    mixture = sparse.csr_array((np.ones(len(cluster)), (cluster, above)), shape=(count, num_above))
    names, members = [], _members(cluster, count)
    for number in range(count):
        actual = (members[[number]] @ present).toarray().ravel()
        usual = (mixture[[number]] @ expected).toarray().ravel()
        names.append(", ".join(_distinctive(actual, usual, words)))
    return names


def _distinctive(actual: Shares, usual: Shares, words: Words) -> list[str]:
    """The words that name a cluster. words: in alphabetical order. actual, usual: the share of the cluster's items that
    contain each word, and the expected share.
    """
    occurs = actual > 0
    lift = np.divide(actual, usual, out=np.ones_like(actual), where=occurs)
    score = actual * np.log(lift)
    chosen: list[str] = []
    for word in np.argsort(-score, kind="stable"):
        if len(chosen) == WORDS or score[word] <= 1e-9:
            break
        singular = words[word].rstrip("s")  # "nail" and "nails" count as one word
        if (not chosen or lift[word] >= CLEARLY) and all(singular != other.rstrip("s") for other in chosen):
            chosen.append(words[word])
    return chosen


def _members(groups: Ints, count: int) -> sparse.csr_array:
    """`[count, N]`, 1 where item i belongs to group g."""
    return sparse.csr_array((np.ones(len(groups)), (groups, np.arange(len(groups)))), shape=(count, len(groups)))


def _by_items(cluster: Ints, count: int, titles: Sequence[str], popularity: Ints) -> list[str]:
    names = []
    order = by_popularity(len(cluster), popularity)
    for number in range(count):
        first = order[cluster[order] == number][:2]
        names.append("like " + " and ".join(titles[item] for item in first) if len(first) else "(no items)")
    return names
