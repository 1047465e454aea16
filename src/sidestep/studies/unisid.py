"""The study of end-to-end IDs: what each part of UniSID and of ours gives, beside quantisers."""

from sidestep.studies.rows import TEXT_ALONE, Row, Study

_TEXT = ("graph.enabled=false", *TEXT_ALONE, "tokenizer.collisions=keep")
_KIND = ("tokenizer.kind=unisid", *_TEXT)
_PAPER = 'tokenizer.unified.levels=["categories:3","categories:4","categories"]'
_BRAND = 'tokenizer.unified.levels=["categories:4","categories","categories+brand"]'
_LARGEST, _STILL = "tokenizer.unified.sinkhorn=0", "tokenizer.unified.turn=0"


def _row(name: str, *sets: str, against: str | None = None) -> Row:
    return Row(name, sets=sets, terms=TEXT_ALONE, against=against)


UNISID = Study(
    "unisid",
    "End-to-end IDs",
    "What do positives, the turn, balance, each loss and the encoder give codes that an encoder says itself, and do "
    "they beat a quantiser that is told the category? Collisions are not resolved.",
    (
        _row("paper's positives", *_KIND, _PAPER, _LARGEST, _STILL),
        _row("+ turn", *_KIND, _PAPER, _LARGEST),
        _row("+ balance", *_KIND, _PAPER),
        _row("+ brand", *_KIND, _BRAND),
        _row("unisid", *_KIND),
        _row("without turn", *_KIND, _STILL),
        _row("all levels turned", *_KIND, "tokenizer.unified.turn=3"),
        _row("without balance", *_KIND, _LARGEST),
        _row("balance by a loss", *_KIND, _LARGEST, "tokenizer.unified.balance=1"),
        _row("without embedding", *_KIND, "tokenizer.unified.embed_weight=0"),
        _row("without words", *_KIND, "tokenizer.unified.rec_weight=0"),
        _row("words through the codes", *_KIND, "tokenizer.unified.rec=codes", "tokenizer.unified.rec_weight=1"),
        _row("one network", *_KIND, "tokenizer.unified.encoder=mlp"),
        _row("labels never read", *_KIND, "tokenizer.unified.hide=1"),
        _row("rq-vae", "tokenizer.kind=rq-vae", "tokenizer.epochs=60", *_TEXT),
        _row("rq-kmeans", "tokenizer.kind=rq-kmeans", *_TEXT),
        _row("rq-kmeans, one-hot", "tokenizer.kind=rq-kmeans", "tokenizer.one_hot=0.5", *_TEXT),
        _row("res-kmeans-fsq", "tokenizer.kind=res-kmeans-fsq", *_TEXT),
        _row("coba-rq-vae", "graph.enabled=true", "tokenizer.collisions=keep"),
    ),
    judges="labels",
)
