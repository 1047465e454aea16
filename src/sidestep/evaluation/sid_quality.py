"""Quality of semantic IDs before a generator is trained: sharing, use of codes, purity, geometry.

Any table of codes can be judged. Further inputs are given as `Evidence`; measures without their evidence are left out,
and `missing` gives the reasons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from sidestep.data.interactions import by_popularity
from sidestep.evaluation import geometry
from sidestep.evaluation.codebooks import report_codes
from sidestep.evaluation.purity import Agreement, Relation, SameLabel, Share, v_measure
from sidestep.sids.prefixes import places, prefixes
from sidestep.sids.semantic_ids import Floats, Ints

CUTOFFS = (1, 5, 10)


@dataclass(frozen=True)
class LevelQuality:
    """One level of a table, and the prefixes up to this level.

    size, used, dead: number of codes at the level, of codes that occur, and of codes that do not.
    entropy: of the items' codes, in bits. perplexity: 2 ** entropy, at most `size`.
    prefixes: distinct prefixes up to and including this level. sharing: items that share theirs with another.
    together: by label, the share of items with the same label among those with the same prefix.
    v_measure: by label, of the prefixes as a clustering of the items.
    variance_left: share of the item vectors' variance within prefixes.
    reconstruction: squared norm of the residuals after this level, as a share of the latents' squared deviation from
        their mean; may exceed 1. decoded: the same for the tokenizer's input vectors and its decoder.
    intra, inter: mean cosine between two items of one cluster of this level, and of different clusters.
    """

    size: int
    used: int
    dead: int
    entropy: float
    perplexity: float
    prefixes: int
    sharing: int
    together: dict[str, Share] = field(default_factory=dict)
    v_measure: dict[str, float] = field(default_factory=dict)
    variance_left: float | None = None
    reconstruction: float | None = None
    decoded: float | None = None
    intra: float | None = None
    inter: float | None = None


@dataclass(frozen=True)
class SidQuality:
    """Quality of a table of semantic IDs.

    icr, cur, sharing, largest, edges, exclusive: as in `CodebookReport`.
    ceilings: by K, the HR@K of a model that always predicts the right ID, where items that share an ID are ranked by
        training popularity; over the held-out targets, or over all items if `targets` is 0.
    purity: by label, see `Agreement.purity`.
    levels: coarse to fine.
    missing: measures that could not be computed, with reasons.
    """

    name: str
    items: int
    distinct: int
    icr: float
    cur: float
    sharing: int
    largest: int
    edges: float
    exclusive: float
    ceilings: dict[int, float]
    targets: int
    purity: dict[str, Share]
    levels: list[LevelQuality]
    missing: list[str]


@dataclass(frozen=True)
class Evidence:
    """Inputs beyond the codes, common to all tables.

    relations: by label, relations between items, such as a common category.
    popularity: `[N]`, interactions in training. targets: the held-out items, one per case.
    vectors: `[N, D]`, the items' own vectors, before the graph.
    missing: inputs that are not available, with reasons.
    """

    relations: Mapping[str, Relation] = field(default_factory=dict)
    popularity: Ints | None = None
    targets: Ints | None = None
    vectors: Floats | None = None
    missing: Sequence[str] = ()

    @cached_property
    def variance(self) -> float | None:
        """The vectors' squared deviation from their mean; None without vectors, or if all are equal."""
        return None if self.vectors is None else geometry.deviation(self.vectors)


@dataclass(frozen=True)
class TokenizerEvidence:
    """Inputs from the tokenizer of a table. Lists hold one entry per learnt level; the last levels may not be learnt,
    such as the extra level that distinguishes items of the same ID.

    clusters: of every code, `[K_l]`. reconstruction, decoded: see `LevelQuality`. without: why there is none.
    """

    clusters: Sequence[Ints] = ()
    reconstruction: Sequence[float] = ()
    decoded: Sequence[float] = ()
    without: str = ""


def judge(
    name: str, codes: Ints, sizes: Sequence[int], evidence: Evidence, of_tokenizer: TokenizerEvidence | None = None
) -> SidQuality:
    """Measure the quality of a table of semantic IDs.

    codes: `[N, L]`. sizes: number of codes at each level.
    """
    report, numbers = report_codes(codes, sizes), prefixes(codes)
    counts = [int(number.max()) + 1 for number in numbers[1:]]
    numbers = numbers[: counts.index(counts[-1]) + 2]  # deeper levels split nothing
    agreements = {label: Agreement.of(numbers, relation) for label, relation in evidence.relations.items()}
    purity = {label: agreement.purity() for label, agreement in agreements.items()}
    targets = evidence.targets if evidence.targets is not None and len(evidence.targets) else None
    by_prefix = _by_prefix(numbers, agreements, evidence)
    levels = [
        LevelQuality(
            **vars(usage), dead=usage.dead,
            **by_prefix[min(level, len(by_prefix) - 1)],
            **_of_tokenizer(level, codes, evidence.vectors, of_tokenizer or TokenizerEvidence()),
        )
        for level, usage in enumerate(report.levels)
    ]  # fmt: skip
    return SidQuality(
        name, report.items, report.distinct, report.icr, report.cur, report.sharing, report.largest,
        report.edges, report.exclusive,
        ceilings=ceilings(numbers[-1], evidence.popularity, targets),
        targets=0 if targets is None else len(targets),
        purity={label: share for label, share in purity.items() if share is not None},
        levels=levels,
        missing=[*evidence.missing, *_reasons(evidence, of_tokenizer)],
    )  # fmt: skip


def ceilings(sid: Ints, popularity: Ints | None, targets: Ints | None) -> dict[int, float]:
    """HR@K of a model that always predicts the right ID: the share of the targets (None: of all items) that are among
    the first K of their ID's items, by falling popularity, then item number. Seen items are kept.

    sid: `[N]`, the number of each item's ID.
    """
    place = places(sid, by_popularity(len(sid), popularity))
    of_targets = place if targets is None else place[targets]
    return {k: float((of_targets < k).mean()) for k in CUTOFFS}


def _by_prefix(
    numbers: Sequence[Ints], agreements: Mapping[str, Agreement], evidence: Evidence
) -> list[dict[str, Any]]:
    """The measures of each level that depend on the prefixes. numbers: of the prefixes of 0, 1 .. codes."""
    vectors, measures_of_levels = evidence.vectors, []
    for level, number in enumerate(numbers[1:], start=1):
        shared = np.bincount(number)
        together = {label: agreement.together(level) for label, agreement in agreements.items()}
        measures = {
            label: v_measure(number, relation.labels)
            for label, relation in evidence.relations.items()
            if isinstance(relation, SameLabel)
        }
        measures_of_levels.append(
            {
                "prefixes": len(shared),
                "sharing": int(shared[shared > 1].sum()),
                "together": {label: share for label, share in together.items() if share is not None},
                "v_measure": {label: value for label, value in measures.items() if value is not None},
                "variance_left": None
                if vectors is None
                else geometry.variance_left(vectors, number, evidence.variance),
            }
        )
    return measures_of_levels


def _of_tokenizer(level: int, codes: Ints, vectors: Floats | None, evidence: TokenizerEvidence) -> dict[str, Any]:
    """The measures of a level that depend on its tokenizer."""
    intra = inter = None
    if vectors is not None and level < len(evidence.clusters):
        intra, inter = geometry.cosines(vectors, evidence.clusters[level][codes[:, level]])
    return {
        "reconstruction": evidence.reconstruction[level] if level < len(evidence.reconstruction) else None,
        "decoded": evidence.decoded[level] if level < len(evidence.decoded) else None,
        "intra": intra,
        "inter": inter,
    }


def _reasons(evidence: Evidence, of_tokenizer: TokenizerEvidence | None) -> list[str]:
    """Reasons for missing measures that are not in `evidence.missing`."""
    unknown = [label for label, relation in evidence.relations.items() if not relation.known.any()]
    reasons = [f"purity by {label}: no item has one" for label in unknown]
    if of_tokenizer is None:
        reasons.append("reconstruction, clusters: the table comes without its tokenizer")
    elif not of_tokenizer.reconstruction:
        reasons.append(f"reconstruction: {of_tokenizer.without or 'all items have the same vector'}")
    return reasons
