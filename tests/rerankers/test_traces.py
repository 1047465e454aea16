"""Rules as functions, their language, and what orders are worth: each law by hand or by brute force."""

import itertools
from typing import get_args

import pytest
import torch

from rerank_world import every_text
from sidestep.losses.reranking import dapo, words
from sidestep.rerankers import rewards
from sidestep.rerankers.language import NOTHING, PAD, RANK, Language
from sidestep.rerankers.reasoner import Rule
from sidestep.rerankers.traces import RULES, Match, Scene, Trace, accepted, executed, is_true, justifying

SCENE = Scene(
    taken={"leaf": [3, 1, 1, 2], "aisle": [1, 1, 1, 2], "brand": [4, 5, 4, 5]},
    offered={"leaf": [2, 1, 3, 0], "aisle": [2, 1, 0, 2], "brand": [5, 4, 4, 0]},
    text=[0.1, 0.9, 0.3, 0.2],
    popular=[1.0, 2.0, 3.0, 2.5],
    next_leaf=3,
)


def test_every_rule_finds_what_it_looks_for() -> None:
    assert {name: rule(SCENE) for name, rule in RULES.items()} == {
        "last": Match(2, (0,)),
        "frequent": Match(1, (1,)),
        "brand": Match(5, (0,)),  # both occur twice, and 5 later
        "aisle": Match(2, (0, 3)),
        "next": Match(3, (2,)),
        "similar": Match(0, (1, 2, 3)),
        "popular": Match(0, (2, 3, 1)),
        "keep": Match(0, ()),
    }


def test_the_recipe_names_the_rules_that_there_are() -> None:
    assert get_args(Rule) == tuple(RULES)


def test_a_rule_looks_for_nothing_where_there_is_nothing_to_look_for() -> None:
    empty = Scene({"leaf": [], "aisle": [], "brand": [0]}, {"leaf": [0], "aisle": [0], "brand": [0]}, [0.0], [0.0], 0)
    assert all(RULES[rule](empty) == Match(0, ()) for rule in ("last", "frequent", "brand", "aisle", "next"))


def test_a_trace_puts_in_front_what_it_matched_and_leaves_the_rest() -> None:
    trace = executed("aisle", SCENE)
    assert trace == Trace("aisle", 2, (0, 3), (0, 3, 1, 2))
    assert trace.followed
    assert is_true(trace, SCENE)
    assert not is_true(Trace("aisle", 2, (0,), trace.order), SCENE)
    assert not Trace("aisle", 2, (0, 3), (1, 0, 3, 2)).followed
    assert executed("keep", SCENE).followed
    assert not Trace("keep", 0, (), (1, 0, 2, 3)).followed


def test_accepted_are_the_rules_that_put_the_answer_first_and_keep_only_where_no_other_does() -> None:
    assert accepted(SCENE, 0) == ["last", "brand", "aisle"]
    assert accepted(SCENE, 2) == ["next", "popular"]
    assert accepted(SCENE, 3) == []
    nothing = Scene({"leaf": [], "aisle": [], "brand": []}, SCENE.offered, [3.0, 2.0, 1.0, 0.0], SCENE.popular, 0)
    assert accepted(nothing, 0) == ["similar"]


def test_a_trace_with_the_answer_in_view_may_match_it_behind_others_and_takes_in_all_that_are_accepted() -> None:
    assert justifying(SCENE, 3) == ["aisle", "similar", "popular"]  # none of which puts it first
    assert justifying(SCENE, 0) == ["last", "brand", "aisle"]
    for answer in range(4):
        assert {*accepted(SCENE, answer)} <= {*justifying(SCENE, answer)}


LANGUAGE = Language(4, {"leaf": 4, "aisle": 3, "brand": 6})
BARE = Language(4, {"leaf": 4, "aisle": 3, "brand": 6}, traced=False)


def test_without_traces_the_texts_are_the_permutations_and_read_back() -> None:
    texts = every_text(BARE, 3)
    slots = [BARE.first_slot + place for place in range(3)]
    assert sorted(texts) == sorted([RANK, *order] for order in itertools.permutations(slots))
    for text in texts:
        found = BARE.read([*text, PAD], 3)
        assert found is not None
        assert BARE.write(found) == text
    text = BARE.write(executed("aisle", SCENE))
    wrong = [text[:-1], text[1:], [*text[:-1], text[-2]], LANGUAGE.write(executed("aisle", SCENE)), []]
    assert [BARE.read(words, 4) for words in wrong] == [None] * len(wrong)


@pytest.mark.parametrize("rule", RULES)
def test_what_is_written_reads_back(rule: str) -> None:
    trace = executed(rule, SCENE)
    text = LANGUAGE.write(trace)
    assert len(text) <= LANGUAGE.longest
    assert LANGUAGE.read([*text, PAD, PAD], 4) == trace


def test_what_is_no_trace_reads_as_none() -> None:
    text, slot = LANGUAGE.write(executed("aisle", SCENE)), LANGUAGE.first_slot
    wrong = [
        text[:-1],  # an item is left out
        [*text[:-1], text[-2]],  # one stands twice
        [*text[:-1], LANGUAGE.first_rule],  # a foreign word
        [*text[:2], text[2], text[2], *text[4:]],  # matched twice
        [text[0], LANGUAGE.first_key["brand"], *text[2:]],  # the key of another kind
        [text[0] + 99, *text[1:]],
        [word for word in text if word != RANK],
        [],
    ]
    assert [LANGUAGE.read(words, 4) for words in wrong] == [None] * len(wrong)
    assert LANGUAGE.read([LANGUAGE.first_rule + 7, NOTHING, RANK, slot, slot + 1, slot + 2], 3) is not None
    assert LANGUAGE.read([LANGUAGE.first_rule + 7, NOTHING, RANK, slot, slot + 1, slot + 3], 3) is None


@pytest.mark.parametrize("count", [1, 2])
def test_the_grammar_allows_exactly_what_reads_as_a_trace(count: int) -> None:
    language = Language(2, {"leaf": 2, "aisle": 2, "brand": 2})
    texts = every_text(language, count)
    matched = {1: 2, 2: 5}[count]  # ordered choices out of so many candidates
    assert len(texts) == len({tuple(text) for text in texts}) == 13 * matched * count
    assert all(language.read(text, count) is not None for text in texts)
    allowed = {tuple(text) for text in texts}
    for text in itertools.islice(itertools.product(range(language.num_words), repeat=4), 0, None, 7):
        assert (language.read(list(text), count) is not None) == (tuple(text) in allowed)


def test_normalised_in_its_group_the_rank_reward_is_minus_the_new_rank() -> None:
    after = torch.tensor([[1, 4, 2, 2]])
    ranked = rewards.rank(torch.full_like(after, 3), after, 10)
    assert ranked[0].tolist() == pytest.approx([0.2, -0.1, 0.1, 0.1])
    torch.testing.assert_close(rewards.advantages(ranked), rewards.advantages(-after.float()))


def test_an_unconditional_format_reward_changes_no_advantage_and_the_conditional_one_is_a_step() -> None:
    before, after, formed = torch.full((1, 4), 3), torch.tensor([[1, 2, 3, 4]]), torch.ones(1, 4, dtype=torch.bool)
    ranked = rewards.rank(before, after, 10)
    paid = rewards.unconditional(ranked, formed, 0.2)
    torch.testing.assert_close(rewards.advantages(paid), rewards.advantages(ranked))
    step = rewards.conditional(before, after, formed, 0.2, 10) - ranked
    assert step[0].tolist() == pytest.approx([0.2, 0.2, 0.0, 0.0])
    assert torch.equal(rewards.conditional(before, after, ~formed, 0.2, 10), ranked)


def test_demoting_the_first_earns_nothing_and_keeping_it_does() -> None:
    before, after = torch.tensor([1, 1]), torch.tensor([1, 2])
    found = rewards.conditional(before, after, torch.tensor([True, True]), 0.2, 10)
    assert found.tolist() == pytest.approx([0.2, -0.1])


def test_the_best_policy_of_the_rank_reward_sorts_by_probability() -> None:
    probs = torch.tensor([0.2, 0.5, 0.3])
    worth = {
        order: sum(float(probs[item]) * float(rewards.rank(torch.tensor(item + 1), torch.tensor(place + 1), 3))
                   for place, item in enumerate(order))
        for order in itertools.permutations(range(3))
    }  # fmt: skip
    assert max(worth, key=lambda order: worth[order]) == (1, 2, 0)


def test_equal_rewards_are_worth_nothing() -> None:
    assert rewards.advantages(torch.tensor([[0.3, 0.3, 0.3], [0.0, 1.0, 0.5]]))[0].tolist() == [0, 0, 0]
    assert rewards.ndcg(torch.tensor([1, 3])).tolist() == pytest.approx([1.0, 0.5])


def test_dapo_by_hand() -> None:
    old = torch.zeros(2, 2)
    new = torch.log(torch.tensor([[1.5, 0.9], [0.5, 1.1]]))
    written = torch.tensor([[True, True], [True, False]])
    found = dapo(new, old, torch.tensor([1.0, -1.0]), written, 0.2, 0.28)
    # 1.5 is clipped to 1.28; of 0.5 and A = -1 the smaller of -0.5 and -0.8 counts
    assert float(found) == pytest.approx(-(1.28 + 0.9 - 0.8) / 3)


def test_at_a_ratio_of_1_its_gradient_is_reinforces_and_equal_rewards_have_none() -> None:
    new = torch.tensor([[-1.0, -2.0], [-0.5, -3.0]], requires_grad=True)
    written, gains = torch.ones(2, 2, dtype=torch.bool), torch.tensor([0.7, -0.7])
    (gradient,) = torch.autograd.grad(dapo(new, new.detach(), gains, written, 0.2, 0.2), new)
    (plain,) = torch.autograd.grad(-(gains[:, None] * new).sum() / 4, new)
    torch.testing.assert_close(gradient, plain)
    (nothing,) = torch.autograd.grad(dapo(new, new.detach(), torch.zeros(2), written, 0.2, 0.2), new)
    assert not nothing.any()


def test_supervised_words_are_averaged_with_their_weights() -> None:
    found = words(torch.tensor([[-1.0, -2.0, -9.0]]), torch.tensor([[0.5, 1.0, 0.0]]))
    assert float(found) == pytest.approx((0.5 + 2.0) / 1.5)
