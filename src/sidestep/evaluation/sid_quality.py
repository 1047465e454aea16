"""Whether semantic IDs are good, before any generator is trained: sharing, use of codes, purity, geometry.

Tables from anywhere are judged alike. What is needed beyond the codes is handed in as `Evidence`; figures whose
evidence is absent are absent too, and `missing` says why.
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
    """One level of a table, and the prefixes that end there.

    size, used, dead: codes at the level, how many of them some item has, and how many none has.
    entropy: of the items' codes, in bits. perplexity: 2 to its power, `size` at best.
    prefixes: distinct prefixes up to and with this level. sharing: items that share theirs with another.
    together: by label, of the items that share a prefix with an item, the share that has its label.
    v_measure: by label, of the prefixes as a clustering of the items.
    variance_left: of the item vectors, with every prefix's mean in the place of its items' vectors.
    reconstruction: of the latents' squared deviation from their mean, the share that the codewords up to this level
        leave; it may pass 1. decoded: the same of the vectors that the tokenizer saw, by its decoder.
    intra, inter: mean cosine between two items of one cluster of this level, and of two clusters.
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
    """A table of semantic IDs, judged.

    icr, cur, sharing, largest: as in `CodebookReport`.
    ceilings: by K, the HR@K of a model that always says the right ID, since items that share an ID follow each other
        by training popularity; over the held-out targets where `targets` counts any, else over all items.
    purity: by label, see `Agreement.purity`.
    levels: coarse to fine.
    missing: what could not be told, and why.
    """

    name: str
    items: int
    distinct: int
    icr: float
    cur: float
    sharing: int
    largest: int
    ceilings: dict[int, float]
    targets: int
    purity: dict[str, Share]
    levels: list[LevelQuality]
    missing: list[str]


@dataclass(frozen=True)
class Evidence:
    """What tables of IDs are judged by, beyond the codes: all of it the same for every table.

    relations: by label, what items may have in common, such as their category.
    popularity: `[N]`, interactions in training. targets: the items that are held out, one per case.
    vectors: `[N, D]`, the items' own, before any graph.
    missing: what is not here, and why.
    """

    relations: Mapping[str, Relation] = field(default_factory=dict)
    popularity: Ints | None = None
    targets: Ints | None = None
    vectors: Floats | None = None
    missing: Sequence[str] = ()

    @cached_property
    def variance(self) -> float | None:
        """The vectors' squared deviation from their mean; None where they do not differ, or are not there."""
        return None if self.vectors is None else geometry.deviation(self.vectors)


@dataclass(frozen=True)
class Making:
    """What is known of a table whose tokenizer is at hand. Lists hold an entry per level, fewer where the last levels
    have none, such as one that merely tells items of the same ID apart.

    clusters: of every code, `[K_l]`. reconstruction, decoded: see `LevelQuality`. without: why there is none.
    """

    clusters: Sequence[Ints] = ()
    reconstruction: Sequence[float] = ()
    decoded: Sequence[float] = ()
    without: str = ""


def judge(name: str, codes: Ints, sizes: Sequence[int], evidence: Evidence, making: Making | None = None) -> SidQuality:
    """Judge a table of semantic IDs.

    codes: `[N, L]`. sizes: codes that each level has.
    """
    report, numbers = report_codes(codes, sizes), prefixes(codes)
    counts = [int(number.max()) + 1 for number in numbers[1:]]
    numbers = numbers[: counts.index(counts[-1]) + 2]  # no level below splits anything any more
    agreements = {label: Agreement.of(numbers, relation) for label, relation in evidence.relations.items()}
    purity = {label: agreement.purity() for label, agreement in agreements.items()}
    targets = evidence.targets if evidence.targets is not None and len(evidence.targets) else None
    by_prefix = _by_prefix(numbers, agreements, evidence)
    levels = [
        LevelQuality(
            **vars(usage), dead=usage.dead,
            **by_prefix[min(level, len(by_prefix) - 1)],
            **_made(level, codes, evidence.vectors, making or Making()),
        )
        for level, usage in enumerate(report.levels)
    ]  # fmt: skip
    return SidQuality(
        name, report.items, report.distinct, report.icr, report.cur, report.sharing, report.largest,
        ceilings=ceilings(numbers[-1], evidence.popularity, targets),
        targets=0 if targets is None else len(targets),
        purity={label: share for label, share in purity.items() if share is not None},
        levels=levels,
        missing=[*evidence.missing, *_unsaid(evidence, making)],
    )  # fmt: skip


def ceilings(sid: Ints, popularity: Ints | None, targets: Ints | None) -> dict[int, float]:
    """HR@K of a model that always says the right ID: the share of the targets (of all items, where None) that are
    among the first K of their ID's items, by falling popularity, then item number. Seen items are kept.

    sid: `[N]`, the number of each item's ID.
    """
    place = places(sid, by_popularity(len(sid), popularity))
    asked = place if targets is None else place[targets]
    return {k: float((asked < k).mean()) for k in CUTOFFS}


def _by_prefix(
    numbers: Sequence[Ints], agreements: Mapping[str, Agreement], evidence: Evidence
) -> list[dict[str, Any]]:
    """The figures of each level that hang on the prefixes which end there. numbers: from no code at all on."""
    vectors, found = evidence.vectors, []
    for level, number in enumerate(numbers[1:], start=1):
        shared = np.bincount(number)
        together = {label: agreement.together(level) for label, agreement in agreements.items()}
        measures = {
            label: v_measure(number, relation.labels)
            for label, relation in evidence.relations.items()
            if isinstance(relation, SameLabel)
        }
        found.append(
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
    return found


def _made(level: int, codes: Ints, vectors: Floats | None, making: Making) -> dict[str, Any]:
    """The figures of a level that hang on its tokenizer."""
    intra = inter = None
    if vectors is not None and level < len(making.clusters):
        intra, inter = geometry.cosines(vectors, making.clusters[level][codes[:, level]])
    return {
        "reconstruction": making.reconstruction[level] if level < len(making.reconstruction) else None,
        "decoded": making.decoded[level] if level < len(making.decoded) else None,
        "intra": intra,
        "inter": inter,
    }


def _unsaid(evidence: Evidence, making: Making | None) -> list[str]:
    """Why figures are absent that are not the evidence's fault."""
    unknown = [label for label, relation in evidence.relations.items() if not relation.known.any()]
    said = [f"purity by {label}: no item has one" for label in unknown]
    if making is None:
        said.append("reconstruction, clusters: the table comes without its tokenizer")
    elif not making.reconstruction:
        said.append(f"reconstruction: {making.without or 'all items have one vector'}")
    return said
