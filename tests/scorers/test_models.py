"""What each sequential baseline is, by a second road or by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, pad, question
from sidestep.layers.state import additive
from sidestep.losses import scoring
from sidestep.objectives import scoring as objective_scoring
from sidestep.scorers.bert4rec import BERT4Rec, cloze, with_last_target
from sidestep.scorers.blocks import Block
from sidestep.scorers.caser import Caser
from sidestep.scorers.rearec import ReaRec
from sidestep.scorers.sequential import BaselineConfig
from small_world import make_batch

POPULARITY = np.arange(40)


def config(**changes: object) -> BaselineConfig:
    return BaselineConfig.model_validate({"width": 16, "inner": 32, "num_heads": 2, "max_history": 6, **changes})


def batch_of(*walks: list[int]) -> SequenceBatch:
    """Every item after the first of each walk is a target that sees what came before it."""
    histories, targets = [np.array(walk[:-1]) for walk in walks], [np.array(walk[1:]) for walk in walks]
    lengths = torch.tensor([len(history) for history in histories])
    visible = pad([np.arange(1, len(target) + 1) for target in targets]).clamp(min=1)
    return SequenceBatch(pad(histories), lengths, pad(targets), visible)


@pytest.mark.parametrize("order", ["pre-norm", "post-norm"])
def test_a_block_is_pytorchs_transformer_layer(order: str) -> None:
    torch.manual_seed(0)
    block = Block(config(), "pre-norm" if order == "pre-norm" else "post-norm", nn.ReLU()).eval()
    theirs = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=order == "pre-norm").eval()
    with torch.no_grad():
        for parameter in block.parameters():
            nn.init.normal_(parameter, std=0.5)
        for mine, other in (
            (block.project, "self_attn.in_proj_"),
            (block.out, "self_attn.out_proj."),
            (block.widen, "linear1."),
            (block.narrow, "linear2."),
            (block.attention_norm, "norm1."),
            (block.feed_forward_norm, "norm2."),
        ):
            for kind in ("weight", "bias"):
                theirs.get_parameter(f"{other}{kind}").copy_(mine.get_parameter(kind))
    x, back = torch.randn(3, 5, 16), torch.ones(5, 5, dtype=torch.bool).tril()
    out, _ = block(x, additive(back[None]))
    torch.testing.assert_close(out, theirs(x, src_mask=~back), atol=1e-5, rtol=1e-4)


def test_a_block_goes_on_from_its_keys_and_values_as_if_it_had_seen_all_at_once() -> None:
    torch.manual_seed(0)
    block, x = Block(config(), "post-norm", nn.GELU()).eval(), torch.randn(2, 5, 16)
    mask = additive(torch.ones(1, 5, 5, dtype=torch.bool).tril())
    whole, _ = block(x, mask)
    first, kept = block(x[:, :3], mask[:, :3, :3])
    second, _ = block(x[:, 3:], mask[:, 3:], kept)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


def test_caser_looks_at_the_last_window_and_no_further() -> None:
    torch.manual_seed(0)
    model = Caser(POPULARITY, config(window=2)).eval()
    nn.init.normal_(model.mix.bias)
    answers = model.score(question([np.array([1, 7, 8]), np.array([2, 7, 8]), np.array([7, 1])], Reads(6)))
    torch.testing.assert_close(answers[0], answers[1])
    assert not torch.allclose(answers[0], answers[2])


def test_casers_states_are_taught_the_next_items_at_once() -> None:
    model = Caser(POPULARITY, config(ahead=2)).eval()
    batch = batch_of([3, 4, 5, 6], [7, 8])
    made, states = model(batch), model.states(batch)
    assert made.targets.tolist() == [4, 5, 6, 8, 5, 6]
    torch.testing.assert_close(made.states, torch.stack([*states[0], states[1, 0], *states[0, :2]]))


def test_cloze_masks_real_items_only_and_some_in_every_row() -> None:
    torch.manual_seed(0)
    items = pad([np.arange(9), np.arange(3), np.arange(1)]).repeat(400, 1)
    masked = cloze(items, 0.3)
    assert not masked[items < 0].any()
    assert masked.any(1).all()
    # A tenth of the rows masks its last item alone: the others' first items are masked as often as asked.
    assert float(masked[0::3, 0].float().mean()) == pytest.approx(0.3 * 10 / 11, abs=0.05)


def test_the_last_target_stands_behind_its_history() -> None:
    assert with_last_target(batch_of([3, 4, 5, 6], [7, 8])).tolist() == [[3, 4, 5, 6], [7, 8, -1, -1]]


def test_a_masked_item_is_not_seen() -> None:
    model = BERT4Rec(POPULARITY, config()).eval()
    items, masked = torch.tensor([[1, 2, 3]]), torch.tensor([[False, True, False]])
    torch.testing.assert_close(model.encode(items, masked), model.encode(torch.tensor([[1, 9, 3]]), masked))
    assert not torch.allclose(model.encode(items, masked), model.encode(torch.tensor([[9, 2, 3]]), masked))


def test_reasoning_is_the_encoder_run_again_with_the_state_at_the_end() -> None:
    """Without a cache: history and fed states as one sequence that looks back."""
    torch.manual_seed(0)
    model = ReaRec(POPULARITY, config(reasoning_steps=3), ensemble=False).eval()
    batch = batch_of([3, 4, 5, 6])
    steps = model(batch).steps
    for target, visible in enumerate(batch.visible[0].tolist()):
        x = model.norm(model.read(batch.history[:, :visible]) + model.position[:visible])
        for step in range(4):
            length = x.shape[1]
            out, _ = model.stack(x, additive(torch.ones(1, length, length, dtype=torch.bool).tril()))
            torch.testing.assert_close(steps[step, target], out[0, -1])
            if step < 3:
                x = torch.cat([x, model.norm(out[:, -1:] + model.reasoning_position[step])], 1)


def test_the_ensemble_answers_with_the_mean_and_progress_with_the_last() -> None:
    for ensemble in (True, False):
        torch.manual_seed(0)
        model = ReaRec(POPULARITY, config(tau=0.5), ensemble=ensemble).eval()
        made = model(make_batch())
        torch.testing.assert_close(made.states, 2 * (made.steps.mean(0) if ensemble else made.steps[-1]))


def test_without_its_extras_reasoning_learns_by_plain_cross_entropy() -> None:
    """ERL with no weight on the divergence; PRL with one temperature for all and no noise."""
    for ensemble, objective in ((True, objective_scoring.rearec_erl), (False, objective_scoring.rearec_prl)):
        setting = config(diversity=0.0, growth=1.0, noise=0.0)
        model = ReaRec(POPULARITY, setting, ensemble=ensemble).eval()
        batch = make_batch()
        made = model(batch)
        each = [scoring.full_cross_entropy(step / setting.tau, made.embeddings, made.targets) for step in made.steps]
        expected = sum(each) if ensemble else each[-1] + (each[0] + each[1]) / 2
        torch.testing.assert_close(objective(model, batch, setting)["total"], expected)
