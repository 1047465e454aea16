"""`make bench-serve`: what a server answers, how soon, and how much of the library's gain its batching keeps.

A server with batching, one without, and the library itself on one thread take turns (A, B, C, A, B, C), so that a slow
minute of the machine falls on all. Every request carries another history and bars what it holds. The load is a process
of its own (`load.py`) that shares the machine with the server; the tables say how many cores each process took.
"""

import argparse
import multiprocessing
import random
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from graph_served import by_graphs
from load import Generator, Order, together
from machine import report, rounded, table
from served import Served, Shop, Stock, library, made_up, write
from shop import open_shop
from windows import CELLS, CLIENTS, Bench, Measured, ratio

MANY_ITEMS = 1_000_000
BEAMS, MAX_BATCH = (10, 50), 32
LOADS, OVERLOAD, DEADLINE_MS = (0.5, 0.8), 3.0, 1_000
"""Shares of the capacity at which requests arrive; and the overload's deadline."""
USUAL_MS, LONG_MS, MANY_CLIENTS = 2_000, 60_000, (16, 64)
"""The server's deadline by default, and one that nobody misses; and who compares them."""
IN_STOCK = 0.8
MEMORY, LONG = (1_000, 4_000), (5_000, 50_000)
"""Requests after which the memory is looked at."""
CROWD, TO_LIBRARY = 16, 128
"""Clients while bundles are reloaded and filters compared; and histories that the library is asked at a time."""
Found = dict[str, Any]


def closed_loops(
    bench: Bench, batching: Served, single: Served, ask: Callable[[int | None, int], float], beams: int | None
) -> tuple[Found, float]:
    """Clients who ask as soon as they are answered, beside the library; and the capacity, in requests a second."""
    bodies = bench.bodies(beams=beams)
    servers = {MAX_BATCH: batching, 1: single}
    rows = {(clients, most): Measured() for clients in CLIENTS for most in servers}
    alone: dict[int, list[float]] = {1: [], MAX_BATCH: []}
    for _ in range(bench.rounds):
        for batch, rates in alone.items():
            rates.append(ask(beams, batch))
        for (clients, most), row in rows.items():
            bench.closed(row, servers[most], bodies, clients)
    print(f"\nClosed loop, beams {beams}, {bench.rounds} x {bench.seconds:g} s or more; cores of each process")
    shown = [[f"{clients} clients, batches to {most}", *row.cells()] for (clients, most), row in rows.items()]
    library_rows = [
        [f"the library, batch {batch}", f"{median(rates):.0f}", *[""] * 5] for batch, rates in alone.items()
    ]
    print(table(library_rows + shown, ["", *CELLS]))
    many, rate = max(CLIENTS), {key: row.rate for key, row in rows.items()}
    gain = median(alone[MAX_BATCH]) / median(alone[1])
    kept = ratio(rate[many, MAX_BATCH], rate[many, 1])
    found = {
        "library's gain, batch 32 over 1": gain,
        f"server's gain at {many} clients, batches to 32 over 1": kept,
        "server's gain of the library's": kept / gain,
        f"server's gain, {many} clients over 1": ratio(rate[many, MAX_BATCH], rate[1, MAX_BATCH]),
        "least of batching over none, any clients": min(ratio(rate[few, MAX_BATCH], rate[few, 1]) for few in CLIENTS),
        "server's rate of the library's at batch 32": rate[many, MAX_BATCH] / median(alone[MAX_BATCH]),
    }
    print("  ".join(f"{name} {value:.2f};" for name, value in found.items()))
    refused = sum(row.all.bad for row in rows.values())
    each = {f"requests/s, {clients} clients, batches to {most}": value for (clients, most), value in rate.items()}
    return {**_rounded(found), **_rounded(each), "not 200": refused}, rate[many, MAX_BATCH]


def open_loops(bench: Bench, server: Served, beams: int | None, capacity: float) -> Found:
    """Requests that come when they come."""
    bodies, rows = bench.bodies(beams=beams), {share: Measured() for share in LOADS}
    for _ in range(bench.rounds):
        for share, row in rows.items():
            bench.open(row, server, bodies, share * capacity)
    print(f"\nOpen loop (Poisson), beams {beams}; capacity: {capacity:.0f} requests/s; times from the moment due")
    shown = [[f"{s:.0%} of capacity", *row.cells(), f"{row.all.late_ms:.1f}"] for s, row in rows.items()]
    print(table(shown, ["", *CELLS, "load late, p99 ms"]))
    return {
        f"{share:.0%} of capacity": {
            "p50 ms": rounded(row.all.within(0.5)),
            "p99 ms": rounded(row.all.within(0.99)),
            "not 200": row.all.bad,
        }
        for share, row in rows.items()
    }


def deadlines(bench: Bench, server: Served, beams: int | None) -> Found:
    """Clients with the default deadline beside clients with a long one: nobody is to be refused whose answer would have
    been in time, and no batch is to be smaller for it.
    """
    bodies = {ms: bench.bodies(beams=beams, deadline_ms=ms) for ms in (USUAL_MS, LONG_MS)}
    rows = {(clients, ms): Measured() for clients in MANY_CLIENTS for ms in bodies}
    for _ in range(bench.rounds):
        for (clients, ms), row in rows.items():
            bench.closed(row, server, bodies[ms], clients)
    print(f"\nDeadlines, closed loop, beams {beams}")
    shown = [[f"{clients} clients, {ms} ms", *row.cells(), str(row.all.bad)] for (clients, ms), row in rows.items()]
    print(table(shown, ["", *CELLS, "refused"]))
    return {
        f"{clients} clients": {
            "of a long deadline's rate": rounded(ratio(rows[clients, USUAL_MS].rate, rows[clients, LONG_MS].rate)),
            "p99 of the deadline": rounded(rows[clients, USUAL_MS].all.within(0.99) / USUAL_MS),
            "refused": rows[clients, USUAL_MS].all.bad,
        }
        for clients in MANY_CLIENTS
    }


def overload(bench: Bench, server: Served, beams: int | None, capacity: float) -> Found:
    """Three times what can be answered, every request with a deadline."""
    row = Measured()
    bench.open(row, server, bench.bodies(beams=beams, deadline_ms=DEADLINE_MS), OVERLOAD * capacity)
    every = row.all
    total = sum(every.statuses.values())
    shed = every.statuses.get("503", 0)
    print(f"\nOverload, beams {beams}: {OVERLOAD:g} x capacity, deadline {DEADLINE_MS} ms; of what was accepted")
    print(table([[f"{OVERLOAD * capacity:.0f} a second", *row.cells()]], ["", *CELLS]))
    found = {
        "accepted's p99 of the deadline": every.within(0.99) / DEADLINE_MS,
        "accepted of the capacity": every.rate / capacity,
        "shed": ratio(shed, total),
    }
    print("  ".join(f"{name} {value:.2f};" for name, value in found.items()))
    other = total - shed - every.good
    print(f"503 without Retry-After: {every.unsaid} of {shed}; other failures: {other}")
    return {**_rounded(found), "503 without Retry-After": every.unsaid, "other failures": other}


def reloads(bench: Bench, server: Served, beams: int | None) -> Found:
    """Two, one after the other, while clients ask."""
    order = Order(server.port, bench.bodies(beams=beams), 2.0, CROWD)
    outcomes = [bench.load.run(order)]
    with ThreadPoolExecutor(1) as beside:
        told = [beside.submit(server.admin, "POST", "/reload") for _ in range(2)]
        while not all(each.done() for each in told):
            outcomes.append(bench.load.run(order))
    done, every = [each.result() for each in told], together(outcomes)
    print(f"\nTwo reloads under the load of {CROWD} clients, beams {beams}")
    print(
        f"{', '.join(f'status {status} after {took:.1f} s' for status, took in done)}; {every.good:,} requests "
        f"answered, p99 {outcomes[0].within(0.99):.0f} ms before and {together(outcomes[1:]).within(0.99):.0f} ms "
        f"meanwhile; failures: {every.bad}"
    )
    return {"reloads": [status for status, _ in done], "answered": every.good, "failures": every.bad}


def memory(bench: Bench, shop: Shop, marks: tuple[int, int], beams: int | None) -> Found:
    """A fresh server's resident memory, after some requests of every kind and after many."""
    files = [bench.bodies(beams=beams, **asked) for asked in _kinds(bench).values()]
    mixed = bench.place / "mixed.jsonl"
    parts = [Path(file).read_text(encoding="utf-8").splitlines() for file in files]
    mixed.write_text("".join(f"{line}\n" for lines in zip(*parts, strict=True) for line in lines), encoding="utf-8")
    seen, bad = [], 0
    with Served(shop.folder, bench.place / "memory.log") as server:
        _stock(bench, server)
        for requests in (marks[0], marks[1] - marks[0]):
            outcome = bench.load.run(Order(server.port, str(mixed), 3_600, MAX_BATCH, requests=requests))
            seen.append(server.memory())
            bad += outcome.bad
    grown = [after / before - 1 for before, after in zip(*seen, strict=True)]
    print("\nResident memory, MB")
    shown = [
        [f"after {mark:,} requests", *(f"{mb:.0f}" for mb in each)] for mark, each in zip(marks, seen, strict=True)
    ]
    print(table([*shown, ["grown by", *(f"{share:.1%}" for share in grown)]], ["", "HTTP", "model"]))
    if marks != LONG:
        print(f"(--long looks after {LONG[0]:,} and {LONG[1]:,})")
    return {"requests": marks, "HTTP grown": rounded(grown[0]), "model grown": rounded(grown[1]), "not 200": bad}


def _kinds(bench: Bench) -> dict[str, dict[str, Any]]:
    """What requests may ask for besides."""
    kinds: dict[str, dict[str, Any]] = {
        "no filter": {},
        "in stock": {"filters": {"sets": ["in-stock"]}},
        "explained": {"explain": True},
    }
    if bench.shop.category is not None:
        kinds["a category"] = {"filters": {"categories": [bench.shop.category]}}
        kinds["a category, in stock"] = {"filters": {"categories": [bench.shop.category], "sets": ["in-stock"]}}
    return kinds


def _stock(bench: Bench, server: Served) -> float:
    """Seconds to tell the server what is in stock."""
    ids = bench.shop.item_ids
    status, seconds = server.admin(
        "PUT", "/sets/in-stock", {"items": random.Random(0).sample(ids, int(IN_STOCK * len(ids)))}
    )
    assert status == 200, status
    return seconds


def filters(bench: Bench, server: Served, beams: int | None) -> Found:
    """What a filter adds to a request, alone (in time) and in a crowd (in requests a second)."""
    told = _stock(bench, server)
    bodies = {name: bench.bodies(beams=beams, **asked) for name, asked in _kinds(bench).items() if name != "explained"}
    alone, crowd = ({name: Measured() for name in bodies} for _ in range(2))
    first = {
        name: bench.load.run(Order(server.port, file, 60, requests=1)).within(0.5) for name, file in bodies.items()
    }
    for _ in range(bench.rounds):
        for name, file in bodies.items():
            bench.closed(alone[name], server, file, 1)
            bench.closed(crowd[name], server, file, CROWD)
    plain = next(iter(bodies))
    print(
        f"\nFilters on {len(bench.shop.item_ids):,} items, beams {beams}; {IN_STOCK:.0%} in stock, told in {told:.1f} s"
    )
    shown, found = [], {}
    for name in bodies:
        time_ratio = ratio(alone[name].all.within(0.5), alone[plain].all.within(0.5))
        crowd_ratio = ratio(crowd[plain].rate, crowd[name].rate)
        shown.append(
            [
                name,
                f"{first[name]:.1f}",
                f"{alone[name].all.within(0.5):.1f}",
                f"{time_ratio:.2f}",
                f"{crowd_ratio:.2f}",
            ]
        )
        found[name] = _rounded({"first ms": first[name], "time": time_ratio, "time in a crowd": crowd_ratio})
    print(table(shown, ["", "first ms", "p50 ms", "of no filter's", f"at {CROWD} clients"]))
    return found


def a_million(bench: Bench, items: int) -> Found:
    """The same filters on a large made-up shop."""
    shop = Shop.open(write(bench.place / "many", made_up(items)), len(bench.shop.histories), BEAMS[:1])
    with Served(shop.folder, bench.place / "many.log") as server:
        print(f"\n{items:,} items: ready after {server.seconds:.1f} s")
        large = Bench(shop, bench.load, bench.place, bench.seconds, bench.rounds)
        found = filters(large, server, BEAMS[0])
        http, model = server.memory()
    print(f"Resident: HTTP {http:.0f} MB, model {model:.0f} MB")
    return {**found, "items": items, "ready after s": rounded(server.seconds), "MB": [round(http), round(model)]}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: rounded(value) for name, value in values.items()}


def measure(
    bench: Bench, ask: Callable[[int | None, int], float], marks: tuple[int, int], million: int, graph: Stock | None
) -> Found:
    shop, found = bench.shop, Found()
    logs = [bench.place / f"{name}.log" for name in ("batching", "single")]
    with Served(shop.folder, logs[0], MAX_BATCH) as batching:
        found["ready after s"] = rounded(batching.seconds)
        print(f"{shop.meta['method']}, {len(shop.item_ids):,} items: ready after {batching.seconds:.1f} s")
        with Served(shop.folder, logs[1], 1) as single:
            capacities = {}
            for beams in shop.beams:
                found[f"closed, beams {beams}"], capacities[beams] = closed_loops(bench, batching, single, ask, beams)
        for beams, capacity in capacities.items():
            found[f"deadlines, beams {beams}"] = deadlines(bench, batching, beams)
            if not capacity:
                print(
                    f"\nBeams {beams}: nobody of {max(CLIENTS)} clients was answered, so there is no capacity to load"
                )
                continue
            found[f"open, beams {beams}"] = open_loops(bench, batching, beams, capacity)
            found[f"overload, beams {beams}"] = overload(bench, batching, beams, capacity)
        found["two reloads"] = reloads(bench, batching, shop.beams[0])
        found["filters"] = filters(bench, batching, shop.beams[0])
    found["memory"] = memory(bench, shop, marks, shop.beams[0])
    if million:
        found["a million"] = a_million(bench, million)
    return found if graph is None else {**found, "by graph": by_graphs(bench, graph)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a run of seconds, to see that everything works")
    parser.add_argument("--bundle", type=Path, help="serve this one; else Beauty's items by a model of TIGER's size")
    parser.add_argument("--items", type=int, help="serve so many items of a made-up shop instead of Beauty's")
    parser.add_argument("--long", action="store_true", help=f"look at the memory after {LONG[1]:,} requests")
    parser.add_argument("--million", action="store_true", help="filters on a made-up shop of a million items, too")
    parser.add_argument("--graph-only", action="store_true", help="only a bundle with a graph beside one without")
    options = parser.parse_args()
    quick = options.quick
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as place,
        Generator() as load,
        ProcessPoolExecutor(1, mp_context=spawn) as alone,
    ):
        made = options.items or (1_000 if quick else 0)
        stock = made_up(made) if made else Stock.of(open_shop())
        folder = options.bundle or write(Path(place) / "shop", stock)
        shop = Shop.open(folder, 64 if quick else 512, BEAMS[:1] if quick else BEAMS)
        bench = Bench(shop, load, Path(place), 0.3 if quick else 4.0, 1 if quick else 3)

        def ask(beams: int | None, batch: int) -> float:
            return alone.submit(library, folder, shop.histories[:TO_LIBRARY], beams, batch).result()

        many = (20_000 if quick else MANY_ITEMS) if options.million else 0
        marks = LONG if options.long else (64, 128) if quick else MEMORY
        if options.graph_only:
            found = {"by graph": by_graphs(bench, stock)}
        else:
            found = measure(bench, ask, marks, many, None if quick else stock)
    protocol = {"bundle": str(options.bundle or stock.name), "items": len(shop.item_ids), "threads": 1}
    report("serve", {**protocol, "seconds": bench.seconds, "rounds": bench.rounds, "quick": quick}, found)


if __name__ == "__main__":
    main()
