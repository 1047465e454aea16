"""The item part changes nothing until it is trained, belongs to items of the history alone, and is dropped whole."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.generators.item_part import ItemPart
from sidestep.objectives import generating
from sidestep.training.optim import TrainConfig, optimizer
from small_world import make, make_batch, make_sids


@pytest.fixture(params=["tiger", "s2gr"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def with_parts(kind: str, seed: int = 0, **changes: object) -> EncoderDecoder:
    model = make(kind, item_part=True, **changes)
    assert model.item_part is not None
    torch.nn.init.normal_(model.item_part.table.weight, generator=torch.Generator().manual_seed(seed))
    return model


@pytest.mark.parametrize("history", ["items", "codes"])
def test_an_untrained_part_changes_no_bit_of_weights_and_logits(kind: str, history: str) -> None:
    plain, parted = (make(kind, history=history, item_part=part) for part in (False, True))
    own = parted.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in plain.state_dict().items())
    assert own.keys() - plain.state_dict().keys() == {"item_part.table.weight"}
    batch = make_batch()
    for ours, theirs in zip(parted(batch).logits, plain(batch).logits, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("chosen", ["adamw", "muon"])
def test_items_that_no_training_history_holds_keep_a_zero_part(kind: str, chosen: str) -> None:
    model, batch = make(kind, item_part=True).train(), make_batch()
    config = TrainConfig.model_validate({"optimizer": chosen, "weight_decay": 0.1, "lr": 0.1})
    steps = optimizer(model, config)
    for _ in range(5):
        steps.zero_grad()
        generating.tiger(model, batch)["total"].backward()
        steps.step()
    assert model.item_part is not None
    held = set(batch.history[batch.history >= 0].tolist())
    trained = {item for item in range(40) if model.item_part.table.weight[item].any()}
    assert trained <= held
    assert len(trained) > len(held) / 2


def test_a_part_is_dropped_whole_and_the_others_keep_their_size() -> None:
    part = ItemPart(50, 8, dropout=0.3).train()
    torch.nn.init.normal_(part.table.weight)
    items = torch.arange(50).expand(400, -1)
    torch.manual_seed(0)
    vectors, whole = part(items), part.table.weight
    kept = (vectors == whole).all(2)
    assert ((vectors == 0).all(2) | kept).all()
    assert float(kept.float().mean()) == pytest.approx(0.7, abs=0.01)
    assert torch.equal(part.eval()(items), whole.expand(400, -1, -1))


def test_without_their_parts_items_are_read_by_their_codes_alone(kind: str) -> None:
    """Two items of one ID differ by their parts, and only by them."""
    sids = make_sids()
    twins = replace(sids, codes=np.concatenate([sids.codes[:-1], sids.codes[:1]]))
    model, batch = with_parts(kind, sids=twins), make_batch()
    swapped = replace(batch, history=torch.where(batch.history == batch.history[0, 0], 39, batch.history))
    batch = replace(batch, history=torch.where(swapped.history == 39, 0, batch.history))
    assert not torch.allclose(model(batch).logits[0], model(swapped).logits[0])
    assert model.item_part is not None
    torch.nn.init.zeros_(model.item_part.table.weight)
    assert torch.equal(model(batch).logits[0], model(swapped).logits[0])


def test_further_items_have_a_zero_part_and_move_no_answer(kind: str) -> None:
    sids = make_sids()
    later = replace(sids, codes=np.concatenate([sids.codes, sids.codes[:3]]))
    before, after = with_parts(kind), with_parts(kind, seed=1, sids=later)
    after.load_state_dict(before.state_dict())
    assert after.item_part is not None
    assert not after.item_part.table.weight[40:].any()
    ask = partial(torch.Tensor.equal)
    assert all(ask(a, b) for a, b in zip(before(make_batch()).logits, after(make_batch()).logits, strict=True))
    with pytest.raises(RuntimeError, match="size mismatch"):
        before.load_state_dict(after.state_dict())
