"""The studies of long histories: GLASS (arXiv 2602.05663) beside models that read the same items in a wider window."""

from sidestep.studies.rows import Row, Study


def _window(items: int, method: str, against: str | None = None) -> Row:
    """A model of the recipe with another window."""
    key = "baseline.max_history" if method == "sasrec-ce" else "generator.max_history"
    return Row(f"{method}, window {items}", method, (f"{key}={items}",), against)


def _reader(kind: str) -> Row:
    """GLASS with another reader of the tier than the recipe has."""
    return Row(f"glass, {kind} reader", "glass", (f"long.reader={kind}",), "glass")


_PARTS = tuple(Row(name, name, against="glass") for name in ("glass-no-tier", "glass-no-search"))

REGULARS = Study(
    "regulars",
    "Long histories in a world whose bounds are known",
    "How much of what lies before the window does GLASS use, and which part brings it?",
    (
        Row("glass", "glass", against="tiger"),
        *_PARTS,
        Row("tiger", "tiger"),
        _window(200, "tiger", "tiger"),
        _reader("whole"),
    ),
    costs=True,
    recipe="glass-planted",
)

LONG = Study(
    "long",
    "Long histories",
    "Is a short window that looks back as good as a long window, and what does a list cost?",
    (
        Row("own-counts", "own-counts", against="tiger"),
        Row("item-knn-recent", "item-knn-recent", against="tiger"),
        Row("tiger", "tiger"),
        Row("glass", "glass", against="tiger"),
        _window(200, "tiger", "glass"),
        *_PARTS,
        _window(50, "tiger", "glass"),
        _window(20, "sasrec-ce", "tiger"),
        _window(200, "sasrec-ce", "glass"),
        _reader("tied"),
    ),
    costs=True,
    recipe="glass-nyc",
)

FILMS = Study(
    "long-movielens",
    "Long histories where nothing repeats",
    "Does looking back help where an older item of the same code says little about the next one?",
    (
        Row("own-counts", "own-counts", against="tiger"),
        Row("item-knn-recent", "item-knn-recent", against="tiger"),
        Row("tiger", "tiger"),
        Row("glass", "glass", against="tiger"),
        _window(200, "tiger", "glass"),
    ),
    costs=True,
    recipe="glass-movielens",
)
