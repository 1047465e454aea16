"""A language model that is asked and answers: loading it, its adapter, and writing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sidestep.encoders import language_models
from sidestep.encoders.language_models import quiet
from sidestep.errors import ConfigError, brief
from sidestep.llm.chat import Messages

AT_ONCE = 16
"""Chats that are answered at once."""


@dataclass(frozen=True)
class ChatModel:
    """model: a causal language model of transformers, maybe with an adapter. tokenizer: with a chat template. added:
    the numbers of tokens whose rows an adapter learns besides its matrices.
    """

    model: Any
    tokenizer: Any
    added: tuple[int, ...] = ()

    @classmethod
    def load(cls, name: str, dtype: str, key: str = "llm.model", user: str = "reranker.kind = 'llm'") -> "ChatModel":
        """Weights of safetensors or GGUF alone, and no code from elsewhere. key, user: as in `language_models.load`.

        Raises:
            MissingExtraError: a library is not installed. ConfigError: no such model.
        """
        model, tokenizer = language_models.load(name, torch.bfloat16 if dtype == "bf16" else torch.float32, key, user)
        if not tokenizer.chat_template:
            raise ConfigError(f"{key} = {name!r} has no chat template; take a model that was made to follow chats")
        return cls(model, tokenizer)

    @torch.no_grad()
    def with_tokens(self, names: Sequence[str]) -> "ChatModel":
        """The model with these texts as tokens of the vocabulary. The row of a new one begins as the mean of the rows
        that spelled it.
        """
        if not names:
            return self
        known, tokenizer, model = self.tokenizer.get_vocab(), self.tokenizer, self.model
        spelled = {name: tokenizer(name, add_special_tokens=False)["input_ids"] for name in names if name not in known}
        tokenizer.add_tokens(list(spelled))  # ordinary ones: TRL drops special tokens from the texts that it shows
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        tables = {id(table.weight): table.weight for table in _tables(model).values()}
        for weight in tables.values():
            for name, pieces in spelled.items():
                weight[tokenizer.convert_tokens_to_ids(name)] = weight[pieces].mean(0)
        return ChatModel(model, tokenizer, tuple(tokenizer.convert_tokens_to_ids(list(names))))

    def with_adapter(self, rank: int, tensors: Mapping[str, Tensor] | None = None) -> "ChatModel":
        """The model with low-rank matrices in all its linear maps (LoRA, Hu et al. 2021, arXiv 2106.09685): new ones,
        which change nothing yet, or those of a training. With added tokens, their rows are the adapter's, too.

        Raises:
            ConfigError: matrices of another model.
        """
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

        rows: dict[str, Any] = {}
        if self.added:
            tied = self.model.get_output_embeddings().weight is self.model.get_input_embeddings().weight
            tables = {name: list(self.added) for name in _tables(self.model)}
            rows["trainable_token_indices"] = list(self.added) if tied else tables
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear", task_type="CAUSAL_LM", **rows)
        with quiet():
            adapted = get_peft_model(self.model, config)
        if tensors is not None:
            try:
                found = set_peft_model_state_dict(adapted, dict(tensors))
                problem = ", ".join(found.unexpected_keys[:1])
            except RuntimeError as error:
                problem = brief(error, 120)
            if problem:
                raise ConfigError(f"The adapter does not fit llm.model and llm.lora_rank = {rank} ({problem})")
        return ChatModel(adapted, self.tokenizer, self.added)

    def adapter(self) -> dict[str, Tensor]:
        """The matrices of the adapter by name, and the rows of added tokens, in fp32 on the CPU."""
        from peft import get_peft_model_state_dict

        found = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return {name: tensor.detach().float().cpu() for name, tensor in found.items()}

    @property
    def ends(self) -> list[int]:
        """Tokens that end an answer."""
        ends = self.model.generation_config.eos_token_id
        known = ends if isinstance(ends, list) else [ends]
        return list(dict.fromkeys([self.tokenizer.eos_token_id, *(end for end in known if end is not None)]))

    @property
    def pad(self) -> int:
        """What fills up shorter rows, unseen."""
        known: int | None = self.tokenizer.pad_token_id
        return self.ends[0] if known is None else known

    def prompt(self, messages: Messages) -> list[int]:
        """The tokens of a chat up to where the answer begins. A model that can think aloud is told not to: the trace is
        its thinking.
        """
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def padded(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Prompts in rows of one width, shorter ones filled up on the left, and the mask of their own tokens; both
        `[n, W]`, on the CPU.
        """
        width = max(map(len, prompts))
        gaps = [width - len(prompt) for prompt in prompts]
        ids = [[self.pad] * gap + list(prompt) for gap, prompt in zip(gaps, prompts, strict=True)]
        mask = [[0] * gap + [1] * (width - gap) for gap in gaps]
        return torch.tensor(ids), torch.tensor(mask)

    def text(self, completion: Sequence[int]) -> str:
        """An answer's tokens as text, without what ends it. Other special tokens stay."""
        ends = set(self.ends)
        kept = [token for token in completion if token not in ends]
        text: str = self.tokenizer.decode(kept, skip_special_tokens=False)
        return text

    @torch.no_grad()
    def write(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, temperature: float = 0.0, model: Any = None
    ) -> list[list[int]]:
        """The tokens of an answer to each prompt, with the one that ends it: the likeliest, or drawn from the whole
        distribution. model: in place of its own, as a trainer has wrapped it.
        """
        model = self.model if model is None else model
        drawing: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if temperature > 0:
            drawing = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
        ends, written = set(self.ends), list[list[int]]()
        for begin in range(0, len(prompts), AT_ONCE):
            ids, mask = (each.to(model.device) for each in self.padded(prompts[begin : begin + AT_ONCE]))
            found = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=max_tokens, pad_token_id=self.pad,
                eos_token_id=self.ends, **drawing,
            )  # fmt: skip
            written += [until(tokens, ends) for tokens in found[:, ids.shape[1] :].tolist()]
        return written


@dataclass(frozen=True)
class Local:
    """A teacher that runs here. name: of the model, as in `ChatModel.load`."""

    chat_model: ChatModel
    name: str
    temperature: float
    max_tokens: int

    @property
    def settings(self) -> dict[str, Any]:
        return {"local": self.name, "temperature": self.temperature, "max_tokens": self.max_tokens}

    def ask(self, messages: Messages, draw: int) -> str:
        with torch.random.fork_rng():
            torch.manual_seed(draw)
            found = self.chat_model.write([self.chat_model.prompt(messages)], self.max_tokens, self.temperature)
        return self.chat_model.text(found[0])


def _tables(model: Any) -> dict[str, Any]:
    """What reads tokens, and what says them, by the last part of their names."""
    kept = (model.get_input_embeddings(), model.get_output_embeddings())
    return {name.rpartition(".")[2]: each for name, each in model.named_modules() if any(each is one for one in kept)}


def until(tokens: Sequence[int], ends: set[int]) -> list[int]:
    """Tokens up to the first that ends an answer, with it."""
    last = next((place for place, token in enumerate(tokens) if token in ends), len(tokens) - 1)
    return list(tokens[: last + 1])
