"""The study of multi-token prediction (OneLive, arXiv 2602.08612): what modules in place of passes cost in hits."""

from sidestep.studies.rows import Row, Study

MODULES = Study(
    "modules",
    "Modules in place of passes",
    "What does it cost in hits that light modules say all codes behind the first?",
    (
        Row("tiger", "tiger"),
        Row("tiger-mtp", "tiger-mtp", against="tiger"),
        Row("s2gr", "s2gr"),
        Row("s2gr-mtp", "s2gr-mtp", against="s2gr"),
    ),
    costs=True,
)
