"""Results as plain text: tables and paths that fit a terminal and survive a pipe."""

import io
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from sidestep.evaluation.metrics import GIVEN

if TYPE_CHECKING:
    from sidestep.methods.keys import KeysOf
    from sidestep.pipeline.evaluate import Evaluation
    from sidestep.pipeline.recommend import Answered
    from sidestep.pipeline.standings import Standings
    from sidestep.recommenders.step import Step

SHOWN = ("HR", "NDCG")
LOOKED_UP = 3
"""How many of the items that were looked up are shown with a step of a path."""
WIDEST = 1000
"""Maximum width of a table. A table is as wide as its content, since a truncated figure is useless."""


def metrics_table(result: "Evaluation") -> str:
    """One row per method, user group and treatment of seen items; below, the protocol and notes."""
    table = Table(box=box.SIMPLE)
    metrics = [f"{name}@{k}" for name in SHOWN for k in result.at]
    for name in ("method", "users", "seen"):
        table.add_column(name)
    for name in ("n", *metrics, f"SID-level {result.main}", "invalid"):
        table.add_column(name, justify="right")
    for row in result.table.sort("users", "seen", descending=[True, True], maintain_order=True).to_dicts():
        table.add_row(
            *(str(row[name]) for name in ("method", "users", "seen")),
            f"{row['num_users']:,}",
            *(figure(row[name]) for name in metrics),
            figure(row.get(f"sid_{result.main}")),
            figure(row["invalid"]),
        )
    lines = [plain(table), f"Protocol: {result.protocol}."]
    lines.append(
        "SID-level HR counts any item with the right semantic ID as a hit: optimistic, given because others report it."
    )
    if "coverage" in result.table.columns:
        lines.append(_beyond(result))
    if result.second_look:
        lines.append(_second_look(result.second_look))
    if result.best_possible is not None:
        lines.append(_against_best(result, result.best_possible))
    return "\n".join(lines)


def _second_look(rows: Sequence[Mapping[str, Any]]) -> str:
    """The first order beside the new one: of the cases that a second look can change, and of all."""
    table = Table(box=box.SIMPLE)
    for name in ("users", "seen"):
        table.add_column(name)
    for name in ("n", "left as it was", *(f"{name} given" for name in GIVEN), "NDCG@10", "difference", "95 %", "p"):
        table.add_column(name, justify="right")
    for row in rows:
        pairs = [f"{figure(row[f'{name}, first'])} > {figure(row[f'{name}, new'])}" for name in GIVEN]
        table.add_row(
            *(str(row[name]) for name in ("users", "seen")),
            f"{row['num_given']:,} of {row['num_cases']:,}",
            "-" if row["kept"] is None else f"{row['kept']:.1%}",
            *pairs,
            f"{row['first']:.4f} > {row['new']:.4f}",
            f"{row['difference']:+.4f}",
            f"{row['low']:+.4f} to {row['high']:+.4f}",
            f"{row['p']:.4f}",
        )
    return (
        f"\nFirst order > new order:\n{plain(table)}"
        "given: of the n cases alone whose target is among the candidates, which a new order can change; NDCG@10 is\n"
        "of all cases, its difference with a paired bootstrap over users. left as it was: share of the lists in the\n"
        "first order."
    )


def _beyond(result: "Evaluation") -> str:
    """Coverage, popularity and novelty of the recommendations to all users."""
    table = Table(box=box.SIMPLE)
    for name in ("method", "seen"):
        table.add_column(name)
    for name in ("coverage", "Gini", "popularity", "novelty"):
        table.add_column(name, justify="right")
    for row in result.table.to_dicts():
        if row["users"] == "all":
            shares = (figure(row[name]) for name in ("coverage", "gini", "popularity"))
            novelty = "-" if row["novelty"] is None else f"{row['novelty']:.1f} bits"
            table.add_row(row["method"], row["seen"], *shares, novelty)
    return (
        f"\nThe first 10 of all users' lists:\n{plain(table)}"
        "coverage: share of all items that are recommended at least once; Gini: 0 if all items have equally many\n"
        "recommendations, 1 if one item has all; popularity: mean percentile in training; novelty: mean -log2 of the\n"
        "share of the training interactions."
    )


def _against_best(result: "Evaluation", best: float) -> str:
    lines = [f"\n{result.main}, all users, seen kept. Best possible in this planted data: {best:.4f}"]
    rows = [row for row in result.table.to_dicts() if row["users"] == "all" and row["seen"] == "kept"]
    width = max((len(row["method"]) for row in rows), default=0)
    for row in rows:
        lines.append(f"  {row['method']:{width}} {row[result.main]:.4f}  {row[result.main] / best:6.1%} of it")
    return "\n".join(lines)


def comparison_table(rows: Sequence[dict[str, Any]], first: str, second: str) -> str:
    """The second run minus the first, with its 95 % interval and two-sided p."""
    table = Table(box=box.SIMPLE)
    for name in ("seen", "users", "n", "metric", "A", "B", "B - A", "95 % interval", "p"):
        table.add_column(name, justify="left" if name in ("seen", "users", "metric") else "right")
    for row in rows:
        table.add_row(
            row["seen"], row["users"], f"{row['num_users']:,}", row["metric"], figure(row["first"]),
            figure(row["second"]), f"{row['difference']:+.4f}", f"{row['low']:+.4f} .. {row['high']:+.4f}",
            f"{row['p']:.4f}",
        )  # fmt: skip
    return f"A = {first}\nB = {second}\n{plain(table)}Paired bootstrap over users, 10,000 draws, two-sided."


def standings_table(found: "Standings", names: Sequence[str] = "AB") -> str:
    """All methods of two runs, the best first, with the share of the best possible. names: of the runs."""
    table = Table(box=box.SIMPLE)
    best = found.best_possible
    table.add_column("")
    for name in (*found.metrics, *(["of the best possible"] if best is not None else [])):
        table.add_column(name, justify="right")
    if best is not None:
        table.add_row("best possible", figure(best))
    for row in found.rows:
        label = row.method if row.run is None else f"{row.method} ({names[row.run]})"
        share = [] if best is None else [f"{row.figures[0] / best:.1%}"]
        table.add_row(label, *map(figure, row.figures), *share)
    return f"All methods, {found.num_users:,} cases of all users, seen items {found.seen}:\n{plain(table)}".rstrip()


def study_table(rows: Sequence[dict[str, Any]]) -> str:
    """One row per variant: the mean over seeds and, with several seeds, the standard deviation."""
    table = Table(box=box.SIMPLE)
    names = list(dict.fromkeys(name for row in rows for name in row["mean"]))
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row["row"], *(_spread(row, name) for name in names))
    seeds = ", ".join(map(str, rows[0]["seeds"]))
    purity = "Columns category, brand, co-purchase: purity of the 10 nearest items by ID."
    if len(rows[0]["seeds"]) == 1:
        return f"{plain(table)}Seed {seeds} alone: no standard deviation over seeds. {purity}"
    return f"{plain(table)}Mean over seeds {seeds}, \N{PLUS-MINUS SIGN} standard deviation. {purity}"


def study_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The same table as Markdown."""
    names = list(dict.fromkeys(name for row in rows for name in row["mean"]))
    lines = [["", *names], ["---"] * (len(names) + 1)]
    lines += [[row["row"], *(_spread(row, name) for name in names)] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _spread(row: dict[str, Any], name: str) -> str:
    if name not in row["mean"]:
        return "-"
    share = name in ("ICR", "CUR")
    is_count = name in ("sharing", "largest") or name.startswith("perpl.")
    scale, decimals = (100, 3 if name == "CUR" else 2) if share else (1, 1 if is_count else 4)
    spread = f" \N{PLUS-MINUS SIGN} {scale * row['deviation'][name]:,.{decimals}f}" if len(row["seeds"]) > 1 else ""
    return f"{scale * row['mean'][name]:,.{decimals}f}{spread}{' %' if share else ''}"


def answers_text(answers: Sequence["Answered"]) -> str:
    return "\n\n".join(_answer_text(answered) for answered in answers)


def _answer_text(answered: "Answered") -> str:
    answer = answered.answer
    count = len(answered.history)
    lines = [f"{answered.asked}: after {count} item{'' if count == 1 else 's'}"]
    if answered.recent:
        lines[0] += f", the last: {' -> '.join(answered.recent)}"
    if answer.unknown:
        lines.append(f"  skipped unknown items: {', '.join(answer.unknown)}")
    if answer.by == "popularity":
        lines.append("  no history: these are the most popular items")
    for rank, item in enumerate(answer.recommendations, start=1):
        title = "" if item.title == item.item_id else f"  {item.title}"
        lines.append(f"{rank:3}. {item.item_id}{title}  ({item.score:.2f})")
        lines += [f"       because: {'; '.join(item.reasons)}"] if item.reasons else []
        lines += [f"       {line}" for line in path_lines(item.path or ())]
    if not answer.recommendations:
        lines.append("  no item is left to recommend")
    return "\n".join(lines)


def path_lines(path: "Sequence[Step]") -> list[str]:
    """A line for every level that decides something, and one for those that do not."""
    lines = [_step_text(step) for step in path if step.decides]
    rest = [step for step in path if not step.decides]
    if rest:
        codes = ", ".join(f"{step.code} at level {step.level}" for step in rest)
        log_prob = sum(step.log_prob for step in rest)
        lines.append(f"nothing left to decide: code {codes} (log p {log_prob:.2f})")
    return lines


def _step_text(step: "Step") -> str:
    prefix = _thought_text(step)
    if step.looked_up:
        last = ", ".join(each.title for each in step.looked_up[:LOOKED_UP])
        prefix += f"{len(step.looked_up)} looked up, the last: {last} -> "
    left = "this item" if step.num_items == 1 else f"{step.num_items:,} items: {step.name}"
    return f"level {step.level}: {prefix}code {step.code} (log p {step.log_prob:.2f}) leaves {left}"


def _thought_text(step: "Step") -> str:
    """What the thought holds likely, and the nearest clusters that lead anywhere; empty without a thought."""
    nearest = " | ".join(f"{each.name} {each.probability:.0%}" for each in step.clusters if each.num_items)
    held = step.thinks_of
    if held is None:
        return f"thought {nearest} -> " if nearest else ""
    share = f"{held.probability:.0%} of its probability in {len(held.clusters)} of {held.possible} clusters"
    said = f"thinks of {held.name} ({share})" if held.name else f"undecided ({share}, of {held.num_items:,} items)"
    return f"{said}, nearest {nearest} -> " if nearest else f"{said} -> "


def figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def keys_text(sections: Sequence["KeysOf"]) -> str:
    """The keys of recipe sections, one below the other. Keys that share a meaning stand together."""
    lines = []
    for section in sections:
        lines.append(f"[{section.name}]  {section.text}" if section.name else section.text)
        lines.append("")
        for number, key in enumerate(section.keys):
            default = f"; default: {key.default}" if key.default else ""
            lines.append(f"  {key.name:28} {key.type}{default}")
            follower = section.keys[number + 1] if number + 1 < len(section.keys) else None
            if follower is None or follower.text != key.text:
                lines += wrap(
                    key.text, 100, initial_indent="      ", subsequent_indent="      ", break_long_words=False
                )
        lines.append("")
    return "\n".join(lines).rstrip()


def plain(table: Table) -> str:
    """A table as text, as wide as its content."""
    console = Console(file=io.StringIO(), width=WIDEST, no_color=True, markup=False, emoji=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
