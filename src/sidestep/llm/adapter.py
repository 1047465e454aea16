"""What a run keeps of a language model that it has taught: the adapter, and what its questions are written from."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sidestep.data.labels import ItemLabels
from sidestep.llm.chat import Chat
from sidestep.llm.config import LLMConfig
from sidestep.llm.model import ChatModel


class Adapter(nn.Module):
    """The trained matrices by name, which the weights of the run hold; the language model itself is loaded when it is
    asked.

    titles, labels, sids: of the items, as `Chat` shows them. codes: every code of every level, spelled; mid-training
    makes them tokens.
    """

    def __init__(
        self,
        config: LLMConfig,
        titles: Sequence[str],
        labels: ItemLabels,
        sids: Sequence[str] | None,
        codes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.config, self.labels, self.tensors = config, labels, dict[str, Tensor]()
        cites = sids if config.cite == "sid" else None
        self.tokens = codes if config.mid_steps else ()
        self.chat = Chat(titles, labels, cites, config.knowledge, config.traces != "none")

    def onto(self, model: ChatModel) -> ChatModel:
        """A model as it was loaded, with the codes as tokens, if they are, and the matrices: these, or new ones.

        Raises:
            ConfigError: matrices of another model.
        """
        return model.with_tokens(self.tokens).with_adapter(self.config.lora_rank, self.tensors or None)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination.update({prefix + name: tensor for name, tensor in self.tensors.items()})

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        self.tensors = {name.removeprefix(prefix): tensor for name, tensor in state_dict.items()}
