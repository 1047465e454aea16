"""Laws of the generators: parity with T5, two roads to one answer, blindness to the future."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sidestep.data.sequences import SequenceBatch
from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.generators.prediction import ThoughtfulPrediction
from sidestep.generators.thinking import Thinking
from sidestep.sids.semantic_ids import SemanticIds
from small_world import SIZES, THINKING, make, make_batch, make_sids, small


@pytest.fixture(params=["tiger", *THINKING])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


ENCODERS = [("causal", "items"), ("causal", "codes"), ("bidirectional", "items"), ("bidirectional", "codes")]


def one_target_each(batch: SequenceBatch) -> SequenceBatch:
    """The last target of every history alone, which sees all of it."""
    last = batch.lengths[:, None] - 1
    return replace(batch, targets=batch.targets.gather(1, last), visible=batch.lengths[:, None])


def copy_block(ours: nn.Module, theirs: nn.Module) -> None:
    with torch.no_grad():
        for name, other in {"query": "q", "key": "k", "value": "v", "out": "o"}.items():
            getattr(theirs, other).weight.copy_(getattr(ours, name).weight)


def as_t5(model: EncoderDecoder) -> nn.Module:
    """A `transformers` T5 with the same weights; its last token is our e_0."""
    transformers = pytest.importorskip("transformers")
    config = model.config
    t5 = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=sum(SIZES) + 1, d_model=config.width, d_kv=config.head_width, d_ff=config.inner,
            num_layers=config.encoder_layers, num_decoder_layers=config.decoder_layers, num_heads=config.num_heads,
            dropout_rate=0.0, feed_forward_proj="relu", decoder_start_token_id=sum(SIZES), pad_token_id=0,
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        t5.shared.weight.copy_(torch.cat([model.code_embedding.weight * config.width**0.5, model.begin[None]]))
        for ours, theirs in ((model.encoder, t5.encoder), (model.decoder, t5.decoder)):
            theirs.block[0].layer[0].SelfAttention.relative_attention_bias.weight.copy_(ours.bias.weight)
            theirs.final_layer_norm.weight.copy_(ours.norm.weight)
            for mine, other in zip(ours.blocks, theirs.block, strict=True):
                copy_block(mine.attention, other.layer[0].SelfAttention)
                other.layer[0].layer_norm.weight.copy_(mine.attention_norm.weight)
                if ours is model.decoder:
                    copy_block(mine.cross, other.layer[1].EncDecAttention)
                    other.layer[1].layer_norm.weight.copy_(mine.cross_norm.weight)
                other.layer[-1].DenseReluDense.wi.weight.copy_(mine.feed_forward.inner.weight)
                other.layer[-1].DenseReluDense.wo.weight.copy_(mine.feed_forward.out.weight)
                other.layer[-1].layer_norm.weight.copy_(mine.feed_forward_norm.weight)
    return t5


def test_tiger_equals_a_transformers_t5_with_the_same_weights() -> None:
    model = make("tiger", encoder="bidirectional", history="codes")
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    t5, batch = as_t5(model), one_target_each(make_batch())
    prediction = model(batch)
    history = model.tokens[batch.history.clamp(min=0)].flatten(1)
    real = (batch.history >= 0).repeat_interleave(3, dim=1)
    targets = model.tokens[batch.targets[:, 0]]
    begin = torch.full((len(batch), 1), sum(SIZES))
    said = t5(
        input_ids=history, attention_mask=real.long(), decoder_input_ids=torch.cat([begin, targets[:, :-1]], 1)
    ).logits
    for level in range(3):
        theirs = said[:, level, model.vocabulary.level(level)]
        torch.testing.assert_close(prediction.logits[level], theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("encoder", "history"), ENCODERS)
def test_thinking_without_thoughts_is_tiger_bit_for_bit(encoder: str, history: str) -> None:
    tiger, silent = (make(kind, encoder=encoder, history=history) for kind in ("tiger", "silent"))
    silent.load_state_dict(tiger.state_dict())
    batch = one_target_each(make_batch())
    for ours, theirs in zip(silent(batch).logits, tiger(batch).logits, strict=True):
        assert torch.equal(ours, theirs)


def stepped(model: EncoderDecoder, batch: SequenceBatch) -> list[Tensor]:
    """Log-probabilities by cached decoding along the true codes, `[B, K]` per level."""
    codes = model.vocabulary.codes(model.tokens[batch.targets])  # [B, 1, L]
    state, said, found = model.start(batch), None, []
    for level in range(model.num_levels):
        log_probs, state = model.step(state, said)
        found.append(log_probs[:, 0])
        said = codes[:, :, level]
    return found


@pytest.mark.parametrize(("encoder", "history"), ENCODERS)
def test_cached_steps_equal_teacher_forcing(kind: str, encoder: str, history: str) -> None:
    model = make(kind, encoder=encoder, history=history)
    batch = one_target_each(make_batch())
    forced = [logits.log_softmax(-1) for logits in model(batch).logits]
    for ours, theirs in zip(stepped(model, batch), forced, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_interleaved_thoughts_equal_recomputing_the_whole_sequence() -> None:
    """Eqs 15-17 read literally: every thought and code from a fresh pass over all inputs so far, without a cache."""
    from sidestep.layers.state import Cache, first_positions

    model = make("s2gr")
    assert isinstance(model, Thinking)
    batch = one_target_each(make_batch())
    encoded, per_item = model.encode(batch)
    seen = first_positions(batch.visible * per_item, encoded.shape[1])
    memory = model.decoder.remember(encoded, seen)
    inputs = [model.begin + encoded[torch.arange(len(batch)), batch.lengths - 1]]
    for level in range(3):
        run = torch.stack(inputs, 1)[:, None]
        thought = model.decoder(run, memory, Cache())[0][:, 0, -1] + model.thought_position[level]
        inputs.append(thought)
        run = torch.stack(inputs, 1)[:, None]
        hidden = model.decoder(run, memory, Cache())[0][:, 0, -1]
        logits = hidden @ model.embeddings(level).T
        prediction = model(batch)
        torch.testing.assert_close(prediction.logits[level], logits, atol=1e-5, rtol=0)
        assert isinstance(prediction, ThoughtfulPrediction)
        torch.testing.assert_close(prediction.thoughts[:, level], thought, atol=1e-5, rtol=0)
        inputs.append(model.embeddings(level)[prediction.codes[:, level]] * model.config.width**0.5)


@pytest.mark.parametrize("history", ["items", "codes"])
def test_many_targets_in_one_pass_equal_one_pass_for_each(kind: str, history: str) -> None:
    model = make(kind, encoder="causal", history=history)
    batch = make_batch()
    together = model(batch)
    row = 0
    for b in range(len(batch)):
        for p in range(int(batch.lengths[b])):
            alone = SequenceBatch(
                batch.history[b : b + 1, : p + 1],
                torch.tensor([p + 1]),
                batch.targets[b : b + 1, p : p + 1],
                torch.tensor([[p + 1]]),
            )
            for level, logits in enumerate(model(alone).logits):
                torch.testing.assert_close(together.logits[level][row], logits[0], atol=1e-5, rtol=0)
            assert together.rows[row] == b
            row += 1
    assert row == len(together.rows)


def test_targets_see_nothing_at_or_after_themselves(kind: str) -> None:
    model, batch = make(kind, encoder="causal"), make_batch()
    changed = replace(batch, history=batch.history.clone())
    changed.history[0, 3:] = (changed.history[0, 3:] + 1) % 40
    before, after = model(batch), model(changed)
    sees_change = (before.rows == 0) & (batch.visible[batch.targets >= 0] > 3)
    for level in range(3):
        torch.testing.assert_close(before.logits[level][~sees_change], after.logits[level][~sees_change])
        assert not torch.allclose(before.logits[level][sees_change], after.logits[level][sees_change])


@pytest.mark.parametrize(("encoder", "history"), ENCODERS)
def test_padding_changes_nothing(kind: str, encoder: str, history: str) -> None:
    model, batch = make(kind, encoder=encoder, history=history), one_target_each(make_batch())
    wider = replace(batch, history=torch.nn.functional.pad(batch.history, (0, 5), value=-1))
    for narrow, wide in zip(model(batch).logits, model(wider).logits, strict=True):
        torch.testing.assert_close(narrow, wide, atol=1e-5, rtol=0)


def test_selected_state_goes_on_from_the_chosen_beams(kind: str) -> None:
    model, batch = make(kind), one_target_each(make_batch())
    _, state = model.step(model.start(batch), None)
    codes = torch.tensor([[0, 1, 2]]).expand(4, -1)
    parents = torch.zeros(4, 3, dtype=torch.int64)
    _, state = model.step(state.select(parents), codes)
    swap = torch.tensor([[2, 0, 0]]).expand(4, -1)
    following, _ = model.step(state.select(swap), torch.tensor([[1, 1, 3]]).expand(4, -1))
    direct, _ = model.step(state, torch.tensor([[1, 0, 1]]).expand(4, -1))
    torch.testing.assert_close(following[:, 0], direct[:, 2], atol=1e-5, rtol=0)
    torch.testing.assert_close(following[:, 1], direct[:, 0], atol=1e-5, rtol=0)


def test_gradients_flow_through_thoughts_to_every_parameter() -> None:
    model = make("s2gr").train()
    prediction = model(make_batch())
    assert isinstance(prediction, ThoughtfulPrediction)
    assert prediction.interest is not None
    sum(logits.logsumexp(-1).sum() for logits in prediction.logits).backward()  # type: ignore[union-attr]
    silent = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert all(name.startswith("interest_decoder") for name in silent), silent
    assert model.thought_position.grad is not None
    assert model.thought_position.grad[0].any()


def test_relative_buckets_equal_t5s() -> None:
    transformers = pytest.importorskip("transformers.models.t5.modeling_t5")
    from sidestep.layers.attention import RelativeBias

    distance = torch.arange(-300, 301)[None]
    for causal in (True, False):
        theirs = transformers.T5Attention._relative_position_bucket(distance, not causal, 32, 128)
        assert torch.equal(RelativeBias(2, causal).buckets(distance), theirs)


def test_sizes_follow_the_recipe() -> None:
    model = EncoderDecoder(make_sids(), small(width=32))
    assert model.code_embedding.weight.shape == (sum(SIZES), 32)


@pytest.mark.parametrize("width", [16, 4])  # wider and narrower than the codewords' 8
def test_embeddings_start_as_the_codewords_turned(width: int) -> None:
    sids = make_sids()
    model = EncoderDecoder(sids, small(width=width, start="codebook"))
    for level, codebook in enumerate(sids.codebooks):
        embeddings = model.embeddings(level).detach()
        assert float(embeddings.square().mean()) == pytest.approx(1 / width, rel=1e-4)
        if width > codebook.shape[1]:
            words = torch.from_numpy(codebook - codebook.mean(0))
            cosines = torch.nn.functional.normalize(words, dim=1) @ torch.nn.functional.normalize(words, dim=1).T
            turned = torch.nn.functional.normalize(embeddings, dim=1)
            torch.testing.assert_close(turned @ turned.T, cosines, atol=1e-5, rtol=0)


def test_equal_codewords_leave_the_random_start() -> None:
    sids = make_sids()
    same = SemanticIds(sids.codes, sids.codebook_sizes, [codebook * 0 for codebook in sids.codebooks], sids.clusters)
    weights = EncoderDecoder(same, small()).code_embedding.weight
    assert weights.isfinite().all()
    assert weights.std() > 0.1
