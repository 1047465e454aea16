"""Tuned item vectors: the training of a map, an encoder or a language model, and neighbourhoods after it, to be judged
by a person.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sidestep.data.catalog import Catalog
from sidestep.data.labels import labels
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import brief
from sidestep.evaluation.metrics import hit_rate
from sidestep.evaluation.neighbours import nearest, next_item_ranks, same_label
from sidestep.evaluation.purity import label_numbers
from sidestep.methods.recipe import Recipe
from sidestep.objectives.aligning import align, align_and_tell
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.progress import meter
from sidestep.training.loop import fit
from sidestep.training.optim import TrainConfig
from sidestep.vectors.denoise import Denoiser, Scores
from sidestep.vectors.edges import graph_of
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.vectors.pair_batches import PairBatches, VectorPairBatches
from sidestep.vectors.pairs import Pairs
from sidestep.vectors.text_tuning import (
    LanguageTuner,
    SegmentPairBatches,
    TextPairBatches,
    TextTuner,
    questions_of,
    texts_of,
)
from sidestep.vectors.tuning import VectorMap, training_pairs

SEED_APART = 2**18
"""Added to the run's seed, so that no batch of the run is drawn as these."""
WARMUP, SHOWN, NEIGHBOURS, WIDEST = 20, 6, 5, 60
FEW = 8
"""Of the few steps of an encoder, one in so many warms up."""
JUDGED = 2_000
"""Validation cases whose next item is looked for, and items whose neighbours are compared with their categories."""
JUDGMENTS = "judged.jsonl"
"""What a language model has said of pairs, beside the training's folder."""
CLIQUES = 0.3
"""Below this share of neighbours of an item's own category, vectors say who is bought together and little else."""


def tuned_map(
    train: TrainingInteractions, catalog: Catalog, vectors: ItemVectors, recipe: Recipe, folder: Path,
    say: Callable[[str], None] = lambda line: None,
) -> VectorMap:  # fmt: skip
    """A map of `vectors` `[N, D]` that brings paired items together, trained on `train` alone with the last weights
    kept. folder: for checkpoints.

    Raises:
        As `training_pairs`.
    """
    config, seed = recipe.tune, _seed(recipe)
    pairs = _pairs(train, catalog, vectors, recipe, folder, say)
    torch.manual_seed(seed)
    model = VectorMap(vectors.width, config.rank)
    _train(model, VectorPairBatches(pairs, vectors, config.batch_size, config.steps, seed), recipe, folder)
    return model


def tuned_language_model(
    train: TrainingInteractions, catalog: Catalog, vectors: ItemVectors, recipe: Recipe, folder: Path,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[LanguageTuner, ItemVectors]:  # fmt: skip
    """A causal language model that brings the texts of paired items together and says what is asked about them, trained
    as `tuned_map`, and its vectors of the catalogue. vectors: of the items, before tuning, for filters of pairs.

    Raises:
        As `training_pairs`, `texts_of`, `questions_of` and `LanguageTuner.of`.
    """
    config, seed, texts = recipe.tune, _seed(recipe), texts_of(catalog)
    said = questions_of(catalog, config, recipe.data.path)
    pairs = _pairs(train, catalog, vectors, recipe, folder, say)
    if said is not None:
        say(f"tune: questions about {sum(map(bool, said)):,} items")
    torch.manual_seed(seed)
    model = LanguageTuner.of(config)
    _train(model, SegmentPairBatches(pairs, texts, said, model.encoder, config, seed), recipe, folder)
    with meter("texts", len(texts)) as shown:
        return model, model.of_items(catalog, lambda done, total: shown.update(done))


def tuned_encoder(
    train: TrainingInteractions, catalog: Catalog, vectors: ItemVectors, recipe: Recipe, folder: Path,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[TextTuner, ItemVectors]:  # fmt: skip
    """A text encoder whose last layers bring the texts of paired items together, trained as `tuned_map`, and its
    vectors of the catalogue. vectors: of the items, before tuning, for filters of pairs.

    Raises:
        As `training_pairs`, `texts_of` and `TextTuner.of`.
    """
    config, seed, texts = recipe.tune, _seed(recipe), texts_of(catalog)
    pairs = _pairs(train, catalog, vectors, recipe, folder, say)
    model = TextTuner.of(config)
    with meter("texts", len(texts)) as shown:
        states = model.text_model.states(texts, lambda done, total: shown.update(done))
    data = TextPairBatches(pairs, texts, states, config.batch_size, config.steps, seed)
    _train(model, data, recipe, folder)
    return model, model.of_items(catalog, states)


def _seed(recipe: Recipe) -> int:
    return (recipe.seed + SEED_APART) % 2**20


def _pairs(
    train: TrainingInteractions, catalog: Catalog, vectors: ItemVectors, recipe: Recipe, folder: Path,
    say: Callable[[str], None],
) -> Pairs:  # fmt: skip
    config = recipe.tune
    graph = graph_of(train, catalog, recipe.graph, recipe.data.path) if config.uses_graph else None
    judge = _judge(train, catalog, recipe, folder, say) if config.denoise == "llm" else None
    pairs = training_pairs(train, catalog, vectors, config, _seed(recipe), graph, judge)
    say(f"tune: {len(pairs):,} pairs of {pairs.num_items:,} items")
    return pairs


def _judge(
    train: TrainingInteractions, catalog: Catalog, recipe: Recipe, folder: Path, say: Callable[[str], None]
) -> Denoiser:
    """A language model as a filter. Before it judges all pairs, its AUC on some is printed."""
    from sidestep.llm.filter import CLUELESS, auc, by_model, judge_of
    from sidestep.llm.teacher import Answers

    config, texts = recipe.tune, texts_of(catalog)
    judge, answers = judge_of(config), Answers(config.judged or folder.parent / JUDGMENTS, "tune.judged")

    def denoise(pairs: Pairs) -> Scores:
        area = auc(by_model(judge, answers, texts), train, pairs, len(catalog), _seed(recipe))
        if not np.isnan(area):
            say(f"judge: tells pairs that users made from pairs at random with an AUC of {area:.2f} (chance .50)")
        if area < CLUELESS:
            say(
                "warning: chance alone could do as well, so what this judge drops may be anything; take a larger "
                "model, or tune.denoise=popularity"
            )
        with meter("judge", len(pairs)) as shown:
            return by_model(judge, answers, texts, shown.update)(pairs)

    return denoise


def _train(model: nn.Module, data: PairBatches, recipe: Recipe, folder: Path) -> None:
    config = recipe.tune
    if config.steps:
        warmup = config.steps // FEW if config.reads_texts else WARMUP
        settings = TrainConfig(
            epochs=1, batch_size=config.batch_size, lr=config.lr, warmup_steps=warmup, weight_decay=0.0, clip=0.0,
            patience=0,
        )  # fmt: skip
        objective = partial(align, tau=config.tau)
        if config.kind == "lm":
            objective = partial(align_and_tell, tau=config.tau, weight=config.qa_weight)
        fit(model, objective, data, settings, seed=_seed(recipe), folder=folder, title="tune")


@dataclass(frozen=True)
class Nearby:
    """An item and its nearest items, as titles, in the vectors before and after tuning."""

    item: str
    before: list[str]
    after: list[str]


@dataclass(frozen=True)
class Neighbourhoods:
    """What tuning did to what is near.

    items: some items that people take, with their neighbours. hit_rates: by K, HR@K of the next item by the cosine with
    the last one, before and after, on a sample of the validation cases. category: the share of the 10 nearest items
    with the item's own category, before and after; None without categories.
    """

    items: list[Nearby]
    hit_rates: dict[int, tuple[float, float]]
    category: tuple[float, float] | None

    def lines(self) -> list[str]:
        """The figures, and a warning where neighbours have little to do with categories any more."""
        told = [f"HR@{k} {before:.4f} -> {after:.4f}" for k, (before, after) in self.hit_rates.items()]
        lines = [f"tuned: next item by the nearest vectors, some validation cases: {', '.join(told)}"]
        if self.category is not None:
            before, after = self.category
            lines.append(f"tuned: {before:.1%} -> {after:.1%} of the 10 nearest items have the item's category")
            if after < min(CLIQUES, before):
                lines.append(
                    "warning: neighbours are hardly of one category any more, so similar IDs will name what is taken "
                    "together and not what it is; lower tune.steps or tune.lr, or set tune.rank"
                )
        return lines

    def text(self) -> str:
        """Neighbours before and after, side by side, and the figures."""
        blocks = []
        for near in self.items:
            width = max(map(len, (*near.before, "before")))
            rows = zip(["before", *near.before], ["after", *near.after], strict=True)
            blocks.append("\n".join([near.item, *(f"  {one:{width}}  {other}" for one, other in rows)]))
        return "\n\n".join([*blocks, "\n".join(self.lines())])


def neighbourhoods_of(run: Run) -> Neighbourhoods:
    """Those of a run whose vectors are tuned.

    Raises:
        ArtifactError: they are not tuned yet.
    """
    contents = RunContents(run)
    return neighbourhoods(contents, contents.embedded, contents.vectors)


def neighbourhoods(contents: RunContents, before: ItemVectors, after: ItemVectors) -> Neighbourhoods:
    """Neighbours in two spaces of a run's items; those shown are drawn among items with training interactions."""
    catalog, cases = contents.catalog, contents.split.valid.sample(JUDGED, contents.recipe.seed)
    rng = np.random.default_rng(contents.recipe.seed)
    taken = np.flatnonzero(contents.popularity)
    chosen = np.sort(rng.choice(taken, min(SHOWN, len(taken)), replace=False))
    spaces = (before.values, after.values)
    one, other = (nearest(values, chosen, NEIGHBOURS) for values in spaces)
    shown = [
        Nearby(_titles(catalog, [item])[0], _titles(catalog, old), _titles(catalog, new))
        for item, old, new in zip(chosen.tolist(), one.tolist(), other.tolist(), strict=True)
    ]
    ranks = [next_item_ranks(values, cases) for values in spaces]
    rates = {k: (float(hit_rate(ranks[0], k).mean()), float(hit_rate(ranks[1], k).mean())) for k in (10, 50)}
    return Neighbourhoods(shown, rates, _by_category(catalog, before, after, rng))


def _by_category(
    catalog: Catalog, before: ItemVectors, after: ItemVectors, rng: np.random.Generator
) -> tuple[float, float] | None:
    texts = labels(catalog, "category")
    if texts is None:
        return None
    numbers = label_numbers(texts)
    items = np.sort(rng.choice(len(catalog), min(len(catalog), JUDGED), replace=False))
    one, other = (same_label(nearest(space.values, items, 10), items, numbers) for space in (before, after))
    return None if one is None or other is None else (one, other)


def _titles(catalog: Catalog, items: list[int]) -> list[str]:
    return [brief(catalog.title(item), WIDEST) for item in items]
