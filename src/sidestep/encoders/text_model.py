"""A sentence model in two parts: layers below that stay as they are, and layers above that can be tuned.

The extra is `sidestep[text]`; models and their checks are those of `sentence.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sidestep.encoders.directions import Matrix, with_mean_direction
from sidestep.encoders.sentence import minilm, sentence_transformer
from sidestep.errors import ConfigError

Progress = Callable[[int, int], object]
AT_ONCE = 64


@dataclass(frozen=True)
class States:
    """What the layers above read of n texts: an output of the layers below for each token, padded with zeros.

    real: False at padding.
    """

    hidden: Float[Tensor, "n S D"]
    real: Bool[Tensor, "n S"]

    def to(self, device: torch.device) -> "States":
        return States(self.hidden.to(device), self.real.to(device))


class TokenStates:
    """The outputs of the layers below for all tokens of N texts, end to end as float16: N S D numbers of two bytes."""

    def __init__(self, parts: Sequence[Float[Tensor, "_ D"]]) -> None:
        self._hidden = torch.cat([part.half() for part in parts])
        self._offsets = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def of(self, texts: np.ndarray[Any, np.dtype[np.int64]]) -> States:
        """Those of some texts, by number."""
        parts = [self._hidden[self._offsets[text] : self._offsets[text + 1]].float() for text in texts]
        hidden = nn.utils.rnn.pad_sequence(parts, batch_first=True)
        lengths = torch.tensor([len(part) for part in parts])
        return States(hidden, torch.arange(hidden.shape[1]) < lengths[:, None])


class UpperLayers(nn.Module):
    """The last layers of a transformer and the mean over tokens: unit vectors of texts."""

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, states: States) -> Float[Tensor, "n D"]:
        hidden, real = states.hidden, states.real
        lowest = torch.finfo(hidden.dtype).min
        mask = hidden.new_zeros(real.shape).masked_fill(~real, lowest)[:, None, None]
        mask = mask.expand(-1, 1, real.shape[1], -1)
        for layer in self.layers:
            out = layer(hidden, mask)
            hidden = out[0] if isinstance(out, tuple) else out
        summed = (hidden * real[:, :, None]).sum(1)
        return F.normalize(summed / real.sum(1, keepdim=True), dim=1)


@dataclass(frozen=True)
class TextModel:
    """A sentence model whose vectors are unit means over tokens, cut at a layer.

    tokens: longer texts are cut. count: layers above the cut.
    """

    model: Any
    tokens: int
    count: int

    @classmethod
    def of(cls, model: str | None, tokens: int, count: int) -> "TextModel":
        """model: a local folder; None is MiniLM of the package index.

        Raises:
            MissingExtraError: a library or the package is not installed. ConfigError: no folder, no such model, or one
            of another shape.
        """
        if model is not None and not Path(model).is_dir():
            raise ConfigError(
                f"tune.model = {model!r} is no local folder, and nothing is downloaded unasked; download the model and "
                "name its folder, or leave tune.model out for MiniLM of the package index"
            )
        return cls.cut(minilm() if model is None else sentence_transformer(model), tokens, count)

    @classmethod
    def cut(cls, sentence: Any, tokens: int, count: int) -> "TextModel":
        """A loaded sentence model.

        Raises:
            ConfigError: it has no such layers, or its vectors are no means over tokens.
        """
        body = getattr(sentence[0], "auto_model", None)
        layers = getattr(getattr(body, "encoder", None), "layer", None)
        if not isinstance(layers, nn.ModuleList):
            raise ConfigError(
                "tune.kind = 'encoder' tunes models of BERT's kind, and this one has no encoder.layer; leave out "
                "tune.model for MiniLM, or use tune.kind=map"
            )
        if len(layers) < count:
            raise ConfigError(f"tune.layers = {count}, and the model has {len(layers)}; lower it")
        return cls(sentence, tokens, count)

    def upper(self) -> UpperLayers:
        """A copy of the layers above, as they are before tuning."""
        layers = self.model[0].auto_model.encoder.layer
        return UpperLayers(nn.ModuleList(deepcopy(layer).float() for layer in layers[len(layers) - self.count :]))

    @torch.no_grad()
    def states(self, texts: Sequence[str], progress: Progress | None = None) -> TokenStates:
        """The outputs of the layers below; similar lengths share a batch."""
        body, tokenizer = self.model[0].auto_model.eval(), self.model.tokenizer
        below = body.config.num_hidden_layers - self.count
        parts: list[Tensor] = [torch.empty(0)] * len(texts)
        order = sorted(range(len(texts)), key=lambda text: -len(texts[text]))
        for begin in range(0, len(order), AT_ONCE):
            chosen = order[begin : begin + AT_ONCE]
            batch = tokenizer(
                [texts[text] for text in chosen], padding=True, truncation=True, max_length=self.tokens,
                return_tensors="pt",
            ).to(body.device)  # fmt: skip
            hidden = body(**batch, output_hidden_states=True).hidden_states[below].cpu()
            for text, rows, real in zip(chosen, hidden, batch["attention_mask"].bool().cpu(), strict=True):
                parts[text] = rows[real]
            if progress is not None:
                progress(min(begin + AT_ONCE, len(order)), len(order))
        return TokenStates(parts)


@torch.no_grad()
def vectors_of(upper: UpperLayers, states: TokenStates, texts: Sequence[str]) -> Matrix:
    """Unit vectors of all texts `[N, D]`; empty ones get the mean direction."""
    upper.eval()
    device = next(upper.parameters()).device
    every = np.arange(len(states))
    parts = [
        upper(states.of(every[begin : begin + AT_ONCE]).to(device)).cpu() for begin in range(0, len(every), AT_ONCE)
    ]
    return with_mean_direction(torch.cat(parts).numpy(), np.array([not text.strip() for text in texts]))


def with_weights(upper: UpperLayers, weights: Mapping[str, Tensor]) -> UpperLayers:
    """The layers with tuned weights.

    Raises:
        ConfigError: weights of another model.
    """
    try:
        upper.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise ConfigError(
            f"The tuned layers do not fit this text model ({str(error).splitlines()[-1].strip()}); give tune.model the "
            "folder of the model that was tuned"
        ) from None
    return upper.eval()
