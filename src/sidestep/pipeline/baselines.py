"""The baselines that need no training, by name."""

from sidestep.data.splits import TrainingInteractions
from sidestep.methods.table import OWN_COUNTS, OWN_COUNTS_BY_HOUR
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.recommenders.recommender import Recommender
from sidestep.scorers.counts import OwnCounts, OwnCountsByHour
from sidestep.scorers.item_knn import ItemKNN, ItemKNNConfig
from sidestep.scorers.popularity import Popularity


def baseline(name: str, train: TrainingInteractions, num_items: int) -> Recommender | None:
    """A baseline counted on training interactions; None for a name that is none's."""
    if name == "popularity":
        return ItemwiseRecommender(Popularity.fit(train, num_items), num_items)
    if name == OWN_COUNTS:
        return ItemwiseRecommender(OwnCounts.fit(train, num_items), num_items)
    if name == OWN_COUNTS_BY_HOUR:
        return ItemwiseRecommender(OwnCountsByHour.fit(train, num_items), num_items, OwnCountsByHour.reads)
    if name in ("item-knn", "item-knn-recent"):
        config = ItemKNNConfig(half_life=1 if name == "item-knn-recent" else None)
        return ItemwiseRecommender(ItemKNN.fit(train, num_items, config), num_items)
    return None
