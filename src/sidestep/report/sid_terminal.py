"""The report on semantic IDs as plain text: one table in full, or several side by side."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from sidestep.evaluation.codebooks import percent
from sidestep.evaluation.purity import Share
from sidestep.evaluation.sid_quality import SidQuality
from sidestep.report.sid_page import missing
from sidestep.report.terminal import figure, plain
from sidestep.workshop.report import SidFindings

PERPLEXITIES = 3
"""Number of levels whose perplexity a comparison shows, limited by the width of a line."""


def sids_text(findings: SidFindings) -> str:
    """One table with a row per level, or one line for each of several tables; below, the missing measures."""
    several = len(findings.qualities) > 1
    lines = [comparison(findings.qualities) if several else alone(findings.qualities[0])]
    for message, names in missing(findings.qualities):
        whose = "" if not names else f" ({', '.join(names) if len(names) < 4 else f'{len(names)} tables'})"
        lines.append(f"Missing: {message}{whose}")
    return "\n".join(lines)


def alone(quality: SidQuality) -> str:
    """All measures of one table."""
    sizes = " x ".join(str(level.size) for level in quality.levels)
    over = f"{quality.targets:,} test targets" if quality.targets else "all items"
    ceilings = ", ".join(f"HR@{k} {value:.4f}" for k, value in quality.ceilings.items())
    lines = [
        f"{quality.name}: {quality.items:,} items, {len(quality.levels)} levels, {sizes} codes",
        f"ICR {quality.icr:.2%}: {quality.distinct:,} distinct IDs; CUR {percent(quality.cur)}; "
        f"{quality.sharing:,} items share their ID with another, at most {quality.largest:,} items per ID",
        f"An ID returns {quality.edges:,.2f} items, a mean over items; {quality.exclusive:.2%} of the IDs have one",
        f"Ceiling, if the right ID is always predicted: {ceilings} (over {over})",
    ]
    if quality.purity:
        shares = ", ".join(f"{label} {_share(share)}" for label, share in quality.purity.items())
        lines.append(f"Purity of the 10 nearest items by ID: {shares}")
    return "\n".join(lines) + f"\n{_codes(quality)}{_common(quality)}"


def comparison(qualities: Sequence[SidQuality]) -> str:
    """One line per table, in the given order."""
    labels = list(dict.fromkeys(label for quality in qualities for label in quality.purity))
    table = _table("", "L", "ICR", "CUR", "sharing", "largest", *labels, "perplexities", gap=0)
    for quality in qualities:
        perplexities = [f"{level.perplexity:.0f}" for level in quality.levels[:PERPLEXITIES]]
        table.add_row(
            quality.name,
            str(len(quality.levels)),
            f"{quality.icr:.2%}",
            percent(quality.cur),
            f"{quality.sharing:,}",
            f"{quality.largest:,}",
            *(figure(quality.purity[label].value if label in quality.purity else None) for label in labels),
            " ".join(perplexities) + (" .." if len(quality.levels) > PERPLEXITIES else ""),
        )
    chances = {label: quality.purity[label].chance for quality in qualities for label in quality.purity}
    lines = [plain(table).rstrip("\n")]
    if chances:
        by_chance = ", ".join(f"{label} {chance:.4f}" for label, chance in chances.items())
        lines.append(f"Columns {', '.join(labels)}: purity of the 10 nearest items by ID; by chance {by_chance}.")
    return "\n".join(lines)


def items_text(prefix: Sequence[int], rows: Sequence[dict[str, Any]]) -> str:
    """The items with a prefix, from `SidFindings.rows`."""
    codes = ",".join(map(str, prefix))
    if not rows:
        return f"No item has an ID that begins with {codes}."
    table = _table("item_id", "ID", "popularity", "title", "category", left=("item_id", "ID", "title", "category"))
    for row in rows:
        popularity = "-" if row["popularity"] is None else f"{row['popularity']:,}"
        table.add_row(
            row["item_id"],
            ",".join(map(str, row["sid"])),
            popularity,
            _short(row["title"] or "-", 46),
            _short_path(row["category"] or "-", 46),
        )
    count = f"{len(rows):,} item{'' if len(rows) == 1 else 's'}"
    order = "" if rows[0]["popularity"] is None else ", the most popular first"
    return f"{count} with prefix {codes}{order}\n{plain(table)}".rstrip("\n")


def _codes(quality: SidQuality) -> str:
    """Use of codes and geometry, one row per level, without columns that are unknown for all levels."""
    optional = {
        "variance left": [level.variance_left for level in quality.levels],
        "latents left": [level.reconstruction for level in quality.levels],
        "vectors left": [level.decoded for level in quality.levels],
        "intra": [level.intra for level in quality.levels],
        "inter": [level.inter for level in quality.levels],
    }
    known = {name: values for name, values in optional.items() if any(value is not None for value in values)}
    table = _table("level", "used", "dead", "bits", "perplexity", "prefixes", "sharing", *known)
    for number, level in enumerate(quality.levels):
        table.add_row(
            str(number + 1),
            f"{level.used:,}/{level.size:,}",
            f"{level.dead:,}",
            f"{level.entropy:.2f}",
            f"{level.perplexity:.1f}",
            f"{level.prefixes:,}",
            f"{level.sharing:,}",
            *(figure(values[number]) for values in known.values()),
        )
    return plain(table)


def _common(quality: SidQuality) -> str:
    """Agreement of items with the same prefix, one row per level; empty without labels."""
    measured = list(dict.fromkeys(label for level in quality.levels for label in level.v_measure))
    shared = list(dict.fromkeys(label for level in quality.levels for label in level.together))
    if not measured and not shared:
        return ""
    names = [*(f"V-measure, {label}" for label in measured), *(f"same {label}" for label in shared)]
    table = _table("level", *names)
    for number, level in enumerate(quality.levels, start=1):
        table.add_row(
            str(number),
            *(figure(level.v_measure.get(label)) for label in measured),
            *(_share(level.together[label]) if label in level.together else "-" for label in shared),
        )
    note = "same: share of the items with the same prefix that have the same label (in brackets: by chance)"
    return f"{plain(table)}{note}"


def _table(*names: str, left: Sequence[str] = ("",), gap: int = 1) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, gap, 0, 0))
    for name in names:
        table.add_column(name, justify="left" if name in left else "right")
    return table


def _share(share: Share) -> str:
    return f"{share.value:.4f} ({share.chance:.4f})"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def _short_path(text: str, width: int) -> str:
    """The end of a path, which is its most specific part."""
    return text if len(text) <= width else ".." + text[2 - width :]
