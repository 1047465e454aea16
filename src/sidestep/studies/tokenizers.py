"""The studies of tokenizers: quality of their IDs, and the contribution of each part. A row is a recipe with other
settings of its tokenizer or graph.
"""

from sidestep.studies.rows import S2GR, TEXT_ALONE, Published, Row, Study
from sidestep.studies.unisid import UNISID
from sidestep.studies.vectors import PAIRS, VECTORS

_TEXT = ("graph.enabled=false",)
_RQ_VAE = ("tokenizer.kind=rq-vae", *_TEXT)
_LONGER = (*_RQ_VAE, "tokenizer.epochs=60")  # as in `methods/`: with more epochs, both ICR and purity improve
_BARE = (*_RQ_VAE, "tokenizer.start=random", "tokenizer.dead_codes=leave")
_EMA, _RANDOM, _TOGETHER = "tokenizer.codebooks=ema", "tokenizer.random_levels=1", "tokenizer.contrastive=10"


def _row(name: str, *sets: str, published: tuple[Published, ...] = ()) -> Row:
    return Row(name, sets=sets, published=published, terms=TEXT_ALONE)


def _paper(cur: float, icr: float) -> tuple[Published, ...]:
    """A row of S2GR's table 3, on Beauty, as shares."""
    return (Published(S2GR, {"CUR": cur, "ICR": icr}, "all", None),)


TABLE3 = Study(
    "table3",
    "Table 3: semantic IDs",
    "How many items have a unique ID, by kind of tokenizer? Collisions are not resolved.",
    (
        _row("rq-kmeans", "tokenizer.kind=rq-kmeans", *_TEXT, published=_paper(0.00062, 0.8665)),
        _row("rq-kmeans, size-balanced", "tokenizer.kind=rq-kmeans", "tokenizer.size_balanced=true", *_TEXT),
        _row("res-kmeans-fsq", "tokenizer.kind=res-kmeans-fsq", *_TEXT),
        _row("res-kmeans-fsq, learnt bits", "tokenizer.kind=res-kmeans-fsq", "tokenizer.learnt_bits=true", *_TEXT),
        _row("res-kmeans-fsq, hidden layer", "tokenizer.kind=res-kmeans-fsq", "tokenizer.learnt_bits=mlp", *_TEXT),
        _row("pq", "tokenizer.kind=pq", *_TEXT),
        _row("opq", "tokenizer.kind=opq", *_TEXT),
        _row("rq-vae", *_LONGER, published=_paper(0.00069, 0.9586)),
        _row("rq-vae, ema", *_LONGER, _EMA),
        _row("rq-vae, rotation", *_LONGER, "tokenizer.estimator=rotation"),
        _row("rq-vae, random last level", *_LONGER, _RANDOM),
        _row("coba-rq-vae", "tokenizer.kind=coba-rq-vae", "graph.enabled=true", published=_paper(0.00072, 0.9930)),
    ),
)

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        TABLE3,
        VECTORS,
        PAIRS,
        UNISID,
        Study(
            "gr2",
            "GR2's techniques (arXiv 2602.07774)",
            "What does each technique add to an RQ-VAE with a random start, whose codes may die?",
            (
                _row("bare", *_BARE),
                _row("+ k-means start", *_RQ_VAE, "tokenizer.dead_codes=leave"),
                _row("+ ema", *_BARE, _EMA),
                _row("+ random last level", *_BARE, _RANDOM),
                _row("+ diversity", *_BARE, "tokenizer.diversity=1"),
                _row("+ dead-code reset", *_RQ_VAE, "tokenizer.start=random", "tokenizer.dead_codes=reset"),
                _row("+ contrastive", *_BARE, _TOGETHER),
                _row("+ ema + contrastive", *_BARE, _EMA, _TOGETHER),
                _row(
                    *("k-means start + ema + random last level", *_RQ_VAE, "tokenizer.dead_codes=leave"),
                    *(_EMA, _RANDOM),
                ),
            ),
        ),
        Study(
            "coba",
            "CoBa's parts",
            "What do CoBa's parts, the stricter rule of leakage and the graph's settings contribute, one by one?",
            (
                _row("coba-rq-vae"),
                _row("without graph", *_TEXT),
                _row("without uniformity", "tokenizer.uniformity=0"),
                _row("without balance", "tokenizer.dmax=0"),
                _row("strict graph", "graph.skip_last=1"),
                *(_row(f"alpha {alpha}", f"graph.alpha={alpha}") for alpha in (0.1, 0.5, 0.7, 0.9)),
                *(_row(f"hops {hops}", f"graph.hops={hops}") for hops in (1, 3)),
                *(_row(f"window {window}", f"graph.window={window}") for window in (2, 10, 50)),
            ),
        ),
        Study(
            "balance",
            "Balance of the codes",
            "How much ICR does balance buy, and at what price in purity?",
            tuple(
                _row(f"delta_max {dmax}", f"tokenizer.dmax={dmax}") for dmax in (0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 0.95)
            ),
        ),
    )
}
