"""Four candidates and a short history, to be talked about."""

from sidestep.data.labels import ItemLabels
from sidestep.llm.chat import Answer, Chat
from sidestep.rerankers.traces import Scene, executed

TITLES = ["Foam", "Silk", "Comb", "Gel", "Wax", "Oil", "Brush"]
CATEGORIES = ["shampoo", "conditioner", "comb", "shampoo", "wax", "conditioner", "comb"]
BRANDS = ["X", "X", "Y", "X", "Y", "X", "Y"]
LABELS = ItemLabels(CATEGORIES, BRANDS)
SIDS = ["<a_9><b_9>", "<a_0><b_1>", "<a_2><b_2>", "<a_9><b_8>", "<a_9><b_7>", "<a_0><b_1>", "<a_3><b_0>"]
HISTORY = [2, 3, 0]
CANDIDATES = [1, 2, 5, 6]


def scene(history: list[int], candidates: list[int]) -> Scene:
    def numbers(items: list[int]) -> dict[str, list[int]]:
        return {kind: getattr(LABELS, kind).of_item[items].tolist() for kind in ("leaf", "aisle", "brand")}

    after = LABELS.leaf.names.index("conditioner")
    return Scene(numbers(history), numbers(candidates), [0.9, 0.1, 0.5, 0.6], [1.0, 4.0, 3.0, 2.0], after)


SCENE = scene(HISTORY, CANDIDATES)
ANSWERS = [Answer("because", executed(rule, SCENE)) for rule in ("brand", "next", "popular", "keep")]


def chat(cite: str = "slot", knowledge: bool = True, traced: bool = True) -> Chat:
    return Chat(TITLES, LABELS, SIDS if cite == "sid" else None, knowledge, traced)
