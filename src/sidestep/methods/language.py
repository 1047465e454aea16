"""A second order by a language model, which the room `llm` teaches and asks. Its libraries are imported when they are
used.
"""

from collections.abc import Iterator

import numpy as np
from torch import nn

from sidestep.data.labels import ItemLabels
from sidestep.errors import ConfigError
from sidestep.llm.adapter import Adapter
from sidestep.llm.config import LLMConfig
from sidestep.methods.method import Materials, Phase, Work
from sidestep.methods.recipe import Recipe
from sidestep.methods.second_looks import Lessons, SecondOrder
from sidestep.recommenders.reranked import Reranker
from sidestep.rerankers.evidence import Evidence
from sidestep.rerankers.learning import by_fold
from sidestep.rerankers.scenes import gathered_scenes, joined
from sidestep.sids.semantic_ids import SemanticIds


class LanguageOrder(SecondOrder):
    """A trace and the order as JSON, by a language model with an adapter (GR2)."""

    libraries = ("transformers", "peft", "trl", "datasets")
    extra = "llm"

    def build(self, materials: Materials, recipe: Recipe) -> nn.Module:
        config, sids = recipe.section(LLMConfig), materials.sids
        if config.cite == "sid" and sids is None:
            raise ConfigError(
                "llm.cite = 'sid' calls candidates by semantic IDs, and the pre-ranker has none; set llm.cite=slot, or "
                "take one that has them, as `sidestep rerank` does with a run of s2gr"
            )
        assert materials.labels is not None
        assert materials.titles is not None
        if sids is None:
            return Adapter(config, materials.titles, materials.labels, None)
        return Adapter(config, materials.titles, materials.labels, spelled(sids), codes_of(sids))

    def phases(self, model: nn.Module, lessons: Lessons, recipe: Recipe) -> Iterator[Phase | Work]:
        from sidestep.llm.teaching import Teaching

        assert isinstance(model, Adapter)
        history, folds = model.config.history, lessons.fold_of(recipe)
        by_part = by_fold(lessons.hits, lessons.train, folds, lessons.tables)
        scenes = [gathered_scenes(hits, tables, history) for hits, tables in by_part]
        order = np.argsort(lessons.hits.folds, kind="stable")
        valid = lessons.valid, gathered_scenes(lessons.valid, lessons.evidence, history)
        teaching = Teaching(model, (lessons.hits.take(order), joined(scenes)), valid, recipe.seed)
        if model.config.mid_steps:
            yield Work("llm-mid", teaching.mid_train)
        yield Work("llm-sft", teaching.supervise)
        if model.config.rl_steps:
            yield Work("llm-rl", teaching.reinforce)

    def reranker(self, model: nn.Module, evidence: Evidence, labels: ItemLabels) -> Reranker:
        from sidestep.llm.reranker import LanguageReranker

        assert isinstance(model, Adapter)
        return LanguageReranker(evidence, model)


def spelled(sids: SemanticIds) -> list[str]:
    """Semantic IDs as text: `<a_12><b_5><c_200>`."""
    return ["".join(map(_code, range(sids.num_levels), row)) for row in sids.codes.tolist()]


def codes_of(sids: SemanticIds) -> list[str]:
    """Every code of every level, as `spelled` writes it."""
    return [_code(level, code) for level, size in enumerate(sids.codebook_sizes) for code in range(size)]


def _code(level: int, code: int) -> str:
    return f"<{chr(97 + level)}_{code}>"
