"""The search as one graph answers as the search does: here its operations are run by torch, in `test_graph` of the
pipeline by ONNX Runtime.
"""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from graph_world import Eager, agree, asks
from sidestep.data.reads import Reads
from sidestep.data.sequences import question
from sidestep.fast.recommender import GraphRecommender
from sidestep.fast.session import Array
from sidestep.layers.clock import Clock
from sidestep.pipeline.exporting import trie_tensors
from sidestep.recommenders.generative import GenerativeRecommender, Thinker, trie_of
from sidestep.recommenders.graph import SearchGraph
from sidestep.recommenders.step import named
from sidestep.search.scoring import PathScores
from sidestep.sids.flat_trie import FlatTrie
from sidestep.sids.path_names import PathNames
from small_world import THINKING, awake, make, make_batch, make_sids

N = 40
POPULARITY = np.arange(N)[::-1].copy() % 7
KINDS = ["tiger", "none", *THINKING, "tiger-mtp", "s2gr-mtp"]


class InTorch:
    """Runs a graph's operations where they are."""

    def __init__(self, graph: SearchGraph) -> None:
        self.graph = graph

    @torch.no_grad()
    def run(self, given: dict[str, Array], explain: bool) -> dict[str, Array]:
        outputs = self.graph(**{name: torch.from_numpy(value) for name, value in given.items()})
        return {name: value.numpy() for name, value in outputs.items()}


def both(kind: str, num_beams: int = 7, clock: Clock | None = None, absolute: bool = False, **changes: object) -> Eager:
    model, sids = make(kind, **changes), make_sids()
    model.clock = clock
    eager = GenerativeRecommender(model.eval(), sids, POPULARITY, model.reads, num_beams)
    trie = FlatTrie.of(trie_tensors(trie_of(sids, POPULARITY)))
    copied = deepcopy(model)
    if isinstance(copied, Thinker):
        copied.fix_centroids()
    graph = InTorch(SearchGraph(copied, trie, absolute))
    return eager, GraphRecommender(graph, trie, POPULARITY, model.reads, num_beams)


@pytest.mark.parametrize("kind", KINDS)
def test_every_generator_answers_as_its_search_does(kind: str) -> None:
    softmax = ["codebook", "trie"][KINDS.index(kind) % 2]
    agree(*both(f"{kind}, {softmax}"), asks(12, N, longest=8))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("s2gr")])
def test_thoughts_have_the_same_names_by_both_roads(kind: str) -> None:
    eager, graph = both(kind)
    words = ["soap", "comb", "oil", "nail", "balm", "dye", "wax"]
    titles = [f"{words[item % 7]} {words[item // 7 % 7]} no{item % 3}" for item in range(N)]
    names, histories = PathNames(make_sids(), titles, None, POPULARITY), [np.arange(3), np.array([7])]
    theirs = eager.rank(question(histories, eager.reads), 5, explain=True)
    compared = []
    for ours, paths in zip(graph.rank(histories, [[], []], 5, explain=True), theirs.paths or [], strict=True):
        for path, same in zip(ours.paths or [], paths, strict=True):
            for step, other in zip(named(path, names), named(same, names), strict=True):
                one, two = step.thinks_of, other.thinks_of
                assert (one is None) == (two is None) == (not other.clusters)
                if one is not None and two is not None:
                    assert replace(one, probability=0.0) == replace(two, probability=0.0)
                    assert one.probability == pytest.approx(two.probability, abs=1e-5)
                    compared.append(one.name)
    assert len(compared) >= 10


@pytest.mark.parametrize(
    "changes",
    [{"encoder": "bidirectional", "history": "codes"}, {"history": "codes"}, {"item_part": True}],
)
def test_every_way_to_read_a_history_does(changes: dict[str, object]) -> None:
    eager, graph = both("s2gr, trie", **changes)
    if "item_part" in changes:
        for model in (eager.model, graph._graph.graph.model):  # type: ignore[attr-defined]
            torch.manual_seed(1)
            nn.init.normal_(model.item_part.table.weight)
    agree(eager, graph, asks(12, N, longest=8))


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("kind", ["tiger, trie", "s2gr", "tiger-mtp"])
def test_a_model_that_is_told_times_is_told_them_by_its_graph(kind: str, absolute: bool) -> None:
    clock = awake(Clock(("hour", "day", "weekend", "week", "gap"), 16, offset_hours=5.5))
    eager, graph = both(kind, clock=clock, absolute=absolute)
    assert graph.reads == Reads(6, times=True)
    agree(eager, graph, asks(12, N, longest=8), absolute)


@pytest.mark.parametrize("num_beams", [1, 3, 1000])
def test_any_number_of_beams_and_answers(num_beams: int) -> None:
    agree(*both("s2gr", num_beams), asks(12, N, longest=8))


def test_equal_scores_are_ordered_as_the_search_orders_them() -> None:
    """A model without weights finds all paths of a kind equal: whole levels of ties, at the last answer too."""
    eager, graph = both("tiger", 1000)
    for model in (eager.model, graph._graph.graph.model):  # type: ignore[attr-defined]
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
    for k in (1, 5, 13):
        agree(eager, graph, asks(6, N, longest=6, k=k))


@pytest.mark.parametrize("kind", ["tiger", "s2gr, trie"])
def test_with_as_many_beams_as_prefixes_it_is_exhaustive_scoring(kind: str) -> None:
    eager, graph = both(kind, 1000)
    batch = make_batch()
    scores = PathScores(eager.model, torch.from_numpy(POPULARITY))(batch, torch.arange(N).expand(len(batch), -1))  # type: ignore[arg-type]
    histories = [row[row >= 0].numpy() for row in batch.history]
    for row, found in enumerate(graph.rank(histories, [[]] * len(batch), N)):
        assert sorted(found.items) == list(range(N))
        by_hand = scores[row][found.items]
        torch.testing.assert_close(torch.tensor(found.scores), by_hand.detach(), atol=1e-5, rtol=0)
        assert (by_hand.diff() <= 1e-5).all()
