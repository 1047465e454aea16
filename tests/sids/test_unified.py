"""Laws of an encoder that gives codes itself (UniSID)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy import sparse

from sidestep.data.catalog import Catalog
from sidestep.data.labels import labels
from sidestep.errors import ConfigError, DataError
from sidestep.evaluation.purity import label_numbers, v_measure
from sidestep.losses.tokenizing import unevenness
from sidestep.objectives.tokenizing import unisid
from sidestep.sids import tokenizer
from sidestep.sids.content import Content
from sidestep.sids.kmeans import squared_distances
from sidestep.sids.prefixes import prefixes
from sidestep.sids.settings import TokenizerConfig
from sidestep.sids.unified import Unified
from sidestep.sids.unified_batches import UnifiedBatches
from sidestep.training.loop import fit
from sidestep.training.optim import TrainConfig
from sidestep.vectors.item_vectors import ItemVectors

DEPARTMENTS, SHELVES, ITEMS = 4, 4, 15
N = DEPARTMENTS * SHELVES * ITEMS


def catalog_of(department: Sequence[int], shelf: Sequence[int]) -> Catalog:
    paths = [f"Shop > D{d} > S{d}{s}" for d, s in zip(department, shelf, strict=True)]
    titles = [f"thing of shelf{'abcdefgh'[s]}" for s in shelf]
    columns = {"item_id": [str(item) for item in range(len(paths))], "title": titles, "categories": paths}
    return Catalog(pl.DataFrame({**columns, "brand": [f"brand {item % 3}" for item in range(len(paths))]}))


def shop() -> tuple[Catalog, ItemVectors]:
    """Every item's vector says its department, its shelf and itself."""
    item = np.arange(N)
    department, shelf = item // (SHELVES * ITEMS), item // ITEMS % SHELVES
    rng = np.random.default_rng(0)
    means = rng.standard_normal((DEPARTMENTS, 24))[department]
    means = means + 0.7 * rng.standard_normal((DEPARTMENTS * SHELVES, 24))[item // ITEMS]
    return catalog_of(department, shelf), ItemVectors((means + 0.5 * rng.standard_normal((N, 24))).astype(np.float32))


def config(**changes: Any) -> TokenizerConfig:
    unified = {"width": 16, "levels": ["categories:2", "categories", "item"], **changes.pop("unified", {})}
    small = {"codebook_size": (4, 16, 16), "batch_size": 120, "epochs": 10, "lr": 0.01, "warmup_steps": 5}
    return TokenizerConfig(kind="unisid", unified=unified, **{**small, **changes})


def begun(settings: TokenizerConfig) -> tuple[Unified, ItemVectors, Content]:
    catalog, vectors = shop()
    content = Content(catalog, settings)
    rows = content.rows(vectors, catalog)
    model = tokenizer.build(rows, settings, 0, content)
    assert isinstance(model, Unified)
    return model.eval(), rows, content


def batch_of(model: Unified, rows: ItemVectors, content: Content, edges: Any = None) -> Any:
    data = tokenizer.training_data(model, rows, content.config, 0, edges, content)
    return data.load(data.batches(0)[0])


def tensor(rows: ItemVectors) -> torch.Tensor:
    return torch.from_numpy(rows.values)


def test_codes_are_nearest_codewords_and_largest_products_and_largest_logits() -> None:
    """Before codes are balanced; three roads to one code."""
    model, rows, _ = begun(config())
    latents, codes = model.encode(tensor(rows)), model.assign(tensor(rows))
    rest = latents.double()
    for place, (level, logits) in enumerate(zip(model.levels, model(tensor(rows)).logits, strict=True)):
        words = level.codewords.detach().double()
        assert torch.equal(logits.argmax(1), codes[:, place])
        assert torch.equal((latents.double() @ words.T).argmax(1), codes[:, place])
        assert torch.equal(squared_distances(rest, words).argmin(1), codes[:, place])
        lengths = words.square().sum(1)
        torch.testing.assert_close(lengths, lengths[:1].expand(len(level)))
        rest = rest - words[codes[:, place]]


def test_doubled_logits_change_neither_codes_nor_the_contrast() -> None:
    model, rows, content = begun(config())
    batch, codes = batch_of(model, rows, content), model.assign(tensor(rows))
    before = unisid(model, batch, content.config)
    with torch.no_grad():
        for level in model.levels:
            level.head.mul_(2)
    after = unisid(model, batch, content.config)
    for name in ("sid_1", "sid_2", "sid_3"):
        torch.testing.assert_close(before[name], after[name])
    assert torch.equal(model.assign(tensor(rows)), codes)


def test_permuting_the_rows_of_a_head_permutes_its_codes_alone() -> None:
    model, rows, _ = begun(config())
    codes, order = model.assign(tensor(rows)), torch.randperm(16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        model.levels[1].head.copy_(model.levels[1].head[order])
    permuted = model.assign(tensor(rows))
    assert torch.equal(order[permuted[:, 1]], codes[:, 1])
    assert torch.equal(permuted[:, ::2], codes[:, ::2])


def test_the_embedding_sees_the_levels_and_no_level_sees_it_or_a_later_level() -> None:
    model, rows, _ = begun(config())
    before, queries = model(tensor(rows)), model.body.queries
    with torch.no_grad():
        queries[-1] += 1
    after = model(tensor(rows))
    assert all(torch.equal(one, two) for one, two in zip(before.logits, after.logits, strict=True))
    assert not torch.allclose(before.embedding, after.embedding)
    with torch.no_grad():
        queries[1] += 1
    moved = model(tensor(rows))
    assert torch.equal(moved.logits[0], after.logits[0])
    for one, two in (
        (moved.logits[1], after.logits[1]),
        (moved.logits[2], after.logits[2]),
        (moved.embedding, after.embedding),
    ):
        assert not torch.allclose(one, two)


@pytest.mark.parametrize("encoder", ["tokens", "mlp"])
def test_an_item_without_labels_gets_the_same_finite_codes_every_time(encoder: str) -> None:
    model, rows, content = begun(config(unified={"encoder": encoder}))
    nothing = Catalog(pl.DataFrame({"item_id": ["new"]}))
    bare = content.rows(ItemVectors(rows.values[:1, :24]), nothing)
    assert not bare.values[:, 24:].any()
    assert torch.isfinite(model.encode(tensor(bare))).all()
    assert torch.equal(model.assign(tensor(bare)), model.assign(tensor(bare)))
    assert not torch.equal(model.encode(tensor(bare)), model.encode(tensor(rows)[:1]))  # labels are read


def test_labels_of_further_items_have_the_numbers_of_the_first_and_unknown_ones_have_none() -> None:
    catalog, _ = shop()
    attributes = Content(catalog, config()).attributes
    assert attributes.sizes == (5, 17, 4)  # the root tells nothing apart; 0 stands for none
    further = catalog_of([2, 9, 2], [1, 1, 7])
    own, new = attributes.of_items(catalog), attributes.of_items(further)
    like = own[2 * SHELVES * ITEMS + ITEMS]
    assert new[:, :2].tolist() == [like[:2].tolist(), [0, 0], [like[0], 0]]


def test_a_batch_holds_classes_in_company_two_views_and_partners_that_co_occur() -> None:
    model, rows, content = begun(config())
    ring = sparse.csr_array((np.ones(N - 1), (np.arange(N - 1), np.arange(1, N))), shape=(N, N))
    edges = sparse.csr_array(ring + ring.T)
    data = tokenizer.training_data(model, rows, content.config, 0, edges, content)
    assert isinstance(data, UnifiedBatches)
    order = data.batches(3)
    every = np.concatenate([items for _, _, items in order])
    assert sorted(every[:, 0].tolist()) == list(range(N))
    assert all(edges[item, partner] for item, partner in every.tolist())
    batch, again = data.load(order[0]), data.load(order[0])
    assert torch.equal(batch.rows, again.rows)
    n = len(batch.items)
    assert batch.rows.shape == (3 * n, rows.width)
    alone = [int((batch.classes[:, 1] == shelf).sum()) == 1 for shelf in batch.classes[:, 1].unique()]
    assert sum(alone) <= 1
    views = batch.rows.view(3, n, -1)
    hidden = ~views[:2, :, 24:].any(-1)
    assert 0.1 < hidden.float().mean() < 0.5
    noise = (views[0] - tensor(rows)[batch.items])[:, :24].std() / model.scale
    assert 0.3 < noise < 0.4
    assert not torch.equal(views[0], views[1])


def test_unknown_classes_count_neither_for_nor_against_anybody() -> None:
    model, rows, content = begun(config())
    batch = batch_of(model, rows, content)
    lost = len(batch.items) // 2
    batch.classes[lost:, 0] = -1
    before = unisid(model, batch, content.config)["sid_1"]
    with torch.no_grad():
        batch.rows[lost : len(batch.items), :24] *= -1
    assert torch.equal(before, unisid(model, batch, content.config)["sid_1"])


def test_the_total_is_the_papers_sum() -> None:
    model, rows, content = begun(config(unified={"embed_weight": 0.5, "balance": 0.3, "rec_weight": 0.2}))
    ring = sparse.csr_array(np.eye(N, k=1) + np.eye(N, k=-1))
    parts = unisid(model, batch_of(model, rows, content, ring), content.config)
    levels = (parts["sid_1"] + parts["sid_2"] + parts["sid_3"]) / 3
    total = levels + 0.5 * parts["embed"] + 0.2 * parts["words"] + 0.3 * parts["balance"]
    torch.testing.assert_close(parts["total"], total)


def test_unevenness_is_nothing_for_even_codes_and_the_logarithm_of_all_for_one() -> None:
    torch.testing.assert_close(unevenness(50 * torch.eye(4)), torch.tensor(0.0), atol=1e-5, rtol=0)
    one = torch.tensor([[50.0, 0, 0, 0]]).expand(3, 4)
    torch.testing.assert_close(unevenness(one), torch.tensor(4.0).log())


def test_words_through_the_codes_teach_the_encoder_by_their_softmax() -> None:
    settings = config(unified={"rec": "codes", "rec_weight": 1.0})
    model, rows, _ = begun(settings)
    spoken = model(tensor(rows)[:8], 8)
    spoken.words.square().sum().backward()
    assert model.levels[0].head.grad is not None
    assert model.levels[0].head.grad.any()
    assert model.body.text.weight.grad.any()


def trained(content: Content, rows: ItemVectors) -> tuple[Unified, list[float]]:
    settings = content.config
    model = tokenizer.build(rows, settings, 0, content)
    assert isinstance(model, Unified)
    data = tokenizer.training_data(model, rows, settings, 0, None, content)
    training = TrainConfig(epochs=settings.epochs, batch_size=120, lr=settings.lr, warmup_steps=5, weight_decay=0.0)
    done = fit(model, partial(unisid, tokenizer=settings), data, training, seed=0)
    tokenizer.settle(model, rows, settings, 0)
    return model, [row["total"] for row in done.history]


@pytest.mark.parametrize("shuffle", [False, True])
def test_levels_say_the_planted_departments_and_shelves_and_shuffled_labels_say_nothing(shuffle: bool) -> None:
    catalog, vectors = shop()
    truth = catalog
    if shuffle:  # the encoder may not read what it is taught
        table = catalog.table
        mixed = table["categories"].gather(np.random.default_rng(1).permutation(N))
        catalog = Catalog(table.with_columns(mixed))
    settings = config(unified={"encoder": "mlp", "turn": 2, "hide": 1.0 if shuffle else 0.3})
    content = Content(catalog, settings)
    rows = content.rows(vectors, catalog)
    if shuffle:
        rows.values[:, 24:] = 0
    model, losses = trained(content, rows)
    assert losses[-1] < 0.9 * losses[0]
    made = tokenizer.semantic_ids(model, rows, settings, 0)
    assert all(len(set(column)) == size for column, size in zip(made.codes.T, made.codebook_sizes, strict=True))
    shelf = label_numbers(labels(catalog if shuffle else truth, "category") or [])
    department = np.array([int(path.split(" > ")[1][1:]) for path in catalog.table["categories"]])
    first, both = prefixes(made.codes)[1:3]
    if shuffle:
        assert (v_measure(first, department) or 0) < 0.3
        return
    assert (v_measure(first, department) or 0) >= 0.95
    assert (v_measure(both, shelf) or 0) >= 0.9
    left = vectors.values - model.decode(torch.zeros(1, 3 * 18)).numpy()
    every, said = float(np.square(left).sum()), torch.zeros(N, 3 * 18)
    np.testing.assert_allclose(left.mean(0), 0, atol=1e-4)  # no code says the mean
    for place, level in enumerate(model.levels):
        said += level.codewords.detach()[made.codes[:, place]]
        rest = float(np.square(vectors.values - model.decode(said).numpy()).sum())
        assert rest < (0.7 if place else 0.9) * every
    resolved, _ = tokenizer.without_collisions(model, made, rows, settings, 0, None)
    assert len(np.unique(resolved.codes, axis=0)) == N
    again = tokenizer.build(rows, settings, 9, content)
    again.load_state_dict(model.state_dict())
    assert np.array_equal(again.assign(tensor(rows)).numpy(), made.codes)  # items that come again get their own codes


def test_levels_other_than_are_learnt_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unified\.levels names 2 levels, and 3 are learnt"):
        config(unified={"levels": ["categories", "item"]})
    with pytest.raises(ValueError, match=r"\[tokenizer.unified\] has no effect with kind = 'rq-vae'"):
        TokenizerConfig.model_validate({"kind": "rq-vae", "unified": {"tau": 0.1}})
    with pytest.raises(ConfigError, match="has one class or none"):
        _ = Content(shop()[0], config(unified={"levels": ["categories:1", "categories", "item"]})).classes


def test_the_one_hot_control_is_the_category_beside_the_vector_and_zeros_where_it_is_unknown() -> None:
    catalog, vectors = shop()
    content = Content(catalog, TokenizerConfig(kind="rq-kmeans", one_hot=0.5))
    rows = content.rows(vectors, catalog)
    told = rows.values[:, 24:]
    assert told.shape[1] == DEPARTMENTS * SHELVES
    assert (told.max(1) == 0.5).all()
    assert (told.astype(bool).sum(1) == 1).all()
    new = content.rows(ItemVectors(vectors.values[:1]), catalog_of([7], [1]))
    assert not new.values[:, 24:].any()


@pytest.mark.parametrize("encoder", ["tokens", "mlp"])
def test_images_move_codes_of_items_that_have_one_and_no_others(encoder: str, tmp_path: Path) -> None:
    catalog, vectors = shop()
    known = [str(item) for item in range(0, N, 2)]
    images = np.random.default_rng(2).standard_normal((len(known), 5)).astype(np.float32)
    pl.DataFrame({"item_id": known, "image": images.tolist()}).write_parquet(tmp_path / "images.parquet")
    settings = config(unified={"encoder": encoder})
    content = Content(catalog, settings, tmp_path / "images.parquet")
    rows = content.rows(vectors, catalog)
    assert rows.width == 24 + 5 + 3
    np.testing.assert_allclose(rows.values[::2, 24:29], images)
    assert not rows.values[1::2, 24:29].any()
    model = tokenizer.build(rows, settings, 0, content)
    assert isinstance(model, Unified)
    bare = tensor(rows).clone()
    bare[:, 24:29] = 0
    moved = (model.encode(tensor(rows)) - model.encode(bare)).abs().amax(1) > 1e-4
    assert moved[::2].all()
    assert not moved[1::2].any()
    batch = batch_of(model, rows, content)
    assert 0.5 < (~batch.rows[:, 24:29].any(1)).float().mean() < 0.8  # half have none, and some are hidden
    (tmp_path / "images.npy").touch()
    with pytest.raises(DataError, match=r"found by item id, so expected a \.parquet file"):
        _ = Content(catalog, settings, tmp_path / "images.npy").own_images
    pl.DataFrame({"item_id": ["x"], "image": [[1.0]]}).write_parquet(tmp_path / "others.parquet")
    with pytest.raises(DataError, match="has no vector for any of 240 items, such as '0'"):
        _ = Content(catalog, settings, tmp_path / "others.parquet").own_images
