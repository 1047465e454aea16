"""The contract of the sequential baselines: whatever stands in `methods.py` as one is held to it."""

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from sidestep import config
from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, TrainingSequences, pad, question
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import ConfigError
from sidestep.evaluation.metrics import ndcg
from sidestep.methods.method import Materials
from sidestep.methods.recipe import Recipe
from sidestep.methods.scoring import Scoring
from sidestep.methods.table import METHODS, new_recipe
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.recommenders.recommender import ItemFilter
from sidestep.scorers.sequential import BaselineConfig, SequentialBaseline
from sidestep.training.loop import Training
from sidestep.vectors.item_vectors import ItemVectors
from small_world import make_batch, timed

NAMES = [name for name, method in METHODS.items() if isinstance(method, Scoring)]
OF_ONE_STATE = [name for name in NAMES if name != "sasrec-towers"]  # whose score is a mean of two such
NUM_ITEMS = 40


def recipe(name: str, **baseline: object) -> Recipe:
    small = {"width": 16, "inner": 32, "max_history": 6, **baseline}
    return new_recipe({"method": name, "baseline": small})


def with_baseline(name: str, **baseline: object) -> Recipe:
    """The method's own loss, which `baseline` alone would leave out."""
    return recipe(name, **{**METHODS[name].parts.get("baseline", {}), **baseline})


def materials(popularity: Ints) -> Materials:
    values = np.random.default_rng(0).standard_normal((len(popularity), 8)).astype(np.float32)
    return Materials(popularity, vectors=ItemVectors(values))


@cache
def make(name: str) -> Any:
    torch.manual_seed(0)
    model = METHODS[name].build(materials(np.arange(NUM_ITEMS)), with_baseline(name))
    assert isinstance(model, SequentialBaseline) == (name in OF_ONE_STATE)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # so that nothing is hidden by a zero
    return model.eval()


@pytest.mark.parametrize("name", OF_ONE_STATE)
def test_contract_a_state_knows_nothing_behind_what_its_target_sees(name: str) -> None:
    model, batch = make(name), make_batch()
    before = model.states(batch)
    for position in range(batch.history.shape[1]):
        history = batch.history.clone()
        history[:, position] = torch.where(history[:, position] >= 0, (history[:, position] + 1) % NUM_ITEMS, -1)
        after = model.states(SequenceBatch(history, batch.lengths, batch.targets, batch.visible))
        blind = (batch.targets >= 0) & (batch.visible <= position)
        torch.testing.assert_close(after[blind], before[blind])


@pytest.mark.parametrize("name", OF_ONE_STATE)
def test_contract_states_of_a_stretch_are_those_of_each_prefix_alone(name: str) -> None:
    model, batch = make(name), make_batch()
    together = model.states(batch)
    for row, column in (batch.targets >= 0).nonzero().tolist():
        prefix = batch.history[row, : int(batch.visible[row, column])].numpy()
        alone = model.last_states(question([prefix], model.reads))[0]
        torch.testing.assert_close(together[row, column], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", OF_ONE_STATE)
def test_contract_a_score_is_the_product_of_state_and_embedding(name: str) -> None:
    model, batch = make(name), make_batch()
    torch.testing.assert_close(model.score(batch), model.last_states(batch) @ model.embeddings().T)


@pytest.mark.parametrize("name", NAMES)
def test_contract_an_empty_history_is_answered_by_popularity(name: str) -> None:
    model = make(name)
    recommender = ItemwiseRecommender(model.score, NUM_ITEMS, model.reads)
    batch = question([np.array([], dtype=np.int64), np.array([1, 2])], model.reads)
    assert recommender.rank(batch, 5).items[0].tolist() == [39, 38, 37, 36, 35]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "bert4rec"])  # it looks at the values of its batch
def test_contract_a_question_from_elsewhere_is_answered_on_the_models_device(name: str) -> None:
    model = deepcopy(make(name)).to("meta")  # refuses to be mixed with the CPU, as a GPU does
    assert model.score(make_batch()).device.type == "meta"


@pytest.mark.parametrize("name", NAMES)
def test_contract_k_permitted_items_come_back(name: str) -> None:
    model = make(name)
    histories = [np.array([1, 2, 3]), np.array([], dtype=np.int64), np.array([5])]
    allowed = torch.arange(NUM_ITEMS) < 12
    recommender = ItemwiseRecommender(model.score, NUM_ITEMS, model.reads)
    answers = recommender.rank(question(histories, model.reads), 9, ItemFilter(pad(histories), allowed))
    for history, items in zip(histories, answers.items.tolist(), strict=True):
        assert len(set(items)) == 9
        assert all(0 <= item < 12 and item not in history for item in items)


@pytest.mark.parametrize("name", NAMES)
def test_contract_every_parameter_is_taught(name: str) -> None:
    chosen, given = with_baseline(name), materials(np.arange(NUM_ITEMS))
    torch.manual_seed(0)
    model = METHODS[name].build(given, chosen).train()
    batch = timed(make_batch()) if model.reads.times else make_batch()
    METHODS[name].objective(given, chosen)(model, batch)["total"].backward()
    assert [each for each, parameter in model.named_parameters() if parameter.grad is None] == []


class Circle:
    """Everybody goes round the items in one direction: each is as popular as any other, and the next one is plain."""

    num_items = 12

    def __init__(self, reads: Reads, every_position: bool) -> None:
        rng = np.random.default_rng(0)
        walks = [(start + np.arange(7)) % self.num_items for start in rng.integers(0, self.num_items, 120)]
        offsets = np.arange(0, 7 * 121, 7)
        users = [str(user) for user in range(120)]
        log = TrainingInteractions(users, offsets, np.concatenate(walks))
        self.popularity = log.popularity(self.num_items)
        self.sequences = TrainingSequences(log, reads, every_position)

    def batches(self, epoch: int) -> list[Ints]:
        return self.sequences.batches(128, 0, epoch)

    def load(self, index: Ints) -> SequenceBatch:
        return self.sequences.batch(index)


@pytest.mark.parametrize("name", NAMES)
def test_contract_learns_a_sequence_that_popularity_cannot(name: str) -> None:
    world = Circle(Reads(6), True)
    chosen, given = with_baseline(name, dropout=0.1), materials(world.popularity)
    epochs = 40 if name == "bert4rec" else 12  # the cloze teaches a fifth of the items in each
    train = chosen.train.model_copy(update={"lr": 0.01, "warmup_steps": 5, "epochs": epochs, "clip": 1.0})
    torch.manual_seed(0)
    model = METHODS[name].build(given, chosen)
    run = Training(model, METHODS[name].objective(given, chosen), world, train, seed=0)
    model.train()
    for epoch in range(epochs):
        for index in run.order(epoch):
            run.step(index)
            run.progress.step += 1
    model.eval()
    starts = np.arange(world.num_items)
    histories = [(start + np.arange(4)) % world.num_items for start in starts]
    recommender = ItemwiseRecommender(model.score, world.num_items, model.reads)
    answers = recommender.rank(question(histories, model.reads), world.num_items).items
    ranks = (answers == torch.from_numpy((starts + 4) % world.num_items)[:, None]).nonzero()[:, 1].numpy() + 1
    by_popularity = np.array(
        [int((np.argsort(-world.popularity, kind="stable") == (s + 4) % 12).argmax()) for s in starts]
    )
    assert ndcg(ranks, 10).mean() > ndcg(by_popularity + 1, 10).mean() + 0.2


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="width = 10 cannot be divided among num_heads = 4"):
        config.build(BaselineConfig, {"width": 10, "num_heads": 4})


@pytest.mark.parametrize("name", ["rearec-erl", "rearec-prl"])
def test_reasoning_over_the_whole_catalogue_refuses_a_loss_of_samples(name: str) -> None:
    with pytest.raises(ConfigError, match=r"baseline\.loss = 'bce' does not suit"):
        recipe(name, loss="bce")
