"""The study of time: what each part of OneLive (arXiv 2602.08612) brings where the hour matters, beside controls."""

from sidestep.studies.rows import Row, Study

_TIMES = ("time.history=true", "time.request=true")
_SASREC = ("baseline.max_history=20",)


def _tiger(name: str, *sets: str, against: str) -> Row:
    return Row(f"tiger, {name}", "tiger", sets, against)


CLOCK = Study(
    "clock",
    "Time",
    "Does a model that is told times beat those that are not, and a kernel over the user's own visits at that hour?",
    (
        Row("own-counts", "own-counts", against="own-counts-hour"),
        Row("own-counts-hour", "own-counts-hour"),
        Row("tiger", "tiger"),
        _tiger("history times", _TIMES[0], against="tiger"),
        _tiger("request time", *_TIMES, against="tiger"),
        _tiger("times, gate", *_TIMES, "generator.gate=head", against="tiger, request time"),
        _tiger(
            "times, gate, QK-norm",
            *_TIMES,
            "generator.gate=head",
            "generator.qk_norm=true",
            against="tiger, times, gate",
        ),
        _tiger("times, lazy", *_TIMES, "generator.encoder=lazy", against="tiger, request time"),
        Row("sasrec-ce, window 20", "sasrec-ce", _SASREC, against="tiger"),
        Row("sasrec-clock, window 20", "sasrec-clock", _SASREC, against="sasrec-ce, window 20"),
    ),
    costs=True,
    recipe="glass-nyc",
)
