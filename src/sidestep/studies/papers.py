"""The studies of accuracy, row by row, with published figures."""

from collections.abc import Sequence

from sidestep.errors import ConfigError
from sidestep.studies.clock import CLOCK
from sidestep.studies.foundation import BASE
from sidestep.studies.long import FILMS, LONG, REGULARS
from sidestep.studies.modules import MODULES
from sidestep.studies.rows import MAIN, METRICS, PAPER, S2GR, Published, Row, Study, study_of
from sidestep.studies.screen import BEST, CONFIRM, LIGHT, OPTIMISERS, SCREEN
from sidestep.studies.second_looks import RERANK
from sidestep.studies.tokenizers import TABLE3

BEAUTY = {"users": 22_363, "items": 12_101, "interactions": 198_502}
"""Amazon Beauty 2014, 5-core: the only data with published figures."""
RECBOARD = "RecBoard, mean of 5 seeds"


def _paper(*figures: float) -> Published:
    """A row of S2GR's table 2. It is for users with at least 10 interactions (section 5.1); it does not state the
    treatment of items of the history.
    """
    return Published(S2GR, dict(zip(METRICS, figures, strict=True)), ">=10", None)


def _again(*figures: float) -> Published:
    return Published(RECBOARD, dict(zip(METRICS, figures, strict=True)), "all", "masked")


_REAREC = _paper(0.0460, 0.0723, 0.0284, 0.0368)  # the paper does not state which of the two
_CE = Published("CE-SCE-LLMRec, mean of 5 seeds", {"HR@5": 0.0713, "HR@10": 0.0986, "NDCG@5": 0.0509, MAIN: 0.0597},
                "all", "masked")  # fmt: skip

_TIGER = Row(
    "tiger", "tiger", published=(_paper(0.0443, 0.0728, 0.0299, 0.0390), _again(0.0442, 0.0669, 0.0298, 0.0371)),
    shuffled=True,
)  # fmt: skip
_S2GR = Row(
    "s2gr", "s2gr", against="tiger", published=(_paper(0.0495, 0.0785, 0.0340, 0.0424),), shuffled=True, terms=PAPER
)
_LONG = ("train.epochs=60", "train.patience=60")


def _variant(name: str, *figures: float) -> Row:
    """A row of S2GR with one part changed, tested against S2GR."""
    return Row(name, name, against="s2gr", published=(_paper(*figures),) if figures else ())


_VARIANTS = (
    _variant("s2gr-no-interest"),
    _variant("s2gr-codebook"),
    _variant("s2gr-projected"),
    _variant("s2gr-latent"),
    _variant("s2gr-front"),
    _variant("s2gr-misaligned"),
)
_NO_THINK_LOSS = _variant("s2gr-no-think-loss", 0.0481, 0.0740, 0.0320, 0.0402)

_TABLE2 = (
    Row("popularity", "popularity", shuffled=True),
    Row("item-knn", "item-knn", shuffled=True),
    Row("item-knn-recent", "item-knn-recent", against="tiger", shuffled=True),
    Row("caser", "caser", against="sasrec-ce",
        published=(_paper(0.0314, 0.0514, 0.0186, 0.0251), _again(0.0274, 0.0427, 0.0177, 0.0227))),
    Row("gru4rec", "gru4rec", against="sasrec-ce",
        published=(_paper(0.0384, 0.0634, 0.0233, 0.0314), _again(0.0239, 0.0402, 0.0152, 0.0204))),
    Row("sasrec-bce", "sasrec-bce", against="sasrec-ce",
        published=(_paper(0.0434, 0.0688, 0.0259, 0.0340), _again(0.0429, 0.0668, 0.0277, 0.0354))),
    Row("bert4rec", "bert4rec", against="sasrec-ce",
        published=(_paper(0.0394, 0.0627, 0.0255, 0.0329), _again(0.0489, 0.0730, 0.0329, 0.0406))),
    Row("rearec-erl", "rearec-erl", against="sasrec-ce", published=(_REAREC,)),
    Row("rearec-prl", "rearec-prl", against="sasrec-ce", published=(_REAREC,)),
    _TIGER,
    _S2GR,
    Row("s2gr, our defaults", "s2gr", against="tiger"),
    Row("tiger, 60 epochs", "tiger", _LONG, published=_TIGER.published),
    Row("s2gr, 60 epochs", "s2gr", _LONG, "tiger, 60 epochs", published=_S2GR.published, terms=PAPER),
    Row("s2gr, light thoughts, 60 epochs", "s2gr", (*_LONG, *LIGHT), "tiger, 60 epochs", terms=PAPER),
    Row("s2gr-no-reason, 60 epochs", "s2gr-no-reason", _LONG, "s2gr, 60 epochs"),
    _variant("s2gr-no-coba", 0.0479, 0.0764, 0.0326, 0.0414),
    _variant("s2gr-no-reason", 0.0471, 0.0736, 0.0321, 0.0406),
    _NO_THINK_LOSS,
    Row("sasrec-ce", "sasrec-ce", against="tiger", published=(_CE,), shuffled=True),
    Row("sasrec-vectors", "sasrec-vectors", against="sasrec-ce"),
    Row("sasrec-towers", "sasrec-towers", against="sasrec-ce"),
    Row("tiger-4", "tiger-4", against="tiger"),
    *_VARIANTS,
    Row("s2gr-fused, trained at once", "s2gr-fused", against="sasrec-towers", terms=PAPER),
    Row("s2gr-fused", "s2gr-fused", ("evaluate.valid_users=5000",), against="sasrec-towers", shuffled=True,
        parts=("s2gr", "sasrec-towers"), terms=PAPER),
    Row("s2gr-fused, neighbours", "s2gr-fused", ("evaluate.valid_users=25000", "fusion.neighbours=100"),
        against="sasrec-towers", parts=("s2gr", "sasrec-towers"), terms=PAPER),
    Row("s2gr-fused, neighbours, light thoughts, 60 epochs", "s2gr-fused",
        ("evaluate.valid_users=25000", "fusion.neighbours=100", *_LONG, *LIGHT), against="sasrec-towers",
        parts=("s2gr, light thoughts, 60 epochs", "sasrec-towers"), terms=PAPER),
)  # fmt: skip


def _clusters(count: int | str) -> Row:
    place = None if isinstance(count, str) else float(count)
    against = None if count == 32 else "K = 32"
    return Row(
        f"K = {count}", "s2gr", (f"tokenizer.num_clusters={count}",), against, at=place, line="s2gr", terms=PAPER
    )


def _depth(method: str, layers: int) -> Row:
    sets = (f"generator.encoder_layers={layers}", f"generator.decoder_layers={layers}")
    name = f"{method}, {layers} + {layers} layers"
    against = None if method == "tiger" else f"tiger, {layers} + {layers} layers"
    terms = PAPER if method == "s2gr" else ()
    return Row(name, method, sets, against, at=float(layers), line=method, terms=terms)


def _levels(count: int) -> Row:
    against = "3 levels" if count != 3 else None
    return Row(
        f"{count} levels",
        "s2gr",
        (f"tokenizer.num_levels={count}",),
        against,
        at=float(count),
        line="s2gr",
        terms=PAPER,
    )


def _thinking(key: str, name: str, values: Sequence[float], default: float) -> tuple[Row, ...]:
    """One setting of the thoughts over its values; the others are the recipe's."""
    return tuple(
        Row(f"{name} = {value:g}", "s2gr", (f"thinking.{key}={value:g}",),
            f"{name} = {default:g}" if value != default else None, at=float(value), line=name, terms=PAPER)
        for value in values
    )  # fmt: skip


STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            "table2",
            "Table 2: accuracy",
            "How do sequential recommenders, generators of semantic IDs and the ablations of S2GR compare?",
            _TABLE2,
        ),
        Study(
            "fig4",
            "Figure 4: number of clusters",
            "How coarse should the thoughts be?",
            tuple(_clusters(count) for count in (4, 8, 16, 32, 64, 128, 256, "auto")),
            "curve",
            "performance first improves as the number of clusters increases, then declines",
            "rise then fall",
            "clusters of every level",
        ),
        Study(
            "fig5",
            "Figure 5: length of the history",
            "For whom do thoughts help?",
            (_TIGER, _S2GR),
            "lengths",
            "the relative improvement over TIGER is higher for short and long sequences, more modest for moderate ones",
            "ends over middle",
            industrial=True,
        ),
        Study(
            "fig6",
            "Figure 6: size of the model",
            "Does the gain stay as the model grows?",
            tuple(_depth(method, layers) for layers in (1, 2, 4) for method in ("tiger", "s2gr")),
            "curve",
            "both improve with size, and S2GR keeps a substantial, stable advantage over TIGER at every size",
            "steady gap",
            "layers of the encoder, and of the decoder",
            industrial=True,
            costs=True,
        ),
        Study(
            "tableB1",
            "Table B.1: cost",
            "What do thoughts cost in training and in decoding?",
            (_TIGER, _S2GR),
            costs=True,
            ratios={"training": (45.0, 59.0), "inference": (0.88, 0.90)},
        ),
        Study(
            "depth",
            "Depth of the semantic IDs",
            "How many codes should an ID have, for what it costs?",
            tuple(_levels(count) for count in (2, 3, 4, 6, 10)),
            "curve",
            axis="levels",
            costs=True,
        ),
        Study(
            "lambda-tau",
            "Weights and temperature of the thoughts' losses",
            "How much do results depend on the settings that the paper does not give?",
            (
                *_thinking("reg_weight", "lambda", (0.0, 0.01, 0.1, 0.3, 1.0), 0.1),
                *_thinking("tau", "tau", (0.05, 0.07, 0.1, 0.2), 0.1),
                *_thinking("align_weight", "weight of L_align", (0.03, 0.1, 0.3, 1.0, 3.0), 1.0),
            ),
            "curve",
        ),
        Study(
            "thoughts",
            "What thoughts are",
            "Are the thoughts what their supervision makes them, and does that help?",
            (_TIGER, _S2GR, _NO_THINK_LOSS, *_VARIANTS),
            analysis=True,
        ),
        BASE,
        SCREEN,
        CONFIRM,
        BEST,
        OPTIMISERS,
        CLOCK,
        MODULES,
        REGULARS,
        LONG,
        FILMS,
        RERANK,
    )
}

ONLINE = (
    "Table 4 is an online test over seven days with users of Kuaishou's app, and cannot be reproduced; "
    "what can: table2, table3, fig4, fig5, fig6, tableB1"
)


def study_named(name: str) -> Study:
    """The study with this name.

    Raises:
        ConfigError: an unknown study, or one that cannot be reproduced.
    """
    if name == "table4":
        raise ConfigError(ONLINE)
    return study_of(STUDIES, name, others=[TABLE3.name])


def is_beauty(users: int, items: int, interactions: int) -> bool:
    """Whether published figures are comparable with ours."""
    return {"users": users, "items": items, "interactions": interactions} == BEAUTY
