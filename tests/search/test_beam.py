"""Laws of the search: enough beams equal exhaustive scoring, every answer is a real and permitted item."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sidestep.data.reads import Reads
from sidestep.data.sequences import NO_ITEM, SequenceBatch, question
from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.generators.state import DecodingState
from sidestep.recommenders import portions
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.recommenders.recommender import ItemFilter
from sidestep.search import beam
from sidestep.search.beam import beam_search, prefix_places
from sidestep.sids.trie import Permitted, Trie
from small_world import make, make_batch, make_sids

N = 40
POPULARITY = np.arange(N)[::-1].copy() % 7


@pytest.fixture(params=["tiger", "s2gr", "tiger, trie", "s2gr, trie"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def recommender(kind: str, num_beams: int) -> GenerativeRecommender:
    return GenerativeRecommender(make(kind), make_sids(), POPULARITY, reads=Reads(6), num_beams=num_beams)


def histories(seed: int = 0) -> SequenceBatch:
    batch = make_batch(seed=seed)
    return question([row[row >= 0].numpy() for row in batch.history], Reads(6))


def exhaustive(model: EncoderDecoder, batch: SequenceBatch) -> Tensor:
    """The log-probability of every item's path, one teacher-forced pass per item: `[B, N]`."""
    scores = []
    for item in range(N):
        targets = torch.full((len(batch), 1), item)
        prediction = model(SequenceBatch(batch.history, batch.lengths, targets, batch.lengths[:, None]))
        parts = [
            logits.log_softmax(-1).gather(1, prediction.choices[:, level : level + 1])
            for level, logits in enumerate(prediction.logits)
        ]
        scores.append(torch.cat(parts, 1).sum(1))
    return torch.stack(scores, 1)


def by_hand(scores: Tensor) -> list[list[int]]:
    """Falling score; items that share an ID by popularity, then number; other ties by number."""
    codes = [tuple(row) for row in make_sids().codes.tolist()]
    first = {code: min(i for i in range(N) if codes[i] == code) for code in codes}
    ranked = []
    for row in scores.tolist():
        shared = {code: row[i] for i, code in enumerate(codes)}
        ranked.append(sorted(range(N), key=lambda i: (-shared[codes[i]], first[codes[i]], -POPULARITY[i], i)))
    return ranked


@torch.no_grad()
def test_enough_beams_equal_exhaustive_scoring_in_order(kind: str) -> None:
    found = recommender(kind, num_beams=N).rank(histories(), k=N)
    scores = exhaustive(make(kind), histories())
    assert found.items.tolist() == by_hand(scores)
    torch.testing.assert_close(found.scores, scores.gather(1, found.items), atol=1e-5, rtol=0)


@torch.no_grad()
def test_batches_and_single_histories_get_the_same_answers(kind: str) -> None:
    model, batch = recommender(kind, num_beams=6), histories()
    together = model.rank(batch, k=5)
    for row in range(len(batch)):
        length = int(batch.lengths[row])
        alone = model.rank(question([batch.history[row, :length].numpy()], Reads(6)), k=5)
        assert together.items[row].tolist() == alone.items[0].tolist()


@given(
    seed=st.integers(0, 3),
    k=st.integers(1, 50),
    num_beams=st.integers(1, 10),
    allowed=st.sets(st.integers(0, N - 1)),
    excluded=st.lists(st.lists(st.integers(0, N - 1), max_size=30), min_size=4, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_k_valid_distinct_permitted_items_come_back_whenever_they_exist(
    seed: int, k: int, num_beams: int, allowed: set[int], excluded: list[list[int]]
) -> None:
    width = max(map(len, excluded))
    padded = [row + [NO_ITEM] * (width - len(row)) for row in excluded]
    rows = torch.tensor(padded, dtype=torch.int64).reshape(4, width)
    mask = torch.zeros(N, dtype=torch.bool)
    mask[list(allowed)] = True
    found = recommender("s2gr", num_beams).rank(histories(seed), k, ItemFilter(rows, mask))
    for row, barred in enumerate(excluded):
        items = [item for item in found.items[row].tolist() if item != NO_ITEM]
        permitted = allowed - set(barred)
        assert len(items) == min(k, len(permitted))
        assert len(set(items)) == len(items)
        assert set(items) <= permitted
        scores = found.scores[row, : len(items)]
        assert (scores[1:] <= scores[:-1]).all()
        assert found.scores[row, len(items) :].isinf().all()


@torch.no_grad()
def test_a_filter_removes_items_and_moves_nothing_else(kind: str) -> None:
    model, batch = recommender(kind, num_beams=N), histories()
    everything = model.rank(batch, k=N).items.tolist()
    barred = torch.tensor([[3, 3, NO_ITEM], [5, 6, 7], [NO_ITEM] * 3, [0, 39, 0]])
    filtered = model.rank(batch, k=N, barred=ItemFilter(barred)).items.tolist()
    for row, gone in enumerate(barred.tolist()):
        kept = [item for item in everything[row] if item not in gone]
        assert filtered[row] == kept + [NO_ITEM] * (N - len(kept))


@torch.no_grad()
def test_an_empty_history_is_answered_by_popularity_among_others(kind: str) -> None:
    model = recommender(kind, num_beams=5)
    some = question([np.array([1, 2]), np.array([], dtype=np.int64), np.array([4])], Reads(6))
    found = model.rank(some, k=3, barred=ItemFilter(torch.tensor([[1], [5], [2]])), explain=True)
    order = sorted(range(N), key=lambda item: (-POPULARITY[item], item))
    assert found.items[1].tolist() == [item for item in order if item != 5][:3]
    alone = model.rank(question([np.array([4])], Reads(6)), k=3, barred=ItemFilter(torch.tensor([[2]])))
    assert found.items[2].tolist() == alone.items[0].tolist()
    assert found.paths is not None
    assert [len(paths) for paths in found.paths] == [3, 0, 3]


@given(
    k=st.integers(1, 50),
    allowed=st.none() | st.sets(st.integers(0, N - 1)),
    excluded=st.none() | st.lists(st.lists(st.integers(-1, N - 1), min_size=30, max_size=30), min_size=2, max_size=2),
)
@settings(max_examples=40, deadline=None)
def test_without_a_history_the_most_popular_permitted_items_come_back(
    k: int, allowed: set[int] | None, excluded: list[list[int]] | None
) -> None:
    mask = None if allowed is None else torch.tensor([item in allowed for item in range(N)])
    rows = None if excluded is None else torch.tensor(excluded)
    nobody = question([np.array([], dtype=np.int64)] * 2, Reads(6))
    found = recommender("tiger", 5).rank(nobody, k, ItemFilter(rows, mask))
    order = sorted(range(N), key=lambda item: (-POPULARITY[item], item))
    for row in range(2):
        barred = set() if excluded is None else set(excluded[row])
        left = [item for item in order if item not in barred and (allowed is None or item in allowed)][:k]
        assert found.items[row].tolist() == left + [NO_ITEM] * (k - len(left))
        assert found.scores[row, : len(left)].tolist() == POPULARITY[left].tolist()


@torch.no_grad()
def test_paths_add_up_to_the_score_and_spell_the_items_id(kind: str) -> None:
    found = recommender(kind, num_beams=8).rank(histories(), k=5, explain=True)
    assert found.paths is not None
    for row, rank in product(range(4), range(5)):
        path = found.paths[row][rank]
        assert [step.code for step in path] == make_sids().codes[found.items[row, rank]].tolist()
        assert sum(step.log_prob for step in path) == pytest.approx(float(found.scores[row, rank]), abs=1e-4)
        assert [step.level for step in path] == [1, 2, 3]
        for step in path:
            probs = [each.probability for each in step.clusters]
            assert probs == sorted(probs, reverse=True)
            assert sum(probs) == pytest.approx(float(kind.startswith("s2gr")), abs=1e-5)  # two clusters, both named


def test_a_level_without_a_thought_names_no_cluster() -> None:
    found = recommender("repaired", num_beams=8).rank(histories(), k=3, explain=True)
    assert found.paths is not None
    assert {tuple(len(step.clusters) for step in path) for paths in found.paths for path in paths} == {(2, 2, 0)}


def sharpened(kind: str) -> EncoderDecoder:
    """A generator as sure of its codes as a trained one."""
    model = make(kind)
    with torch.no_grad():
        model.code_embedding.weight.mul_(60)
    return model


class Counted:
    """A generator that notes how many beams heard each code."""

    def __init__(self, model: EncoderDecoder) -> None:
        self.model, self.beams = model, list[int]()
        self.over_children = model.over_children

    def start(self, batch: SequenceBatch) -> DecodingState:
        return self.model.start(batch)

    def step(self, state: DecodingState, codes: Tensor | None) -> tuple[Tensor, DecodingState]:
        self.beams.append(0 if codes is None else codes.numel())
        return self.model.step(state, codes)


@torch.no_grad()
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("at_once", [0, 4 * 12])
def test_leaving_hopeless_prefixes_out_changes_no_answer(
    kind: str, k: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few beams are completed by one step, many by as few as can win."""
    monkeypatch.setattr(beam, "AT_ONCE", at_once)
    sids, model = make_sids(), Counted(sharpened(kind))
    trie = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes)
    excluded = torch.tensor([[3, 3, NO_ITEM], [5, 6, 7], [NO_ITEM] * 3, [0, 39, 0]])
    for permitted in (Permitted(trie), Permitted(trie, None, excluded)):
        model.beams.clear()
        best = beam_search(model, histories(), permitted, num_beams=12, k=k)
        heard_last, steps = sum(model.beams[2:]), len(model.beams)
        everything = beam_search(model, histories(), permitted, num_beams=12)
        assert torch.equal(best.codes[:, :k], everything.codes[:, :k])
        torch.testing.assert_close(best.scores[:, :k], everything.scores[:, :k])
        if at_once:
            assert steps == 3
        else:
            assert heard_last < 4 * 12 or k > 1  # the best one alone needs few prefixes


@torch.no_grad()
def test_histories_searched_in_portions_get_the_same_answers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = recommender(kind, num_beams=6)
    batch = question([np.array([1, 2]), np.array([], dtype=np.int64), np.array([4, 5, 6]), np.array([7])], Reads(6))
    barred = ItemFilter(torch.tensor([[3], [5], [8], [NO_ITEM]]), torch.arange(N) != 9)
    together = model.rank(batch, 5, barred, explain=True)
    monkeypatch.setattr(portions, "BEAMS_AT_ONCE", 6)
    apart = model.rank(batch, 5, barred, explain=True)
    assert torch.equal(apart.items, together.items)
    torch.testing.assert_close(apart.scores, together.scores)
    assert [[[step.code for step in path] for path in row] for row in apart.paths or []] == [
        [[step.code for step in path] for path in row] for row in together.paths or []
    ]


@torch.no_grad()
def test_bf16_scores_are_near_and_leave_the_model_alone(kind: str) -> None:
    model = make(kind)
    exact = GenerativeRecommender(model, make_sids(), POPULARITY, Reads(6), N).rank(histories(), N)
    rounded = GenerativeRecommender(model, make_sids(), POPULARITY, Reads(6), N, "bf16").rank(histories(), N)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    by_item = [scores.gather(1, items.argsort(1)) for scores, items in
               ((exact.scores, exact.items), (rounded.scores, rounded.items))]  # fmt: skip
    torch.testing.assert_close(by_item[1], by_item[0], atol=0.2, rtol=0)
    assert not torch.equal(by_item[0], by_item[1])


@torch.no_grad()
def test_equal_scores_are_ordered_by_item_number() -> None:
    model = make("tiger")
    torch.nn.init.zeros_(model.code_embedding.weight)  # every code of a level is equally likely
    found = GenerativeRecommender(model, make_sids(), np.zeros(N, dtype=np.int64), Reads(6), N).rank(histories(), k=N)
    codes = [tuple(row) for row in make_sids().codes.tolist()]
    first = {code: codes.index(code) for code in codes}
    expected = sorted(range(N), key=lambda item: (first[codes[item]], item))
    assert found.items[0].tolist() == expected
    few = GenerativeRecommender(model, make_sids(), np.zeros(N, dtype=np.int64), Reads(6), N).rank(histories(), k=3)
    assert few.items[0].tolist() == expected[:3]


@torch.no_grad()
def test_prefixes_stand_among_the_beams_where_an_exhaustive_search_has_them(kind: str) -> None:
    model, batch, sids = make(kind), histories(), make_sids()
    codes = torch.from_numpy(sids.codes)
    trie = Trie.build(codes, sids.codebook_sizes)
    targets = torch.tensor([3, 17, 29, 8])
    parts = model.path_log_probs(batch, torch.arange(N).expand(len(batch), -1))  # [B, N, L]
    places = prefix_places(model, batch, trie, 40, targets)
    narrow = prefix_places(model, batch, trie, 3, targets)
    for row, target in enumerate(targets.tolist()):
        for depth in range(1, 4):
            totals = {
                tuple(code[:depth].tolist()): float(parts[row, item, :depth].sum()) for item, code in enumerate(codes)
            }
            own = totals[tuple(codes[target, :depth].tolist())]
            assert places[row, depth - 1] == 1 + sum(total > own + 1e-6 for total in totals.values())
            assert narrow[row, depth - 1] in range(4)
        assert narrow[row, 0] == (places[row, 0] if places[row, 0] <= 3 else 0)  # at level 1 nothing is cut before
