"""A causal language model that reads an item and gives its vector (QARM V2, arXiv 2602.08559)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sidestep.encoders import language_models
from sidestep.encoders.directions import Matrix, with_mean_direction
from sidestep.encoders.language_models import SMOLLM2, quiet
from sidestep.encoders.segments import Segments, additive_mask
from sidestep.errors import ConfigError, MissingExtraError

Progress = Callable[[int, int], object]
AT_ONCE = 32
ALIKE = 1e-6
"""Two sums of a model's weights that differ by less, relatively, are of one model."""
USER = "tune.kind = 'lm'"


class CausalEncoder(nn.Module):
    """A language model with `num_emb` places behind an item's text, whose mean last state is the item's vector. Each
    place has a vector of its own in place of a token's, that of the token that ends a text at the start.

    What it trains and keeps are these vectors and either low-rank matrices in all linear maps (LoRA, arXiv 2106.09685)
    or, with `rank` 0, all weights. Equal weights besides are told by `base`, two sums over them.

    Args:
        model, tokenizer: of transformers. tokens, said_tokens: longer texts, and questions and answers, are cut.
        at_once: texts that training has in memory at once. A larger batch is read in parts, each of them once more for
            its gradient (gradient cache, Gao et al. 2021, arXiv 2101.06983), by `torch.utils.checkpoint`.

    Raises:
        MissingExtraError: low-rank matrices without peft.
    """

    base: Tensor

    def __init__(
        self, model: Any, tokenizer: Any, rank: int, num_emb: int, tokens: int, said_tokens: int, at_once: int
    ) -> None:
        super().__init__()
        self._tokens, self._said, self._at_once, self._num_emb = tokens, said_tokens, at_once, num_emb
        self._tokenizer = tokenizer
        self.register_buffer("base", _sums(model))
        if rank:
            model = _with_low_rank(model, rank)
        # Not a module of this one, so that neither a checkpoint nor a run holds the whole of it.
        self._outside = {"model": model}
        named = {name.replace(".", "|"): weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.tuned = nn.ParameterDict(named)
        table = model.get_input_embeddings().weight
        self.emb = nn.Parameter(table[tokenizer.eos_token_id].detach().float().repeat(num_emb, 1))

    @classmethod
    def of(
        cls, name: str | None, rank: int, num_emb: int, tokens: int, said_tokens: int, at_once: int
    ) -> "CausalEncoder":
        """name: a local folder, or "smollm2" of the package index, which None is, too.

        Raises:
            MissingExtraError: a library or the package is not installed. ConfigError: no such folder or model.
        """
        if name not in (None, SMOLLM2) and not Path(str(name)).expanduser().is_dir():
            raise ConfigError(
                f"tune.model = {name!r} is no local folder, and nothing is downloaded unasked; download the model and "
                f"name its folder, or leave tune.model out for {SMOLLM2!r} of the package index"
            )
        model, tokenizer = language_models.load(name or SMOLLM2, torch.float32, "tune.model", USER)
        return cls(model, tokenizer, rank, num_emb, tokens, said_tokens, at_once)

    def take(self, weights: dict[str, Tensor]) -> None:
        """Take up tuned weights.

        Raises:
            ConfigError: weights of another model.
        """
        own, problem = self.base.clone(), ""
        try:
            self.load_state_dict(weights)
        except RuntimeError as error:
            problem = str(error).splitlines()[-1].strip()
        if problem or not torch.allclose(own, self.base, rtol=ALIKE, atol=0):
            raise ConfigError(
                f"The tuned weights do not fit this language model ({problem or 'its other weights are not those'}); "
                "give tune.model the model that was tuned"
            )

    def segments(self, texts: Sequence[str], said: Sequence[str] | None = None, seen: float = 0.0) -> Segments:
        """What is read of items. said: questions and answers about each, to be learnt; None reads the texts alone."""
        item, real = _columns([self._numbers(text, self._tokens) for text in texts], left=True)
        answers = [self._numbers(text, self._said) for text in said] if said else [[] for _ in texts]
        return Segments(item, real, *_columns(answers, left=False), seen)

    def forward(self, segments: Segments) -> tuple[Float[Tensor, "n D"], Float[Tensor, ""], Float[Tensor, ""]]:
        """The items' vectors; the sum of `-log p` over the tokens that are said about them, and their number."""
        parts = [segments.part(begin, begin + self._at_once) for begin in range(0, len(segments), self._at_once)]
        read = [self._again(part) if torch.is_grad_enabled() else self._read(part) for part in parts]
        vectors, costs, counts = zip(*read, strict=True)
        return torch.cat(vectors), torch.stack(costs).sum(), torch.stack(counts).sum()

    @torch.no_grad()
    def vectors(self, texts: Sequence[str], progress: Progress | None = None) -> Matrix:
        """Unit vectors of texts, `[N, D]`; empty ones get the mean direction. Similar lengths share a batch."""
        self.eval()
        device, rows = self.emb.device, np.empty((len(texts), self.emb.shape[1]), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda text: -len(texts[text]))
        for begin in range(0, len(order), AT_ONCE):
            chosen = order[begin : begin + AT_ONCE]
            found = self._read(self.segments([texts[text] for text in chosen]).to(device))[0]
            rows[chosen] = F.normalize(found.float(), dim=1).cpu().numpy()
            if progress is not None:
                progress(min(begin + AT_ONCE, len(order)), len(order))
        return with_mean_direction(rows, np.array([not text.strip() for text in texts]))

    def _again(self, part: Segments) -> Any:
        return checkpoint(self._read, part, use_reentrant=False)

    def _read(self, part: Segments) -> tuple[Tensor, Tensor, Tensor]:
        model = self._outside["model"].to(self.emb.device)
        table, width, places = model.get_input_embeddings(), part.item.shape[1], self._num_emb
        emb = self.emb.to(table.weight.dtype).expand(len(part), -1, -1)
        inputs = torch.cat([table(part.item), emb, table(part.said)], 1)
        # The item ends at one position for all, so that what follows does not know how long it is.
        positions = torch.arange(inputs.shape[1], device=inputs.device) + self._tokens - width
        states = model.get_decoder()(
            inputs_embeds=inputs,
            attention_mask=additive_mask(part, places, inputs.dtype),
            position_ids=positions.expand(len(part), -1),
            use_cache=False,
        ).last_hidden_state
        vectors = states[:, width : width + places].float().mean(1)
        count = part.real_said.sum().float()
        if not part.said.shape[1]:
            return vectors, vectors.new_zeros(()), count
        logits = model.get_output_embeddings()(states[:, width + places - 1 : -1]).float()
        cost = F.cross_entropy(logits.transpose(1, 2), part.said, reduction="none")
        return vectors, (cost * part.real_said).sum(), count

    def _numbers(self, text: str, most: int) -> list[int]:
        numbers: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return numbers[:most]


def _columns(rows: Sequence[Sequence[int]], left: bool) -> tuple[Tensor, Tensor]:
    """Tokens of any number, padded on the left or on the right, and where there is one."""
    width = max(map(len, rows), default=0)
    found = torch.zeros(len(rows), width, dtype=torch.int64)
    real = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, numbers in enumerate(rows):
        place = slice(width - len(numbers), width) if left else slice(0, len(numbers))
        found[row, place], real[row, place] = torch.tensor(numbers, dtype=torch.int64), True
    return found, real


@torch.no_grad()
def _sums(model: Any) -> Tensor:
    """The sum of all weights and that of their sizes."""
    weights = [weight.double() for weight in model.parameters()]
    return torch.stack([sum(part.sum() for part in weights), sum(part.abs().sum() for part in weights)]).cpu()


def _with_low_rank(model: Any, rank: int) -> Any:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError(f"{error.name!r} is missing; {USER} needs `pip install 'sidestep[llm]'`") from None
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with quiet():
        return inject_adapter_in_model(config, model)
