"""The study of second looks: candidates of a pre-ranker in a new order (GR2, arXiv 2602.07774)."""

from sidestep.studies.rows import Row, Study

_FIRST, _REASONER = "item-knn-recent", "reranker.kind=reasoner"
_WITHOUT_NEXT = '["last", "frequent", "brand", "aisle", "similar", "popular", "keep"]'

RERANK = Study(
    "rerank",
    "A second look at ten candidates",
    "How much does a better order of the same candidates give, over all users?",
    (
        Row(_FIRST, _FIRST, shuffled=True),
        Row("listwise", "reranked", against=_FIRST, shuffled=True),
        Row("listwise, hidden layer", "reranked", ("reranker.hidden=32",), "listwise"),
        Row("listwise, 50 candidates", "reranked", ("reranker.candidates=50",), "listwise"),
        Row("reasoner", "reranked", (_REASONER,), "listwise"),
        Row("reasoner, accepted traces alone", "reranked", (_REASONER, "reasoner.rl_steps=0"), "reasoner"),
        Row("reasoner, no traces", "reranked", (_REASONER, "reasoner.traces=none"), "reasoner"),
        Row("reasoner, targeted traces", "reranked", (_REASONER, "reasoner.traces=targeted"), "reasoner"),
        Row("reasoner, drilled first", "reranked", (_REASONER, "reasoner.mid_epochs=3"), "reasoner"),
        Row("reasoner, unconditional reward", "reranked", (_REASONER, "reasoner.reward=unconditional"), "reasoner"),
        Row("reasoner, no transitions", "reranked", (_REASONER, f"reasoner.rules={_WITHOUT_NEXT}"), "reasoner"),
    ),
    recipe="s2gr-beauty",
)
