"""Studies of the vectors behind semantic IDs: what behaviour adds to them, and which pairs and filters to tune on."""

from itertools import product

from sidestep.studies.rows import TEXT_ALONE, Row, Study

_PLAIN = ("graph.enabled=false", *TEXT_ALONE)
_MAP, _BEHAVIOUR = "tune.kind=map", "behaviour.source=spectral"
_SPACES: dict[str, tuple[str, ...]] = {
    "raw": _PLAIN,
    "graph": TEXT_ALONE,
    "map": (*_PLAIN, _MAP),
    "encoder": (*_PLAIN, "tune.kind=encoder"),
    "behaviour": (*_PLAIN, _BEHAVIOUR),
    "map + behaviour": (*_PLAIN, _MAP, _BEHAVIOUR),
    "map + behaviour + graph": (_MAP, _BEHAVIOUR),
}
_TOKENIZERS = {
    "res-kmeans-fsq": ("tokenizer.kind=res-kmeans-fsq",),
    "coba": (),
    "unisid": ("tokenizer.kind=unisid", "tokenizer.collisions=keep"),
}

VECTORS = Study(
    "vectors",
    "Vectors behind the IDs",
    "What do the graph, a map tuned on pairs and vectors of behaviour give the vectors, and the IDs made of them?",
    tuple(
        Row(f"{space}, {kind}", sets=(*sets, *more), terms=TEXT_ALONE)
        for (kind, more), (space, sets) in product(_TOKENIZERS.items(), _SPACES.items())
    ),
    judges="both",
)

_FILTERS = ("random", "users", "popularity", "text", "category")


def _tuned(pairs: str, denoise: str = "none", drop: float = 0) -> Row:
    name = pairs.replace("[", "").replace("]", "").replace('"', "").replace(",", " + ")
    more = (f"tune.denoise={denoise}", f"tune.drop={drop}") if drop else ()
    return Row(
        f"{name}, {denoise} drops {drop:.0%}" if drop else name,
        sets=(*_PLAIN, _MAP, "tune.steps=300", f"tune.pairs={pairs}", *more),
        against=f"{name}, random drops {drop:.0%}" if drop and denoise != "random" else None,
        terms=TEXT_ALONE,
    )


PAIRS = Study(
    "pairs",
    "Pairs to tune on",
    "Which pairs, and which filter of them, make better vectors than dropping as many pairs at random?",
    (
        Row("raw", sets=_PLAIN, terms=TEXT_ALONE),
        *(_tuned(pairs) for pairs in ("swing", "cooccurring", "u2i", '["swing","u2i"]')),
        *(_tuned(pairs, each, drop=0.5) for pairs in ("swing", "cooccurring") for each in _FILTERS),
    ),
    judges="vectors",
)
