"""A language model that reads an item: who sees what, what is said from a vector alone, and large batches in parts."""

import importlib.util
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sidestep.encoders import causal_model
from sidestep.encoders.causal_model import CausalEncoder
from sidestep.encoders.segments import Segments, additive_mask
from sidestep.errors import ConfigError
from small_language_model import Words, small_model

needs_peft = pytest.mark.skipif(not importlib.util.find_spec("peft"), reason="the extra llm is not installed")
TEXTS = ["red wool hat", "hat", "a very long text about a blue cotton scarf", "red wool scarf", ""]
SAID = ["brand X", "", "what is it a scarf", "kind scarf colour red", "nothing"]


def encoder(rank: int = 0, at_once: int = 100, seed: int = 0, num_emb: int = 2) -> CausalEncoder:
    return CausalEncoder(small_model(seed), Words(), rank, num_emb, tokens=12, said_tokens=4, at_once=at_once)


def one(seen: float) -> Segments:
    """An item of one token behind padding, and two tokens about it, the second padding."""
    real, said = torch.tensor([[False, True]]), torch.tensor([[True, False]])
    return Segments(torch.zeros(1, 2, dtype=torch.int64), real, torch.zeros(1, 2, dtype=torch.int64), said, seen)


def test_who_attends_to_whom_by_hand() -> None:
    low = torch.finfo(torch.float32).min
    half = float(np.log(0.5))
    columns = [  # padding, item, EMB, EMB, said, padding
        [0, low, low, low, low, low],
        [low, 0, low, low, low, low],
        [low, 0, 0, low, low, low],
        [low, 0, 0, 0, low, low],
        [low, half, 0, 0, 0, low],
        [low, low, low, low, low, 0],
    ]
    torch.testing.assert_close(additive_mask(one(0.5), 2, torch.float32)[0, 0], torch.tensor(columns))
    columns[4][1] = low
    torch.testing.assert_close(additive_mask(one(0.0), 2, torch.float32)[0, 0], torch.tensor(columns))
    columns[4][1] = 0
    torch.testing.assert_close(additive_mask(one(1.0), 2, torch.float32)[0, 0], torch.tensor(columns))


def test_what_sees_all_is_the_models_own_causal_run() -> None:
    made = encoder()
    segments = made.segments(TEXTS[:1], ["brand X kind"], seen=1.0)
    _, cost, count = made(segments)
    model = made._outside["model"]
    table = model.get_input_embeddings()
    inputs = torch.cat([table(segments.item), made.emb[None], table(segments.said)], 1)
    logs = model(inputs_embeds=inputs).logits.log_softmax(-1)  # positions from 0: only their distances count
    places = torch.arange(4, 7)
    expected = -logs[0, places].gather(1, segments.said[0, :, None]).sum()
    assert count == 3
    torch.testing.assert_close(cost, expected, rtol=1e-4, atol=1e-4)


def test_a_vector_is_the_mean_state_of_its_places_whatever_is_said_or_shares_the_batch() -> None:
    made = encoder()
    together = made(made.segments(TEXTS))[0]
    for seen in (0.0, 0.5, 1.0):
        torch.testing.assert_close(made(made.segments(TEXTS, SAID, seen))[0], together, atol=1e-5, rtol=1e-4)
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(made(made.segments([text]))[0][0], together[row], atol=1e-5, rtol=1e-4)
    found = made.vectors(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[:4], F.normalize(together, dim=1)[:4].detach().numpy(), atol=1e-5)
    mean = found[:4].mean(0)
    np.testing.assert_allclose(found[4], mean / np.linalg.norm(mean), atol=1e-5)  # an empty text


def test_longer_texts_are_cut() -> None:
    made = encoder()
    words = [f"w{number}" for number in range(20)]
    found = made(made.segments([" ".join(words), " ".join(words[:12])]))[0]
    assert torch.equal(found[0], found[1])
    assert made.segments(TEXTS, ["a b c d e f"] * 5).said.shape == (5, 4)


def test_what_is_said_hears_of_the_item_by_its_vector_places_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = encoder()
    segments = made.segments(TEXTS[:2], ["brand X", "kind hat"])
    width, table = segments.item.shape[1], made._outside["model"].get_input_embeddings()

    def heard(seen: float) -> float:
        """How much what is said depends on the item's tokens."""
        item = table(segments.item).detach().requires_grad_()
        rows = lambda ids: item if ids is part.item else F.embedding(ids, table.weight)  # noqa: E731
        part = Segments(segments.item, segments.real, segments.said, segments.real_said, seen)
        with mock.patch.object(table, "forward", rows):
            made._read(part)[1].backward()
        assert item.grad is not None
        return float(item.grad.abs().max())

    def deaf(segments: Segments, num_emb: int, dtype: torch.dtype) -> torch.Tensor:
        mask = additive_mask(segments, num_emb, dtype)
        mask[:, :, width : width + num_emb, :width] = torch.finfo(dtype).min
        return mask

    assert heard(0.0) > 1e-6
    monkeypatch.setattr(causal_model, "additive_mask", deaf)
    assert heard(0.0) == 0
    assert heard(0.5) > 1e-6


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(at_once: int) -> None:
    def gradients(made: CausalEncoder) -> dict[str, torch.Tensor]:
        vectors, cost, count = made(made.segments(TEXTS, SAID, 0.3))
        similar = F.normalize(vectors, dim=1) @ F.normalize(vectors, dim=1).T / 0.1
        (F.cross_entropy(similar, torch.tensor([1, 0, 3, 2, 0])) + cost / count).backward()
        return {name: weight.grad for name, weight in made.named_parameters() if weight.grad is not None}

    whole, parts = gradients(encoder()), gradients(encoder(at_once=at_once))
    assert whole.keys() == parts.keys()
    assert {"emb", "tuned.model|embed_tokens|weight"} <= whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_weights_are_taken_up_again_and_those_of_another_model_refused() -> None:
    made, fresh = encoder(), encoder()
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.1
    assert not np.allclose(fresh.vectors(TEXTS), made.vectors(TEXTS), atol=1e-3)
    fresh.take(dict(made.state_dict()))
    np.testing.assert_array_equal(fresh.vectors(TEXTS), made.vectors(TEXTS))
    with pytest.raises(ConfigError, match=r"do not fit this language model .* give tune\.model the model"):
        encoder(seed=1).take(dict(made.state_dict()))
    with pytest.raises(ConfigError, match="do not fit this language model"):
        encoder(num_emb=3).take(dict(made.state_dict()))


def test_a_model_that_is_no_folder_is_not_downloaded() -> None:
    with pytest.raises(ConfigError, match=r"tune\.model = 'owner/name' is no local folder, and nothing is downloaded"):
        CausalEncoder.of("owner/name", 0, 3, 40, 64, 8)


@needs_peft
@pytest.mark.filterwarnings("ignore")  # of the library
def test_low_rank_matrices_change_nothing_at_first_and_are_all_that_is_trained_and_kept() -> None:
    made = encoder(rank=2)
    np.testing.assert_allclose(made.vectors(TEXTS), encoder().vectors(TEXTS), atol=1e-6)
    kept: dict[str, Any] = dict(made.state_dict())
    assert all(name in ("emb", "base") or "lora" in name for name in kept)
    made(made.segments(TEXTS, SAID))[1].backward()
    assert all(weight.grad is not None for weight in made.parameters())
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.1
    again = encoder(rank=2)
    again.take(dict(made.state_dict()))
    np.testing.assert_array_equal(again.vectors(TEXTS), made.vectors(TEXTS))
