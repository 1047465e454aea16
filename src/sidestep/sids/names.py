"""Names for clusters: what a thought means in words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from sidestep.data.interactions import Ints
from sidestep.sids.semantic_ids import SemanticIds

Shares = np.ndarray[Any, np.dtype[np.float64]]
Words = np.ndarray[Any, np.dtype[np.object_]]

WORDS = 3
MAX_WORDS = 20_000


def cluster_names(
    sids: SemanticIds, titles: Sequence[str], texts: Sequence[str] | None, popularity: Ints
) -> list[list[str]]:
    """A name for every cluster of every level.

    Where items have texts, the three words that best distinguish the cluster's items from all others: a word's share
    of the cluster's items, times the logarithm of how much larger that share is than in the whole catalogue. Where
    they have none, or no word tells the cluster apart, the titles of the cluster's two most popular items.
    """
    clusters = [cluster[sids.codes[:, level]] for level, cluster in enumerate(sids.clusters)]
    counts = list(zip(clusters, sids.num_clusters, strict=True))
    by_items = [_by_items(cluster, count, titles, popularity) for cluster, count in counts]
    if texts is None or not any(text.strip() for text in texts):
        return by_items
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(binary=True, token_pattern=r"(?u)\b[^\W\d_]{3,}\b", max_features=MAX_WORDS)
    try:
        present = sparse.csr_array(vectorizer.fit_transform(texts), dtype=np.float64)
    except ValueError:  # no text holds a single word, only numbers and signs
        return by_items
    words = vectorizer.get_feature_names_out()
    overall = np.asarray(present.mean(axis=0)).ravel()
    by_words = [_by_words(cluster, count, present, words, overall) for cluster, count in counts]
    return [
        [word or item for word, item in zip(said, shown, strict=True)]
        for said, shown in zip(by_words, by_items, strict=True)
    ]


def _by_words(cluster: Ints, count: int, present: sparse.csr_array, words: Words, overall: Shares) -> list[str]:
    """Empty where no word distinguishes a cluster.

    present: `[N, words]`, 1 where item i's text holds word w. overall: the share of all items that hold each word.
    """
    names = []
    for number in range(count):
        members = np.flatnonzero(cluster == number)
        if len(members) == 0:
            names.append("")
            continue
        share = np.asarray(present[members].mean(axis=0)).ravel()
        score = share * np.log(np.maximum(share, 1e-12) / overall)
        best = np.lexsort((words, -score))[:WORDS]
        names.append(", ".join(words[best[score[best] > 0]]))
    return names


def _by_items(cluster: Ints, count: int, titles: Sequence[str], popularity: Ints) -> list[str]:
    names = []
    order = np.argsort(-popularity, kind="stable")
    for number in range(count):
        first = order[cluster[order] == number][:2]
        names.append("like " + " and ".join(titles[item] for item in first) if len(first) else "(no items)")
    return names
