"""The work of the stage `tokenize`: a tokenizer is trained or fitted, and items get semantic IDs."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from sidestep.data.labels import labels
from sidestep.evaluation import codebooks
from sidestep.evaluation.purity import label_numbers, v_measure
from sidestep.objectives.tokenizing import TOKENIZERS
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.sids import tokenizer
from sidestep.sids.content import Content
from sidestep.sids.prefixes import prefixes
from sidestep.sids.rq_vae import RQVAE
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.settings import TokenizerConfig
from sidestep.sids.vector_quantiser import VectorQuantiser
from sidestep.training.loop import Hooks, fit
from sidestep.training.optim import TrainConfig
from sidestep.vectors.item_vectors import ItemVectors


def tokenized(run: Run, folder: Path, say: Callable[[str], None]) -> tuple[tokenizer.Tokenizer, SemanticIds]:
    """A tokenizer that has learnt from a run's vectors, and all items' IDs after the collision policy.

    folder: for checkpoints.
    """
    contents, config, seed = RunContents(run), run.recipe.tokenizer, run.recipe.seed
    rows, taught, content = contents.rows, contents.taught, contents.content
    for note in tokenizer.notes(taught, config, seed):
        say(note)
    if content is not None and (told := content.note()):
        say(told)
    model = tokenizer.build(taught, config, seed, content)
    learn(run, model, taught, content, folder)
    popularity = contents.popularity if config.uses_interactions else None
    assigned = tokenizer.semantic_ids(model, rows, config, seed)
    sids, note = tokenizer.without_collisions(model, assigned, rows, config, seed, popularity)
    if config.end_to_end:
        for line in _before_and_after(contents, assigned, sids):
            say(line)
    say(codebooks.summary(sids))
    if note:
        say(note)
    return model, sids


def learn(run: Run, model: tokenizer.Tokenizer, rows: ItemVectors, content: Content | None, folder: Path) -> None:
    """Train a tokenizer with an encoder by the loop, with checkpoints in `folder`; fit any other.

    rows: what it reads of all items.
    """
    config, seed = run.recipe.tokenizer, run.recipe.seed
    if isinstance(model, VectorQuantiser):
        sample = tokenizer.learning_sample(rows, config, seed)
        model.learn(torch.from_numpy(sample.values), torch.Generator().manual_seed(seed))
        return
    edges = RunContents(run).graph if config.uses_partners else None
    sample = tokenizer.learning_sample(rows, config, seed)
    fit(
        model,
        partial(TOKENIZERS[config.kind], tokenizer=config),
        tokenizer.training_data(model, rows, config, seed, edges, content),
        _training(config),
        seed=seed,
        folder=folder,
        hooks=Hooks(before_epoch=tokenizer.Upkeep(model, sample, seed) if isinstance(model, RQVAE) else None),
        title="tokenize",
    )
    tokenizer.settle(model, rows, config, seed)


def _training(config: TokenizerConfig) -> TrainConfig:
    shared = {"epochs", "batch_size", "lr", "weight_decay", "warmup_steps"}
    return TrainConfig.model_validate(config.model_dump(include=shared))


HALF = 0.5


def _before_and_after(contents: RunContents, before: SemanticIds, after: SemanticIds) -> Iterator[str]:
    """What the codes are worth before and after the collision policy, and a warning where the first level is hardly
    used.
    """
    texts = labels(contents.catalog, "category")
    classes = None if texts is None else label_numbers(texts)
    for when, sids in (("before", before), ("after", after)):
        report = codebooks.codebook_report(sids)
        told = f"{when} the collision policy: ICR {report.icr:.2%}, at most {report.largest:,} items per ID"
        if classes is not None:
            measured = [v_measure(prefix, classes) for prefix in prefixes(sids.codes)[1:]]
            told += f"; V-measure by first levels {' / '.join('-' if v is None else f'{v:.3f}' for v in measured)}"
        yield told
    used, size = len(set(before.codes[:, 0].tolist())), before.codebook_sizes[0]
    if used < HALF * size:
        yield (
            f"warning: {used:,} of the first level's {size:,} codes are used; raise tokenizer.unified.sinkhorn from 0, "
            "or lower tokenizer.codebook_size to the number of classes that the level is taught by"
        )
