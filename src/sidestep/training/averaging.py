"""The moving average of a model's weights over training steps."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The exponential moving average of all weights and float buffers (Polyak & Juditsky 1992 for the idea).

        average <- keep_n average + (1 - keep_n) weights,   keep_n = min(decay, (1 + n) / (10 + n)),   n = 0, 1, ...

    so that the first weights lose their influence quickly. Memory: one more copy of the model.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self._model = decay, model
        self.tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after step 0, 1, ..."""
        keep = min(self.decay, (1 + step) / (10 + step))
        now = self._model.state_dict()
        floats = [name for name, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.tensors[name] for name in floats], [now[name] for name in floats], 1 - keep)
        self.tensors |= {name: value.clone() for name, value in now.items() if not value.is_floating_point()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore a saved average."""
        self.tensors = {
            name: value.view_as(self.tensors[name]).to(self.tensors[name]) for name, value in tensors.items()
        }

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the model has the averaged weights; afterwards it has its own again."""
        own = {name: value.detach().clone() for name, value in self._model.state_dict().items()}
        self._model.load_state_dict(self.tensors)
        try:
            yield
        finally:
            self._model.load_state_dict(own)
