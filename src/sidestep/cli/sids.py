"""`sidestep sids`: tools for semantic IDs that need no generator."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sidestep.cli.executors import CoresOption, ExecutorOption, crew_of
from sidestep.cli.options import JsonOption, OverridesArgument, RunArgument, check_file, say, show
from sidestep.cli.parsing import read_prefix, read_seeds, read_source

app = typer.Typer(
    help="Semantic IDs: measure their quality, add new items, compare two versions, try other tokenizers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def report(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Run folders (or RUN@VERSION), .npz or .npy tables.")
    ],
    catalog: Annotated[
        Path | None, typer.Option(help="Without a run: the items file, with the rows of the tables.")
    ] = None,
    vectors: Annotated[Path | None, typer.Option(help="Without a run: the items' vectors.")] = None,
    interactions: Annotated[
        Path | None, typer.Option(help="Without a run: the log; its last items are held out.")
    ] = None,
    cut: Annotated[
        int | None, typer.Option(metavar="L", help="Also report every table cut to its first L levels.")
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="The catalogue's column of categories [default: by its usual names].")
    ] = None,
    brand: Annotated[
        str | None, typer.Option(help="The catalogue's column of brands [default: by its usual names].")
    ] = None,
    code: Annotated[str | None, typer.Option(help="List the items with a code or prefix, such as 12 or 12,5.")] = None,
    out: Annotated[Path | None, typer.Option(help="The page [default: RUN/sids.html; none without a run].")] = None,
    as_json: JsonOption = False,
) -> None:
    """Quality of semantic IDs: sharing, use of codes, purity, geometry; several tables side by side.

    A run stands for its version 1, which its generator was trained with; RUN@2 is a later version.
    """
    from dataclasses import asdict

    from sidestep.report.sid_page import write_sid_page
    from sidestep.report.sid_terminal import items_text, sids_text
    from sidestep.workshop.report import ReportOptions, default_page, gather, without_qualities

    options, named = (
        ReportOptions(catalog, interactions, vectors, cut, category, brand),
        [read_source(text) for text in sources],
    )
    if code is not None:
        prefix, first = read_prefix(code), without_qualities(named, options)
        rows = first.rows(first.items_with(prefix))
        show(as_json, rows, items_text(prefix, rows))
        return
    check_file(out)
    findings, page = gather(named, options), out or default_page(named)
    for note in findings.notes:
        say(note)
    if page is not None:
        write_sid_page(findings, page)
    page_name = None if page is None else str(page)
    tables = [asdict(quality) for quality in findings.qualities]
    show(as_json, {"tables": tables, "page": page_name}, sids_text(findings))
    if page is not None:
        say(f"the page: {page}")


@app.command()
def study(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="table3, gr2, coba, balance, vectors, pairs or unisid.")],
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A built-in recipe or a TOML file.")],
    overrides: OverridesArgument = None,
    seeds: Annotated[str, typer.Option(help="Such as 0,1,2.")] = "0,1,2",
    row: Annotated[list[str] | None, typer.Option(help="Only this row; may be repeated.")] = None,
    downstream: Annotated[bool, typer.Option("--downstream", help="Train and evaluate a generator on each.")] = False,
    cores: CoresOption = None,
    executor: ExecutorOption = "processes",
    out: Annotated[Path | None, typer.Option(help="[default: runs/STUDY-RECIPE]")] = None,
    as_json: JsonOption = False,
) -> None:
    """One recipe with other tokenizers, or without some of its parts: a table over seeds. Resumes where it stopped."""
    from sidestep.durable import write_text
    from sidestep.report.terminal import study_markdown, study_table
    from sidestep.studies.judging import Making, judge

    numbers = read_seeds(seeds)
    folder = out or Path("runs") / f"{name}-{Path(recipe).stem}"
    with crew_of(executor, cores) as crew:
        rows = judge(
            name, recipe, overrides or (), numbers, folder, say, only=row or (), making=Making(downstream, crew),
        )  # fmt: skip
    write_text(folder / "study.md", study_markdown(rows))
    show(as_json, rows, study_table(rows))


@app.command()
def ranking(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Such as ranking-kuairand.")],
    overrides: OverridesArgument = None,
    label: Annotated[str, typer.Option(help="The impressions' column of what was taken.")] = "is_click",
    seeds: Annotated[str, typer.Option(help="Such as 0,1,2.")] = "0,1,2",
    cores: CoresOption = None,
    executor: ExecutorOption = "processes",
    out: Annotated[Path | None, typer.Option(help="[default: runs/ranking-RECIPE]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Rankers of shown items: ids against ids and codes, behind every search of the history: AUC, GAUC, UAUC."""
    from sidestep.durable import write_text
    from sidestep.report.ranking_table import ranking_table
    from sidestep.studies.ranking import judge_rankers

    folder = out or Path("runs") / f"ranking-{Path(recipe).stem}"
    with crew_of(executor, cores) as crew:
        rows = judge_rankers(recipe, overrides or (), read_seeds(seeds), folder, say, label, crew=crew)
    write_text(folder / "study.md", ranking_table(rows))
    show(as_json, rows, ranking_table(rows))


@app.command()
def append(
    folder: RunArgument,
    items: Annotated[Path, typer.Option(help="A file of new items, in the format of the run's items file.")],
    vectors: Annotated[Path | None, typer.Option(help="Their vectors, if the run's own come from a file.")] = None,
    existing: Annotated[
        Literal["error", "skip"], typer.Option(help="What to do with items that are already in the catalogue.")
    ] = "error",
    as_json: JsonOption = False,
) -> None:
    """Give new items IDs without changing published ones: the next version of the run's catalogue and IDs."""
    from dataclasses import asdict

    from sidestep.pipeline.run import Run
    from sidestep.workshop import append as workshop

    done = workshop.append(Run.open(folder), items, say, vectors, existing)
    show(as_json, asdict(done), done.text())


@app.command("slice")
def slice_(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN|BUNDLE", help="A run whose IDs follow content, or its bundle.")
    ],
    windows: Annotated[Path, typer.Option(help="A Parquet file: item_id, start and vectors of what is on air.")],
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it begins, for a file without a column start.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add a slice of time: what is on air now, with IDs by its content of now. Nothing is trained.

    A running server goes over to it, without a restart, when it loads the bundle again (SIGHUP or POST
    /v1/admin/reload).
    """
    from dataclasses import asdict

    from sidestep.data.times import read_time
    from sidestep.pipeline.further_slices import add

    done = add(folder, windows, None if start is None else read_time(start, "--start", absolute=True))
    show(as_json, asdict(done), done.text())


@app.command()
def requantise(
    folder: RunArgument,
    vectors: Annotated[Path, typer.Option(help="Other vectors of the run's items, for example of another time slice.")],
    out: Annotated[Path, typer.Option(help="The folder of IDs to write.")],
) -> None:
    """Quantise other vectors of the same items with the frozen codebooks; `diff` shows which IDs move."""
    from sidestep.pipeline.run import Run
    from sidestep.workshop import append as workshop

    sids = workshop.requantise(Run.open(folder), vectors, out)
    print(f"{len(sids):,} IDs written to {out}\nNext: sidestep sids diff {folder}@1 {out}")


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="RUN, RUN@VERSION, a folder of IDs, or FILE.npz[:TABLE].")],
    second: Annotated[str, typer.Argument(metavar="B", help="The same.")],
    as_json: JsonOption = False,
) -> None:
    """The difference of the IDs of A and B: kept, moved, new and gone items."""
    from dataclasses import asdict

    from sidestep.workshop.diff import compare

    difference = compare(read_source(first), read_source(second))
    show(as_json, asdict(difference), difference.text())
