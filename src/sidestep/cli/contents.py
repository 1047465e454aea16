"""What `sidestep --help` lists: the verbs in the order in which one meets them."""

from itertools import chain
from typing import Any

from typer.core import TyperGroup

SECTIONS = {
    "From files to answers": ("example", "init", "run", "evaluate", "recommend", "report", "export", "serve"),
    "The stages of a run": ("prepare", "embed", "behave", "tune", "propagate", "tokenize", "train"),
    "With a finished run": ("analyse", "compare", "align", "rerank", "sids", "batch", "doctor"),
    "Evidence": ("reproduce", "record"),
    "To look up": ("methods", "recipes", "config", "plan"),
}


class Contents(TyperGroup):
    """Lists its verbs under `SECTIONS`, each with the whole first sentence of its help."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        column = max(map(len, chain.from_iterable(SECTIONS.values())))
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(column), self.commands[name].get_short_help_str(limit=1000)) for name in names]
                )
