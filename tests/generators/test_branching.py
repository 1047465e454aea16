"""Branches add up: training, forced scoring and search say the same, which is the sum over branches, one by one."""

import pytest
import torch
from torch import Tensor

from sidestep.generators.branching import Branching, BranchingConfig
from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.losses import generating
from sidestep.search.beam import beam_search
from sidestep.sids.trie import Permitted, Trie
from small_world import make_batch, make_sids, small

N = 40
EVERY = torch.arange(N).expand(4, -1)


def branching(softmax: str, count: int = 3) -> Branching:
    torch.manual_seed(0)
    model = Branching(make_sids(), small(softmax=softmax), BranchingConfig(count=count))
    torch.nn.init.normal_(model.choose.weight)
    torch.nn.init.normal_(model.choose.bias)
    return model.eval()


@torch.no_grad()
def enumerated(model: Branching, softmax: str) -> Tensor:
    """The log-probability of every item, `[4, N]`: a generator without branches for each of them, begun with its
    vector.
    """
    batch, plain = make_batch(), EncoderDecoder(make_sids(), small(softmax=softmax)).eval()
    shared = {name: value for name, value in model.state_dict().items() if not name.startswith(("branch", "choose"))}
    scores = []
    for branch in model.branch:
        plain.load_state_dict({**shared, "begin": shared["begin"] + branch})
        scores.append(plain.path_log_probs(batch, EVERY).sum(2))
    encoded, _ = plain.encode(batch)
    last = encoded[torch.arange(4), batch.lengths - 1]
    prior = model.choose(shared["begin"] + last).log_softmax(-1)
    return (torch.stack(scores, 2) + prior[:, None]).logsumexp(2)


@pytest.mark.parametrize("softmax", ["codebook", "trie"])
@torch.no_grad()
def test_forced_scores_and_those_of_any_search_are_the_sum_over_branches(softmax: str) -> None:
    model, batch, sids = branching(softmax), make_batch(), make_sids()
    expected = enumerated(model, softmax)
    torch.testing.assert_close(model.path_log_probs(batch, EVERY).sum(2), expected)
    trie = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes)
    for num_beams in (N, 4):
        beams = beam_search(model, batch, Permitted(trie), num_beams, k=num_beams)
        items = trie.items_under(beams.nodes)[:, :, 0]
        theirs = expected.gather(1, items.clamp(min=0))
        torch.testing.assert_close(beams.scores[items >= 0], theirs[items >= 0])
    exhaustive = beam_search(model, batch, Permitted(trie), N, k=N)
    best = expected.argmax(1)
    assert (sids.codes[trie.items_under(exhaustive.nodes)[:, 0, 0]] == sids.codes[best]).all()


@torch.no_grad()
def test_the_ids_of_the_trie_share_all_probability() -> None:
    sids = make_sids()
    firsts = [
        sids.codes.tolist().index(code) for code in {tuple(row): list(row) for row in sids.codes.tolist()}.values()
    ]
    log_probs = branching("trie").path_log_probs(make_batch(), EVERY).sum(2)
    torch.testing.assert_close(log_probs[:, firsts].exp().sum(1), torch.ones(4))


@pytest.mark.parametrize("softmax", ["codebook", "trie"])
def test_the_loss_is_that_of_the_sum_and_reaches_every_weight(softmax: str) -> None:
    model, batch = branching(softmax), make_batch()
    prediction = model(batch)
    per_level = generating.recommend(prediction.logits, prediction.choices)
    torch.testing.assert_close(per_level.sum(), -prediction.code_log_probs().sum(1).mean())
    per_level.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
