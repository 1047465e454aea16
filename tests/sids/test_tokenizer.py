import re
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import sparse
from torch import nn

from sidestep.errors import DataError
from sidestep.objectives import tokenizing
from sidestep.sids import kmeans, rq_vae, tokenizer
from sidestep.sids.batches import VectorBatch, VectorBatches
from sidestep.sids.kmeans import squared_distances
from sidestep.sids.rq_vae import RQVAE
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.settings import TokenizerConfig
from sidestep.sids.vector_quantiser import VectorQuantiser
from sidestep.training.loop import Hooks, fit
from sidestep.training.optim import TrainConfig
from sidestep.vectors.item_vectors import ItemVectors

KINDS = ("rq-vae", "coba-rq-vae")
RQ_VAE: dict[str, Any] = {"kind": "rq-vae"}
VARIANTS: dict[str, dict[str, Any]] = {
    "rq-vae": RQ_VAE,
    "coba-rq-vae": {"kind": "coba-rq-vae"},
    "ema": RQ_VAE | {"codebooks": "ema"},
    "coba with ema": {"codebooks": "ema", "uniformity": 0.0},
    "rotation trick": RQ_VAE | {"estimator": "rotation"},
    "random start, reset": RQ_VAE | {"start": "random", "dead_codes": "reset", "idle_batches": 2},
    "dead codes left": RQ_VAE | {"dead_codes": "leave"},
    "diversity": RQ_VAE | {"diversity": 0.1},
    "levels of unequal size": {"codebook_size": (16, 8, 4)},
    "two levels": {"num_levels": 2},
    "ten levels": {"num_levels": 10},
    "clusters chosen": {"num_clusters": "auto"},
    "from a sample": {"train_items": 40},
    "unisid": {"kind": "unisid", "unified": {"width": 8}},
    "unisid, one network": {"kind": "unisid", "unified": {"width": 8, "encoder": "mlp"}},
    "rq-kmeans": {"kind": "rq-kmeans"},
    "rq-kmeans, balanced": {"kind": "rq-kmeans", "size_balanced": True},
    "res-kmeans-fsq": {"kind": "res-kmeans-fsq"},
    "res-kmeans-fsq, learnt": {"kind": "res-kmeans-fsq", "learnt_bits": True},
    "res-kmeans-fsq, mlp": {"kind": "res-kmeans-fsq", "learnt_bits": "mlp"},
    "pq": {"kind": "pq"},
    "opq": {"kind": "opq"},
}
"""Every law of a tokenizer holds for each of these."""
every_tokenizer = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())


def vectors(number: int, width: int = 12, seed: int = 0) -> ItemVectors:
    return ItemVectors(np.random.default_rng(seed).normal(size=(number, width)).astype(np.float32))


def config(**changes: Any) -> TokenizerConfig:
    small = {"codebook_size": 8, "code_width": 4, "hidden": (16,), "epochs": 3, "batch_size": 64, "num_clusters": 3}
    return TokenizerConfig(**{**small, **changes})


def train(values: ItemVectors, recipe: TokenizerConfig, seed: int = 0, edges: Any = None) -> Any:
    """The bare bones of the training loop; what needs no training is fitted."""
    model = tokenizer.build(values, recipe, seed)
    sample = tokenizer.learning_sample(values, recipe, seed)
    if isinstance(model, VectorQuantiser):
        model.learn(torch.from_numpy(sample.values), torch.Generator().manual_seed(seed))
        return model
    data = tokenizer.training_data(model, values, recipe, seed, edges)
    upkeep = tokenizer.Upkeep(model, sample, seed) if isinstance(model, RQVAE) else None
    objective = partial(tokenizing.TOKENIZERS[recipe.kind], tokenizer=recipe)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    for epoch in range(recipe.epochs):
        if upkeep is not None:
            upkeep(epoch)
        for index in data.batches(epoch):
            loss = objective(model.train(), data.load(index))["total"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    tokenizer.settle(model, values, recipe, seed)
    return model


def batch_of(values: torch.Tensor) -> VectorBatch:
    nobody = torch.empty(0, dtype=torch.int64)
    return VectorBatch(values, nobody, nobody)


def ids(values: ItemVectors, recipe: TokenizerConfig, seed: int = 0) -> SemanticIds:
    return tokenizer.semantic_ids(train(values, recipe, seed), values, recipe, seed)


@every_tokenizer
def test_the_same_seed_gives_the_same_ids_whatever_the_global_state(changes: dict[str, Any]) -> None:
    values, recipe = vectors(150), config(**changes)
    torch.manual_seed(1)
    first = ids(values, recipe)
    torch.manual_seed(2)
    again = ids(values, recipe)
    assert np.array_equal(first.codes, again.codes)
    assert all(np.array_equal(one, two) for one, two in zip(first.clusters, again.clusters, strict=True))


@pytest.mark.parametrize("kind", [*KINDS, "rq-kmeans"])
def test_another_seed_gives_other_ids(kind: str) -> None:
    values, recipe = vectors(150), config(kind=kind)
    assert not np.array_equal(ids(values, recipe).codes, ids(values, recipe, seed=1).codes)


@every_tokenizer
def test_codes_are_in_range_and_clusters_cover_every_code(changes: dict[str, Any]) -> None:
    recipe = config(**changes)
    made = ids(vectors(150), recipe)
    assert made.codes.shape == (150, recipe.num_levels)
    assert made.codebook_sizes == recipe.sizes
    assert all(np.isfinite(codebook).all() for codebook in made.codebooks)
    for cluster, size, count in zip(made.clusters, recipe.sizes, made.num_clusters, strict=True):
        assert sorted(set(cluster.tolist())) == list(range(count))
        assert len(cluster) == size


@every_tokenizer
def test_assignment_is_pure_and_the_same_for_an_item_alone(changes: dict[str, Any]) -> None:
    values = vectors(100)
    model = train(values, config(**changes)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    every = torch.from_numpy(values.values)
    codes = model.assign(every)
    assert torch.equal(model.assign(every), codes)
    assert torch.equal(model.assign(every[5:6])[0], codes[5])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@every_tokenizer
def test_what_is_left_is_never_more_after_one_more_level(changes: dict[str, Any]) -> None:
    values = vectors(150)
    model = train(values, config(**changes)).eval()
    if changes.get("start") == "random" or changes.get("train_items"):
        return  # codewords that were not fitted to these residuals promise nothing
    residual = model.encode(torch.from_numpy(values.values))
    errors = [residual.square().sum().item()]
    for level in model.quantiser.levels:
        residual = residual - level.codewords[level.assign(residual)]
        errors.append(residual.square().sum().item())
    assert all(after <= before * (1 + 1e-5) for before, after in pairwise(errors))


@every_tokenizer
def test_latents_decode_to_the_shape_of_the_vectors(changes: dict[str, Any]) -> None:
    values = vectors(150)
    model = train(values, config(**changes)).eval()
    latents = model.encode(torch.from_numpy(values.values))
    assert model.decode(latents).shape == values.values.shape
    if isinstance(model, VectorQuantiser):
        torch.testing.assert_close(model.decode(latents), torch.from_numpy(values.values))


@every_tokenizer
def test_a_model_rebuilt_from_its_weights_gives_the_same_codes(changes: dict[str, Any], tmp_path: Path) -> None:
    values, recipe = vectors(60), config(**changes)
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


@every_tokenizer
@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_catalogue_smaller_than_the_codebook_has_a_path_for_each_vector(changes: dict[str, Any], number: int) -> None:
    values = vectors(number)
    made = ids(values, config(**changes))
    wanted = made.codebook_sizes if "fsq" not in str(changes.get("kind")) else made.codebook_sizes[:-1]
    assert max(wanted) <= number
    if changes.get("start") != "random" and changes.get("dead_codes") != "leave":
        assert len(np.unique(made.codes, axis=0)) == number
    (note,) = tokenizer.notes(values, config(), 0)
    assert f"only {number} distinct vectors" in note


@pytest.mark.parametrize("kind", [*KINDS, "rq-kmeans", "opq"])
def test_a_sample_smaller_than_the_codebook_decides_its_size(kind: str) -> None:
    values, recipe = vectors(100), config(kind=kind, train_items=5)
    assert ids(values, recipe).codebook_sizes == (5, 5, 5)
    (note,) = tokenizer.notes(values, recipe, 0)
    assert note.startswith("The 5 items of tokenizer.train_items have only 5 distinct vectors")


@every_tokenizer
def test_identical_items_share_one_id(changes: dict[str, Any]) -> None:
    made = ids(ItemVectors(np.ones((9, 12), dtype=np.float32)), config(**changes))
    assert len(np.unique(made.codes, axis=0)) == 1


@every_tokenizer
def test_zero_vectors_are_refused(changes: dict[str, Any]) -> None:
    values = vectors(40).values
    values[[3, 8]] = 0
    with pytest.raises(DataError, match="2 of 40 item vectors are zero, the first is item 3"):
        tokenizer.build(ItemVectors(values), config(**changes), 0)


def test_vectors_that_are_not_finite_are_refused() -> None:
    values = vectors(4).values
    values[2, 1] = np.nan
    with pytest.raises(DataError, match="1 of 4 item vectors hold NaN or infinity, the first is row 2"):
        ItemVectors(values)


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


def test_inputs_are_centred_and_scaled_as_one_so_that_distances_keep_their_proportions() -> None:
    raw = vectors(500).values * np.array([10, 1, 1e-2] * 4, dtype=np.float32) + 7
    raw[:, 3] = 5.0
    model = tokenizer.build(ItemVectors(raw), config(), 0)
    inputs = model.standardise(torch.from_numpy(raw))
    torch.testing.assert_close(inputs.mean(0), torch.zeros(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(inputs.square().mean(), torch.ones(()))
    assert not inputs[:, 3].any()
    before, after = torch.pdist(torch.from_numpy(raw)), torch.pdist(inputs)
    torch.testing.assert_close(after / after.mean(), before / before.mean(), atol=1e-3, rtol=1e-3)


def test_vectors_that_are_all_alike_become_zero() -> None:
    raw = np.full((6, 5), 0.1, dtype=np.float32)
    model = tokenizer.build(ItemVectors(raw), config(), 0)
    assert model.scale == 1
    torch.testing.assert_close(model.standardise(torch.from_numpy(raw)), torch.zeros(6, 5))


def test_standardising_in_blocks_equals_mean_and_scale_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.from_numpy(vectors(500).values * 3 + 100)
    monkeypatch.setattr(rq_vae, "ENCODE_ROWS", 64)
    model = tokenizer.build(ItemVectors(values.numpy()), config(), 0)
    mean = values.double().mean(0)
    assert torch.equal(model.mean, mean.float())
    torch.testing.assert_close(model.scale, (values.double() - mean).square().mean().sqrt().float())


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


def test_no_vectors_at_all_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(0, 12\).*at least one item"):
        tokenizer.build(vectors(0), config(), 0)


@pytest.mark.parametrize("dmax", [1.0, 2.0, -0.1])
def test_a_balance_of_one_or_more_is_refused(dmax: float) -> None:
    with pytest.raises(ValidationError):
        config(dmax=dmax)


def test_coba_without_its_parts_is_the_plain_rq_vae() -> None:
    values, batch = vectors(64), torch.from_numpy(vectors(64).values)
    plain = train(values, config(kind="rq-vae", epochs=1))
    coba = train(values, config(epochs=1, uniformity=0, dmax=0))
    assert all(torch.equal(one, two) for one, two in zip(plain.parameters(), coba.parameters(), strict=True))
    losses = [tokenizing.TOKENIZERS[kind](coba, batch_of(batch), config(uniformity=0))["total"] for kind in KINDS]
    assert torch.equal(losses[0], losses[1])


def test_the_contrastive_loss_draws_partners_together() -> None:
    values, graph = vectors(120), sparse.lil_array((120, 120), dtype=np.float32)
    for item in range(0, 120, 2):  # pairs that their vectors know nothing of
        graph[item, item + 1] = graph[item + 1, item] = 1
    edges = sparse.csr_array(graph)

    def alike(weight: float) -> float:
        """How much nearer partners are than other items, after training."""
        recipe = config(kind="rq-vae", epochs=60, hidden=(64,), lr=1e-2, contrastive=weight)
        model = train(values, recipe, edges=edges)
        latents = torch.nn.functional.normalize(model.encode(torch.from_numpy(values.values)), dim=1)
        return float((latents[::2] * latents[1::2]).sum(1).mean() - (latents @ latents.T).mean())

    assert alike(10.0) > alike(0.0) + 0.2


def test_extra_losses_are_logged_and_added_with_their_weights() -> None:
    values = vectors(64)
    recipe = config(kind="rq-vae", diversity=0.3, contrastive=0.7)
    model = train(values, config(kind="rq-vae")).eval()
    batch = VectorBatch(torch.from_numpy(values.values), torch.arange(32), torch.arange(32, 64))
    found = tokenizing.rq_vae(model, batch, recipe)
    parts = found["reconstruct"] + found["quantise"] + 0.3 * found["diversity"] + 0.7 * found["contrast"]
    torch.testing.assert_close(found["total"], parts)


def test_a_partner_that_stands_twice_in_a_batch_is_no_negative_of_itself() -> None:
    model, values = train(vectors(64), config(kind="rq-vae")).eval(), torch.from_numpy(vectors(64).values)
    recipe = config(kind="rq-vae", contrastive=1.0)
    alone = VectorBatch(values[[0, 9]], torch.tensor([0]), torch.tensor([9]))
    twice = VectorBatch(values[[0, 1, 9, 9]], torch.tensor([0, 1]), torch.tensor([9, 9]))
    assert tokenizing.rq_vae(model, alone, recipe)["contrast"].item() == pytest.approx(0, abs=1e-6)
    assert tokenizing.rq_vae(model, twice, recipe)["contrast"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "pq", "codebooks": "ema"}, "codebooks = 'ema' has no effect with kind = 'pq'"),
        ({"kind": "rq-vae", "size_balanced": True}, "size_balanced = True has no effect"),
        ({"kind": "rq-kmeans", "learnt_bits": True}, "learnt_bits = True has no effect"),
        ({"codebook_size": (8, 4)}, "codebook_size names 2 levels and num_levels = 3"),
        ({"random_levels": 3}, "leaves no level to learn"),
        ({"random_levels": 1, "collisions": "nearest"}, "at random"),
        ({"num_levels": 10, "random_levels": 8, "codebook_size": 256}, "too many paths to draw from"),
        ({"codebooks": "ema"}, "set uniformity = 0"),
        ({"kind": "rq-vae", "dmax": 0.5}, "dmax = 0.5 has no effect with kind = 'rq-vae'"),
        ({"ema_decay": 0.9}, "ema_decay = 0.9 has no effect with codebooks = 'gradient'"),
        ({"idle_batches": 3}, "idle_batches = 3 has no effect with dead_codes = 'revive'"),
        ({"kind": "res-kmeans-fsq", "codebook_size": 12}, "power of 2, not 12"),
    ],
)
def test_settings_at_odds_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        config(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "pq"}, "2 dimensions, too few for the 3 blocks"),
        ({"kind": "opq", "num_levels": 4}, "2 dimensions, too few for the 4 blocks"),
        ({"kind": "res-kmeans-fsq"}, "2 dimensions, too few for the 3 bits .* at most 4"),
    ],
)
def test_too_few_dimensions_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        tokenizer.build(vectors(50, width=2), config(**changes), 0)


@pytest.mark.parametrize(("policy", "random_levels"), [("keep", 1), ("extra", 0), ("nearest", 0), ("extra", 1)])
@pytest.mark.parametrize("kind", ["coba-rq-vae", "rq-kmeans", "opq"])
def test_policies_settle_the_collisions_of_any_tokenizer(kind: str, policy: str, random_levels: int) -> None:
    values, recipe = vectors(150), config(kind=kind, codebook_size=6, collisions=policy, random_levels=random_levels)
    model = train(values, recipe)
    found = tokenizer.semantic_ids(model, values, recipe, 0)
    made, note = tokenizer.without_collisions(model, found, values, recipe, 0, None)
    assert len(np.unique(found.codes, axis=0)) < 150
    assert made.num_levels == 3 + (policy == "extra")
    if random_levels == 0:
        assert len(np.unique(made.codes, axis=0)) == 150
    assert np.array_equal(made.codes[:, :2], found.codes[:, :2]) or policy == "nearest"
    assert (policy != "nearest") or "moved to a free path" in note


def test_totals_are_the_sums_the_papers_write() -> None:
    values, recipe = vectors(64), config(uniformity=0.3)
    model: nn.Module = train(values, recipe).eval()
    losses = tokenizing.coba_rq_vae(model, batch_of(torch.from_numpy(values.values)), recipe)
    uniform = sum(losses[f"uniform_{level}"] for level in (1, 2, 3))
    expected = losses["reconstruct"] + losses["quantise"] + 0.3 * uniform
    torch.testing.assert_close(losses["total"], expected)


def test_a_stopped_and_resumed_training_gives_the_same_ids(tmp_path: Path) -> None:
    values, recipe = vectors(150), config(epochs=4)
    settings = TrainConfig(epochs=4, checkpoint_seconds=0)
    data = VectorBatches(values, recipe.batch_size, 0)

    def run(folder: Path, stop_after: int | None) -> RQVAE:
        model, steps = tokenizer.build(values, recipe, 0), iter(range(1000))

        def objective(model: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            if next(steps) == stop_after:
                raise KeyboardInterrupt
            return tokenizing.coba_rq_vae(model, batch, recipe)

        hooks = Hooks(before_epoch=tokenizer.Upkeep(model, values, 0))
        fit(model, objective, data, settings, seed=0, folder=folder, hooks=hooks)
        return model

    whole = run(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", 7)  # in the middle of the third epoch
    resumed = run(tmp_path / "stopped", None)
    assert whole.state_dict().keys() == resumed.state_dict().keys()
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
