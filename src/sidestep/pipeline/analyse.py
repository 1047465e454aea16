"""The paths of a trained generator on the test users: its codes, its thoughts, and what they name."""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from sidestep.data.interactions import Ints
from sidestep.data.labels import labels
from sidestep.data.sequences import SequenceBatch, question_of
from sidestep.data.splits import Cases
from sidestep.errors import ConfigError
from sidestep.evaluation.naming import (
    Shown,
    names_of_clusters,
    names_of_codes,
    names_of_thoughts,
    share_shown,
    true_of_items,
)
from sidestep.evaluation.purity import NO_LABEL, label_numbers
from sidestep.evaluation.reasoning import (
    Drift,
    LevelReasoning,
    RecallBin,
    beam_places,
    best_followers,
    by_prefix,
    commonest,
    drifts,
    prefix_hits,
    recall_bins,
    share_of_commonest,
)
from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.generators.long_history import LongConfig, LongHistory
from sidestep.generators.prediction import Prediction, ThoughtfulPrediction
from sidestep.layers.products import fast_products
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.progress import meter
from sidestep.recommenders.generative import GenerativeRecommender, Thinker
from sidestep.recommenders.recommender import ItemFilter

USERS = 2_000
CASES_AT_ONCE = 64


@dataclass(frozen=True)
class Analysis:
    """levels: one a level. drift: between levels; empty where the generator does not think, or two users are all there
    are. seconds_per_user: of processor time, for the recipe's k items each. users: how many were looked at.
    recall: what a generator with long histories looks up; empty for others.
    """

    users: int
    levels: list[LevelReasoning]
    drift: list[Drift]
    seconds_per_user: float
    beams: int
    recall: list[RecallBin] = field(default_factory=list)


@dataclass(frozen=True)
class _Forced:
    """The true paths of n cases under teacher forcing, `[n, L]`: whether each code was the most probable, of all and of
    those that lead to an item; the log-probability of the whole path; the thoughts, and the cluster nearest to each;
    the places of the true prefixes among the beams; how many older items are looked up, and their mean gate, `[n, 2]`.
    """

    right: Tensor
    right_in_trie: Tensor
    log_probs: Tensor
    thoughts: Tensor | None
    named: Tensor | None
    places: Tensor
    recall: Tensor | None


@dataclass(frozen=True)
class _Answers:
    """The first ten answers to n cases, `[n, 10]`, -1 where there is none. thoughts: of the m that there are, row by
    row, for each level the probabilities of its clusters, `[m, C]`; empty without thoughts. seconds: of processor time
    for a case.
    """

    items: Tensor
    thoughts: list[Tensor]
    seconds: float

    @property
    def nearest(self) -> Ints:
        """The cluster nearest to each thought, `[m, L]`."""
        return torch.stack([probs.argmax(-1) for probs in self.thoughts], 1).numpy()


def analyse(run: Run, users: int = USERS) -> Analysis:
    """Analyse a sample of the test users, the same for every run of a seed.

    Raises:
        ConfigError: the run's method does not rank by paths of codes. ArtifactError: it is not trained.
    """
    if users < 2:
        raise ConfigError(f"--users {users}: expected at least 2")
    contents = RunContents(run)
    if not contents.method.ranks_by_paths:
        raise ConfigError(f"{run.recipe.method!r} is no generator of semantic IDs; there are no paths to look at")
    if run.recipe.slices.kind != "none":
        raise ConfigError(
            f"{str(run.folder)!r} has other semantic IDs in every slice of time, and no one tree to look at; "
            f"`sidestep evaluate {run.folder} --replay` shows how it does over time"
        )
    recommender = cast(GenerativeRecommender, contents.trained())
    cases = contents.split.test.sample(users, run.recipe.seed)
    forced, answers = _forced(recommender, cases), _answers(recommender, cases, run.recipe.evaluate.k)
    codes: dict[str, list[Any]] = _codes(contents, cases, forced, answers)
    thoughts: dict[str, list[Any]] = _clusters(contents, cases, forced) | _categories(contents, cases, forced, answers)
    for name, figures in _names(contents, answers).items():
        (codes if name.startswith("code") else thoughts)[name] = figures
    thinking = recommender.model.levels if isinstance(recommender.model, Thinker) else ()
    levels = [
        LevelReasoning(
            level=level + 1,
            **{name: values[level] for name, values in {**codes, **(thoughts if level in thinking else {})}.items()},
        )
        for level in range(contents.materials.ids.num_levels)
    ]
    drift = [] if forced.thoughts is None or len(cases) < 3 else drifts(forced.thoughts, forced.log_probs)
    drift = [each for each in drift if {each.level - 1, each.level} <= {*thinking}]
    beams = max(recommender.num_beams, run.recipe.evaluate.k)
    return Analysis(len(cases), levels, drift, answers.seconds, beams, _recall(contents, forced))


def _recall(contents: RunContents, forced: _Forced) -> list[RecallBin]:
    if forced.recall is None:
        return []
    counts, gates = forced.recall.unbind(1)
    return recall_bins(counts.long(), gates, contents.run.recipe.section(LongConfig).retrieved)


def as_numbers(analysis: Analysis) -> dict[str, float]:
    """Every figure, flat, under names such as `code_1` and `drift_1_own`."""
    numbers: dict[str, float] = {"seconds_per_user": analysis.seconds_per_user}
    for level in analysis.levels:
        numbers |= {f"{name}_{level.level}": value for name, value in _known(asdict(level))}
    for drift in analysis.drift:
        numbers |= {f"drift_{drift.level}_{name}": value for name, value in _known(asdict(drift))}
    return numbers


def _known(values: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in values.items() if name != "level" and value is not None]


def _forced(recommender: GenerativeRecommender, cases: Cases) -> _Forced:
    right, right_in_trie, log_probs, thoughts, named, places, recall = [], [], [], [], [], [], []
    model = cast(EncoderDecoder, recommender.model)
    for batch, chosen in _portions(recommender, cases):
        targets = torch.from_numpy(cases.targets[chosen])
        looks: AbstractContextManager[list[Tensor]] = nullcontext([])
        with model.gates() if isinstance(model, LongHistory) else looks as gates:
            prediction = _predict(recommender, batch, targets[:, None])
        if isinstance(model, LongHistory) and gates:
            counts = model.num_retrieved(batch, targets[:, None])[:, 0]
            recall.append(torch.stack([counts.double(), torch.stack(gates).mean(0).double().cpu()], 1))
        places.append(recommender.prefix_places(batch, targets))
        levels = list(zip(prediction.logits, prediction.choices.unbind(1), strict=True))
        right.append(torch.stack([logits.argmax(-1) == choice for logits, choice in levels], 1).cpu())
        right_in_trie.append(
            right[-1] if model.siblings is not None else _among_followers(recommender, prediction, targets)
        )
        log_probs.append(prediction.code_log_probs().sum(1).cpu())
        if isinstance(prediction, ThoughtfulPrediction):
            thoughts.append(prediction.thoughts.float().cpu())
            named.append(torch.stack([probs.argmax(-1) for probs in _probs(recommender, prediction)], 1))
    thinks = bool(thoughts)
    return _Forced(
        torch.cat(right),
        torch.cat(right_in_trie),
        torch.cat(log_probs),
        torch.cat(thoughts) if thinks else None,
        torch.cat(named) if thinks else None,
        torch.cat(places),
        torch.cat(recall) if recall else None,
    )


def _among_followers(recommender: GenerativeRecommender, prediction: Prediction, targets: Tensor) -> Tensor:
    """Whether the most probable of the codes that exist behind the true prefix is the true one, `[n, L]`."""
    targets, levels = targets.to(recommender.device), enumerate(prediction.logits)
    best = [best_followers(logits, level, targets, recommender.trie) for level, logits in levels]
    return (torch.stack(best, 1) == prediction.codes).cpu()


def _answers(recommender: GenerativeRecommender, cases: Cases, k: int) -> _Answers:
    """k items as in the evaluation: seen items are masked, the target is not."""
    answers, thoughts, seconds = [], [], 0.0
    for batch, chosen in _portions(recommender, cases):
        barred = ItemFilter.masking(cases, chosen)
        before = time.process_time()
        items = recommender.rank(batch, k, barred).items[:, :10]
        seconds += time.process_time() - before
        answers.append(items)
        prediction = _predict(
            recommender, batch, items
        )  # forced along an answer's path, its thoughts are those of the search
        if isinstance(prediction, ThoughtfulPrediction):
            thoughts.append(_probs(recommender, prediction))
    by_level = [torch.cat(probs) for probs in zip(*thoughts, strict=True)]
    return _Answers(torch.cat(answers), by_level, seconds / len(cases))


def _portions(recommender: GenerativeRecommender, cases: Cases) -> Iterator[tuple[SequenceBatch, Ints]]:
    """Batches of histories, and the numbers of their cases."""
    with meter("analyse", len(cases)) as progress:
        for begin in range(0, len(cases), CASES_AT_ONCE):
            chosen = np.arange(begin, min(begin + CASES_AT_ONCE, len(cases)))
            yield question_of(cases, chosen, recommender.reads), chosen
            progress.update(int(chosen[-1]) + 1)


@torch.no_grad()
def _predict(recommender: GenerativeRecommender, batch: SequenceBatch, items: Tensor) -> Prediction:
    """The generator's prediction of items `[B, P]` after each whole history, in the precision of its search."""
    model, device = cast(EncoderDecoder, recommender.model), recommender.device
    bf16 = recommender.precision == "bf16"
    with fast_products(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        return model.forced(batch.to(device), items.to(device))


@torch.no_grad()
def _probs(recommender: GenerativeRecommender, prediction: ThoughtfulPrediction) -> list[Tensor]:
    """For each level the probabilities of its clusters, `[n, C]`, by the thought there."""
    model = cast(Thinker, recommender.model)
    levels = enumerate(prediction.thoughts.unbind(1))
    return [model.cluster_probs(level, thoughts).float().cpu() for level, thoughts in levels]


def _codes(contents: RunContents, cases: Cases, forced: _Forced, answers: _Answers) -> dict[str, list[Any]]:
    codes = contents.materials.ids.codes
    survives, place = beam_places(forced.places)
    return {
        "code": forced.right.double().mean(0).tolist(),
        "code_in_trie": forced.right_in_trie.double().mean(0).tolist(),
        "code_by_prefix": by_prefix(codes, codes, contents.popularity, cases.targets),
        "prefix": prefix_hits(answers.items, torch.from_numpy(cases.targets), torch.from_numpy(codes)).tolist(),
        "survives": survives,
        "place": place,
    }


def _clusters(contents: RunContents, cases: Cases, forced: _Forced) -> dict[str, list[float]]:
    """How often the cluster nearest to a thought is that of the true code; nothing without thoughts."""
    if forced.named is None:
        return {}
    clusters = contents.materials.ids.clusters_of_items
    own = clusters[cases.targets]
    return {
        "cluster": (forced.named.numpy() == own).mean(0).tolist(),
        "by_chance": [share_of_commonest(column) for column in own.T],
        "cluster_by_prefix": by_prefix(contents.materials.ids.codes, clusters, contents.popularity, cases.targets),
    }


def _categories(contents: RunContents, cases: Cases, forced: _Forced, answers: _Answers) -> dict[str, list[float]]:
    """How often the usual category of a thought's cluster is that of the target; nothing without either of them."""
    labels = _labels(contents)
    if forced.named is None or labels is None:
        return {}
    sids, clusters = contents.materials.ids, contents.materials.ids.clusters_of_items
    real = (answers.items >= 0).numpy()
    wanted = labels[cases.targets]
    answered, wanted_there = labels[answers.items.numpy()[real]], np.repeat(wanted, real.sum(1))
    shares: dict[str, list[float]] = {name: [] for name in ("category", "answer", "answer_target")}
    for level, count in enumerate(sids.num_clusters):
        usual = commonest(labels, clusters[:, level], count)
        named, on_the_way = usual[forced.named[:, level].numpy()], usual[answers.nearest[:, level]]
        shares["category"].append(_agree(named, wanted))
        shares["answer"].append(_agree(on_the_way, answered))
        shares["answer_target"].append(_agree(on_the_way, wanted_there))
    shares["category_by_chance"] = [share_of_commonest(wanted)] * sids.num_levels
    shares["answer_by_chance"] = [share_of_commonest(answered)] * sids.num_levels
    return shares


def _names(contents: RunContents, answers: _Answers) -> dict[str, list[float | None]]:
    """How often the names on the paths of recommendations are true of the recommended items, and how many are shown."""
    names, codes = contents.path_names, contents.materials.ids.codes
    real = (answers.items >= 0).numpy()
    items = answers.items.numpy()[real]
    paths = codes[items].tolist()
    shown: dict[str, list[Shown]] = {"code": [names_of_codes(names, path) for path in paths]}
    if answers.thoughts:
        thoughts = zip(*(probs.double().numpy() for probs in answers.thoughts), strict=True)
        shown["thought"] = [names_of_thoughts(names, *each) for each in zip(paths, thoughts, strict=True)]
        nearest = answers.nearest.tolist()
        shown["nearest"] = [names_of_clusters(names, *each) for each in zip(paths, nearest, strict=True)]
    figures: dict[str, list[float | None]] = {}
    for name, of_items in shown.items():
        shares = true_of_items(names, of_items, items, contents.recipe.seed)
        figures |= {
            f"{name}_named": [own for own, _ in shares],
            f"{name}_named_by_chance": [chance for _, chance in shares],
            f"{name}_shown": share_shown(names, of_items, paths),
        }
    return figures


def _agree(labels: Ints, others: Ints) -> float:
    return float(((labels == others) & (labels != NO_LABEL)).mean()) if len(labels) else 0.0


def _labels(contents: RunContents) -> Ints | None:
    """The number of every item's category, `NO_LABEL` where it has none; None where no item has one."""
    texts = labels(contents.catalog, "category")
    if texts is None or not any(texts):
        return None
    return label_numbers(texts)
