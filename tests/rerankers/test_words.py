"""Reasons in words, as a person reads them."""

import torch

from sidestep.data.labels import ItemLabels
from sidestep.rerankers.evidence import FEATURES
from sidestep.rerankers.traces import Scene, Trace, executed
from sidestep.rerankers.words import Names, moved, of_trace, of_weights

LABELS = ItemLabels(
    ["Hair > Shampoo", "Hair > Shampoo", "Hair > Conditioner", "Nails > Polish"], ["Oak", "Oak", "Oak", "Elm"]
)
NAMES = Names(LABELS)
SHAMPOO, CONDITIONER, OAK = 1, LABELS.leaf.names.index("Hair > Conditioner"), 1
SCENE = Scene(
    taken={"leaf": [SHAMPOO, SHAMPOO], "aisle": [1, 1], "brand": [OAK, OAK]},
    offered={"leaf": [SHAMPOO, CONDITIONER], "aisle": [1, 1], "brand": [0, OAK]},
    text=[0.9, 0.1],
    popular=[1.0, 2.0],
    next_leaf=CONDITIONER,
)


def test_a_trace_is_said_of_what_it_matched_and_nothing_of_the_rest() -> None:
    trace = executed("next", SCENE)
    assert of_trace(trace, SCENE, NAMES) == [[], ["after Shampoo comes Conditioner more than anything else"]]
    assert of_trace(executed("brand", SCENE), SCENE, NAMES)[1] == ["brand Oak, which the history has most often: twice"]
    assert of_trace(None, SCENE, NAMES) == [[], []]
    assert of_trace(executed("keep", SCENE), SCENE, NAMES) == [["the first order is to be kept"]] * 2
    changed = Trace("keep", 0, (), (1, 0))
    assert of_trace(changed, SCENE, NAMES) == [["the first order is to be kept", "the order does not follow it"]] * 2


def test_a_trace_that_is_not_so_or_does_not_lead_to_the_order_says_it() -> None:
    lied = Trace("next", SHAMPOO, (0,), (1, 0))
    said, unsaid = of_trace(lied, SCENE, NAMES)
    assert unsaid == ["the reason of the list does not say why it stands here"]
    assert said == [
        "after Shampoo comes Shampoo more than anything else",
        "this reason is not borne out by the history and the candidates",
        "the order does not follow it",
    ]


def test_a_list_that_nothing_matches_is_explained_only_where_the_trace_would_leave_it() -> None:
    elsewhere = ["the reason of the list does not say why it stands here"]
    nothing = Trace("last", 0, (), (1, 0))
    assert nothing.followed  # it asks for nothing
    assert of_trace(nothing, SCENE, NAMES) == [elsewhere, elsewhere]
    assert of_trace(Trace("last", 0, (), (0, 1)), SCENE, NAMES) == [[], []]


def test_weights_give_the_heaviest_evidence_above_the_mean_of_the_candidates() -> None:
    standard, weights = torch.zeros(2, len(FEATURES)), torch.zeros(len(FEATURES))
    for name, weight, values in (("follows", 2.0, (0.0, 1.0)), ("text_best", 1.0, (1.0, 0.0)), ("rank", 0.1, (1, 0))):
        column = FEATURES.index(name)
        weights[column], standard[:, column] = weight, torch.tensor(values, dtype=torch.float32)
    found = of_weights(SCENE, standard, weights, NAMES)
    assert found == [
        ["its text is like that of an item in the history"],
        ["Conditioner comes after Shampoo more often than the others do"],
    ]
    assert moved(found, [1, 0])[0] == ["place 2 in the first order", *found[1]]


def test_labels_that_the_history_does_not_have_are_no_reason() -> None:
    standard, weights = torch.zeros(2, len(FEATURES)), torch.zeros(len(FEATURES))
    column = FEATURES.index("brand_any")
    weights[column], standard[:, column] = 1.0, torch.tensor([1.0, -1.0])
    assert of_weights(SCENE, standard, weights, NAMES) == [[], []]  # candidate 0 has no brand
    assert of_weights(SCENE, -standard, weights, NAMES)[1] == ["brand Oak: twice in the history"]
