"""What a recommender answers from, and how it searches."""

from dataclasses import dataclass
from typing import Any

from sidestep.data.interactions import Ints
from sidestep.recommenders.generative import GenerativeRecommender, Precision
from sidestep.recommenders.sliced import SlicedRecommender
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.timeline import Timeline
from sidestep.sids.trie import Trie


@dataclass(frozen=True)
class SearchPlan:
    """What a recommender answers from, and how it searches.

    popularity: occurrences in training, `[N]`. tree: the semantic IDs of the catalogue, or their trie; None for a
    method that needs none. num_beams: paths that are searched at once. precision: of the model's projections.
    timeline: the IDs of every slice and what is on air there, where IDs follow content; the tree is of the last one.
    """

    popularity: Ints
    tree: SemanticIds | Trie | None
    num_beams: int
    precision: Precision = "fp32"
    timeline: Timeline | None = None

    def over_time(self, model: Any) -> GenerativeRecommender | SlicedRecommender:
        """A generator as a recommender, which answers each request in the slice of its time where there are slices."""
        found = self.searcher(model)
        if self.timeline is None:
            return found
        return SlicedRecommender(found, self.timeline, self.popularity)

    def searcher(self, model: Any, tree: SemanticIds | Trie | None = None) -> GenerativeRecommender:
        """A generator as a recommender. tree: in place of the plan's."""
        tree = self.tree if tree is None else tree
        assert tree is not None
        return GenerativeRecommender(model, tree, self.popularity, model.reads, self.num_beams, self.precision)
