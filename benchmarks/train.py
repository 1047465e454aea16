"""`make bench-train`: what one (history -> target) example costs in training, at TIGER's size and with dropout.

Forward, backward, clipping and AdamW's step. Ours goes through `fit`, as `sidestep train` does; the peers run the usual
loop around `transformers`' T5 (and around cornac's network), with every history padded to one width, or fed our own
batches of like lengths.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from arithmetic import Arithmetic
from decode import MODES, make
from machine import Peaks, peaks, products, report, rounded, table, take_turns
from peers import T5, Cornac
from shop import Shop, open_shop
from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, TrainingSequences
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.methods.method import Materials
from sidestep.methods.table import METHODS, RECIPE
from sidestep.training.loop import fit
from sidestep.training.optim import TrainConfig

DROPOUT, MAX_HISTORY, PEER_BATCH = 0.1, 20, 64
Loss = Callable[[SequenceBatch], Tensor]


@dataclass(frozen=True)
class Slice:
    """Some batches of an epoch as `fit` takes them, evenly spread over all lengths, shortest first."""

    chosen: Sequence[Ints]
    sequences: TrainingSequences

    @classmethod
    def of(cls, shop: Shop, mode: str, batch_size: int, number: int) -> "Slice":
        sequences = TrainingSequences(shop.split.train, Reads(MAX_HISTORY), every_position=mode == "causal")
        batches = sequences.batches(batch_size, seed=0, epoch=0)
        batches.sort(key=lambda examples: float(sequences.batch(examples).lengths.float().mean()))
        places = ((np.arange(number) + 0.5) * len(batches) / number).astype(np.int64)
        return cls([batches[place] for place in places], sequences)

    def batches(self, epoch: int) -> Sequence[Ints]:
        return self.chosen

    def load(self, index: Ints) -> SequenceBatch:
        return self.sequences.batch(index)

    @property
    def loaded(self) -> list[SequenceBatch]:
        return [self.load(index) for index in self.chosen]

    @property
    def num_targets(self) -> int:
        return sum(int((batch.targets >= 0).sum()) for batch in self.loaded)

    def needed(self, work: Arithmetic) -> float:
        """Multiply-adds for one of the targets."""
        total = 0
        for batch in self.loaded:
            for length, targets, visible in zip(batch.lengths.tolist(), batch.targets, batch.visible, strict=True):
                total += work.train(length, visible[targets >= 0].tolist())
        return total / self.num_targets


@dataclass(frozen=True)
class Row:
    """A contestant: what it runs, over how many targets, and the multiply-adds that each needs where that is ours."""

    name: str
    route: str
    run: Callable[[], object]
    targets: int
    needed: float | None = None


def ours(shop: Shop, kind: str, mode: str, data: Slice, precision: str) -> Row:
    """`fit` over the slice, from random weights."""
    recipe = RECIPE.model_validate({"method": kind.lower()})
    model = make(shop, kind, mode, dropout=DROPOUT)
    config = TrainConfig.model_validate({"epochs": 1, "precision": precision, "warmup_steps": 0})
    run = partial(
        fit, model, METHODS[kind.lower()].objective(Materials(shop.popularity, shop.sids), recipe), data, config, seed=0
    )
    sizes = shop.sids.codebook_sizes
    work = Arithmetic(model.config, len(sizes), sizes[0], kind == "S2GR", cheaper_cross=True)
    return Row(f"sidestep {kind}, {mode}", precision, run, data.num_targets, data.needed(work))


class Loop:
    """The usual loop, around a peer's network."""

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        self.network, self.loss = network.train(), loss
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def __call__(self, batches: Sequence[SequenceBatch], route: str) -> None:
        for batch in batches:
            with products(route == "fast"), torch.autocast("cpu", torch.bfloat16, enabled=route == "bf16"):
                loss = self.loss(batch)
            self.optimizer.zero_grad()
            with products(route == "fast"):
                loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()


def t5_loss(t5: T5, width: int | None, batch: SequenceBatch) -> Tensor:
    """T5's loss; histories padded to `width` tokens, or to the longest of the batch."""
    inputs = t5.inputs(batch)
    if width is not None:
        inputs = {name: pad(tokens, (0, width - tokens.shape[1])) for name, tokens in inputs.items()}
    loss: Tensor = t5.model(**inputs, labels=t5.tokens[batch.targets[:, 0]]).loss
    return loss


def cornac_loss(cornac: Cornac, batch: SequenceBatch) -> Tensor:
    """cornac's loss; histories padded on the left to `MAX_HISTORY` items, as its own loader has them."""
    tokens = torch.cat([cornac.encoder_tokens(row[row >= 0]) for row in batch.history])
    loss: Tensor = cornac.model(tokens, (tokens != 0).float(), cornac.codes[batch.targets[:, 0]])
    return loss


def peers(shop: Shop, data: Slice, number: int) -> list[Row]:
    """Histories come in random order in the padded loops, so `number` examples of the slice stand for all."""
    shape = GeneratorConfig.model_validate({**MODES["T5"], "dropout": DROPOUT})
    given = (torch.from_numpy(shop.sids.codes), shop.sids.codebook_sizes, shape)
    examples = np.random.default_rng(0).permutation(np.concatenate(data.chosen))[:number]
    mixed = [data.load(examples[at : at + PEER_BATCH]) for at in range(0, len(examples), PEER_BATCH)]
    like, rows = data.loaded, []
    for width in (80, 60):
        t5 = T5(*given)
        loop = Loop(t5.model, partial(t5_loss, t5, width))
        for route in ("fp32", "fast", "bf16") if width == 80 else ("fp32",):
            rows.append(Row(f"transformers T5, padded to {width}", route, partial(loop, mixed, route), len(examples)))
    t5 = T5(*given)
    loop = Loop(t5.model, partial(t5_loss, t5, None))
    for route in ("fp32", "fast", "bf16"):
        rows.append(Row("transformers T5, our batches", route, partial(loop, like, route), data.num_targets))
    cornac = Cornac(*given)
    loop = Loop(cornac.model, partial(cornac_loss, cornac))
    return [*rows, Row("cornac TIGER, padded to 60", "fp32", partial(loop, mixed, "fp32"), len(examples))]


def contest(shop: Shop, batch_size: int, number: int, rounds: int, peak: Peaks) -> dict[str, float]:
    slices = {
        "T5": Slice.of(shop, "T5", batch_size, number),
        "causal": Slice.of(shop, "causal", batch_size, 3 * number - 1),
    }
    rows = [
        ours(shop, kind, mode, slices[mode], precision)
        for mode in MODES
        for kind in ("TIGER", "S2GR")
        for precision in ("fp32", "bf16")
    ] + peers(shop, slices["T5"], batch_size)
    timings = take_turns({str(place): [row.run] for place, row in enumerate(rows)}, rounds)
    shown, ms = [], {}
    for row, timing in zip(rows, timings.values(), strict=True):
        name = f"{row.name} {row.route}"
        ms[name] = timing.best / row.targets * 1e3
        floor = ["", ""]
        if row.needed is not None:
            ms[f"floor {name}"] = row.needed / peak.of(row.route) / 1e6
            floor = [f"{ms[f'floor {name}']:.2f}", f"{ms[f'floor {name}'] / ms[name]:.0%}"]
        shown.append([row.name, row.route, f"{ms[name]:.2f}", f"{timing.median / row.targets * 1e3:.2f}", *floor])
    print(f"\nOne thread: CPU milliseconds an example ({rounds} rounds)")
    print(table(shown, ["", "products", "least", "median", "floor", "of it"]))
    return ms


def ratios(ms: dict[str, float]) -> dict[str, float]:
    """What the table comes to, for each precision of ours."""
    usual, like = ms["transformers T5, padded to 80 fp32"], ms["transformers T5, our batches fp32"]
    best = {
        name: min(ms[f"transformers T5, {name} {route}"] for route in ("fp32", "fast", "bf16"))
        for name in ("padded to 80", "our batches")
    }
    found = {}
    for precision in ("fp32", "bf16"):
        tiger, causal = (ms[f"sidestep TIGER, {mode} {precision}"] for mode in MODES)
        found |= {
            f"causal/usual loop {precision}": causal / usual,
            f"T5/usual loop {precision}": tiger / usual,
            f"T5/transformers on our batches {precision}": tiger / like,
            f"causal/usual loop at its best {precision}": causal / best["padded to 80"],
            f"T5/transformers on our batches at its best {precision}": tiger / best["our batches"],
        }
        for mode in MODES:
            names = [f"sidestep {kind}, {mode} {precision}" for kind in ("S2GR", "TIGER")]
            found[f"S2GR/TIGER {mode} {precision}"] = ms[names[0]] / ms[names[1]]
            found[f"S2GR/TIGER {mode} arithmetic"] = ms[f"floor {names[0]}"] / ms[f"floor {names[1]}"]
            found[f"floor/ours TIGER {mode} {precision}"] = ms[f"floor {names[1]}"] / ms[names[1]]
    return {name: rounded(value) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a run of seconds, to see that everything works")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    shop, peak = open_shop(), peaks(1, quick)
    print(f"{shop.name}; TIGER's size, dropout {DROPOUT}\n{peak}")
    batch_size, number, rounds = (16, 1, 1) if quick else (256, 3, 3)
    ms = contest(shop, batch_size, number, rounds, peak)
    found: dict[str, Any] = ratios(ms)
    print("\n" + "\n".join(f"{name}: {value:g}" for name, value in found.items()))
    protocol = {
        "shop": shop.name,
        "batch": batch_size,
        "batches": number,
        "rounds": rounds,
        "quick": quick,
        "threads": 1,
    }
    protocol |= {"peer batch": PEER_BATCH, "peak fp32": rounded(peak.fp32), "peak bf16": rounded(peak.bf16)}
    report("train", protocol, {"ms an example": {name: rounded(value) for name, value in ms.items()}, "ratios": found})


if __name__ == "__main__":
    main()
