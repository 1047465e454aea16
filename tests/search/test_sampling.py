"""Laws of sampling: paths come with the probabilities of the policy, exist, are permitted, and carry exact scores."""

from collections import Counter
from itertools import permutations

import pytest
import torch
from scipy.stats import chisquare

from fused_world import make_fused
from sidestep.data.reads import Reads
from sidestep.data.sequences import NO_ITEM, SequenceBatch, question
from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.search.beam import beam_search
from sidestep.search.sampling import SampledPaths, Sampling, sample_paths
from sidestep.sids.trie import NOWHERE, Allowed, Permitted, Trie
from small_world import THINKING, make, make_batch, make_sids

N, LIKELY = 40, 0.001
SIDS = make_sids()
TRIE = Trie.build(torch.from_numpy(SIDS.codes), SIDS.codebook_sizes)
SOME = torch.arange(N) % 9 == 4  # 4, 13, 22, 31: a catalogue of four paths
Path = tuple[int, ...]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sharpened(kind: str) -> EncoderDecoder:
    """A generator that prefers some codes clearly, so that temperatures and nuclei make a difference."""
    kind, _, softmax = kind.partition(" in the ")
    shape = {"softmax": softmax or "codebook"}
    model = make_fused(**shape) if kind == "fused" else make(kind, **shape)
    with torch.no_grad():
        model.code_embedding.weight.mul_(4)
    return model


def asked(row: int = 0, copies: int = 1) -> SequenceBatch:
    history = make_batch().history[row]
    return question([history[history >= 0].numpy()] * copies, Reads(6))


@torch.no_grad()
def policy(model: EncoderDecoder, items: list[int], sampling: Sampling) -> dict[Path, float]:
    """q of every path by hand: level by level, the powers of P over the codes that the items have there."""
    log_probs = model.path_log_probs(asked(), torch.tensor([items]))[0].double()
    codes = [tuple(SIDS.codes[item].tolist()) for item in items]
    q = dict.fromkeys(codes, 1.0)
    for level in range(3):
        for prefix in {code[:level] for code in codes}:
            children = {
                code[level]: float((log_probs[place, level] / sampling.temperature).exp())
                for place, code in enumerate(codes)
                if code[:level] == prefix
            }
            total, ahead, kept = sum(children.values()), 0.0, dict[int, float]()
            for child, weight in sorted(children.items(), key=lambda pair: -pair[1]):
                if ahead < sampling.top_p:
                    kept[child] = weight / total
                ahead += weight / total
            for code in q:
                if code[:level] == prefix:
                    q[code] *= kept.get(code[level], 0.0) / sum(kept.values())
    return q


def drawn(found: SampledPaths) -> list[list[Path]]:
    rows = zip(found.beams.codes.tolist(), found.beams.nodes.tolist(), strict=True)
    return [[tuple(path) for path, node in zip(*row, strict=True) if node != NOWHERE] for row in rows]


def assert_frequencies(observed: Counter[object], expected: dict[object, float]) -> None:
    assert set(observed) <= set(expected)
    total = sum(observed.values())
    common = {key for key, share in expected.items() if share * total >= 5}  # the rest is one class, if any
    counts = [observed[key] for key in common] + [sum(n for key, n in observed.items() if key not in common)]
    shares = [expected[key] for key in common] + [sum(p for key, p in expected.items() if key not in common)]
    if shares[-1] * total < 5:
        assert counts[-1] < 30
        counts, shares = counts[:-1], [share / sum(shares[:-1]) for share in shares[:-1]]
    scaled = [share * sum(counts) / sum(shares) for share in shares]
    assert chisquare(counts, scaled).pvalue > LIKELY


@pytest.mark.parametrize("kind", ["tiger", "s2gr", "s2gr in the trie"])
@pytest.mark.parametrize(
    "sampling",
    [Sampling(replacement=True), Sampling(0.5, replacement=True), Sampling(3.0, 0.6, replacement=True)],
    ids=["plain", "cold", "hot nucleus"],
)
def test_draws_with_replacement_have_the_frequencies_of_the_policy(kind: str, sampling: Sampling) -> None:
    model = sharpened(kind)
    expected = policy(model, list(range(N)), sampling)
    found = sample_paths(model, asked(copies=4), Permitted(TRIE), 2_000, seeded(), sampling)
    observed = Counter(path for row in drawn(found) for path in row)
    assert_frequencies(observed, expected)
    if sampling.top_p < 1:
        assert min(expected.values()) == 0  # the nucleus leaves something out


@pytest.mark.parametrize("temperature", [3.0, 8.0])
def test_ordered_draws_without_replacement_have_the_frequencies_of_drawing_one_after_the_other(
    temperature: float,
) -> None:
    """P(i, then j) = q_i q_j / (1 - q_i), over all ordered pairs of four paths."""
    model, sampling = sharpened("tiger"), Sampling(temperature)
    q = policy(model, SOME.nonzero()[:, 0].tolist(), sampling)
    expected = {(i, j): q[i] * q[j] / (1 - q[i]) for i, j in permutations(q, 2)}
    found = sample_paths(model, asked(copies=4_000), Permitted(TRIE, Allowed.of(TRIE, SOME)), 2, seeded(1), sampling)
    assert_frequencies(Counter((row[0], row[1]) for row in drawn(found)), expected)


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_every_path_exists_is_permitted_and_has_its_exact_probabilities(replacement: bool, top_p: float) -> None:
    excluded = torch.tensor([[3, 3, NO_ITEM], [5, 6, 7], [NO_ITEM] * 3, [0, 39, 0]])
    allowed = torch.arange(N) % 3 != 0
    sampling = Sampling(1.5, top_p, replacement)
    for kind in ("tiger", "silent", "fused", "fused in the trie", "two thoughts in the trie", *THINKING):
        model, batch = sharpened(kind), make_batch()
        permitted = Permitted(TRIE, Allowed.of(TRIE, allowed), excluded)
        found = sample_paths(model, batch, permitted, 12, seeded(2), sampling)
        real = found.beams.nodes != NOWHERE
        assert real.any(1).all()
        assert torch.equal(permitted.items_under(found.beams.nodes).ge(0).any(2), real)
        first = permitted.items_under(found.beams.nodes).max(2).values  # any permitted item of the path
        with torch.no_grad():
            forced = model.path_log_probs(batch, first)
        assert torch.equal(TRIE.codes_of(first)[real], found.beams.codes[real])
        torch.testing.assert_close(found.beams.log_probs[real], forced[real], atol=1e-4, rtol=0)
        torch.testing.assert_close(found.beams.scores[real], forced.sum(2)[real], atol=1e-4, rtol=0)
        assert found.beams.scores[~real].isinf().all()
        assert found.log_q[~real].isinf().all()


@pytest.mark.parametrize("sampling", [Sampling(0.7), Sampling(2.0, 0.8), Sampling(0.7, replacement=True)])
def test_log_q_is_the_policys_own(sampling: Sampling) -> None:
    model = sharpened("s2gr")
    expected = policy(model, list(range(N)), sampling)
    found = sample_paths(model, asked(), Permitted(TRIE), 8, seeded(3), sampling)
    paths = drawn(found)[0]
    by_hand = torch.tensor([expected[path] for path in paths]).log()
    torch.testing.assert_close(found.log_q[0, : len(paths)], by_hand.float(), atol=1e-4, rtol=1e-4)


def test_without_replacement_no_path_comes_twice_and_all_of_them_come_where_all_are_drawn() -> None:
    paths = {tuple(row) for row in SIDS.codes.tolist()}
    for seed in range(5):
        found = drawn(sample_paths(sharpened("s2gr"), make_batch(), Permitted(TRIE), N, seeded(seed)))
        assert all(len(row) == len(set(row)) for row in found)
        assert all(set(row) == paths for row in found)
    few = drawn(sample_paths(sharpened("s2gr"), make_batch(), Permitted(TRIE), 6, seeded()))
    assert all(len(set(row)) == 6 for row in few)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["tiger", "s2gr"])
def test_at_a_temperature_near_zero_every_draw_is_greedy(kind: str) -> None:
    model, batch, permitted = sharpened(kind), make_batch(), Permitted(TRIE)
    greedy = beam_search(model, batch, permitted, num_beams=1)
    cold = sample_paths(model, batch, permitted, 5, seeded(), Sampling(1e-5, replacement=True))
    assert torch.equal(cold.beams.codes, greedy.codes.expand(-1, 5, -1))
    nucleus = sample_paths(model, batch, permitted, 5, seeded(), Sampling(top_p=1e-6, replacement=True))
    assert torch.equal(nucleus.beams.codes, greedy.codes.expand(-1, 5, -1))
    first = sample_paths(model, batch, permitted, 5, seeded(), Sampling(1e-5))
    assert torch.equal(first.beams.codes[:, :1], greedy.codes)


def test_a_seed_decides_all_draws_and_a_row_without_a_permitted_item_has_none() -> None:
    model, batch = sharpened("tiger"), make_batch()
    nothing = torch.arange(N).expand(4, -1).clone()
    nothing[1:] = NO_ITEM
    for replacement in (True, False):
        sampling = Sampling(replacement=replacement)
        one, same, other = (
            sample_paths(model, batch, Permitted(TRIE, None, nothing), 7, seeded(seed), sampling) for seed in (4, 4, 5)
        )
        assert torch.equal(one.beams.codes, same.beams.codes)
        assert drawn(one) != drawn(other)
        assert [len(row) for row in drawn(one)] == [0, 7, 7, 7]
        assert one.log_q[0].isinf().all()


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (1.0, 1.5)])
def test_settings_out_of_range_are_refused(temperature: float, top_p: float) -> None:
    with pytest.raises(ValueError, match="expected a number above 0"):
        Sampling(temperature, top_p)
