"""`make bench-trie`: what the tree of all semantic IDs costs, to build, to hold and to ask, and what decoding under it
costs as the catalogue grows.

The peers are the two ways in which `transformers`' `prefix_allowed_tokens_fn` is usually fed: nested dicts, and
`marisa-trie` with every code as one character. Both are asked for one prefix at a time, since that is how they are
used. IDs are drawn evenly, three levels of 256 codes: the more items, the more children has a node.
"""

import argparse
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import marisa_trie
import numpy as np
import polars as pl
import torch
from torch import Tensor

from machine import report, rounded, table, take_turns
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, pad, question
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.recommenders.recommender import ItemFilter
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.sorted_codes import sorted_blocks, trie_of_sorted
from sidestep.sids.trie import Permitted, Trie

LEVELS, SIZE, WIDTH, K = 3, 256, 50, 10
SIZES = (SIZE,) * LEVELS
PEERS_ITEMS = 1_000_000
"""The largest catalogue that the peers are asked to hold."""
OFTEN = 20
"""How often ours is asked in a round; once takes too little time to be measured."""
Node = dict[int, Any]


class Peer(Protocol):
    def follow(self, prefix: tuple[int, ...]) -> list[int]:
        """The codes that may follow a prefix."""
        ...


class Dicts:
    """Nested dicts, from a code to what follows it."""

    def __init__(self, codes: Tensor) -> None:
        self.root: Node = {}
        for sid in codes.tolist():
            node = self.root
            for code in sid:
                node = node.setdefault(code, {})

    def follow(self, prefix: tuple[int, ...]) -> list[int]:
        node = self.root
        for code in prefix:
            node = node[code]
        return list(node)


class Marisa:
    """`marisa-trie` lists whole keys under a prefix and knows no children; the root's are therefore kept aside."""

    def __init__(self, codes: Tensor) -> None:
        characters = [chr(code) for code in range(SIZE)]
        self.trie = marisa_trie.Trie("".join(characters[code] for code in sid) for sid in codes.tolist())
        self.first = codes[:, 0].unique().tolist()

    def follow(self, prefix: tuple[int, ...]) -> list[int]:
        if not prefix:
            return self.first
        text = "".join(map(chr, prefix))
        return list({ord(key[len(text)]) for key in self.trie.keys(text)})


SORTED = "sidestep, of a sorted file"
BUILDERS: dict[str, Callable[[Any], object]] = {
    "sidestep": partial(Trie.build, codebook_sizes=SIZES),
    SORTED: lambda path: of_sorted(path),
    "nested dicts": Dicts,
    "marisa-trie": Marisa,
}


def draw(number: int) -> Tensor:
    return torch.randint(SIZE, (number, LEVELS), generator=torch.Generator().manual_seed(number))


def build_here(name: str, number: int) -> dict[str, float]:
    """Seconds of building, and bytes an item that this process grew by while it lasted and for good (on Linux)."""
    if name != SORTED:
        codes = draw(number)
        BUILDERS[name](codes[:1000])
        return cost_of(BUILDERS[name], codes, number)
    with TemporaryDirectory() as folder:
        path, few = Path(folder) / "sorted.parquet", Path(folder) / "few.parquet"
        with ProcessPoolExecutor(1, get_context("spawn")) as other:  # whose memory is not counted
            other.submit(write_sorted, number, path).result()
            other.submit(write_sorted, 1000, few).result()
        BUILDERS[name](few)
        return cost_of(BUILDERS[name], path, number)


def write_sorted(number: int, path: Path) -> None:
    """The table that another engine would have sorted."""
    codes = draw(number).numpy()
    order = np.lexsort(codes.T[::-1])
    columns = {f"code_{level + 1}": codes[order, level] for level in range(LEVELS)}
    pl.DataFrame({"item": order, **columns}).write_parquet(path)


def of_sorted(path: Path) -> Trie:
    return trie_of_sorted(sorted_blocks(path, LEVELS), SIZES, str(path))


def cost_of(build: Callable[[Any], Any], given: Any, number: int) -> dict[str, float]:
    """The peak is that above what was there before."""
    gc.collect()
    before, begin = _resident(), time.process_time()
    built = build(given)
    seconds = time.process_time() - begin
    gc.collect()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    held = built.num_bytes if isinstance(built, Trie) else _resident() - before
    return {"seconds": seconds, "bytes": held / number, "peak": max(peak - before, held) / number}


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def building(numbers: Sequence[int]) -> dict[str, dict[str, float]]:
    """Every contestant builds in a process of its own, so that its memory can be told from the others'."""
    found, rows = {}, []
    for number in numbers:
        for name in BUILDERS:
            if name not in ("sidestep", SORTED) and number > PEERS_ITEMS:
                continue
            words = [sys.executable, __file__, "--build", name, str(number)]
            said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            cost = json.loads(said)
            found[f"{name} {number:g}"] = {key: rounded(value) for key, value in cost.items()}
            rows.append([name, f"{number:,}", f"{cost['seconds']:.2f}", f"{cost['bytes']:.1f}", f"{cost['peak']:.1f}"])
    print("\nBuilding: CPU seconds, bytes an item to hold it, and at the peak of building (the codes not counted)")
    print(table(rows, ["", "items", "seconds", "bytes", "peak"]))
    return found


def beams(trie: Trie, level: int, rows: int) -> Tensor:
    """Different nodes of a depth for every row, as a search's beams are: `[rows, W]`."""
    number = trie.num_nodes(level)
    generator = torch.Generator().manual_seed(level)
    return torch.stack([torch.randperm(number, generator=generator)[:WIDTH] for _ in range(rows)])


def prefixes(trie: Trie, codes: Tensor, level: int, nodes: Tensor) -> list[tuple[int, ...]]:
    """The codes that lead to nodes, read off the first item under each."""
    items = trie.order[trie.places(level, nodes.flatten())]
    return [tuple(sid[:level]) for sid in codes[items].tolist()]


def masks_of(peer: Peer, asked: Sequence[tuple[int, ...]]) -> Tensor:
    """As `transformers`' logits processor does it: one row after the other."""
    mask = torch.zeros(len(asked), SIZE, dtype=torch.bool)
    for row, prefix in enumerate(asked):
        mask[row, peer.follow(prefix)] = True
    return mask


def mask_of_ours(trie: Trie, level: int, nodes: Tensor) -> Tensor:
    """Our children laid out over the codes, to compare them with the peers'. The search does not need that."""
    found = Permitted(trie).children(level, nodes)
    mask = torch.zeros(*nodes.shape, SIZE + 1, dtype=torch.bool)  # the last column takes the padding
    mask.scatter_(2, found.codes.where(found.open, SIZE), True)
    return mask[:, :, :SIZE].flatten(0, 1)


def following(numbers: Sequence[int], rows: int, rounds: int) -> dict[str, dict[str, float]]:
    """Which codes may follow W prefixes in each of some rows: microseconds a prefix, by level."""
    found: dict[str, dict[str, float]] = {}
    for number in numbers:
        codes = draw(number)
        trie = Trie.build(codes, SIZES)
        peers: dict[str, Peer] = {}
        if number <= PEERS_ITEMS:
            peers = {"nested dicts": Dicts(codes), "marisa-trie": Marisa(codes)}
        for level in range(LEVELS):
            nodes = beams(trie, level, rows)
            few = nodes[:2]  # a peer's cost for a prefix does not depend on how many are asked for
            work: dict[str, Callable[[], object]] = {
                "sidestep": partial(_children, trie, level, nodes),
                "sidestep, one row": partial(_children, trie, level, nodes[:1]),
                "sidestep, as a mask": partial(mask_of_ours, trie, level, nodes),
            }
            counts = dict.fromkeys(work, nodes.numel()) | {"sidestep, one row": nodes.shape[1]}
            asked = prefixes(trie, codes, level, few)
            for name, peer in peers.items():
                assert torch.equal(masks_of(peer, asked), mask_of_ours(trie, level, few)), name
                work[name] = partial(masks_of, peer, asked)
                counts[name] = len(asked)
            contestants = {name: [part] * (1 if name in peers else OFTEN) for name, part in work.items()}
            for name, timing in take_turns(contestants, rounds).items():
                asked_for = counts[name] * len(contestants[name])
                found.setdefault(f"{name} {number:g}", {})[f"level {level}"] = timing.best / asked_for * 1e6
    print(
        f"\nWhich codes may follow: CPU microseconds a prefix, by the depth of the prefix ({rows} x {WIDTH} prefixes)"
    )
    print(table([[name, *(f"{us:.3f}" for us in row.values())] for name, row in found.items()], ["", "0", "1", "2"]))
    return {name: {level: rounded(us) for level, us in row.items()} for name, row in found.items()}


def _children(trie: Trie, level: int, nodes: Tensor) -> object:
    return Permitted(trie).children(level, nodes)


def recommender(number: int) -> GenerativeRecommender:
    """A generator of TIGER's size with random weights, the same at every number of items."""
    rng = np.random.default_rng(0)
    codebooks = [rng.standard_normal((SIZE, 32)).astype(np.float32) for _ in SIZES]
    sids = SemanticIds(draw(number).numpy(), SIZES, codebooks, [np.arange(SIZE) % 16 for _ in SIZES])
    torch.manual_seed(0)
    model = EncoderDecoder(sids, GeneratorConfig(start="random"))
    return GenerativeRecommender(model, sids, rng.integers(0, 100, number), model.reads, WIDTH)


def decoding(numbers: Sequence[int], users: int, rounds: int) -> dict[str, dict[str, float]]:
    """A ranked list of ten at beam 50 as the catalogue grows, in CPU milliseconds a user: in batches, one by one, and
    in batches with the history left out and half of all items allowed.
    """
    ways = {"batches of 32": (32, False), "one by one": (1, False), "batches of 32, filtered": (32, True)}
    contestants = {}
    for number in numbers:
        model, rng = recommender(number), np.random.default_rng(1)
        histories = [rng.integers(0, number, 20) for _ in range(users)]
        half = ItemFilter(allowed=torch.from_numpy(rng.random(number) < 0.5))
        for way, (size, filtered) in ways.items():
            portions = [histories[begin : begin + size] for begin in range(0, users, size)]
            contestants[f"{way} {number:g}"] = [
                partial(_rank, model, question(some, Reads(20)), half.excluding(pad(some)) if filtered else None)
                for some in portions
            ]
    timings = take_turns(contestants, rounds)
    ms = {name: timing.best / users * 1e3 for name, timing in timings.items()}
    found = {way: {f"{number:g}": rounded(ms[f"{way} {number:g}"]) for number in numbers} for way in ways}
    for way, row in found.items():
        row["growth"] = rounded(ms[f"{way} {numbers[-1]:g}"] / ms[f"{way} {numbers[0]:g}"])
    print(f"\nDecoding at beam {WIDTH}, TIGER's size, histories of 20: CPU milliseconds a user, by number of items")
    rows = [[way, *(f"{value:.2f}" for value in row.values())] for way, row in found.items()]
    print(table(rows, ["", *(f"{number:,}" for number in numbers), "growth"]))
    return found


def _rank(model: GenerativeRecommender, batch: SequenceBatch, barred: ItemFilter | None) -> object:
    return model.rank(batch, K, barred)


def ratios(asking: dict[str, dict[str, float]], number: int) -> dict[str, float]:
    """A peer's time for all prefixes of a search, one at the root and W at every other level, over ours: in a batch,
    and for one user alone.
    """
    total = {
        name: sum(us * (WIDTH if level != "level 0" else 1) for level, us in levels.items())
        for name, levels in asking.items()
    }
    return {
        f"{peer}/{ours}": rounded(total[f"{peer} {number:g}"] / total[f"{ours} {number:g}"])
        for peer in ("nested dicts", "marisa-trie")
        for ours in ("sidestep", "sidestep, one row")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a run of seconds, to see that everything works")
    parser.add_argument("--build", nargs=2, metavar=("NAME", "ITEMS"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    torch.set_num_threads(1)
    if words.build:
        print(json.dumps(build_here(words.build[0], int(words.build[1]))))
        return
    numbers = [1_000, 10_000] if words.quick else [10_000, 100_000, 1_000_000, 10_000_000]
    rows, users, rounds = (8, 4, 1) if words.quick else (64, 64, 5)
    built = building(numbers)
    asked = following(numbers, rows, rounds)
    decoded = decoding(numbers, users, rounds)
    largest = max(number for number in numbers if number <= PEERS_ITEMS)
    found = {"ratios": ratios(asked, largest), "building": built, "following": asked, "decoding": decoded}
    protocol = {"levels": SIZES, "width": WIDTH, "rows": rows, "users": users, "rounds": rounds, "threads": 1}
    report("trie", {**protocol, "ids": "drawn evenly", "quick": words.quick}, found)


if __name__ == "__main__":
    main()
