"""Vectors of items whose content moves: the window, its long mean and the item itself, blended by a gate and trained by
two towers (OneLive, arXiv 2602.08612, sec. 3):

    x_M = MLP(x_window ; x_mean ; x_static)
    x_A = lambda x_id + (1 - lambda) x_M,    lambda = sigmoid(w . [x_id ; x_M])

x_A is what the tokenizer quantises, and, brought to unit length, the tower of the item. The tower of a user is an MLP
of the mean of what the user took, each item as it was then, and of the last of it. The paper says neither what lambda
depends on nor what an item without a window has; both are ours, and so is x_static, an item's own vector: what is known
of it before it is ever on air.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidestep.config import HomePath, Section
from sidestep.data.interactions import NO_TIME, Ints
from sidestep.data.sequences import SequenceBatch
from sidestep.data.windows import Floats, Windows

ROWS_AT_ONCE = 1 << 14


class SlicesConfig(Section):
    """Semantic IDs that follow content, slice of time by slice of time.

    kind: "none"; or "windows": what was seen of each item lately decides its ID, and an item without a window in a
        slice is off air there.
    path: a Parquet file with the columns item_id, start (when a slice begins, in milliseconds since 1970 or as a date)
        and one column of lists, or several of numbers, with the windows' vectors; beside the data, or in the working
        directory. The planted streams bring theirs along.
    width, hidden: of the blended vectors, and of the layer inside.
    recent: items of a history that the user's tower reads. tau: temperature of the towers' softmax. id_dropout: how
        often the towers do without an item's own vector, so that one they know little of is placed by its content.
    epochs, batch_size, lr: of the towers' training.
    kept: slices that a bundle keeps; what lies before them is read in the first of these.
    """

    idle = frozenset({"kept"})

    kind: Literal["none", "windows"] = "none"
    path: HomePath | None = None
    width: int = Field(64, ge=1)
    hidden: int = Field(128, ge=1)
    recent: int = Field(20, ge=1)
    tau: float = Field(0.1, gt=0)
    id_dropout: float = Field(0.3, ge=0, lt=1)
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(512, ge=2)
    lr: float = Field(3e-3, gt=0)
    kept: int = Field(50, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "SlicesConfig":
        if self.kind == "none" and self.path is not None:
            raise ValueError(
                f"path = '{self.path}' names windows that kind = 'none' does not read; set kind = 'windows'"
            )
        return self


@dataclass(frozen=True)
class Sightings:
    """What has been seen of N items up to a moment.

    latest: the last window of each, `[N, D]`. mean: the mean of all its windows so far, `[N, D]`. count: how many it
    had, `[N]`; where there was none, both are 0.
    """

    latest: Floats
    mean: Floats
    count: Ints

    @classmethod
    def nothing(cls, num_items: int, width: int) -> "Sightings":
        zeros = np.zeros((num_items, width), dtype=np.float32)
        return cls(zeros, zeros, np.zeros(num_items, dtype=np.int64))

    def after(self, items: Ints, values: Floats) -> "Sightings":
        """With one more window of some items."""
        latest, mean, count = self.latest.copy(), self.mean.copy(), self.count.copy()
        count[items] += 1
        latest[items] = values
        mean[items] = mean[items] + (values - mean[items]) / count[items, None].astype(np.float32)
        return Sightings(latest, mean, count)


class Blend(nn.Module):
    """The blended vectors of items. static: the items' own vectors, `[N, Ds]`, which are kept with the weights."""

    static: Float[Tensor, "N Ds"]
    scale: Float[Tensor, ""]
    static_scale: Float[Tensor, ""]

    def __init__(
        self, static: Float[Tensor, "N Ds"], window_width: int, width: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.register_buffer("static", static)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("static_scale", _spread(static))
        self.ids = nn.Embedding(len(static), width)
        nn.init.normal_(self.ids.weight, std=0.1)
        self.inner = nn.Linear(2 * window_width + static.shape[1] + 1, hidden)
        self.outer = nn.Linear(hidden, width)
        self.gate = nn.Linear(2 * width, 1)

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> "Blend":
        """The blend with these weights."""
        static, inner, outer = weights["static"], weights["inner.weight"], weights["outer.weight"]
        window = (inner.shape[1] - 1 - static.shape[1]) // 2
        model = cls(torch.zeros_like(static), window, outer.shape[0], inner.shape[0], 0.0)
        model.load_state_dict(dict(weights))
        return model.eval()

    @property
    def num_items(self) -> int:
        return len(self.static)

    @property
    def window_width(self) -> int:
        return (self.inner.in_features - 1 - self.static.shape[1]) // 2

    def standardise_by(self, values: Float[Tensor, "R D"]) -> None:
        """All dimensions of windows share one scale."""
        self.scale.copy_(_spread(values))

    def forward(
        self,
        items: Int[Tensor, "*n"],
        latest: Float[Tensor, "*n D"],
        mean: Float[Tensor, "*n D"],
        seen: Bool[Tensor, "*n"],
    ) -> Float[Tensor, "*n W"]:
        """seen: whether an item has had a window at all."""
        known = seen[..., None].to(latest)
        content = [latest / self.scale, mean / self.scale, self.static[items] / self.static_scale, known]
        x_m = self.outer(nn.functional.silu(self.inner(torch.cat(content, dim=-1))))
        x_id = self.ids(items)
        if self.training and self.dropout:
            x_id = x_id * (torch.rand(items.shape, device=items.device) >= self.dropout)[..., None]
        gate = torch.sigmoid(self.gate(torch.cat([x_id, x_m], dim=-1)))
        blended: Tensor = gate * x_id + (1 - gate) * x_m
        return blended

    @torch.no_grad()
    def vectors(self, content: Sightings, items: Ints) -> Floats:
        """x_A of some items, `[n, W]`."""
        parts = [np.empty((0, self.outer.out_features), dtype=np.float32)]
        for begin in range(0, len(items), ROWS_AT_ONCE):
            some = items[begin : begin + ROWS_AT_ONCE]
            parts.append(
                self(
                    torch.from_numpy(some),
                    torch.from_numpy(content.latest[some]),
                    torch.from_numpy(content.mean[some]),
                    torch.from_numpy(content.count[some] > 0),
                ).numpy()
            )
        return np.concatenate(parts)


class TwoTowers(nn.Module):
    """The towers that the blend is trained by, over all windows of the log's time.

    What an item was in a slice is a row of `latest` and `mean`; the last row stands for no window yet.
    """

    every_position = True
    latest: Float[Tensor, "R D"]
    mean: Float[Tensor, "R D"]
    row_of: Int[Tensor, "S N"]
    starts: Int[Tensor, " S"]

    def __init__(self, blend: Blend, windows: Windows) -> None:
        super().__init__()
        self.blend = blend
        width = blend.outer.out_features
        self.user = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        mean, row_of = histories_of(windows, blend.num_items)
        nothing = np.zeros((1, windows.width), dtype=np.float32)
        for name, value in (
            ("latest", np.concatenate([windows.values, nothing])),
            ("mean", np.concatenate([mean, nothing])),
            ("row_of", row_of),
            ("starts", windows.starts),
        ):
            self.register_buffer(name, torch.from_numpy(value), persistent=False)

    def items(self, items: Int[Tensor, "*n"], times: Int[Tensor, "*n"]) -> Float[Tensor, "*n W"]:
        """Items as they were at these times."""
        number = torch.bucketize(times.contiguous(), self.starts, right=True)
        number = torch.where(times == NO_TIME, len(self.starts), number)
        row = self.row_of[number, items].long()
        vectors: Tensor = self.blend(items, self.latest[row], self.mean[row], row < len(self.latest) - 1)
        return vectors

    def forward(self, batch: SequenceBatch) -> tuple[Float[Tensor, "n W"], Float[Tensor, "n W"], Int[Tensor, " n"]]:
        """The users at each real target, the targets as they are then, and which items these are."""
        assert batch.times is not None
        assert batch.asked is not None
        taken = self.items(batch.history.clamp(min=0), batch.times)
        taken = taken * (batch.history >= 0)[..., None]
        count = torch.arange(1, taken.shape[1] + 1, device=taken.device)[:, None]
        so_far = torch.cat([taken.cumsum(1) / count, taken], dim=-1)
        place = (batch.visible - 1).clamp(min=0)
        users = self.user(so_far.gather(1, place[..., None].expand(-1, -1, so_far.shape[2])))
        real = batch.targets >= 0
        return users[real], self.items(batch.targets[real], batch.asked[real]), batch.targets[real]


def histories_of(windows: Windows, num_items: int) -> tuple[Floats, Ints]:
    """The mean of an item's windows up to and with each, `[R, D]`, and the row of the last window of every item at each
    slice, `[S + 1, N]`, where slice 0 is before the first; R where there was none.
    """
    content, mean = Sightings.nothing(num_items, windows.width), np.empty_like(windows.values)
    row_of = np.full((len(windows) + 1, num_items), len(windows.items))
    for number in range(len(windows)):
        rows = windows.rows(number)
        items = windows.items[rows]
        content = content.after(items, windows.values[rows])
        mean[rows] = content.mean[items]
        row_of[number + 1] = row_of[number]
        row_of[number + 1, items] = np.arange(rows.start, rows.stop)
    return mean, row_of


def _spread(values: Float[Tensor, "n D"]) -> Float[Tensor, ""]:
    """The root of the mean square, 1 where all is 0."""
    spread = values.square().mean().sqrt()
    return torch.where(spread > 0, spread, torch.ones_like(spread))
