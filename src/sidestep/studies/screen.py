"""What the best base makes of thoughts: every form once, then the ones that count over seeds, with their controls; and
how the base is trained in less time.
"""

from sidestep.studies.foundation import BEST_SETS, REPAIRED
from sidestep.studies.rows import Row, Study

NONE, DEEPER = "none", "none, four decoder layers"
LIGHT = ("thinking.carry=true", "thinking.align_weight=0.1", "thinking.interest=false")
_GATED = ("thinking.residual=true", "thinking.gated=true", "thinking.remember=false", "thinking.carry=true")
_SHUFFLED = ("thinking.clusters=shuffled",)

_CONTROLS = (
    Row(NONE, "s2gr-no-reason", BEST_SETS),
    # thoughts double the tokens that the recipe's two decoder layers read for a target
    Row(DEEPER, "s2gr-no-reason", (*BEST_SETS, "generator.decoder_layers=4"), NONE),
)


def _thinking(name: str, *forms: str, method: str = "s2gr", against: str = NONE) -> Row:
    return Row(name, method, (*BEST_SETS, *forms), against)


SCREEN = Study(
    "screen",
    "Forms of thoughts",
    "Which form of thoughts is above no thoughts on the best base, and above a deeper model of equal compute?",
    (
        *_CONTROLS,
        _thinking("light", *LIGHT),
        _thinking("untaught", method="s2gr-no-think-loss"),
        _thinking("none before the third code", "thinking.levels=[1,2]"),
        _thinking("a head names the cluster", "thinking.align_weight=0", "thinking.head_weight=1"),
        _thinking("repaired", *REPAIRED),
        _thinking("behind a gate that starts closed", *_GATED, "thinking.interest=false"),
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
