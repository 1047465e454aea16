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
CLEARLY = 1.3
"""A second or third word is said only if so many times as many of the cluster's items hold it as was to be expected."""


def cluster_names(
    sids: SemanticIds, titles: Sequence[str], texts: Sequence[str] | None, popularity: Ints
) -> list[list[str]]:
    """A name for every cluster of every level.

    Where items have texts, up to three words that best distinguish the cluster's items: a word's share of the
    cluster's items, times the logarithm of how much larger that share is than expected. Expected at the first level is
    its share of the whole catalogue. The clusters of later levels group residuals, which say what the levels above
    have left open; so expected there is its share of the items that have the same clusters as these at all levels
    above. Where items have no texts, or no word tells the cluster apart, its name is the titles of the cluster's two
    most popular items.
    """
    clusters = [cluster[sids.codes[:, level]] for level, cluster in enumerate(sids.clusters)]
    counts = list(zip(clusters, sids.num_clusters, strict=True))
    by_items = [_by_items(cluster, count, titles, popularity) for cluster, count in counts]
    if texts is None or not any(text.strip() for text in texts):
        return by_items
    from sklearn.feature_extraction.text import CountVectorizer

    pattern = r"(?u)\b[^\W\d_]{3,}\b"
    vectorizer = CountVectorizer(binary=True, token_pattern=pattern, stop_words="english", max_features=MAX_WORDS)
    try:
        present = sparse.csr_array(vectorizer.fit_transform(texts), dtype=np.float64)
    except ValueError:  # no text holds a single word, only numbers and signs
        return by_items
    words = vectorizer.get_feature_names_out()
    names, above = [], np.zeros(len(sids), dtype=np.int64)
    for (cluster, count), shown in zip(counts, by_items, strict=True):
        said = _by_words(cluster, count, above, present, words)
        names.append([word or item for word, item in zip(said, shown, strict=True)])
        above = np.unique(np.stack([above, cluster]), axis=1, return_inverse=True)[1]
    return names


def _by_words(cluster: Ints, count: int, above: Ints, present: sparse.csr_array, words: Words) -> list[str]:
    """Empty where no word distinguishes a cluster.

    above: a number for the clusters of each item at all levels above. present: `[N, words]`, 1 where item i's text
    holds word w.
    """
    num_above = int(above.max()) + 1
    totals = _members(above, num_above) @ present
    expected = sparse.diags_array(1 / np.bincount(above, minlength=num_above)) @ totals
    mixture = sparse.csr_array((np.ones(len(cluster)), (cluster, above)), shape=(count, num_above))
    names, members = [], _members(cluster, count)
    for number in range(count):
        held = (members[[number]] @ present).toarray().ravel()
        usual = (mixture[[number]] @ expected).toarray().ravel()
        names.append(", ".join(_telling(held, usual, words)))
    return names


def _telling(held: Shares, usual: Shares, words: Words) -> list[str]:
    """The words that name a cluster, of words in alphabetical order. held, usual: the share of the cluster's items
    that holds each word, and that was to be expected.
    """
    some = held > 0
    lift = np.divide(held, usual, out=np.ones_like(held), where=some)
    score = held * np.log(lift)
    said: list[str] = []
    for word in np.argsort(-score, kind="stable"):
        if len(said) == WORDS or score[word] <= 1e-9:
            break
        singular = words[word].rstrip("s")  # or "nail" and "nails" would take two places to say one thing
        if (not said or lift[word] >= CLEARLY) and all(singular != other.rstrip("s") for other in said):
            said.append(words[word])
    return said


def _members(groups: Ints, count: int) -> sparse.csr_array:
    """`[count, N]`, 1 where item i belongs to group g."""
    return sparse.csr_array((np.ones(len(groups)), (groups, np.arange(len(groups)))), shape=(count, len(groups)))


def _by_items(cluster: Ints, count: int, titles: Sequence[str], popularity: Ints) -> list[str]:
    names = []
    order = np.argsort(-popularity, kind="stable")
    for number in range(count):
        first = order[cluster[order] == number][:2]
        names.append("like " + " and ".join(titles[item] for item in first) if len(first) else "(no items)")
    return names
