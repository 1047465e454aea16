"""The same shop served by a graph and by PyTorch, for `serve.py`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from load import Order
from machine import rounded, table
from served import Served, Stock, write
from windows import CELLS, CLIENTS, Bench, Measured

NAMES = ("PyTorch", "graph")
ASKED = 400
"""Requests after which the memory is looked at, half of them explained."""
Found = dict[str, Any]


def by_graphs(bench: Bench, stock: Stock) -> Found:
    """Both bundles: what a server of each takes when it runs alone, and then in turns with each number of beams."""
    folders = {name: write(bench.place / f"by-{name}", stock, name == "graph") for name in NAMES}
    return {
        "alone": {name: alone(bench, folder) for name, folder in folders.items()},
        **{f"beams {beams}": in_turns(bench, folders, beams) for beams in bench.shop.beams},
    }


def alone(bench: Bench, folder: Path) -> Found:
    """The start, and the memory after some requests with the most beams. No other server shares its libraries."""
    asked = {"beams": bench.shop.beams[-1], "requests": ASKED // 2}
    with Served(folder, bench.place / f"{folder.name}-alone.log") as server:
        found: Found = {"ready after s": rounded(server.seconds), "CPU s": rounded(sum(server.cpu()))}
        for explain in (False, True):
            bodies = bench.bodies(beams=asked["beams"], explain=explain)
            bench.load.run(Order(server.port, bodies, 600, requests=asked["requests"]))
        http, model = server.memory()
    print(f"\n{folder.name}: " + ", ".join(f"{what} {value:g}" for what, value in found.items()))
    print(f"after {ASKED} requests: HTTP {http:.0f} MB, model {model:.0f} MB, together {http + model:.0f}")
    return {**found, "MB": [round(http), round(model)]}


def in_turns(bench: Bench, folders: dict[str, Path], beams: int | None) -> Found:
    """One client and many."""
    bodies, rows = bench.bodies(beams=beams), {(name, clients): Measured() for clients in CLIENTS for name in folders}
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(Served(folder, bench.place / f"{name}.log")) for name, folder in folders.items()
        }
        for _ in range(bench.rounds):
            for (name, clients), row in rows.items():
                bench.closed(row, servers[name], bodies, clients)
    print(f"\nBy a graph and by PyTorch, closed loop, beams {beams}")
    print(table([[f"{name}, {clients} clients", *row.cells()] for (name, clients), row in rows.items()], ["", *CELLS]))
    return {
        name: {
            "p50 ms, 1 client": rounded(rows[name, 1].all.within(0.5)),
            **{f"requests/s, {clients} clients": rounded(rows[name, clients].rate) for clients in CLIENTS},
        }
        for name in folders
    }
