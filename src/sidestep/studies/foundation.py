"""The study of what a generator stands on before it thinks: its softmax, its items, its names."""

from itertools import product

from sidestep.studies.rows import PAPER, Row, Study

_SOFTMAX = {"codebook": (), "trie": ("generator.softmax=trie",)}
_ITEMS = {"codes alone": (), "item part": ("generator.item_part=true",)}
_NAMES = {"text": (), "text and behaviour": ("behaviour.source=sasrec",)}
REPAIRED = (
    *("thinking.carry=true", "thinking.residual=true", "thinking.code_weight=0.3", "thinking.head_weight=0.1"),
    *("thinking.levels=[1,2]", "thinking.align_weight=0", "thinking.interest=false"),
)
PLAIN, BEST = "codebook, codes alone, text", "trie, item part, text and behaviour"
"""The rows that others are tested against."""
BEST_SETS = (*_SOFTMAX["trie"], *_ITEMS["item part"], *_NAMES["text and behaviour"])


def _rows() -> tuple[Row, ...]:
    """Every combination, without thoughts."""
    combined = [
        (f"{softmax}, {items}, {names}", (*_SOFTMAX[softmax], *_ITEMS[items], *_NAMES[names]))
        for softmax, items, names in product(_SOFTMAX, _ITEMS, _NAMES)
    ]
    return tuple(Row(name, "s2gr-no-reason", sets, None if name == PLAIN else PLAIN) for name, sets in combined)


def _thinking(name: str, *forms: str) -> Row:
    return Row(f"{BEST}, {name}", "s2gr", (*BEST_SETS, *forms), BEST, terms=PAPER)


BASE = Study(
    "base",
    "What the generator stands on",
    "What do the softmax over the trie, an item's own part and vectors from behaviour give, and thoughts on top?",
    (*_rows(), _thinking("thoughts as in the paper"), _thinking("repaired thoughts", *REPAIRED)),
    costs=True,
)
