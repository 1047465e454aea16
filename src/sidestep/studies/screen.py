"""What the best base makes of thoughts: every form once, then the ones that count over seeds, with their controls; what
it adds to a scorer of items; and how it is trained in less time.
"""

from sidestep.studies.foundation import BEST_SETS, REPAIRED
from sidestep.studies.rows import PAPER, Row, Study

NONE, DEEPER = "none", "none, four decoder layers"
LIGHT = ("thinking.carry=true", "thinking.align_weight=0.1", "thinking.interest=false")
_GATED = ("thinking.residual=true", "thinking.gated=true", "thinking.remember=false", "thinking.carry=true")
_SHUFFLED = ("thinking.clusters=shuffled",)

_CONTROLS = (
    Row(NONE, "s2gr-no-reason", BEST_SETS),
    # thoughts double the tokens that the recipe's two decoder layers read for a target
    Row(DEEPER, "s2gr-no-reason", (*BEST_SETS, "generator.decoder_layers=4"), NONE),
)


def _thinking(name: str, *forms: str, method: str = "s2gr", against: str = NONE, start: str = "") -> Row:
    return Row(name, method, (*BEST_SETS, *forms), against, terms=PAPER, start=start)


SCREEN = Study(
    "screen",
    "Forms of thoughts",
    "Which form of thoughts, or what else, is above none on the best base, and above a deeper model of equal compute?",
    (
        *_CONTROLS,
        _thinking("light", *LIGHT),
        _thinking("untaught", method="s2gr-no-think-loss"),
        _thinking("none before the third code", "thinking.levels=[1,2]"),
        _thinking("a head names the cluster", "thinking.align_weight=0", "thinking.head_weight=1"),
        _thinking("repaired", *REPAIRED),
        _thinking("behind a gate that starts closed", *_GATED, "thinking.interest=false"),
        _thinking("the same, from the weights of none", *_GATED, "thinking.interest=false", start=NONE),
        Row("losses of prefixes", "s2gr-no-reason", (*BEST_SETS, "generator.prefix_weight=0.1"), NONE),
        Row("four branches", "s2gr-branches", (*BEST_SETS, "branching.count=4"), NONE),
    ),
    costs=True,
)

CONFIRM = Study(
    "confirm",
    "Thoughts and their controls",
    "Do thoughts pay more than depth, and does it matter that they name clusters?",
    (
        *_CONTROLS,
        _thinking("repaired", *REPAIRED, against=DEEPER),
        _thinking("repaired, shuffled clusters", *REPAIRED, *_SHUFFLED, against="repaired"),
        _thinking("light", *LIGHT, against=DEEPER),
        _thinking("light, shuffled clusters", *LIGHT, *_SHUFFLED, against="light"),
    ),
    costs=True,
)

_FUSED = (*BEST_SETS, "thinking.thoughts=false", "evaluate.valid_users=all")
BEST = Study(
    "best",
    "The best that we have",
    "What does the best generator add to the best scorer of items, at the weight that validation gives it?",
    (
        Row("sasrec-ce", "sasrec-ce", against="sasrec-towers"),
        Row("sasrec-towers", "sasrec-towers"),
        Row(NONE, "s2gr-no-reason", BEST_SETS, "sasrec-towers"),
        Row("fused", "s2gr-fused", _FUSED, "sasrec-towers", parts=(NONE, "sasrec-towers"), terms=PAPER),
        Row("fused, neighbours", "s2gr-fused", (*_FUSED, "fusion.neighbours=100"), "sasrec-towers",
            parts=(NONE, "sasrec-towers"), terms=PAPER),
    ),
    costs=True,
)  # fmt: skip

_ADAMW = "AdamW"
OPTIMISERS = Study(
    "optimisers",
    "Training in less time",
    "What do Muon and a moving average of the weights give for the CPU time that they take?",
    (
        Row(_ADAMW, "s2gr-no-reason", BEST_SETS),
        Row("AdamW, moving average", "s2gr-no-reason", (*BEST_SETS, "train.ema=0.999"), _ADAMW),
        Row("Muon", "s2gr-no-reason", (*BEST_SETS, "train.optimizer=muon"), _ADAMW),
        Row("Muon, moving average", "s2gr-no-reason", (*BEST_SETS, "train.optimizer=muon", "train.ema=0.999"), _ADAMW),
    ),
    costs=True,
)
