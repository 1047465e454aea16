"""`make bench-decode`: what a ranked list of ten costs, at TIGER's size, beside the peers and beside the arithmetic.

All contestants have the same layers and, but for S2GR, light modules and the causal mode, the same weights; the same
users ask, and "the same answers" below counts how many lists come out equal. Weights are random: the time does not
depend on them.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from answers import K, answers, graph_of, grapher, ranker, same_answers, trained
from arithmetic import Arithmetic
from machine import Peaks, Timing, cores, peaks, products, report, rounded, table, take_turns, threads
from peers import T5, Cornac, copy_weights
from shop import Shop, open_shop
from sidestep.data.sequences import SequenceBatch
from sidestep.fast.recommender import GraphRecommender
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig
from sidestep.generators.module_thoughts import ModuleThoughts
from sidestep.generators.multi_token import MultiToken, MultiTokenConfig
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.recommenders.generative import Precision

MODES: dict[str, dict[str, str]] = {"T5": {"encoder": "bidirectional", "history": "codes"}, "causal": {}}
"""The paper's way, and the library's default: a causal encoder, one position an item."""
KINDS = ("TIGER", "S2GR")
LIGHT = ("TIGER-MTP", "S2GR-MTP")
"""The same with a light module for each code after the first."""
GRAPHS = (("TIGER", "T5"), ("S2GR", "T5"), ("TIGER", "causal"))
ALL_CORES = ("transformers T5 + trie", "cornac TIGER")
Answer = Callable[[SequenceBatch], object]


@dataclass(frozen=True)
class Row:
    """A contestant: its name, how it answers a batch, how many users it takes at once, in which precision, and the
    arithmetic of its work where that is ours.
    """

    name: str
    answer: Answer
    batch: int
    precision: Precision = "fp32"
    work: Arithmetic | None = None
    fast: bool = False


@dataclass(frozen=True)
class Bench:
    """The shop, the users who ask, and the models; peers hold the weights of the T5-mode TIGER."""

    shop: Shop
    users: np.ndarray[Any, np.dtype[np.int64]]
    models: dict[tuple[str, str], EncoderDecoder]
    t5: T5
    half_t5: T5
    cornac: Cornac
    graphs: dict[tuple[str, str], GraphRecommender]

    @classmethod
    def open(cls, shop: Shop, num_users: int, dropout: float = 0.0, graphs: bool = False) -> "Bench":
        """graphs: also some of the models as exported graphs, which takes minutes."""
        models = {(kind, mode): make(shop, kind, mode, dropout=dropout) for kind in (*KINDS, *LIGHT) for mode in MODES}
        tiger, codes = models["TIGER", "T5"], torch.from_numpy(shop.sids.codes)
        given = (codes, shop.sids.codebook_sizes, tiger.config)
        t5, half, cornac = T5(*given), T5(*given), Cornac(*given)
        copy_weights(tiger, t5, cornac)
        copy_weights(tiger, half)
        half.model.bfloat16()
        exported = {which: graph_of(shop, models[which]) for which in GRAPHS if graphs}
        return cls(shop, shop.users(num_users), models, t5, half, cornac, exported)

    def ours(self, kind: str, mode: str, beams: int, batch: int, precision: Precision = "fp32") -> Row:
        model = self.models[kind, mode]
        name = f"sidestep {kind}, {mode}"
        work = self.arithmetic(kind, mode) if kind in KINDS else None
        return Row(name, ranker(self.shop, model, beams, precision), batch, precision, work)

    def by_graph(self, beams: int) -> list[Row]:
        """Our models as one graph each."""
        return [
            Row(f"sidestep {kind}, {mode}, graph", grapher(graph, beams), batch, work=self.arithmetic(kind, mode))
            for (kind, mode), graph in self.graphs.items()
            for batch in (64, 1)
        ]

    def arithmetic(self, kind: str, mode: str) -> Arithmetic:
        sizes = self.shop.sids.codebook_sizes
        return Arithmetic(self.models[kind, mode].config, len(sizes), sizes[0], kind == "S2GR", cheaper_cross=True)

    def peers(self, beams: int) -> list[Row]:
        free = partial(self.t5.generate, num_beams=beams, k=K, constrained=False)
        trie, half = (partial(t5.generate, num_beams=beams, k=K) for t5 in (self.t5, self.half_t5))
        cornac = partial(self.cornac.generate, num_beams=beams, k=K)
        return [
            *(Row("transformers T5 + trie", trie, batch) for batch in (1, 8)),
            Row("transformers T5 + trie", trie, 1, fast=True),
            Row("transformers T5 + trie", half, 1, "bf16"),
            Row("transformers T5, free", free, 8),
            Row("cornac TIGER", cornac, 1),
            Row("cornac TIGER", cornac, 1, fast=True),
        ]

    def floor(self, row: Row, beams: int, peak: Peaks, textbook: bool = False) -> float:
        """Milliseconds a user needs at the machine's peak."""
        assert row.work is not None
        work = replace(row.work, cheaper_cross=not textbook)
        lengths = (self.shop.split.test.lengths[self.users] - 1).clip(max=work.config.max_history)
        return float(np.mean([work.decode(int(length), beams) for length in lengths])) / peak.of(row.precision) / 1e6


def make(shop: Shop, kind: str, mode: str, dropout: float = 0.0, **shape: Any) -> EncoderDecoder:
    """A generator of TIGER's size with random weights, relative biases included."""
    torch.manual_seed(0)
    config = GeneratorConfig.model_validate({**MODES[mode], "start": "random", "dropout": dropout, **shape})
    thinking, multi = ThinkingConfig(), MultiTokenConfig()
    models: dict[str, Callable[[], EncoderDecoder]] = {
        "TIGER": lambda: EncoderDecoder(shop.sids, config),
        "S2GR": lambda: Thinking(shop.sids, config, thinking),
        "TIGER-MTP": lambda: MultiToken(shop.sids, config, multi),
        "S2GR-MTP": lambda: ModuleThoughts(shop.sids, config, thinking, multi),
    }
    model = models[kind]()
    for stack in (model.encoder, model.decoder):
        nn.init.normal_(stack.bias.weight)
    return model


def contest(bench: Bench, rows: Sequence[Row], rounds: int) -> list[Timing]:
    """Every row answers all users, taking turns."""
    contestants = {}
    for number, row in enumerate(rows):
        batches = bench.shop.questions(bench.users, row.batch)
        contestants[str(number)] = [partial(_under, row, batch) for batch in batches]
    return list(take_turns(contestants, rounds).values())


def _under(row: Row, batch: SequenceBatch) -> object:
    with products(row.fast):
        return row.answer(batch)


def one_list(bench: Bench, beams: int) -> list[Row]:
    """A list at a time by all contestants, and a batch beside its floor."""
    ours = [bench.ours(kind, "T5", beams, batch) for kind in KINDS for batch in (64, 1)]
    ours += [bench.ours("TIGER", "causal", beams, 64)]
    peers = [row for row in bench.peers(beams) if row.batch == 1 and row.precision == "fp32" and not row.fast]
    return [*ours, *bench.by_graph(beams), *peers]


def all_rows(bench: Bench, beams: int) -> list[Row]:
    return [
        *(bench.ours("TIGER", "T5", beams, batch) for batch in (64, 8, 1)),
        *(bench.ours("TIGER", "T5", beams, batch, "bf16") for batch in (64, 1)),
        *(bench.ours("S2GR", "T5", beams, batch) for batch in (64, 1)),
        bench.ours("S2GR", "T5", beams, 64, "bf16"),
        *(bench.ours(kind, "causal", beams, batch) for kind in KINDS for batch in (64, 1)),
        *(bench.ours(kind, mode, beams, batch) for kind in LIGHT for mode in MODES for batch in (64, 1)),
        *(bench.ours(kind, "causal", beams, 64, "bf16") for kind in ("TIGER", "S2GR")),
        *bench.by_graph(beams),
        *bench.peers(beams),
    ]


def one_thread(bench: Bench, rows: Sequence[Row], beams: int, rounds: int, peak: Peaks) -> dict[str, float]:
    """The main table: CPU milliseconds a user."""
    timings = contest(bench, rows, rounds)
    shown, found = [], {}
    for row, timing in zip(rows, timings, strict=True):
        ms = timing.best / len(bench.users) * 1e3
        least = bench.floor(row, beams, peak) if row.work else None
        route = "fast" if row.fast else row.precision
        found[f"{row.name} {route} b{row.batch}"] = ms
        if least is not None:
            found[f"floor {row.name} {route}"] = least
            found[f"textbook floor {row.name} {route}"] = bench.floor(row, beams, peak, textbook=True)
        floor = [f"{least:.2f}", f"{least / ms:.0%}"] if least else ["", ""]
        shown.append(
            [row.name, route, str(row.batch), f"{ms:.2f}", f"{timing.median / len(bench.users) * 1e3:.2f}", *floor]
        )
    print(
        f"\nBeam {beams}, k = {K}, one thread: CPU milliseconds a user (of {len(bench.users)} users, {rounds} rounds)"
    )
    print(table(shown, ["", "products", "batch", "least", "median", "floor", "of it"]))
    return found


def ratios(ms: dict[str, float]) -> dict[str, float]:
    """What the table comes to; a peer's figure is its best setting that its users get without asking."""
    t5 = "sidestep TIGER, T5"
    batched = min(ms[f"{t5} fp32 b64"], ms[f"{t5} bf16 b64"])
    single = min(ms[f"{t5} fp32 b1"], ms[f"{t5} bf16 b1"])
    trie = min(ms[f"transformers T5 + trie fp32 b{batch}"] for batch in (1, 8))
    cornac, cornac_fast = ms["cornac TIGER fp32 b1"], ms["cornac TIGER fast b1"]
    trie_fast = min(ms["transformers T5 + trie fast b1"], ms["transformers T5 + trie bf16 b1"])
    found = {
        "cornac/ours": cornac / batched,
        "transformers best batch/ours": trie / batched,
        "transformers batch 8/ours": ms["transformers T5 + trie fp32 b8"] / batched,
        "cornac/ours, batch 1": cornac / single,
        "transformers/ours, batch 1": ms["transformers T5 + trie fp32 b1"] / single,
        "cornac with our products/ours": cornac_fast / batched,
        "transformers with our products or bf16/ours": min(trie, trie_fast) / batched,
        "floor/ours fp32": ms[f"floor {t5} fp32"] / ms[f"{t5} fp32 b64"],
        "textbook floor/ours fp32": ms[f"textbook floor {t5} fp32"] / ms[f"{t5} fp32 b64"],
        "floor/ours bf16": ms[f"floor {t5} bf16"] / ms[f"{t5} bf16 b64"],
    }
    for mode in MODES:
        for batch in (64, 1):
            tiger, light, thinks = (
                ms[f"sidestep {kind}, {mode} fp32 b{batch}"] for kind in ("TIGER", "TIGER-MTP", "S2GR-MTP")
            )
            found[f"TIGER/TIGER-MTP {mode}, batch {batch}"] = tiger / light
            found[f"S2GR-MTP/TIGER {mode}, batch {batch}"] = thinks / tiger
    found |= single_ratios(ms)
    for mode in MODES:
        for precision in ("fp32", "bf16"):
            ours, least = (
                {kind: ms[f"{head}sidestep {kind}, {mode} {precision}{tail}"] for kind in ("TIGER", "S2GR")}
                for head, tail in (("", " b64"), ("floor ", ""))
            )
            found[f"S2GR/TIGER {mode} {precision}"] = ours["S2GR"] / ours["TIGER"]
            found[f"S2GR/TIGER {mode} arithmetic"] = least["S2GR"] / least["TIGER"]
    return {name: rounded(value) for name, value in found.items()}


def single_ratios(ms: dict[str, float]) -> dict[str, float]:
    """What a list at a time comes to in fp32, and how near a batch is to its floor."""
    t5, peers = "sidestep TIGER, T5", {"cornac": "cornac TIGER", "transformers": "transformers T5 + trie"}
    found = {}
    for how, ours in (("eager", t5), ("our graph", f"{t5}, graph")):
        if (mine := ms.get(f"{ours} fp32 b1")) is not None:
            found[f"floor/{how}, batch 64"] = ms[f"floor {t5} fp32"] / ms[f"{ours} fp32 b64"]
            found |= {f"{name}/{how}, batch 1": ms[f"{peer} fp32 b1"] / mine for name, peer in peers.items()}
            found[f"S2GR/TIGER {how}, batch 1"] = ms[f"{ours.replace('TIGER', 'S2GR')} fp32 b1"] / mine
    causal = "sidestep TIGER, causal"
    if (graph := ms.get(f"{causal}, graph fp32 b64")) is not None:
        found["floor/our graph, causal, batch 64"] = ms[f"floor {causal}, graph fp32"] / graph
    return found


def what_is_answered(bench: Bench, beams: int, number: int, run: Path | None) -> dict[str, dict[str, float]]:
    """Precision and pruning, with random weights and, where a run is given, with trained ones."""
    print(f"\nThe answers to {number} users, {K} items each, beam {beams}")
    looked_at = {
        f"{kind}, {mode}": (bench.shop, model) for (kind, mode), model in bench.models.items() if kind in KINDS
    }
    if run is not None:
        looked_at[f"trained, {run}"] = trained(run)
    return {
        name: answers(shop, name, model, beams, shop.questions(shop.users(number), 64))
        for name, (shop, model) in looked_at.items()
    }


def long_histories(bench: Bench, beams: int, number: int, rounds: int, peak: Peaks) -> dict[str, float]:
    """TIGER beside S2GR after 100 items, the length that the industry knows."""
    length, batch = 100, 16
    contestants, least, found = {}, {}, {}
    for mode in MODES:
        for kind in KINDS:
            model = make(bench.shop, kind, mode, max_history=length)
            answer = ranker(bench.shop, model, beams)
            questions = bench.shop.long_questions(number, length, batch)
            contestants[f"{kind}, {mode}"] = [partial(answer, question) for question in questions]
            needed = bench.arithmetic(kind, mode).decode(length, beams)
            least[f"{kind}, {mode}"] = needed / peak.fp32 / 1e6
    timings = take_turns(contestants, rounds)
    ms = {name: timing.best / number * 1e3 for name, timing in timings.items()}
    rows = [[name, f"{ms[name]:.2f}", f"{least[name]:.2f}", f"{least[name] / ms[name]:.0%}"] for name in ms]
    print(f"\nHistories of {length} items, beam {beams}, fp32, batch {batch}, one thread: CPU milliseconds a user")
    print(table(rows, ["sidestep", "least", "floor", "of it"]))
    for mode in MODES:
        found[f"S2GR/TIGER {mode}"] = rounded(ms[f"S2GR, {mode}"] / ms[f"TIGER, {mode}"])
        found[f"S2GR/TIGER {mode} arithmetic"] = rounded(least[f"S2GR, {mode}"] / least[f"TIGER, {mode}"])
    return found


def all_cores(bench: Bench, beams: int, rounds: int) -> dict[str, float]:
    """Wall time a user with all cores."""
    ours = [bench.ours("TIGER", "T5", beams, batch, precision) for batch in (64, 1) for precision in ("fp32", "bf16")]
    rows = [
        *ours,
        *(row for row in bench.peers(beams) if row.precision == "fp32" and row.name in ALL_CORES and not row.fast),
    ]
    with threads(cores()):
        timings = contest(bench, rows, rounds)
    ms = {
        f"{row.name} {row.precision} b{row.batch}": t.best_wall / len(bench.users) * 1e3
        for row, t in zip(rows, timings, strict=True)
    }
    print(f"\nBeam {beams}, {cores()} threads: wall milliseconds a user")
    print(table([[name, f"{value:.2f}"] for name, value in ms.items()], ["", "least"]))
    return {name: rounded(value) for name, value in ms.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a run of seconds, to see that everything works")
    parser.add_argument("--single", action="store_true", help="only a list at a time, beside the peers")
    parser.add_argument("--run", type=Path, help="a trained run folder, whose answers are looked at too")
    options = parser.parse_args()
    quick = options.quick
    torch.set_num_threads(1)
    bench = Bench.open(open_shop(), 2 if quick else 32 if options.single else 64, graphs=not quick)
    rounds = 1 if quick else 3
    peak = peaks(1, quick)
    print(f"{bench.shop.name}; TIGER's size, random weights\n{peak}")
    found: dict[str, Any] = {}
    protocol = {"shop": bench.shop.name, "users": len(bench.users), "rounds": rounds, "quick": quick, "threads": 1}
    protocol |= {"peak fp32": rounded(peak.fp32), "peak bf16": rounded(peak.bf16)}
    if options.single:
        beams = 10 if quick else 50
        ms = one_thread(bench, one_list(bench, beams), beams, rounds, peak)
        shares = {name: rounded(value) for name, value in single_ratios(ms).items()}
        print("  ".join(f"{name} {value:g};" for name, value in shares.items()))
        return report("decode", protocol, {"ms a user": {name: rounded(value) for name, value in ms.items()}, **shares})
    for beams in (10,) if quick else (20, 50):
        rows = all_rows(bench, beams)
        ms = one_thread(bench, rows, beams, rounds if beams == 50 else max(rounds - 1, 1), peak)
        found[f"ms a user, beam {beams}"] = {name: rounded(value) for name, value in ms.items()}
        found[f"ratios, beam {beams}"] = ratios(ms)
        print("  ".join(f"{name} {value:g};" for name, value in found[f"ratios, beam {beams}"].items()))
    found |= same_answers(bench.shop, bench.users, bench.models["TIGER", "T5"], bench.t5, bench.cornac, beams)
    found["answers"] = what_is_answered(bench, beams, 2 if quick else 256, options.run)
    found["100 items"] = long_histories(bench, beams, 2 if quick else 32, rounds, peak)
    found["all cores, wall ms a user"] = all_cores(replace(bench, users=bench.users[::2]), beams, 1 if quick else 2)
    return report("decode", protocol, found)


if __name__ == "__main__":
    main()
