"""Not how fast, but what: whether peers answer the same, what bf16 changes, and how far the search has to go."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from machine import rounded
from peers import T5, Cornac
from shop import Shop
from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch
from sidestep.fast.recommender import GraphRecommender
from sidestep.fast.session import Session
from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.exporting import trie_tensors
from sidestep.pipeline.graph import write_graph
from sidestep.pipeline.run import Run
from sidestep.recommenders.generative import GenerativeRecommender, Precision, trie_of
from sidestep.sids.flat_trie import FlatTrie

K = 10
Answer = Callable[[SequenceBatch], Tensor]
Lists = list[list[int]]


def ranker(shop: Shop, model: EncoderDecoder, beams: int, precision: Precision = "fp32") -> Answer:
    """Our recommender's ten best items of a batch."""
    how = (model.reads, beams, precision)
    recommender = GenerativeRecommender(model, shop.sids, shop.popularity, *how)
    return lambda batch: recommender.rank(batch, K).items


def grapher(graph: GraphRecommender, beams: int) -> Answer:
    """The same by an exported graph, on one thread."""

    def answer(batch: SequenceBatch) -> Tensor:
        histories = [row[:length] for row, length in zip(batch.history.numpy(), batch.lengths.tolist(), strict=True)]
        return torch.tensor([found.items for found in graph.rank(histories, [[]] * len(batch), K, beams=beams)])

    return answer


def graph_of(shop: Shop, model: EncoderDecoder) -> GraphRecommender:
    """A model's search exported as one graph."""
    trie = FlatTrie.of(trie_tensors(trie_of(shop.sids, shop.popularity)))
    with TemporaryDirectory() as folder:
        write_graph(Path(folder) / "graph.onnx", model, trie, model.reads)
        return GraphRecommender(
            Session(Path(folder) / "graph.onnx", 1), trie, shop.popularity, model.reads, num_beams=1
        )


def same_answers(shop: Shop, users: Ints, model: EncoderDecoder, t5: T5, cornac: Cornac, beams: int) -> dict[str, Any]:
    """The share of users whose ten items are the same, in order, as our fp32 search gives them in batches; and the
    share of what an unconstrained peer answers that exists.
    """
    by_sid: dict[tuple[int, ...], list[int]] = {}
    for item in np.argsort(-shop.popularity, kind="stable").tolist():
        by_sid.setdefault(tuple(shop.sids.codes[item].tolist()), []).append(item)
    batches = shop.questions(users, 64)
    answer = ranker(shop, model, beams)
    ours = _lists(answer, batches)
    found = {"ours, batch 1": _share(ours, _lists(answer, shop.questions(users, 1)))}
    for name, generate in (("transformers", t5.generate_as_ours), ("cornac", cornac.generate)):
        said = [_sids(row) for batch in batches for row in generate(batch, beams, K)]
        found[name] = _share(ours, [[item for sid in sids for item in by_sid[sid]][:K] for sids in said])
    free = [_sids(row) for batch in batches for row in t5.generate(batch, beams, K, constrained=False)]
    valid = float(np.mean([sid in by_sid for sids in free for sid in sids]))
    told = ", ".join(f"{name} {share:.1%}" for name, share in found.items())
    print(f"\nThe same ten items in the same order as ours at beam {beams}: {told}")
    print(f"Answers that exist: ours, cornac and T5 + trie 100.0%, T5 without a trie {valid:.1%}")
    return {"same lists": found, "valid, transformers free": valid}


def answers(
    shop: Shop, name: str, model: EncoderDecoder, beams: int, batches: Sequence[SequenceBatch]
) -> dict[str, float]:
    """What bf16 leaves unchanged of fp32's lists, in order, and of their items; and how many of the beams the search
    takes to the last level, where it stops once no prefix can reach the k-th answer. The floor is that of the plain
    search, which takes them all. Random weights are the hard case: they find no code likely.
    """
    exact = _lists(ranker(shop, model, beams), batches)
    half = _lists(ranker(shop, model, beams, "bf16"), batches)
    items = float(np.mean([len(set(a) & set(b)) / K for a, b in zip(exact, half, strict=True)]))
    found = {
        "lists": rounded(_share(exact, half)),
        "items": rounded(items),
        "completed": rounded(completed(ranker(shop, model, beams), model, batches)),
    }
    print(
        f"{name}: bf16 leaves {found['lists']:.1%} of the lists and {found['items']:.1%} of the items unchanged; "
        f"{found['completed']:g} of {beams} beams are taken to the last level"
    )
    return found


def completed(answer: Answer, model: EncoderDecoder, batches: Sequence[SequenceBatch]) -> float:
    """Beams a user that are taken to the last level."""
    taken: list[int] = []
    step = model.step

    def counted(state: Any, codes: Tensor | None) -> Any:
        if state.level == model.num_levels - 1 and codes is not None:
            taken.append(codes.numel())
        return step(state, codes)

    model.step = counted  # type: ignore[method-assign]
    try:
        _lists(answer, batches)
    finally:
        del model.step
    return sum(taken) / sum(map(len, batches))


def trained(folder: Path) -> tuple[Shop, EncoderDecoder]:
    """The generator of a run folder, and its shop."""
    contents = RunContents(Run.open(folder))
    model = contents.trained().model
    assert isinstance(model, EncoderDecoder)
    return Shop(str(folder), contents.catalog, contents.split, contents.sids, contents.popularity), model


def _sids(row: Any) -> list[tuple[int, ...]]:
    return [tuple(sid) for sid in (row.tolist() if isinstance(row, Tensor) else row)]


def _lists(answer: Answer, batches: Sequence[SequenceBatch]) -> Lists:
    return [row for batch in batches for row in answer(batch).tolist()]


def _share(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> float:
    return float(np.mean([a == b for a, b in zip(ours, theirs, strict=True)]))
