"""`make bench-long`: what a list costs as histories grow, for GLASS at a window of 20 and TIGER that reads all of it.

Both have TIGER's size, the same semantic IDs and random weights, and answer the same users in turns. The time of a
search hardly depends on the weights.
"""

import argparse
from functools import partial

import torch

from arithmetic import Arithmetic
from machine import report, rounded, table, take_turns
from shop import Shop, open_shop
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig
from sidestep.generators.long_history import LongConfig, LongHistory
from sidestep.generators.thinking import ThinkingConfig
from sidestep.recommenders.generative import GenerativeRecommender

WINDOW, BATCH, BEAMS, K = 20, 16, 50, 10
MODELS = ("GLASS", "TIGER")
LENGTHS = (20, 50, 100, 200, 500, 1_000)


def glass(shop: Shop) -> LongHistory:
    """A generator of TIGER's size that looks back, its gates open, with random vectors for the tier."""
    torch.manual_seed(0)
    config = _shape(WINDOW)
    vectors = torch.randn(len(shop.popularity), 64)
    model = LongHistory(shop.sids, config, ThinkingConfig(thoughts=False), LongConfig(), vectors)
    for name, parameter in model.named_parameters():
        if ".gate." in name or name.startswith("tier.out"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def tiger(shop: Shop, window: int) -> EncoderDecoder:
    torch.manual_seed(0)
    return EncoderDecoder(shop.sids, _shape(window))


def _shape(window: int) -> GeneratorConfig:
    return GeneratorConfig(start="random", dropout=0.0, max_history=window)


def costs(shop: Shop, lengths: tuple[int, ...], users: int, rounds: int) -> dict[str, dict[int, float]]:
    """CPU milliseconds a list, by model and length of the history."""
    found: dict[str, dict[int, float]] = {"GLASS": {}, "TIGER": {}}
    looking_back = glass(shop)
    for length in lengths:
        models: dict[str, EncoderDecoder] = {"GLASS": looking_back, "TIGER": tiger(shop, length)}
        contestants = {}
        for name, model in models.items():
            recommender = GenerativeRecommender(model, shop.sids, shop.popularity, model.reads, BEAMS)
            asked = shop.long_questions(users, length, BATCH, reads=model.reads)
            contestants[name] = [partial(recommender.rank, batch, K) for batch in asked]
        for name, timing in take_turns(contestants, rounds).items():
            found[name][length] = timing.best / users * 1e3
    return found


def arithmetic(shop: Shop, lengths: tuple[int, ...]) -> dict[str, dict[int, float]]:
    """Millions of multiply-adds that a list needs. GLASS is counted as if every beam found all the items that a look-up
    may return.
    """
    sizes, found = shop.sids.codebook_sizes, {}
    most = LongConfig().retrieved
    for length in lengths:
        needed = Arithmetic(_shape(length), len(sizes), sizes[0], cheaper_cross=True)
        back = needed.look_back(min(most, length - WINDOW), BEAMS)
        found[length] = (needed.decode(WINDOW, BEAMS) + back, needed.decode(length, BEAMS))
    return {name: {size: both[place] / 1e6 for size, both in found.items()} for place, name in enumerate(MODELS)}


def _by_size(found: dict[str, dict[int, float]]) -> dict[str, dict[str, float]]:
    return {name: {str(size): rounded(value) for size, value in own.items()} for name, own in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a run of seconds, to see that everything works")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    shop = open_shop()
    lengths, users, rounds = ((20, 100), 2, 1) if quick else (LENGTHS, 32, 3)
    ms = costs(shop, lengths, users, rounds)
    own, whole = ms["GLASS"], ms["TIGER"]
    needed = arithmetic(shop, lengths)
    rows = [
        [
            f"{size}",
            *(f"{x:.2f}" for x in (own[size], whole[size], whole[size] / own[size])),
            *(f"{needed[name][size]:,.0f}" for name in MODELS),
        ]
        for size in lengths
    ]
    print(f"{shop.name}; TIGER's size, random weights, histories drawn by popularity")
    print(f"Beam {BEAMS}, k = {K}, batch {BATCH}, one thread: the least CPU milliseconds a list of {rounds} rounds")
    columns = ["items", f"GLASS, window {WINDOW}", "TIGER, all items", "TIGER/GLASS"]
    print(table(rows, [*columns, *(f"{name}, millions of multiply-adds" for name in MODELS)]))
    growth = {
        f"{name}, {lengths[-1]:,}/{lengths[0]} items": own[lengths[-1]] / own[lengths[0]] for name, own in ms.items()
    }
    print("; ".join(f"{name}: {value:.2f}" for name, value in growth.items()))
    found = {
        "ratios": {name: rounded(value) for name, value in growth.items()},
        "millions of multiply-adds": _by_size(needed),
        "ms a list": _by_size(ms),
    }
    protocol = {"beams": BEAMS, "batch": BATCH, "users": users, "rounds": rounds, "threads": 1, "quick": quick}
    report("long", {**protocol, "shop": shop.name}, found)


if __name__ == "__main__":
    main()
