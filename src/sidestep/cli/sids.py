"""`sidestep sids`: what can be done with semantic IDs before, and without, a generator."""

import typer

app = typer.Typer(
    help="Semantic IDs: judge them, add new items to them, compare two versions, try other tokenizers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
