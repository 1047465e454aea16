"""A generator over slices: a history in the IDs of its time, an answer in those of now, and nothing off air."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sidestep.data.interactions import NO_TIME
from sidestep.data.sequences import SequenceBatch
from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.generators.sliced_tokens import SlicedTokens
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.recommenders.recommender import ItemFilter
from sidestep.recommenders.sliced import OnAirRecommender, SlicedRecommender
from sidestep.scorers.popularity import Popularity
from sidestep.sids.timeline import Timeline
from small_world import make, make_batch, make_sids

N, KINDS = 40, ["tiger", "tiger-mtp", "s2gr"]
POPULARITY = np.arange(N)[::-1].copy()
SIDS = make_sids(N)


def timeline(equal: bool = False) -> Timeline:
    rng = np.random.default_rng(1)
    made = Timeline(np.array([NO_TIME]), SIDS.codes[None].astype(np.int32), np.ones((1, N), dtype=np.bool_))
    for start in (100, 200, 300):
        items = np.arange(N) if equal else np.sort(rng.permutation(N)[: N // 2])
        made = made.with_slice(start, items, SIDS.codes[items] if equal else SIDS.codes[rng.permutation(N)][items])
    return made


def questions(asked: tuple[int, ...] = (150, 350, 250, NO_TIME), times: int | None = None) -> SequenceBatch:
    batch = make_batch(N)
    real = torch.arange(batch.history.shape[1]) < batch.lengths[:, None]
    moments = 90 + 20 * torch.arange(batch.history.shape[1]).expand_as(batch.history)
    moments = moments if times is None else torch.full_like(moments, times)
    nothing = torch.empty(4, 0, dtype=torch.int64)
    return replace(
        batch, targets=nothing, visible=nothing, times=moments.masked_fill(~real, NO_TIME),
        asked=torch.tensor(asked)[:, None], absolute_times=True,
    )  # fmt: skip


def sliced(kind: str, over: Timeline) -> tuple[EncoderDecoder, SlicedRecommender]:
    model = make(kind, SIDS).eval()
    model.sliced = SlicedTokens(over, model.vocabulary)
    now = over.sids(len(over) - 1, SIDS)
    inner = GenerativeRecommender(model, now, POPULARITY, model.reads, num_beams=200)
    return model, SlicedRecommender(inner, over, POPULARITY)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_slices_are_no_slices(kind: str) -> None:
    model, recommender = sliced(kind, timeline(equal=True))
    static = make(kind, SIDS).eval()
    plain = GenerativeRecommender(static, SIDS, POPULARITY, static.reads, num_beams=200)
    theirs = plain.rank(make_batch(N), 7)
    for asked in ((250,) * 4, (150, 350, 250, NO_TIME)):
        ours = recommender.rank(questions(asked), 7)
        assert torch.equal(ours.items, theirs.items)
        torch.testing.assert_close(ours.scores, theirs.scores)  # other rows beside it round otherwise
    assert torch.equal(recommender.rank(questions((250,) * 4), 7).scores, theirs.scores)
    timed = replace(make_batch(N), times=questions().times, asked=torch.full_like(make_batch(N).targets, 250))
    for mine, other in zip(model(timed).logits, static(make_batch(N)).logits, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_finds_what_scoring_every_item_on_air_finds(kind: str) -> None:
    over = timeline()
    _, recommender = sliced(kind, over)
    batch, everything = questions(), torch.arange(N).expand(4, -1)
    scores = recommender.score(batch, everything)
    found = recommender.rank(batch, N)
    for row, number in enumerate((1, 3, 2, 3)):
        air = torch.from_numpy(over.on_air[number])
        answers = found.items[row][found.items[row] >= 0]
        assert sorted(answers.tolist()) == air.nonzero()[:, 0].tolist()
        torch.testing.assert_close(found.scores[row][: len(answers)], scores[row][answers], atol=1e-5, rtol=1e-5)
        assert (found.scores[row][: len(answers)].diff() <= 1e-6).all()


def test_rows_of_several_slices_are_answered_as_alone() -> None:
    _, recommender = sliced("tiger", timeline())
    batch, allowed = questions(), torch.arange(N) % 3 > 0
    barred = ItemFilter(torch.arange(8).reshape(4, 2), allowed)
    together = recommender.rank(batch, 5, barred, explain=True)
    assert together.paths is not None
    for row in range(4):
        chosen = torch.tensor([row])
        alone = recommender.rank(batch.take(chosen), 5, barred.take(chosen), explain=True)
        assert torch.equal(alone.items[0], together.items[row])
        torch.testing.assert_close(alone.scores[0], together.scores[row])
        assert alone.paths is not None
        assert [step.code for step in alone.paths[0][0]] == [step.code for step in together.paths[row][0]]
        codes = timeline().codes[timeline().at(batch.asked[row].numpy())[0], together.items[row, 0]]
        assert [step.code for step in together.paths[row][0]] == codes.tolist()
        answers = together.items[row][together.items[row] >= 0]
        assert allowed[answers].all()
        assert not set(answers.tolist()) & set(barred.excluded[row].tolist())


def test_a_history_is_read_in_the_ids_of_its_own_time_and_an_unknown_time_is_now() -> None:
    over = timeline()
    model, _ = sliced("tiger", over)
    then, _ = model.encode(questions(times=150))
    plain = make("tiger", over.sids(1, SIDS)).eval()
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(then, plain.encode(make_batch(N))[0])
    unknown, _ = model.encode(questions(times=NO_TIME))
    torch.testing.assert_close(unknown, model.encode(questions(times=999))[0])
    assert not torch.allclose(unknown, then)
    without, _ = model.encode(replace(questions(), times=None))
    torch.testing.assert_close(without, unknown)


def test_a_later_slice_changes_no_earlier_answer() -> None:
    over = timeline()
    _, before = sliced("tiger", over.last(9))
    grown = over.with_slice(400, np.arange(3), np.zeros((3, 3), dtype=np.int64))
    _, after = sliced("tiger", grown)
    batch = questions((150, 350, 250, 399))
    assert torch.equal(before.rank(batch, 5).items, after.rank(batch, 5).items)
    assert set(after.rank(questions((400,) * 4), 5).items.flatten().tolist()) == {0, 1, 2, -1}


def test_popularity_too_answers_with_what_is_on_air() -> None:
    over = timeline()
    plain = ItemwiseRecommender(Popularity(POPULARITY), N)
    found = OnAirRecommender(plain, over).rank(questions(), 4)
    for row, number in enumerate((1, 3, 2, 3)):
        assert found.items[row].tolist() == np.flatnonzero(over.on_air[number])[:4].tolist()
