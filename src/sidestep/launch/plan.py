"""What every stage takes at a size that is not here: core-hours, memory, storage, and where one machine ends.

No simulation: each row is a unit cost, measured by `benchmarks/scale.py` and kept in `costs.json`, times a count that
the formula names, so that a reader can check it with a pencil. The unit costs are those of the largest catalogue that
was measured, on one core without a GPU; lists of edges, propagation and the trie were measured on ten million items, by
`benchmarks/ten_million.py`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep.errors import ConfigError

COSTS = Path(__file__).with_name("costs.json")
FAR, LOG = "ten million", "log in Parquet (no stage)"
"""Where the costs hold what `benchmarks/ten_million.py` measured, and its log."""
GB = 1e9
INT, FLOAT = 8.0, 4.0
"""Bytes of a number in the arrays of a log, and in those of vectors."""
BLOCK = 3.2 * GB
"""Bytes of the blocks of a propagation, but for those of 8 columns; see `vectors.graph.columns_per_block`."""


@dataclass(frozen=True)
class Size:
    """items, users, events: of the catalogue and the log. width: dimensions of the vectors. epochs: passes of the
    generator's training over the log. history: items that a history store keeps of a user. lists: ranked lists a
    second that are to be served; 0 leaves serving out.
    """

    items: float
    users: float
    events: float
    width: int = 384
    epochs: float = 1.0
    history: int = 100
    lists: float = 0.0

    def __post_init__(self) -> None:
        for name in ("items", "users", "events", "width", "epochs", "history"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"--{name} is {getattr(self, name)}, expected a number above 0")
        if not 0 <= self.lists < math.inf:
            raise ConfigError(f"--lists is {self.lists}, expected a number of lists a second, 0 or more")
        if self.events < self.users:
            raise ConfigError(f"--events is {self.events:g}, below --users {self.users:g}: a user has an event or more")


@dataclass(frozen=True)
class Machine:
    """cores, and memory in bytes, of one machine; hours: how long a stage may take."""

    cores: int = 64
    memory: float = 256 * GB
    hours: float = 24.0

    def __post_init__(self) -> None:
        if self.cores < 1 or self.memory <= 0 or self.hours <= 0:
            raise ConfigError(
                f"A machine of {self.cores} cores, {self.memory / GB:g} GB and {self.hours:g} hours cannot work; "
                "expected --cores, --memory and --hours above 0"
            )


@dataclass(frozen=True)
class Need:
    """What a stage takes.

    core_hours: of one core as the unit costs were measured on. memory: bytes of its arrays in one process. disk: bytes
    that it writes. parallel: whether several machines can share it today. work: how the numbers follow from the size.
    limit: what our own code does not hold at this size; empty where it does.
    beyond: what to do where one machine is too small.
    """

    stage: str
    core_hours: float
    memory: float
    disk: float
    parallel: bool
    work: str
    beyond: str = ""
    limit: str = ""

    def machines(self, machine: Machine) -> int:
        """How many machines finish in time; 1 where several cannot share the work."""
        return max(math.ceil(self.core_hours / (machine.cores * machine.hours)), 1) if self.parallel else 1

    def hours(self, machine: Machine) -> float:
        """How long it takes on them: on one core where the work cannot be shared."""
        return self.core_hours / (machine.cores * self.machines(machine) if self.parallel else 1)

    def breaks(self, machine: Machine) -> str:
        """Why one machine is too small, in a few words; empty where it is not."""
        reasons = [self.limit] if self.limit else []
        if self.memory > machine.memory:
            reasons.append(f"{as_bytes(self.memory)} do not fit")
        if self.hours(machine) > machine.hours or self.machines(machine) > 1:
            reasons.append(f"{self.core_hours:,.0f} core-hours")
        return ", ".join(reasons)


def measured(path: Path = COSTS) -> dict[str, Any]:
    """The unit costs and where they were measured: see `benchmarks/scale.py --costs`."""
    costs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return costs


@dataclass(frozen=True)
class Units:
    """Core-seconds of one of each, on the largest catalogue that was measured.

    weights: stored weights of the graph an event. edge: of a row of a list of edges, 0 where none was measured. mix: of
    one weight and one dimension in all hops. tokenizer: of its whole training, on a sample of so many items.
    trie_bytes: bytes an item.
    """

    event: float
    text: float
    pair: float
    weights: float
    edge: float
    mix: float
    tokenizer: float
    sample: int
    item: float
    node: float
    trie_bytes: float
    target: float
    list: float

    @classmethod
    def of(cls, costs: Mapping[str, Any]) -> "Units":
        unit, protocol = largest(costs), costs["protocol"]
        events, items = unit["planted world"]["interactions"], unit["planted world"]["items"]
        weights, far = unit["graph"]["weights"], costs.get(FAR)
        mix = max(unit["graph and propagation"]["cpu"] - unit["graph"]["cpu"], 0) / (weights * protocol["width"])
        edge, tree = 0.0, {**unit["trie"], "items": items}
        if far is not None:
            graph, width = far["stages"]["graph from the edge list"], far["protocol"]["width"]
            edge = graph["cpu"] / far["stages"]["counting pairs"]["rows"]
            mix = far["stages"]["propagation"]["cpu"] / (graph["weights"] * width)
            tree = {**far["stages"]["trie"], "items": far["stages"][LOG]["items"]}
        return cls(
            event=unit["reading"]["cpu"] / events,
            text=unit["embedding"]["cpu"] / unit["embedding"]["texts"],
            pair=unit["graph"]["cpu"] / events,
            weights=weights / events,
            edge=edge,
            mix=mix,
            tokenizer=unit["tokenizer training"]["cpu"],
            sample=protocol["sample"],
            item=unit["assignment"]["cpu"] / items,
            node=tree["cpu"] / tree["items"],
            trie_bytes=tree["bytes an item"],
            target=unit["generator training"]["cpu"] / unit["generator training"]["targets"],
            list=unit["decoding"]["cpu"] / unit["decoding"]["users"],
        )


def largest(costs: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was measured on the largest catalogue."""
    found: Mapping[str, Any] = max(costs["sizes"].values(), key=lambda row: row["planted world"]["items"])
    return found


def plan(size: Size, costs: Mapping[str, Any]) -> list[Need]:
    """The needs of all stages, in the order in which they run."""
    u = Units.of(costs)
    n, e, d = size.items, size.events, size.width
    vectors, log = FLOAT * n * d, 2 * INT * e
    hour = 3600
    return [
        Need(
            "reading", u.event * e / hour, 2 * log, log, parallel=False,
            work=f"{_micro(u.event)} an event; four arrays of 8 bytes an event while they are sorted",
            beyond="train on the latest events or on a share of the users; count the graph elsewhere (graph.edges)",
        ),
        Need(
            "embedding", u.text * n / hour, vectors, vectors, parallel=True,
            work=f"{_micro(u.text)} a text (MiniLM on a CPU); 4 bytes a dimension",
            beyond="encode the texts in shards on GPUs and hand over a file of vectors (embed.path)",
        ),
        *_graph_needs(size, u),
        Need(
            "tokenizer", u.tokenizer / hour, FLOAT * u.sample * d, 0.0, parallel=False,
            work=f"a sample of {u.sample:,} items (tokenizer.train_items), whatever the size",
        ),
        Need(
            "assignment", u.item * n / hour, 9 * INT * n, 3 * INT * n, parallel=True,
            work=f"{_micro(u.item)} an item; three codes, 72 bytes an item while they are made in one process, and "
            "vectors that stay on the disk",
            beyond="`sidestep batch assign` over a folder of vectors, by several workers, here or on Ray",
        ),
        Need(
            "trie", u.node * n / hour, u.trie_bytes * n, 0.0, parallel=False,
            work=f"{_micro(u.node)} and {u.trie_bytes:.0f} bytes an item",
            beyond="a model for each part of the catalogue, such as one a country",
        ),
        Need(
            "training", u.target * e * size.epochs / hour, log, 0.0, parallel=True,
            work=f"{_micro(u.target)} a target and epoch ({size.epochs:g}), S2GR at TIGER's size; the log in memory",
            beyond="torchrun over several machines, GPUs, and fewer targets, such as the latest of each user",
        ),
        Need(
            "lists for all users", u.list * size.users / hour, log, 10 * (INT + FLOAT) * size.users, parallel=True,
            work=f"{_micro(u.list)} a list of ten at beam 50",
            beyond="divide the users among processes, and leave out those who are not active",
        ),
        Need(
            "history store", 0.0, 0.0, INT * size.history * size.users, parallel=True,
            work=f"8 bytes for each of {size.history} items of a user, in Redis or on disk",
        ),
    ]  # fmt: skip


def _graph_needs(size: Size, u: Units) -> list[Need]:
    """Of the graph, counted here or elsewhere, and of the propagation over it."""
    n, weights, hour = size.items, u.weights * size.events, 3600
    block = max(min(4 * FLOAT * 64 * n, BLOCK), 4 * FLOAT * 8 * n)
    elsewhere = Need(
        "graph, counted elsewhere", u.edge * weights / 2 / hour, 30 * n + 2 * GB, 18 * weights, parallel=False,
        work=f"{_micro(u.edge)} an edge, sorted on the disk (36 bytes an edge meanwhile)",
        beyond="leave out rare edges: HAVING count > 1 in the SQL of docs/scale.md",
    )  # fmt: skip
    return [
        Need(
            "graph", u.pair * size.events / hour, (INT + FLOAT) * weights, 0.0, parallel=False,
            work=f"{_micro(u.pair)} an event; {u.weights:.1f} weights of 12 bytes an event, an upper bound, since "
            "pairs repeat as a log grows",
            beyond="count the edges in a warehouse, without rare ones, by the SQL of docs/scale.md (graph.edges)",
        ),
        *([elsewhere] if u.edge else []),
        Need(
            "propagation", u.mix * weights * size.width / hour, 3 * INT * n + block + 0.4 * GB,
            FLOAT * n * size.width + 2 * FLOAT * weights, parallel=False,
            work=f"{u.mix * 1e9:.2g} ns a weight and dimension; four blocks of up to 64 columns; vectors and weights "
            "stay on the disk",
            beyond="leave out edges that few users share, or use text and behaviour alone (graph.enabled=false)",
            limit="more than 2^31 weights" if weights > 2**31 else "",
        ),
    ]  # fmt: skip


def serving_cores(size: Size, costs: Mapping[str, Any]) -> float:
    """Cores that answer `size.lists` lists a second in batches, busy all the time."""
    return size.lists * Units.of(costs).list


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.2g} us" if seconds < 1e-3 else f"{seconds * 1e3:.2g} ms"


def as_bytes(number: float) -> str:
    """A number of bytes as people read it."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{number:.3g} {unit}"
