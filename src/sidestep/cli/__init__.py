"""The command line: verbs only. Each verb imports its modules when it runs, so that `--help` is fast."""

import errno
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from sidestep.cli import align, batch, doctor, evaluating, example, listing, plan, reproduce, rerank, serve, sids, tune
from sidestep.cli.contents import Contents
from sidestep.cli.options import (
    AllowOption,
    AllUsersOption,
    AtOption,
    CountOption,
    DenyOption,
    ExplainOption,
    ForceOption,
    HistoriesOption,
    HistoryOption,
    JsonOption,
    KeepSeenOption,
    OutOption,
    OverridesArgument,
    RecipeArgument,
    RunArgument,
    UnknownOption,
    UserOption,
    WhereOption,
    check_file,
    open_run,
    say,
    show,
)
from sidestep.cli.parsing import read_ids_or_file, read_question, read_where
from sidestep.errors import ConfigError, SidestepError, one_line
from sidestep.studies.child import end_with_input


class _Verbs(Contents):
    """A user's mistake is one line on standard error and exit code 2; internal errors keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SidestepError as error:
            return _stop(2, f"error: {one_line(error)}")
        except KeyboardInterrupt:
            return _stop(130, "stopped; the same command resumes from the last checkpoint")
        except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
            _print_no_more()
            return _stop(0)
        except OSError as error:
            _print_no_more()
            return _stop(2, f"error: {one_line(_in_words(error))}")


app = typer.Typer(
    name="sidestep",
    cls=_Verbs,
    help="Semantic IDs, one thoughtful step at a time: from a log of interactions to a generative recommender.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(sids.app, name="sids")
app.add_typer(batch.app, name="batch")
app.command("rerank")(rerank.rerank)
app.command("reproduce")(reproduce.reproduce)
app.command("record")(reproduce.record)
app.command("evaluate")(evaluating.evaluate)
app.command("export")(serve.export)
app.command("doctor")(doctor.doctor)
app.command("plan")(plan.plan)
app.command("serve")(serve.serve)
app.command("example")(example.example)
app.command("methods")(listing.methods)
app.command("recipes")(listing.recipes)
app.command("config")(listing.config)
app.command("tune")(tune.tune)
app.command("align")(align.align)


def main() -> None:
    """The `sidestep` command."""
    end_with_input()
    app()


def _stop(code: int, line: str = "") -> None:
    if line:
        say(line)
    raise typer.Exit(code)


def _print_no_more() -> None:
    """Leave out what standard output still holds, if it cannot take it; else Python complains when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _in_words(error: OSError) -> Exception:
    """What the system refused, and of which file where it says so."""
    what = error.strerror or str(error)
    where = "" if error.filename is None else f": {error.filename!r}"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    rest = "; what was there before is unchanged: make room, and run the same command again" if full else ""
    return OSError(f"{what}{where}{rest}")


def _print_version(requested: bool) -> bool:
    if requested:
        from importlib.metadata import version

        print(f"sidestep {version('sidestep')}")
        raise typer.Exit
    return requested


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def run(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    out: OutOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prepare, embed, propagate, tokenize, train, evaluate; resumes where it stopped."""
    from sidestep.pipeline.apart import speaks_for_all
    from sidestep.pipeline.evaluate import evaluate as judge
    from sidestep.pipeline.stages import run_until
    from sidestep.report.terminal import metrics_table

    opened = open_run(recipe, overrides, out, force)
    with opened.writing():
        run_until(opened, "train", say)
        if not speaks_for_all():
            return
        result = judge(opened)
    show(as_json, result.as_json(), metrics_table(result))
    if not as_json:
        print(f"\nNext: sidestep recommend {opened.folder} --user {result.example_user} --explain")


def _stage(name: str, help_text: str) -> None:
    def verb(
        recipe: RecipeArgument,
        overrides: OverridesArgument = None,
        out: OutOption = None,
        force: ForceOption = False,
    ) -> None:
        from sidestep.pipeline.stages import run_until

        run_until(open_run(recipe, overrides, out, force), name, say)

    app.command(name, help=help_text)(verb)


_stage("prepare", "Read, check and number the log and the catalogue.")
_stage("embed", "Make a vector for every item; earlier stages are run where they are missing.")
_stage("behave", "Learn vectors of the items from training interactions (behaviour.source), for the tokenizer.")
_stage("propagate", "Enrich the vectors with the co-occurrence graph.")
_stage("tokenize", "Train the tokenizer and give every item its semantic ID.")


@app.command()
def train(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    out: OutOption = None,
    force: ForceOption = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Train nothing; measure the time of the parts of a training step.")
    ] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="With --profile: also write a trace for chrome://tracing.")
    ] = False,
) -> None:
    """Train the generator."""
    from sidestep.pipeline.profile import profile as watch
    from sidestep.pipeline.stages import run_until

    if trace and not profile:
        raise ConfigError("--trace needs --profile; give both")
    opened = open_run(recipe, overrides, out, force or profile)  # a profile does not change a finished run
    if not profile:
        run_until(opened, "train", say)
        return
    print(watch(replace(opened, force=force), say, trace).text())
    say(f"nothing was trained; written to {opened.folder}")


@app.command()
def analyse(
    folder: RunArgument,
    users: Annotated[int, typer.Option(help="Number of test users.")] = 2_000,
    as_json: JsonOption = False,
) -> None:
    """Accuracy of codes and thoughts, and drift of thoughts, level by level."""
    from dataclasses import asdict

    from sidestep.pipeline.analyse import analyse as analyse_run
    from sidestep.pipeline.run import Run
    from sidestep.report.analysis_terminal import analysis_text

    analysis = analyse_run(Run.open(folder), users)
    show(as_json, asdict(analysis), analysis_text(analysis))


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B")],
    as_json: JsonOption = False,
) -> None:
    """Two evaluated runs on the same users, with a paired bootstrap test; below, all methods in one table."""
    from sidestep.pipeline.evaluate import compare as contrast
    from sidestep.pipeline.standings import standings
    from sidestep.report.terminal import comparison_table, standings_table

    rows = contrast(first, second)
    tests = comparison_table(rows, str(first), str(second))
    show(as_json, rows, "" if as_json else f"{tests}\n\n{standings_table(standings(first, second))}")


@app.command()
def recommend(
    folder: RunArgument,
    history: HistoryOption = None,
    user: UserOption = None,
    histories: HistoriesOption = None,
    all_users: AllUsersOption = False,
    at: AtOption = None,
    k: CountOption = 10,
    explain: ExplainOption = False,
    keep_seen: KeepSeenOption = False,
    allow: AllowOption = None,
    deny: DenyOption = None,
    where: WhereOption = None,
    unknown: UnknownOption = "error",
    out: Annotated[
        Path | None, typer.Option(help="Write a file instead of printing: .parquet, .csv, .tsv or .jsonl.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend items for a history, for users, for a file of histories, or for all users."""
    from sidestep.pipeline import recommend as ask
    from sidestep.report.terminal import answers_text

    check_file(out)
    if out is not None:
        ask.check_format(out)
    question = read_question(history, user, histories, all_users, at)
    allowed, denied = read_ids_or_file(allow, "--allow"), read_ids_or_file(deny, "--deny")
    permitted = ask.Permitted(allowed, denied or (), read_where(where or []))
    answers = ask.answer(
        serve.load_model(folder),
        question,
        k,
        explain=explain,
        exclude_seen=not keep_seen,
        permitted=permitted,
        unknown=unknown,
    )
    if out is not None:
        ask.write(answers, out)
        say(f"{len(answers):,} lists written to {out}")
        return
    show(as_json, [ask.as_json(entry) for entry in answers], answers_text(answers))


@app.command()
def report(
    folder: RunArgument,
    out: Annotated[Path | None, typer.Option(help="[default: RUN/report.html]")] = None,
    beside: Annotated[Path | None, typer.Option(help="A second run folder to compare with.")] = None,
) -> None:
    """One self-contained HTML page: metrics, losses, codes, clusters, example users with their thoughts."""
    from sidestep.report.page import write_report

    check_file(out)
    print(write_report(folder, out, beside))


@app.command()
def init(
    interactions: Annotated[Path, typer.Option(help="A file of interactions.")],
    items: Annotated[Path | None, typer.Option(help="A file of items.")] = None,
    user: Annotated[str | None, typer.Option(metavar="COLUMN", help="The log's column of users.")] = None,
    item: Annotated[
        str | None, typer.Option(metavar="COLUMN[=COLUMN]", help="The log's column of items [= the items file's].")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="COLUMN[=UNIT]", help="The log's times [= s, ms, us, ns, d/m/y, m/d/y], or none."),
    ] = None,
    text: Annotated[str | None, typer.Option(metavar="COLUMN,...", help="The items file's columns of words.")] = None,
    event: Annotated[
        str | None, typer.Option(metavar="COLUMN[=KIND,...]", help="The log's kinds of events [= those that count].")
    ] = None,
    out: Annotated[Path, typer.Option(help="The recipe to write.")] = Path("recipe.toml"),
    force: ForceOption = False,
) -> None:
    """Look at your own files, list what every column is taken for, and write the recipe that runs on them."""
    from sidestep.data.inspect import Given, inspect
    from sidestep.durable import write_text
    from sidestep.methods.starting import expected, recipe

    check_file(out)
    if out.exists() and not force:
        raise ConfigError(f"{str(out)!r} exists; choose another --out, or overwrite it with --force")
    findings = inspect(interactions, items, Given(user, item, time, text, event))
    print("\n".join(findings.lines()))
    write_text(out, recipe(findings))
    print("\n".join((f"\nWrote {out}.", *expected(findings, out))))
