"""Which source item vectors come from, which encoder reads the texts, and the cache of its vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sidestep import config as recipes
from sidestep.data.catalog import Catalog
from sidestep.data.sources import DataConfig
from sidestep.data.splits import TrainingInteractions
from sidestep.encoders import lsa as lsa_module
from sidestep.encoders import sentence
from sidestep.encoders.lsa import LSA, lsa
from sidestep.encoders.sentence import Sentence
from sidestep.errors import ConfigError, DataError
from sidestep.vectors.cache import key_of
from sidestep.vectors.choosing import EmbedConfig, chosen_kind, embed, embed_further, text_encoder
from sidestep.vectors.graph import GraphConfig

TEXTS = [
    "red lipstick matte", "crimson lipstick glossy", "hdmi cable two metres", "usb cable one metre",
    "口红 哑光 红色", "口红 亮光 粉色", "помада красная", "помады красные", "",
]  # fmt: skip
TRAIN = TrainingInteractions(["a", "b"], np.array([0, 3, 5]), np.array([0, 1, 2, 3, 4]))


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIDESTEP_CACHE", str(tmp_path / "cache"))


def catalog(texts: list[str] | None = TEXTS) -> Catalog:
    columns = {"item_id": [str(item) for item in range(len(TEXTS))]}
    return Catalog(pl.DataFrame(columns if texts is None else {**columns, "text": texts}))


@pytest.mark.parametrize(
    ("texts", "settings", "kind"),
    [
        (TEXTS, {"path": "v.npy"}, "file"),
        (TEXTS, {}, "lsa"),
        (None, {}, "behaviour"),
        ([" "] * len(TEXTS), {}, "behaviour"),
        (TEXTS, {"kind": "behaviour"}, "behaviour"),
    ],
)
def test_auto_takes_the_file_then_the_texts_then_behaviour(
    texts: list[str] | None, settings: dict[str, Any], kind: str
) -> None:
    assert chosen_kind(catalog(texts), recipes.build(EmbedConfig, settings)) == kind


def test_every_item_gets_a_vector_from_behaviour_alone() -> None:
    assert len(embed(catalog(None), EmbedConfig(), TRAIN, 0)) == len(TEXTS)


def test_vectors_from_behaviour_follow_the_settings_of_the_graph() -> None:
    train = TrainingInteractions(["a", "b"], np.array([0, 5, 9]), np.array([0, 1, 2, 3, 4, 5, 6, 7, 8]))
    default, wide, narrow = (
        embed(catalog(None), EmbedConfig(), train, 0, graph=graph).values
        for graph in (None, GraphConfig(), GraphConfig(window=1))
    )
    np.testing.assert_array_equal(default, wide)
    assert not np.allclose(wide, narrow)


def test_the_home_folder_is_found_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert recipes.build(EmbedConfig, {"path": "~/v.npy"}).path == tmp_path / "v.npy"
    assert recipes.build(DataConfig, {"path": "~/shop"}).path == tmp_path / "shop"
    assert recipes.build(DataConfig, {"path": "~nobody-here/shop"}).path == Path("~nobody-here/shop")


def test_a_file_is_looked_for_beside_the_data_and_then_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    here, beside = np.zeros((len(TEXTS), 2), np.float32), np.ones((len(TEXTS), 2), np.float32)
    np.save("v.npy", here)
    wanted = EmbedConfig(path=Path("v.npy"))
    np.testing.assert_array_equal(embed(catalog(), wanted, TRAIN, 0, folder=tmp_path / "data").values, here)
    np.save("data/v.npy", beside)
    np.testing.assert_array_equal(embed(catalog(), wanted, TRAIN, 0, folder=tmp_path / "data").values, beside)


def test_texts_are_embedded_once_and_read_from_the_cache_after(monkeypatch: pytest.MonkeyPatch) -> None:
    first = embed(catalog(), EmbedConfig(width=3), TRAIN, 0)
    calls: list[int] = []

    def counted(texts: list[str], width: int, seed: int) -> Any:
        calls.append(width)
        return lsa(texts, width, seed)

    monkeypatch.setattr(lsa_module, "lsa", counted)
    np.testing.assert_array_equal(embed(catalog(), EmbedConfig(width=3, batch_size=2), TRAIN, 0).values, first.values)
    assert calls == []
    embed(catalog(), EmbedConfig(width=2), TRAIN, 0)
    embed(catalog(), EmbedConfig(width=3), TRAIN, 1)
    embed(catalog([*TEXTS[:-1], "new"]), EmbedConfig(width=3), TRAIN, 0)
    assert calls == [2, 3, 3]


def test_a_damaged_cache_entry_is_made_again(tmp_path: Path) -> None:
    first = embed(catalog(), EmbedConfig(width=3), TRAIN, 0, cache=tmp_path)
    (entry,) = (tmp_path / "vectors").iterdir()
    (entry / "tensors.safetensors").write_bytes(b"broken")
    np.testing.assert_array_equal(embed(catalog(), EmbedConfig(width=3), TRAIN, 0, cache=tmp_path).values, first.values)


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "vectors").write_text("a file where the folder should be")
    vectors = embed(catalog(), EmbedConfig(width=3), TRAIN, 0, cache=tmp_path).values
    np.testing.assert_array_equal(vectors, embed(catalog(), EmbedConfig(width=3), TRAIN, 0).values)


def test_where_two_texts_part_matters_to_the_cache() -> None:
    keys = {key_of(texts, "lsa", {}) for texts in (["ab", "c"], ["a", "bc"], ["abc", ""])}
    assert len(keys) == 3


def test_the_key_is_of_the_settings_that_decide_vectors_and_of_no_other(tmp_path: Path) -> None:
    config = EmbedConfig(width=3, batch_size=2)
    assert text_encoder("lsa", config, 1) == LSA(3, 1)
    assert text_encoder("minilm", config, 1) == Sentence(None, 2)
    assert text_encoder("minilm", config, 1).settings == {}
    assert LSA(3, 1).settings == {"width": 3, "seed": 1}
    few, many = (Sentence("some/name", size).settings for size in (2, 64))
    assert few == many == {"model": "some/name", "files": []}
    (tmp_path / "weights").write_text("a")
    (name, size, _), *others = Sentence(str(tmp_path), 2).settings["files"]
    assert (name, size, others) == ("weights", 1, [])


def test_further_items_get_vectors_in_the_space_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    known, new = catalog(), Catalog(pl.DataFrame({"item_id": ["x", "y"], "text": [TEXTS[2], ""]}))
    config = EmbedConfig(kind="lsa", width=4)
    vectors = embed(known, config, TRAIN, 0)
    further = embed_further(new, known, vectors, config, 0).values
    assert further[0] @ vectors.values[2] > 0.99
    monkeypatch.setattr(sentence, "sentence_transformer", lambda name: Lengths())
    config = EmbedConfig(kind="sentence-transformers", model="any")
    vectors = embed(known, config, TRAIN, 0)
    further = embed_further(new, known, vectors, config, 0).values
    np.testing.assert_allclose(further[0], vectors.values[2], rtol=1e-6)
    mean = vectors.values.mean(axis=0)
    np.testing.assert_allclose(further[1], mean / np.linalg.norm(mean), rtol=1e-5)


def test_texts_that_no_longer_give_the_vectors_and_items_without_any_source_are_refused() -> None:
    config = EmbedConfig(kind="lsa", width=4)
    vectors = embed(catalog(), config, TRAIN, 0)
    with pytest.raises(DataError, match="no longer give the run's vectors"):
        embed_further(catalog(), catalog(TEXTS[::-1]), vectors, config, 0)
    with pytest.raises(ConfigError, match="come from behaviour"):
        embed_further(catalog(), catalog(), vectors, EmbedConfig(kind="behaviour"), 0)
    with pytest.raises(DataError, match="None of the 9 further items has a text"):
        embed_further(catalog([""] * 9), catalog(), vectors, config, 0)


def test_a_kind_that_reads_texts_needs_some() -> None:
    with pytest.raises(DataError, match=r"needs texts and no item has any; name their columns in data\.text_fields"):
        embed(catalog(None), EmbedConfig(kind="lsa"), TRAIN, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "file"}, r"kind = 'file' needs embed\.path"),
        ({"kind": "lsa", "path": "v.npy"}, "which kind = 'lsa' does not read"),
        ({"kind": "sentence-transformers"}, "go together"),
        ({"model": "x"}, "go together"),
        ({"kind": "word2vec"}, "kind"),
        ({"witdh": 3}, "did you mean 'width'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipes.build(EmbedConfig, settings)


class Lengths:
    """A model whose vector is the text's length and 1."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def encode(self, texts: list[str], **_: Any) -> Any:
        self.seen.append(texts)
        return np.array([[len(text), 1] for text in texts])


def test_a_model_sees_very_long_texts_cut_and_empty_ones_get_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Lengths()
    monkeypatch.setattr(sentence, "sentence_transformer", lambda name: model)
    config = EmbedConfig(kind="sentence-transformers", model="any", max_chars=6)
    vectors = embed(catalog(["x " * 10_000, "abc", *[""] * (len(TEXTS) - 2)]), config, TRAIN, 0).values
    assert max(len(seen) for batch in model.seen for seen in batch) <= 6
    mean = vectors[:2].mean(axis=0)
    np.testing.assert_allclose(vectors[2], mean / np.linalg.norm(mean), rtol=1e-5)


def test_the_beauty_vectors_are_read_row_by_row(beauty: Path) -> None:
    from safetensors.numpy import load_file

    items = Catalog(pl.DataFrame({"item_id": [str(item) for item in range(1, 12_102)]}))
    vectors = embed(items, EmbedConfig(path=Path("minilm_l6_v2.safetensors")), TRAIN, 0, folder=beauty)
    expected = load_file(beauty / "minilm_l6_v2.safetensors")["vectors"].astype(np.float32)
    np.testing.assert_array_equal(vectors.values, expected)
