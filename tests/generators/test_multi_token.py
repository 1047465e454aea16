"""Laws of multi-token prediction. That forced paths are those of an exhaustive search stands with all generators'."""

import pytest
import torch

from sidestep.errors import ConfigError
from sidestep.generators.multi_token import MultiToken, MultiTokenConfig
from sidestep.generators.prediction import MultiTokenPrediction, ThoughtfulPrediction
from sidestep.layers.state import BeamCache
from sidestep.losses.generating import recommend
from sidestep.methods.table import new_recipe
from sidestep.objectives.generating import multi_token
from sidestep.search.beam import beam_search
from sidestep.sids.trie import Permitted, Trie
from small_world import make, make_batch, make_sids, small


def made(all_positions: bool = True, **changes: object) -> MultiToken:
    torch.manual_seed(0)
    return MultiToken(make_sids(), small(dropout=0.0, **changes), MultiTokenConfig(all_positions=all_positions))


@torch.no_grad()
@pytest.mark.parametrize("softmax", ["codebook", "trie"])
def test_the_decoder_of_the_first_code_is_tigers(softmax: str) -> None:
    model = made(softmax=softmax)
    tiger = make("tiger", softmax=softmax)
    tiger.load_state_dict({name: model.state_dict()[name] for name in tiger.state_dict()})
    theirs, ours = tiger(make_batch()).logits, model(make_batch())
    assert isinstance(ours, MultiTokenPrediction)
    for one, other in zip(theirs, [ours.logits[0], *ours.further[0]], strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(theirs[1], ours.logits[1])


@torch.no_grad()
def test_a_decoders_own_code_does_not_depend_on_the_others_that_it_says() -> None:
    model = made()
    trained, searched, alone = model(make_batch()), model.eval()(make_batch()), made(all_positions=False)(make_batch())
    assert [len(said) for said in trained.further] == [2, 1, 0]
    assert [len(said) for said in alone.further] == [len(said) for said in searched.further] == [0, 0, 0]
    for each in (searched, alone):
        for one, other in zip(trained.logits, each.logits, strict=True):
            torch.testing.assert_close(one, other)


def test_the_last_module_at_place_0_reads_the_chain_of_equations() -> None:
    """H2_0 by hand: each module once, on one token."""
    model, batch = made().eval(), make_batch().asking(torch.tensor([[3], [7], [11], [20]]))
    codes = model.vocabulary.codes(model.tokens[torch.tensor([3, 7, 11, 20])].long())
    state = model.start(batch)
    for level in range(3):
        log_probs, state = model.step(state, codes[:, level - 1 : level] if level else None)
        torch.testing.assert_close(log_probs[:, 0], model(batch).logits[level].log_softmax(-1))
        assert state.cache.length == 0


def test_the_loss_is_the_sum_over_decoders_of_all_the_codes_that_they_say() -> None:
    model = made()
    prediction, found = model(make_batch()), multi_token(model, make_batch())
    own = recommend(prediction.logits, prediction.choices)
    said = [
        (level, logits) for first, each in enumerate(prediction.further) for level, logits in enumerate(each, first + 1)
    ]
    assert [level for level, _ in said] == [1, 2, 2]
    further = sum(torch.nn.functional.cross_entropy(logits, prediction.codes[:, level]) for level, logits in said)
    torch.testing.assert_close(found["total"], own.sum() + further)
    torch.testing.assert_close(found["recommend_3"], own[2].detach())
    torch.testing.assert_close(multi_token(made(all_positions=False), make_batch())["total"], own.sum())


@pytest.mark.parametrize(("kind", "passes"), [("tiger-mtp", 1), ("s2gr-mtp", 2)])
def test_a_search_runs_the_whole_decoder_once_and_once_more_to_think(
    kind: str, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sids, widths = make(kind), make_sids(), []
    for name in ("step", "alone"):
        run = getattr(model.decoder, name)
        monkeypatch.setattr(model.decoder, name, lambda x, *rest, run=run: widths.append(x.shape[1]) or run(x, *rest))
    with torch.no_grad():
        trie = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes)
        beam_search(model, make_batch(), Permitted(trie), num_beams=8)
    assert widths == [1] * passes


@torch.no_grad()
def test_a_token_that_is_alone_needs_no_query() -> None:
    decoder = make("tiger").decoder
    encoded, x = torch.randn(4, 6, 16), torch.randn(4, 5, 16)
    memory = decoder.remember(encoded, torch.ones(4, 1, 6, dtype=torch.bool))
    torch.testing.assert_close(decoder.alone(x, memory), decoder.step(x, memory, BeamCache())[0], rtol=0, atol=0)


@torch.no_grad()
def test_what_a_module_reads_is_the_thought_before_its_code() -> None:
    """The thoughts that a search carries are those that L_align is taken of, and p_l is a part of them."""
    model, items = make("s2gr-mtp"), torch.tensor([[3], [7], [11], [20]])
    batch = make_batch().asking(items)
    prediction, state = model(batch), model.start(batch)
    assert isinstance(prediction, ThoughtfulPrediction)
    codes = model.vocabulary.codes(model.tokens[items[:, 0]].long())
    for level in range(3):
        _, state = model.step(state, codes[:, level - 1 : level] if level else None)
        torch.testing.assert_close(state.thoughts[level][:, 0], prediction.thoughts[:, level])
    model.thought_position[2] += 1
    torch.testing.assert_close(model(batch).thoughts[:, 2], prediction.thoughts[:, 2] + 1)
    torch.testing.assert_close(model(batch).logits[1], prediction.logits[1])
    assert not torch.allclose(model(batch).logits[2], prediction.logits[2])


def test_with_one_level_it_is_s2gr() -> None:
    sids = make_sids(sizes=(7,))
    ours, theirs = make("s2gr-mtp", sids), make("s2gr", sids)
    ours.load_state_dict(theirs.state_dict())
    for one, other in zip(ours(make_batch()).logits, theirs(make_batch()).logits, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "s2gr-mtp", "mtp": {"thoughts": "none"}}, "use method = 'tiger-mtp'"),
        ({"method": "s2gr-mtp", "mtp": {"all_positions": True}}, "a thought is made for one code"),
        ({"method": "s2gr-mtp", "thinking": {"carry": True}}, "has one thought before every code"),
        ({"method": "tiger-mtp", "mtp": {"thoughts": "inputs", "all_positions": False}}, "use method = 's2gr-mtp'"),
    ],
)
def test_thoughts_that_modules_cannot_have_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        new_recipe(values)
