"""The outcome of a study from its cells: blocks of rows, curves, groups, costs, and the test of a stated shape."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sidestep.data.interactions import Ints
from sidestep.errors import DataError
from sidestep.evaluation.ranking import Seen
from sidestep.evaluation.seeds import Spread, spread, spread_of
from sidestep.evaluation.significance import Comparison
from sidestep.methods.table import OWN_COUNTS_BY_HOUR
from sidestep.studies.averages import averaged, compared, group_of, interval, lengths_of, samples, users_of
from sidestep.studies.cells import GRID, CellResult, Users
from sidestep.studies.outcome import Block, CellStatus, Cost, Curves, Entry, Outcome, Spot
from sidestep.studies.papers import is_beauty
from sidestep.studies.rows import METRICS, Published, Row, Slot, Study
from sidestep.studies.shapes import Gain, Verdict, ends_over_middle, rise_then_fall, steady_gap

CellsByRow = Mapping[tuple[str, str], Sequence[CellResult]]
"""The finished cells, in the order of their seeds, by name of the row and ties."""


def join(
    study: Study,
    recipe: str,
    overrides: Sequence[str],
    seeds: Sequence[int],
    planned: Sequence[tuple[Slot, CellResult | None, float | None]],
    against: str | None = None,
) -> Outcome:
    """The outcome of the finished cells.

    planned: every slot with its cell, or None and the expected minutes. against: the row that all others are tested
    against, instead of each row's own.

    Raises:
        ConfigError: an unknown row in `against`. DataError: cells of different data.
    """
    if against is not None:
        study.row(against)
    rows = tuple({slot.row.name: slot.row for slot, _, _ in planned}.values())
    cells = {key: [cell for slot, cell, _ in planned if cell and (slot.row.name, slot.ties) == key]
             for key in dict.fromkeys((slot.row.name, slot.ties) for slot, _, _ in planned)}  # fmt: skip
    finished = [cell for group in cells.values() for cell in group]
    states = tuple(CellStatus(s.row.name, s.ties, s.seed, cell is not None, minutes) for s, cell, minutes in planned)
    outcome = Outcome(study, recipe, tuple(overrides), _data(finished), tuple(seeds), states)
    if not finished:
        return outcome
    blocks = tuple(
        _block(rows, cells, ties, seen, users, against, _beauty(finished))
        for ties in dict.fromkeys(slot.ties for slot, _, _ in planned)
        for seen, users in GRID
        if any(cells.get((row.name, ties)) for row in rows)
    )
    outcome = replace(
        outcome,
        blocks=tuple(block for block in blocks if block.num_users),
        protocol=_protocol(
            finished, list(dict.fromkeys(row for (row, _), group in cells.items() if any(map(_told, group))))
        ),
        machines=tuple(dict.fromkeys(_machine(cell) for cell in finished)),
    )
    return _with_extras(outcome, rows, {row: group for (row, ties), group in cells.items() if ties == blocks[0].ties})


def _block(
    rows: Sequence[Row], cells: CellsByRow, ties: str, seen: Seen, users: Users, against: str | None, beauty: bool
) -> Block:
    size, entries = 0, []
    for row in rows:
        group = cells.get((row.name, ties))
        if group is None:
            continue
        size = size or sum(len(np.unique(cell.users[cell.chosen(users)])) for cell in group[:1])
        published = next((p for p in row.published if beauty and ties == "file" and p.fits(users, seen)), None)
        other = row.against if against is None else against
        rival = [] if other is None or other == row.name else cells.get((other, ties), [])
        test = compared(rival, group, seen, users) if rival and group else None
        entries.append(_entry(row, group, seen, users, published, other, test))
    return Block(ties, seen, users, size, tuple(entries))


def _entry(
    row: Row,
    group: Sequence[CellResult],
    seen: Seen,
    users: Users,
    published: Published | None,
    against: str | None,
    test: Comparison | None,
) -> Entry:
    if not any(cell.chosen(users).any() for cell in group):
        return Entry(row, against=against)
    figures = {name: spread(samples(group, seen, users, name)) for name in METRICS}
    return Entry(
        row,
        tuple(cell.seed for cell in group),
        figures,
        interval(averaged(group, seen, users), users_of(group, users)),
        published,
        against,
        test,
        _beyond(group, seen) if users == "all" else {},
        _epochs(group),
        tuple(cell.balance for cell in group if cell.balance is not None),
    )


def _with_extras(outcome: Outcome, rows: Sequence[Row], cells: Mapping[str, Sequence[CellResult]]) -> Outcome:
    """The outcome with curves, groups, costs and analysis, for the protocol of the first block."""
    study, main = outcome.study, outcome.blocks[0]
    seen, users = _place(main)
    if study.kind == "curve":
        curves = _curves(study, rows, cells, seen, users)
        outcome = replace(outcome, curves=curves, verdict=_shape(study, rows, cells, seen, users))
    if study.costs:
        outcome = replace(outcome, costs=_costs(rows, cells, seen, users))
    if study.kind == "lengths" and cells.get("tiger") and cells.get("s2gr"):
        groups, verdict = by_length(cells["tiger"], cells["s2gr"], seen)
        outcome = replace(outcome, groups=groups, verdict=verdict)
    if study.analysis:
        analysis = {row.name: _analysis(cells[row.name]) for row in rows if cells.get(row.name)}
        outcome = replace(outcome, analysis=analysis)
    return outcome


def _curves(
    study: Study, rows: Sequence[Row], cells: Mapping[str, Sequence[CellResult]], seen: Seen, users: Users
) -> tuple[Curves, ...]:
    lines: dict[str, list[Spot]] = {}
    across: list[tuple[str, float]] = []
    for row in rows:
        if not cells.get(row.name):
            continue
        values = averaged(cells[row.name], seen, users)
        if row.at is None:
            across.append((row.name, float(values.mean())))
        else:
            ends = interval(values, users_of(cells[row.name], users))
            lines.setdefault(row.line, []).append(Spot(row.name, row.at, float(values.mean()), *ends))
    if study.axis:
        return (Curves(study.axis, lines, across),) if lines else ()
    return tuple(Curves(name, {"": spots}) for name, spots in lines.items())


def _shape(
    study: Study, rows: Sequence[Row], cells: Mapping[str, Sequence[CellResult]], seen: Seen, users: Users
) -> Verdict | None:
    placed = sorted((row for row in rows if row.at is not None and cells.get(row.name)), key=lambda row: row.at or 0)
    seeds = [{cell.seed for cell in cells[row.name]} for row in placed]
    if not seeds or not set.intersection(*seeds):
        return None
    means = {row.name: float(averaged(cells[row.name], seen, users).mean()) for row in placed}
    if study.shape == "rise then fall":
        names = [row.name for row in placed]

        def between(one: int, other: int) -> Comparison:
            return _pair(cells[names[one]], cells[names[other]], seen, users)

        return rise_then_fall(names, [means[name] for name in names], between)
    if study.shape == "steady gap":
        lines = {line: {row.at: row for row in placed if row.line == line} for line in ("tiger", "s2gr")}
        sizes = [at for at in lines["tiger"] if at in lines["s2gr"]]
        first, second = ([lines[line][at] for at in sizes] for line in ("tiger", "s2gr"))
        gaps = [_pair(cells[a.name], cells[b.name], seen, users) for a, b in zip(first, second, strict=True)]
        one, other = ([means[row.name] for row in line] for line in (first, second))
        return steady_gap([f"{at:g} layers" for at in sizes], one, other, gaps)
    return None


def _pair(first: Sequence[CellResult], second: Sequence[CellResult], seen: Seen, users: Users) -> Comparison:
    comparison = compared(first, second, seen, users)
    assert comparison is not None
    return comparison


def by_length(
    first: Sequence[CellResult], second: Sequence[CellResult], seen: Seen
) -> tuple[tuple[tuple[str, int, Gain], ...], Verdict]:
    """Name, number of users and relative gain of every group of history lengths, and the test of whether the ends gain
    more than the middle.
    """
    shared = {cell.targets for cell in first} & {cell.targets for cell in second}
    first, second = ([cell for cell in group if cell.targets in shared] for group in (first, second))
    if not shared:
        return (), Verdict("open", "The two have no targets in common.")
    lengths = lengths_of(first)
    member = group_of(lengths)
    one, other = averaged(first, seen, "all"), averaged(second, seen, "all")
    numbers = range(int(member.max()) + 1)
    names = [_span(lengths[member == number]) for number in numbers]
    whose = users_of(first, "all")
    groups = [(one[member == n], other[member == n], None if whose is None else whose[member == n]) for n in numbers]
    gains, verdict = ends_over_middle(names, groups)
    sizes = [len(values) if users is None else len(np.unique(users)) for values, _, users in groups]
    return tuple(zip(names, sizes, gains, strict=True)), verdict


def _span(lengths: Ints) -> str:
    low, high = int(lengths.min()), int(lengths.max())
    return f"{low}\N{EN DASH}{high}" if low < high else f"{low}"


def _costs(
    rows: Sequence[Row], cells: Mapping[str, Sequence[CellResult]], seen: Seen, users: Users
) -> tuple[Cost, ...]:
    costs = (_cost(row.name, cells[row.name], seen, users) for row in rows if cells.get(row.name))
    return tuple(cost for cost in costs if cost is not None)


def _place(block: Block) -> tuple[Seen, Users]:
    return next(place for place in GRID if place == (block.seen, block.users))


def _beyond(group: Sequence[CellResult], seen: Seen) -> dict[str, float]:
    """The figures of the grid beyond accuracy, as means over the seeds."""
    names = ("coverage", "gini", "popularity", "novelty", "given HR@1", "given HR@5", "given NDCG@5", "kept")
    figures = {name: [cell.mean(seen, "all", name) for cell in group] for name in names}
    return {name: float(np.mean([v for v in values if v is not None])) for name, values in figures.items()
            if all(value is not None for value in values)}  # fmt: skip


def _epochs(group: Sequence[CellResult]) -> str:
    """Completed and configured epochs, such as 12-14 of 16; empty for a method without training."""
    done = sorted(cell.training.done for cell in group if cell.training)
    configured = sorted({cell.training.asked for cell in group if cell.training})
    if not done:
        return ""
    most = f"\N{EN DASH}{done[-1]}" if done[-1] != done[0] else ""
    return f"{done[0]}{most} of {' or '.join(map(str, configured))}"


def _cost(row: str, group: Sequence[CellResult], seen: Seen, users: Users) -> Cost | None:
    trained = [cell.training for cell in group if cell.training]
    if not trained:
        return None
    seconds = [training.seconds / max(training.done, 1) for training in trained if training.seconds is not None]
    decoding = [value for cell in group for name, value in _leaves(cell.analysis or {}) if "seconds" in name]
    return Cost(
        row,
        trained[0].parameters,
        float(np.mean(seconds)) if seconds else None,
        float(np.mean(decoding)) if decoding else None,
        float(averaged(group, seen, users).mean()),
    )


def _analysis(group: Sequence[CellResult]) -> dict[str, Spread]:
    """Every number of the cells' analysis, by dotted name."""
    numbers: dict[str, list[float]] = {}
    for cell in group:
        for name, value in _leaves(cell.analysis or {}):
            numbers.setdefault(name, []).append(value)
    return {name: spread_of(values) for name, values in numbers.items()}


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of nested JSON; list positions count from 1, like levels."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name} {key}".strip())
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value, start=1):
            yield from _leaves(inner, f"{name} {place}".strip())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def _data(cells: Sequence[CellResult]) -> str:
    """The data of the cells in words; planted data is different for every seed.

    Raises:
        DataError: cells are of different data.
    """
    if not cells:
        return "data without any cell yet"
    logs: dict[tuple[int | None, str], CellResult] = {}
    strange = [cell for cell in cells if not logs.setdefault((_drawn(cell), cell.ties), cell).data.fits(cell.data)]
    strange += [cell for cell in cells if cell.data.name != cells[0].data.name]
    if strange:
        raise DataError(
            f"The cells {cells[0].place} and {strange[0].place} of this study have different data; remove the wrong "
            "ones, or name another --cells folder"
        )
    counts = [
        f"{_range([getattr(cell.data, name) for cell in cells])} {name}" for name in ("users", "items", "interactions")
    ]
    return f"{cells[0].data.name}: {', '.join(counts)}"


def _drawn(cell: CellResult) -> int | None:
    """The seed that the log itself depends on, if any."""
    return cell.seed if cell.ties == "shuffled" or cell.settings.get("data.source") == "planted" else None


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _beauty(cells: Sequence[CellResult]) -> bool:
    data = cells[0].data
    return cells[0].split == "leave-one-out" and is_beauty(data.users, data.items, data.interactions)


def _protocol(cells: Sequence[CellResult], told: Sequence[str]) -> str:
    """told: the rows that know when the next item is asked for."""
    splits, depths, beams = (
        " or ".join(map(str, sorted({value for value in values if value is not None})))
        for values in ([c.split for c in cells], [c.k for c in cells], [c.beams for c in cells])
    )
    among = "their own log-probabilities, over the full codebook but where a row names the trie"
    searched = f"; generators search {beams} beams and score by {among}" if beams else ""
    relative = cells[0].settings.get("data.absolute_times") is False
    timed = " (times of different users cannot be compared here, so no split by time)" if relative else ""
    known = "; rows that know the request's time, which is the target's own: " + ", ".join(told) if told else ""
    return f"Protocol: {splits}{timed}, full ranking of lists of {depths} at item level{searched}{known}"


def _told(cell: CellResult) -> bool:
    return cell.method == OWN_COUNTS_BY_HOUR or cell.settings.get("time.request") is True


def _machine(cell: CellResult) -> str:
    machine = cell.machine
    return f"{machine.cpu}, {machine.cores} cores, torch {machine.torch}, Sidestep {machine.sidestep}"
