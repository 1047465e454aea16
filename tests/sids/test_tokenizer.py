from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from sidestep import objectives
from sidestep.errors import DataError
from sidestep.sids import kmeans, rq_vae, tokenizer
from sidestep.sids.kmeans import squared_distances
from sidestep.sids.rq_vae import RQVAE
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.tokenizer import TokenizerConfig
from sidestep.training.loop import Hooks, fit
from sidestep.training.optim import TrainConfig
from sidestep.vectors.item_vectors import ItemVectors

KINDS = ("rq-vae", "coba-rq-vae")


def vectors(number: int, width: int = 12, seed: int = 0) -> ItemVectors:
    return ItemVectors(np.random.default_rng(seed).normal(size=(number, width)).astype(np.float32))


def config(**changes: Any) -> TokenizerConfig:
    small = {"codebook_size": 8, "code_width": 4, "hidden": (16,), "epochs": 3, "batch_size": 64, "num_clusters": 3}
    return TokenizerConfig(**{**small, **changes})


def train(values: ItemVectors, recipe: TokenizerConfig, seed: int = 0) -> RQVAE:
    """The bare bones of the training loop."""
    model = tokenizer.build(values, recipe, seed)
    data = tokenizer.VectorBatches(values, recipe.batch_size, seed)
    upkeep = tokenizer.Upkeep(model, values, seed)
    objective = partial(objectives.TOKENIZERS[recipe.kind], tokenizer=recipe)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    for epoch in range(recipe.epochs):
        upkeep(epoch)
        for index in data.batches(epoch):
            loss = objective(model.train(), data.load(index))["total"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def ids(values: ItemVectors, recipe: TokenizerConfig, seed: int = 0) -> SemanticIds:
    return tokenizer.semantic_ids(train(values, recipe, seed), values, recipe, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_ids_whatever_the_global_state(kind: str) -> None:
    values, recipe = vectors(150), config(kind=kind)
    torch.manual_seed(1)
    first = ids(values, recipe)
    torch.manual_seed(2)
    again = ids(values, recipe)
    assert np.array_equal(first.codes, again.codes)
    assert all(np.array_equal(one, two) for one, two in zip(first.clusters, again.clusters, strict=True))
    assert not np.array_equal(first.codes, ids(values, recipe, seed=1).codes)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_the_codes_of_the_nearest_codewords_by_plain_distance(kind: str) -> None:
    values, recipe = vectors(100), config(kind=kind)
    model = train(values, recipe)
    made = tokenizer.semantic_ids(model, values, recipe, 0)
    residual = model.encode(torch.from_numpy(values.values)).numpy()
    for level, codebook in enumerate(made.codebooks):
        distances = np.square(residual[:, None] - codebook).sum(-1)
        taken = np.take_along_axis(distances, made.codes[:, level, None], 1)[:, 0]
        np.testing.assert_allclose(taken, distances.min(1), rtol=1e-3, atol=1e-5)
        residual = residual - codebook[made.codes[:, level]]
    assert made.num_clusters == (3, 3, 3)


def test_assignment_is_pure_and_the_same_for_an_item_alone() -> None:
    values = vectors(100)
    model = train(values, config())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    every = torch.from_numpy(values.values)
    codes = model.assign(every)
    assert torch.equal(model.assign(every), codes)
    assert torch.equal(model.assign(every[5:6])[0], codes[5])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_rebuilt_from_its_weights_gives_the_same_codes(tmp_path: Path) -> None:
    values, recipe = vectors(60), config()
    model = train(values, recipe)
    rebuilt = tokenizer.build(values, recipe, seed=99)
    rebuilt.load_state_dict(model.state_dict())
    new = torch.from_numpy(vectors(20, seed=5).values)
    assert torch.equal(rebuilt.assign(new), model.assign(new))
    made = tokenizer.semantic_ids(model, values, recipe, 0)
    made.save(tmp_path / "sids")
    back = SemanticIds.load(tmp_path / "sids")
    assert np.array_equal(back.codes, made.codes)
    assert back.codebook_sizes == made.codebook_sizes
    assert all(np.array_equal(one, two) for one, two in zip(back.codebooks, made.codebooks, strict=True))


def test_an_epoch_is_a_function_of_seed_and_number_and_holds_every_vector_once() -> None:
    data = tokenizer.VectorBatches(vectors(103), 25, seed=3)
    batches = data.batches(4)
    assert sorted(np.concatenate(batches).tolist()) == list(range(103))
    assert {len(batch) for batch in batches} <= {20, 21}
    assert all(np.array_equal(one, two) for one, two in zip(batches, data.batches(4), strict=True))
    assert not np.array_equal(np.concatenate(batches), np.concatenate(data.batches(5)))
    assert torch.equal(data.load(batches[0]), torch.from_numpy(vectors(103).values)[batches[0]])


def test_inputs_are_standardised_and_constant_dimensions_vanish() -> None:
    raw = vectors(500).values * 1e-3 + 7
    raw[:, 3] = 5.0
    model = tokenizer.build(ItemVectors(raw), config(), 0)
    inputs = model(torch.from_numpy(raw)).inputs
    deviation, mean = torch.std_mean(inputs, dim=0, correction=0)
    torch.testing.assert_close(mean, torch.zeros(12), atol=2e-3, rtol=0)
    assert deviation[3] == 0
    torch.testing.assert_close(deviation[[0, 11]], torch.ones(2), atol=1e-3, rtol=0)


def test_standardising_in_blocks_equals_mean_and_deviation_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.from_numpy(vectors(500).values * 3 + 100)
    monkeypatch.setattr(rq_vae, "ENCODE_ROWS", 64)
    model = tokenizer.build(ItemVectors(values.numpy()), config(), 0)
    deviation, mean = torch.std_mean(values.double(), dim=0, correction=0)
    assert torch.equal(model.mean, mean.float())
    assert torch.equal(model.deviation, deviation.float())


def test_codes_from_blocks_equal_those_of_the_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    values, recipe = vectors(400), config(codebook_size=32)
    model, every = train(values, recipe), torch.from_numpy(values.values)
    plain, residual = [], model.encoder(model.standardise(every))
    for level in model.quantiser.levels:
        plain.append(squared_distances(residual, level.codewords).argmin(1))
        residual = residual - level.codewords[plain[-1]]
    for rows, entries in ((8192, 1 << 22), (64, 1 << 10)):
        monkeypatch.setattr(rq_vae, "ENCODE_ROWS", rows)
        monkeypatch.setattr(kmeans, "BLOCK_ENTRIES", entries)
        assert torch.equal(model.assign(every), torch.stack(plain, dim=1))


def test_training_is_the_same_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values, recipe = vectors(300), config()
    whole = ids(values, recipe)
    monkeypatch.setattr(rq_vae, "ENCODE_ROWS", 128)
    monkeypatch.setattr(kmeans, "BLOCK_ENTRIES", 1 << 9)
    blocked = ids(values, recipe)
    assert np.array_equal(whole.codes, blocked.codes)
    for one, two in zip(whole.codebooks, blocked.codebooks, strict=True):  # a product of few rows may round otherwise
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_of_the_vectors_does_not_matter(kind: str) -> None:
    values, recipe = vectors(100), config(kind=kind)
    scaled = ItemVectors(values.values * 1024)  # a power of two: the standardised inputs are the same bit for bit
    assert np.array_equal(ids(values, recipe).codes, ids(scaled, recipe).codes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_catalogue_smaller_than_the_codebook_has_a_code_for_each_vector(kind: str, number: int) -> None:
    values = vectors(number)
    made = ids(values, config(kind=kind))
    assert made.codebook_sizes == (number,) * 3
    assert len(np.unique(made.codes, axis=0)) == number
    (note,) = tokenizer.notes(values, config())
    assert f"only {number} distinct vectors" in note


@pytest.mark.parametrize("kind", KINDS)
def test_identical_items_share_one_id(kind: str) -> None:
    made = ids(ItemVectors(np.ones((9, 4), dtype=np.float32)), config(kind=kind))
    assert made.codebook_sizes == (1, 1, 1)
    assert not made.codes.any()


def test_zero_vectors_are_said_aloud_and_share_an_id() -> None:
    values = vectors(40).values
    values[[3, 8]] = 0
    codes = ids(ItemVectors(values), config()).codes
    assert np.array_equal(codes[3], codes[8])
    assert any("2 items have a zero vector" in note for note in tokenizer.notes(ItemVectors(values), config()))
    assert not tokenizer.notes(vectors(40), config())


def test_no_vectors_at_all_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(0, 12\).*at least one item"):
        tokenizer.build(vectors(0), config(), 0)


@pytest.mark.parametrize("dmax", [1.0, 2.0, -0.1])
def test_a_balance_of_one_or_more_is_refused(dmax: float) -> None:
    with pytest.raises(ValidationError):
        config(dmax=dmax)


def test_coba_without_its_parts_is_the_plain_rq_vae() -> None:
    values, batch = vectors(64), torch.from_numpy(vectors(64).values)
    plain, coba = (train(values, config(kind=kind, epochs=1, uniformity=0, dmax=0)) for kind in KINDS)
    assert all(torch.equal(one, two) for one, two in zip(plain.parameters(), coba.parameters(), strict=True))
    losses = [objectives.TOKENIZERS[kind](coba, batch, config(uniformity=0))["total"] for kind in KINDS]
    assert torch.equal(losses[0], losses[1])


def test_totals_are_the_sums_the_papers_write() -> None:
    values, recipe = vectors(64), config(uniformity=0.3)
    model: nn.Module = train(values, recipe).eval()
    losses = objectives.coba_rq_vae(model, torch.from_numpy(values.values), recipe)
    uniform = sum(losses[f"uniform_{level}"] for level in (1, 2, 3))
    expected = losses["reconstruct"] + losses["quantise"] + 0.3 * uniform
    torch.testing.assert_close(losses["total"], expected)


def test_a_stopped_and_resumed_training_gives_the_same_ids(tmp_path: Path) -> None:
    values, recipe = vectors(150), config(epochs=4)
    settings = TrainConfig(epochs=4, checkpoint_seconds=0)
    data = tokenizer.VectorBatches(values, recipe.batch_size, 0)

    def run(folder: Path, stop_after: int | None) -> RQVAE:
        model, steps = tokenizer.build(values, recipe, 0), iter(range(1000))

        def objective(model: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            if next(steps) == stop_after:
                raise KeyboardInterrupt
            return objectives.coba_rq_vae(model, batch, recipe)

        hooks = Hooks(before_epoch=tokenizer.Upkeep(model, values, 0))
        fit(model, objective, data, settings, seed=0, folder=folder, hooks=hooks)
        return model

    whole = run(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", 7)  # in the middle of the third epoch
    resumed = run(tmp_path / "stopped", None)
    assert whole.state_dict().keys() == resumed.state_dict().keys()
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
