"""Laws of the figures that semantic IDs are judged by. By groups and sums here, by pairs of items in the tests."""

import itertools
import math

import numpy as np
import pytest
from scipy import sparse

from sidestep.evaluation import geometry
from sidestep.evaluation.purity import NO_LABEL, Agreement, Linked, Relation, SameLabel, v_measure
from sidestep.evaluation.sid_quality import Evidence, SidQuality, TokenizerEvidence, ceilings, judge
from sidestep.sids.prefixes import prefixes
from sidestep.sids.semantic_ids import Floats, Ints

NUM_ITEMS, SIZES = 60, (4, 3, 5)


def some_codes(seed: int = 0) -> Ints:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size, NUM_ITEMS) for size in SIZES], axis=1)


def some_labels(seed: int = 0, missing: int = 9) -> Ints:
    rng = np.random.default_rng([seed, 1])
    labels = rng.integers(0, 6, NUM_ITEMS)
    labels[rng.permutation(NUM_ITEMS)[:missing]] = NO_LABEL
    return labels


def some_edges(seed: int = 0) -> sparse.csr_array:
    rng = np.random.default_rng([seed, 2])
    table = np.triu(rng.random((NUM_ITEMS, NUM_ITEMS)) < 0.05, k=1)
    table[:, 7] = table[7] = False  # an item that nobody bought beside another
    return sparse.csr_array((table + table.T).astype(np.float32))


def some_vectors(seed: int = 0, width: int = 5) -> Floats:
    return np.random.default_rng([seed, 3]).standard_normal((NUM_ITEMS, width)).astype(np.float32)


def common(first: Ints, second: Ints) -> int:
    """Length of the common prefix."""
    different = np.flatnonzero(first != second)
    return int(different[0]) if len(different) else len(first)


def purity_by_pairs(codes: Ints, related: np.ndarray, known: np.ndarray, neighbours: int) -> float:
    """Sort everybody else by the length of the common prefix, and share places out where it is equal."""
    shares = []
    for item in np.flatnonzero(known):
        others = [other for other in range(len(codes)) if other != item]
        by_length = {length: [o for o in others if common(codes[item], codes[o]) == length] for length in range(9)}
        taken = total = 0.0
        for length in reversed(range(9)):
            group = by_length[length]
            take = min(len(group), neighbours - taken)
            total += take * np.mean([related[item, other] for other in group]) if group else 0
            taken += take
        shares.append(total / taken)
    return float(np.mean(shares))


def tables(kind: str, seed: int) -> tuple[Relation, np.ndarray, np.ndarray]:
    """A relation, and the same written out for all pairs."""
    if kind == "label":
        labels = some_labels(seed)
        same = (labels[:, None] == labels) & (labels != NO_LABEL) & ~np.eye(NUM_ITEMS, dtype=bool)
        return SameLabel(labels), same, labels != NO_LABEL
    edges = some_edges(seed)
    return Linked(edges), edges.toarray() > 0, edges.toarray().any(axis=1)


@pytest.mark.parametrize("kind", ["label", "links"])
@pytest.mark.parametrize(("seed", "neighbours"), [(0, 10), (1, 3), (2, 1), (3, 59), (4, 500)])
def test_purity_by_counts_is_purity_by_pairs(kind: str, seed: int, neighbours: int) -> None:
    codes = some_codes(seed)
    relation, related, known = tables(kind, seed)
    share = Agreement.of(prefixes(codes), relation).purity(neighbours)
    assert share is not None
    assert share.value == pytest.approx(purity_by_pairs(codes, related, known, neighbours))
    assert share.chance == pytest.approx(np.mean(related[known].sum(axis=1) / (NUM_ITEMS - 1)))


@pytest.mark.parametrize("kind", ["label", "links"])
def test_together_by_counts_is_together_by_pairs(kind: str) -> None:
    codes = some_codes()
    relation, related, known = tables(kind, 0)
    agreement = Agreement.of(prefixes(codes), relation)
    for level in (1, 2, 3):
        shares = []
        for item in np.flatnonzero(known):
            others = [o for o in range(NUM_ITEMS) if o != item and common(codes[item], codes[o]) >= level]
            if others:
                shares.append(np.mean([related[item, other] for other in others]))
        share = agreement.together(level)
        assert share is not None
        assert share.value == pytest.approx(np.mean(shares))


def test_purity_by_hand() -> None:
    """One neighbour each. The first two share both codes; the third shares one code with each of them, of which one
    has its label; the fourth shares nothing with anybody, and one in three others has its label.
    """
    codes = np.array([[0, 0], [0, 0], [0, 1], [1, 0]])
    agreement = Agreement.of(prefixes(codes), SameLabel(np.array([5, 7, 5, 7])))
    share = agreement.purity(neighbours=1)
    assert share is not None
    assert share.value == pytest.approx((0 + 0 + 1 / 2 + 1 / 3) / 4)
    assert share.chance == pytest.approx(1 / 3)


def test_codes_that_are_the_labels_are_pure_and_one_code_for_all_is_chance() -> None:
    labels = np.repeat([0, 1, 2], 12)
    told = Agreement.of(prefixes(labels[:, None]), SameLabel(labels)).purity()
    mute = Agreement.of(prefixes(np.zeros((36, 1), dtype=np.int64)), SameLabel(labels)).purity()
    assert told is not None
    assert mute is not None
    assert told.value == 1
    assert mute.value == pytest.approx(mute.chance)


def test_items_without_a_label_are_not_counted_and_share_nothing_as_neighbours() -> None:
    codes = np.array([[0], [0], [0]])
    share = Agreement.of(prefixes(codes), SameLabel(np.array([1, 1, NO_LABEL]))).purity()
    assert share is not None
    assert share.value == pytest.approx(1 / 2)
    assert Agreement.of(prefixes(codes), SameLabel(np.full(3, NO_LABEL))).purity() is None


def test_equal_prefixes_have_equal_numbers_and_no_others() -> None:
    codes = some_codes()
    for level, numbers in enumerate(prefixes(codes)):
        for first, second in itertools.combinations(range(0, NUM_ITEMS, 3), 2):
            same = (codes[first, :level] == codes[second, :level]).all()
            assert (numbers[first] == numbers[second]) == same


def test_v_measure_is_one_for_the_labels_themselves_and_counts_labelled_items_only() -> None:
    labels = some_labels()
    assert v_measure(labels + 40, labels) == pytest.approx(1)
    assert v_measure(np.where(labels == NO_LABEL, np.arange(NUM_ITEMS) + 40, labels), labels) == pytest.approx(1)
    assert v_measure(np.zeros(NUM_ITEMS, dtype=np.int64), labels) == 0
    assert v_measure(labels, np.full(NUM_ITEMS, NO_LABEL)) is None


def test_variance_left_is_the_error_of_the_means() -> None:
    vectors, groups = some_vectors(), prefixes(some_codes())[1]
    means = np.stack([vectors[groups == group].mean(axis=0) for group in groups])
    expected = np.square(vectors - means).sum() / np.square(vectors - vectors.mean(axis=0)).sum()
    total = geometry.deviation(vectors)
    assert geometry.variance_left(vectors, groups, total) == pytest.approx(expected, rel=1e-5)
    assert geometry.variance_left(vectors, np.zeros_like(groups), total) == pytest.approx(1)
    assert geometry.variance_left(vectors, np.arange(NUM_ITEMS), total) == 0


def test_variance_left_never_rises_with_another_level() -> None:
    quality = judged(some_codes(), vectors=some_vectors())
    left = [level.variance_left for level in quality.levels]
    assert None not in left
    assert left == sorted(left, reverse=True)


def test_equal_vectors_have_no_variance_to_explain() -> None:
    vectors = np.full((NUM_ITEMS, 3), 0.1, dtype=np.float32)
    assert geometry.deviation(vectors) is None
    assert judged(some_codes(), vectors=vectors).levels[0].variance_left is None
    assert geometry.left_by_codewords(vectors, some_codes(), [vectors]) is None


def test_cosines_by_sums_are_cosines_by_pairs() -> None:
    vectors, clusters = some_vectors(), some_codes()[:, 0]
    vectors[3] = 0
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    table, same = unit @ unit.T, clusters[:, None] == clusters
    apart = ~np.eye(NUM_ITEMS, dtype=bool)
    intra, inter = geometry.cosines(vectors, clusters)
    assert intra == pytest.approx(table[same & apart].mean(), abs=1e-6)
    assert inter == pytest.approx(table[~same].mean(), abs=1e-6)


def test_where_there_are_no_pairs_there_is_no_mean() -> None:
    vectors = some_vectors()
    assert geometry.cosines(vectors, np.zeros(NUM_ITEMS, dtype=np.int64))[1] is None
    assert geometry.cosines(vectors, np.arange(NUM_ITEMS))[0] is None


def test_what_codewords_leave_by_hand() -> None:
    """Latents 1 and 5 have mean 3 and deviation 8. The first codeword, 4, leaves 9 + 1; then 1 and -2 leave 16 + 1."""
    latents = np.array([[1.0], [5.0]], dtype=np.float32)
    books = [np.array([[4.0]], dtype=np.float32), np.array([[1.0], [2.0]], dtype=np.float32)]
    left = geometry.left_by_codewords(latents, np.array([[0, 0], [0, 1]]), books)
    assert left == pytest.approx([10 / 8, (16 + 1) / 8])
    assert latents.ravel().tolist() == [1, 5]


def test_ceilings_by_hand() -> None:
    """Three items share an ID, the most popular of them is item 2, then 0, then 1; item 3 is alone."""
    sid, popularity = np.array([4, 4, 4, 9]), np.array([3, 3, 8, 1])
    assert ceilings(sid, popularity, np.array([2, 0, 1, 3])) == {1: 2 / 4, 5: 1.0, 10: 1.0}
    assert ceilings(sid, popularity, np.array([0, 0, 1])) == {1: 0.0, 5: 1.0, 10: 1.0}
    assert ceilings(sid, None, None) == {1: 2 / 4, 5: 1.0, 10: 1.0}


def test_a_ceiling_over_items_is_the_icr_at_one() -> None:
    quality = judged(some_codes())
    assert quality.ceilings[1] == pytest.approx(quality.icr)
    assert quality.targets == 0


def judged(codes: Ints, of_tokenizer: TokenizerEvidence | None = None, **evidence: object) -> SidQuality:
    return judge("some", codes, SIZES, Evidence(**evidence), of_tokenizer)  # type: ignore[arg-type]


def evidence_of(order: Ints) -> dict[str, object]:
    """All of it for the items in another order."""
    back = np.argsort(order)
    relations = {"category": SameLabel(some_labels()[order]), "bought": Linked(some_edges()[order][:, order])}
    targets = back[np.arange(0, NUM_ITEMS, 2)]
    popularity = np.arange(NUM_ITEMS)[order]
    return {"relations": relations, "popularity": popularity, "targets": targets, "vectors": some_vectors()[order]}


def flat(quality: SidQuality) -> list[float]:
    """Every figure, in one order."""
    found = [*quality.ceilings.values(), quality.icr, quality.cur, quality.sharing, quality.largest]
    found += [number for share in quality.purity.values() for number in (share.value, share.chance)]
    for level in quality.levels:
        found += [level.entropy, level.perplexity, level.prefixes, level.sharing, level.dead]
        found += [number for share in level.together.values() for number in (share.value, share.chance)]
        found += [*level.v_measure.values(), level.variance_left or 0]
    return [float(number) for number in found]


def test_nothing_hangs_on_the_order_of_the_items_or_the_names_of_the_codes() -> None:
    codes, rng = some_codes(), np.random.default_rng(5)
    plain = judged(codes, **evidence_of(np.arange(NUM_ITEMS)))
    order = rng.permutation(NUM_ITEMS)
    renamed = np.stack([rng.permutation(size)[codes[:, level]] for level, size in enumerate(SIZES)], axis=1)
    assert flat(judged(codes[order], **evidence_of(order))) == pytest.approx(flat(plain))
    assert flat(judged(renamed, **evidence_of(np.arange(NUM_ITEMS)))) == pytest.approx(flat(plain))


def test_entropy_and_dead_codes_by_hand() -> None:
    codes = np.array([[0], [0], [2], [3]])
    (level,) = judge("one", codes, (6,), Evidence()).levels
    assert (level.used, level.dead) == (3, 3)
    assert level.entropy == pytest.approx(1.5)
    assert level.perplexity == pytest.approx(2**1.5)
    assert (level.prefixes, level.sharing) == (3, 2)


def test_a_level_that_splits_nothing_repeats_the_figures_of_its_prefixes() -> None:
    codes = some_codes()
    longer = np.column_stack([codes, codes[:, :1], codes[:, :1]])
    found = judge("long", longer, (*SIZES, 4, 4), Evidence(**evidence_of(np.arange(NUM_ITEMS)))).levels  # type: ignore[arg-type]
    assert found[2].together == found[3].together == found[4].together
    assert found[2].prefixes == found[4].prefixes
    assert found[4].entropy == found[0].entropy


def test_what_the_tokenizer_tells_stands_at_its_level_and_nowhere_else() -> None:
    clusters = [np.arange(size) % 2 for size in SIZES[:2]]
    quality = judged(some_codes(), TokenizerEvidence(clusters, (0.5, 0.25), (0.6,)), vectors=some_vectors())
    assert [level.reconstruction for level in quality.levels] == [0.5, 0.25, None]
    assert [level.decoded for level in quality.levels] == [0.6, None, None]
    assert [level.intra is None for level in quality.levels] == [False, False, True]
    expected = geometry.cosines(some_vectors(), clusters[1][some_codes()[:, 1]])
    assert (quality.levels[1].intra, quality.levels[1].inter) == expected


def test_what_is_missing_is_said() -> None:
    quality = judged(some_codes(), relations={"brand": SameLabel(np.full(NUM_ITEMS, NO_LABEL))}, missing=["a reason"])
    assert quality.purity == {}
    assert quality.missing[0] == "a reason"
    assert any("brand" in reason for reason in quality.missing)
    assert any("tokenizer" in reason for reason in quality.missing)


@pytest.mark.parametrize("codes", [np.zeros((1, 2), dtype=np.int64), np.zeros((5, 2), dtype=np.int64)])
def test_one_item_and_items_that_all_share_an_id_are_judged(codes: Ints) -> None:
    count = len(codes)
    relations = {
        "category": SameLabel(np.zeros(count, dtype=np.int64)),
        "bought": Linked(sparse.csr_array((count, count))),
    }
    vectors = np.ones((count, 3), dtype=np.float32)
    quality = judge(
        "few",
        codes,
        (1, 1),
        Evidence(relations, None, None, vectors),
        TokenizerEvidence([np.zeros(1, dtype=np.int64)] * 2),
    )
    assert quality.icr == 1 / count
    assert quality.levels[1].prefixes == 1
    assert quality.levels[0].entropy == 0
    assert all(math.isfinite(share.value) for share in quality.purity.values())
    assert quality.ceilings[1] == 1 / count
