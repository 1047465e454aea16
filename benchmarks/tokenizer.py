"""`make bench-tokenize`: what a vector costs the tokenizer, in training and in assignment, beside the usual quantisers.

Training: `vector-quantize-pytorch`'s ResidualVQ between the same encoder and decoder, in the same loop, with the same
batches, epochs, optimiser and matrix products; its codebooks start from k-means and replace dead codes as its README
advises. Nobody is tuned. Beside the time stands what came of it: ICR and CUR, the mean over the seeds.

Assignment: the same trained models over many vectors; and `faiss`'s ResidualQuantizer with our codebooks on our
latents, where the answers must be the same codes.
"""

import argparse
import os
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn
from vector_quantize_pytorch import ResidualVQ

from industrial import industrial, item_vectors
from machine import products, report, rounded, table, take_turns, timed
from sidestep.evaluation.codebooks import report_codes
from sidestep.objectives import tokenizing
from sidestep.sids import tokenizer
from sidestep.sids.batches import VectorBatches
from sidestep.sids.rq_vae import ENCODE_ROWS, RQVAE
from sidestep.sids.settings import TokenizerConfig
from sidestep.training.loop import Hooks, fit
from sidestep.training.optim import TrainConfig
from sidestep.vectors.item_vectors import ItemVectors


class Peer(nn.Module):
    """ResidualVQ in the place of our quantiser; the rest is ours, with the same first weights."""

    def __init__(self, like: RQVAE, config: TokenizerConfig) -> None:
        super().__init__()
        self.like = like
        self.quantiser = ResidualVQ(
            dim=config.code_width,
            num_quantizers=config.num_levels,
            codebook_size=config.sizes[0],
            commitment_weight=config.commitment,
            kmeans_init=True,
            kmeans_iters=10,
            threshold_ema_dead_code=2,
        )

    def forward(self, vectors: Tensor) -> dict[str, Tensor]:
        inputs = self.like.standardise(vectors)
        quantised, _, commitment = self.quantiser(self.like.encoder(inputs))
        reconstruct = (self.like.decoder(quantised) - inputs).square().sum(-1).mean()
        return {"total": reconstruct + commitment.sum() * quantised.shape[-1]}  # its loss is a mean over dimensions

    @torch.no_grad()
    def assign(self, vectors: Tensor) -> Tensor:
        blocks = (self.like.standardise(block) for block in vectors.split(ENCODE_ROWS))
        return torch.cat([self.quantiser(self.like.encoder(block))[1] for block in blocks])


def train_ours(vectors: ItemVectors, config: TokenizerConfig, seed: int) -> RQVAE:
    model = tokenizer.build(vectors, config, seed)
    objective = partial(tokenizing.TOKENIZERS[config.kind], tokenizer=config)
    _fit(model, objective, vectors, config, seed, Hooks(before_epoch=tokenizer.Upkeep(model, vectors, seed)))
    return model.eval()


def train_peer(vectors: ItemVectors, config: TokenizerConfig, seed: int) -> Peer:
    torch.manual_seed(seed)
    model = Peer(tokenizer.build(vectors, config, seed), config)
    model.like.quantiser = nn.Identity()  # type: ignore[assignment]  # its weights would be none of the peer's
    _fit(model, lambda model, batch: model(batch.vectors), vectors, config, seed, Hooks())
    return model.eval()


def _fit(model, objective, vectors, config, seed, hooks) -> None:  # type: ignore[no-untyped-def]
    settings = config.model_dump(include={"epochs", "batch_size", "lr", "weight_decay", "warmup_steps"})
    data = VectorBatches(vectors, config.batch_size, seed)
    fit(model, objective, data, TrainConfig.model_validate(settings), seed=seed, hooks=hooks)


def training(
    vectors: ItemVectors, config: TokenizerConfig, seeds: int
) -> tuple[RQVAE, Peer, dict[str, dict[str, float]]]:
    """Train everybody under every seed, in turn; the last models are handed on."""
    every = torch.from_numpy(vectors.values)
    plain = config.model_copy(update={"kind": "rq-vae"})
    contestants = {
        "sidestep, coba-rq-vae": partial(train_ours, vectors, config),
        "sidestep, rq-vae": partial(train_ours, vectors, plain),
        "vector-quantize-pytorch": partial(train_peer, vectors, config),
    }
    costs: dict[str, list[float]] = {name: [] for name in contestants}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    models = {}
    for seed in range(seeds):
        for name, train in contestants.items():
            seconds, models[name] = timed(partial(train, seed))
            made = report_codes(models[name].assign(every).numpy(), config.sizes)
            costs[name].append(seconds / len(vectors) / config.epochs * 1e6)
            found[name].append((made.icr, made.cur))
    ours = min(costs["sidestep, coba-rq-vae"])
    result, rows = {}, []
    for name in contestants:
        (icr, cur), cost = np.mean(found[name], axis=0), min(costs[name])
        result[name] = {
            "us": rounded(cost),
            "over ours": rounded(cost / ours),
            "icr": rounded(icr),
            "cur": rounded(cur),
        }
        rows.append([name, f"{cost:.1f}", f"{cost / ours:.2f}", f"{icr:.2%}", f"{cur:.4%}"])
    print(f"\nTraining: CPU microseconds per vector seen, the start included ({config.epochs} epochs, {seeds} seed(s))")
    print(table(rows, ["", "us", "over ours", "ICR", "CUR"]))
    return models["sidestep, coba-rq-vae"], models["vector-quantize-pytorch"], result


def faiss_quantiser(model: RQVAE) -> faiss.ResidualQuantizer:
    """Our codebooks in faiss, which then chooses greedily, as we do (its default keeps five beams)."""
    codebooks = np.stack([level.codewords.detach().numpy() for level in model.quantiser.levels])
    levels, size, width = codebooks.shape
    made = faiss.ResidualQuantizer(width, levels, (size - 1).bit_length())
    made.max_beam_size = 1
    faiss.copy_array_to_vector(codebooks.ravel(), made.codebooks)
    made.is_trained = True
    return made


def assignment(model: RQVAE, peer: Peer, vectors: Tensor, rounds: int) -> dict[str, float]:
    """Microseconds a vector: from the vector to its codes, and from the latent alone."""
    latents = model.encode(vectors)
    rival, array = faiss_quantiser(model), latents.numpy()
    same = (rival.compute_codes(array) == model.quantiser.assign(latents).numpy()).all(1).mean()

    def peer_fast() -> None:
        with products(fast=True):
            peer.assign(vectors)

    times = take_turns(
        {
            "vector to codes, sidestep": [lambda: model.assign(vectors)],
            "vector to codes, vector-quantize-pytorch": [lambda: peer.assign(vectors)],
            "the same, with our matrix products": [peer_fast],
            "latent to codes, sidestep": [lambda: model.quantiser.assign(latents)],
            "latent to codes, faiss, greedy": [lambda: rival.compute_codes(array)],
        },
        rounds,
    )
    us = {name: timing.best / len(vectors) * 1e6 for name, timing in times.items()}
    print(f"\nAssignment of {len(vectors):,} vectors; faiss gives {same:.3%} of them the same codes")
    print(table([[name, f"{value:.2f}"] for name, value in us.items()], ["", "us a vector"]))
    return {**{name: rounded(value) for name, value in us.items()}, "same codes": rounded(same, 6)}


def open_vectors(quick: bool) -> tuple[str, ItemVectors]:
    """Beauty's MiniLM vectors where `SIDESTEP_DATA` (or ../shared/data beside the repository) has them."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    path = Path(os.environ.get("SIDESTEP_DATA", beside)) / "beauty" / "minilm_l6_v2.safetensors"
    if path.is_file() and not quick:
        (values,) = load_file(path).values()
        return "Beauty, MiniLM", ItemVectors(values.astype(np.float32))
    print(
        "The planted world's vectors stand in for Beauty's" + ("." if quick else f", which are not at {str(path)!r}.")
    )
    return "planted", item_vectors(industrial(10_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a run of seconds, to see that everything works")
    parser.add_argument("--seeds", type=int, default=3, help="how often everybody is trained")
    words = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    config = TokenizerConfig(epochs=1) if words.quick else TokenizerConfig()
    seeds, rounds, copies = (1, 1, 1) if words.quick else (words.seeds, 5, 9)
    name, vectors = open_vectors(words.quick)
    print(f"{name}: {len(vectors):,} vectors of {vectors.width}")
    model, peer, trained = training(vectors, config, seeds)
    assigned = assignment(model, peer, torch.from_numpy(vectors.values).repeat(copies, 1), rounds)
    protocol = {"data": name, "threads": 1, "seeds": seeds, "rounds": rounds, "config": config.model_dump(mode="json")}
    report("tokenize", protocol, {"training": trained, "assignment": assigned})


if __name__ == "__main__":
    main()
