"""Laws of looking back: what is looked up, by whom, and that nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from long_world import KINDS, make_glass, make_long_batch
from sidestep.data.sequences import SequenceBatch
from sidestep.generators import long_history
from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.generators.long_history import LongHistory
from sidestep.layers.blocks import DecoderBlock, RecallBlock
from sidestep.layers.state import Lookup, additive
from sidestep.search.beam import beam_search
from sidestep.sids.trie import Permitted, Trie
from small_world import make, make_sids

NO_TIER: dict[str, object] = {"tier": "none"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def base_of(kind: str, model: LongHistory, **changes: object) -> EncoderDecoder:
    """The generator that does not look back, with the same weights."""
    base = make(kind, **changes)
    base.load_state_dict({name: model.state_dict()[name] for name in base.state_dict()})
    return base


def searched(model: EncoderDecoder, batch: SequenceBatch, beams: int = 40) -> Tensor:
    sids = make_sids()
    trie = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes)
    return beam_search(model, batch, Permitted(trie), beams).scores


# Law 1


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["causal", "bidirectional"])
def test_with_all_gates_closed_the_generator_is_the_one_that_does_not_look_back(kind: str, encoder: str) -> None:
    model, batch = make_glass(kind, long=NO_TIER, encoder=encoder), make_long_batch()
    if encoder == "bidirectional":
        batch = batch.asking(torch.arange(8).view(4, 2))
    base = base_of(kind, model, encoder=encoder)
    opened = model(batch).logits[1]
    assert not torch.allclose(opened, base(batch).logits[1])
    for name, parameter in model.named_parameters():
        if name.endswith("gate.bias"):
            parameter.fill_(-torch.inf)
    for ours, theirs in zip(model(batch).logits, base(batch).logits, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(searched(model, batch), searched(base, batch))


@torch.no_grad()
def test_where_nothing_is_looked_up_the_generator_is_the_one_that_does_not_look_back(kind: str) -> None:
    model, batch = make_glass(kind, long=NO_TIER), make_long_batch()
    base, nothing = base_of(kind, model), replace(batch, long=torch.full((4, 3), -1))
    for empty in (nothing, replace(batch, long=None)):
        for ours, theirs in zip(model(empty).logits, base(batch).logits, strict=True):
            assert torch.equal(ours, theirs)
        assert torch.equal(searched(model, empty), searched(base, batch))


def test_without_search_or_items_the_blocks_are_plain() -> None:
    for long in ({"search": False}, {"items": 0}):
        model = make_glass(long=long)
        assert all(type(block) is DecoderBlock for block in model.decoder.blocks)
    assert make_glass(long={"items": 0}).tier is None


# Laws 2 and 3


@torch.no_grad()
@pytest.mark.parametrize("neighbours", [0, 2])
def test_the_order_of_what_is_looked_up_does_not_count(kind: str, neighbours: int) -> None:
    model = make_glass(kind, long={"retrieved": 30, "neighbours": neighbours})
    batch = make_long_batch()
    assert batch.long is not None
    turned = batch.long.clone()
    turned[2, :14] = turned[2, torch.randperm(14, generator=torch.Generator().manual_seed(0))]
    for ours, theirs in zip(model(batch).logits, model(replace(batch, long=turned)).logits, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_an_older_item_counts_after_its_own_first_code_alone_and_never_before_it(kind: str) -> None:
    model, batch = make_glass(kind, long=NO_TIER), make_long_batch()
    assert batch.long is not None
    codes, changed = make_sids().codes[:, 0], batch.long.clone()
    before = int(changed[0, 8])
    after = next(item for item in range(40) if codes[item] != codes[before])
    changed[0, 8] = after
    one, other = model(batch), model(replace(batch, long=changed))
    touched = (one.rows == 0) & torch.isin(one.codes[:, 0], torch.tensor([codes[before], codes[after]]))
    assert touched.any()
    assert torch.equal(one.logits[0], other.logits[0])
    for level in (1, 2):
        assert torch.equal(one.logits[level][~touched], other.logits[level][~touched])
        assert not torch.isclose(one.logits[level][touched], other.logits[level][touched]).all(1).any()


@torch.no_grad()
def test_only_the_last_ones_that_share_the_code_are_looked_up(kind: str) -> None:
    model, batch = make_glass(kind, long=NO_TIER), make_long_batch()
    codes = make_sids().codes[:, 0]
    alike = torch.from_numpy(np.flatnonzero(codes == codes[0]))
    assert len(alike) >= 5
    many = torch.cat([alike[:2], alike[2:5]]).expand(4, -1)
    few = torch.cat([torch.full((2,), -1), alike[2:5]]).expand(4, -1)
    for ours, theirs in zip(
        model(replace(batch, long=many)).logits, model(replace(batch, long=few)).logits, strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@settings(max_examples=50, deadline=None)
@given(
    older=st.lists(st.integers(-1, 4), min_size=1, max_size=25),
    neighbours=st.integers(0, 4),
    retrieved=st.integers(1, 6),
    sparse_below=st.integers(0, 6),
)
def test_the_mask_is_a_search_of_the_history_from_its_end(
    older: list[int], neighbours: int, retrieved: int, sparse_below: int
) -> None:
    sparse_below = min(sparse_below, retrieved)
    long = {"retrieved": retrieved, "neighbours": neighbours, "sparse_below": sparse_below}
    model, words = make_glass(long=long), make_sids().codebooks[0]
    found = model.retrieved(torch.tensor([older]), torch.arange(5)[None])[0]
    for route in range(5):
        own = [place for place, code in enumerate(older) if code == route][-retrieved:]
        if len(own) < sparse_below:
            nearest = sorted(range(5), key=lambda code: (code == route, ((words[code] - words[route]) ** 2).sum()))
            joined = [place for place, code in enumerate(older) if code in nearest[: min(neighbours, 4)]]
            room = retrieved - len(own)
            own = sorted([*own, *joined[len(joined) - min(room, len(joined)) :]])
        assert found[route].nonzero()[:, 0].tolist() == own


# Laws 5 and 6


@torch.no_grad()
@pytest.mark.parametrize("neighbours", [0, 2])
@pytest.mark.parametrize("history", ["items", "codes"])
@pytest.mark.parametrize("softmax", ["codebook", "trie"])
def test_forced_paths_have_the_log_probabilities_of_an_exhaustive_search(
    kind: str, softmax: str, history: str, neighbours: int
) -> None:
    model = make_glass(kind, long={"neighbours": neighbours}, softmax=softmax, history=history)
    batch, sids = make_long_batch(), make_sids()
    trie = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes)
    beams = beam_search(model, batch, Permitted(trie), num_beams=40)
    items = trie.items_under(beams.nodes)[:, :, 0]
    forced, found = model.path_log_probs(batch, items), items >= 0
    assert found.sum() == 4 * trie.num_nodes(3)
    torch.testing.assert_close(forced[found], beams.log_probs[found], atol=1e-5, rtol=0)
    assert torch.equal(beams.scores, beams.scores.sort(dim=1, descending=True).values)


@torch.no_grad()
def test_steps_on_different_routes_equal_teacher_forcing_after_select_and_take(kind: str) -> None:
    """Three beams a user take other first codes, change places, and some users leave."""
    model, batch = make_glass(kind), make_long_batch()
    items = torch.tensor([[0, 7, 19], [3, 30, 11], [5, 21, 38], [9, 14, 2]])
    codes = torch.from_numpy(make_sids().codes)[items]
    forced = model.path_log_probs(batch, items)
    _, state = model.step(model.start(batch), None)
    state = state.select(torch.zeros(4, 3, dtype=torch.int64))
    log_probs, state = model.step(state, codes[:, :, 0])
    torch.testing.assert_close(log_probs.gather(2, codes[:, :, 1:2])[..., 0], forced[:, :, 1], atol=1e-5, rtol=0)
    rows, order = torch.tensor([2, 0]), torch.tensor([[2, 0, 1, 1], [1, 2, 0, 0]])
    state = state.take(rows).select(order)
    codes, forced = codes[rows], forced[rows]
    log_probs, _ = model.step(state, codes[:, :, 1].gather(1, order))
    said = codes[:, :, 2].gather(1, order)
    torch.testing.assert_close(
        log_probs.gather(2, said[:, :, None])[..., 0], forced[:, :, 2].gather(1, order), atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_many_targets_in_one_pass_equal_one_pass_for_each(kind: str) -> None:
    model, batch = make_glass(kind), make_long_batch()
    together = model(batch)
    for row, place in ((0, 5), (2, 1), (3, 2)):
        alone = replace(
            batch.take(torch.tensor([row])),
            history=batch.history[row : row + 1, : place + 1],
            lengths=torch.tensor([place + 1]),
            targets=batch.targets[row : row + 1, place : place + 1],
            visible=torch.tensor([[place + 1]]),
        )
        number = int((batch.targets[:row] >= 0).sum()) + place
        for ours, theirs in zip(model(alone).logits, together.logits, strict=True):
            torch.testing.assert_close(ours[0], theirs[number], atol=1e-5, rtol=0)


@torch.no_grad()
def test_padding_of_the_long_history_changes_nothing(kind: str) -> None:
    model, batch = make_glass(kind), make_long_batch()
    assert batch.long is not None
    wider = replace(batch, long=torch.nn.functional.pad(batch.long, (0, 7), value=-1))
    for ours, theirs in zip(model(batch).logits, model(wider).logits, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_one_projection_of_the_catalogue_equals_one_of_every_older_item() -> None:
    """Two roads: more older items than the catalogue has, all users together; fewer, user by user."""
    model, batch = make_glass(), make_long_batch()
    assert batch.long is not None
    assert batch.long.numel() > 40 > batch.long[:1].numel()
    together = model(batch)
    for row in range(4):
        alone = model(batch.take(torch.tensor([row])))
        for ours, theirs in zip(alone.logits, together.logits, strict=True):
            torch.testing.assert_close(ours, theirs[together.rows == row], atol=1e-5, rtol=0)


@settings(max_examples=30, deadline=None)
@given(
    older=st.lists(st.integers(-1, 39), min_size=2, max_size=25),
    routes=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    neighbours=st.integers(0, 4),
)
def test_a_compact_history_has_what_is_looked_up_and_no_more(
    older: list[int], routes: list[int], neighbours: int
) -> None:
    model, whole, route = make_glass(long={"neighbours": neighbours}), torch.tensor([older]), torch.tensor([routes])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_history, "MASKED", 1)
        compact = model.compact(whole, route)
    seen, again = (model.retrieved(model.buckets(items), route)[0] for items in (whole, compact))
    for before, after in zip(seen, again, strict=True):
        assert whole[0, before].tolist() == compact[0, after].tolist()
    assert again.any(0).sum() == (compact >= 0).sum()


@torch.no_grad()
@pytest.mark.parametrize("neighbours", [0, 2])
@pytest.mark.parametrize("kept", [2**28, 0], ids=["one table", "a table of the batch"])
def test_what_is_gathered_equals_what_a_mask_leaves(
    kind: str, kept: int, neighbours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two roads: at training's targets, in a search, and after a selection of users."""
    model, batch = make_glass(kind, long={"neighbours": neighbours}), make_long_batch()
    monkeypatch.setattr(long_history, "TABLE_BYTES", kept)
    masked, list_of_masked = model(batch), searched(model, batch)
    monkeypatch.setattr(long_history, "MASKED", 1)
    for ours, theirs in zip(model(batch).logits, masked.logits, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(searched(model, batch), list_of_masked, atol=1e-5, rtol=0)
    rows = torch.tensor([2, 0])
    torch.testing.assert_close(searched(model, batch.take(rows)), list_of_masked[rows], atol=1e-5, rtol=0)
    test_steps_on_different_routes_equal_teacher_forcing_after_select_and_take(kind)


@pytest.mark.parametrize("users", [4, 1], ids=["the catalogue's table", "a table of the batch"])
def test_gradients_of_what_is_gathered_equal_those_behind_a_mask(users: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for masked in (64, 1):
        monkeypatch.setattr(long_history, "MASKED", masked)
        model, batch = make_glass(), make_long_batch().take(torch.arange(users))
        sum(logits.logsumexp(-1).sum() for logits in model(batch).logits).backward()  # type: ignore[union-attr]
        found.append({name: p.grad for name, p in model.named_parameters() if "recall" in name or "gate" in name})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-4, rtol=1e-4, msg=name)


@torch.no_grad()
def test_the_kept_table_follows_the_weights() -> None:
    model, batch = make_glass(), make_long_batch()
    before = searched(model, batch)
    assert torch.equal(searched(model, batch), before)
    model.recall_projection.weight.mul_(-2)
    fresh = make_glass()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(searched(model, batch), searched(fresh, batch))
    assert not torch.allclose(searched(model, batch), before)


# The gate, and gradients


@torch.no_grad()
def test_the_gate_mixes_both_readings_by_hand() -> None:
    torch.manual_seed(0)
    block = RecallBlock(4, 2, 3, 8, 0.0).eval()
    torch.nn.init.normal_(block.gate.weight)
    x, encoded, older = torch.randn(1, 3, 4), torch.randn(1, 5, 4), torch.randn(1, 2, 4)
    seen = torch.tensor([[[True, False], [False, False]]])
    lookup = Lookup(block.recall.remember(older, 1), torch.tensor([0, 2]), additive(seen), seen.any(2))
    short = block.cross.look(x, block.cross.remember(encoded, 1), torch.zeros(1, 1, 5))
    mixed = block._attend(x, block.cross.remember(encoded, 1), torch.zeros(1, 1, 5), lookup)
    value = block.recall.out(block.recall.value(older[0, 0]))  # the only item that the first token sees
    gate = torch.sigmoid(block.gate.weight @ torch.cat([short[0, 0], value]) + block.gate.bias)
    torch.testing.assert_close(mixed[0, 0], (1 - gate) * short[0, 0] + gate * value)
    assert torch.equal(mixed[0, 1:], short[0, 1:])  # one looks nothing up, the other has nothing to look up


def test_gradients_reach_every_part_and_no_code_embedding_through_what_is_looked_up() -> None:
    model, batch = make_glass().train(), make_long_batch()
    prediction = model(batch)
    sum(logits.logsumexp(-1).sum() for logits in prediction.logits).backward()  # type: ignore[union-attr]
    assert not {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    read = model._read_older(model.tokens)
    assert torch.autograd.grad(read.sum(), model.recall_projection.weight, retain_graph=True)[0].any()
    assert torch.autograd.grad(read.sum(), model.code_embedding.weight, allow_unused=True)[0] is None


@torch.no_grad()
def test_what_is_counted_is_what_the_mask_holds() -> None:
    model, batch = make_glass(), make_long_batch()
    assert batch.long is not None
    codes, items = make_sids().codes[:, 0], torch.arange(40).expand(4, -1)
    counts = model.num_retrieved(batch, items)
    for row in range(4):
        older = batch.long[row][batch.long[row] >= 0].numpy()
        expected = [min((codes[older] == codes[item]).sum(), 3) for item in range(40)]
        assert counts[row].tolist() == expected
    assert not make_glass(long={"search": False}).num_retrieved(batch, items).any()


@torch.no_grad()
def test_what_was_looked_up_for_an_item_is_told_the_last_first() -> None:
    codes, batch = make_sids().codes[:, 0], make_long_batch()
    assert batch.long is not None
    model, items = make_glass(long={"retrieved": 3}), torch.arange(8).view(4, 2)
    for row, answer in enumerate(model.looked_up(batch, items)):
        older = [item for item in batch.long[row].tolist() if item >= 0]
        for item, found in zip(items[row].tolist(), answer, strict=True):
            assert found == [each for each in reversed(older) if codes[each] == codes[item]][:3]
    assert any(found for answer in model.looked_up(batch, items) for found in answer)
    assert make_glass(long={"search": False}).looked_up(batch, items) == [[[], []]] * 4
