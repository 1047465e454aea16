"""Laws of models that are told times: which times reach which prediction."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sidestep.data.interactions import Interactions
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, TrainingSequences, question
from sidestep.data.splits import SplitConfig, split
from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.layers.clock import DAY, HOUR, Clock
from sidestep.scorers.sasrec import SASRec
from sidestep.scorers.sequential import BaselineConfig
from small_world import awake, make, make_batch, make_sids, timed

KINDS = ["tiger", "s2gr", "tiger-mtp"]


def told(kind: str, request: bool = True, **changes: object) -> EncoderDecoder:
    """With a clock whose last layers are not 0 any more."""
    model = make(kind, **changes)
    model.clock = awake(Clock(("hour", "gap"), model.config.width, True, request))
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_without_times_or_with_a_last_layer_of_0_it_is_the_base_bit_for_bit(kind: str) -> None:
    base, batch = make(kind)(make_batch()).logits, timed(make_batch())
    asleep = make(kind)
    asleep.clock = Clock(("hour", "gap"), asleep.config.width)
    for logits in (asleep(batch).logits, told(kind)(make_batch()).logits):
        assert all(torch.equal(one, other) for one, other in zip(base, logits, strict=True))
    assert not torch.equal(base[0], told(kind)(batch).logits[0])
    assert make(kind).reads == Reads(6)
    assert asleep.reads == Reads(6, times=True)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoder", ["causal", "bidirectional"])
def test_a_search_is_told_the_times_that_forced_paths_are(kind: str, encoder: str) -> None:
    model, batch = told(kind, encoder=encoder, history="codes" if encoder == "bidirectional" else "items"), make_batch()
    batch = timed(batch)
    last = batch.asked.gather(1, (batch.lengths - 1)[:, None])
    asked = replace(batch, targets=batch.targets[:, :0], visible=batch.visible[:, :0], asked=last)
    items = torch.tensor([[3], [7], [11], [20]])
    forced = model.path_log_probs(asked, items)[:, 0]
    codes, state = model.vocabulary.codes(model.tokens[items[:, 0]].long()), model.start(asked)
    for level in range(3):
        log_probs, state = model.step(state, codes[:, level - 1 : level] if level else None)
        torch.testing.assert_close(log_probs[:, 0].gather(1, codes[:, level : level + 1])[:, 0], forced[:, level])
    later = replace(asked, asked=last + 5 * HOUR)
    assert not torch.allclose(model.path_log_probs(later, items)[:, 0], forced)


def first_logits(model: nn.Module, batch: SequenceBatch) -> Tensor:
    """Of the first code, or of all items, for every real target in order."""
    prediction = model(batch)
    return prediction.logits[0] if hasattr(prediction, "logits") else prediction.states


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_request_of_a_target_reaches_that_target_alone_and_only_a_model_that_is_told(kind: str) -> None:
    batch = timed(make_batch())
    moved = replace(batch, asked=batch.asked.clone())
    moved.asked[0, 2] += 7 * HOUR
    changed = (first_logits(told(kind), batch) != first_logits(told(kind), moved)).any(1)
    assert changed.nonzero().flatten().tolist() == [2]
    blind = told(kind, request=False)
    assert torch.equal(first_logits(blind, batch), first_logits(blind, moved))


@torch.no_grad()
@pytest.mark.parametrize("kind", [*KINDS, "sasrec"])
def test_no_later_time_reaches_an_earlier_target(kind: str) -> None:
    batch = timed(make_batch())
    model = sasrec() if kind == "sasrec" else told(kind)
    moved = replace(batch, times=batch.times.clone(), asked=batch.asked.clone())
    moved.times[0, 3:] += 7 * HOUR  # of items that the first three targets do not see, the third of which is asked for
    moved.asked[0, 3:] += 7 * HOUR  # before them
    changed = (first_logits(model, batch) - first_logits(model, moved)).abs().amax(1) > 1e-5
    assert changed[:6].tolist() == [False] * 3 + [True] * 3
    assert not changed[6:].any()


def sasrec(request: bool = True) -> SASRec:
    torch.manual_seed(0)
    model = SASRec(np.ones(40, dtype=np.int64), BaselineConfig(width=16, max_history=6, dropout=0.0))
    model.clock = awake(Clock(("hour", "gap"), 16, True, request))
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("request_told", [True, False])
def test_sasrec_reads_a_question_as_it_reads_a_position_of_training(request_told: bool) -> None:
    """Two roads to each target: all positions of a stretch at once, and each as a question of its own."""
    rng = np.random.default_rng(0)
    moments = 10**12 + np.cumsum(rng.integers(1, 50, 12) * HOUR)
    log = Interactions(["u"], np.array([0, 12]), rng.integers(0, 40, 12), moments, absolute_times=True)
    train = split(log, SplitConfig()).train
    model = sasrec(request_told)
    sequences = TrainingSequences(train, model.reads, every_position=True)
    for example in range(len(sequences)):
        batch = sequences.batch(np.array([example]))
        start = int(np.flatnonzero(log.items == int(batch.history[0, 0]))[0])
        for place, state in zip(batch.visible[0].tolist(), model.states(batch)[0], strict=True):
            rows = slice(start, start + place)
            asked = question([log.items[rows]], model.reads, [moments[rows]], [int(moments[start + place])], True)
            torch.testing.assert_close(model.last_states(asked)[0], state)


@torch.no_grad()
def test_a_day_later_a_model_that_is_told_the_hour_answers_the_same() -> None:
    batch = timed(make_batch())
    later = replace(batch, times=batch.times + DAY, asked=batch.asked + DAY)
    assert torch.equal(first_logits(told("tiger"), batch), first_logits(told("tiger"), later))


def test_the_clock_learns() -> None:
    model = make("tiger", make_sids())
    model.clock = Clock(("hour",), model.config.width)
    first_logits(model, timed(make_batch())).square().sum().backward()
    for each in (model.clock.history, model.clock.request):
        assert each is not None
        assert each.out.weight.grad is not None
        assert each.out.weight.grad.abs().sum() > 0
