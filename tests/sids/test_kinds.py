"""Tokenizers of other distributions."""

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sidestep import config, plugins
from sidestep.errors import ConfigError
from sidestep.sids import kinds, tokenizer
from sidestep.sids.codebook import Codebook, kmeans_start
from sidestep.sids.settings import TokenizerConfig
from sidestep.vectors.item_vectors import ItemVectors

MODULE = """
NUMBER = 7

def levels(width, sizes):
    return [len(sizes)] * width
"""


def rq_kmeans(width: int, sizes: Sequence[int]) -> list[nn.Module]:
    return [Codebook(size, width, start=kmeans_start) for size in sizes]


def codes(kind: str) -> np.ndarray[Any, Any]:
    vectors = ItemVectors(np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32))
    settings = TokenizerConfig(kind=kind, codebook_size=8, num_clusters=2)
    model = tokenizer.build(vectors, settings, 0)
    assert isinstance(model, tokenizer.VectorQuantiser)
    model.learn(torch.from_numpy(vectors.values), torch.Generator().manual_seed(0))
    return tokenizer.semantic_ids(model, vectors, settings, 0).codes


def test_a_plug_in_that_makes_our_levels_gives_our_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.PLUGINS, "theirs", rq_kmeans)
    assert (codes("theirs") == codes("rq-kmeans")).all()


def test_a_plug_in_that_makes_something_else_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for made, said in {
        (rq_kmeans(5, [8] * 3)[0],): r"codewords \[\(8, 5\)\], expected \[\(8, 6\), \(8, 6\), \(8, 6\)\]",
        (nn.Linear(2, 2),): "Linear.*, expected an nn.Module that is a sidestep.sids.residual.Level",
    }.items():
        monkeypatch.setitem(kinds.PLUGINS, "theirs", lambda width, sizes, made=made: made)
        with pytest.raises(ConfigError, match=f"The plug-in tokenizer 'theirs' makes .*{said}"):
            codes("theirs")


def test_entry_points_are_loaded_or_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_tokenizers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    names = {"theirs": "levels", "number": "NUMBER", "absent": "NOTHING", "pq": "levels"}
    points = [EntryPoint(name, f"their_tokenizers:{value}", kinds.GROUP) for name, value in names.items()]
    loaded, problems = plugins.load(points, kinds.OWN, "tokenizer", kinds.checked)
    assert loaded["theirs"](2, [3]) == [1, 1]  # type: ignore[comparison-overlap]
    assert loaded.keys() == {"theirs"}
    assert problems["number"].endswith("it is 7, expected a function of a width and the sizes of the levels")
    assert problems["pq (their_tokenizers:levels)"].endswith(
        "there is a tokenizer of this name already; it needs another name"
    )
    monkeypatch.setitem(kinds.PROBLEMS, "absent", problems["absent"])
    for kind, said in {
        "absent": "The plug-in 'absent' .* AttributeError",
        "opg": "no such tokenizer; did you mean 'opq'",
    }.items():
        with pytest.raises(ConfigError, match=f"Bad value '{kind}' for kind: .*{said}"):
            config.build(TokenizerConfig, {"kind": kind})
